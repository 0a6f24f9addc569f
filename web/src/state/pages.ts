// A list that is loaded page by page as it is scrolled, and that newer rows come in front of.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError } from '../api/client';
import { byTime, merged, type Timed } from '../domain/order';
import { prefs } from './prefs';

export interface Page<R> {
  rows: R[];
  next: string | undefined;
  /** How many there are in all; told with the first page. */
  total: number | undefined;
}

export interface Listed<R extends Timed> {
  rows: R[] | undefined;
  total: number | undefined;
  /** Rows that came while older ones were being read; `showFresh` puts them in front. */
  fresh: number;
  error: ApiError | undefined;
  stale: boolean;
  loadingMore: boolean;
  atEnd: boolean;
  loadMore: () => void;
  showFresh: () => void;
  push: (rows: R[]) => void;
  reload: () => void;
}

export interface Source<R extends Timed> {
  /** What makes it another list. */
  key: string;
  load: (after: string | undefined, signal: AbortSignal) => Promise<Page<R>>;
  /** Asks so often for newer rows, of lists that begin with the newest. */
  everyMs: number | undefined;
  /** When the list begins, in milliseconds: what is stored now may be of long ago. */
  since: () => number;
  /** Whether newer rows may be shown at once. */
  atTop: () => boolean;
}

interface State<R extends Timed> {
  of: string;
  rows: R[];
  fresh: R[];
  next: string | undefined;
  total: number | undefined;
}

/** A tail that is open for days must not grow for ever. */
const MOST_LIVE = 5000;

const asError = (cause: unknown): ApiError =>
  cause instanceof ApiError ? cause : new ApiError('INTERNAL', String(cause));

/** Puts rows that are new where they belong, or aside while somebody reads. */
function joined<R extends Timed>(list: State<R>, rows: R[], atTop: boolean): State<R> {
  const last = list.rows.at(-1);
  // What belongs behind the last row comes with the next page.
  const isHere = (row: R): boolean => list.next === undefined || last === undefined || byTime(row, last) <= 0;
  const known = new Set(list.rows.map((row) => row.id));
  const fresh = merged(rows.filter((row) => !known.has(row.id) && isHere(row)), list.fresh);
  if (fresh.length === 0) return list;
  const total = list.total === undefined ? undefined : list.total + fresh.length - list.fresh.length;
  return atTop ? cut({ ...list, total, rows: merged(fresh, list.rows), fresh: [] }) : { ...list, total, fresh };
}

export function usePages<R extends Timed>(source: Source<R>): Listed<R> {
  const [state, setState] = useState<State<R>>();
  const [error, setError] = useState<ApiError>();
  const [loadingMore, setLoadingMore] = useState(false);
  const [again, setAgain] = useState(0);
  const latest = useRef({ source, state });
  latest.current = { source, state };
  const abort = useRef(new AbortController());

  /** Rows that came before the list that they belong to. */
  const early = useRef<R[]>([]);

  const push = useCallback((rows: R[]) => {
    const { key, since, atTop } = latest.current.source;
    const start = since();
    const within = rows.filter((row) => Date.parse(row.timestamp) >= start);
    if (latest.current.state?.of === key) setState((before) => before && joined(before, within, atTop()));
    else early.current.push(...within);
  }, []);

  useEffect(() => {
    const signal = (abort.current = new AbortController()).signal;
    let timer: ReturnType<typeof setTimeout> | undefined;
    early.current = [];
    const first = async (): Promise<void> => {
      try {
        const page = await latest.current.source.load(undefined, signal);
        const list = { of: source.key, rows: page.rows, fresh: [], next: page.next, total: page.total };
        setState(joined(list, early.current.splice(0), true));
        setError(undefined);
      } catch (cause) {
        if (signal.aborted) return;
        setError(asError(cause));
      }
      later();
    };
    const later = (): void => {
      const every = latest.current.source.everyMs;
      if (every !== undefined && !signal.aborted) timer = setTimeout(() => void newer(), every);
    };
    const newer = async (): Promise<void> => {
      if (prefs.get().live && !document.hidden) {
        try {
          const page = await latest.current.source.load(undefined, signal);
          const { state: shown, source: now } = latest.current;
          const known = new Set([...(shown?.rows ?? []), ...(shown?.fresh ?? [])].map((row) => row.id));
          // Where none of the page is known, rows between it and the list are missing.
          if (shown?.of !== source.key || (page.rows.length > 0 && !page.rows.some((row) => known.has(row.id)))) {
            if (now.atTop() || shown?.rows.length === 0) {
              setState({ of: source.key, rows: page.rows, fresh: [], next: page.next, total: page.total });
            }
          } else {
            push(page.rows);
            setState((before) => before && { ...before, total: page.total });
          }
          setError(undefined);
        } catch (cause) {
          if (signal.aborted) return;
          // What is shown goes on to be; the banner tells of a server that is away.
          if (asError(cause).code !== 'OFFLINE') setError(asError(cause));
        }
      }
      later();
    };
    void first();
    return () => {
      abort.current.abort();
      clearTimeout(timer);
    };
  }, [source.key, again, push]);

  const loadMore = useCallback(() => {
    const { state: shown, source: from } = latest.current;
    if (!shown?.next || shown.of !== from.key || loadingNow.current) return;
    const signal = abort.current.signal;
    loadingNow.current = true;
    setLoadingMore(true);
    from
      .load(shown.next, signal)
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
    () => setState((before) => before && cut({ ...before, rows: merged(before.fresh, before.rows), fresh: [] })),
    [],
  );

  return {
    rows: state?.rows,
    total: state?.total,
    fresh: state?.fresh.length ?? 0,
    error,
    stale: state !== undefined && state.of !== source.key,
    loadingMore,
    atEnd: state !== undefined && state.next === undefined,
    loadMore,
    showFresh,
    push,
    reload: useCallback(() => setAgain((count) => count + 1), []),
  };
}

/** What falls off the end is not loaded again: the list then ends where it was cut. */
function cut<R extends Timed>(state: State<R>): State<R> {
  return state.rows.length > MOST_LIVE ? { ...state, rows: state.rows.slice(0, MOST_LIVE), next: undefined } : state;
}
