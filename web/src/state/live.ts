// Whether what is shown follows the server, and since when.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { ApiError } from '../api/client';
import type { TypedDocumentString } from '../api/gen/graphql';
import { follow, type StreamState } from '../api/stream';
import { prefs, usePrefs } from './prefs';
import { store } from './store';

export const streamState = store<StreamState | undefined>(undefined);
export const updatedAt = store<number | undefined>(undefined);

/** A subscription while the page is live and seen; `undefined` where there is no event yet. */
export function useSubscription<T, V>(
  document: TypedDocumentString<T, V> | undefined,
  variables: V,
  onData: (data: T) => void,
  onError?: (error: ApiError) => void,
): void {
  const { live } = usePrefs();
  const visible = useVisible();
  const asked = JSON.stringify(variables);
  const latest = useRef({ onData, onError });
  latest.current = { onData, onError };
  // At once, so that nothing of the old question is taken for an answer to the new one.
  useLayoutEffect(() => {
    if (!document || !live || !visible) {
      streamState.set(undefined);
      return undefined;
    }
    const stop = follow<T>({
      query: document.toString(),
      variables,
      onData: (data) => latest.current.onData(data),
      onError: (error) => latest.current.onError?.(error),
      onState: (state) => streamState.set(state),
    });
    return () => {
      stop();
      streamState.set(undefined);
    };
  }, [document, live, visible, asked]);
}

function useVisible(): boolean {
  const [visible, setVisible] = useState(!document.hidden);
  useEffect(() => {
    const change = (): void => setVisible(!document.hidden);
    document.addEventListener('visibilitychange', change);
    return () => document.removeEventListener('visibilitychange', change);
  }, []);
  return visible;
}

/** The moment, renewed so often, for "5 minutes ago". */
export function useNow(everyMs: number): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden && prefs.get().live) setNow(Date.now());
    }, everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

/** So long events are gathered before the list is drawn anew. */
const GATHER_MS = 200;

/** Puts rows in front of a list as they are stored; begins the list anew where some went by. */
export function useTail<T, V, R>(
  document: TypedDocumentString<T, V> | undefined,
  variables: V,
  rowOf: (data: T) => R,
  list: { push: (rows: R[]) => void; reload: () => void },
): void {
  const gathered = useRef<R[]>([]);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const asked = JSON.stringify(variables);
  // What was gathered belongs to the list that it was gathered for.
  useLayoutEffect(
    () => () => {
      clearTimeout(timer.current);
      timer.current = undefined;
      gathered.current = [];
    },
    [document, asked],
  );
  const show = (): void => {
    timer.current = undefined;
    list.push(gathered.current.splice(0).reverse());
    updatedAt.set(Date.now());
  };
  useSubscription(
    document,
    variables,
    (data) => {
      gathered.current.push(rowOf(data));
      timer.current ??= setTimeout(show, GATHER_MS);
    },
    (error) => {
      if (error.code === 'EVENTS_MISSED') list.reload();
    },
  );
}
