import { expect, it } from 'vitest';
import type { Cause } from '../api/gen/graphql';
import { callParams, callsOfModel, headlineOf, ongoingFirst, REASONS, spansOf, stateOfKey, stateOfModel, unionOf, type Counts, type Diagnosed, type Incident } from './incident';

const incident = (change: Partial<Incident> = {}): Incident => ({
  id: 'diagnosis_1',
  cause: 'MODEL_OUTAGE',
  severity: 'CRITICAL',
  remedy: 'WAIT',
  keys: [],
  models: [],
  since: '2026-11-29T01:00:00.000123Z',
  until: null,
  lastSuccessAt: null,
  failures: 9,
  share: 1,
  confidence: 0.99,
  sentence: 'x',
  evidence: [],
  ...change,
});
const ofKey = (id: string, cause: Cause): Incident => incident({ cause, keys: [{ id, masked: id }] });
const SINCE = Date.parse('2026-11-29T00:00:00Z');
const counts = (total: number, failure = 0): Counts => ({ total, failure });
const calls = (total: number, failure = 0): Diagnosed => ({ since: SINCE, calls: counts(total, failure) });
const ended = incident({ id: 'diagnosis_2', until: '2026-11-29T02:00:00.000456Z' });

it('starts with the most severe ongoing incident', () => {
  const first = incident({ id: 'a' });
  expect(headlineOf([ended, first, incident({ id: 'b' })], calls(0), false)).toEqual({ kind: 'incident', incident: first, more: 1 });
  expect(ongoingFirst([ended, first]).map(({ id }) => id)).toEqual(['a', ended.id]);
});

it('adds the incidents of the last day to those of the range', () => {
  const [a, b, c] = ['a', 'b', 'c'].map((model) => incident({ id: model, models: [model], failures: 9 })) as [Incident, Incident, Incident];
  const idsOf = (all: Incident[], day: Incident[]): string[] => unionOf(all, day).map(({ id }) => id);
  expect(idsOf([a, b], [b, c])).toEqual(['a', 'b', 'c']);
  // Its start in the last day is later, so that its id is another one.
  expect(idsOf([a, b], [{ ...b, id: 'later', since: '2026-11-29T03:00:00Z' }])).toEqual(['a', 'b']);
  // It has ended since the range was read.
  expect(idsOf([a, b], [{ ...b, id: 'ended', until: '2026-11-29T04:00:00Z' }])).toEqual(['a', 'ended']);
  // Another one of the same model.
  expect(idsOf([{ ...b, until: '2026-11-29T02:00:00Z' }], [{ ...b, id: 'again', since: '2026-11-29T03:00:00Z' }])).toEqual(['b', 'again']);
});

it('is healthy only after enough calls, and never after a failed request', () => {
  expect(headlineOf([], calls(20), false)).toEqual({ kind: 'healthy', ended: 0 });
  expect(headlineOf([ended], calls(20), false)).toEqual({ kind: 'healthy', ended: 1 });
  expect(headlineOf([], calls(19), false)).toEqual({ kind: 'tooFew', calls: 19 });
  expect(headlineOf([], calls(0), false)).toEqual({ kind: 'noCalls' });
  expect(headlineOf(undefined, calls(20), true)).toEqual({ kind: 'unknown' });
  expect(headlineOf([], { since: SINCE, calls: undefined }, true)).toEqual({ kind: 'unknown' });
  expect(headlineOf(undefined, calls(20), false)).toEqual({ kind: 'waiting' });
});

it('is not healthy while many calls failed without a known cause', () => {
  expect(headlineOf([], calls(1161, 472), false)).toEqual({ kind: 'failures', share: 472 / 1161, known: 0 });
  expect(headlineOf([], calls(100, 20), false)).toEqual({ kind: 'healthy', ended: 0 });
  expect(headlineOf([], calls(100, 21), false)).toMatchObject({ kind: 'failures', share: 0.21 });
  expect(headlineOf([], calls(19, 19), false)).toMatchObject({ kind: 'tooFew' });
  // Its 9 failures have a known cause.
  expect(headlineOf([ended], calls(100, 29), false)).toEqual({ kind: 'healthy', ended: 1 });
  expect(headlineOf([ended], calls(100, 30), false)).toEqual({ kind: 'failures', share: 0.3, known: 1 });
  // Its failures may be earlier than the window.
  expect(headlineOf([{ ...ended, since: '2026-11-28T23:00:00Z' }], calls(100, 29), false)).toMatchObject({ kind: 'failures' });
  // An outage is the news, a quota of one key is not.
  expect(headlineOf([incident()], calls(100, 60), false)).toMatchObject({ kind: 'incident' });
  expect(headlineOf([incident({ severity: 'INFO' })], calls(100, 60), false)).toEqual({ kind: 'failures', share: 0.6, known: 1 });
  expect(headlineOf([incident({ severity: 'INFO' })], calls(100, 29), false)).toMatchObject({ kind: 'incident' });
  // Slow calls did not fail.
  expect(headlineOf([{ ...ended, cause: 'SLOW' }], calls(100, 29), false)).toEqual({ kind: 'failures', share: 0.29, known: 0 });
});

