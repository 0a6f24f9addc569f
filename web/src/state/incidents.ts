// The diagnoses of a range, and the states of keys at its end.
import { useMemo } from 'preact/hooks';
import {
  IncidentsDocument,
  KeyIncidentsDocument,
  KeyQuotasDocument,
  KeyStatesDocument,
  type IncidentsQuery,
  type KeyIncidentsQuery,
  type KeyQuotasQuery,
  type TypedDocumentString,
} from '../api/gen/graphql';
import { unionOf } from '../domain/incident';
import { keyStatesOf, type KeyStates } from '../domain/key-states';
import { timeZone } from '../i18n/format';
import { usePrefs } from './prefs';
import { fresh, useQuery, type Answer } from './query';
import { canBeDiagnosed, diagnosedWindow, endOf, exceedsDay, isLive, type Part, type Range } from './range';
import { pageLimit, serverNow } from './session';

/** A diagnosis reads the calls of 24 hours; the server keeps the diagnoses of earlier days. */
const RENEW_MS = 30_000;
/** An operator reads no longer list. */
const MOST = 100;
const mostIncidents = (): number => pageLimit(MOST);

/** Live diagnoses have no `asOf`: then all clients share one computation of the server. */
const asOf = (range: Range): string | null => (isLive(range) ? null : new Date(endOf(range, serverNow())).toISOString());

/** Why the API refuses a window: it has too many calls. */
const REFUSED = new Set(['COST_EXCEEDED', 'BAD_USER_INPUT']);

/** The diagnoses of a range, and what they cover. */
export interface Diagnosed<T> {
  answer: Answer<T>;
  part: Part;
  /** Whether those of the whole range are still loaded. */
  isLoading: boolean;
  /** Those of its last 24 hours: the state at its end. */
  atEnd: Answer<T>;
}

/** Those of the last 24 hours arrive first, and stay if the range is too long for the API or has too many calls. */
function useDiagnosed<T, V>(document: TypedDocumentString<T, V>, range: Range, variables: (part: Part) => V, ...of: string[]): Diagnosed<T> {
  const { language } = usePrefs();
  const now = serverNow();
  const optionsOf = (part: Part, ofRange: Range | 'now', isSent: boolean) => ({
    key: isSent ? JSON.stringify([ofRange, part, language, of]) : undefined,
    variables: () => variables(part),
    everyMs: isLive(range) ? RENEW_MS : undefined,
  });
  const isLong = exceedsDay(range, now);
  const isPossible = canBeDiagnosed(range, now);
  const day = useQuery(document, optionsOf('day', isLive(range) ? 'now' : range, isLong));
  // The view does not share the server with a large request before it is shown.
  const isShown = !isLong || day.error !== undefined || (day.data !== undefined && !day.stale);
  const all = useQuery(document, optionsOf('all', range, isPossible && isShown));
  const isLoadingAll = !isShown || (!all.error && (all.stale || all.data === undefined));
  if (!isLong) return { answer: all, part: 'all', isLoading: isLoadingAll, atEnd: all };
  const isLoading = isPossible && isLoadingAll;
  const part = !isPossible || isLoading || (all.error && REFUSED.has(all.error.code)) ? 'day' : 'all';
  return { answer: part === 'all' ? all : day, part, isLoading, atEnd: day };
}

/** `isCut`: the range may have more. */
export function useIncidents(range: Range): Diagnosed<IncidentsQuery> & { isCut: boolean } {
  const { language } = usePrefs();
  const found = useDiagnosed(IncidentsDocument, range, (part) => ({ ...diagnosedWindow(range, part, serverNow()), timeZone, language, first: mostIncidents() }));
  const [all, day] = [found.answer.data, fresh(found.atEnd)];
  // The list is limited: those of the last day are always part of it.
  const data = useMemo(() => all && day && { diagnoses: unionOf(all.diagnoses, day.diagnoses) }, [all, day]);
  const isCut = all !== undefined && all.diagnoses.length >= mostIncidents();
  return { ...found, isCut, answer: { ...found.answer, data: data ?? all } };
}

export function useKeyIncidents(id: string, range: Range): Diagnosed<KeyIncidentsQuery> {
  const { language } = usePrefs();
  return useDiagnosed(
    KeyIncidentsDocument,
    range,
    (part) => ({ key: id, asOf: asOf(range), ...diagnosedWindow(range, part, serverNow()), timeZone, language, first: pageLimit(1000) }),
    id,
  );
}

export function useKeyQuotas(id: string, range: Range): Answer<KeyQuotasQuery> {
  const { language } = usePrefs();
  return useQuery(KeyQuotasDocument, {
    key: JSON.stringify([id, range, language]),
    variables: () => ({ key: id, asOf: asOf(range), language, live: isLive(range) }),
    everyMs: isLive(range) ? RENEW_MS : undefined,
  });
}

/** The states of all keys in one request. */
export function useKeyStates(range: Range): Answer<KeyStates> {
  const { language } = usePrefs();
  const first = pageLimit(1000);
  const answer = useQuery(KeyStatesDocument, {
    key: JSON.stringify([isLive(range) ? 'now' : range, language]),
    variables: () => ({ asOf: asOf(range), language, first }),
    everyMs: isLive(range) ? RENEW_MS : undefined,
  });
  const data = useMemo(() => answer.data && keyStatesOf(answer.data, endOf(range, serverNow()), first), [answer.data]);
  return { ...answer, data };
}
