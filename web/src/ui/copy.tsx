// A button that copies a text, and says that it did.
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { useSpeech } from '../i18n';
import { Icon } from './icon';

export function CopyButton(props: { label?: string; text: () => string | Promise<string> }): JSX.Element {
  const { text } = useSpeech();
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
      // The browser or the server does not allow it; the button does not say otherwise.
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
