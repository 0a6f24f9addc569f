// Overview: the state of the pool, its problems and their causes.
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import {
  RangeDocument,
  UsageDocument,
  UsageNowDocument,
  type CountsFragment,
  type UsageNowSubscription,
  type UsageQuery,
} from '../api/gen/graphql';
import { CallsChart, LatencyChart } from '../chart/series';
import { useI18n } from '../i18n';
import { timeZone } from '../i18n/format';
import { updatedAt, useSubscription } from '../state/live';
import { useQuery } from '../state/query';
import { intervalsOf, isoDuration, monthBefore, rangeArguments, rangeOf } from '../state/range';
import { linkTo, setParams, useRoute } from '../state/router';
import { serverNow } from '../state/session';
import { Panel } from '../ui/panel';
import { RangePicker } from '../ui/range';
import { Empty, AnswerView, Skeleton } from '../ui/state';
import { ViewHeader } from '../ui/view-header';
import { AttentionPanel, useAttention } from './attention';
import { Codes, Models } from './breakdown';
import { Cards } from './cards';

/** For charts and groups; a subscription updates the cards. */
const RENEW_MS = 15_000;

export function Overview(): JSX.Element {
  const { text, format } = useI18n();
  const { params } = useRoute();
  const range = rangeOf(params);
  const interval = Number(params.get('interval')) || undefined;
  const intervals = intervalsOf(range, serverNow());
  const chosen = interval && intervals.includes(interval) ? interval : undefined;

  const usage = useQuery(UsageDocument, {
    key: 'usage',
    variables: () => ({ monthBefore: monthBefore(new Date(serverNow())).toISOString(), timeZone }),
    everyMs: RENEW_MS,
  });
  const over = useQuery(RangeDocument, {
    key: JSON.stringify([range, chosen]),
    variables: () => ({ ...rangeArguments(range), interval: chosen ? isoDuration(chosen) : null, timeZone }),
    everyMs: RENEW_MS,
  });
  const attention = useAttention();

  const [now, setNow] = useState<UsageNowSubscription['usageStats']>();
  useSubscription(UsageNowDocument, { timeZone }, (data) => {
    setNow(data.usageStats);
    updatedAt.set(Date.now());
  });
  const stats = usage.data && newest(usage.data, now);

  return (
    <>
      <ViewHeader title={text.app.overview}>
        <RangePicker range={range} />
      </ViewHeader>
      <div class="scroll">
        <Sentence day={stats?.usageStats.last24Hours} attention={attention.data?.keys.length} />
        <AnswerView answer={{ ...usage, data: stats }} waiting={<Skeleton rows={5} class="cards" />}>
          {(data) => <Cards stats={data} />}
        </AnswerView>
        <div class="columns">
          <Panel
            title={text.overview.callsOverTime}
            class="wide"
            actions={
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
            }
          >
            <AnswerView answer={over} waiting={<Skeleton class="chart" />}>
              {({ callSeries }) =>
                callSeries.some(({ counts }) => counts.total > 0) ? (
                  <CallsChart buckets={callSeries} />
                ) : (
                  <Empty icon="calls" title={text.state.noCalls}>
                    <p>{'preset' in range ? text.state.noCallsIn(text.range.long[range.preset]) : format.between(range.since, range.until)}</p>
                    {stats?.usageStats.currentMonth.total === 0 && <p class="quiet">{text.state.noCallsAtAll}</p>}
                  </Empty>
                )
              }
            </AnswerView>
          </Panel>
          <AttentionPanel answer={attention} />
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

/** The subscription is newer than the query but has no monthly counts. */
function newest(data: UsageQuery, now: UsageNowSubscription['usageStats'] | undefined): UsageQuery {
  if (!now || now.asOf < data.usageStats.asOf) return data;
  return { ...data, usageStats: { ...data.usageStats, ...now } };
}

function Sentence(props: { day: CountsFragment | undefined; attention: number | undefined }): JSX.Element {
  const { text, format } = useI18n();
  const { day, attention } = props;
  if (!day) return <Skeleton class="sentence" />;
  const count = attention ?? 0;
  const keys = (
    <>
      {text.overview.then}
      {count > 0 ? <a href="#attention">{text.overview.attention(count, format.count(count))}</a> : text.overview.allHealthy}
    </>
  );
  if (day.successRate == null) return <p class="sentence">{text.overview.noCalls}</p>;
  const [percent, rest] = text.overview.sentence(format.percent(day.successRate), format.count(day.total));
  return (
    <p class="sentence">
      <strong>{percent}</strong>
      {rest}
      {attention !== undefined && keys}
    </p>
  );
}
