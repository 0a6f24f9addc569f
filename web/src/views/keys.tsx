// The table of all keys: counts, latency, state and last use.
import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import {
  KeySparksDocument,
  KeyTableDocument,
  type KeySparksQuery,
  type KeySparksQueryVariables,
  type KeyTableQuery,
} from '../api/gen/graphql';
import { REASONS, type UnhealthyKey, type Attention, type Reason } from '../domain/attention';
import { laterFirst } from '../domain/order';
import { useI18n, type I18n } from '../i18n';
import { timeZone } from '../i18n/format';
import { useNow } from '../state/live';
import { useQuery } from '../state/query';
import { partsOf, rangeArguments, rangeOf } from '../state/range';
import { linkTo, setParams, useRoute } from '../state/router';
import { pageLimit, serverNow } from '../state/session';
import { Filters } from '../ui/filters';
import { Key, ReasonTag } from '../ui/marks';
import { RangePicker } from '../ui/range';
import { Search } from '../ui/search';
import { Spark, type SparkPart } from '../ui/spark';
import { Empty, Failure, Skeleton } from '../ui/state';
import { Table, type Column } from '../ui/table';
import { ViewHeader } from '../ui/view-header';
import { useAttention, reasonText } from './attention';

const RENEW_MS = 20_000;
const PARTS = 12;
const NO_KEYS: Attention['seen'] = new Map();

