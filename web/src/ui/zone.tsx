// The zone that times are in, beside the times.
import type { JSX } from 'preact';
import { useSpeech } from '../i18n';
import { timeZone, zoneOffset } from '../i18n/format';

export function Zone(): JSX.Element {
  const { text } = useSpeech();
  const offset = zoneOffset(Date.now());
  return (
    <span class="zone" title={text.app.zone(timeZone, offset)}>
      {offset}
    </span>
  );
}

/** The head of a column of times. */
export function TimeHead(): JSX.Element {
  const { text } = useSpeech();
  return (
    <>
      {text.calls.time} <Zone />
    </>
  );
}
