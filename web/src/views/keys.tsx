// The table of all keys: counts, latency, state and last use.
import type { JSX } from 'preact';
import { useMemo, useRef } from 'preact/hooks';
import { send } from '../api/client';
import {
  KeyLatenciesDocument,
  KeySecretsDocument,
  KeySparksDocument,
  KeyTableDocument,
  type KeyLatenciesQuery,
  type KeySparksQuery,
  type KeySparksQueryVariables,
  type KeyTableQuery,
} from '../api/gen/graphql';
import { isolate } from '../domain/bidi';
import { REASONS, type KeyState, type Since } from '../domain/incident';
import type { KeyStates } from '../domain/key-states';
import { laterFirst } from '../domain/order';
import { mayName } from '../domain/secret';
import { useI18n, type I18n } from '../i18n';
import { errorText } from '../i18n/error-text';
import { timeZone } from '../i18n/format';
import { useKeyStates } from '../state/incidents';
import { useNow } from '../state/live';
import { useQuery } from '../state/query';
import { useRemembered } from '../state/remembered';
import { endOf, isLive, partsOf, rangeArguments, rangeOf } from '../state/range';
import { clearParams, linkTo, setParams, useRoute } from '../state/router';
import { hasScope, pageLimit, serverNow } from '../state/session';
import { excluded } from '../state/value-filter';
import { Cell } from '../ui/cell';
import { CopyButton } from '../ui/copy';
import { Exclusions } from '../ui/exclusions';
import { Filters } from '../ui/filters';
import { Icon } from '../ui/icon';
import { Key, StateTag } from '../ui/marks';
import { RangePicker } from '../ui/range';
import { Search } from '../ui/search';
import { Spark, type SparkPart } from '../ui/spark';
import { Empty, Failure, Skeleton } from '../ui/state';
import { Table, type Column } from '../ui/table';
import { ViewHeader } from '../ui/view-header';
import { sinceLine } from './incidents';
import { NoCallsHint } from './last-call';

const RENEW_MS = 20_000;
const PARTS = 12;

interface KeyRow {
  state: KeyState;
  /** The sentences of its diagnoses. */
  sentences: string[];
  since: Since | undefined;
  id: string;
  masked: string;
  total: number;
  failure: number;
  rate: number | undefined;
  p95: number | null | undefined;
  lastSeenAt: string | null;
  models: string[];
  spark: SparkPart[] | undefined;
}

const SORTS = ['state', 'calls', 'failures', 'rate', 'p95', 'seen'] as const;
type Sort = (typeof SORTS)[number];

/** Worst or largest first. */
const compare: Record<Sort, (a: KeyRow, b: KeyRow) => number> = {
  state: (a, b) => rank(a) - rank(b) || b.total - a.total,
  calls: (a, b) => b.total - a.total,
  failures: (a, b) => b.failure - a.failure,
  rate: (a, b) => (a.rate ?? 2) - (b.rate ?? 2),
  p95: (a, b) => (b.p95 ?? -1) - (a.p95 ?? -1),
  seen: (a, b) => laterFirst(a.lastSeenAt ?? '', b.lastSeenAt ?? ''),
};

const STATES = [...REASONS, 'failures', 'likePool', 'healthy', 'tooFew', 'noCalls'] as const;
const needsAttention = (state: KeyState): boolean => state === 'failures' || REASONS.some((reason) => reason === state);
const rank = ({ state }: KeyRow): number => (state === 'unknown' ? STATES.length : STATES.indexOf(state));

type State = (typeof STATES)[number] | 'attention' | undefined;

function stateOf(params: URLSearchParams): State {
  const state = params.get('state');
  return state === 'attention' ? state : STATES.find((one) => one === state);
}

const KEY_PARAMS = ['q', 'key', '-key', 'state'] as const;

