// Search fields. A full key or a masked form that is pasted into one of them is replaced by a filter for its keys, so
// that it never appears in the address or the history.
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { useI18n } from '../i18n';
import { looksLikeKey } from '../domain/secret';
import { findKeys, searchKeys } from '../state/key-search';
import { setParams, setSearch } from '../state/router';

const DELAY_MS = 250;

/** Searches as the user types. It replaces the history entry rather than adding one for each letter. */
export function Search({ value, label, name = 'q' }: { value: string; label: string; name?: string }): JSX.Element {
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  useEffect(() => {
    const text = typed.trim();
    if (text === value) return undefined;
    const abort = new AbortController();
    const search = async (): Promise<void> => {
      const keys = await findKeys(text, abort.signal).catch(() => undefined);
      if (abort.signal.aborted) return;
      if (keys === undefined) {
        // It may be a key.
        setSearch(name, text, true);
      } else if (keys.length > 0) {
        setTyped('');
        setSearch(name, '');
        setParams({ key: keys });
      } else {
        setSearch(name, text);
      }
    };
    const timer = setTimeout(() => void search(), DELAY_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [typed]);
  return (
    <input
      class="input"
      type="search"
      name={name}
      autocomplete="off"
      data-search={name === 'q' || undefined}
      placeholder={label}
      aria-label={label}
      value={typed}
      onInput={(event) => setTyped(event.currentTarget.value)}
    />
  );
}

/** Finds keys on Enter, and filters by them. A text that names no key may be a part of a message: `messages` is a link to these. */
export function KeySearch({ label, messages }: { label: string; messages: (text: string) => string }): JSX.Element {
  const { text } = useI18n();
  const [typed, setTyped] = useState('');
  const [outcome, setOutcome] = useState<'none' | 'failed'>();
  const running = useRef<AbortController | undefined>(undefined);
  useEffect(() => () => running.current?.abort(), []);
  const search = async (): Promise<void> => {
    running.current?.abort();
    const { signal } = (running.current = new AbortController());
    const wanted = typed.trim();
    if (!wanted) return;
    const keys = await searchKeys(wanted, signal).catch(() => undefined);
    if (signal.aborted) return;
    setOutcome(!keys ? 'failed' : keys.length === 0 ? 'none' : undefined);
    if (!keys || keys.length === 0) return;
    setTyped('');
    setParams({ key: keys });
  };
  return (
    <form
      class="inline"
      onSubmit={(event) => {
        event.preventDefault();
        void search();
      }}
    >
      <input
        class="input"
        type="search"
        name="keytext"
        autocomplete="off"
        data-search
        placeholder={label}
        aria-label={label}
        aria-invalid={outcome === 'none'}
        value={typed}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          setOutcome(undefined);
        }}
      />
      <span role="status" class={outcome ? 'bad' : 'visually-hidden'}>
        {outcome && (outcome === 'none' ? text.keys.noneFound : text.state.failed)}
      </span>
      {outcome === 'none' && !looksLikeKey(typed) && (
        <a data-inner class="button small" href={messages(typed.trim())}>
          {text.calls.findMessage(typed.trim())}
        </a>
      )}
    </form>
  );
}
