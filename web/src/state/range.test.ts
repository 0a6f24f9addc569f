import { describe, expect, it } from 'vitest';
import { canBeDiagnosed, dayOf, diagnosedWindow, endOf, exceedsDay, intervalsOf, isLive, monthBefore, partsOf, periodBefore, rangeArguments, rangeEnds, rangeOf, rangeParams } from './range';

const NOW = Date.parse('2026-11-23T08:00:00Z');
const of = (query: string) => rangeOf(new URLSearchParams(query));

describe('ranges', () => {
  it('are read from an address and written back', () => {
    expect(of('')).toEqual({ preset: '24h' });
    expect(of('range=7d')).toEqual({ preset: '7d' });
    const span = { since: '2026-11-22T00:00:00.000Z', until: '2026-11-22T01:00:00.000Z' };
    expect(of('since=2026-11-22T08:00:00%2B08:00&until=2026-11-22T01:00:00Z&range=1h')).toEqual(span);
    expect(rangeParams(span)).toEqual({ range: undefined, ...span });
    expect(rangeParams({ preset: '24h' }).range).toBeUndefined();
    expect(rangeParams({ preset: '1h' }).range).toBe('1h');
  });

  it('are the usual one where the address is nothing', () => {
    for (const query of ['range=2y', 'since=x&until=y', 'since=2026-11-22T01:00:00Z', 'since=2026-11-22T02:00:00Z&until=2026-11-22T01:00:00Z']) {
      expect(of(query), query).toEqual({ preset: '24h' });
    }
  });

  it('give one of the two arguments', () => {
    expect(rangeArguments({ preset: 'month' }, NOW)).toEqual({ period: 'CURRENT_MONTH' });
    expect(rangeArguments(of('since=2026-11-22T00:00:00Z&until=2026-11-22T01:00:00Z'), NOW)).toEqual({
      between: { since: '2026-11-22T00:00:00.000Z', until: '2026-11-22T01:00:00.000Z' },
    });
  });

  it('may be a calendar day', () => {
    const now = new Date(2026, 10, 23, 8).getTime();
    const midnight = (day: number): string => new Date(2026, 10, day).toISOString();
    expect(rangeArguments({ preset: 'today' }, now)).toEqual({ between: { since: midnight(23), until: new Date(now).toISOString() } });
    expect(rangeArguments({ preset: 'yesterday' }, now)).toEqual({ between: { since: midnight(22), until: midnight(23) } });
    expect(dayOf(new Date(2026, 10, 22, 23, 59).toISOString())).toEqual({ since: midnight(22), until: midnight(23) });
  });

  it('are live if they end now', () => {
    const past = of('since=2026-11-22T00:00:00Z&until=2026-11-22T01:00:00Z');
    const future = of('since=2026-11-22T00:00:00Z&until=2027-01-01T00:00:00Z');
    expect([{ preset: '24h' as const }, { preset: 'today' as const }, { preset: 'yesterday' as const }, past].map(isLive)).toEqual([true, true, false, false]);
    expect([{ preset: '24h' as const }, past, future].map((range) => endOf(range, NOW))).toEqual([NOW, Date.parse('2026-11-22T01:00:00Z'), NOW]);
    expect(periodBefore(past, NOW)).toEqual({ since: '2026-11-21T23:00:00.000Z', until: '2026-11-22T00:00:00.000Z' });
  });

  it('are cut without a gap', () => {
    const parts = partsOf({ preset: '24h' }, NOW, 12);
    expect(parts).toHaveLength(12);
    expect(parts[0]?.since).toBe('2026-11-22T08:00:00.000Z');
    expect(parts.at(-1)?.until).toBe('2026-11-23T08:00:00.000Z');
    parts.slice(1).forEach((part, index) => expect(part.since).toBe(parts[index]?.until));
  });

  it('have intervals that give a readable chart', () => {
    for (const preset of ['1h', '8h', '24h', '7d', '30d'] as const) {
      const [since, until] = rangeEnds({ preset }, NOW);
      const intervals = intervalsOf({ preset }, NOW);
      expect(intervals.length).toBeGreaterThan(2);
      for (const seconds of intervals) expect((until - since) / 1000 / seconds).toBeLessThanOrEqual(400);
    }
  });

  it('compare a month with as much of the one before', () => {
    expect(monthBefore(new Date(2026, 2, 31, 10)).getTime()).toBe(new Date(2026, 1, 28, 10).getTime());
    expect(monthBefore(new Date(2026, 0, 15)).getTime()).toBe(new Date(2025, 11, 15).getTime());
  });
});

it('diagnoses the range, or its last 24 hours', () => {
  const now = Date.parse('2026-11-23T12:00:00Z');
  const until = '2026-11-23T06:00:00.000Z';
  const long = { since: '2026-11-01T00:00:00.000Z', until };
  expect(diagnosedWindow({ preset: '1h' }, 'day', now)).toEqual({ period: 'LAST_HOUR' });
  expect(diagnosedWindow({ preset: '24h' }, 'day', now)).toEqual({ period: 'LAST_24_HOURS' });
  expect(diagnosedWindow({ preset: '30d' }, 'all', now)).toEqual({ period: 'LAST_30_DAYS' });
  expect(diagnosedWindow({ preset: 'month' }, 'all', now)).toEqual({ period: 'CURRENT_MONTH' });
  expect(diagnosedWindow({ preset: '30d' }, 'day', now)).toEqual({ period: 'LAST_24_HOURS' });
  expect(diagnosedWindow(long, 'all', now)).toEqual({ between: long });
  expect(diagnosedWindow(long, 'day', now)).toEqual({ between: { since: '2026-11-22T06:00:00.000Z', until } });
  // It ends later: up to now.
  expect(diagnosedWindow({ since: until, until: '2026-11-24T00:00:00.000Z' }, 'all', now)).toEqual({ between: { since: until, until: '2026-11-23T12:00:00.000Z' } });
  expect([exceedsDay({ preset: '24h' }, now), exceedsDay({ preset: '7d' }, now), exceedsDay(long, now)]).toEqual([false, true, true]);
  expect([canBeDiagnosed(long, now), canBeDiagnosed({ ...long, since: '2026-10-22T05:59:59.000Z' }, now)]).toEqual([true, false]);
});
