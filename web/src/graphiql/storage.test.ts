import { expect, it } from 'vitest';
import { withoutHeaders } from './storage';

const HEADERS = '{"Authorization": "Bearer secret"}';

function browser(): Storage {
  const kept: Record<string, string> = {};
  const methods = {
    getItem: (name: string) => kept[name] ?? null,
    setItem: (name: string, value: string) => void (kept[name] = value),
    removeItem: (name: string) => void Reflect.deleteProperty(kept, name),
  };
  return new Proxy(kept, {
    get: (_, name) => methods[name as keyof typeof methods] as unknown,
  }) as unknown as Storage;
}

it('removes headers from all stored values', () => {
  const storage = browser();
  const kept = withoutHeaders(storage);
  const tab = { query: '{ a }', variables: '{}', headers: HEADERS, hash: `{ a }|{}|${HEADERS}` };
  kept.setItem('graphiql:headers', HEADERS);
  kept.setItem('graphiql:tabState', JSON.stringify({ activeTabIndex: 0, tabs: [tab] }));
  kept.setItem('graphiql:queries', JSON.stringify({ queries: [tab] }));
  kept.setItem('graphiql:favorites', JSON.stringify({ favorites: [tab] }));
  expect(kept.length).toBe(3);
  const names = Object.keys(storage);
  expect(JSON.stringify(names.map((name) => storage.getItem(name)))).not.toContain('secret');
  expect(JSON.parse(kept.getItem('graphiql:queries') ?? '')).toEqual({
    queries: [{ query: '{ a }', variables: '{}', headers: null, hash: null }],
  });
});

it('keeps other values, and clears only the keys of GraphiQL', () => {
  const storage = browser();
  storage.setItem('callscope.prefs', '{}');
  const kept = withoutHeaders(storage);
  const values = { query: '{ a }', variables: '{"headers": 1}', theme: 'dark', docExplorerFlex: '0.25' };
  for (const [name, value] of Object.entries(values)) {
    kept.setItem(`graphiql:${name}`, value);
    expect(kept.getItem(`graphiql:${name}`)).toBe(value);
  }
  kept.clear();
  expect(Object.keys(storage)).toEqual(['callscope.prefs']);
});
