// The list of calls: filtered, paged, live, each with its details.
import type { JSX } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import { send } from '../api/client';
import { CallRecordedDocument, CallsDocument, HistogramDocument, type CallRowFragment, type CallsQueryVariables } from '../api/gen/graphql';
import { Spans } from '../chart/plot';
import { CallsChart } from '../chart/series';
import { fileName } from '../domain/export';
import { spansOf } from '../domain/incident';
import { firstLine } from '../domain/provider';
import { useI18n, type I18n } from '../i18n';
import { timeZone } from '../i18n/format';
import { rangeText } from '../i18n/range-text';
import { callFilter, errorParams, errorsOf, parseCallCriteria, CALL_PARAMS, orderOf } from '../state/call-filter';
import { useIncidents } from '../state/incidents';
import { updatedAt, useTail } from '../state/live';
import { usePages, type Page } from '../state/pages';
import { fresh, useQuery } from '../state/query';
import { isLive, minuteOf, rangeArguments, rangeEnds, rangeOf } from '../state/range';
import { clearParams, given, linkTo, navigate, urlOf, withParams, setParams, useRoute, type Params } from '../state/router';
import { pageLimit, serverNow } from '../state/session';
import { Cell } from '../ui/cell';
import { Download } from '../ui/download';
import { GraphiqlLink } from '../ui/graphiql-link';
import { Icon } from '../ui/icon';
import { Key, StatusMark } from '../ui/marks';
import { RangePicker } from '../ui/range';
import { Empty, Failure, Skeleton } from '../ui/state';
import { Table, type Column } from '../ui/table';
import { TimeHead } from '../ui/zone';
import { ViewHeader } from '../ui/view-header';
import { CallDetail } from './call-detail';
import { CallFilters } from './call-filters';
import { Explain, selectionOf } from './explain';
import { NoCallsHint } from './last-call';

const DOWNLOAD_PAGE = 1000;
/** Rows arrive by the stream. Polling renews the total, and replaces the stream where a proxy blocks it. */
const RENEW_MS = 15_000;

const HISTOGRAM_RENEW_MS = 30_000;

const FILE_COLUMNS = ['timestamp', 'status', 'statusCode', 'model', 'key', 'latencyMs', 'errorType', 'message', 'id'] as const;

