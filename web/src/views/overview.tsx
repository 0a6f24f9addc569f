// Overview: the state of the pool, its problems and their causes.
import type { JSX } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import {
  RangeDocument,
  SeriesBeforeDocument,
  UsageDocument,
  UsageNowDocument,
  type RangeQuery,
  type UsageNowSubscription,
  type UsageQuery,
} from '../api/gen/graphql';
import { CallsChart, LatencyChart } from '../chart/series';
import { StackChart } from '../chart/stack';
import type { Attention } from '../domain/attention';
import { isSilent } from '../domain/silence';
import { alignBefore, STACKS } from '../domain/stack';
import { useI18n } from '../i18n';
import { rangeText } from '../i18n/range-text';
import { timeZone } from '../i18n/format';
import { updatedAt, useSubscription } from '../state/live';
import { useQuery, type Answer } from '../state/query';
import { endOf, intervalsOf, isLive, isoDuration, monthBefore, periodBefore, rangeArguments, rangeEnds, rangeOf, type Range } from '../state/range';
import { linkTo, setParams, useRoute } from '../state/router';
import { serverNow } from '../state/session';
import { Icon } from '../ui/icon';
import { Panel } from '../ui/panel';
import { RangePicker } from '../ui/range';
import { Empty, AnswerView, Skeleton } from '../ui/state';
import { ViewHeader } from '../ui/view-header';
import { AttentionPanel, useAttention } from './attention';
import { Codes, Models } from './breakdown';
import { Cards } from './cards';
import { LastCall, lastCallOf, lastCallVariables } from './last-call';

/** For charts and groups; a subscription updates the cards. */
const RENEW_MS = 15_000;

export function Overview(): JSX.Element {
  const { text, format } = useI18n();
  const { params } = useRoute();
  const range = rangeOf(params);
  const live = isLive(range);
  const rangeKey = JSON.stringify(range);
  const everyMs = live ? RENEW_MS : undefined;
  const interval = Number(params.get('interval')) || undefined;
  const intervals = intervalsOf(range, serverNow());
  const chosen = interval && intervals.includes(interval) ? interval : undefined;

  const usage = useQuery(UsageDocument, {
    key: live ? 'now' : rangeKey,
    variables: () => {
      const end = new Date(endOf(range, serverNow()));
      return { asOf: end.toISOString(), monthBefore: monthBefore(end).toISOString(), ...lastCallVariables(range), timeZone };
    },
    everyMs,
  });
  const over = useQuery(RangeDocument, {
    key: JSON.stringify([range, chosen]),
    variables: () => ({ ...rangeArguments(range, serverNow()), interval: chosen ? isoDuration(chosen) : null, timeZone }),
    everyMs,
  });
  const stack = params.get('stack');
  const stackBy = STACKS.find((one) => one === stack);
  const compares = params.get('compare') === '1';
  const before = useBefore(range, over.stale ? undefined : over.data?.callSeries, compares && !stackBy);
  const attention = useAttention(range);

  const [now, setNow] = useState<UsageNowSubscription['usageStats']>();
  useSubscription(live ? UsageNowDocument : undefined, { timeZone }, (data) => {
    setNow(data.usageStats);
    updatedAt.set(Date.now());
  });
  const stats = usage.data && (live ? newest(usage.data, now) : usage.data);

  return (
    <>
      <ViewHeader title={text.app.overview} live={live}>
        <RangePicker range={range} />
      </ViewHeader>
      <div class="scroll">
        <Sentence range={range} over={over} usage={usage.stale ? undefined : stats} attention={attention.stale ? undefined : attention.data} />
        <AnswerView answer={{ ...usage, data: stats }} waiting={<Skeleton rows={5} class="cards" />}>
          {(data) => <Cards stats={data} live={live} />}
        </AnswerView>
        <div class="columns">
          <Panel
            title={text.overview.callsOverTime}
            class="wide"
            actions={
              <>
                <label class="inline">
                  <input type="checkbox" checked={compares} disabled={stackBy !== undefined} onChange={() => setParams({ compare: compares ? undefined : '1' })} />
                  {text.overview.compare}
                </label>
                <label class="inline">
                  <span class="quiet">{text.overview.stackBy}</span>
                  <select class="input small" value={stackBy ?? ''} onChange={(event) => setParams({ stack: event.currentTarget.value })}>
                    <option value="">{text.overview.stacks.outcome}</option>
                    {STACKS.map((one) => (
                      <option key={one} value={one}>
                        {text.overview.stacks[one]}
                      </option>
                    ))}
                  </select>
                </label>
                <label class="inline">
                  <span class="quiet">{text.range.interval}</span>
                  <select class="input small" value={chosen ?? ''} onChange={(event) => setParams({ interval: event.currentTarget.value })}>
                    <option value="">{text.range.auto}</option>
                    {intervals.map((seconds) => (
                      <option key={seconds} value={seconds}>
                        {format.duration(seconds)}
                      </option>
                    ))}
                  </select>
                </label>
              </>
            }
          >
            <AnswerView answer={over} waiting={<Skeleton class="chart" />}>
              {({ callSeries, byCode, byModel }) =>
                callSeries.some(({ counts }) => counts.total > 0) ? (
                  stackBy ? (
                    <StackChart by={stackBy} range={range} interval={chosen ? isoDuration(chosen) : null} groups={{ byCode, byModel }} />
                  ) : (
                    <CallsChart buckets={callSeries} before={before} />
                  )
                ) : (
                  <Empty icon="calls" title={text.state.noCalls}>
                    <p>{rangeText({ text, format }, range)}</p>
                    {stats && !usage.stale && <LastCall at={lastCallOf(stats)} />}
                  </Empty>
                )
              }
            </AnswerView>
          </Panel>
          <AttentionPanel answer={attention} range={range} />
          <Panel title={text.overview.latencyOverTime} class="wide">
            <AnswerView answer={over} waiting={<Skeleton class="chart" />}>
              {({ callSeries }) =>
                callSeries.some(({ latency }) => latency.p50 != null) ? (
                  <LatencyChart buckets={callSeries} />
                ) : (
                  <Empty icon="slow" title={text.state.noCalls} />
                )
              }
            </AnswerView>
          </Panel>
          <Panel title={text.overview.statusCodes}>
            <AnswerView answer={over}>{({ byCode }) => <Codes groups={byCode} link={(params) => linkTo('/calls', params)} />}</AnswerView>
          </Panel>
          <Panel title={text.overview.models} class="full">
            <AnswerView answer={over}>{({ byModel }) => <Models groups={byModel} link={(model) => linkTo('/calls', { model })} />}</AnswerView>
          </Panel>
        </div>
      </div>
    </>
  );
}

