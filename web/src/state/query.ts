// Query hook: loads an answer, keeps it while the next one loads, and polls at a rate that adapts to the
// server's speed. Loads again after an outage.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, send } from '../api/client';
import type { TypedDocumentString } from '../api/gen/graphql';
import { recoveries } from './outage';
import { prefs } from './prefs';
import { startWait } from './waiting';

export interface Answer<T> {
  data: T | undefined;
  error: ApiError | undefined;
  /** Whether `data` belongs to an earlier `key`. */
  stale: boolean;
  loading: boolean;
  reload: () => void;
}

/** The data of an answer, unless they belong to an earlier key or a later request has failed. */
export const fresh = <T>({ data, error, stale }: Answer<T>): T | undefined => (stale || error ? undefined : data);

export interface QueryOptions<V> {
  /** Identifies the query; a new key loads a new answer. `undefined` sends nothing. */
  key: string | undefined;
  /** Evaluated for each request, since windows end now. */
  variables: () => V;
  /** The polling interval while the page is live and visible. */
  everyMs?: number | undefined;
}

interface State<T> {
  data?: T;
  of?: string;
  error?: ApiError;
  loading: boolean;
}

/** The pause between polls is at least this many times the duration of the last request. */
const PAUSE_FACTOR = 8;

/** The last answer of each document, so that a view shows it at once when the user returns. */
const cache = new Map<unknown, { of: string; data: unknown }>();

/** Called at sign-out. */
export function clearAnswerCache(): void {
  cache.clear();
}

export function useQuery<T, V>(document: TypedDocumentString<T, V>, options: QueryOptions<V>): Answer<T> {
  const [state, setState] = useState<State<T>>(() => {
    const last = cache.get(document) as { of: string; data: T } | undefined;
    return { ...(last?.of === options.key && last), loading: true };
  });
  const latest = useRef(options);
  latest.current = options;
  const [again, setAgain] = useState(0);
  const reload = useCallback(() => setAgain((count) => count + 1), []);

  const shown = useRef(state);
  shown.current = state;
  useEffect(() => {
    const key = options.key;
    if (key === undefined) return undefined;
    let request: AbortController | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let missed = false;
    let stopped = false;
    const stop = (): void => {
      stopped = true;
      request?.abort();
      clearTimeout(timer);
      finishWait?.();
    };
    const cancel = (): void => {
      stop();
      setState((before) => ({ ...before, error: new ApiError('CANCELLED', ''), loading: false }));
    };
    const isShown = shown.current.of === key && shown.current.data !== undefined;
    let finishWait = isShown ? undefined : startWait(cancel);
    const load = async (): Promise<void> => {
      request?.abort();
      const { signal } = (request = new AbortController());
      const startedAt = performance.now();
      let result: { error: ApiError } | { data: T };
      try {
        result = { data: await send(document, latest.current.variables(), signal) };
      } catch (cause) {
        result = { error: cause instanceof ApiError ? cause : new ApiError('INTERNAL', String(cause)) };
      }
      if (signal.aborted) return;
      finishWait?.();
      finishWait = undefined;
      if ('data' in result) {
        cache.set(document, { of: key, data: result.data });
        setState({ data: result.data, of: key, loading: false });
      } else {
        const { error } = result;
        setState((before) => ({ ...before, error, loading: false }));
      }
      renewLater(performance.now() - startedAt);
    };
    const renewLater = (tookMs: number): void => {
      const every = latest.current.everyMs;
      if (every === undefined) return;
      timer = setTimeout(renew, Math.max(every, tookMs * PAUSE_FACTOR));
    };
    const renew = (): void => {
      missed = globalThis.document.hidden || !prefs.get().live;
      if (!missed) void load();
    };
    const wake = (): void => {
      if (missed) renew();
    };
    const recover = (): void => {
      if (stopped) return;
      clearTimeout(timer);
      void load();
    };
    setState(({ data, of }) => ({ ...(data !== undefined && { data }), ...(of !== undefined && { of }), loading: true }));
    void load();
    globalThis.document.addEventListener('visibilitychange', wake);
    const unsubscribe = [prefs.subscribe(wake), recoveries.subscribe(recover)];
    return () => {
      stop();
      for (const end of unsubscribe) end();
      globalThis.document.removeEventListener('visibilitychange', wake);
    };
  }, [document, options.key, again]);

  return {
    data: state.data,
    error: state.error,
    stale: state.data !== undefined && state.of !== options.key,
    loading: state.loading,
    reload,
  };
}
