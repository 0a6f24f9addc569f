// Five windows that end with the range, each compared with the previous one.
import type { JSX } from 'preact';
import type { CountsFragment, UsageQuery } from '../api/gen/graphql';
import { isComparable } from '../domain/compare';
import { useI18n } from '../i18n';
import { linkTo, type Params } from '../state/router';
import { Meter } from '../ui/marks';

type Counts = Pick<CountsFragment, 'total' | 'success' | 'failure'>;
type Name = 'minute' | 'hour' | 'hours8' | 'hours24' | 'month';

const HOUR_MS = 3_600_000;

/** The counts of the earlier window: those of both windows minus those of the later one. */
const without = (both: Counts, later: Counts): Counts => ({
  total: both.total - later.total,
  success: both.success - later.success,
  failure: both.failure - later.failure,
});

export function Cards({ stats, live }: { stats: UsageQuery; live: boolean }): JSX.Element {
  const { text, format } = useI18n();
  const { usageStats: now, before } = stats;
  const windows = [
    { name: 'minute', now: now.lastMinute, before: without(now.twoMinutes, now.lastMinute), ms: 60_000 },
    { name: 'hour', now: now.lastHour, before: without(now.twoHours, now.lastHour), preset: '1h', ms: HOUR_MS },
    { name: 'hours8', now: now.last8Hours, before: without(now.sixteenHours, now.last8Hours), preset: '8h', ms: 8 * HOUR_MS },
    { name: 'hours24', now: now.last24Hours, before: without(now.twoDays, now.last24Hours), preset: '24h', ms: 24 * HOUR_MS },
    { name: 'month', now: now.currentMonth, before: before.currentMonth, preset: 'month', ms: undefined },
  ] as const;
  const end = new Date(now.asOf);
  const since = (ms: number | undefined): Date => (ms === undefined ? new Date(end.getFullYear(), end.getMonth(), 1) : new Date(end.getTime() - ms));
  return (
    <section aria-label={live ? text.overview.windowsNow : text.overview.windowsUntil(format.time(now.asOf))}>
      {!live && <p class="cards-end">{text.overview.windowsUntil(format.time(now.asOf))}</p>}
      <div class="cards">
        {windows.map((window) => (
          <Card
            key={window.name}
            name={window.name}
            label={(live ? text.overview.windows : text.overview.windowsThen)[window.name]}
            now={window.now}
            before={window.before}
            range={
              live && 'preset' in window
                ? { range: window.preset, since: undefined, until: undefined }
                : { range: undefined, since: since(window.ms).toISOString(), until: end.toISOString() }
            }
          />
        ))}
      </div>
    </section>
  );
}

function Card(props: { name: Name; label: string; now: Counts; before: Counts; range: Params }): JSX.Element {
  const { text, format } = useI18n();
  const { name, now, before } = props;
  const rate = now.total ? now.success / now.total : undefined;
  const rateBefore = isComparable(now.total, before.total) ? before.success / before.total : undefined;
  return (
    <a class="card" data-inner href={linkTo('/calls', props.range)}>
      <span class="card-head">
        <span class="card-label">{props.label}</span>
        <Points name={name} now={rate} before={rateBefore} />
      </span>
      <span class="card-main">
        <span class="card-total">{format.count(now.total)}</span>
        <Change name={name} now={now.total} before={before.total} />
      </span>
      <Meter success={now.success} failure={now.failure} />
      <span class="card-foot">
        <span>{rate === undefined ? '–' : `${format.percent(rate)} ${text.counts.success}`}</span>
        <span class={now.failure ? 'card-failed' : 'quiet'}>{text.counts.failedOf(now.failure, format.count(now.failure))}</span>
      </span>
    </a>
  );
}

/** Neutral colour: a change of the number of calls is neither good nor bad. */
function Change({ name, now, before }: { name: Name; now: number; before: number }): JSX.Element | null {
  const { text, format } = useI18n();
  if (!isComparable(now, before)) return <span class="change" title={text.overview.nothingBefore} />;
  const change = (now - before) / before;
  // Above tenfold, a factor is easier to read than a percentage.
  const shown = change > 9 ? `×${format.compact(now / before)}` : format.change(change);
  const label = text.overview.against(shown, text.overview.before[name]);
  return (
    <span class="change" title={label}>
      <span aria-hidden="true">
        {change > 0 ? '▲' : change < 0 ? '▼' : '='} {shown.replace(/^[+\-−]/, '')}
      </span>
      <span class="visually-hidden">{label}</span>
    </span>
  );
}

/** Green if the rate rises, red if it falls. */
function Points(props: { name: Name; now: number | undefined; before: number | undefined }): JSX.Element | null {
  const { text } = useI18n();
  if (props.now === undefined || props.before === undefined) return null;
  const points = (props.now - props.before) * 100;
  if (Math.abs(points) < 0.1) return null;
  const shown = `${points > 0 ? '+' : '−'}${Math.abs(points).toFixed(1)}`;
  const label = text.overview.rateAgainst(shown, text.overview.before[props.name]);
  return (
    <span class={`points ${points > 0 ? 'good' : 'bad'}`} title={label}>
      <span aria-hidden="true">{text.overview.points(shown)}</span>
      <span class="visually-hidden">{label}</span>
    </span>
  );
}
