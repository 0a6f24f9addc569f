// Rows by time, and newer ones among those that are there.

export interface Timed {
  id: string;
  timestamp: string;
}

/** The server writes as many digits of a second as there are; a text without any is not later than one with. */
const precise = (timestamp: string): string => timestamp.replace('Z', '').replace(/T[\d:]+$/, '$&.').padEnd(26, '0');

/** Orders moments. */
export function laterFirst(a: string, b: string): number {
  const [one, other] = [precise(a), precise(b)];
  return one === other ? 0 : one < other ? 1 : -1;
}

export const byTime = (a: Timed, b: Timed): number => laterFirst(a.timestamp, b.timestamp);

/** Both together, the latest first and each once. Rows come as they are stored, which is not always in this order. */
export function merged<R extends Timed>(newer: R[], rows: R[]): R[] {
  const known = new Set(rows.map((row) => row.id));
  const unknown: R[] = [];
  for (const row of newer) {
    if (known.has(row.id)) continue;
    known.add(row.id);
    unknown.push(row);
  }
  return unknown.length > 0 ? [...unknown, ...rows].sort(byTime) : rows;
}
