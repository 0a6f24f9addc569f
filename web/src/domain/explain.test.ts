import { expect, test } from 'vitest';
import { mostDifferentFirst, sharesOf } from './explain';

test('a value that is frequent only in the selection is first', () => {
  const inside = [{ value: '200', count: 20 }, { value: '503', count: 80 }];
  const all = [{ value: '200', count: 920 }, { value: '503', count: 80 }, { value: '429', count: 100 }];
  const shares = sharesOf(inside, all);
  expect(shares).toEqual([
    { value: '503', inside: 0.8, outside: 0 },
    { value: '200', inside: 0.2, outside: 0.9 },
    { value: '429', inside: 0, outside: 0.1 },
  ]);
});

test('the selection may be everything, or nothing', () => {
  const all = [{ value: 'a', count: 3 }, { value: 'b', count: 1 }];
  expect(sharesOf(all, all).map(({ inside, outside }) => [inside, outside])).toEqual([[0.75, 0], [0.25, 0]]);
  expect(sharesOf([], all).map(({ inside, outside }) => [inside, outside])).toEqual([[0, 0.75], [0, 0.25]]);
  // Rows that arrived between the two counts are not negative.
  expect(sharesOf([{ value: 'a', count: 4 }], [{ value: 'a', count: 3 }])).toEqual([{ value: 'a', inside: 1, outside: 0 }]);
});

test('the dimension that differs most is first', () => {
  const dimension = (name: string, inside: number): { name: string; shares: { value: string; inside: number; outside: number }[] } => ({ name, shares: [{ value: 'x', inside, outside: 0.5 }] });
  const sorted = mostDifferentFirst([dimension('same', 0.5), dimension('less', 0.1), dimension('more', 0.6), { name: 'empty', shares: [] }]);
  expect(sorted.map(({ name }) => name)).toEqual(['less', 'more', 'same', 'empty']);
});
