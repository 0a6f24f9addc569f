// What GraphiQL keeps in the browser: tabs, history, sizes, never headers. Its history would keep them even
// where it is told not to, and an Authorization header is a token.

/** What GraphiQL's names begin with. */
const PREFIX = 'graphiql:';
/** Texts of the user, whose JSON may well have a name `headers`. */
const VERBATIM = new Set([`${PREFIX}query`, `${PREFIX}variables`]);
/** Tabs are compared by their hash, which is their whole text. */
const FORBIDDEN = new Set(['headers', 'hash']);

export interface Kept {
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
    // A size, a colour, the title of a plugin.
    return value;
  }
  return JSON.stringify(parsed, (name, part: unknown) => (FORBIDDEN.has(name) ? null : part));
}

export function withoutHeaders(storage: Storage): Kept {
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
