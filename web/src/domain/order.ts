// Sorts rows by time and merges newer ones.

export interface Timed {
  id: string;
  timestamp: string;
}

/** Timestamps have a variable number of fractional digits: pads them for comparison as text. */
const precise = (timestamp: string): string => timestamp.replace('Z', '').replace(/T[\d:]+$/, '$&.').padEnd(26, '0');

/** Compares timestamps, later first. */
export function laterFirst(a: string, b: string): number {
  const [one, other] = [precise(a), precise(b)];
  return one === other ? 0 : one < other ? 1 : -1;
}

export const byTime = (a: Timed, b: Timed): number => laterFirst(a.timestamp, b.timestamp);

/** Merges both lists without duplicates, latest first. Rows arrive in the order in which they are stored, not by time. */
export function mergeRows<R extends Timed>(newer: R[], rows: R[]): R[] {
  const known = new Set(rows.map((row) => row.id));
  const unknown: R[] = [];
  for (const row of newer) {
    if (known.has(row.id)) continue;
    known.add(row.id);
    unknown.push(row);
  }
  return unknown.length > 0 ? [...unknown, ...rows].sort(byTime) : rows;
}
