// Overview: the state of the pool, its problems and their causes.
import type { ComponentChildren, JSX } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import {
  LatenciesDocument,
  RangeDocument,
  SeriesBeforeDocument,
  UsageDocument,
  UsageNowDocument,
  type RangeQuery,
  type UsageNowSubscription,
  type UsageQuery,
} from '../api/gen/graphql';
import { Spans } from '../chart/plot';
import { CallsChart, LatencyChart } from '../chart/series';
import { CauseChart, StackChart } from '../chart/stack';
import { callsOfModel, headlineOf, includes, spansOf, stateOfModel, type Counts, type Headline, type ModelState } from '../domain/incident';
import { alignBefore, STACKS } from '../domain/stack';
import { useI18n } from '../i18n';
import { rangeText } from '../i18n/range-text';
import { timeZone } from '../i18n/format';
import { useIncidents } from '../state/incidents';
import { updatedAt, useSubscription } from '../state/live';
import { fresh, useQuery, type Answer } from '../state/query';
import { diagnosedSince, endOf, exceedsDay, intervalsOf, isLive, isoDuration, monthBefore, periodBefore, rangeArguments, rangeEnds, rangeOf, type Range } from '../state/range';
import { linkTo, setParams, useRoute } from '../state/router';
import { pageLimit, serverNow } from '../state/session';
import { Icon, type IconName } from '../ui/icon';
import { Panel } from '../ui/panel';
import { RangePicker } from '../ui/range';
import { Empty, AnswerView, Skeleton } from '../ui/state';
import { ViewHeader } from '../ui/view-header';
import { Codes, Models } from './breakdown';
import { Cards } from './cards';
import { Explain, selectionOf } from './explain';
import { diagnosedText, IncidentDetail, IncidentsPanel, useIncidentLink } from './incidents';
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

  const modelLimit = pageLimit(100);
  const usage = useQuery(UsageDocument, {
    key: live ? 'now' : rangeKey,
    variables: () => {
      const end = new Date(endOf(range, serverNow()));
      return { asOf: end.toISOString(), monthBefore: monthBefore(end).toISOString(), ...lastCallVariables(range), timeZone, modelLimit };
    },
    everyMs,
  });
  const ofRangeOptions = {
    key: JSON.stringify([range, chosen]),
    variables: () => ({ ...rangeArguments(range, serverNow()), interval: chosen ? isoDuration(chosen) : null, timeZone }),
    everyMs,
  };
  const over = useQuery(RangeDocument, ofRangeOptions);
  const latencies = useQuery(LatenciesDocument, ofRangeOptions);
  const stack = params.get('stack');
  const stackBy = STACKS.find((one) => one === stack);
  const compares = params.get('compare') === '1';
  const before = useBefore(range, over.stale ? undefined : over.data?.callSeries, compares && !stackBy);
  const incidents = useIncidents(range);
  // A failed request says nothing about the present.
  const found = fresh(incidents.answer)?.diagnoses;
  // With the counts of the whole range, unless they are older.
  const known = fresh(incidents.atEnd)?.diagnoses.map((one) => found?.find((whole) => includes(whole, one) && whole.until === one.until) ?? one);
  const spans = useMemo(() => spansOf(found ?? [], text.incidents.causes), [found, text]);
  const opened = params.get('incident');
  const explained = selectionOf(params);

  const [now, setNow] = useState<UsageNowSubscription['usageStats']>();
  useSubscription(live ? UsageNowDocument : undefined, { timeZone }, (data) => {
    setNow(data.usageStats);
    updatedAt.set(Date.now());
  });
  const stats = usage.data && (live ? newest(usage.data, now) : usage.data);
  const ofRange = over.stale || !over.data ? undefined : countsOf(over.data);
  const ofDay = usage.stale ? undefined : stats?.usageStats.last24Hours;
  const isLong = exceedsDay(range, serverNow());
  const hasFailed = [incidents.atEnd, isLong ? usage : over].some(({ error }) => error !== undefined);
  const modelCalls = usage.stale || !stats ? undefined : stats.modelsOfDay;
  const ofPool = known?.filter(({ keys, until }) => keys.length === 0 && until == null);
  const stateOf = (model: string): ModelState =>
    stateOfModel(model, ofPool, callsOfModel(model, modelCalls, modelCalls?.length === modelLimit));
  const headline = headlineOf(known, { since: diagnosedSince(range, 'day', serverNow()), calls: isLong ? ofDay : ofRange }, hasFailed);

  return (
    <>
      <ViewHeader title={text.app.overview} live={live}>
        <RangePicker range={range} />
      </ViewHeader>
      <Spans.Provider value={spans}>
        <div class="split">
          <div class="scroll">
            <div class="sentence">
              <HeadlineText headline={headline} range={range} usage={usage.stale ? undefined : stats} />
              <Rate range={range} over={over} headline={headline} />
            </div>
            <IncidentsPanel diagnosed={incidents} range={range} />
            <AnswerView answer={{ ...usage, data: stats }} waiting={<Skeleton rows={5} class="cards" />}>
              {(data) => <Cards stats={data} live={live} />}
            </AnswerView>
            <div class="columns">
              <Panel
                title={stackBy === 'cause' ? text.overview.errorsOverTime : text.overview.callsOverTime}
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
                      stackBy === 'cause' ? (
                        <CauseChart range={range} interval={chosen ? isoDuration(chosen) : null} />
                      ) : stackBy ? (
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
              <Panel title={text.overview.statusCodes}>
                <AnswerView answer={over}>{({ byCode }) => <Codes groups={byCode} link={(params) => linkTo('/calls', params)} />}</AnswerView>
              </Panel>
              <Panel title={text.overview.latencyOverTime} class="full">
                <AnswerView answer={latencies} waiting={<Skeleton class="chart" />}>
                  {({ callSeries }) =>
                    callSeries.some(({ latency }) => latency.p50 != null) ? (
                      <LatencyChart buckets={callSeries} />
                    ) : (
                      <Empty icon="slow" title={text.overview.noLatencies} />
                    )
                  }
                </AnswerView>
              </Panel>
              <Panel title={text.overview.models} class="full">
                <AnswerView answer={over}>
                  {({ byModel }) => (
                    <Models groups={byModel} latencies={latencies.stale ? undefined : latencies.data?.byModel} link={(params) => linkTo('/calls', params)} stateOf={stateOf} />
                  )}
                </AnswerView>
              </Panel>
            </div>
          </div>
          {explained ? (
            <Explain key="explain" selection={explained} range={range} calls={{}} errors={{}} params={{}} />
          ) : (
            opened && <IncidentDetail key={opened} id={opened} diagnosed={incidents} range={range} onClose={() => setParams({ incident: undefined })} />
          )}
        </div>
      </Spans.Provider>
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

const countsOf = ({ callSeries }: RangeQuery): Counts => ({
  total: callSeries.reduce((sum, { counts }) => sum + counts.total, 0),
  failure: callSeries.reduce((sum, { counts }) => sum + counts.failure, 0),
});

/** What is wrong at the end of the range: the most severe incident that lasts. */
function HeadlineText({ headline, range, usage }: { headline: Headline; range: Range; usage: UsageQuery | undefined }): JSX.Element {
  const i18n = useI18n();
  const { text, format } = i18n;
  const link = useIncidentLink();
  const when = diagnosedText(i18n, range, 'day');
  const line = (icon: IconName, look: string, content: ComponentChildren): JSX.Element => (
    <p class={`headline headline-${look}`}>
      <Icon name={icon} />
      <span>{content}</span>
    </p>
  );
  switch (headline.kind) {
    case 'waiting':
      return <Skeleton class="sentence" />;
    case 'unknown':
      return line('errors', 'unknown', text.incidents.unknown);
    case 'incident': {
      const { incident, more } = headline;
      return line(
        incident.severity === 'INFO' ? 'info' : 'failing',
        incident.severity,
        <>
          <a data-inner href={link(incident.id)}>
            <bdi>{incident.sentence}</bdi>
          </a>
          {more > 0 && (
            <>
              {' '}
              <a class="headline-more" href="#incidents">
                {text.incidents.more(format.count(more))}
              </a>
            </>
          )}
        </>,
      );
    }
    case 'noCalls': {
      const last = usage && lastCallOf(usage);
      // A pool that was in use and is silent for a day is an alarm.
      const isSilent = usage !== undefined && usage.newestBefore.nodes.length > 0 && usage.usageStats.last24Hours.total === 0;
      return (
        <>
          {line('silent', isSilent ? 'CRITICAL' : 'unknown', text.overview.noCalls(when))}
          {last !== undefined && <LastCall at={last} />}
        </>
      );
    }
    case 'tooFew':
      return line('silent', 'unknown', text.incidents.tooFew(headline.calls, format.count(headline.calls), when));
    case 'failures':
      return line('failing', 'WARNING', text.incidents[headline.known === 0 ? 'failuresOnly' : 'failuresLeft'](format.percent(headline.share), when));
    case 'healthy':
      return line(
        'healthy',
        'healthy',
        headline.ended === 0 ? text.incidents.healthy(when) : text.incidents.recovered(headline.ended, format.count(headline.ended), when),
      );
  }
}

/** How the calls of the range went. */
function Rate({ range, over, headline }: { range: Range; over: Answer<RangeQuery>; headline: Headline }): JSX.Element | null {
  const { text, format } = useI18n();
  if (!over.data || over.stale) return over.error ? null : <Skeleton />;
  const { total, failure } = countsOf(over.data);
  const where = rangeText({ text, format }, range);
  if (total === 0) return headline.kind === 'noCalls' ? null : <p class="rate">{text.overview.noCalls(where)}</p>;
  const [percent, rest] = text.overview.sentence(format.percent(1 - failure / total), format.count(total), where);
  return (
    <p class="rate">
      <strong>{percent}</strong>
      {rest}
    </p>
  );
}
