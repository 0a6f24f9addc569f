// Derives which keys need attention, and why, from statistics that the API computes for all keys at once: of the
// last hour, the last 6 hours (for keys with few calls) and the last 24 hours before an instant. No request per key.
//
// - **dead**: the provider rejects the key itself (401, 403, or 400 with a message that the key is invalid), and no
//   call succeeded in the last hour, or in 24 hours if the key was not called in the last hour. The key must be
//   replaced.
// - **throttled**: more than a fifth of the calls get 429, and at least twice the share of the median key. It
//   recovers automatically. If the quota of the whole pool is exhausted, as before the end of the provider's day,
//   no single key stands out, and the page reports the pool instead.
// - **failing**: the same rule for other failures. Neither rule applies to a key that recovered in the last hour,
//   or with so few failures that they may be chance: of 50 keys with nine calls each and a failure rate of 1 in
//   20, three keys have two failures.
// - **slow**: p95 is more than three times that of the median key.
// - **silent**: called within a week but not in the last 24 hours, while other keys were.
//
// Every other key is **healthy** only after enough calls in the last 24 hours, of which few failed. Otherwise it has
// **too few calls**, **no recent calls**, or fails **like the pool**.
import type { AttentionQuery } from '../api/gen/graphql';
import { saysKeyIsInvalid } from './provider';

export type Reason = 'dead' | 'throttled' | 'failing' | 'slow' | 'silent';

export const REASONS: readonly Reason[] = ['dead', 'throttled', 'failing', 'slow', 'silent'];

export interface ProviderError {
  code: number | null;
  count: number;
  errorId: string;
  message: string | null;
  lastSeenAt: string;
}

/** The last hour, the last 6 hours, the last 24 hours. */
export type WindowName = 'hour' | 'sixHours' | 'day';

export interface UnhealthyKey {
  id: string;
  masked: string;
  reason: Reason;
  /** The window in which the state was detected. */
  window: WindowName;
  total: number;
  /** The number of calls that the state is based on. */
  affected: number;
  p95: number | null;
  lastSeenAt: string | null;
  providerError: ProviderError | undefined;
}

/** `unknown`: the answer of the API does not include the key. */
export type KeyState = Reason | 'likePool' | 'healthy' | 'tooFew' | 'noCalls' | 'unknown';

/** A problem of all keys: the share of the calls of the median key, or of all calls. */
export interface PoolProblem {
  kind: 'throttled' | 'failing';
  of: 'median' | 'all';
  share: number;
  window: WindowName;
}

export interface Attention {
  keys: UnhealthyKey[];
  /** The number of keys. */
  pool: number;
  poolProblem: PoolProblem | undefined;
  /** The states of all known keys by id. */
  states: Map<string, KeyState>;
  /** The number of keys in each state. */
  counts: Record<KeyState, number>;
  /** All known keys by id. */
  seen: Map<string, { masked: string; lastSeenAt: string | null }>;
}

export const THRESHOLDS = {
  /** The minimum number of rejections. */
  refusals: 3,
  /** The minimum share of failed calls. */
  share: 0.2,
  /** The minimum ratio to the share of the median key. */
  timesMedian: 2,
  /** The minimum number of calls in a window. */
  calls: { day: 20, sixHours: 8, hour: 8 },
  /** The minimum number of failures in a window. */
  failures: 4,
  /** The minimum ratio to the p95 of the median key. */
  timesSlower: 3,
  silentAfterMs: 24 * 3_600_000,
  forgottenAfterMs: 7 * 24 * 3_600_000,
  /** The share of the median key from which the pool is throttled or fails. */
  poolShare: 0.1,
  /** The share of failed calls from which a key is not healthy, and the share of all calls from which the pool is not. */
  unhealthyShare: 0.2,
} as const;

interface Window {
  total: number;
  failed: number;
  refused: number;
  throttled: number;
}

type Groups = AttentionQuery['day'] | AttentionQuery['hour'];
type Windows<T> = Record<WindowName, T>;

