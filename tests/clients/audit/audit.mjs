// Runs all checks of graphql-http's audit against a server:
//
//   npm ci && node audit.mjs http://127.0.0.1:8000/graphql
//
// Prints each failed check, and succeeds only without failures.
import { auditServer } from 'graphql-http';

// A different number of checks means a new specification: review it before changing this number.
const CHECKS = 61;

const [url] = process.argv.slice(2);
if (!url) {
  console.error('usage: node audit.mjs URL');
  process.exit(2);
}

// Some checks send GETs. A page of another site can send those too, so the server requires a header
// of other clients; the specification leaves that to the server.
const withHeader = (address, options = {}) =>
  fetch(address, { ...options, headers: { ...options.headers, 'X-Callscope-Client': 'audit' } });

const results = await auditServer({ url, fetchFn: withHeader });
const failed = results.filter((result) => result.status !== 'ok');
for (const { id, name, status, reason, response } of failed) {
  console.error(`${status}: ${id} ${name}: ${reason}`);
  if (response) {
    console.error(`  ${response.status} ${response.headers.get('content-type')}`);
  }
}
console.log(`${results.length - failed.length} of ${results.length} checks passed`);
if (failed.length > 0 || results.length !== CHECKS) {
  process.exitCode = 1;
}
