// Incidents: the diagnoses of the API. The API finds what is wrong; this module only selects and counts.
import type { Cause, IncidentRowFragment, Severity } from '../api/gen/graphql';

export type Incident = IncidentRowFragment;

/** A label for the state of a key or model with a diagnosis. */
export type Reason = 'dead' | 'unpaid' | 'quota' | 'throttled' | 'failing' | 'slow' | 'silent';

export const REASONS: readonly Reason[] = ['dead', 'unpaid', 'quota', 'throttled', 'failing', 'slow', 'silent'];

const REASON_OF: Record<Cause, Reason> = {
  KEY_DEAD: 'dead',
  KEY_UNPAID: 'unpaid',
  QUOTA_EXHAUSTED: 'quota',
  POOL_EXHAUSTED: 'quota',
  RATE_TOO_HIGH: 'throttled',
  SLOW: 'slow',
  SILENT: 'silent',
  ADDRESS_BLOCKED: 'failing',
  CLIENT_FAULT: 'failing',
  GATEWAY_FAULT: 'failing',
  MODEL_OUTAGE: 'failing',
  PROVIDER_OUTAGE: 'failing',
  UNKNOWN: 'failing',
};

/** `unknown`: the answer of the API does not include the key. */
export type KeyState = Reason | 'failures' | 'likePool' | 'healthy' | 'tooFew' | 'noCalls' | 'unknown';

/** With fewer calls, the absence of a diagnosis does not mean health. */
export const ENOUGH_CALLS = 20;
/** With a larger share of failed calls, the absence of a diagnosis does not mean health. */
export const MANY_FAILURES = 0.2;

/** When an incident started, and the failed calls that it explains. */
export type Since = Pick<Incident, 'cause' | 'since' | 'lastSuccessAt' | 'failures'>;

export interface Counts {
  total: number;
  failure: number;
}

type OfKey = Pick<Incident, 'cause' | 'sentence'> & { keys: { id: string }[] };

/** The diagnosis that names a key; the most severe one is first. */
export const namedOf = <D extends Pick<OfKey, 'keys'>>(id: string, diagnoses: readonly D[]): D | undefined =>
  diagnoses.find(({ keys }) => keys.some((key) => key.id === id));

/** Calls that are slow or missing did not fail. */
const explainsFailures = ({ cause }: Pick<Incident, 'cause'>): boolean => cause !== 'SLOW' && cause !== 'SILENT';

/** The state of a key from its diagnoses and its calls of the last 24 hours; undefined calls are unknown. */
export function stateOfKey(id: string, diagnoses: readonly Pick<OfKey, 'cause' | 'keys'>[], calls: Counts | undefined): KeyState {
  const named = namedOf(id, diagnoses);
  if (named) return REASON_OF[named.cause];
  if (!calls) return 'unknown';
  return stateOfCounts(
    calls,
    diagnoses.some((diagnosis) => diagnosis.keys.length === 0 && explainsFailures(diagnosis)),
  );
}

/** The state of what no incident names; `hasFault`: whether all keys or models have one. */
function stateOfCounts({ total, failure }: Counts, hasFault: boolean): KeyState {
  if (total === 0) return 'noCalls';
  const hasManyFailures = failure / total > MANY_FAILURES;
  if (hasManyFailures && hasFault) return 'likePool';
  if (total < ENOUGH_CALLS) return 'tooFew';
  return hasManyFailures ? 'failures' : 'healthy';
}

type OfModel = Pick<Incident, 'cause' | 'keys' | 'models' | 'sentence'>;

/** The calls of a model in a list of groups, which may be cut. */
export function callsOfModel(model: string, groups: readonly { model: string | null; counts: Counts }[] | undefined, isCut = false): Counts | undefined {
  return groups?.find((group) => group.model === model)?.counts ?? (groups && !isCut ? { total: 0, failure: 0 } : undefined);
}

export interface ModelState {
  state: KeyState;
  sentence?: string | undefined;
}

/** The state of a model from its ongoing incidents and its calls of the last 24 hours. On the page of a key, they are those of the key. */
export function stateOfModel(model: string, incidents: readonly OfModel[] | undefined, calls: Counts | undefined): ModelState {
  if (!incidents || !calls) return { state: 'unknown' };
  // An incident of a key and no model is one of all its models.
  const named = incidents.find(({ keys, models }) => models.includes(model) || (models.length === 0 && keys.length > 0));
  if (named) return { state: REASON_OF[named.cause], sentence: named.sentence };
  const ofAll = incidents.find((incident) => incident.models.length === 0 && explainsFailures(incident));
  // The incident may be too short to show in the calls of a day.
  const state = ofAll && calls.failure > 0 ? 'likePool' : stateOfCounts(calls, false);
  return { state, sentence: state === 'likePool' ? ofAll?.sentence : undefined };
}

