// The keys that need attention at the end of a range, each with its state, its start and the provider's message.
import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import { send } from '../api/client';
import { AttentionDocument, LastSuccessDocument, RejectionsDocument } from '../api/gen/graphql';
import { attentionOf, type UnhealthyKey, type Attention } from '../domain/attention';
import { firstLine } from '../domain/provider';
import { useI18n, type I18n } from '../i18n';
import { useLoad, useQuery, type Answer } from '../state/query';
import { endOf, isLive, type Range } from '../state/range';
import { linkTo } from '../state/router';
import { pageLimit, serverNow } from '../state/session';
import { Key, ReasonTag } from '../ui/marks';
import { Panel } from '../ui/panel';
import { Empty, AnswerView } from '../ui/state';

const RENEW_MS = 30_000;
const DAY_MS = 86_400_000;
const SIX_HOURS_MS = DAY_MS / 4;
/** The list of keys shows the rest. */
const SHOWN = 6;

export function useAttention(range: Range): Answer<Attention> {
  const live = isLive(range);
  const first = pageLimit(1000);
  const answer = useQuery(AttentionDocument, {
    key: live ? 'attention' : JSON.stringify(range),
    variables: () => {
      const end = endOf(range, serverNow());
      const ago = (ms: number): string => new Date(end - ms).toISOString();
      return { asOf: ago(0), since: ago(DAY_MS), sixHours: { since: ago(SIX_HOURS_MS), until: ago(0) }, first };
    },
    everyMs: live ? RENEW_MS : undefined,
  });
  const data = useMemo(() => answer.data && attentionOf(answer.data, endOf(range, serverNow()), first), [answer.data]);
  return { ...answer, data };
}

/** Since when a dead key is rejected. */
export interface DeadSince {
  /** The first rejection after the last success. */
  since: string;
  /** Undefined without a success within `LOOK_BACK_MS`. */
  lastSuccess: string | undefined;
  refusals: number;
}

const LOOK_BACK_MS = 30 * DAY_MS;
/** The number of keys of one `Rejections` document. */
const MOST_DEAD = 4;
/** The codes of a provider that rejects a key. */
const REJECTIONS = [400, 401, 403];

/** The starts of the first dead keys, by id. Two requests for all, and only if there are dead keys. */
export function useDeadSince(attention: Attention | undefined, range: Range, only?: string): Map<string, DeadSince> {
  const dead = (attention?.keys ?? []).filter(({ reason, id }) => reason === 'dead' && (only === undefined || id === only));
  const ids = dead.slice(0, MOST_DEAD).map(({ id }) => id);
  const live = isLive(range);
  const found = useLoad(
    ids.length > 0 ? JSON.stringify([ids, live ? 'now' : range]) : undefined,
    (signal) => loadDeadSince(ids, endOf(range, serverNow()), signal),
    live ? 2 * RENEW_MS : undefined,
  );
  return found ?? NONE;
}

const NONE = new Map<string, DeadSince>();

async function loadDeadSince(ids: string[], end: number, signal: AbortSignal): Promise<Map<string, DeadSince>> {
  const iso = (ms: number): string => new Date(ms).toISOString();
  const { nodes } = await send(LastSuccessDocument, { ids, between: { since: iso(end - LOOK_BACK_MS), until: iso(end) } }, signal);
  const successes = new Map(nodes.flatMap((node) => (node?.__typename === 'ApiKey' ? [[node.id, node.calls.nodes[0]?.timestamp] as const] : [])));
  const key = (index: number): string => ids[index] ?? ids[0] ?? '';
  const window = (index: number): { since: string; until: string } => ({
    since: successes.get(key(index)) ?? iso(end - LOOK_BACK_MS),
    until: iso(end),
  });
  const rejections = await send(
    RejectionsDocument,
    {
      k0: key(0),
      w0: window(0),
      k1: key(1),
      w1: window(1),
      h1: ids.length > 1,
      k2: key(2),
      w2: window(2),
      h2: ids.length > 2,
      k3: key(3),
      w3: window(3),
      h3: ids.length > 3,
      filter: { statusCodes: REJECTIONS },
    },
    signal,
  );
  const found = new Map<string, DeadSince>();
  [rejections.k0, rejections.k1, rejections.k2, rejections.k3].forEach((calls, index) => {
    const since = calls?.nodes[0]?.timestamp;
    if (calls && since) found.set(key(index), { since, lastSuccess: successes.get(key(index)), refusals: calls.totalCount });
  });
  return found;
}

