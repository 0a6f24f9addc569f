// A button that copies a text and reports the outcome.
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { useI18n } from '../i18n';
import { Icon } from './icon';

/** Copies a text. Over plain HTTP the browser has no `navigator.clipboard`, except on loopback. */
export async function copyText(text: string): Promise<void> {
  // In an embedded browser the type is wrong.
  const clipboard = navigator.clipboard as Clipboard | undefined;
  if (clipboard) {
    await clipboard.writeText(text);
    return;
  }
  // Inside an open dialog, since its content is the only one that can be focused.
  const parent = document.querySelector('dialog[open]') ?? document.body;
  const focused = document.activeElement;
  const field = parent.appendChild(document.createElement('textarea'));
  field.className = 'visually-hidden';
  field.value = text;
  field.select();
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- there is no other way over plain HTTP
  const copied = document.execCommand('copy');
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
  if (!copied) throw new Error('the browser refused to copy');
}

export function CopyButton(props: { label?: string; text: () => string | Promise<string> }): JSX.Element {
  const { text } = useI18n();
  const [outcome, setOutcome] = useState<'copied' | 'failed'>();
  useEffect(() => {
    if (!outcome) return undefined;
    const timer = setTimeout(() => setOutcome(undefined), outcome === 'copied' ? 2000 : 5000);
    return () => clearTimeout(timer);
  }, [outcome]);
  const copy = async (): Promise<void> => {
    try {
      await copyText(await props.text());
      setOutcome('copied');
    } catch {
      setOutcome('failed');
    }
  };
  return (
    <button type="button" class="button small" onClick={() => void copy()}>
      <Icon name={outcome === 'copied' ? 'check' : outcome === 'failed' ? 'cross' : 'copy'} />
      <span aria-live="polite">
        {outcome === 'copied' ? text.detail.copied : outcome === 'failed' ? text.detail.copyFailed : (props.label ?? text.detail.copy)}
      </span>
    </button>
  );
}
