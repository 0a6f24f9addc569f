// The session: the user and their scopes. The token is exchanged for an HttpOnly cookie
// (docs/SECURITY.md); the page does not store it.
import { ApiError, fetchFromServer, onReachability, responseError, send } from '../api/client';
import { BootDocument, type AccessScope, type BootQuery } from '../api/gen/graphql';
import { clearAnswerCache } from './query';
import { store, useStore } from './store';

export type Session =
  | { state: 'starting' }
  | { state: 'failed'; error: ApiError }
  | { state: 'signedOut'; expired: boolean }
  | { state: 'signedIn'; boot: BootQuery; clockOffsetMs: number; hasSession: boolean };

const session = store<Session>({ state: 'starting' });
onReachability((_, error) => {
  if (error?.code === 'UNAUTHENTICATED' && session.get().state === 'signedIn') {
    session.set({ state: 'signedOut', expired: true });
  }
});

export const useSession = (): Session => useStore(session);

/** An estimate of the server's clock. */
export function serverNow(): number {
  const now = session.get();
  return Date.now() + (now.state === 'signedIn' ? now.clockOffsetMs : 0);
}

export function hasScope(scope: AccessScope): boolean {
  const now = session.get();
  return now.state === 'signedIn' && now.boot.viewer.scopes.includes(scope);
}

/** A server that runs trusted documents only has no GraphiQL, since it would reject typed queries. */
export function hasGraphiql(): boolean {
  const now = session.get();
  return now.state === 'signedIn' && !now.boot.serverInfo.limits.trustedDocumentsOnly;
}

/** The page size, limited to the maximum of the server. */
export function pageLimit(wanted: number): number {
  const now = session.get();
  return now.state === 'signedIn' ? Math.min(wanted, now.boot.serverInfo.limits.maxPageSize) : wanted;
}

export async function start(): Promise<void> {
  try {
    const boot = await send(BootDocument, {});
    const clockOffsetMs = Date.parse(boot.serverInfo.now) - Date.now();
    const hasSession = boot.viewer.name !== 'anonymous';
    if (boot.viewer.scopes.includes('READ')) session.set({ state: 'signedIn', boot, clockOffsetMs, hasSession });
    else session.set({ state: 'signedOut', expired: false });
  } catch (cause) {
    const error = cause instanceof ApiError ? cause : new ApiError('INTERNAL', String(cause));
    if (error.code === 'UNAUTHENTICATED') session.set({ state: 'signedOut', expired: false });
    else session.set({ state: 'failed', error });
  }
}

export async function signIn(token: string): Promise<{ scopes: string[] }> {
  const response = await fetchFromServer('/session', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token }),
  });
  if (!response.ok) {
    const body: unknown = await response.json().catch(() => undefined);
    throw responseError(response, body as Parameters<typeof responseError>[1]);
  }
  const answer = (await response.json()) as { scopes: string[] };
  if (answer.scopes.includes('READ')) await start();
  return answer;
}

export async function signOut(): Promise<void> {
  await fetchFromServer('/session', { method: 'DELETE' });
  clearAnswerCache();
  session.set({ state: 'signedOut', expired: false });
  await start();
}