/** "Dead since 20 Nov, 10:31:57, last success 10:29:12, 1,406 refusals". */
export function deadSinceText({ text, format }: I18n, { since, lastSuccess, refusals }: DeadSince): string {
  const success = lastSuccess === undefined ? text.attention.noSuccess : text.attention.lastSuccess(format.timeBeside(lastSuccess, since));
  return text.attention.deadSince(format.time(since), success, refusals, format.count(refusals));
}

/** Why a key is unhealthy, as a sentence. */
export function reasonText({ text, format }: I18n, key: UnhealthyKey): string {
  const window = text.attention.windows[key.window];
  if (key.reason === 'slow') return text.attention.slow(format.latency(key.p95 ?? 0));
  if (key.reason === 'silent') return text.attention.silent(key.lastSeenAt ? format.ago(key.lastSeenAt, serverNow()) : '–');
  return text.attention[key.reason](format.count(key.affected), format.count(key.total), window);
}

export function AttentionPanel({ answer, range }: { answer: Answer<Attention>; range: Range }): JSX.Element {
  const i18n = useI18n();
  const { text, format } = i18n;
  const since = useDeadSince(answer.data, range);
  return (
    <Panel
      title={isLive(range) ? text.attention.title : text.attention.titleAt(format.time(endOf(range, serverNow())))}
      class="attention"
      actions={
        <a data-inner class="button small" href={linkTo('/keys')}>
          {text.attention.all}
        </a>
      }
    >
      <AnswerView answer={answer}>
        {({ keys, poolProblem, counts, pool }) => (
          <div id="attention">
            {poolProblem && (
              <p class="notice">
                {text.attention.pool[poolProblem.kind][poolProblem.of](format.percent(poolProblem.share), text.attention.windows[poolProblem.window])}
              </p>
            )}
            {keys.length === 0 ? (
              <NoneUnhealthy counts={counts} pool={pool} poolFails={poolProblem !== undefined} />
            ) : (
              <ul class="unhealthy">
                {keys.slice(0, SHOWN).map((key) => {
                  const start = since.get(key.id);
                  return (
                    <li key={key.id}>
                      <a data-inner class="unhealthy-row" href={linkTo(`/keys/${key.id}`)}>
                        <ReasonTag reason={key.reason} />
                        <Key masked={key.masked} />
                        <span class="unhealthy-reason">{reasonText(i18n, key)}</span>
                        {start && <span class="unhealthy-reason">{deadSinceText(i18n, start)}</span>}
                        {key.providerError && (
                          <q class="unhealthy-message" title={text.calls.providerMessage}>
                            {key.providerError.code != null && <b class="mono">{key.providerError.code} </b>}
                            {firstLine(key.providerError.message)}
                          </q>
                        )}
                      </a>
                    </li>
                  );
                })}
              </ul>
            )}
            {keys.length > SHOWN && (
              <a data-inner class="more" href={linkTo('/keys', { state: 'attention' })}>
                {text.attention.more(format.count(keys.length - SHOWN))}
              </a>
            )}
          </div>
        )}
      </AnswerView>
    </Panel>
  );
}

/** All keys are called healthy only if each of them was judged. */
function NoneUnhealthy({ counts, pool, poolFails }: Pick<Attention, 'counts' | 'pool'> & { poolFails: boolean }): JSX.Element {
  const { text, format } = useI18n();
  const isKnown = counts.healthy > 0 && counts.healthy === pool && !poolFails;
  const parts = (['healthy', 'likePool', 'tooFew', 'noCalls'] as const).filter((state) => counts[state] > 0);
  const other = pool - parts.reduce((sum, state) => sum + counts[state], 0);
  const title = pool === 0 ? text.attention.noKeys : isKnown ? text.attention.none : counts.healthy > 0 && !poolFails ? text.attention.noneFound : text.attention.notJudged;
  return (
    <Empty icon={isKnown ? 'healthy' : 'silent'} title={title}>
      <p>
        {isKnown
          ? text.attention.noneHint(pool, format.count(pool))
          : [
              ...parts.map((state) => `${format.count(counts[state])} ${text.keys.stateNames[state].toLowerCase()}`),
              ...(other > 0 ? [`${format.count(other)} ${text.keys.stateNames.unknown.toLowerCase()}`] : []),
            ].join(', ')}
      </p>
    </Empty>
  );
}
