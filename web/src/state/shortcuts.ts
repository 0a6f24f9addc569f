// Keyboard shortcuts. The last registered handler runs first, so that Esc closes a panel before it leaves the
// view. Shortcuts are disabled while the user types.
import { useEffect, useRef } from 'preact/hooks';

type Handler = (event: KeyboardEvent, keys: string) => boolean;
export type Shortcuts = Record<string, () => void>;

const handlers: Handler[] = [];
/** The first key of a sequence, and when it was pressed. */
let before: { key: string; at: number } | undefined;
const TOGETHER_MS = 1200;

const types = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === 'Escape' && types(event.target) && event.target instanceof HTMLElement) {
    // The first Esc leaves the field; the next one closes the panel around it.
    event.target.blur();
    event.preventDefault();
    return;
  }
  // A modal dialog handles its own keys and closes on Esc.
  if (document.querySelector('dialog[open]')) return;
  if (types(event.target)) return;
  // `g k` is one sequence, even if a table handles `k` alone.
  const together = before && event.timeStamp - before.at < TOGETHER_MS ? [`${before.key} ${event.key}`] : [];
  for (const keys of [...together, event.key]) {
    if (!handlers.toReversed().some((handler) => handler(event, keys))) continue;
    event.preventDefault();
    before = undefined;
    return;
  }
  before = { key: event.key, at: event.timeStamp };
});

/** Registers `{ j: …, 'g o': …, Escape: … }` while the component is mounted. */
export function useShortcuts(shortcuts: Shortcuts): void {
  const latest = useRef(shortcuts);
  latest.current = shortcuts;
  useEffect(() => {
    const handler: Handler = (event, keys) => {
      // Enter activates a focused button or link.
      if (event.key === 'Enter' && event.target instanceof Element && event.target.closest('a,button,summary')) return false;
      const run = latest.current[keys];
      run?.();
      return run !== undefined;
    };
    handlers.push(handler);
    return () => void handlers.splice(handlers.indexOf(handler), 1);
  }, []);
}