export function Keys(): JSX.Element {
  const i18n = useI18n();
  const { text, format } = i18n;
  const { params, hidden } = useRoute();
  const range = rangeOf(params);
  const live = isLive(range);
  const search = hidden['q'] ?? params.get('q') ?? '';
  const only = params.getAll('key');
  const not = params.getAll(excluded('key'));
  const state = stateOf(params);
  const [sort, backwards] = sortOf(params);
  const first = pageLimit(1000);
  const listKey = JSON.stringify(range);
  const table = useQuery(KeyTableDocument, {
    key: listKey,
    variables: () => ({ ...rangeArguments(range, serverNow()), timeZone, first, past: !live }),
    everyMs: live ? RENEW_MS : undefined,
  });
  const sparks = useQuery(KeySparksDocument, {
    key: listKey,
    variables: () => {
      const parts = partsOf(range, serverNow(), PARTS);
      return { ...Object.fromEntries(parts.map((part, index) => [`w${index}`, part])), first } as KeySparksQueryVariables;
    },
    everyMs: live ? RENEW_MS * 3 : undefined,
  });
  const latencies = useQuery(KeyLatenciesDocument, {
    key: listKey,
    variables: () => ({ ...rangeArguments(range, serverNow()), timeZone, first }),
    everyMs: live ? RENEW_MS : undefined,
  });
  const keyStates = useKeyStates(range);
  // A failed request says nothing about the present.
  const known = keyStates.stale || keyStates.error ? undefined : keyStates.data;
  // The states of the keys, and so the order of the rows, are unknown until then.
  const areStatesLoaded = known !== undefined || keyStates.error !== undefined;
  const all = useMemo(
    () =>
      table.data && !table.stale && areStatesLoaded
        ? rowsOf({
            table: table.data,
            latencies: latencies.stale ? undefined : latencies.data,
            sparks: sparks.stale ? undefined : sparks.data,
            known,
            end: endOf(range, serverNow()),
          })
        : undefined,
    [table.data, table.stale, latencies.data, latencies.stale, sparks.data, sparks.stale, known, areStatesLoaded],
  );
  const onlyKey = JSON.stringify([only, not]);
  const rows = useMemo(() => {
    const found = (all ?? []).filter(
      (row) =>
        mayName(search, row.masked) &&
        (only.length === 0 || only.includes(row.id)) &&
        !not.includes(row.id) &&
        (state === undefined || (state === 'attention' ? needsAttention(row.state) : row.state === state)),
    );
    found.sort(compare[sort]);
    return backwards ? found.reverse() : found;
  }, [all, search, onlyKey, state, sort, backwards]);
  const isFiltered = search !== '' || only.length > 0 || not.length > 0 || state !== undefined;
  const now = useNow(10_000);
  const [restored, remembered] = useRemembered<{ of: string; top: number }>();
  const toRestore = useRef(restored);
  const of = JSON.stringify([listKey, search, onlyKey, state, sort, backwards]);

  return (
    <>
      <ViewHeader title={text.app.keys} live={live}>
        <RangePicker range={range} />
      </ViewHeader>
      <Filters
        active={Number(search !== '') + Number(only.length > 0) + Number(not.length > 0) + Number(state !== undefined)}
        end={
          <>
            {latencies.error && (
              <button type="button" class="button small" title={errorText(text, latencies.error)} onClick={latencies.reload}>
                {text.keys.noLatencies}
              </button>
            )}
            {all && <span>{text.keys.total(rows.length, format.count(rows.length))}</span>}
            {isFiltered && rows.length > 0 && rows.length <= first && hasScope('REVEAL_KEYS') && (
              <span title={text.keys.audited}>
                <CopyButton label={text.keys.copyAll(rows.length, format.count(rows.length))} text={() => secretsOf(rows.map(({ id }) => id))} />
              </span>
            )}
            {all && known && known.total > all.length && <span>{text.keys.more(format.count(all.length), format.count(known.total))}</span>}
          </>
        }
      >
        <Search value={search} label={text.keys.search} />
        <label class="inline">
          <span class="visually-hidden">{text.keys.states}</span>
          <select class="input" value={state ?? ''} onChange={(event) => setParams({ state: event.currentTarget.value })}>
            <option value="">{text.keys.anyState}</option>
            <option value="attention">{text.keys.attention}</option>
            {STATES.map((one) => (
              <option key={one} value={one}>
                {text.keys.stateNames[one]}
              </option>
            ))}
          </select>
        </label>
        {only.length > 0 && (
          <button type="button" class="button small" onClick={() => setParams({ key: undefined })}>
            {text.keys.only(only.length, format.count(only.length))}
            <Icon name="close" />
          </button>
        )}
      </Filters>
      <Exclusions fields={[{ name: 'key', label: text.keys.key, of: (id) => all?.find((row) => row.id === id)?.masked.replace('...', '…') }]} />
      <div class="split">
        <div class="listing" data-stale={table.stale || undefined} aria-busy={!all || table.stale}>
          {!all ? (
            table.error ? (
              <Failure error={table.error} retry={table.reload} />
            ) : (
              <Skeleton rows={16} />
            )
          ) : rows.length === 0 ? (
            <Empty icon="keys" title={all.length ? text.state.noMatches : text.state.noCalls}>
              {all.length > 0 ? (
                <button type="button" class="button" onClick={() => clearParams(KEY_PARAMS)}>
                  {text.state.clearFilters}
                </button>
              ) : (
                <NoCallsHint range={range} />
              )}
            </Empty>
          ) : (
            <Table
              key={listKey}
              caption={text.keys.title}
              columns={columnsOf(i18n, [sort, backwards], Math.max(now, serverNow()))}
              rows={rows}
              rowKey={(row) => row.id}
              href={(row) => linkTo(`/keys/${row.id}`)}
              initialTop={toRestore.current?.of === of ? toRestore.current.top : undefined}
              onScrolled={(at) => {
                toRestore.current = undefined;
                remembered.current = { of, top: at };
              }}
              rowHeight={44}
              class="tall"
            />
          )}
        </div>
      </div>
    </>
  );
}

