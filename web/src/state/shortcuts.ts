// Keys that do something. What was asked for last is asked first, so that a dialog's Esc comes before
// that of the view below it. No key does anything while somebody types.
import { useEffect, useRef } from 'preact/hooks';

type Handler = (event: KeyboardEvent) => boolean | undefined;
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
  for (const handler of handlers.toReversed()) {
    if (handler(event)) {
      event.preventDefault();
      before = undefined;
      return;
    }
  }
  before = types(event.target) ? undefined : { key: event.key, at: event.timeStamp };
});

/** `{ j: …, 'g o': …, Escape: … }`, for as long as the component is shown. */
export function useShortcuts(shortcuts: Shortcuts): void {
  const latest = useRef(shortcuts);
  latest.current = shortcuts;
  useEffect(() => {
    const handler: Handler = (event) => {
      if (types(event.target)) return undefined;
      // A button or a link that has the focus opens by itself.
      if (event.key === 'Enter' && event.target instanceof Element && event.target.closest('a,button,summary')) return undefined;
      const first = before && event.timeStamp - before.at < TOGETHER_MS ? `${before.key} ` : '';
      const run = latest.current[first + event.key] ?? latest.current[event.key];
      if (!run) return undefined;
      run();
      return true;
    };
    handlers.push(handler);
    return () => void handlers.splice(handlers.indexOf(handler), 1);
  }, []);
}
