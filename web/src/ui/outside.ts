// Closes what is open when the user presses elsewhere.
import type { RefObject } from 'preact';
import { useEffect } from 'preact/hooks';

/** Calls `close` when a press starts outside of `root`, while `open`. */
export function useOutside(root: RefObject<HTMLElement | null>, open: boolean, close: () => void): void {
  useEffect(() => {
    if (!open) return undefined;
    const leave = (event: Event): void => {
      if (event.target instanceof Node && !root.current?.contains(event.target)) close();
    };
    addEventListener('pointerdown', leave);
    return () => removeEventListener('pointerdown', leave);
  }, [open]);
}
