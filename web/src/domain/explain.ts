// What distinguishes the calls of a selected time from the others: how large the share of each value is among them.

/** The rows of a value. */
export interface Count<V> {
  value: V;
  count: number;
}

export interface Share<V> {
  value: V;
  /** The share of the rows of the selection. */
  inside: number;
  /** The share of the other rows. */
  outside: number;
}

/** The shares of the values, those with the largest difference first. `all` includes the rows inside. */
export function sharesOf<V>(inside: readonly Count<V>[], all: readonly Count<V>[]): Share<V>[] {
  const sum = (counts: readonly Count<V>[]): number => counts.reduce((total, { count }) => total + count, 0);
  const within = new Map(inside.map(({ value, count }) => [value, count]));
  const total = new Map([...inside, ...all].map(({ value, count }) => [value, count]));
  const insideTotal = sum(inside);
  const outsideTotal = Math.max(0, sum([...total].map(([value, count]) => ({ value, count }))) - insideTotal);
  const shares = [...total].map(([value, count]) => {
    const own = within.get(value) ?? 0;
    return { value, inside: insideTotal ? own / insideTotal : 0, outside: outsideTotal ? Math.max(0, count - own) / outsideTotal : 0 };
  });
  return shares.sort((a, b) => difference(b) - difference(a) || b.inside - a.inside);
}

/** How much a share differs, in either direction. */
export const difference = ({ inside, outside }: Pick<Share<unknown>, 'inside' | 'outside'>): number => Math.abs(inside - outside);

/** The dimensions, the one that differs most first. */
export const mostDifferentFirst = <D extends { shares: Share<unknown>[] }>(dimensions: readonly D[]): D[] => {
  const most = ({ shares: [first] }: D): number => (first ? difference(first) : -1);
  return dimensions.toSorted((a, b) => most(b) - most(a));
};
