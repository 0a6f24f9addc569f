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
} from '../api/gen/graphql';
import { keyStatesOf, type KeyStates } from '../domain/key-states';
import { usePrefs } from './prefs';
import { useQuery, type Answer } from './query';
import { diagnosedWindow, endOf, isLive, type Range } from './range';
import { pageLimit, serverNow } from './session';

/** A diagnosis reads the calls of 24 hours. */
const RENEW_MS = 30_000;
/** An operator reads no longer list. */
const MOST = 100;

/** Live diagnoses have no `asOf`: then all clients share one computation of the server. */
const asOf = (range: Range): string | null => (isLive(range) ? null : new Date(endOf(range, serverNow())).toISOString());

export function useIncidents(range: Range): Answer<IncidentsQuery> {
  const { language } = usePrefs();
  return useQuery(IncidentsDocument, {
    key: JSON.stringify([range, language]),
    variables: () => ({ ...diagnosedWindow(range, serverNow()), language, first: pageLimit(MOST) }),
    everyMs: isLive(range) ? RENEW_MS : undefined,
  });
}

export function useKeyIncidents(id: string, range: Range): Answer<KeyIncidentsQuery> {
  const { language } = usePrefs();
  return useQuery(KeyIncidentsDocument, {
    key: JSON.stringify([id, range, language]),
    variables: () => ({ key: id, asOf: asOf(range), ...diagnosedWindow(range, serverNow()), language, first: pageLimit(MOST) }),
    everyMs: isLive(range) ? RENEW_MS : undefined,
  });
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
