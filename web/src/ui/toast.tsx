// A short message that disappears after some seconds. Screen readers announce it.
import type { JSX } from 'preact';
import { store, useStore } from '../state/store';

const message = store('');
let timer: ReturnType<typeof setTimeout> | undefined;
const SHOWN_MS = 5000;

export function showToast(text: string): void {
  clearTimeout(timer);
  message.set(text);
  timer = setTimeout(() => message.set(''), SHOWN_MS);
}

export function Toast(): JSX.Element {
  const text = useStore(message);
  return (
    <div role="status" class="toast" data-empty={text === '' || undefined}>
      {text}
    </div>
  );
}
