// Infinite list: loads pages as the user scrolls, and inserts newer rows at the top.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError } from '../api/client';
import { byTime, mergeRows, type Timed } from '../domain/order';
import { recoveries } from './outage';
import { prefs } from './prefs';
import { useRemembered } from './remembered';
import { startWait } from './waiting';

export interface Page<R> {
  rows: R[];
  next: string | undefined;
  /** The total number of rows; only the first page has it. */
  total: number | undefined;
}

export interface PagedList<R extends Timed> {
  rows: R[] | undefined;
  total: number | undefined;
  /** New rows held back while the user reads older ones; `showFresh` inserts them. */
  fresh: number;
  error: ApiError | undefined;
  stale: boolean;
  /** Where the list starts: not at its top if the user has left it and returns. */
  initialTop: number | undefined;
  /** Called with the position in pixels. */
  scrolled: (top: number) => void;
  loadingMore: boolean;
  atEnd: boolean;
  loadMore: () => void;
  showFresh: () => void;
  push: (rows: R[]) => void;
  reload: () => void;
}

export interface PageSource<R extends Timed> {
  /** Identifies the list; a new key loads a new list. */
  key: string;
  load: (after: string | undefined, signal: AbortSignal, rows: number) => Promise<Page<R>>;
  /** The polling interval for newer rows, for lists with the newest rows first. */
  everyMs: number | undefined;
  /** The start of the range in milliseconds: a row that is stored now may have an old timestamp. */
  since: () => number;
}

/** The rows that were loaded, and the position in pixels. */
interface Position {
  of: string;
  rows: number;
  top: number;
}

/** The rows of a page. */
const PAGE = 100;
/** The most rows of a request that restores a list, and of a list that is restored. */
const LARGEST_PAGE = 1000;
const MOST_RESTORED = 5000;
/** Newer rows are inserted at once while the list is no further from its top. */
const TOP_PX = 40;

interface State<R extends Timed> {
  of: string;
  rows: R[];
  fresh: R[];
  next: string | undefined;
  total: number | undefined;
}

/** Bounds a list that stays open for days. */
const MAX_LIVE_ROWS = 5000;

const asError = (cause: unknown): ApiError =>
  cause instanceof ApiError ? cause : new ApiError('INTERNAL', String(cause));

/** Inserts new rows in order, or holds them back while the user reads older ones. */
function mergeNewRows<R extends Timed>(list: State<R>, rows: R[], atTop: boolean): State<R> {
  const last = list.rows.at(-1);
  // Rows after the last loaded one arrive with the next page.
  const isHere = (row: R): boolean => list.next === undefined || last === undefined || byTime(row, last) <= 0;
  const known = new Set(list.rows.map((row) => row.id));
  const fresh = mergeRows(rows.filter((row) => !known.has(row.id) && isHere(row)), list.fresh);
  if (fresh.length === 0) return list;
  const total = list.total === undefined ? undefined : list.total + fresh.length - list.fresh.length;
  return atTop ? truncate({ ...list, total, rows: mergeRows(fresh, list.rows), fresh: [] }) : { ...list, total, fresh };
}

