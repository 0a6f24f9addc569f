// Which keys need attention, and why. All of it is derived from the statistics of 24 hours, of the last
// hour and of the last six, in which keys that are seldom called show as well, that the API computes for
// all keys at once; no request for a single key.
//
// - **dead**: the provider refuses the key itself (401, 403, or 400 where it says that the key is
//   invalid). Nothing has succeeded in the last hour, or all day for keys that are seldom called.
//   It stays so until somebody replaces the key.
// - **throttled**: the provider answers 429 to more than a fifth of the calls, and to twice the share of
//   the pool's middle key. It passes by itself. Where the whole pool runs out of quota at once, as
//   it does before the provider's day ends, no single key stands out and the pool as such is told of.
// - **failing**: of the calls more than a fifth, and twice as many as of the middle key, fail otherwise.
//   Neither is told of a key that the last hour shows to be well again, nor for so few failures that chance
//   makes them: of 50 keys with nine calls each, of which one in twenty fails, three have two failures.
// - **slow**: the 95th percentile is three times that of the middle key.
// - **silent**: called within a week, but not in the last 24 hours, while others were.
import type { AttentionQuery } from '../api/gen/graphql';
import { saysKeyIsInvalid } from './provider';

export type Reason = 'dead' | 'throttled' | 'failing' | 'slow' | 'silent';

export const REASONS: readonly Reason[] = ['dead', 'throttled', 'failing', 'slow', 'silent'];

export interface Word {
  code: number | null;
  count: number;
  errorId: string;
  message: string | null;
  lastSeenAt: string;
}

/** The last hour, the last six, the last 24. */
export type WindowName = 'hour' | 'lately' | 'day';

export interface Ailing {
  id: string;
  masked: string;
  reason: Reason;
  /** The one that shows it. */
  window: WindowName;
  total: number;
  /** The calls that the reason is about. */
  affected: number;
  p95: number | null;
  lastSeenAt: string | null;
  word: Word | undefined;
}

export interface Attention {
  keys: Ailing[];
  /** All keys that there are. */
  pool: number;
  /** The share of 429 of the middle key in the last hour, where it is high: the pool is throttled. */
  poolThrottled: number | undefined;
  /** Every key that is known, by its id. */
  seen: Map<string, { masked: string; lastSeenAt: string | null }>;
}

export const THRESHOLDS = {
  /** Refusals that are no accident. */
  refusals: 3,
  /** The share of calls that makes a fault. */
  share: 0.2,
  /** How much worse than the middle key. */
  timesMiddle: 2,
  /** Calls of a window below which a share says nothing. */
  calls: { day: 20, lately: 8, hour: 8 },
  /** Failures of a window that are no chance. */
  failures: 4,
  /** How much slower than the middle key. */
  timesSlower: 3,
  silentAfterMs: 24 * 3_600_000,
  forgottenAfterMs: 7 * 24 * 3_600_000,
  /** The share of 429 of the middle key at which the pool is throttled. */
  poolShare: 0.1,
} as const;

interface Window {
  total: number;
  failed: number;
  refused: number;
  throttled: number;
}

type Groups = AttentionQuery['day'] | AttentionQuery['hour'];
type Windows<T> = Record<WindowName, T>;

/** Of two the smaller, so that of two keys the one that fails stands out. */
function middle(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
}

function windowsOf(
  groups: Groups,
  failures: AttentionQuery['dayFailures'],
  refuses: (id: string, code: number | null) => boolean,
): Map<string, Window> {
  const windows = new Map<string, Window>();
  for (const { apiKey, counts } of groups) {
    if (apiKey) windows.set(apiKey.id, { total: counts.total, failed: counts.failure, refused: 0, throttled: 0 });
  }
  for (const { apiKey, statusCode, counts } of failures) {
    const window = apiKey && windows.get(apiKey.id);
    if (!window) continue;
    if (statusCode === 429) window.throttled += counts.total;
    else if (refuses(apiKey.id, statusCode ?? null)) window.refused += counts.total;
  }
  return windows;
}

const NO_CALLS: Window = { total: 0, failed: 0, refused: 0, throttled: 0 };

const share = (part: number, window: Window): number => (window.total ? part / window.total : 0);

