import { expect, it } from 'vitest';
import type { KeyStatesQuery } from '../api/gen/graphql';
import { keyStatesOf } from './key-states';

const END = Date.parse('2026-11-29T03:00:00Z');
const key = (id: string, firstSeenAt = '2026-11-01T00:00:00Z', diagnoses: KeyStatesQuery['apiKeys']['nodes'][number]['diagnoses'] = []) => ({ id, masked: id, firstSeenAt, lastSeenAt: firstSeenAt, diagnoses });
const calls = (id: string, total: number, failure = 0) => ({ apiKey: { id, masked: id }, counts: { total, failure } });
const states = (data: KeyStatesQuery, first = 1000): Record<string, string> => Object.fromEntries([...keyStatesOf(data, END, first).keys].map(([id, { state }]) => [id, state]));

it('joins the diagnoses of keys with their calls', () => {
  const dead = key('dead', undefined, [{ cause: 'KEY_DEAD', keys: [{ id: 'dead' }], since: '2026-11-20T10:31:57Z', lastSuccessAt: null, failures: 5, sentence: 'replace it' }]);
  const data = { apiKeys: { nodes: [dead, key('busy'), key('bad'), key('quiet'), key('old')], totalCount: 5 }, day: [calls('dead', 5), calls('busy', 50), calls('bad', 50, 20), calls('quiet', 5)] };
  expect(states(data)).toEqual({ dead: 'dead', busy: 'healthy', bad: 'failures', quiet: 'tooFew', old: 'noCalls' });
  expect(keyStatesOf(data, END, 1000).keys.get('dead')?.sentences).toEqual(['replace it']);
  expect(keyStatesOf(data, END, 1000).keys.get('dead')?.since?.since).toBe('2026-11-20T10:31:57Z');
});

it('does not judge keys that the answer does not include', () => {
  const data = { apiKeys: { nodes: [key('a'), key('later', '2026-11-29T03:00:01Z')], totalCount: 5 }, day: [calls('unlisted', 50)] };
  // One group was requested, so others may be missing.
  expect(states(data, 1)).toEqual({ a: 'unknown', unlisted: 'unknown' });
  // Keys that were first called later do not exist yet.
  expect(keyStatesOf(data, END, 1).total).toBe(4);
});
