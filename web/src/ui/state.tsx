// What stands in place of data: nothing yet, nothing there, nothing to be had.
import type { ComponentChildren, JSX } from 'preact';
import type { ApiError } from '../api/client';
import { useSpeech } from '../i18n';
import type { Answer } from '../state/query';
import { Icon, type IconName } from './icon';

export function Skeleton({ rows = 1, class: className = '' }: { rows?: number; class?: string }): JSX.Element {
  const { text } = useSpeech();
  return (
    <div class={`skeleton ${className}`} role="status" aria-label={text.state.loading}>
      {Array.from({ length: rows }, (_, row) => (
        <span key={row} />
      ))}
    </div>
  );
}

export function Empty(props: { icon: IconName; title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="empty">
      <Icon name={props.icon} />
      <p class="empty-title">{props.title}</p>
      {props.children}
    </div>
  );
}

export function Failure({ error, retry }: { error: ApiError; retry?: () => void }): JSX.Element {
  const { text } = useSpeech();
  const known = text.state.codes[error.code];
  return (
    <div class="empty failure" role="alert">
      <Icon name={error.code === 'OFFLINE' ? 'offline' : 'errors'} />
      <p class="empty-title">{text.state.failed}</p>
      <p>{known ?? error.message}</p>
      <p class="quiet mono">
        {error.code}
        {error.requestId && ` · ${text.state.requestId(error.requestId)}`}
      </p>
      {retry && (
        <button type="button" class="button" onClick={retry}>
          {text.state.retry}
        </button>
      )}
    </div>
  );
}

/** Shows an answer, or what stands in its place. What is old stays, dimmed, until the new is there. */
export function Shown<T>(props: {
  answer: Answer<T>;
  waiting?: JSX.Element;
  children: (data: T) => ComponentChildren;
}): JSX.Element {
  const { data, error, stale, reload } = props.answer;
  if (data === undefined) {
    if (error) return <Failure error={error} retry={reload} />;
    return props.waiting ?? <Skeleton rows={4} />;
  }
  if (stale && error) return <Failure error={error} retry={reload} />;
  return (
    <div class="shown" data-stale={stale || undefined} aria-busy={stale}>
      {props.children(data)}
    </div>
  );
}