export function attentionOf(data: AttentionQuery, now: number): Attention {
  const words = new Map<string, Word[]>();
  for (const { apiKey, errorCode, count, latest, lastSeenAt } of data.words) {
    if (!apiKey) continue;
    const word = { code: errorCode ?? null, count, errorId: latest.id, message: latest.message ?? null, lastSeenAt };
    words.set(apiKey.id, [...(words.get(apiKey.id) ?? []), word]);
  }
  const invalid = new Set(
    [...words].filter(([, said]) => said.some((word) => word.code === 400 && saysKeyIsInvalid(word.message))).map(([id]) => id),
  );
  const refuses = (id: string, code: number | null): boolean =>
    code === 401 || code === 403 || (code === 400 && invalid.has(id));

  const day = windowsOf(data.day, data.dayFailures, refuses);
  const lately = windowsOf(data.lately, data.latelyFailures, refuses);
  const hour = windowsOf(data.hour, data.hourFailures, refuses);
  const typical = {
    day: typicalOf(day, THRESHOLDS.calls.day),
    lately: typicalOf(lately, THRESHOLDS.calls.lately),
    hour: typicalOf(hour, THRESHOLDS.calls.hour),
  };
  const p95s = new Map(data.day.flatMap(({ apiKey, latency }) => (apiKey && latency.p95 != null ? [[apiKey.id, latency.p95] as const] : [])));
  const middleP95 = middle([...p95s.values()]);
  const names = new Map(data.apiKeys.nodes.map((key) => [key.id, key]));
  for (const { apiKey } of data.day) if (apiKey && !names.has(apiKey.id)) names.set(apiKey.id, { ...apiKey, firstSeenAt: null, lastSeenAt: null });

  const keys: Ailing[] = [];
  for (const [id, { masked, lastSeenAt }] of names) {
    const windows = { day: day.get(id) ?? NO_CALLS, lately: lately.get(id) ?? NO_CALLS, hour: hour.get(id) ?? NO_CALLS };
    const whole = windows.day;
    const base = { id, masked, p95: p95s.get(id) ?? null, lastSeenAt };
    const of = (reason: Reason, window: WindowName, affected: number, fits: (code: number | null) => boolean): void => {
      const { total } = windows[window];
      const word = words.get(id)?.filter(({ code }) => fits(code)).sort((a, b) => b.count - a.count)[0];
      keys.push({ ...base, reason, window, total, affected, word });
    };
    if (isDead(whole, windows.hour)) {
      of('dead', 'day', whole.refused, (code) => refuses(id, code));
      continue;
    }
    const throttled = standsOut(windows, typical, 'throttled');
    if (throttled) {
      of('throttled', throttled, windows[throttled].throttled, (code) => code === 429);
      continue;
    }
    const failing = standsOut(windows, typical, 'other');
    if (failing) {
      of('failing', failing, windows[failing].failed - windows[failing].throttled, (code) => code !== 429);
    } else if (whole.total >= THRESHOLDS.calls.day && (base.p95 ?? 0) > middleP95 * THRESHOLDS.timesSlower) {
      of('slow', 'day', whole.total, () => false);
    } else if (isSilent(lastSeenAt, day.size > 0, now)) {
      of('silent', 'day', 0, () => true);
    }
  }
  keys.sort((a, b) => REASONS.indexOf(a.reason) - REASONS.indexOf(b.reason) || b.affected - a.affected);
  const poolThrottled = typical.hour.throttled >= THRESHOLDS.poolShare ? typical.hour.throttled : undefined;
  const seen = new Map([...names].map(([id, { masked, lastSeenAt }]) => [id, { masked, lastSeenAt }]));
  return { keys, pool: data.apiKeys.totalCount, poolThrottled, seen };
}

interface Typical {
  throttled: number;
  other: number;
}

function typicalOf(windows: Map<string, Window>, least: number): Typical {
  const busy = [...windows.values()].filter((window) => window.total >= least);
  // A key that is alone is compared with nobody.
  if (busy.length < 2) return { throttled: 0, other: 0 };
  return {
    throttled: middle(busy.map((window) => share(window.throttled, window))),
    other: middle(busy.map((window) => share(window.failed - window.throttled, window))),
  };
}

function isDead(day: Window, hour: Window): boolean {
  const succeeded = (window: Window): number => window.total - window.failed;
  if (day.refused < THRESHOLDS.refusals || day.refused * 2 < day.failed) return false;
  return hour.total > 0 ? hour.refused > 0 && succeeded(hour) === 0 : succeeded(day) === 0;
}

/** In which window a kind of failure stands out, if in any. What the last hour shows to be over does not. */
function standsOut(windows: Windows<Window>, typical: Windows<Typical>, kind: keyof Typical): WindowName | undefined {
  const part = (window: Window): number => (kind === 'throttled' ? window.throttled : window.failed - window.throttled);
  const { hour } = windows;
  const isOver = hour.total >= THRESHOLDS.calls.hour && share(part(hour), hour) < THRESHOLDS.share / 2;
  if (isOver) return undefined;
  return (['day', 'hour', 'lately'] as const).find((name) => {
    const window = windows[name];
    const limit = Math.max(THRESHOLDS.share, typical[name][kind] * THRESHOLDS.timesMiddle);
    return window.total >= THRESHOLDS.calls[name] && part(window) >= THRESHOLDS.failures && share(part(window), window) > limit;
  });
}

function isSilent(lastSeenAt: string | null, othersAreSeen: boolean, now: number): boolean {
  if (!lastSeenAt || !othersAreSeen) return false;
  const age = now - Date.parse(lastSeenAt);
  return age > THRESHOLDS.silentAfterMs && age < THRESHOLDS.forgottenAfterMs;
}
