import { readFileSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

// Where `callscope demo` listens while the page is being developed.
const server = process.env.CALLSCOPE_URL ?? 'http://127.0.0.1:8000';

// The page and its server are of one build: what the schema has, the server answers.
const schema = readFileSync(new URL('../schema.graphql', import.meta.url), 'utf8');

export default defineConfig({
  define: { HAS_TAIL: String(/^\tcallRecorded\(/m.test(schema) && /^\terrorRecorded\(/m.test(schema)) },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: 'build',
    target: 'es2022',
    // All that the policy of the page allows is files of their own.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      // The second entry will be graphiql.html.
      input: ['index.html'],
    },
  },
  server: {
    proxy: Object.fromEntries(['/graphql', '/session', '/graphiql'].map((path) => [path, server])),
  },
  test: { include: ['src/**/*.test.ts'] },
});
