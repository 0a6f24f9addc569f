// Subscribes with the client of graphql-sse:
//
//   npm ci && node follow.mjs http://127.0.0.1:8000/graphql/stream
//
// Succeeds when a subscription sends events and a query its one response.
import assert from 'node:assert/strict';
import { createClient } from 'graphql-sse';

const [url] = process.argv.slice(2);
if (!url) {
  console.error('usage: node follow.mjs URL');
  process.exit(2);
}
const client = createClient({ url, retryAttempts: 0 });

const moments = [];
const query = 'subscription { usageStats(every: "PT0.5S") { asOf lastMinute { total } } }';
for await (const { data, errors } of client.iterate({ query })) {
  assert.equal(errors, undefined);
  assert.equal(typeof data.usageStats.lastMinute.total, 'number');
  moments.push(data.usageStats.asOf);
  if (moments.length === 3) {
    break;
  }
}
assert.equal(new Set(moments).size, 3, `each event has its moment: ${moments}`);

const answers = [];
for await (const { data } of client.iterate({ query: '{ __typename }' })) {
  answers.push(data);
}
assert.deepEqual(answers, [{ __typename: 'Query' }]);

for await (const { errors } of client.iterate({ query: 'subscription { nothing }' })) {
  assert.equal(errors[0].extensions.code, 'GRAPHQL_VALIDATION_FAILED');
}
client.dispose();
console.log('followed, answered and refused');
