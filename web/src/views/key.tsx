// One key: statistics, state and recent errors. With the scope REVEAL_KEYS it reveals the full key; the server
// records that in the audit log.
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { ApiError, send } from '../api/client';
import { KeyLatencyDocument, KeyPageDocument, KeySecretDocument, type KeyLatencyQuery, type KeyPageQuery, type KeyPageQueryVariables } from '../api/gen/graphql';
import { Spans } from '../chart/plot';
import { CallsChart, LatencyChart } from '../chart/series';
import { callsOfModel, namedOf, spansOf, stateOfKey, stateOfModel, type KeyState, type ModelState } from '../domain/incident';
import { firstLine } from '../domain/provider';
import { useI18n } from '../i18n';
import { errorText } from '../i18n/error-text';
import { timeZone } from '../i18n/format';
import { useKeyIncidents } from '../state/incidents';
import { fresh, useQuery } from '../state/query';
import { endOf, isLive, rangeArguments, rangeOf } from '../state/range';
import { navigate, linkTo, useRoute } from '../state/router';
import { hasScope, serverNow } from '../state/session';
import { useShortcuts } from '../state/shortcuts';
import { CopyButton } from '../ui/copy';
import { GraphiqlLink } from '../ui/graphiql-link';
import { Icon } from '../ui/icon';
import { CodeMark, StateTag } from '../ui/marks';
import { Panel } from '../ui/panel';
import { RangePicker } from '../ui/range';
import { Empty, AnswerView, Skeleton } from '../ui/state';
import { ViewHeader } from '../ui/view-header';
import { Codes, Models } from './breakdown';
import { Explain, selectionOf } from './explain';
import { IncidentList, sinceLine } from './incidents';
import { QuotasPanel, Timeline } from './key-quotas';

const RENEW_MS = 20_000;
/** The error codes for an unknown id. */
const UNKNOWN = new Set(['NOT_FOUND', 'BAD_USER_INPUT']);

type ApiKey = NonNullable<KeyPageQuery['apiKey']>;
type KeyLatency = NonNullable<KeyLatencyQuery['apiKey']>['latency'];

