// Whether the whole pool stopped sending calls.
const HOUR_MS = 3_600_000;

/** The calls of a day from which a silent hour is unusual. */
const BUSY_DAY = 100;

/** Whether a pool is silent: no call for an hour although it was busy that day, or no call for a day. */
export function isSilent(lastCall: string | undefined, callsOfDay: number, now: number): boolean {
  if (lastCall === undefined) return false;
  return now - Date.parse(lastCall) > HOUR_MS && (callsOfDay === 0 || callsOfDay >= BUSY_DAY);
}
