import { defineConfig } from 'vitest/config';

// Where `callscope demo` listens while the page is being developed.
const server = process.env.CALLSCOPE_URL ?? 'http://127.0.0.1:8000';

export default defineConfig({
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  // GraphiQL takes the same parser by two names.
  resolve: { alias: { 'prettier/parser-graphql': 'prettier/plugins/graphql' } },
  build: {
    outDir: 'build',
    target: 'es2022',
    // All that the policy of the page allows is files of their own.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: ['index.html', 'graphiql.html'],
      // Libraries of React tell servers which files are for browsers; all are, here.
      onLog: (level, log, handle) => {
        if (log.code !== 'MODULE_LEVEL_DIRECTIVE') handle(level, log);
      },
    },
  },
  server: {
    proxy: Object.fromEntries(['/graphql', '/session'].map((path) => [path, { target: server, ws: true }])),
  },
  test: { include: ['src/**/*.test.ts'] },
});