export function KeyView({ id }: { id: string }): JSX.Element {
  const i18n = useI18n();
  const { text } = i18n;
  const { params } = useRoute();
  const range = rangeOf(params);
  const live = isLive(range);
  const variables = (): KeyPageQueryVariables => {
    const now = serverNow();
    const until = new Date(endOf(range, now)).toISOString();
    return {
      key: id,
      ...rangeArguments(range, now),
      timeZone,
      untilEnd: { since: new Date(0).toISOString(), until },
      errors: live ? {} : { until },
    };
  };
  const answer = useQuery(KeyPageDocument, { key: JSON.stringify([id, range]), variables, everyMs: live ? RENEW_MS : undefined });
  const latency = useQuery(KeyLatencyDocument, {
    key: JSON.stringify([id, range]),
    variables: () => ({ key: id, ...rangeArguments(range, serverNow()), timeZone }),
    everyMs: live ? RENEW_MS : undefined,
  });
  const latencies = latency.stale ? undefined : latency.data;
  const incidents = useKeyIncidents(id, range);
  // A failed request says nothing about the present.
  const known = fresh(incidents.atEnd);
  // The timeline shows which time it covers.
  const ofRange = fresh(incidents.answer);
  const [found, part] = ofRange ? [ofRange, incidents.part] : [known, 'day' as const];
  const diagnoses = known?.apiKey?.diagnoses ?? [];
  const state = known?.apiKey ? stateOfKey(id, diagnoses, known.apiKey.counts) : incidents.atEnd.error ? 'unknown' : undefined;
  const named = namedOf(id, diagnoses);
  const stateOf = (model: string): ModelState =>
    stateOfModel(model, known?.apiKey ? diagnoses : undefined, callsOfModel(model, known?.apiKey?.models));
  const within = useMemo(() => (found?.diagnoses ?? []).filter(({ keys }) => keys.length === 0 || keys.some((key) => key.id === id)), [found, id]);
  const spans = useMemo(() => spansOf(within, text.incidents.causes), [within, text]);
  const explained = selectionOf(params);
  useShortcuts({ Escape: () => navigate(linkTo('/keys')) });
  return (
    <>
      <ViewHeader
        title={
          <a data-inner class="back" href={linkTo('/keys')} aria-label={text.keys.back}>
            <Icon name="left" />
            {text.app.keys}
          </a>
        }
        live={live}
      >
        <RangePicker range={range} />
      </ViewHeader>
      <div class="split">
        <div class="scroll">
          {answer.error && answer.data === undefined && UNKNOWN.has(answer.error.code) ? (
            <Empty icon="keys" title={text.keys.notFound} />
          ) : (
            <AnswerView answer={answer} waiting={<Skeleton rows={6} />}>
            {({ apiKey, callSeries, byCode }) =>
              apiKey ? (
                <>
                  <Head key={apiKey.id} apiKey={apiKey} state={state} since={named && sinceLine(i18n, named)}>
                    <GraphiqlLink document={KeyPageDocument} variables={variables()} />
                  </Head>
                  {diagnoses.length > 0 && (
                    <Panel title={text.incidents.title} class="incidents">
                      <IncidentList incidents={diagnoses} range={range} />
                    </Panel>
                  )}
                  <Stats apiKey={apiKey} latency={latencies?.apiKey?.latency} live={live} />
                  <Spans.Provider value={spans}>
                    <div class="columns">
                      <Panel title={text.overview.callsOverTime} class="wide">
                        {apiKey.counts.total ? <CallsChart buckets={callSeries} filter={{ key: id }} /> : <Empty icon="calls" title={text.state.noCalls} />}
                      </Panel>
                      <Panel title={text.overview.statusCodes}>
                        <Codes groups={byCode} link={(filter) => linkTo('/calls', { key: id, ...filter })} />
                      </Panel>
                      <Panel title={text.overview.latencyOverTime} class="wide">
                        <AnswerView answer={latency} waiting={<Skeleton class="chart" />}>
                          {(found) =>
                            found.apiKey?.latency.p50 == null ? (
                              <Empty icon="slow" title={text.overview.noLatencies} />
                            ) : (
                              <LatencyChart buckets={found.callSeries} filter={{ key: id }} />
                            )
                          }
                        </AnswerView>
                      </Panel>
                      <LatestErrors apiKey={apiKey} />
                      <QuotasPanel id={id} range={range} />
                      <Timeline incidents={within} range={range} part={part} />
                      <Panel title={text.overview.models} class="full">
                        <Models groups={apiKey.models} latencies={latencies?.apiKey?.models} stateOf={stateOf} link={(filter) => linkTo('/calls', { key: id, ...filter })} />
                      </Panel>
                    </div>
                  </Spans.Provider>
                </>
              ) : (
                <Empty icon="keys" title={text.keys.notFound} />
              )
            }
          </AnswerView>
          )}
        </div>
        {explained && <Explain key="explain" selection={explained} range={range} calls={{ keys: [id] }} errors={{ keys: [id] }} params={{ key: id }} />}
      </div>
    </>
  );
}

/** How long a revealed key is shown. */
const REVEALED_MS = 30_000;

