import { expect, it } from 'vitest';
import type { AttentionQuery } from '../api/gen/graphql';
import { attentionOf, type WindowName } from './attention';

const NOW = Date.parse('2026-11-23T08:00:00Z');

interface Key {
  /** Calls by status code, of the day, the last six hours and the last hour; 200 is a success. */
  day: Record<number, number>;
  sixHours?: Record<number, number>;
  hour?: Record<number, number>;
  providerErrors?: [number, string][];
  p95?: number;
  lastSeenAt?: string;
}

/** The answer of the API for these keys. */
function answer(keys: Record<string, Key>): AttentionQuery {
  const entries = Object.entries(keys);
  const sum = (codes: Record<number, number>, failed: boolean): number =>
    Object.entries(codes).reduce((all, [code, count]) => all + (!failed || code !== '200' ? count : 0), 0);
  const groups = (window: WindowName) =>
    entries
      .filter(([, key]) => sum(key[window] ?? {}, false) > 0)
      .map(([id, key]) => ({
        apiKey: { id, masked: id },
        counts: { total: sum(key[window] ?? {}, false), failure: sum(key[window] ?? {}, true) },
        latency: { p95: key.p95 ?? 1000 },
      }));
  const failures = (window: WindowName) =>
    entries.flatMap(([id, key]) =>
      Object.entries(key[window] ?? {})
        .filter(([code]) => code !== '200')
        .map(([code, total]) => ({ apiKey: { id }, statusCode: code === '0' ? null : Number(code), counts: { total } })),
    );
  return {
    day: groups('day'),
    sixHours: groups('sixHours'),
    hour: groups('hour'),
    dayFailures: failures('day'),
    sixHoursFailures: failures('sixHours'),
    hourFailures: failures('hour'),
    providerErrors: entries.flatMap(([id, { providerErrors = [] }]) =>
      providerErrors.map(([errorCode, message], index) => ({ apiKey: { id }, errorCode, count: 9 - index, lastSeenAt: '', latest: { id: 'e', message } })),
    ),
    apiKeys: {
      nodes: entries.map(([id, key]) => ({ id, masked: id, firstSeenAt: null, lastSeenAt: key.lastSeenAt ?? '2026-11-23T07:59:00Z' })),
      pageInfo: { hasNextPage: false },
      totalCount: entries.length,
    },
  };
}

const healthy: Key = { day: { 200: 190, 429: 4, 503: 6 }, sixHours: { 200: 58, 429: 2 }, hour: { 200: 20 } };
const pool = { a: healthy, b: healthy, c: healthy, d: healthy, e: healthy };
const reasons = (keys: Record<string, Key>): Record<string, string> =>
  Object.fromEntries(attentionOf(answer({ ...pool, ...keys }), NOW).keys.map(({ id, reason }) => [id, reason]));

it('reports no healthy key', () => {
  expect(reasons({})).toEqual({});
  expect(reasons({ quiet: { day: { 200: 1, 500: 1 } } })).toEqual({});
});

it('distinguishes dead keys from keys with bad requests', () => {
  const suspended: Key = { day: { 200: 100, 403: 40 }, hour: { 403: 10 }, providerErrors: [[403, 'suspended']] };
  expect(reasons({ suspended })).toEqual({ suspended: 'dead' });
  expect(attentionOf(answer({ ...pool, suspended }), NOW).keys[0]).toMatchObject({ affected: 40, total: 140, providerError: { message: 'suspended' } });
  expect(reasons({ invalid: { day: { 400: 5 }, providerErrors: [[400, 'API_KEY_INVALID']] } })).toEqual({ invalid: 'dead' });
  expect(reasons({ invalidRequests: { day: { 400: 5, 200: 3 }, providerErrors: [[400, 'contents is not specified']] } })).toEqual({});
  // Replaced in the meantime, or refused only once.
  expect(reasons({ replaced: { day: { 200: 100, 403: 40 }, hour: { 200: 10 } } })).toEqual({});
  expect(reasons({ once: { day: { 403: 2 } } })).toEqual({});
});

it('ignores failures that may be chance', () => {
  expect(reasons({ x: { day: { 200: 190, 500: 10 }, hour: { 200: 7, 500: 2 } } })).toEqual({});
  expect(reasons({ x: { day: { 200: 190, 429: 10 }, hour: { 200: 6, 429: 3 } } })).toEqual({});
  expect(reasons({ x: { day: { 200: 190, 429: 10 }, hour: { 200: 5, 429: 4 } } })).toEqual({ x: 'throttled' });
});

it('finds throttled keys at night, when an hour has few calls', () => {
  const quiet: Key = { day: { 200: 190, 429: 10 }, sixHours: { 200: 5, 429: 6 }, hour: { 200: 1, 429: 1 } };
  expect(attentionOf(answer({ ...pool, quiet }), NOW).keys).toMatchObject([{ id: 'quiet', reason: 'throttled', window: 'sixHours', affected: 6, total: 11 }]);
  // It recovered in the last hour.
  expect(reasons({ quiet: { ...quiet, hour: { 200: 8 } } })).toEqual({});
});

