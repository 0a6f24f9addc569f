import { expect, it } from 'vitest';
import { byTime, mergeRows } from './order';

const row = (id: string, timestamp: string): { id: string; timestamp: string } => ({ id, timestamp });

it('compares microseconds with any number of digits', () => {
  const times = ['12:00:01Z', '12:00:00.5Z', '12:00:00.250001Z', '12:00:00.25Z', '12:00:00.000009Z', '12:00:00Z', '11:59:59.999999Z'];
  const rows = times.map((time) => row(time, `2026-03-01T${time}`));
  expect(rows.toReversed().sort(byTime)).toEqual(rows);
});

it('inserts rows in order, without duplicates', () => {
  const rows = [row('d', '2026-03-01T12:00:04Z'), row('b', '2026-03-01T12:00:02Z')];
  const newer = [row('e', '2026-03-01T12:00:05Z'), row('c', '2026-03-01T12:00:03Z'), row('e', '2026-03-01T12:00:05Z'), row('b', '2026-03-01T12:00:02Z')];
  expect(mergeRows(newer, rows).map(({ id }) => id)).toEqual(['e', 'd', 'c', 'b']);
});

it('returns the same list if no row is new', () => {
  const rows = [row('a', '2026-03-01T12:00:00Z')];
  expect(mergeRows([row('a', '2026-03-01T12:00:00Z')], rows)).toBe(rows);
});

it('sorts the row that arrived last first if timestamps are equal', () => {
  const at = '2026-03-01T12:00:00Z';
  expect(mergeRows([row('c', at), row('b', at)], [row('a', at)]).map(({ id }) => id)).toEqual(['c', 'b', 'a']);
});
