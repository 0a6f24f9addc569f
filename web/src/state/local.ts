// Lists that the browser keeps, shared by its tabs. They last until the page is closed where storage is disabled.
import { parseViews, withoutView, withView, type SavedView } from '../domain/saved-views';
import { store, type Store } from './store';

function kept<T>(key: string, parse: (stored: string | null) => T): { store: Store<T>; keep: (value: T) => void } {
  const read = (): T => {
    try {
      return parse(localStorage.getItem(key));
    } catch {
      return parse(null);
    }
  };
  const values = store(read());
  addEventListener('storage', (event) => {
    if (event.key === key || event.key === null) values.set(read());
  });
  const keep = (value: T): void => {
    values.set(value);
    try {
      localStorage.setItem(key, JSON.stringify(value));
    } catch {
      // Storage is disabled or full.
    }
  };
  return { store: values, keep };
}

const views = kept('callscope.views', parseViews);
export const savedViews = views.store;
export const saveView = (view: SavedView): void => views.keep(withView(views.store.get(), view));
export const deleteView = (name: string): void => views.keep(withoutView(views.store.get(), name));

function parseTexts(stored: string | null): string[] {
  try {
    const values: unknown = JSON.parse(stored ?? '[]');
    return Array.isArray(values) ? values.filter((value) => typeof value === 'string') : [];
  } catch {
    return [];
  }
}

const MOST_MUTED = 500;
const muted = kept('callscope.muted', parseTexts);
/** The names of the error groups that the user does not want to see. */
export const mutedGroups = muted.store;

export function setMuted(name: string, isMuted: boolean): void {
  const others = muted.store.get().filter((one) => one !== name);
  muted.keep(isMuted ? [...others, name].slice(-MOST_MUTED) : others);
}
