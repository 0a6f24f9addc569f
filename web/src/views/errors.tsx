// The error logs: groups, then single rows that can be searched, selected across pages and deleted.
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { send } from '../api/client';
import {
  ErrorFacetsDocument,
  ErrorGroupsDocument,
  ErrorRecordedDocument,
  ErrorsDocument,
  FirstErrorsDocument,
  ErrorIssuesDocument,
  type ErrorIssuesQueryVariables,
  type ErrorRowFragment,
  type ErrorsQueryVariables,
} from '../api/gen/graphql';
import { fileName } from '../domain/export';
import { isFailureClass } from '../domain/failure';
import { facetsOfGroups, issuesOf, mergedFacets, type FacetName } from '../domain/issues';
import { firstLine } from '../domain/provider';
import { useI18n, type I18n } from '../i18n';
import { rangeText } from '../i18n/range-text';
import { errorFilter, parseErrorCriteria, ERROR_PARAMS, kindsFilter, type ErrorCriteria } from '../state/error-filter';
import { updatedAt, useTail } from '../state/live';
import { usePages, type Page } from '../state/pages';
import { useQuery } from '../state/query';
import { isLive, minuteOf, partsOf, rangeEnds, rangeOf } from '../state/range';
import { clearParams, given, urlOf, withParams, setParams, useRoute } from '../state/router';
import { hasScope, pageLimit, serverNow } from '../state/session';
import { useShortcuts } from '../state/shortcuts';
import { Cell } from '../ui/cell';
import { Download } from '../ui/download';
import { Exclusions } from '../ui/exclusions';
import { Filters } from '../ui/filters';
import { GraphiqlLink } from '../ui/graphiql-link';
import { Icon } from '../ui/icon';
import { CodeMark, Key } from '../ui/marks';
import { RangePicker } from '../ui/range';
import { Search } from '../ui/search';
import { Empty, Failure, Skeleton } from '../ui/state';
import { Table, type Column } from '../ui/table';
import { TimeHead } from '../ui/zone';
import { ViewHeader } from '../ui/view-header';
import { DeleteErrors, NOTHING, type Selection } from './error-delete';
import { DeleteOldErrors } from './error-delete-old';
import { ErrorDetail } from './error-detail';
import { ErrorFilters, Groups } from './error-groups';

const DOWNLOAD_PAGE = 1000;
/** Rows arrive by the stream. Polling renews the total, and replaces the stream where a proxy blocks it. */
const RENEW_MS = 15_000;
const GROUPS_RENEW_MS = 30_000;
/** The parts of a sparkline. */
const PARTS = 12;

const FILE_COLUMNS = ['timestamp', 'cause', 'errorType', 'errorCode', 'model', 'key', 'message', 'id'] as const;

