// The address is the state of a view: its path and filters. Back, forward, reload and a shared link restore
// the view.
import { looksLikeKey } from '../domain/secret';
import { store, useStore } from './store';

export interface Route {
  path: string;
  params: URLSearchParams;
  /** Search texts that may be keys. They are not in the address, and last until the user leaves the view. */
  hidden: Readonly<Record<string, string>>;
}

export type Params = Record<string, string | readonly string[] | undefined>;

/** The entries of the history that this page has added. */
let opened = 0;

/** Identifies an entry of the history, also after other ones were opened. */
export const historyEntry = (): string => String(history.state ?? '');

function currentRoute(hidden: Route['hidden'] = {}): Route {
  return { path: location.pathname, params: new URLSearchParams(location.search), hidden };
}

const route = store(currentRoute());
addEventListener('popstate', () => route.set(currentRoute()));

export const useRoute = (): Route => useStore(route);

export function urlOf(path: string, params: URLSearchParams): string {
  // Commas and colons need no escaping in a query string.
  const query = params.toString().replaceAll('%2C', ',').replaceAll('%3A', ':');
  return query ? `${path}?${query}` : path;
}

/** `params` with `change`; undefined and empty values remove a parameter. */
export function withParams(params: URLSearchParams, change: Params): URLSearchParams {
  const next = new URLSearchParams(params);
  for (const [name, value] of Object.entries(change)) {
    next.delete(name);
    for (const one of typeof value === 'string' ? [value] : (value ?? [])) if (one) next.append(name, one);
  }
  return next;
}

export function navigate(to: string, replace = false): void {
  if (to === location.pathname + location.search) return;
  const { path, hidden } = route.get();
  if (replace) history.replaceState(history.state, '', to);
  else history.pushState(`${performance.timeOrigin} ${(opened += 1)}`, '', to);
  route.set(currentRoute(location.pathname === path ? hidden : {}));
}

/** Searches for a text: one that is, or may be, a key stays out of the address and of the history. */
export function setSearch(name: string, text: string, secret = looksLikeKey(text)): void {
  const others = Object.entries(route.get().hidden).filter(([other]) => other !== name);
  setParams({ [name]: secret ? undefined : text }, true);
  route.set(currentRoute(Object.fromEntries(secret ? [...others, [name, text]] : others)));
}

/** The values of these parameters, in their order. */
export const given = (params: URLSearchParams, names: readonly string[]): [string, string][] =>
  names.flatMap((name) => params.getAll(name).map((value): [string, string] => [name, value]));

/** Removes filters. */
export function clearParams(names: readonly string[]): void {
  setParams(Object.fromEntries(names.map((name) => [name, undefined])));
  route.set(currentRoute());
}

/** Changes the filters of the current view. */
export function setParams(change: Params, replace = false): void {
  const { path, params } = currentRoute();
  navigate(urlOf(path, withParams(params, change)), replace);
}

/** Parameters with the same meaning in every view; links keep them. */
const SHARED = ['range', 'since', 'until'];

/** The address of another view with the same time range. */
export function linkTo(path: string, params: Params = {}): string {
  const shared = Object.fromEntries(SHARED.map((name) => [name, currentRoute().params.get(name) ?? undefined]));
  return urlOf(path, withParams(new URLSearchParams(), { ...shared, ...params }));
}

/** Navigates within the page instead of loading it again. */
export function interceptLinks(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!link || link.target || link.origin !== location.origin || !('inner' in link.dataset)) return;
  event.preventDefault();
  navigate(link.pathname + link.search);
}
