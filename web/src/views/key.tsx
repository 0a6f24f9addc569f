// One key: how it does, why it needs attention, what was said last. Shows the key in full where that
// is allowed, one at a time, and the server enters it in the audit log.
import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { ApiError, send } from '../api/client';
import { KeyPageDocument, KeySecretDocument, type KeyPageQuery } from '../api/gen/graphql';
import { CallsChart, LatencyChart } from '../chart/series';
import type { Ailing } from '../domain/attention';
import { firstLine } from '../domain/provider';
import { useSpeech } from '../i18n';
import { timeZone } from '../i18n/format';
import { useQuery } from '../state/query';
import { rangeArguments, rangeOf } from '../state/range';
import { go, linkTo, usePlace } from '../state/router';
import { may } from '../state/session';
import { useShortcuts } from '../state/shortcuts';
import { CopyButton } from '../ui/copy';
import { GraphiqlLink } from '../ui/graphiql-link';
import { Icon } from '../ui/icon';
import { CodeMark, ReasonTag } from '../ui/marks';
import { Panel } from '../ui/panel';
import { RangePicker } from '../ui/range';
import { Empty, Shown, Skeleton } from '../ui/state';
import { Top } from '../ui/top';
import { useAttention, why } from './attention';
import { Codes, Models } from './breakdown';

const RENEW_MS = 20_000;
/** How the server tells of an id that is none of its own. */
const UNKNOWN = new Set(['NOT_FOUND', 'BAD_USER_INPUT']);

type ApiKey = NonNullable<KeyPageQuery['apiKey']>;

export function KeyView({ id }: { id: string }): JSX.Element {
  const { text } = useSpeech();
  const { params } = usePlace();
  const range = rangeOf(params);
  const variables = { key: id, ...rangeArguments(range), timeZone };
  const answer = useQuery(KeyPageDocument, { key: JSON.stringify([id, range]), variables: () => variables, everyMs: RENEW_MS });
  const ailing = useAttention().data?.keys.find((key) => key.id === id);
  useShortcuts({ Escape: () => go(linkTo('/keys')) });
  return (
    <>
      <Top
        title={
          <a data-inner class="back" href={linkTo('/keys')} aria-label={text.keys.back}>
            <Icon name="left" />
            {text.app.keys}
          </a>
        }
      >
        <RangePicker range={range} />
      </Top>
      <div class="scroll">
        {answer.error && answer.data === undefined && UNKNOWN.has(answer.error.code) ? (
          <Empty icon="keys" title={text.keys.notFound} />
        ) : (
          <Shown answer={answer} waiting={<Skeleton rows={6} />}>
          {({ apiKey, callSeries, byCode }) =>
            apiKey ? (
              <>
                <Head apiKey={apiKey}>
                  <GraphiqlLink document={KeyPageDocument} variables={variables} />
                </Head>
                {ailing && <Reasoning ailing={ailing} />}
                <Stats apiKey={apiKey} />
                <div class="columns">
                  <Panel title={text.overview.callsOverTime} class="wide">
                    {apiKey.counts.total ? <CallsChart buckets={callSeries} filter={{ key: id }} /> : <Empty icon="calls" title={text.state.noCalls} />}
                  </Panel>
                  <Panel title={text.overview.statusCodes}>
                    <Codes groups={byCode} link={(filter) => linkTo('/calls', { key: id, ...filter })} />
                  </Panel>
                  {apiKey.latency.p50 != null && (
                    <Panel title={text.overview.latencyOverTime} class="wide">
                      <LatencyChart buckets={callSeries} filter={{ key: id }} />
                    </Panel>
                  )}
                  <LatestErrors apiKey={apiKey} />
                  <Panel title={text.overview.models} class="full">
                    <Models groups={apiKey.models} link={(model) => linkTo('/calls', { key: id, model })} />
                  </Panel>
                </div>
              </>
            ) : (
              <Empty icon="keys" title={text.keys.notFound} />
            )
          }
        </Shown>
        )}
      </div>
    </>
  );
}

function Head({ apiKey, children }: { apiKey: ApiKey; children: ComponentChildren }): JSX.Element {
  const { text } = useSpeech();
  const [secret, setSecret] = useState<string>();
  const [problem, setProblem] = useState<string>();
  const ask = async (): Promise<string> => {
    const { apiKey: found } = await send(KeySecretDocument, { key: apiKey.id });
    if (!found?.secret) throw new ApiError('NOT_FOUND', text.keys.notFound);
    return found.secret;
  };
  const told = async (act: () => Promise<void>): Promise<void> => {
    setProblem(undefined);
    try {
      await act();
    } catch (cause) {
      setProblem(cause instanceof ApiError ? (text.state.codes[cause.code] ?? cause.message) : String(cause));
      throw cause;
    }
  };
  return (
    <div class="key-head">
      <h2 class="key-name" aria-label={secret ? text.keys.revealed : undefined}>
        {secret ?? apiKey.masked.replace('...', '…')}
      </h2>
      {may('REVEAL_KEYS') && (
        <span class="buttons">
          <button
            type="button"
            class="button small"
            title={text.keys.audited}
            onClick={() => {
              if (secret) setSecret(undefined);
              else void told(async () => setSecret(await ask())).catch(() => undefined);
            }}
          >
            <Icon name="eye" />
            {secret ? text.keys.hide : text.keys.reveal}
          </button>
          <CopyButton
            label={text.keys.copy}
            text={async () => {
              let copied = secret ?? '';
              if (!copied) await told(async () => void (copied = await ask()));
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

function Reasoning({ ailing }: { ailing: Ailing }): JSX.Element {
  const speech = useSpeech();
  const { text } = speech;
  return (
    <div class={`reasoning reasoning-${ailing.reason}`}>
      <p>
        <ReasonTag reason={ailing.reason} /> <strong>{why(speech, ailing)}</strong>
      </p>
      <p>{text.attention.meaning[ailing.reason]}</p>
      {ailing.word && (
        <p>
          <span class="quiet">{text.attention.said}: </span>
          <a data-inner href={linkTo('/errors', { key: ailing.id, error: ailing.word.errorId })}>
            {ailing.word.code != null && `${ailing.word.code} `}
            {firstLine(ailing.word.message)}
          </a>
        </p>
      )}
    </div>
  );
}

function Stats({ apiKey }: { apiKey: ApiKey }): JSX.Element {
  const { text, format } = useSpeech();
  const { counts, latency } = apiKey;
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
    ['p50', ms(latency.p50)],
    ['p95', ms(latency.p95)],
    [text.keys.firstSeen, moment(apiKey.firstSeenAt)],
    [text.keys.lastSeen, moment(apiKey.lastSeenAt)],
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
  const { text, format } = useSpeech();
  const { nodes } = apiKey.errorLogs;
  return (
    <Panel title={text.keys.recentErrors}>
      {nodes.length === 0 ? (
        <Empty icon="well" title={text.keys.noErrors} />
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
