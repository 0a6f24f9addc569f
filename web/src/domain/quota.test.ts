import { expect, test } from 'vitest';
import { secondsOf, timelineOf, usedShare } from './quota';

test('durations of the API', () => {
  const durations = ['PT1M', 'P1D', 'PT1H30M', 'P1DT12H', 'P1W', 'PT0.5S', 'PT90S'];
  expect(durations.map(secondsOf)).toEqual([60, 86_400, 5400, 129_600, 604_800, 0, 90]);
  expect(secondsOf('1 minute')).toBeUndefined();
});

test('a quota is used up while calls are refused, and unknown without a limit', () => {
  const of = (limit: number | undefined, used: number, remaining: number | null): number | undefined =>
    usedShare({ ceiling: limit === undefined ? null : { value: limit }, used, remaining });
  expect(of(100, 25, 75)).toBe(0.25);
  expect(of(100, 120, 3)).toBe(1);
  expect(of(100, 25, 0)).toBe(1);
  expect(of(undefined, 25, null)).toBeUndefined();
  expect(of(undefined, 25, 0)).toBe(1);
});

test('a timeline has the parts of incidents within its time', () => {
  const at = (second: number): string => new Date(second * 1000).toISOString();
  const incidents = [
    { since: at(150), until: null },
    { since: at(50), until: at(125) },
    { since: at(10), until: at(90) },
    { since: at(250), until: null },
  ];
  expect(timelineOf(incidents, 100_000, 200_000).map(({ from, to }) => [from, to])).toEqual([[0, 0.25], [0.5, 1]]);
});
