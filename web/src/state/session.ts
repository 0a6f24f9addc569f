// Who looks at the page and what they may do. The token is exchanged for a cookie that no script can
// read (docs/SECURITY.md), so that nothing here holds it.
import { ApiError, contact, onContact, refusal, send } from '../api/client';
import { BootDocument, type AccessScope, type BootQuery } from '../api/gen/graphql';
import { forgetAnswers } from './query';
import { store, useStore } from './store';

export type Session =
  | { state: 'starting' }
  | { state: 'failed'; error: ApiError }
  | { state: 'outside'; expired: boolean }
  | { state: 'inside'; boot: BootQuery; clockOffsetMs: number; hasSession: boolean };

const session = store<Session>({ state: 'starting' });
/** Whether the last request reached the server. */
export const reachable = store(true);

onContact((reached, error) => {
  reachable.set(reached);
  if (error?.code === 'UNAUTHENTICATED' && session.get().state === 'inside') {
    session.set({ state: 'outside', expired: true });
  }
});

export const useSession = (): Session => useStore(session);

/** The server's clock, as far as is known. */
export function serverNow(): number {
  const now = session.get();
  return Date.now() + (now.state === 'inside' ? now.clockOffsetMs : 0);
}

export function may(scope: AccessScope): boolean {
  const now = session.get();
  return now.state === 'inside' && now.boot.viewer.scopes.includes(scope);
}

/** A server that runs trusted documents alone has no GraphiQL: it would refuse what is asked there. */
export function hasGraphiql(): boolean {
  const now = session.get();
  return now.state === 'inside' && !now.boot.serverInfo.limits.trustedDocumentsOnly;
}

/** The most items that one page of a list may have. */
export function pageLimit(wanted: number): number {
  const now = session.get();
  return now.state === 'inside' ? Math.min(wanted, now.boot.serverInfo.limits.maxPageSize) : wanted;
}

export async function start(): Promise<void> {
  try {
    const boot = await send(BootDocument, {});
    const clockOffsetMs = Date.parse(boot.serverInfo.now) - Date.now();
    const hasSession = boot.viewer.name !== 'anonymous';
    if (boot.viewer.scopes.includes('READ')) session.set({ state: 'inside', boot, clockOffsetMs, hasSession });
    else session.set({ state: 'outside', expired: false });
  } catch (cause) {
    const error = cause instanceof ApiError ? cause : new ApiError('INTERNAL', String(cause));
    if (error.code === 'UNAUTHENTICATED') session.set({ state: 'outside', expired: false });
    else session.set({ state: 'failed', error });
  }
}

export async function signIn(token: string): Promise<{ scopes: string[] }> {
  const response = await contact('/session', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token }),
  });
  if (!response.ok) {
    const body: unknown = await response.json().catch(() => undefined);
    throw refusal(response, body as Parameters<typeof refusal>[1]);
  }
  const answer = (await response.json()) as { scopes: string[] };
  if (answer.scopes.includes('READ')) await start();
  return answer;
}

export async function signOut(): Promise<void> {
  await contact('/session', { method: 'DELETE' });
  forgetAnswers();
  session.set({ state: 'outside', expired: false });
  await start();
}
