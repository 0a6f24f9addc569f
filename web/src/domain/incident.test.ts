import { expect, it } from 'vitest';
import type { Cause } from '../api/gen/graphql';
import { callParams, headlineOf, ongoingFirst, REASONS, spansOf, stateOfKey, statesOfModels, type Incident } from './incident';

const incident = (change: Partial<Incident> = {}): Incident => ({
  id: 'diagnosis_1',
  cause: 'MODEL_OUTAGE',
  severity: 'CRITICAL',
  remedy: 'WAIT',
  keys: [],
  models: [],
  since: '2026-11-29T01:00:00.000123Z',
  until: null,
  failures: 9,
  share: 1,
  confidence: 0.99,
  sentence: 'x',
  evidence: [],
  ...change,
});
const ofKey = (id: string, cause: Cause): Incident => incident({ cause, keys: [{ id, masked: id }] });
const ended = incident({ id: 'diagnosis_2', until: '2026-11-29T02:00:00.000456Z' });

it('starts with the most severe ongoing incident', () => {
  const first = incident({ id: 'a' });
  expect(headlineOf([ended, first, incident({ id: 'b' })], 0, false)).toEqual({ kind: 'incident', incident: first, more: 1 });
  expect(ongoingFirst([ended, first]).map(({ id }) => id)).toEqual(['a', ended.id]);
});

it('is healthy only after enough calls, and never after a failed request', () => {
  expect(headlineOf([], 20, false)).toEqual({ kind: 'healthy', ended: 0 });
  expect(headlineOf([ended], 20, false)).toEqual({ kind: 'healthy', ended: 1 });
  expect(headlineOf([], 19, false)).toEqual({ kind: 'tooFew', calls: 19 });
  expect(headlineOf([], 0, false)).toEqual({ kind: 'noCalls' });
  expect(headlineOf(undefined, 20, true)).toEqual({ kind: 'unknown' });
  expect(headlineOf([], undefined, true)).toEqual({ kind: 'unknown' });
  expect(headlineOf(undefined, 20, false)).toEqual({ kind: 'waiting' });
});

it('takes the state of a key from the diagnosis that names it', () => {
  const stateBy = (cause: Cause): string => stateOfKey('k', [incident(), ofKey('other', 'SLOW'), ofKey('k', cause)], 100);
  const causes: Cause[] = ['KEY_DEAD', 'KEY_UNPAID', 'QUOTA_EXHAUSTED', 'POOL_EXHAUSTED', 'RATE_TOO_HIGH', 'SLOW', 'SILENT', 'CLIENT_FAULT', 'UNKNOWN'];
  expect(causes.map(stateBy)).toEqual(['dead', 'unpaid', 'quota', 'quota', 'throttled', 'slow', 'silent', 'failing', 'failing']);
  expect(new Set(causes.map(stateBy))).toEqual(new Set(REASONS));
});

it('knows the state of a key without a diagnosis only by its calls', () => {
  expect([0, 19, 20, undefined].map((calls) => stateOfKey('k', [], calls))).toEqual(['noCalls', 'tooFew', 'healthy', 'unknown']);
  expect([0, 19, 20, undefined].map((calls) => stateOfKey('k', [incident()], calls))).toEqual(['noCalls', 'likePool', 'likePool', 'unknown']);
});

it('marks the models of ongoing incidents of all keys', () => {
  const models = ['m'];
  const states = statesOfModels([incident({ models }), incident({ cause: 'SLOW', models }), { ...ofKey('k', 'KEY_DEAD'), models: ['of-key'] }, { ...ended, models: ['ended'] }]);
  expect([...states]).toEqual([['m', { reason: 'failing', sentence: 'x' }]]);
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
