// What a view shows beyond its address, such as the position in a list. "Back" to the view restores it.
import { useEffect, useRef } from 'preact/hooks';
import { historyEntry } from './router';

/** The entries of the history with something to restore. */
const MOST = 50;

const memory = new Map<string, unknown>();

/** What a view had when the user left this entry of the history, and a reference for what it has now. */
export function useRemembered<T>(): [T | undefined, { current: T | undefined }] {
  const path = useRef(location.pathname);
  const entry = useRef(historyEntry());
  const restored = useRef(memory.get(entry.current) as T | undefined);
  const now = useRef<T>(undefined);
  // The details of a row are another entry of the same view.
  useEffect(() => {
    if (location.pathname === path.current) entry.current = historyEntry();
  });
  useEffect(
    () => () => {
      memory.delete(entry.current);
      if (now.current === undefined) return;
      memory.set(entry.current, now.current);
      for (const oldest of memory.keys()) if (memory.size > MOST) memory.delete(oldest);
    },
    [],
  );
  return [restored.current, now];
}
