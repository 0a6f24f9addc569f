// An outage: the server is unreachable, or its database is. Meanwhile the page asks the server every second whether
// it is ready, and shows data again soon after the end; polls and the stream retry less often.
import { onReachability } from '../api/client';
import { store } from './store';

export type Outage = 'offline' | 'database';

const EVERY_MS = 1000;
/** For a server that says it is ready but fails again at once. */
const LONGEST_MS = 15_000;
const LASTING_MS = 10_000;

export const outage = store<Outage | undefined>(undefined);
/** The number of outages that have ended. */
export const recoveries = store(0);

/** Whether the last request failed because of the outage. */
let isFailing = false;

export function reportOutage(kind: Outage): void {
  isFailing = true;
  outage.set(kind);
}

onReachability((reached, error) => {
  if (!reached) reportOutage('offline');
  else if (error?.code === 'DATABASE_UNAVAILABLE') reportOutage('database');
  // Other errors say nothing about the database.
  else if (!error) isFailing = false;
});

let before = outage.get();
let timer: ReturnType<typeof setTimeout> | undefined;
let wait = EVERY_MS;
let recoveredAt = -Infinity;

// Only here an outage ends: if a single request fails again and again, each success of another one would make the page
// load everything again.
async function check(): Promise<void> {
  if (!isFailing) {
    outage.set(undefined);
  } else if (!document.hidden) {
    try {
      const response = await fetch('/readyz', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
      // A proxy may answer for a server that does not run.
      if (response.ok && (await response.text()).startsWith('ready')) outage.set(undefined);
    } catch {
      // Still unreachable.
    }
  }
  timer = undefined;
  checkLater();
}

function checkLater(): void {
  if (outage.get()) timer ??= setTimeout(() => void check(), wait);
}

outage.subscribe(() => {
  const now = outage.get();
  const hasEnded = before !== undefined && now === undefined;
  const hasStarted = before === undefined && now !== undefined;
  before = now;
  if (hasStarted) wait = performance.now() - recoveredAt < LASTING_MS ? Math.min(2 * wait, LONGEST_MS) : EVERY_MS;
  if (hasEnded) {
    recoveredAt = performance.now();
    recoveries.set(recoveries.get() + 1);
  }
  checkLater();
});