/** The full keys, one a line. */
async function secretsOf(ids: string[]): Promise<string> {
  const { nodes } = await send(KeySecretsDocument, { ids });
  const secrets = nodes.flatMap((node) => (node?.__typename === 'ApiKey' && node.secret ? node.secret : []));
  if (secrets.length !== ids.length) throw new Error('a key no longer exists');
  return secrets.join('\n');
}

function sortOf(params: URLSearchParams): [Sort, boolean] {
  const text = params.get('sort') ?? 'state';
  const name = text.replace(/^-/, '');
  return [SORTS.find((sort) => sort === name) ?? 'state', text.startsWith('-')];
}

function rowsOf(from: {
  table: KeyTableQuery;
  latencies: KeyLatenciesQuery | undefined;
  sparks: KeySparksQuery | undefined;
  known: KeyStates | undefined;
  /** The end of the range in milliseconds. */
  end: number;
}): KeyRow[] {
  const { table, known, end } = from;
  const models = new Map<string, string[]>();
  for (const { apiKey, model } of table.models) {
    if (apiKey && model != null) models.set(apiKey.id, [...(models.get(apiKey.id) ?? []), model]);
  }
  const lines = from.sparks && linesOf(from.sparks);
  const p95s = new Map(from.latencies?.callGroups.flatMap(({ apiKey, latency }) => (apiKey ? [[apiKey.id, latency.p95] as const] : [])));
  const stateOf = (id: string): Pick<KeyRow, 'state' | 'sentences' | 'since'> => {
    const { state, sentences, since } = known?.keys.get(id) ?? { state: 'unknown', sentences: [], since: undefined };
    return { state, sentences, since };
  };
  const rows = new Map<string, KeyRow>();
  for (const { apiKey, counts } of table.keys) {
    if (!apiKey) continue;
    rows.set(apiKey.id, {
      ...stateOf(apiKey.id),
      id: apiKey.id,
      masked: apiKey.masked,
      total: counts.total,
      failure: counts.failure,
      rate: counts.total ? 1 - counts.failure / counts.total : undefined,
      p95: p95s.get(apiKey.id),
      lastSeenAt: apiKey.calls?.nodes[0]?.timestamp ?? known?.keys.get(apiKey.id)?.lastSeenAt ?? null,
      models: models.get(apiKey.id) ?? [],
      spark: lines?.get(apiKey.id),
    });
  }
  // Known keys without a call in the range.
  for (const [id, { masked, lastSeenAt, state, sentences, since }] of known?.keys ?? []) {
    if (rows.has(id)) continue;
    // A later call says nothing about the range.
    const seen = lastSeenAt !== null && Date.parse(lastSeenAt) <= end ? lastSeenAt : null;
    rows.set(id, { state, sentences, since, id, masked, lastSeenAt: seen, total: 0, failure: 0, rate: undefined, p95: null, models: [], spark: undefined });
  }
  return [...rows.values()];
}

