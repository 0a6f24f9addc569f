// Named views: addresses of this page that the browser keeps.

export interface SavedView {
  name: string;
  /** Path and query. */
  address: string;
}

export const MOST_VIEWS = 50;
export const LONGEST_NAME = 80;

/** The stored views; what is not one is left out. */
export function parseViews(stored: string | null): SavedView[] {
  let values: unknown;
  try {
    values = JSON.parse(stored ?? '[]');
  } catch {
    return [];
  }
  if (!Array.isArray(values)) return [];
  return values.filter(isView).slice(0, MOST_VIEWS);
}

function isView(value: unknown): value is SavedView {
  const { name, address } = (value ?? {}) as Partial<Record<keyof SavedView, unknown>>;
  // An address of another server would start with `//`, or with a scheme.
  return typeof name === 'string' && name !== '' && typeof address === 'string' && /^\/(?![/\\])/.test(address);
}

/** With one more view, by name; of two with the same name the later one. */
export const withView = (views: readonly SavedView[], view: SavedView): SavedView[] =>
  [...withoutView(views, view.name), view].sort((a, b) => a.name.localeCompare(b.name)).slice(0, MOST_VIEWS);

export const withoutView = (views: readonly SavedView[], name: string): SavedView[] => views.filter((view) => view.name !== name);
