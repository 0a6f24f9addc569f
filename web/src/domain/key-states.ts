// The states of keys: their diagnoses joined with their calls of the last 24 hours.
import type { KeyStatesQuery } from '../api/gen/graphql';
import { namedOf, stateOfKey, type Counts, type KeyState, type Since } from './incident';

export interface KnownKey {
  masked: string;
  lastSeenAt: string | null;
  state: KeyState;
  /** The sentences of its diagnoses. */
  sentences: string[];
  /** The start of the incident that gives it its state. */
  since: Since | undefined;
}

export interface KeyStates {
  /** By id. */
  keys: Map<string, KnownKey>;
  /** The number of keys. */
  total: number;
}

/** `end` is the end of the range in milliseconds, `first` the number of groups that were requested. */
export function keyStatesOf({ apiKeys, day }: KeyStatesQuery, end: number, first: number): KeyStates {
  const calls = new Map(day.flatMap(({ apiKey, counts }) => (apiKey ? [[apiKey.id, counts] as const] : [])));
  // With more groups than requested, a key without a group may have calls.
  const callsOf = (id: string): Counts | undefined => calls.get(id) ?? (day.length < first ? { total: 0, failure: 0 } : undefined);
  // Keys that were first called later do not exist yet.
  const existing = apiKeys.nodes.filter(({ firstSeenAt }) => firstSeenAt == null || Date.parse(firstSeenAt) <= end);
  const keys = new Map<string, KnownKey>();
  for (const { id, masked, lastSeenAt, diagnoses } of existing) {
    const state = stateOfKey(id, diagnoses, callsOf(id));
    keys.set(id, { masked, lastSeenAt: lastSeenAt ?? null, state, sentences: diagnoses.map(({ sentence }) => sentence), since: namedOf(id, diagnoses) });
  }
  for (const { apiKey } of day) {
    if (apiKey && !keys.has(apiKey.id)) keys.set(apiKey.id, { masked: apiKey.masked, lastSeenAt: null, state: 'unknown', sentences: [], since: undefined });
  }
  return { keys, total: apiKeys.totalCount - (apiKeys.nodes.length - existing.length) };
}
