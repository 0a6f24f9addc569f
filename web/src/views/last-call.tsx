// What to do where a range has no calls: go to the day of the last call, or record the first one.
import type { JSX } from 'preact';
import { LastCallDocument, type LastCallsFragment } from '../api/gen/graphql';
import { useI18n } from '../i18n';
import { useQuery } from '../state/query';
import { dayOf, endOf, isLive, type Range } from '../state/range';
import { serverNow } from '../state/session';
import { setRange } from '../ui/range';

const ALWAYS = new Date(0).toISOString();

/** The variables of `LastCalls`. */
export function lastCallVariables(range: Range): Record<'untilNow' | 'untilEnd', { since: string; until: string }> {
  const now = serverNow();
  const until = (ms: number): { since: string; until: string } => ({ since: ALWAYS, until: new Date(ms).toISOString() });
  return { untilNow: until(now), untilEnd: until(endOf(range, now)) };
}

/** The last call before the end of the range, or else the last one of all; undefined if there is none. */
export function lastCallOf(calls: LastCallsFragment): string | undefined {
  return calls.newestBefore.nodes[0]?.timestamp ?? calls.newest.nodes[0]?.timestamp;
}

/** For a view without calls in its range. */
export function NoCallsHint({ range }: { range: Range }): JSX.Element | null {
  const { data } = useQuery(LastCallDocument, {
    key: isLive(range) ? 'now' : JSON.stringify(range),
    variables: () => lastCallVariables(range),
  });
  return data ? <LastCall at={lastCallOf(data)} /> : null;
}

/** "Last call 31 Jan, 11:59 (301 days ago)", with a button that shows that day. */
export function LastCall({ at }: { at: string | undefined }): JSX.Element {
  const { text, format } = useI18n();
  if (at === undefined) return <FirstCall />;
  return (
    <p class="last-call">
      {text.overview.lastCall(format.day(at), format.ago(at, serverNow()))}
      <button type="button" class="button small" onClick={() => setRange(dayOf(at))}>
        {text.overview.showDay}
      </button>
    </p>
  );
}

/** How calls get into an empty database. */
function FirstCall(): JSX.Element {
  const { text } = useI18n();
  const ways: [string, string][] = [
    [text.state.attach, 'callscope serve --database-url sqlite:///path/to/gateway.db'],
    [text.state.record, `curl ${location.origin}/ingest/calls -H 'content-type: application/x-ndjson' -d '{"model":"m","statusCode":200,"latencyMs":120}'`],
    [text.state.import, 'callscope import calls.csv'],
  ];
  return (
    <div class="first-call">
      <p>{text.state.emptyDatabase}</p>
      <dl>
        {ways.map(([what, command]) => (
          <div key={what}>
            <dt>{what}</dt>
            <dd>
              <code>{command}</code>
            </dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
