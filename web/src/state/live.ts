// Whether what is shown follows the server, and since when.
import { useEffect, useState } from 'preact/hooks';
import { follow, type StreamState } from '../api/stream';
import { prefs, usePrefs } from './prefs';
import { store } from './store';

export const streamState = store<StreamState | undefined>(undefined);
export const updatedAt = store<number | undefined>(undefined);

/** A subscription while the page is live and seen; `undefined` where there is no event yet. */
export function useSubscription<T>(
  query: string | undefined,
  variables: Record<string, unknown>,
  onData: (data: T) => void,
): void {
  const { live } = usePrefs();
  const visible = useVisible();
  const asked = JSON.stringify(variables);
  useEffect(() => {
    if (!query || !live || !visible) {
      streamState.set(undefined);
      return undefined;
    }
    const stop = follow<T>({ query, variables, onData, onState: (state) => streamState.set(state) });
    return () => {
      stop();
      streamState.set(undefined);
    };
  }, [query, live, visible, asked]);
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