/** The calls of the period before, for each bucket. */
function useBefore(range: Range, series: RangeQuery['callSeries'] | undefined, wanted: boolean): (number | null)[] | undefined {
  // Buckets of the same length; the first and the last one are cut by the range.
  const whole = series?.[1];
  const seconds = whole && (Date.parse(whole.end) - Date.parse(whole.start)) / 1000;
  const { data, stale } = useQuery(SeriesBeforeDocument, {
    key: wanted && seconds ? JSON.stringify([range, seconds]) : undefined,
    variables: () => ({ between: periodBefore(range, serverNow()), interval: seconds ? isoDuration(seconds) : null, timeZone }),
    everyMs: isLive(range) ? 4 * RENEW_MS : undefined,
  });
  return useMemo(() => {
    if (!wanted || !series || !data || stale) return undefined;
    const [since, until] = rangeEnds(range, serverNow());
    return alignBefore(series, data.callSeries, until - since);
  }, [wanted, series, data, stale]);
}

/** The subscription is newer than the query but has no monthly counts. */
function newest(data: UsageQuery, now: UsageNowSubscription['usageStats'] | undefined): UsageQuery {
  if (!now || now.asOf < data.usageStats.asOf) return data;
  return { ...data, usageStats: { ...data.usageStats, ...now } };
}

/** How the calls of the range went, and the state of the keys at its end. */
function Sentence(props: {
  range: Range;
  over: Answer<RangeQuery>;
  usage: UsageQuery | undefined;
  attention: Attention | undefined;
}): JSX.Element | null {
  const { text, format } = useI18n();
  const { range, over, usage, attention } = props;
  if (!over.data || over.stale) return over.error ? null : <Skeleton class="sentence" />;
  const counts = over.data.callSeries.map((bucket) => bucket.counts);
  const total = counts.reduce((sum, one) => sum + one.total, 0);
  const success = counts.reduce((sum, one) => sum + one.success, 0);
  const last = usage && lastCallOf(usage);
  const alarm = usage && isLive(range) && isSilent(last, usage.usageStats.last24Hours.total, serverNow()) && (
    <div class="alarm" role="alert">
      <Icon name="silent" />
      <strong>{text.overview.silent}</strong>
      <LastCall at={last} />
    </div>
  );
  const where = rangeText({ text, format }, range);
  if (total === 0) {
    return (
      <>
        <p class="sentence">{text.overview.noCalls(where)}</p>
        {alarm}
      </>
    );
  }
  const [percent, rest] = text.overview.sentence(format.percent(success / total), format.count(total), where);
  return (
    <>
      <p class="sentence">
        <strong>{percent}</strong>
        {rest}
        {attention && (
          <>
            {text.overview.then}
            <StateOfKeys attention={attention} />
          </>
        )}
      </p>
      {alarm}
    </>
  );
}

/** It says that no key needs attention only if each key with calls was judged, and the pool as a whole is healthy. */
function StateOfKeys({ attention: { keys, counts, poolProblem } }: { attention: Attention }): JSX.Element {
  const { text, format } = useI18n();
  const link = (label: string): JSX.Element => <a href="#attention">{label}</a>;
  if (poolProblem && keys.length > 0) {
    return (
      <>
        {link(text.overview.pool[poolProblem.kind])}
        {text.overview.then}
        {link(text.overview.attention(keys.length, format.count(keys.length)))}
      </>
    );
  }
  if (poolProblem) return link(text.overview.pool[poolProblem.kind]);
  if (keys.length > 0) return link(text.overview.attention(keys.length, format.count(keys.length)));
  const unjudged = counts.tooFew + counts.unknown + counts.likePool;
  if (counts.healthy === 0) return link(text.overview.notJudged);
  if (unjudged > 0) return link(text.overview.noneOf(counts.healthy, format.count(counts.healthy), format.count(unjudged)));
  return <>{text.overview.allHealthy}</>;
}