export function usePages<R extends Timed>(source: PageSource<R>): PagedList<R> {
  const [restored, remembered] = useRemembered<Position>();
  const toRestore = useRef(restored?.of === source.key ? restored : undefined);
  const top = useRef(0);
  const [state, setState] = useState<State<R>>();
  const [error, setError] = useState<ApiError>();
  const [loadingMore, setLoadingMore] = useState(false);
  const [again, setAgain] = useState(0);
  const latest = useRef({ source, state });
  latest.current = { source, state };
  remembered.current = state && { of: state.of, rows: state.rows.length, top: top.current };
  const abort = useRef(new AbortController());

  /** Rows that arrived before the first page. */
  const earlyRows = useRef<R[]>([]);

  const push = useCallback((rows: R[]) => {
    const { key, since } = latest.current.source;
    const start = since();
    const within = rows.filter((row) => Date.parse(row.timestamp) >= start);
    if (latest.current.state?.of === key) setState((before) => before && mergeNewRows(before, within, top.current < TOP_PX));
    else earlyRows.current.push(...within);
  }, []);

  useEffect(() => {
    const signal = (abort.current = new AbortController()).signal;
    let timer: ReturnType<typeof setTimeout> | undefined;
    earlyRows.current = [];
    const isShown = latest.current.state?.of === source.key;
    const finishWait = isShown
      ? () => undefined
      : startWait(() => {
          abort.current.abort();
          finishWait();
          setError(new ApiError('CANCELLED', ''));
        });
    setError(undefined);
    const first = async (): Promise<void> => {
      try {
        const wanted = Math.min(toRestore.current?.rows ?? 0, MOST_RESTORED);
        const page = await latest.current.source.load(undefined, signal, Math.min(Math.max(wanted, PAGE), LARGEST_PAGE));
        const list = { of: source.key, rows: page.rows, fresh: [], next: page.next, total: page.total };
        while (list.next !== undefined && list.rows.length < wanted) {
          const more = await latest.current.source.load(list.next, signal, LARGEST_PAGE);
          list.rows = [...list.rows, ...more.rows];
          list.next = more.next;
        }
        setState(mergeNewRows(list, earlyRows.current.splice(0), true));
        setError(undefined);
      } catch (cause) {
        if (signal.aborted) return;
        // Another attempt loads one page.
        toRestore.current = undefined;
        setError(asError(cause));
      }
      finishWait();
      later();
    };
    const later = (): void => {
      const every = latest.current.source.everyMs;
      if (every !== undefined && !signal.aborted) timer = setTimeout(() => void newer(), every);
    };
    const newer = async (): Promise<void> => {
      if (prefs.get().live && !document.hidden) {
        try {
          const page = await latest.current.source.load(undefined, signal, PAGE);
          const { state: shown } = latest.current;
          const known = new Set([...(shown?.rows ?? []), ...(shown?.fresh ?? [])].map((row) => row.id));
          // If no row of the page is known, rows between the page and the list are missing.
          if (shown?.of !== source.key || (page.rows.length > 0 && !page.rows.some((row) => known.has(row.id)))) {
            if (top.current < TOP_PX || shown?.rows.length === 0) {
              setState({ of: source.key, rows: page.rows, fresh: [], next: page.next, total: page.total });
            }
          } else {
            push(page.rows);
            setState((before) => before && { ...before, total: page.total });
          }
          setError(undefined);
        } catch (cause) {
          if (signal.aborted) return;
          // The list stays; a banner reports that the server is unreachable.
          if (asError(cause).code !== 'OFFLINE') setError(asError(cause));
        }
      }
      later();
    };
    const recover = (): void => {
      if (signal.aborted) return;
      clearTimeout(timer);
      if (latest.current.state?.of !== source.key) void first();
      else if (latest.current.source.everyMs !== undefined) void newer();
      else setError(undefined);
    };
    const unsubscribe = recoveries.subscribe(recover);
    if (toRestore.current?.of !== source.key) toRestore.current = undefined;
    void first();
    return () => {
      abort.current.abort();
      finishWait();
      clearTimeout(timer);
      unsubscribe();
    };
  }, [source.key, again, push]);

  const loadMore = useCallback(() => {
    const { state: shown, source: from } = latest.current;
    if (!shown?.next || shown.of !== from.key || loadingNow.current) return;
    const signal = abort.current.signal;
    loadingNow.current = true;
    setLoadingMore(true);
    from
      .load(shown.next, signal, PAGE)
      .then((page) =>
        setState((before) => {
          if (before?.of !== shown.of) return before;
          const known = new Set(before.rows.map((row) => row.id));
          return { ...before, rows: [...before.rows, ...page.rows.filter((row) => !known.has(row.id))], next: page.next };
        }),
      )
      .catch((cause: unknown) => {
        if (!signal.aborted) setError(asError(cause));
      })
      .finally(() => {
        loadingNow.current = false;
        setLoadingMore(false);
      });
  }, []);
  const loadingNow = useRef(false);

  const showFresh = useCallback(
    () => setState((before) => before && truncate({ ...before, rows: mergeRows(before.fresh, before.rows), fresh: [] })),
    [],
  );

  return {
    rows: state?.rows,
    total: state?.total,
    fresh: state?.fresh.length ?? 0,
    error,
    stale: state !== undefined && state.of !== source.key,
    initialTop: toRestore.current?.top,
    scrolled: useCallback((at) => {
      toRestore.current = undefined;
      top.current = at;
      if (remembered.current) remembered.current.top = at;
    }, []),
    loadingMore,
    atEnd: state !== undefined && state.next === undefined,
    loadMore,
    showFresh,
    push,
    reload: useCallback(() => setAgain((count) => count + 1), []),
  };
}

/** Truncated rows are not loaded again: the list ends there. */
function truncate<R extends Timed>(state: State<R>): State<R> {
  return state.rows.length > MAX_LIVE_ROWS ? { ...state, rows: state.rows.slice(0, MAX_LIVE_ROWS), next: undefined } : state;
}
