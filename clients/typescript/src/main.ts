// Queries a server with the rows of clients/data and checks the responses.
import assert from 'node:assert/strict';
import { createClient } from 'graphql-sse';
import { Callscope, CallscopeError } from './callscope.js';
import { graphql } from './graphql/index.js';
import type { FailedCallsQuery, UsageSubscription } from './graphql/graphql.js';

const { GRAPHQL_URL: url, GRAPHQL_TOKEN: token } = process.env;
assert(url && token, 'GRAPHQL_URL and GRAPHQL_TOKEN are needed');
const callscope = new Callscope(url, token);
const asOf = '2026-11-02T12:00:00Z';

const Stats = graphql(`
  query Stats($asOf: DateTime) {
    usageStats(asOf: $asOf) {
      lastMinute { total }
      last24Hours { total success failure successRate }
      last(duration: "P7D") { total }
    }
  }
`);

const FailedCalls = graphql(`
  query FailedCalls($asOf: DateTime, $after: String) {
    callDetails(period: LAST_24_HOURS, asOf: $asOf, filter: { status: FAILURE }, first: 5, after: $after) {
      totalCount
      nodes { id timestamp statusCode apiKey { masked } errorLog { message } }
      pageInfo { hasNextPage endCursor }
    }
  }
`);

const Prompt = graphql(`
  query Prompt($id: ID!) {
    node(id: $id) { ... on ErrorLog { errorCode request } }
  }
`);

const Usage = graphql(`
  subscription Usage($key: String, $every: Duration!) {
    usageStats(key: $key, every: $every) { asOf last(duration: "P36500D") { total failure } }
  }
`);

async function statistics() {
  const { usageStats } = await callscope.query(Stats, { asOf });
  assert.deepEqual(usageStats, {
    lastMinute: { total: 1 },
    last24Hours: { total: 34, success: 17, failure: 17, successRate: 0.5 },
    last: { total: 40 },
  });
  const { total, failure } = usageStats.last24Hours;
  console.log(`usageStats: ${failure} of ${total} calls failed in 24 hours`);
}

/** All failed calls: `after` is the `endCursor` of the previous page. */
async function* failedCalls() {
  for (let after: string | null = null; ; ) {
    const { callDetails }: FailedCallsQuery = await callscope.query(FailedCalls, { asOf, after });
    yield* callDetails.nodes;
    if (!callDetails.pageInfo.hasNextPage) {
      return;
    }
    after = callDetails.pageInfo.endCursor;
  }
}

async function paging() {
  const calls: FailedCallsQuery['callDetails']['nodes'] = [];
  for await (const call of failedCalls()) {
    calls.push(call);
  }
  assert.equal(calls.length, 17);
  assert.equal(new Set(calls.map((call) => call.id)).size, 17, 'no call comes twice');
  const times = calls.map((call) => call.timestamp);
  assert.deepEqual(times, times.toSorted().reverse(), 'newest first');
  const [first] = calls;
  assert.deepEqual([first?.statusCode, first?.apiKey?.masked], [429, 'Fake...0002']);
  assert.match(first?.errorLog?.message ?? '', /You exceeded your current quota/);
  console.log(`callDetails: ${calls.length} failed calls in pages of 5`);
}

async function refusal(answer: Promise<unknown>): Promise<CallscopeError> {
  const error: unknown = await answer.then(() => assert.fail('it was answered'), (reason) => reason);
  assert(error instanceof CallscopeError, String(error));
  return error;
}

async function errors() {
  const stranger = new Callscope(url!);
  const refusals = [
    await refusal(stranger.query(Stats, { asOf })),
    await refusal(callscope.query(Stats, { asOf: 'yesterday' })),
    await refusal(callscope.query(Prompt, { id: 'error_20' })),
  ];
  const codes = refusals.map((error) => error.code);
  assert.deepEqual(codes, ['UNAUTHENTICATED', 'BAD_USER_INPUT', 'FORBIDDEN']);
  assert.equal(refusals[1]?.extensions['argument'], 'asOf');
  // The token does not allow reading prompts: the field is null, the other fields have values.
  assert.deepEqual(refusals[2]?.data, { node: { errorCode: 429, request: null } });
  console.log(`errors: ${codes.join(', ')}`);
}

async function following() {
  const stream = createClient({ url: `${url}/stream`, headers: callscope.headers, retryAttempts: 0 });
  const query = Usage.toString();
  const variables = { key: 'Fake-key-of-team-two-0002', every: 'PT0.5S' };
  const moments = new Set<string>();
  for await (const event of stream.iterate<UsageSubscription>({ query, variables })) {
    assert.equal(event.errors, undefined);
    assert.deepEqual(event.data?.usageStats.last, { total: 13, failure: 7 });
    moments.add(event.data.usageStats.asOf);
    if (moments.size === 2) {
      break;
    }
  }
  stream.dispose();
  console.log('subscription usageStats: two events');
}

await statistics();
await paging();
await errors();
await following();