/** Whether an incident of a range includes one of its last day, which may start later: the API read fewer calls for it. */
export function includes(whole: Incident, part: Incident): boolean {
  const namesOf = ({ cause, keys, models }: Incident): string => JSON.stringify([cause, keys.map(({ id }) => id), models]);
  const lasts = whole.until == null || Date.parse(whole.until) >= Date.parse(part.since);
  return namesOf(whole) === namesOf(part) && Date.parse(whole.since) <= Date.parse(part.since) && lasts;
}

/** All incidents of a range, and those of its last day that they lack, or that have ended since. */
export function unionOf(all: readonly Incident[], day: readonly Incident[]): Incident[] {
  const isNews = (part: Incident): boolean => !all.some((whole) => includes(whole, part) && (part.until == null) === (whole.until == null));
  const news = day.filter(isNews);
  return [...all.filter((whole) => !news.some((part) => whole.until == null && includes(whole, part))), ...news];
}

/** Ongoing ones first; otherwise in the order of the API, the most severe first. */
export const ongoingFirst = (incidents: readonly Incident[]): Incident[] =>
  incidents.toSorted((a, b) => Number(a.until != null) - Number(b.until != null));

export type Headline =
  | { kind: 'waiting' | 'unknown' | 'noCalls' }
  | { kind: 'incident'; incident: Incident; more: number }
  | { kind: 'tooFew'; calls: number }
  | { kind: 'failures'; share: number; known: number }
  | { kind: 'healthy'; ended: number };

/** The diagnosed window: its start in milliseconds and its calls, if known. */
export interface Diagnosed {
  since: number;
  calls: Counts | undefined;
}

/** The first sentence of the page. A failed request is never health, and neither are many failures without a known cause. */
export function headlineOf(incidents: readonly Incident[] | undefined, { since, calls }: Diagnosed, hasFailed: boolean): Headline {
  const ongoing = incidents?.filter(({ until }) => until == null) ?? [];
  const [incident] = ongoing;
  const failures = incidents && calls ? unexplained(incidents, since, calls) : undefined;
  // A small fault is not the news while many calls fail for other reasons.
  if (incident && !(failures && incident.severity === 'INFO')) return { kind: 'incident', incident, more: ongoing.length - 1 };
  if (!incidents || !calls) return { kind: hasFailed ? 'unknown' : 'waiting' };
  if (calls.total === 0) return { kind: 'noCalls' };
  if (calls.total < ENOUGH_CALLS) return { kind: 'tooFew', calls: calls.total };
  if (failures) return failures;
  return { kind: 'healthy', ended: incidents.length };
}

/** The headline about many failures without a known cause, if there are. */
function unexplained(incidents: readonly Incident[], since: number, { total, failure }: Counts): Headline | undefined {
  const causes = incidents.filter(explainsFailures);
  // Each failure belongs to at most one incident. An incident that started earlier has an unknown part of its failures in the window.
  const explained = causes.reduce((sum, one) => sum + (Date.parse(one.since) >= since ? one.failures : 0), 0);
  const isMany = total >= ENOUGH_CALLS && (failure - explained) / total > MANY_FAILURES;
  return isMany ? { kind: 'failures', share: failure / total, known: causes.length } : undefined;
}

/** The calls of an incident, as parameters of the list of calls; undefined if it has none. */
export function callParams({ cause, keys, models, since, until }: Incident, end: number): Record<string, string | string[] | undefined> | undefined {
  if (cause === 'SILENT') return undefined;
  return {
    range: undefined,
    since: new Date(since).toISOString(),
    // The address has milliseconds: round up.
    until: new Date(until == null ? end : Date.parse(until) + 1).toISOString(),
    // Slow calls did not fail.
    ...(cause === 'SLOW' ? { sort: 'slowest' } : { status: 'failure' }),
    key: keys.map(({ id }) => id),
    model: models,
  };
}

/** A shaded part of a chart, in seconds. */
export interface Span {
  since: number;
  until: number;
  label: string;
  severity: Severity;
}

/** The times of incidents; ongoing ones last until the end of the chart. */
export const spansOf = (
  incidents: readonly Pick<Incident, 'cause' | 'severity' | 'since' | 'until'>[],
  causes: Record<Cause, string>,
): Span[] =>
  incidents.map(({ cause, severity, since, until }) => ({
    since: Date.parse(since) / 1000,
    until: until == null ? Infinity : Date.parse(until) / 1000,
    label: causes[cause],
    severity,
  }));
