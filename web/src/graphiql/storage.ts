// GraphiQL's storage without headers: an Authorization header contains a token. GraphiQL's history would store
// headers even with `shouldPersistHeaders={false}`.

/** The prefix of GraphiQL's keys. */
const PREFIX = 'graphiql:';
/** Texts of the user: their JSON may contain a property `headers`. */
const VERBATIM = new Set([`${PREFIX}query`, `${PREFIX}variables`]);
/** GraphiQL compares tabs by a hash that contains their whole text. */
const FORBIDDEN = new Set(['headers', 'hash']);

export interface HeaderlessStorage {
  getItem: (name: string) => string | null;
  setItem: (name: string, value: string) => void;
  removeItem: (name: string) => void;
  clear: () => void;
  readonly length: number;
}

function strip(value: string): string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch {
    // A plain value: a size, a theme, the title of a plugin.
    return value;
  }
  return JSON.stringify(parsed, (name, part: unknown) => (FORBIDDEN.has(name) ? null : part));
}

export function withoutHeaders(storage: Storage): HeaderlessStorage {
  const names = (): string[] => Object.keys(storage).filter((name) => name.startsWith(PREFIX));
  return {
    getItem: (name) => storage.getItem(name),
    setItem(name, value) {
      if (name === `${PREFIX}headers`) return;
      storage.setItem(name, VERBATIM.has(name) ? value : strip(value));
    },
    removeItem: (name) => storage.removeItem(name),
    clear() {
      for (const name of names()) storage.removeItem(name);
    },
    get length() {
      return names().length;
    },
  };
}
