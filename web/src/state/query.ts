// Answers of the server for as long as a component shows them: loaded, kept while newer ones are on
// their way, and renewed at a pace that the server can bear.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, send } from '../api/client';
import type { TypedDocumentString } from '../api/gen/graphql';
import { prefs } from './prefs';

export interface Answer<T> {
  data: T | undefined;
  error: ApiError | undefined;
  /** Whether `data` answers an older question than the one that is asked. */
  stale: boolean;
  loading: boolean;
  reload: () => void;
}

export interface Asked<V> {
  /** What makes it another question; `undefined` asks nothing. */
  key: string | undefined;
  /** Asked anew for each request, since windows end now. */
  variables: () => V;
  /** Renews so often while the page is live and visible. */
  everyMs?: number;
}

interface State<T> {
  data?: T;
  of?: string;
  error?: ApiError;
  loading: boolean;
}

/** A slow server is asked less often: what takes a second is not asked for every two. */
const REST = 8;

/** The last answer of each document, so that a view that is come back to is there at once. */
const kept = new Map<unknown, { of: string; data: unknown }>();

/** Whoever signs out leaves nothing behind. */
export function forgetAnswers(): void {
  kept.clear();
}

export function useQuery<T, V>(document: TypedDocumentString<T, V>, asked: Asked<V>): Answer<T> {
  const [state, setState] = useState<State<T>>(() => {
    const last = kept.get(document) as { of: string; data: T } | undefined;
    return { ...(last?.of === asked.key && last), loading: true };
  });
  const latest = useRef(asked);
  latest.current = asked;
  const [again, setAgain] = useState(0);
  const reload = useCallback(() => setAgain((count) => count + 1), []);

  useEffect(() => {
    const key = asked.key;
    if (key === undefined) return undefined;
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let missed = false;
    const load = async (): Promise<void> => {
      const began = performance.now();
      let next: { error: ApiError } | { data: T };
      try {
        next = { data: await send(document, latest.current.variables(), abort.signal) };
      } catch (cause) {
        if (abort.signal.aborted) return;
        next = { error: cause instanceof ApiError ? cause : new ApiError('INTERNAL', String(cause)) };
      }
      if (abort.signal.aborted) return;
      const came = next;
      if ('data' in came) {
        kept.set(document, { of: key, data: came.data });
        setState({ data: came.data, of: key, loading: false });
      } else {
        setState((before) => ({ ...before, error: came.error, loading: false }));
      }
      renewLater(performance.now() - began);
    };
    const renewLater = (tookMs: number): void => {
      const every = latest.current.everyMs;
      if (every === undefined) return;
      timer = setTimeout(renew, Math.max(every, tookMs * REST));
    };
    const renew = (): void => {
      missed = globalThis.document.hidden || !prefs.get().live;
      if (!missed) void load();
    };
    const wake = (): void => {
      if (missed) renew();
    };
    setState((before) => ({ ...before, loading: true }));
    void load();
    globalThis.document.addEventListener('visibilitychange', wake);
    const unfollow = prefs.follow(wake);
    return () => {
      abort.abort();
      clearTimeout(timer);
      unfollow();
      globalThis.document.removeEventListener('visibilitychange', wake);
    };
  }, [document, asked.key, again]);

  return {
    data: state.data,
    error: state.error,
    stale: state.data !== undefined && state.of !== asked.key,
    loading: state.loading,
    reload,
  };
}