export function Calls(): JSX.Element {
  const i18n = useI18n();
  const { text, format } = i18n;
  const { path, params } = useRoute();
  const range = rangeOf(params);
  const criteria = parseCallCriteria(params);
  const opened = params.get('call') ?? undefined;
  const explained = selectionOf(params);
  const variables = (first: number, after?: string): CallsQueryVariables => ({
    ...rangeArguments(range, serverNow()),
    timeZone,
    filter: callFilter(criteria),
    orderBy: orderOf(criteria),
    first,
    after: after ?? null,
    count: after === undefined,
  });
  const [scrolls, setScrolls] = useState(0);
  const isTail = criteria.sort === 'newest' && isLive(range);
  const list = usePages<CallRowFragment>({
    key: JSON.stringify([range, criteria]),
    load: (after, signal, rows) => load(variables(pageLimit(rows), after), signal),
    since: () => rangeEnds(range, serverNow())[0],
    everyMs: isTail ? RENEW_MS : undefined,
  });
  useTail(
    isTail ? CallRecordedDocument : undefined,
    { filter: callFilter(criteria) },
    (data) => data.callRecorded,
    list,
  );
  const slowest = useMemo(() => Math.max(1000, ...(list.rows ?? []).map(({ latencyMs }) => latencyMs ?? 0)), [list.rows]);
  const columns = columnsOf(i18n, params, slowest);
  const histogram = useQuery(HistogramDocument, {
    key: JSON.stringify([range, callFilter(criteria)]),
    variables: () => ({ ...rangeArguments(range, serverNow()), timeZone, filter: callFilter(criteria) }),
    everyMs: isTail ? HISTOGRAM_RENEW_MS : undefined,
  });
  const incidents = useIncidents(range);
  const known = (fresh(incidents.answer) ?? fresh(incidents.atEnd))?.diagnoses;
  // Those of the calls that are shown.
  const spans = useMemo(() => {
    const isOf = (own: readonly string[], shown: readonly string[]): boolean => own.length === 0 || shown.length === 0 || own.some((one) => shown.includes(one));
    const shown = (known ?? []).filter(({ keys, models }) => isOf(keys.map(({ id }) => id), criteria.keys) && isOf(models, criteria.models));
    return spansOf(shown, text.incidents.causes);
  }, [known, JSON.stringify([criteria.keys, criteria.models]), text]);
  const at = list.rows?.findIndex(({ id }) => id === opened) ?? -1;
  const hrefOf = (row: CallRowFragment | undefined): string | undefined => row && urlOf(path, withParams(params, { call: row.id }));
  const filtered = CALL_PARAMS.some((name) => params.has(name));
  const close = (): void => setParams({ call: undefined });
  const download = async (after: string | undefined, signal: AbortSignal): Promise<Page<Record<string, string | number | null | undefined>>> => {
    const page = await load({ ...variables(pageLimit(DOWNLOAD_PAGE), after), count: false }, signal);
    return { ...page, rows: page.rows.map(fileRow) };
  };

  return (
    <>
      <ViewHeader title={text.app.calls} live={isTail}>
        <RangePicker range={range} />
      </ViewHeader>
      <CallFilters range={range} criteria={criteria}>
        {list.total !== undefined && !list.stale && <span>{text.calls.total(list.total, format.count(list.total))}</span>}
        <GraphiqlLink document={CallsDocument} variables={variables(20)} compact />
        <Download name={() => fileName('calls', rangeEnds(range, serverNow()), given(params, CALL_PARAMS))} columns={FILE_COLUMNS} total={list.total} load={download} />
      </CallFilters>
      {histogram.data?.callSeries.some(({ counts }) => counts.total > 0) && (
        <div class="histogram shown" data-stale={histogram.stale || undefined}>
          <Spans.Provider value={spans}>
            <CallsChart buckets={histogram.data.callSeries} filter={filterParams(params)} height={84} compact />
          </Spans.Provider>
        </div>
      )}
      <div class="split">
        <div class="listing" data-stale={list.stale || undefined} aria-busy={list.rows === undefined || list.stale}>
          {list.error && (list.rows === undefined || list.stale) ? (
            <Failure error={list.error} retry={list.reload} />
          ) : list.rows === undefined ? (
            <Skeleton rows={16} />
          ) : list.rows.length === 0 ? (
            <Empty icon="calls" title={filtered ? text.state.noMatches : text.state.noCalls}>
              <p>{rangeText(i18n, range)}</p>
              {filtered ? (
                <button type="button" class="button" onClick={() => clearParams(CALL_PARAMS)}>
                  {text.state.clearFilters}
                </button>
              ) : (
                <NoCallsHint range={range} />
              )}
            </Empty>
          ) : (
            <Table
              // A new list starts at its top, and so does a list after a click on "new calls".
              key={`${JSON.stringify([range, criteria])}${scrolls}`}
              caption={text.calls.table}
              columns={columns}
              rows={list.rows}
              rowKey={(row) => row.id}
              href={(row) => urlOf(path, withParams(params, { call: row.id }))}
              opened={opened}
              total={list.total}
              onNearEnd={list.loadMore}
              initialTop={list.initialTop}
              onScrolled={list.scrolled}
              foot={<p class="table-foot">{list.atEnd ? text.calls.end : text.calls.loadingMore}</p>}
              rowHeightNarrow={58}
              class="two-lines"
            />
          )}
          {list.fresh > 0 && (
            <button
              type="button"
              class="button primary pill"
              onClick={() => {
                list.showFresh();
                setScrolls(scrolls + 1);
              }}
            >
              <Icon name="up" />
              {text.calls.fresh(list.fresh, format.count(list.fresh))}
            </button>
          )}
        </div>
        {explained && !opened && (
          <Explain key="explain" selection={explained} range={range} calls={callFilter(criteria)} errors={errorsOf(criteria)} params={filterParams(params)} />
        )}
        {opened && (
          <CallDetail
            key="detail"
            id={opened}
            onClose={close}
            previous={at > 0 ? hrefOf(list.rows?.[at - 1]) : undefined}
            next={at >= 0 ? hrefOf(list.rows?.[at + 1]) : undefined}
          />
        )}
      </div>
    </>
  );
}

