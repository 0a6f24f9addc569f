// Placeholders for missing data: loading, empty, failed.
import type { ComponentChildren, JSX } from 'preact';
import type { ApiError } from '../api/client';
import { useI18n } from '../i18n';
import { errorText } from '../i18n/error-text';
import type { Answer } from '../state/query';
import { Icon, type IconName } from './icon';

export function Skeleton({ rows = 1, class: className = '' }: { rows?: number; class?: string }): JSX.Element {
  const { text } = useI18n();
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
  const { text } = useI18n();
  return (
    <div class="empty failure" role="alert">
      <Icon name={error.code === 'OFFLINE' ? 'offline' : 'errors'} />
      <p class="empty-title">{error.code === 'CANCELLED' ? text.state.cancelled : text.state.failed}</p>
      {error.code !== 'CANCELLED' && (
        <>
          <p>{errorText(text, error)}</p>
          <p class="quiet mono">
            {error.code}
            {error.requestId && ` · ${text.state.requestId(error.requestId)}`}
          </p>
        </>
      )}
      {retry && (
        <button type="button" class="button" onClick={retry}>
          {text.state.retry}
        </button>
      )}
    </div>
  );
}

/** Shows an answer or its placeholder. An outdated answer is hidden, but keeps its space, until the new one arrives. */
export function AnswerView<T>(props: {
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
