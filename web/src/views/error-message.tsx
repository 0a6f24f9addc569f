// The provider's message of a failure, formatted, and the failed request. Both are rendered as text.
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { ErrorDetailFragment } from '../api/gen/graphql';
import { parseProviderError } from '../domain/provider';
import { useI18n } from '../i18n';
import { hasScope } from '../state/session';
import { CopyButton } from '../ui/copy';
import { CodeMark } from '../ui/marks';

export function ErrorMessage({ error }: { error: ErrorDetailFragment }): JSX.Element {
  const { text } = useI18n();
  const words = parseProviderError(error.message);
  return (
    <>
      <div class="block">
        <div class="block-head">
          <h3>{text.calls.providerMessage}</h3>
          <CodeMark code={error.errorCode} />
        </div>
        <div class="provider-message">
          {(words.status ?? words.reason) && (
            <span class="provider-message-name mono">{[words.status, words.reason].filter(Boolean).join(' · ')}</span>
          )}
          {words.text || '–'}
        </div>
      </div>
      {error.message && words.pretty !== words.text && <Raw title={text.detail.raw} content={words.pretty} original={error.message} />}
      {!hasScope('READ_REQUESTS') ? (
        <p class="quiet">{text.detail.requestHidden}</p>
      ) : error.request == null ? (
        <p class="quiet">{text.detail.noRequest}</p>
      ) : (
        <Raw title={text.detail.request} content={pretty(error.request)} />
      )}
    </>
  );
}

const pretty = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value, null, 2));

function Raw(props: { title: string; content: string; original?: string }): JSX.Element {
  const [open, setOpen] = useState(true);
  return (
    <details class="block" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <h3>{props.title}</h3>
      </summary>
      <div class="raw">
        <pre class="code" tabIndex={0} aria-label={props.title}>
          {props.content}
        </pre>
        <CopyButton text={() => props.original ?? props.content} />
      </div>
    </details>
  );
}
