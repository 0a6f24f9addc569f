// Success, failure and the states of keys: each has a shape and a text in addition to its colour.
import type { JSX } from 'preact';
import type { CallStatus, Severity } from '../api/gen/graphql';
import { REASONS, type KeyState, type Reason } from '../domain/incident';
import { useI18n } from '../i18n';
import { Icon } from './icon';

export function StatusMark({ status, code }: { status: CallStatus; code: number | null | undefined }): JSX.Element {
  const { text } = useI18n();
  const good = status === 'SUCCESS';
  return (
    <span class={`mark ${good ? 'good' : code === 429 ? 'warned' : 'bad'}`}>
      <Icon name={good ? 'check' : code === 429 ? 'throttled' : 'cross'} />
      <span class="visually-hidden">{good ? text.counts.succeeded : text.counts.failed} </span>
      {code ?? text.counts.noCode}
    </span>
  );
}

export function CodeMark({ code }: { code: number | null | undefined }): JSX.Element {
  const { text } = useI18n();
  if (code == null) return <span class="mark bad">{text.errors.noCode}</span>;
  return <span class={`mark ${code === 429 ? 'warned' : 'bad'}`}>{code}</span>;
}

const SEVERITY_ICONS = { CRITICAL: 'dead', WARNING: 'failing', INFO: 'info' } as const;

export function SeverityTag({ severity }: { severity: Severity }): JSX.Element {
  const { text } = useI18n();
  return (
    <span class={`tag tag-${severity}`}>
      <Icon name={SEVERITY_ICONS[severity]} />
      {text.incidents.severities[severity]}
    </span>
  );
}

const isReason = (state: KeyState): state is Reason => REASONS.some((reason) => reason === state);

export function StateTag({ state, title, name }: { state: KeyState; title?: string | undefined; name?: string | undefined }): JSX.Element {
  const { text } = useI18n();
  const hint = title || text.keys.stateHints[state];
  if (state === 'unknown') return <span title={hint}>–</span>;
  const icon = isReason(state) || state === 'healthy' ? state : state === 'likePool' || state === 'failures' ? 'failing' : 'silent';
  return (
    <span class={`tag tag-${state}`} title={hint}>
      <Icon name={icon} />
      {name ?? text.keys.stateNames[state]}
    </span>
  );
}

/** The share of failures; the failed part is hatched. */
export function Meter({ success, failure }: { success: number; failure: number }): JSX.Element {
  const total = success + failure;
  const width = total ? (failure / total) * 100 : 0;
  // A nonzero part stays visible, however small it is.
  const shown = failure ? Math.max(width, 1.5) : 0;
  return (
    <span class="meter" data-empty={total === 0 || undefined} aria-hidden="true">
      <span class="meter-bad" style={{ width: `${shown}%` }} />
    </span>
  );
}

export function Key({ masked }: { masked: string | undefined }): JSX.Element {
  const { text } = useI18n();
  if (!masked) return <span class="quiet">{text.counts.noKey}</span>;
  return <span class="mono key">{masked.replace('...', '…')}</span>;
}
