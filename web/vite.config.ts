import { defineConfig } from 'vitest/config';

// The server behind `npm run dev`: `callscope demo` by default.
const server = process.env.CALLSCOPE_URL ?? 'http://127.0.0.1:8000';

export default defineConfig({
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  // GraphiQL imports the same parser by two names.
  resolve: { alias: { 'prettier/parser-graphql': 'prettier/plugins/graphql' } },
  build: {
    outDir: 'build',
    target: 'es2022',
    // The Content-Security-Policy allows no inline assets.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: ['index.html', 'graphiql.html'],
      // React libraries contain "use client" directives for server rendering, which the page does not use.
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