function Head(props: { apiKey: ApiKey; state: KeyState | undefined; since: string | undefined; children: ComponentChildren }): JSX.Element {
  const { apiKey, state, since, children } = props;
  const { text } = useI18n();
  const [secret, setSecret] = useState<string>();
  useEffect(() => {
    if (secret === undefined) return undefined;
    const timer = setTimeout(() => setSecret(undefined), REVEALED_MS);
    return () => clearTimeout(timer);
  }, [secret]);
  const [problem, setProblem] = useState<string>();
  const ask = async (): Promise<string> => {
    const { apiKey: found } = await send(KeySecretDocument, { key: apiKey.id });
    if (!found?.secret) throw new ApiError('NOT_FOUND', text.keys.notFound);
    return found.secret;
  };
  const withProblem = async (act: () => Promise<void>): Promise<void> => {
    setProblem(undefined);
    try {
      await act();
    } catch (cause) {
      setProblem(cause instanceof ApiError ? errorText(text, cause) : String(cause));
      throw cause;
    }
  };
  return (
    <div class="key-head">
      <h2 class="key-name" aria-label={secret ? text.keys.revealed : undefined}>
        {secret ?? apiKey.masked.replace('...', '…')}
      </h2>
      {state && <StateTag state={state} />}
      {since && <span class="quiet">{since}</span>}
      {hasScope('REVEAL_KEYS') && (
        <span class="buttons">
          <button
            type="button"
            class="button small"
            title={text.keys.audited}
            onClick={() => {
              if (secret) setSecret(undefined);
              else void withProblem(async () => setSecret(await ask())).catch(() => undefined);
            }}
          >
            <Icon name="eye" />
            {secret ? text.keys.hide : text.keys.reveal}
          </button>
          <CopyButton
            label={text.keys.copy}
            text={async () => {
              let copied = secret ?? '';
              if (!copied) await withProblem(async () => void (copied = await ask()));
              return copied;
            }}
          />
        </span>
      )}
      <span class="buttons push">
        <a data-inner class="button small" href={linkTo('/calls', { key: apiKey.id })}>
          <Icon name="calls" />
          {text.keys.seeCalls}
        </a>
        <a data-inner class="button small" href={linkTo('/errors', { key: apiKey.id })}>
          <Icon name="errors" />
          {text.keys.seeErrors}
        </a>
        {children}
      </span>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
    </div>
  );
}

function Stats({ apiKey, latency, live }: { apiKey: ApiKey; latency: KeyLatency | undefined; live: boolean }): JSX.Element {
  const { text, format } = useI18n();
  const { counts } = apiKey;
  const lastSeenAt = live ? apiKey.lastSeenAt : apiKey.calls.nodes[0]?.timestamp;
  const moment = (at: string | null | undefined): ComponentChildren =>
    at ? (
      <time dateTime={at} title={format.fullTime(at)}>
        {format.time(at)}
      </time>
    ) : (
      '–'
    );
  const ms = (value: number | null | undefined): string => (value == null ? '–' : format.latency(value));
  const facts: [string, ComponentChildren][] = [
    [text.counts.calls, format.count(counts.total)],
    [text.counts.failed, format.count(counts.failure)],
    [text.counts.rate, counts.successRate == null ? '–' : format.percent(counts.successRate)],
    ['p50', ms(latency?.p50)],
    ['p95', ms(latency?.p95)],
    [text.keys.firstSeen, moment(apiKey.firstSeenAt)],
    [text.keys.lastSeen, moment(lastSeenAt)],
  ];
  return (
    <dl class="stats">
      {facts.map(([name, value]) => (
        <div key={name} class="stat">
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function LatestErrors({ apiKey }: { apiKey: ApiKey }): JSX.Element {
  const { text, format } = useI18n();
  const { nodes } = apiKey.errorLogs;
  return (
    <Panel title={text.keys.recentErrors}>
      {nodes.length === 0 ? (
        <Empty icon="healthy" title={text.keys.noErrors} />
      ) : (
        <ul class="latest">
          {nodes.map((error) => (
            <li key={error.id}>
              <a data-inner href={linkTo('/errors', { key: apiKey.id, error: error.id })}>
                <CodeMark code={error.errorCode} />
                <span class="clip">{firstLine(error.message) || error.errorType}</span>
                <span class="quiet">{format.time(error.timestamp)}</span>
              </a>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