export function Errors(): JSX.Element {
  const i18n = useI18n();
  const { text, format } = i18n;
  const { path, params, hidden } = useRoute();
  const range = rangeOf(params);
  const criteria = parseErrorCriteria({ params, hidden });
  const listKey = JSON.stringify([range, criteria]);
  const opened = params.get('error') ?? undefined;
  const filter = errorFilter(criteria, range, serverNow());
  const variables = (first: number, after?: string): ErrorsQueryVariables => ({
    filter: errorFilter(criteria, range, serverNow()),
    orderBy: criteria.oldestFirst ? 'OLDEST_FIRST' : 'NEWEST_FIRST',
    first,
    after: after ?? null,
    count: after === undefined,
  });
  const live = isLive(range);
  const isTail = live && !criteria.oldestFirst;
  const list = usePages<ErrorRowFragment>({
    key: listKey,
    load: (after, signal, rows) => load(variables(pageLimit(rows), after), signal),
    since: () => rangeEnds(range, serverNow())[0],
    everyMs: isTail ? RENEW_MS : undefined,
  });
  // Without the range: its start moves, and new rows are inside it.
  const kinds = kindsFilter(criteria);
  useTail(
    isTail ? ErrorRecordedDocument : undefined,
    { filter: kinds },
    (data) => data.errorRecorded,
    list,
  );
  const first = pageLimit(1000);
  // All groups are shown, not only the selected ones.
  const ofGroups: ErrorCriteria = { ...criteria, causes: [], forms: [] };
  const groups = useQuery(ErrorGroupsDocument, {
    key: JSON.stringify([range, ofGroups]),
    variables: () => ({ filter: errorFilter(ofGroups, range, serverNow()), first }),
    everyMs: live ? GROUPS_RENEW_MS : undefined,
  });
  const firstErrors = useQuery(FirstErrorsDocument, {
    key: JSON.stringify(ofGroups),
    variables: () => ({ filter: kindsFilter(ofGroups) }),
  });
  const issues = useQuery(ErrorIssuesDocument, {
    key: JSON.stringify([range, ofGroups]),
    variables: () => {
      const now = serverNow();
      const filter = errorFilter(ofGroups, range, now);
      const parts = partsOf(range, now, PARTS).map((part, index) => [`w${index}`, { ...filter, ...part }] as const);
      return { ...Object.fromEntries(parts), filter, first } as ErrorIssuesQueryVariables;
    },
    everyMs: live ? 2 * GROUPS_RENEW_MS : undefined,
  });
  const affected = issues.stale ? undefined : issues.data;
  const known = useMemo(() => affected && issuesOf(affected, first), [affected, first]);
  const sums = facetsOfGroups(groups.stale ? undefined : groups.data?.types, affected, first);
  // A separate filter, or a selected group, makes the error logs of a facet others than those of the groups.
  const facetsOf = {
    causes: { ...criteria, causes: [], notCauses: [] },
    codes: { ...criteria, codes: [], notCodes: [] },
    types: { ...criteria, types: [], notTypes: [] },
    models: { ...criteria, models: [], notModels: [] },
    keys: { ...criteria, keys: [], notKeys: [] },
  };
  // Without the groups of a range that costs too much, the filters are what makes it smaller.
  const failed = { causes: groups.error, types: groups.error, models: issues.error, keys: issues.error };
  const needs = (name: FacetName): boolean => failed[name] !== undefined || sums.isCut[name] || JSON.stringify(facetsOf[name]) !== JSON.stringify(ofGroups);
  const needed = { causes: needs('causes'), types: needs('types'), models: needs('models'), keys: needs('keys') };
  const others = useQuery(ErrorFacetsDocument, {
    key: JSON.stringify([listKey, needed]),
    variables: () => {
      const of = (name: keyof typeof facetsOf) => errorFilter(facetsOf[name], range, serverNow());
      return { ofCauses: of('causes'), ofCodes: of('codes'), ofTypes: of('types'), ofModels: of('models'), ofKeys: of('keys'), ...needed, first };
    },
  });
  const facets = mergedFacets(sums.facets, others.stale ? undefined : others.data, needed);
  const [selection, setSelection] = useState<Selection>(NOTHING);
  useEffect(() => setSelection(NOTHING), [listKey]);
  useShortcuts(selection !== NOTHING ? { Escape: () => setSelection(NOTHING) } : {});
  const reloadAll = (): void => {
    setSelection(NOTHING);
    setParams({ error: undefined }, true);
    list.reload();
    groups.reload();
    firstErrors.reload();
    others.reload();
    issues.reload();
  };
  const filtered = ERROR_PARAMS.some((name) => params.has(name) || name in hidden);
  const rows = list.rows ?? [];
  const maskedKeys = new Map(facets.keys?.flatMap(({ apiKey }) => (apiKey ? [[apiKey.id, apiKey.masked.replace('...', '…')] as const] : [])));
  const forms = new Map(groups.data?.groups.flatMap(({ messageTemplate }) => (messageTemplate ? [[messageTemplate.id, messageTemplate.text] as const] : [])));
  const at = rows.findIndex(({ id }) => id === opened);
  const hrefOf = (row: ErrorRowFragment | undefined): string | undefined => row && urlOf(path, withParams(params, { error: row.id }));
  const columns = columnsOf(i18n, params, selection, setSelection, rows);
  const download = async (after: string | undefined, signal: AbortSignal): Promise<Page<Record<string, string | number | null | undefined>>> => {
    const page = await load({ ...variables(pageLimit(DOWNLOAD_PAGE), after), count: false }, signal);
    return { ...page, rows: page.rows.map(fileRow) };
  };

  return (
    <>
      <ViewHeader title={text.app.errors} live={isTail}>
        <RangePicker range={range} />
      </ViewHeader>
      <Filters
        active={ERROR_PARAMS.filter((name) => params.has(name) || name in hidden).length}
        end={
          <>
            {list.total !== undefined && !list.stale && <span>{text.errors.total(list.total, format.count(list.total))}</span>}
            {/* Its address contains the variables. */}
            {Object.keys(hidden).length === 0 && <GraphiqlLink document={ErrorsDocument} variables={variables(20)} compact />}
            {hasScope('DELETE') && <DeleteOldErrors onDeleted={reloadAll} />}
            <Download name={() => fileName('errors', rangeEnds(range, serverNow()), given(params, ERROR_PARAMS))} columns={FILE_COLUMNS} total={list.total} load={download} />
          </>
        }
      >
        <Search value={criteria.contains} label={text.errors.search} />
        <Search value={criteria.keyContains} label={text.errors.key} name="keytext" />
        <ErrorFilters facets={facets} criteria={criteria} />
        <label class="inline">
          <span class="visually-hidden">{text.calls.order}</span>
          <select class="input" value={criteria.oldestFirst ? 'oldest' : ''} onChange={(event) => setParams({ sort: event.currentTarget.value })}>
            <option value="">{text.calls.orders.newest}</option>
            <option value="oldest">{text.calls.orders.oldest}</option>
          </select>
        </label>
      </Filters>
      <Exclusions
        fields={[
          { name: 'cause', label: text.failures.cause, of: (name) => (isFailureClass(name) ? text.failures.classes[name] : undefined) },
          { name: 'form', label: text.errors.form, of: (id) => forms.get(id) },
          { name: 'type', label: text.errors.type },
          { name: 'code', label: text.errors.code },
          { name: 'model', label: text.calls.model },
          { name: 'key', label: text.calls.key, of: (id) => maskedKeys.get(id) },
        ]}
      />
      {selection !== NOTHING && (
        <DeleteErrors
          selection={selection}
          filter={filter}
          total={list.total}
          onChange={setSelection}
          onDeleted={reloadAll}
        />
      )}
      <div class="split">
        <div class="listing" data-stale={list.stale || undefined} aria-busy={list.rows === undefined || list.stale}>
          {groups.error && (groups.data === undefined || groups.stale) && <Failure error={groups.error} retry={groups.reload} />}
          {/* As high as many groups, so that the rows below do not move when they are loaded. */}
          {!groups.data && !groups.error && <Skeleton rows={7} class="groups-loading" />}
          {groups.data && groups.data.groups.length > 0 && (
            <div class="shown" data-stale={groups.stale || undefined}>
              <Groups
                groups={groups.data.groups}
                types={groups.data.types}
                firsts={firstErrors.stale ? undefined : firstErrors.data}
                since={rangeEnds(range, serverNow())[0]}
                criteria={criteria}
                issues={known}
              />
            </div>
          )}
          {list.error && (list.rows === undefined || list.stale) ? (
            <Failure error={list.error} retry={list.reload} />
          ) : list.rows === undefined ? (
            <Skeleton rows={12} />
          ) : list.rows.length === 0 ? (
            <Empty icon="errors" title={filtered ? text.state.noMatches : text.errors.none}>
              <p>{filtered ? rangeText(i18n, range) : text.errors.noneHint(rangeText(i18n, range))}</p>
              {filtered && (
                <button type="button" class="button" onClick={() => clearParams(ERROR_PARAMS)}>
                  {text.state.clearFilters}
                </button>
              )}
            </Empty>
          ) : (
            <Table
              key={listKey}
              caption={text.errors.rows}
              columns={columns}
              rows={rows}
              rowKey={(row) => row.id}
              href={(row) => urlOf(path, withParams(params, { error: row.id }))}
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
            <button type="button" class="button primary pill" onClick={list.showFresh}>
              <Icon name="up" />
              {text.errors.total(list.fresh, `+${format.count(list.fresh)}`)}
            </button>
          )}
        </div>
        {opened && (
          <ErrorDetail
            key="detail"
            id={opened}
            onClose={() => setParams({ error: undefined })}
            previous={at > 0 ? hrefOf(rows[at - 1]) : undefined}
            next={at >= 0 ? hrefOf(rows[at + 1]) : undefined}
          />
        )}
      </div>
    </>
  );
}

