// The quotas of a key: how long their windows are and how full they are.
import type { QuotaRowFragment } from '../api/gen/graphql';

/** The seconds of a duration of the API: `PT1M`, `P1D`; undefined for another text. */
export function secondsOf(duration: string): number | undefined {
  const found = /^P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?)?$/.exec(duration);
  if (!found) return undefined;
  // A missing part is undefined.
  const [weeks = 0, days = 0, hours = 0, minutes = 0, seconds = 0] = found.slice(1).map((part: string | undefined) => Number(part ?? 0));
  return (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + seconds;
}

/** The share of a quota that is used; undefined if its limit is unknown. While calls are refused it is all used. */
export function usedShare({ ceiling, used, remaining }: Pick<QuotaRowFragment, 'used' | 'remaining'> & { ceiling?: { value: number } | null | undefined }): number | undefined {
  if (remaining === 0) return 1;
  if (!ceiling || ceiling.value <= 0) return undefined;
  return Math.min(1, used / ceiling.value);
}

/** A part of a timeline, as shares of its length. */
export interface TimelinePart<I> {
  incident: I;
  from: number;
  to: number;
}

/** The incidents within a time, in the order of their starts. */
export function timelineOf<I extends { since: string; until?: string | null }>(incidents: readonly I[], since: number, until: number): TimelinePart<I>[] {
  const at = (ms: number): number => Math.min(1, Math.max(0, (ms - since) / (until - since)));
  const parts = incidents.map((incident) => ({ incident, from: at(Date.parse(incident.since)), to: incident.until == null ? 1 : at(Date.parse(incident.until)) }));
  return parts.filter(({ from, to }) => to > from).sort((a, b) => a.from - b.from || b.to - a.to);
}