/** Of two values the smaller, so that the worse of two keys stands out. */
function median(values: number[]): number {
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

/** `now` is the end of the windows, `first` the number of groups that were requested. */
export function attentionOf(data: AttentionQuery, now: number, first = Infinity): Attention {
  const providerErrors = new Map<string, ProviderError[]>();
  for (const { apiKey, errorCode, count, latest, lastSeenAt } of data.providerErrors) {
    if (!apiKey) continue;
    const providerError = { code: errorCode ?? null, count, errorId: latest.id, message: latest.message ?? null, lastSeenAt };
    providerErrors.set(apiKey.id, [...(providerErrors.get(apiKey.id) ?? []), providerError]);
  }
  const invalid = new Set(
    [...providerErrors].filter(([, errors]) => errors.some((providerError) => providerError.code === 400 && saysKeyIsInvalid(providerError.message))).map(([id]) => id),
  );
  const refuses = (id: string, code: number | null): boolean =>
    code === 401 || code === 403 || (code === 400 && invalid.has(id));

  const day = windowsOf(data.day, data.dayFailures, refuses);
  const sixHours = windowsOf(data.sixHours, data.sixHoursFailures, refuses);
  const hour = windowsOf(data.hour, data.hourFailures, refuses);
  const typical = {
    day: typicalOf(day, THRESHOLDS.calls.day),
    sixHours: typicalOf(sixHours, THRESHOLDS.calls.sixHours),
    hour: typicalOf(hour, THRESHOLDS.calls.hour),
  };
  const p95s = new Map(data.day.flatMap(({ apiKey, latency }) => (apiKey && latency.p95 != null ? [[apiKey.id, latency.p95] as const] : [])));
  const medianP95 = median([...p95s.values()]);
  // Keys that were first called later do not exist yet.
  const isLater = (at: string | null | undefined): boolean => at != null && Date.parse(at) > now;
  const existing = data.apiKeys.nodes.filter(({ firstSeenAt }) => !isLater(firstSeenAt));
  const names = new Map(existing.map((key) => [key.id, key]));
  for (const { apiKey } of data.day) if (apiKey && !names.has(apiKey.id)) names.set(apiKey.id, { ...apiKey, firstSeenAt: null, lastSeenAt: null });

  const keys: UnhealthyKey[] = [];
  const states = new Map<string, KeyState>();
  // With more groups than requested, a key without a group may have calls.
  const isComplete = data.day.length < first;
  for (const [id, { masked, lastSeenAt }] of names) {
    const windows = { day: day.get(id) ?? NO_CALLS, sixHours: sixHours.get(id) ?? NO_CALLS, hour: hour.get(id) ?? NO_CALLS };
    const whole = windows.day;
    const base = { id, masked, p95: p95s.get(id) ?? null, lastSeenAt };
    const report = (reason: Reason, window: WindowName, affected: number, fits: (code: number | null) => boolean): void => {
      const { total } = windows[window];
      const providerError = providerErrors.get(id)?.filter(({ code }) => fits(code)).sort((a, b) => b.count - a.count)[0];
      keys.push({ ...base, reason, window, total, affected, providerError });
      states.set(id, reason);
    };
    states.set(id, stateWithoutReason(windows, isComplete));
    if (isDead(whole, windows.hour)) {
      report('dead', 'day', whole.refused, (code) => refuses(id, code));
      continue;
    }
    const throttled = standsOut(windows, typical, 'throttled');
    if (throttled) {
      report('throttled', throttled, windows[throttled].throttled, (code) => code === 429);
      continue;
    }
    const failing = standsOut(windows, typical, 'other');
    if (failing) {
      report('failing', failing, windows[failing].failed - windows[failing].throttled, (code) => code !== 429);
    } else if (whole.total >= THRESHOLDS.calls.day && (base.p95 ?? 0) > medianP95 * THRESHOLDS.timesSlower) {
      report('slow', 'day', whole.total, () => false);
    } else if (isSilent(lastSeenAt, day.size > 0, now)) {
      report('silent', 'day', 0, () => true);
    }
  }
  keys.sort((a, b) => REASONS.indexOf(a.reason) - REASONS.indexOf(b.reason) || b.affected - a.affected);
  const seen = new Map([...names].map(([id, { masked, lastSeenAt }]) => [id, { masked, lastSeenAt }]));
  const counts = { dead: 0, throttled: 0, failing: 0, slow: 0, silent: 0, likePool: 0, healthy: 0, tooFew: 0, noCalls: 0, unknown: 0 };
  for (const state of states.values()) counts[state] += 1;
  const later = data.apiKeys.nodes.length - existing.length;
  return { keys, pool: data.apiKeys.totalCount - later, poolProblem: poolProblemOf({ day, sixHours, hour }, typical), states, counts, seen };
}

function stateWithoutReason({ day, hour }: Windows<Window>, isComplete: boolean): KeyState {
  if (day.total === 0) return isComplete ? 'noCalls' : 'unknown';
  if (day.total < THRESHOLDS.calls.day && hour.total < THRESHOLDS.calls.hour) return 'tooFew';
  const recent = hour.total >= THRESHOLDS.calls.hour ? hour : day;
  return share(recent.failed, recent) > THRESHOLDS.unhealthyShare ? 'likePool' : 'healthy';
}

/** The problem of the latest window that has enough calls. */
function poolProblemOf(windows: Windows<Map<string, Window>>, typical: Windows<Typical>): PoolProblem | undefined {
  for (const window of ['hour', 'sixHours', 'day'] as const) {
    const all = sumOf(windows[window]);
    if (all.total < THRESHOLDS.calls.day) continue;
    const { throttled, other } = typical[window];
    if (throttled >= THRESHOLDS.poolShare && throttled >= other) return { kind: 'throttled', of: 'median', share: throttled, window };
    if (other >= THRESHOLDS.poolShare) return { kind: 'failing', of: 'median', share: other, window };
    const failed = share(all.failed, all);
    return failed > THRESHOLDS.unhealthyShare ? { kind: 'failing', of: 'all', share: failed, window } : undefined;
  }
  return undefined;
}

function sumOf(windows: Map<string, Window>): Window {
  const all = { ...NO_CALLS };
  for (const window of windows.values()) {
    all.total += window.total;
    all.failed += window.failed;
  }
  return all;
}

interface Typical {
  throttled: number;
  other: number;
}

function typicalOf(windows: Map<string, Window>, least: number): Typical {
  const busy = [...windows.values()].filter((window) => window.total >= least);
  // A single key is compared with none.
  if (busy.length < 2) return { throttled: 0, other: 0 };
  return {
    throttled: median(busy.map((window) => share(window.throttled, window))),
    other: median(busy.map((window) => share(window.failed - window.throttled, window))),
  };
}

function isDead(day: Window, hour: Window): boolean {
  const succeeded = (window: Window): number => window.total - window.failed;
  if (day.refused < THRESHOLDS.refusals || day.refused * 2 < day.failed) return false;
  return hour.total > 0 ? hour.refused > 0 && succeeded(hour) === 0 : succeeded(day) === 0;
}

/** The window in which a kind of failure stands out. None if the key recovered in the last hour. */
function standsOut(windows: Windows<Window>, typical: Windows<Typical>, kind: keyof Typical): WindowName | undefined {
  const part = (window: Window): number => (kind === 'throttled' ? window.throttled : window.failed - window.throttled);
  const { hour } = windows;
  const isOver = hour.total >= THRESHOLDS.calls.hour && share(part(hour), hour) < THRESHOLDS.share / 2;
  if (isOver) return undefined;
  return (['day', 'hour', 'sixHours'] as const).find((name) => {
    const window = windows[name];
    const limit = Math.max(THRESHOLDS.share, typical[name][kind] * THRESHOLDS.timesMedian);
    return window.total >= THRESHOLDS.calls[name] && part(window) >= THRESHOLDS.failures && share(part(window), window) > limit;
  });
}

function isSilent(lastSeenAt: string | null, othersAreSeen: boolean, now: number): boolean {
  if (!lastSeenAt || !othersAreSeen) return false;
  const age = now - Date.parse(lastSeenAt);
  return age > THRESHOLDS.silentAfterMs && age < THRESHOLDS.forgottenAfterMs;
}
