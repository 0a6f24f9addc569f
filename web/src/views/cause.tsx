// Why a call failed and what helps.
import type { JSX } from 'preact';
import type { CauseFragment } from '../api/gen/graphql';
import { useI18n } from '../i18n';

export function Cause({ failure }: { failure: CauseFragment }): JSX.Element {
  const { text, format } = useI18n();
  const { class: name, remedy, retryAt } = failure;
  return (
    <div class="block cause">
      <h3>{text.failures.cause}</h3>
      <p>
        <strong>{text.failures.classes[name]}</strong>
        {remedy !== 'NONE' && <> – {text.failures.remedies[remedy]}</>}
        {retryAt && (
          <>
            {' '}
            <span class="quiet">{text.failures.retryAt(format.fullTime(retryAt))}</span>
          </>
        )}
      </p>
    </div>
  );
}
