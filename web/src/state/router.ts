// The address is the state of a view: its path and its filters. Back, forward and a shared link all
// lead to the same view.
import { store, useStore } from './store';

export interface Place {
  path: string;
  params: URLSearchParams;
}

export type Params = Record<string, string | readonly string[] | undefined>;

function here(): Place {
  return { path: location.pathname, params: new URLSearchParams(location.search) };
}

const place = store(here());
addEventListener('popstate', () => place.set(here()));

export const usePlace = (): Place => useStore(place);

export function address(path: string, params: URLSearchParams): string {
  // Commas and colons need no escape in a query, and are easier to read without.
  const query = params.toString().replaceAll('%2C', ',').replaceAll('%3A', ':');
  return query ? `${path}?${query}` : path;
}

/** `params` with `change`; undefined and empty values leave the address. */
export function changed(params: URLSearchParams, change: Params): URLSearchParams {
  const next = new URLSearchParams(params);
  for (const [name, value] of Object.entries(change)) {
    next.delete(name);
    for (const one of typeof value === 'string' ? [value] : (value ?? [])) if (one) next.append(name, one);
  }
  return next;
}

export function go(to: string, replace = false): void {
  if (to === location.pathname + location.search) return;
  if (replace) history.replaceState(null, '', to);
  else history.pushState(null, '', to);
  place.set(here());
}

/** Changes filters of the view that is shown. */
export function setParams(change: Params, replace = false): void {
  const { path, params } = here();
  go(address(path, changed(params, change)), replace);
}

/** Params that mean the same in every view go with a link. */
const SHARED = ['range', 'since', 'until'];

/** The address of another view, over the same time. */
export function linkTo(path: string, params: Params = {}): string {
  const shared = Object.fromEntries(SHARED.map((name) => [name, here().params.get(name) ?? undefined]));
  return address(path, changed(new URLSearchParams(), { ...shared, ...params }));
}

/** Lets links within the page change the view without loading the page again. */
export function followLinks(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!link || link.target || link.origin !== location.origin || !('inner' in link.dataset)) return;
  event.preventDefault();
  go(link.pathname + link.search);
}
