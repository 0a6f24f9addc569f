// The time range of a view: parsed from the address and converted for the API.
import type { Period } from '../api/gen/graphql';

export const PRESETS = ['1h', '8h', '24h', '7d', '30d', 'month'] as const;
/** Calendar days of the browser's time zone. */
export const DAYS = ['today', 'yesterday'] as const;
type Day = (typeof DAYS)[number];
export type Preset = (typeof PRESETS)[number] | Day;
export type Range = { preset: Preset } | { since: string; until: string };

const PERIODS: Record<Exclude<Preset, Day>, Period> = {
  '1h': 'LAST_HOUR',
  '8h': 'LAST_8_HOURS',
  '24h': 'LAST_24_HOURS',
  '7d': 'LAST_7_DAYS',
  '30d': 'LAST_30_DAYS',
  month: 'CURRENT_MONTH',
};

const HOUR_MS = 3_600_000;
const LENGTHS: Record<Exclude<Preset, 'month' | Day>, number> = {
  '1h': HOUR_MS,
  '8h': 8 * HOUR_MS,
  '24h': 24 * HOUR_MS,
  '7d': 7 * 24 * HOUR_MS,
  '30d': 30 * 24 * HOUR_MS,
};

export const isPreset = (text: string | null): text is Preset => [...PRESETS, ...DAYS].some((preset) => preset === text);

const isDay = (preset: Preset): preset is Day => DAYS.some((day) => day === preset);

/** Whether the range ends now, so that new rows belong to it. */
export const isLive = (range: Range): boolean => 'preset' in range && range.preset !== 'yesterday';

function instant(text: string | null): string | undefined {
  const ms = text === null ? NaN : Date.parse(text);
  return Number.isNaN(ms) ? undefined : new Date(ms).toISOString();
}

/** Parses the address; `fallback` if the range is missing or invalid. */
export function rangeOf(params: URLSearchParams, fallback: Preset = '24h'): Range {
  const since = instant(params.get('since'));
  const until = instant(params.get('until'));
  if (since && until && since < until) return { since, until };
  const preset = params.get('range');
  return { preset: isPreset(preset) ? preset : fallback };
}

/** The parameters of a range in the address; the fallback has none. */
export function rangeParams(range: Range, fallback: Preset = '24h'): Record<string, string | undefined> {
  if ('preset' in range) {
    return { range: range.preset === fallback ? undefined : range.preset, since: undefined, until: undefined };
  }
  return { range: undefined, since: range.since, until: range.until };
}

interface TimeRange {
  since: string;
  until: string;
}

/** Either the argument `period` or `between`. */
export function rangeArguments(range: Range, now: number): { period?: Period; between?: TimeRange } {
  if ('preset' in range && !isDay(range.preset)) return { period: PERIODS[range.preset] };
  return { between: between(range, now) };
}

/** Start and end in milliseconds; a live range ends at `now`. */
export function rangeEnds(range: Range, now: number): [number, number] {
  if (!('preset' in range)) return [Date.parse(range.since), Date.parse(range.until)];
  const { preset } = range;
  const date = new Date(now);
  const midnight = (daysAgo: number): number => new Date(date.getFullYear(), date.getMonth(), date.getDate() - daysAgo).getTime();
  if (preset === 'month') return [new Date(date.getFullYear(), date.getMonth(), 1).getTime(), now];
  if (preset === 'today') return [midnight(0), now];
  if (preset === 'yesterday') return [midnight(1), midnight(0)];
  return [now - LENGTHS[preset], now];
}

/** Start and end for the API. */
export function between(range: Range, now: number): TimeRange {
  const [since, until] = rangeEnds(range, now);
  return { since: new Date(since).toISOString(), until: new Date(until).toISOString() };
}

/** The end of a range in milliseconds, at most `now`. */
export const endOf = (range: Range, now: number): number => Math.min(rangeEnds(range, now)[1], now);

const DAY_MS = 24 * HOUR_MS;

/** Whether a range is longer than a day: the state at its end is that of its last 24 hours. */
export const exceedsDay = (range: Range, now: number): boolean => endOf(range, now) - rangeEnds(range, now)[0] > DAY_MS;

/** The API diagnoses no longer window. */
export const canBeDiagnosed = (range: Range, now: number): boolean => endOf(range, now) - rangeEnds(range, now)[0] <= 32 * DAY_MS;

/** What the API diagnoses of a range: all of it, or its last 24 hours. */
export type Part = 'all' | 'day';

/** The start of the diagnosed window in milliseconds. */
export function diagnosedSince(range: Range, part: Part, now: number): number {
  const [since] = rangeEnds(range, now);
  return part === 'all' ? since : Math.max(since, endOf(range, now) - DAY_MS);
}

/** The arguments of `diagnoses`. */
export function diagnosedWindow(range: Range, part: Part, now: number): { period?: Period; between?: TimeRange } {
  if (part === 'day' && isLive(range) && exceedsDay(range, now)) return { period: 'LAST_24_HOURS' };
  if ('preset' in range && !isDay(range.preset)) return rangeArguments(range, now);
  const end = endOf(range, now);
  // A range in the future would have no length.
  const start = Math.min(diagnosedSince(range, part, now), end - 1);
  return { between: { since: new Date(start).toISOString(), until: new Date(end).toISOString() } };
}

/** The range with its current start and end, for a link that always shows the same rows. */
export const frozen = (range: Range, now: number): { since: string; until: string } => between(range, now);

/** The period of the same length before a range. */
export function periodBefore(range: Range, now: number): TimeRange {
  const [since, until] = rangeEnds(range, now);
  return { since: new Date(2 * since - until).toISOString(), until: new Date(since).toISOString() };
}

/** The calendar day of an instant. */
export function dayOf(instant: string): Range {
  const date = new Date(instant);
  const midnight = (days: number): string => new Date(date.getFullYear(), date.getMonth(), date.getDate() + days).toISOString();
  return { since: midnight(0), until: midnight(1) };
}

/** The minute of an instant, as parameters of the address. */
export function minuteOf(instant: string): Record<'range' | 'since' | 'until', string | undefined> {
  const start = Math.floor(Date.parse(instant) / 60_000) * 60_000;
  return { range: undefined, since: new Date(start).toISOString(), until: new Date(start + 60_000).toISOString() };
}

/** Splits a range into `count` equal parts. */
export function partsOf(range: Range, now: number, count: number): TimeRange[] {
  const [since, until] = rangeEnds(range, now);
  const edge = (index: number): string => new Date(since + ((until - since) * index) / count).toISOString();
  return Array.from({ length: count }, (_, index) => ({ since: edge(index), until: edge(index + 1) }));
}

/** The same day and time of the previous month, or its last day if it is shorter. */
export function monthBefore(now: Date): Date {
  const before = new Date(now);
  before.setDate(1);
  before.setMonth(before.getMonth() - 1);
  const days = new Date(before.getFullYear(), before.getMonth() + 1, 0).getDate();
  before.setDate(Math.min(now.getDate(), days));
  return before;
}

const INTERVALS = [1, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800];

/** Bucket lengths in seconds that give between 6 and 400 buckets. */
export function intervalsOf(range: Range, now: number): number[] {
  const [since, until] = rangeEnds(range, now);
  const seconds = (until - since) / 1000;
  return INTERVALS.filter((interval) => seconds / interval >= 6 && seconds / interval <= 400);
}

export const isoDuration = (seconds: number): string => `PT${seconds}S`;
