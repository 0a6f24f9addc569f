// Which keys need attention, and why. All of it is derived from the statistics of 24 hours and of the
// last hour that the API computes for all keys at once; no request for a single key.
//
// - **dead**: the provider refuses the key itself (401, 403, or 400 where it says that the key is
//   invalid). Nothing has succeeded in the last hour, or all day for keys that are seldom called.
//   It stays so until somebody replaces the key.
// - **throttled**: the provider answers 429 to more than a fifth of the calls, and to twice the share of
//   the pool's middle key. It passes by itself. Where the whole pool runs out of quota at once, as
//   it does before the provider's day ends, no single key stands out and the pool as such is told of.
// - **failing**: of the calls more than a fifth, and twice as many as of the middle key, fail otherwise.
//   Neither is told of a key that the last hour shows to be well again.
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

export interface Ailing {
  id: string;
  masked: string;
  reason: Reason;
  /** Of the window that shows it: the last hour or the last 24. */
  window: 'hour' | 'day';
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
  calls: { day: 20, hour: 8 },
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

function middle(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
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
  const hour = windowsOf(data.hour, data.hourFailures, refuses);
  const typical = {
    day: typicalOf(day, THRESHOLDS.calls.day),
    hour: typicalOf(hour, THRESHOLDS.calls.hour),
  };
  const p95s = new Map(data.day.flatMap(({ apiKey, latency }) => (apiKey && latency.p95 != null ? [[apiKey.id, latency.p95] as const] : [])));
  const middleP95 = middle([...p95s.values()]);
  const names = new Map(data.apiKeys.nodes.map((key) => [key.id, key]));
  for (const { apiKey } of data.day) if (apiKey && !names.has(apiKey.id)) names.set(apiKey.id, { ...apiKey, firstSeenAt: null, lastSeenAt: null });

  const keys: Ailing[] = [];
  for (const [id, { masked, lastSeenAt }] of names) {
    const whole = day.get(id) ?? { total: 0, failed: 0, refused: 0, throttled: 0 };
    const recent = hour.get(id) ?? { total: 0, failed: 0, refused: 0, throttled: 0 };
    const base = { id, masked, p95: p95s.get(id) ?? null, lastSeenAt };
    const of = (reason: Reason, window: 'hour' | 'day', affected: number, fits: (code: number | null) => boolean): void => {
      const { total } = window === 'hour' ? recent : whole;
      const word = words.get(id)?.filter(({ code }) => fits(code)).sort((a, b) => b.count - a.count)[0];
      keys.push({ ...base, reason, window, total, affected, word });
    };
    if (isDead(whole, recent)) {
      of('dead', 'day', whole.refused, (code) => refuses(id, code));
      continue;
    }
    const throttled = standsOut(whole, recent, typical, 'throttled');
    if (throttled) {
      of('throttled', throttled, (throttled === 'hour' ? recent : whole).throttled, (code) => code === 429);
      continue;
    }
    const failing = standsOut(whole, recent, typical, 'other');
    if (failing) {
      const window = failing === 'hour' ? recent : whole;
      of('failing', failing, window.failed - window.throttled, (code) => code !== 429);
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
function standsOut(
  day: Window,
  hour: Window,
  typical: { day: Typical; hour: Typical },
  kind: keyof Typical,
): 'hour' | 'day' | undefined {
  const found = (['hour', 'day'] as const).filter((name) => {
    const window = name === 'hour' ? hour : day;
    const part = kind === 'throttled' ? window.throttled : window.failed - window.throttled;
    const limit = Math.max(THRESHOLDS.share, typical[name][kind] * THRESHOLDS.timesMiddle);
    return window.total >= THRESHOLDS.calls[name] && share(part, window) > limit;
  });
  const lately = kind === 'throttled' ? hour.throttled : hour.failed - hour.throttled;
  const isOver = hour.total >= THRESHOLDS.calls.hour && share(lately, hour) < THRESHOLDS.share / 2;
  if (isOver) return undefined;
  return found.includes('day') ? 'day' : found[0];
}

function isSilent(lastSeenAt: string | null, othersAreSeen: boolean, now: number): boolean {
  if (!lastSeenAt || !othersAreSeen) return false;
  const age = now - Date.parse(lastSeenAt);
  return age > THRESHOLDS.silentAfterMs && age < THRESHOLDS.forgottenAfterMs;
}