/** The filters of the address, for the list that a click on the histogram opens. */
function filterParams(params: URLSearchParams): Params {
  return Object.fromEntries([...CALL_PARAMS, 'sort'].map((name) => [name, params.getAll(name)]));
}

async function load(
  variables: CallsQueryVariables,
  signal: AbortSignal,
): Promise<Page<CallRowFragment>> {
  const { callDetails } = await send(CallsDocument, variables, signal);
  updatedAt.set(Date.now());
  const { hasNextPage, endCursor } = callDetails.pageInfo;
  return {
    rows: callDetails.nodes,
    next: hasNextPage ? (endCursor ?? undefined) : undefined,
    total: callDetails.totalCount,
  };
}

function fileRow(row: CallRowFragment): Record<string, string | number | null | undefined> {
  const { id, timestamp, status, statusCode, model, latencyMs, apiKey, errorLog } = row;
  return { id, timestamp, status, statusCode, model, latencyMs, key: apiKey?.masked, errorType: errorLog?.errorType, message: errorLog?.message };
}

function columnsOf({ text, format }: I18n, params: URLSearchParams, slowest: number): Column<CallRowFragment>[] {
  return [
    {
      id: 'time',
      head: <TimeHead />,
      cell: (row) => (
        <Cell only={minuteOf(row.timestamp)} onlyLabel={text.calls.ofMinute} copy={row.timestamp}>
          <a data-inner href={urlOf('/calls', withParams(params, { call: row.id }))} aria-label={text.calls.open(format.time(row.timestamp))}>
            <time dateTime={row.timestamp}>{format.time(row.timestamp)}</time>
          </a>
        </Cell>
      ),
    },
    {
      id: 'status',
      head: text.calls.status,
      cell: (row) => (
        <Cell
          {...(row.statusCode == null ? { only: { status: 'failure' } } : { filter: { name: 'code', value: String(row.statusCode) }, copy: String(row.statusCode) })}
        >
          <StatusMark status={row.status} code={row.statusCode} />
        </Cell>
      ),
    },
    {
      id: 'model',
      head: text.calls.model,
      cell: (row) =>
        row.model == null ? (
          <span class="quiet">{text.counts.noModel}</span>
        ) : (
          <Cell filter={{ name: 'model', value: row.model }} copy={row.model}>
            {row.model}
          </Cell>
        ),
    },
    {
      id: 'key',
      head: text.calls.key,
      cell: ({ apiKey }) =>
        apiKey ? (
          <Cell filter={{ name: 'key', value: apiKey.id }} copy={apiKey.masked.replace('...', '…')}>
            <Key masked={apiKey.masked} />
          </Cell>
        ) : (
          <Key masked={undefined} />
        ),
    },
    {
      id: 'latency',
      head: text.calls.latency,
      numeric: true,
      cell: ({ latencyMs }) =>
        latencyMs == null ? (
          '–'
        ) : (
          <Cell
            only={{ min: String(latencyMs), max: undefined }}
            onlyLabel={text.calls.asSlow}
            {...(latencyMs > 0 && { exclude: { min: undefined, max: String(latencyMs - 1) } })}
            excludeLabel={text.calls.asFast}
            copy={String(latencyMs)}
          >
            <span class="latency">
              <span class="latency-track">
                <span class="latency-bar" style={{ width: `${Math.max(3, (latencyMs / slowest) * 100)}%` }} />
              </span>
              <span class="latency-value">{format.latency(latencyMs)}</span>
            </span>
          </Cell>
        ),
    },
    {
      id: 'message',
      head: text.calls.providerMessage,
      cell: ({ errorLog }) =>
        errorLog ? (
          <Cell only={{ form: errorLog.messageTemplate.id }} onlyLabel={text.calls.ofMessage} to={(change) => navigate(linkTo('/errors', { ...errorParams(params), ...change }))} copy={errorLog.message}>
            <span title={firstLine(errorLog.message)}>{firstLine(errorLog.message)}</span>
          </Cell>
        ) : (
          ''
        ),
    },
  ];
}
