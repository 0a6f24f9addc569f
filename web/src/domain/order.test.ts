import { expect, it } from 'vitest';
import { byTime, merged } from './order';

const row = (id: string, timestamp: string): { id: string; timestamp: string } => ({ id, timestamp });

it('tells microseconds apart, however many digits there are', () => {
  const times = ['12:00:01Z', '12:00:00.5Z', '12:00:00.250001Z', '12:00:00.25Z', '12:00:00.000009Z', '12:00:00Z', '11:59:59.999999Z'];
  const rows = times.map((time) => row(time, `2026-03-01T${time}`));
  expect(rows.toReversed().sort(byTime)).toEqual(rows);
});

it('puts rows where they belong, once', () => {
  const rows = [row('d', '2026-03-01T12:00:04Z'), row('b', '2026-03-01T12:00:02Z')];
  const newer = [row('e', '2026-03-01T12:00:05Z'), row('c', '2026-03-01T12:00:03Z'), row('e', '2026-03-01T12:00:05Z'), row('b', '2026-03-01T12:00:02Z')];
  expect(merged(newer, rows).map(({ id }) => id)).toEqual(['e', 'd', 'c', 'b']);
});

it('leaves a list as it is where nothing is new', () => {
  const rows = [row('a', '2026-03-01T12:00:00Z')];
  expect(merged([row('a', '2026-03-01T12:00:00Z')], rows)).toBe(rows);
});

it('puts the one that came last first where both are of the same moment', () => {
  const at = '2026-03-01T12:00:00Z';
  expect(merged([row('c', at), row('b', at)], [row('a', at)]).map(({ id }) => id)).toEqual(['c', 'b', 'a']);
});
