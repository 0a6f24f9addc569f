// The parts of a stacked chart: calls by class of status code, model or key, error logs by cause.
import type { CallFilter, FailureClass } from '../api/gen/graphql';

export const STACKS = ['class', 'model', 'key', 'cause'] as const;
export type StackBy = (typeof STACKS)[number];

/** More parts would not be distinguishable; the rest is one more. */
export const MOST_PARTS = 5;

export interface Part {
  /** The value: a class, a model, the id of a key. */
  name: string;
  label: string;
  /** The filters of the list that shows its rows. */
  params: Record<string, string | readonly string[]>;
  /** The index of its colour. */
  colour: number;
}

export interface CallPart extends Part {
  filter: CallFilter;
}

export const CLASSES = ['2xx', '429', '4xx', '5xx'] as const;

const codesOf = (name: (typeof CLASSES)[number], codes: number[]): number[] =>
  name === '429' ? codes.filter((code) => code === 429) : codes.filter((code) => String(code).startsWith(name.slice(0, 1)) && code !== 429);

/** The classes of these codes. Calls without a code, and of other classes, are the rest. */
export function classParts(codes: number[]): CallPart[] {
  return CLASSES.flatMap((name, colour) => {
    const own = codesOf(name, codes);
    if (own.length === 0) return [];
    const filter: CallFilter = name === '2xx' ? { status: 'SUCCESS' } : { statusCodes: own };
    const params: Part['params'] = name === '2xx' ? { status: 'success' } : { code: own.map(String) };
    return [{ name, label: name, filter, params, colour }];
  });
}

export function modelParts(models: string[]): CallPart[] {
  const colours = coloursOf(models.slice(0, MOST_PARTS));
  return models.slice(0, MOST_PARTS).map((name, index) => ({ name, label: name, filter: { models: [name] }, params: { model: name }, colour: colours[index] ?? 0 }));
}

export function keyParts(keys: { id: string; masked: string }[]): CallPart[] {
  const colours = coloursOf(keys.slice(0, MOST_PARTS).map(({ id }) => id));
  return keys
    .slice(0, MOST_PARTS)
    .map(({ id, masked }, index) => ({ name: id, label: masked.replace('...', '…'), filter: { keys: [id] }, params: { key: id }, colour: colours[index] ?? 0 }));
}

export function causeParts(classes: FailureClass[], names: Record<FailureClass, string>): (Part & { name: FailureClass })[] {
  const shown = classes.slice(0, MOST_PARTS);
  const colours = coloursOf(shown);
  return shown.map((name, index) => ({ name, label: names[name], params: { cause: name }, colour: colours[index] ?? 0 }));
}

/** The number of colours of parts. */
export const COLOURS = 7;

/** The colours that names had in their first chart. */
const firstColours = new Map<string, number>();
const MOST_NAMES = 1000;

/**
 * The first colour of a name, so that a model has the same colour in every chart. Of two names with the same colour in a
 * chart, the later one gets the next.
 */
function coloursOf(names: string[]): number[] {
  const taken = new Set<number>();
  const colours = new Map<string, number>();
  const known = names.filter((name) => firstColours.has(name));
  for (const name of [...known, ...names.filter((one) => !firstColours.has(one)).toSorted()]) {
    let colour = firstColours.get(name) ?? hash(name);
    while (taken.has(colour)) colour = (colour + 1) % COLOURS;
    taken.add(colour);
    colours.set(name, colour);
  }
  if (firstColours.size > MOST_NAMES) firstColours.clear();
  for (const [name, colour] of colours) if (!firstColours.has(name)) firstColours.set(name, colour);
  return names.map((name) => colours.get(name) ?? 0);
}

function hash(name: string): number {
  let colour = 0;
  for (const character of name) colour = (colour * 31 + (character.codePointAt(0) ?? 0)) % COLOURS;
  return colour;
}

/** The part at a height of a stacked bar, from below; undefined for the rest and above the bar. */
export function partAt(counts: number[], height: number): number | 'rest' | undefined {
  let top = 0;
  for (const [index, count] of counts.entries()) {
    top += count;
    if (height <= top) return index === counts.length - 1 ? 'rest' : index;
  }
  return undefined;
}

/** For each bucket the calls of the bucket at the same time of the period before. */
export function alignBefore(
  buckets: { start: string; end: string }[],
  before: { start: string; end: string; counts: { total: number } }[],
  shiftMs: number,
): (number | null)[] {
  return buckets.map(({ start, end }) => {
    const at = (Date.parse(start) + Date.parse(end)) / 2 - shiftMs;
    return before.find((bucket) => Date.parse(bucket.start) <= at && at < Date.parse(bucket.end))?.counts.total ?? null;
  });
}
