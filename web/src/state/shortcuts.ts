// Keys that do something. What was asked for last is asked first, so that a dialog's Esc comes before
// that of the view below it. No key does anything while somebody types.
import { useEffect, useRef } from 'preact/hooks';

type Handler = (event: KeyboardEvent, keys: string) => boolean;
export type Shortcuts = Record<string, () => void>;

const handlers: Handler[] = [];
/** The first of two keys, and when it was pressed. */
let before: { key: string; at: number } | undefined;
const TOGETHER_MS = 1200;

const types = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === 'Escape' && types(event.target) && event.target instanceof HTMLElement) {
    // Out of the field first; what is around it closes with the next.
    event.target.blur();
    event.preventDefault();
    return;
  }
  // A modal dialog keeps its keys to itself, and closes by Esc without us.
  if (document.querySelector('dialog[open]')) return;
  if (types(event.target)) return;
  // `g k` is one thing, whatever `k` alone is to a table.
  const together = before && event.timeStamp - before.at < TOGETHER_MS ? [`${before.key} ${event.key}`] : [];
  for (const keys of [...together, event.key]) {
    if (!handlers.toReversed().some((handler) => handler(event, keys))) continue;
    event.preventDefault();
    before = undefined;
    return;
  }
  before = { key: event.key, at: event.timeStamp };
});

/** `{ j: …, 'g o': …, Escape: … }`, for as long as the component is shown. */
export function useShortcuts(shortcuts: Shortcuts): void {
  const latest = useRef(shortcuts);
  latest.current = shortcuts;
  useEffect(() => {
    const handler: Handler = (event, keys) => {
      // A button or a link that has the focus opens by itself.
      if (event.key === 'Enter' && event.target instanceof Element && event.target.closest('a,button,summary')) return false;
      const run = latest.current[keys];
      run?.();
      return run !== undefined;
    };
    handlers.push(handler);
    return () => void handlers.splice(handlers.indexOf(handler), 1);
  }, []);
}
