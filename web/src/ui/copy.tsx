// A button that copies a text and confirms it.
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { useI18n } from '../i18n';
import { Icon } from './icon';

export function CopyButton(props: { label?: string; text: () => string | Promise<string> }): JSX.Element {
  const { text } = useI18n();
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return undefined;
    const timer = setTimeout(() => setDone(false), 2000);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(await props.text());
      setDone(true);
    } catch {
      // The browser or the server rejected it; the button does not show "Copied".
      setDone(false);
    }
  };
  return (
    <button type="button" class="button small" onClick={() => void copy()}>
      <Icon name={done ? 'check' : 'copy'} />
      <span aria-live="polite">{done ? text.detail.copied : (props.label ?? text.detail.copy)}</span>
    </button>
  );
}
