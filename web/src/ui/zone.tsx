// The time zone of the displayed times.
import type { JSX } from 'preact';
import { useI18n } from '../i18n';
import { timeZone, zoneOffset } from '../i18n/format';

export function Zone(): JSX.Element {
  const { text } = useI18n();
  const offset = zoneOffset(Date.now());
  return (
    <span class="zone" title={text.app.zone(timeZone, offset)}>
      {offset}
    </span>
  );
}

/** The header of a time column. */
export function TimeHead(): JSX.Element {
  const { text } = useI18n();
  return (
    <>
      {text.calls.time} <Zone />
    </>
  );
}