async function load(variables: ErrorsQueryVariables, signal: AbortSignal): Promise<Page<ErrorRowFragment>> {
  const { errorLogs } = await send(ErrorsDocument, variables, signal);
  updatedAt.set(Date.now());
  const { hasNextPage, endCursor } = errorLogs.pageInfo;
  return { rows: errorLogs.nodes, next: hasNextPage ? (endCursor ?? undefined) : undefined, total: errorLogs.totalCount };
}

function fileRow({ id, timestamp, failure, errorType, errorCode, model, apiKey, message }: ErrorRowFragment): Record<string, string | number | null | undefined> {
  return { id, timestamp, cause: failure.class, errorType, errorCode, model, key: apiKey?.masked, message };
}

/** A value with its filter; a row without a value has none. */
function valueCell(name: string, value: string | undefined, shown: ComponentChildren, copy = value): ComponentChildren {
  if (value === undefined) return shown;
  return (
    <Cell filter={{ name, value }} copy={copy}>
      {shown}
    </Cell>
  );
}

function columnsOf(
  { text, format }: I18n,
  params: URLSearchParams,
  selection: Selection,
  select: (selection: Selection) => void,
  rows: ErrorRowFragment[],
): Column<ErrorRowFragment>[] {
  const pick: Column<ErrorRowFragment> = {
    id: 'pick',
    head: (
      <label>
        <span class="visually-hidden">{text.errors.selectAll}</span>
        <input
          type="checkbox"
          checked={selection.all || (rows.length > 0 && rows.every((row) => selection.ids.has(row.id)))}
          onChange={(event) => select(event.currentTarget.checked ? { all: false, ids: new Set(rows.map((row) => row.id)) } : NOTHING)}
        />
      </label>
    ),
    cell: (row) => (
      <label>
        <span class="visually-hidden">
          {text.errors.select} {format.time(row.timestamp)}
        </span>
        <input
          type="checkbox"
          checked={selection.all || selection.ids.has(row.id)}
          onChange={() => {
            // Deselecting one row of "all" selects the other loaded rows.
            const ids = new Set(selection.all ? rows.map((one) => one.id) : selection.ids);
            if (!ids.delete(row.id)) ids.add(row.id);
            select(ids.size > 0 ? { all: false, ids } : NOTHING);
          }}
        />
      </label>
    ),
  };
  return [
    ...(hasScope('DELETE') ? [pick] : []),
    {
      id: 'time',
      head: <TimeHead />,
      cell: (row) => (
        <Cell only={minuteOf(row.timestamp)} onlyLabel={text.errors.ofMinute} copy={row.timestamp}>
          <a data-inner href={urlOf('/errors', withParams(params, { error: row.id }))}>
            <time dateTime={row.timestamp}>{format.time(row.timestamp)}</time>
          </a>
        </Cell>
      ),
    },
    {
      id: 'code',
      head: text.errors.code,
      cell: ({ errorCode }) => valueCell('code', errorCode == null ? undefined : String(errorCode), <CodeMark code={errorCode} />),
    },
    {
      id: 'cause',
      head: text.failures.cause,
      cell: ({ failure }) => valueCell('cause', failure.class, text.failures.classes[failure.class]),
    },
    {
      id: 'type',
      head: text.errors.type,
      cell: ({ errorType }) => valueCell('type', errorType ?? undefined, errorType ?? <span class="quiet">{text.errors.noType}</span>),
    },
    {
      id: 'model',
      head: text.calls.model,
      cell: ({ model }) => valueCell('model', model ?? undefined, model ?? <span class="quiet">{text.counts.noModel}</span>),
    },
    {
      id: 'key',
      head: text.calls.key,
      cell: ({ apiKey }) => valueCell('key', apiKey?.id, <Key masked={apiKey?.masked} />, apiKey?.masked.replace('...', '…')),
    },
    {
      id: 'message',
      head: text.calls.providerMessage,
      cell: ({ message, messageTemplate }) => (
        <Cell filter={{ name: 'form', value: messageTemplate.id }} copy={message}>
          <span title={firstLine(message)}>{firstLine(message)}</span>
        </Cell>
      ),
    },
  ];
}
