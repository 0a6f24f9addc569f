// Live updates: subscriptions and the state of their connection.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { ApiError } from '../api/client';
import type { TypedDocumentString } from '../api/gen/graphql';
import { subscribe, type StreamState } from '../api/stream';
import { recoveries, reportOutage } from './outage';
import { prefs, usePrefs } from './prefs';
import { store, useStore } from './store';

export const streamState = store<StreamState | undefined>(undefined);
export const updatedAt = store<number | undefined>(undefined);

/** Subscribes while the page is live and visible; without a `document` it does nothing. */
export function useSubscription<T, V>(
  document: TypedDocumentString<T, V> | undefined,
  variables: V,
  onData: (data: T) => void,
  onError?: (error: ApiError) => void,
): void {
  const { live } = usePrefs();
  const visible = useVisible();
  // After an outage it connects at once.
  const recovered = useStore(recoveries);
  const variablesKey = JSON.stringify(variables);
  const latest = useRef({ onData, onError });
  latest.current = { onData, onError };
  // A layout effect: it unsubscribes before an event of the old subscription can reach the new view.
  useLayoutEffect(() => {
    if (!document || !live || !visible) {
      streamState.set(undefined);
      return undefined;
    }
    const stop = subscribe<T>({
      query: document.toString(),
      variables,
      onData: (data) => latest.current.onData(data),
      onError: (error) => {
        if (error.code === 'DATABASE_UNAVAILABLE') reportOutage('database');
        latest.current.onError?.(error);
      },
      onState: (state) => streamState.set(state),
    });
    return () => {
      stop();
      streamState.set(undefined);
    };
  }, [document, live, visible, variablesKey, recovered]);
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

/** The current time, renewed at this interval, for "5 minutes ago". */
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

/** Events of this period are rendered together. */
const BATCH_MS = 200;

/** Adds rows to a list as they are stored; reloads the list if events were missed. */
export function useTail<T, V, R>(
  document: TypedDocumentString<T, V> | undefined,
  variables: V,
  rowOf: (data: T) => R,
  list: { push: (rows: R[]) => void; reload: () => void },
): void {
  const pending = useRef<R[]>([]);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const variablesKey = JSON.stringify(variables);
  // Pending rows belong to the previous list: discard them.
  useLayoutEffect(
    () => () => {
      clearTimeout(timer.current);
      timer.current = undefined;
      pending.current = [];
    },
    [document, variablesKey],
  );
  const show = (): void => {
    timer.current = undefined;
    list.push(pending.current.splice(0).reverse());
    updatedAt.set(Date.now());
  };
  useSubscription(
    document,
    variables,
    (data) => {
      pending.current.push(rowOf(data));
      timer.current ??= setTimeout(show, BATCH_MS);
    },
    (error) => {
      if (error.code === 'EVENTS_MISSED') list.reload();
    },
  );
}