it('takes the state of a key from the diagnosis that names it', () => {
  const stateBy = (cause: Cause): string => stateOfKey('k', [incident(), ofKey('other', 'SLOW'), ofKey('k', cause)], counts(100));
  const causes: Cause[] = ['KEY_DEAD', 'KEY_UNPAID', 'QUOTA_EXHAUSTED', 'POOL_EXHAUSTED', 'RATE_TOO_HIGH', 'SLOW', 'SILENT', 'CLIENT_FAULT', 'UNKNOWN'];
  expect(causes.map(stateBy)).toEqual(['dead', 'unpaid', 'quota', 'quota', 'throttled', 'slow', 'silent', 'failing', 'failing']);
  expect(new Set(causes.map(stateBy))).toEqual(new Set(REASONS));
});

it('knows the state of a key without a diagnosis only by its calls', () => {
  const states = (diagnoses: Incident[]): string[] =>
    [counts(0), counts(19, 19), counts(20), counts(100, 20), counts(100, 21), undefined].map((calls) => stateOfKey('k', diagnoses, calls));
  expect(states([])).toEqual(['noCalls', 'tooFew', 'healthy', 'healthy', 'failures', 'unknown']);
  // An incident of all keys concerns only keys that fail.
  expect(states([incident()])).toEqual(['noCalls', 'likePool', 'healthy', 'healthy', 'likePool', 'unknown']);
  expect(states([incident({ cause: 'SLOW' }), incident({ cause: 'SILENT' }), ofKey('other', 'KEY_DEAD')])).toEqual(states([]));
});

it('gives a model the state of its incident, else that of its calls', () => {
  const stateOf = (incidents: Incident[], calls: Counts): string => stateOfModel('m', incidents, calls).state;
  expect(stateOfModel('m', [incident({ models: ['m'] }), incident({ cause: 'SLOW', models: ['m'] })], counts(100, 100))).toEqual({ state: 'failing', sentence: 'x' });
  expect(stateOf([incident({ models: ['other'] })], counts(100))).toBe('healthy');
  expect(stateOf([], counts(19))).toBe('tooFew');
  expect(stateOf([], counts(0))).toBe('noCalls');
  expect(stateOf([], counts(100, 21))).toBe('failures');
  // An incident of all models explains its failures; slow calls do not.
  expect(stateOfModel('m', [incident({ cause: 'PROVIDER_OUTAGE' })], counts(100, 21))).toEqual({ state: 'likePool', sentence: 'x' });
  expect(stateOf([incident({ cause: 'PROVIDER_OUTAGE' })], counts(100, 1))).toBe('likePool');
  expect(stateOf([incident({ cause: 'PROVIDER_OUTAGE' })], counts(100))).toBe('healthy');
  expect(stateOf([incident({ cause: 'SLOW' })], counts(100, 21))).toBe('failures');
  // On the page of a dead key, all its models are dead.
  expect(stateOf([ofKey('k', 'KEY_DEAD')], counts(100, 100))).toBe('dead');
  expect(stateOfModel('m', undefined, counts(100)).state).toBe('unknown');
  expect(stateOfModel('m', [], undefined).state).toBe('unknown');
  const groups = [{ model: 'm', counts: counts(5) }];
  expect(callsOfModel('m', groups)).toEqual(counts(5));
  expect(callsOfModel('other', groups)).toEqual(counts(0));
  expect(callsOfModel('other', groups, true)).toBeUndefined();
  expect(callsOfModel('m', undefined)).toBeUndefined();
});

it('links to the affected calls', () => {
  const end = Date.parse('2026-11-29T03:00:00Z');
  const key = [{ id: 'k', masked: 'k' }];
  expect(callParams(incident({ models: ['m'], keys: key }), end)).toEqual({
    range: undefined,
    since: '2026-11-29T01:00:00.000Z',
    until: '2026-11-29T03:00:00.000Z',
    status: 'failure',
    key: ['k'],
    model: ['m'],
  });
  // Rounded up: the last failure is before it.
  expect(callParams(ended, end)?.['until']).toBe('2026-11-29T02:00:00.001Z');
  expect(callParams(incident({ cause: 'SLOW' }), end)).toMatchObject({ sort: 'slowest' });
  expect(callParams(incident({ cause: 'SLOW' }), end)).not.toHaveProperty('status');
  expect(callParams(incident({ cause: 'SILENT' }), end)).toBeUndefined();
});

it('shades ongoing incidents until the end of a chart', () => {
  const causes = { MODEL_OUTAGE: 'Outage' } as Record<Cause, string>;
  expect(spansOf([incident(), ended], causes).map(({ until, label }) => [until, label])).toEqual([[Infinity, 'Outage'], [Date.parse('2026-11-29T02:00:00Z') / 1000, 'Outage']]);
});
