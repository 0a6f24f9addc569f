// A search field.
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { setParams } from '../state/router';

/** Searches as the user types. It replaces the history entry rather than adding one for each letter. */
export function Search({ value, label, name = 'q', delayMs = 0 }: { value: string; label: string; name?: string; delayMs?: number }): JSX.Element {
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  useEffect(() => {
    if (typed === value) return undefined;
    const timer = setTimeout(() => setParams({ [name]: typed }, true), delayMs);
    return () => clearTimeout(timer);
  }, [typed]);
  return (
    <input
      class="input"
      type="search"
      name={name}
      data-search={name === 'q' || undefined}
      placeholder={label}
      aria-label={label}
      value={typed}
      onInput={(event) => setTyped(event.currentTarget.value)}
    />
  );
}
