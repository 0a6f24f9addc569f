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

/** A slow server is asked less often: what takes a second is not asked for every two. */
const REST = 8;

export function useQuery<T, V>(document: TypedDocumentString<T, V>, asked: Asked<V>): Answer<T> {
  const [state, setState] = useState<{ data?: T; of?: string; error?: ApiError; loading: boolean }>({ loading: true });
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
      let next: { error?: ApiError; data?: T };
      try {
        next = { data: await send(document, latest.current.variables(), abort.signal) };
      } catch (cause) {
        if (abort.signal.aborted) return;
        next = { error: cause instanceof ApiError ? cause : new ApiError('INTERNAL', String(cause)) };
      }
      if (abort.signal.aborted) return;
      const { data, error } = next;
      setState((before) =>
        error ? { ...before, error, loading: false } : { data: data as T, of: key, loading: false },
      );
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