it('reports the keys of a small pool', () => {
  const reasonsOf = (key: Key, others: Record<string, Key> = {}): unknown =>
    attentionOf(answer({ key, ...others }), NOW).keys.map(({ id, reason }) => [id, reason]);
  const throttled: Key = { day: { 200: 70, 429: 50 }, hour: { 200: 4, 429: 8 } };
  const failing: Key = { day: { 200: 70, 500: 50 }, hour: { 200: 4, 500: 8 } };
  expect(reasonsOf(throttled)).toEqual([['key', 'throttled']]);
  expect(reasonsOf(failing)).toEqual([['key', 'failing']]);
  expect(reasonsOf(throttled, { healthy })).toEqual([['key', 'throttled']]);
  expect(reasonsOf(healthy, { other: healthy })).toEqual([]);
});

it('distinguishes a throttled key from a throttled pool', () => {
  expect(reasons({ one: { day: { 200: 70, 429: 50 }, hour: { 200: 4, 429: 8 } } })).toEqual({ one: 'throttled' });
  const storm: Key = { day: { 200: 150, 429: 40 }, hour: { 200: 12, 429: 8 } };
  const all = { a: storm, b: storm, c: storm, d: storm, e: storm };
  const { keys, poolProblem, counts } = attentionOf(answer(all), NOW);
  expect(keys).toEqual([]);
  expect(poolProblem).toMatchObject({ kind: 'throttled', of: 'median', window: 'hour' });
  expect(poolProblem?.share).toBeCloseTo(0.4);
  expect(counts).toMatchObject({ likePool: 5, healthy: 0 });
});

it('finds failing, slow and silent keys', () => {
  expect(reasons({ x: { day: { 200: 60, 500: 40 }, hour: { 200: 5, 500: 5 } } })).toEqual({ x: 'failing' });
  expect(reasons({ x: { day: { 200: 60, 0: 40 } } })).toEqual({ x: 'failing' });
  expect(reasons({ x: { ...healthy, p95: 3001 } })).toEqual({ x: 'slow' });
  expect(reasons({ x: { ...healthy, p95: 2999 } })).toEqual({});
  expect(reasons({ x: { day: {}, lastSeenAt: '2026-11-21T08:00:00Z' } })).toEqual({ x: 'silent' });
  expect(reasons({ x: { day: {}, lastSeenAt: '2026-11-01T08:00:00Z' } })).toEqual({});
});

it('reports a pool that fails as a whole, and calls none of its keys healthy', () => {
  const outage: Key = { day: { 200: 150, 500: 60 }, hour: { 200: 8, 500: 6 } };
  expect(attentionOf(answer({ a: outage, b: outage, c: outage }), NOW)).toMatchObject({
    keys: [],
    poolProblem: { kind: 'failing', of: 'median', window: 'hour' },
    counts: { likePool: 3, healthy: 0 },
  });
  // Many keys with few calls each.
  const few = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`k${index}`, { day: { 200: 1, 500: 1 }, sixHours: { 200: 1, 500: 1 }, hour: { 200: 1, 500: 1 } }]));
  expect(attentionOf(answer(few), NOW)).toMatchObject({ keys: [], poolProblem: { of: 'all', share: 0.5, window: 'hour' }, counts: { tooFew: 20, healthy: 0 } });
  expect(attentionOf(answer(pool), NOW).poolProblem).toBeUndefined();
});

it('calls a key healthy only after enough calls', () => {
  const statesOf = (keys: Record<string, Key>, first?: number): unknown => Object.fromEntries(attentionOf(answer(keys), NOW, first).states);
  const old: Key = { day: {}, lastSeenAt: '2026-10-01T08:00:00Z' };
  expect(statesOf({ healthy, few: { day: { 200: 19 } }, enough: { day: { 200: 20 } }, old })).toEqual({ healthy: 'healthy', few: 'tooFew', enough: 'healthy', old: 'noCalls' });
  // The answer has the worst key only.
  expect(statesOf({ healthy, old }, 1)).toEqual({ healthy: 'healthy', old: 'unknown' });
  // A key that was first called after the range.
  const data = answer({ healthy });
  data.apiKeys.nodes.push({ id: 'later', masked: 'later', firstSeenAt: '2026-11-23T08:00:01Z', lastSeenAt: '2026-11-23T09:00:00Z' });
  data.apiKeys.totalCount = 2;
  const { pool: count, states } = attentionOf(data, NOW);
  expect([count, [...states.keys()]]).toEqual([1, ['healthy']]);
});

it('sorts the worst key first', () => {
  const keys = { slow: { ...healthy, p95: 9000 }, dead: { day: { 403: 9 } }, worse: { day: { 403: 90 } } };
  expect(Object.keys(reasons(keys))).toEqual(['worse', 'dead', 'slow']);
});