function linesOf(sparks: KeySparksQuery): Map<string, SparkPart[]> {
  const lines = new Map<string, SparkPart[]>();
  const windows = Object.entries(sparks)
    .filter(([name]) => /^w\d+$/.test(name))
    .sort(([a], [b]) => Number(a.slice(1)) - Number(b.slice(1)));
  windows.forEach(([, groups], index) => {
    for (const { apiKey, counts } of groups as KeySparksQuery['w0']) {
      if (!apiKey) continue;
      const line = lines.get(apiKey.id) ?? Array.from({ length: PARTS }, () => ({ total: 0, failure: 0 }));
      line[index] = counts;
      lines.set(apiKey.id, line);
    }
  });
  return lines;
}

function columnsOf(i18n: I18n, [sort, backwards]: [Sort, boolean], now: number): Column<KeyRow>[] {
  const { text, format } = i18n;
  const sortable = (id: Sort): Pick<Column<KeyRow>, 'sort' | 'onSort'> => ({
    sort: sort !== id ? 'none' : backwards ? 'ascending' : 'descending',
    onSort: () => setParams({ sort: sort === id && !backwards ? `-${id}` : id === 'state' ? undefined : id }),
  });
  return [
    {
      id: 'key',
      head: text.keys.key,
      cell: (row) => (
        <Cell filter={{ name: 'key', value: row.id }} copy={row.masked.replace('...', '…')}>
          <a data-inner href={linkTo(`/keys/${row.id}`)}>
            <Key masked={row.masked} />
          </a>
        </Cell>
      ),
    },
    {
      id: 'state',
      head: text.keys.state,
      ...sortable('state'),
      cell: ({ state, sentences, since }) =>
        state === 'unknown' ? (
          <StateTag state={state} />
        ) : (
          <Cell only={{ state }}>
            <StateTag state={state} title={[...(since ? [sinceLine(i18n, since)] : []), ...sentences].join('\n')} />
            {since && <span class="quiet since">{text.keys.since(format.time(since.since))}</span>}
          </Cell>
        ),
    },
    { id: 'trend', head: text.keys.trend, cell: (row) => row.spark && <Spark parts={row.spark} /> },
    { id: 'calls', head: text.keys.calls, numeric: true, ...sortable('calls'), cell: (row) => format.count(row.total) },
    { id: 'failures', head: text.keys.failures, numeric: true, ...sortable('failures'), cell: (row) => format.count(row.failure) },
    {
      id: 'rate',
      head: text.keys.rate,
      numeric: true,
      ...sortable('rate'),
      cell: (row) => (row.rate === undefined ? '–' : format.percent(row.rate)),
    },
    {
      id: 'p95',
      head: text.keys.p95,
      numeric: true,
      ...sortable('p95'),
      cell: (row) => (row.p95 == null ? '–' : format.latency(row.p95)),
    },
    {
      id: 'seen',
      head: text.keys.lastSeen,
      ...sortable('seen'),
      cell: (row) =>
        row.lastSeenAt ? (
          <time dateTime={row.lastSeenAt} title={format.fullTime(row.lastSeenAt)}>
            {format.ago(row.lastSeenAt, now)}
          </time>
        ) : (
          '–'
        ),
    },
    {
      id: 'models',
      head: text.keys.models,
      cell: ({ models }) => (
        <span title={models.map(isolate).join(', ')} class="quiet">
          {models.map(isolate).join(', ')}
        </span>
      ),
    },
  ];
}
