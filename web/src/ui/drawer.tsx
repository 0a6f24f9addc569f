// The side panel with the details of a row. On narrow screens it covers the list.
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';
import { useI18n } from '../i18n';
import { useShortcuts } from '../state/shortcuts';
import { Icon } from './icon';

export function Drawer(props: {
  title: string;
  onClose: () => void;
  /** The addresses of the rows before and after. */
  previous?: string | undefined;
  next?: string | undefined;
  children: ComponentChildren;
}): JSX.Element {
  const { text } = useI18n();
  const id = useId();
  const element = useRef<HTMLElement>(null);
  useShortcuts({ Escape: props.onClose });
  useEffect(() => {
    const opener = document.activeElement;
    element.current?.focus({ preventScroll: true });
    return () => {
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus({ preventScroll: true });
    };
  }, []);
  return (
    <aside class="drawer" aria-labelledby={id} tabIndex={-1} ref={element}>
      <header class="drawer-head">
        <h2 id={id}>{props.title}</h2>
        {(['previous', 'next'] as const).map((step) => (
          <a
            key={step}
            data-inner
            class={`button bare ${step}`}
            href={props[step]}
            aria-disabled={props[step] === undefined}
            aria-label={text.detail[step]}
            title={text.detail[step]}
          >
            <Icon name={step === 'previous' ? 'up' : 'down'} />
          </a>
        ))}
        <button type="button" class="button bare" onClick={props.onClose} aria-label={text.detail.close}>
          <Icon name="close" />
        </button>
      </header>
      <div class="drawer-body">{props.children}</div>
    </aside>
  );
}