interface KeyRow {
  id: string;
  masked: string;
  total: number;
  failure: number;
  rate: number | undefined;
  p95: number | null;
  lastSeenAt: string | null;
  models: string[];
  unhealthy: UnhealthyKey | undefined;
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

const rank = ({ unhealthy }: KeyRow): number => (unhealthy ? REASONS.indexOf(unhealthy.reason) : REASONS.length);

type State = Reason | 'attention' | undefined;

function stateOf(params: URLSearchParams): State {
  const state = params.get('state');
  return state === 'attention' ? state : REASONS.find((reason) => reason === state);
}

export function Keys(): JSX.Element {
  const i18n = useI18n();
  const { text, format } = i18n;
  const { params } = useRoute();
  const range = rangeOf(params);
  const search = params.get('q') ?? '';
  const state = stateOf(params);
  const [sort, backwards] = sortOf(params);
  const first = pageLimit(1000);
  const listKey = JSON.stringify(range);
  const table = useQuery(KeyTableDocument, {
    key: listKey,
    variables: () => ({ ...rangeArguments(range), timeZone, first }),
    everyMs: RENEW_MS,
  });
  const sparks = useQuery(KeySparksDocument, {
    key: listKey,
    variables: () => {
      const parts = partsOf(range, serverNow(), PARTS);
      return { ...Object.fromEntries(parts.map((part, index) => [`w${index}`, part])), first } as KeySparksQueryVariables;
    },
    everyMs: RENEW_MS * 3,
  });
  const attention = useAttention();
  // The states of the keys, and so the order of the rows, are unknown until then.
  const isAttentionLoaded = attention.data !== undefined || attention.error !== undefined;
  const all = useMemo(
    () => table.data && isAttentionLoaded && rowsOf(table.data, sparks.stale ? undefined : sparks.data, attention.data?.keys ?? [], attention.data?.seen ?? NO_KEYS),
    [table.data, sparks.data, sparks.stale, attention.data, isAttentionLoaded],
  );
  const rows = useMemo(() => {
    const wanted = search.trim().toLowerCase();
    const found = (all || []).filter(
      (row) =>
        row.masked.replace('...', '…').toLowerCase().includes(wanted.replace('...', '…')) &&
        (state === undefined || (state === 'attention' ? row.unhealthy : row.unhealthy?.reason === state)),
    );
    found.sort(compare[sort]);
    return backwards ? found.reverse() : found;
  }, [all, search, state, sort, backwards]);
  const now = useNow(10_000);

  return (
    <>
      <ViewHeader title={text.app.keys}>
        <RangePicker range={range} />
      </ViewHeader>
      <Filters
        active={Number(search !== '') + Number(state !== undefined)}
        end={
          <>
            {all && <span>{text.keys.total(rows.length, format.count(rows.length))}</span>}
            {table.data && table.data.keys.length >= first && <span>{text.keys.more(format.count(first))}</span>}
          </>
        }
      >
        <Search value={search} label={text.keys.search} />
        <label class="inline">
          <span class="visually-hidden">{text.keys.states}</span>
          <select class="input" value={state ?? ''} onChange={(event) => setParams({ state: event.currentTarget.value })}>
            <option value="">{text.keys.anyState}</option>
            <option value="attention">{text.keys.attention}</option>
            {REASONS.map((reason) => (
              <option key={reason} value={reason}>
                {text.attention.reasons[reason]}
              </option>
            ))}
          </select>
        </label>
      </Filters>
      <div class="split">
        <div class="listing" data-stale={table.stale || undefined} aria-busy={!all || table.stale}>
          {!all ? (
            table.error ? (
              <Failure error={table.error} retry={table.reload} />
            ) : (
              <Skeleton rows={16} />
            )
          ) : rows.length === 0 ? (
            <Empty icon="keys" title={all.length ? text.state.noMatches : text.state.noCalls} />
          ) : (
            <Table
              key={listKey}
              caption={text.keys.title}
              columns={columnsOf(i18n, [sort, backwards], Math.max(now, serverNow()), attention.data !== undefined)}
              rows={rows}
              rowKey={(row) => row.id}
              href={(row) => linkTo(`/keys/${row.id}`)}
              rowHeight={44}
              class="tall"
            />
          )}
        </div>
      </div>
    </>
  );
}

function sortOf(params: URLSearchParams): [Sort, boolean] {
  const text = params.get('sort') ?? 'state';
  const name = text.replace(/^-/, '');
  return [SORTS.find((sort) => sort === name) ?? 'state', text.startsWith('-')];
}

function rowsOf(
  table: KeyTableQuery,
  sparks: KeySparksQuery | undefined,
  unhealthy: UnhealthyKey[],
  seen: Attention['seen'],
): KeyRow[] {
  const models = new Map<string, string[]>();
  for (const { apiKey, model } of table.models) {
    if (apiKey && model != null) models.set(apiKey.id, [...(models.get(apiKey.id) ?? []), model]);
  }
  const unhealthyById = new Map(unhealthy.map((key) => [key.id, key]));
  const lines = sparks && linesOf(sparks);
  const rows = new Map<string, KeyRow>();
  for (const { apiKey, counts, latency } of table.keys) {
    if (!apiKey) continue;
    rows.set(apiKey.id, {
      ...apiKey,
      total: counts.total,
      failure: counts.failure,
      rate: counts.total ? 1 - counts.failure / counts.total : undefined,
      p95: latency.p95 ?? null,
      lastSeenAt: seen.get(apiKey.id)?.lastSeenAt ?? null,
      models: models.get(apiKey.id) ?? [],
      unhealthy: unhealthyById.get(apiKey.id),
      spark: lines?.get(apiKey.id),
    });
  }
  // Known keys without a call in the range.
  for (const [id, { masked, lastSeenAt }] of seen) {
    if (rows.has(id)) continue;
    const none = { total: 0, failure: 0, rate: undefined, p95: null, models: [], spark: undefined };
    rows.set(id, { id, masked, lastSeenAt, unhealthy: unhealthyById.get(id), ...none });
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

function columnsOf(i18n: I18n, [sort, backwards]: [Sort, boolean], now: number, isKnown: boolean): Column<KeyRow>[] {
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
        <a data-inner href={linkTo(`/keys/${row.id}`)}>
          <Key masked={row.masked} />
        </a>
      ),
    },
    {
      id: 'state',
      head: text.keys.state,
      ...sortable('state'),
      cell: (row) =>
        row.unhealthy ? (
          <span title={reasonText(i18n, row.unhealthy)}>
            <ReasonTag reason={row.unhealthy.reason} />
          </span>
        ) : !isKnown ? (
          '–'
        ) : row.total ? (
          <ReasonTag reason={undefined} />
        ) : (
          <span class="quiet">{text.keys.unused}</span>
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
      cell: (row) => (row.p95 === null ? '–' : format.latency(row.p95)),
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
        <span title={models.join(', ')} class="quiet">
          {models.join(', ')}
        </span>
      ),
    },
  ];
}
