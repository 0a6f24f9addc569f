// Queries a server with the rows of clients/data through Relay's store and checks the responses.
import assert from 'node:assert/strict';
import type { calls_errorLogs$key } from './__generated__/calls_errorLogs.graphql';
import type { calls_list$key } from './__generated__/calls_list.graphql';
import type { calls_row$key } from './__generated__/calls_row.graphql';
import type { callsQuery as CallsQuery } from './__generated__/callsQuery.graphql';
import { callsErrorLogs, callsList, callsQuery, callsRow } from './calls';
import { createEnvironment } from './environment';
import { Page } from './page';

const { GRAPHQL_URL: url, GRAPHQL_TOKEN: token } = process.env;
assert(url && token, 'GRAPHQL_URL and GRAPHQL_TOKEN are needed');
const environment = createEnvironment(url, token);
const page = new Page(environment);

async function main() {
  const query = await page.load<CallsQuery>(callsQuery, { asOf: '2026-11-02T12:00:00Z', first: 10 });
  const rows = await paging(query);
  const throttled = page.read(callsRow, rows[1]!);
  assert.deepEqual([throttled.statusCode, throttled.apiKey?.masked], [429, 'Fake...0002']);
  assert.match(throttled.errorLog?.message ?? '', /You exceeded your current quota/);
  await refetching(rows[1]!);
  await pagingByNode(throttled.apiKey!);
}

/** The store merges the pages of a connection into one list. */
async function paging(query: calls_list$key): Promise<calls_row$key[]> {
  const list = () => page.read(callsList, query).callDetails.edges.map((edge) => edge.node);
  const lengths = [list().length];
  while (await page.loadNext(callsList, query, 10)) {
    lengths.push(list().length);
  }
  assert.deepEqual(lengths, [10, 20, 30, 34]);
  assert.equal(new Set(list().map((call) => call.id)).size, 34, 'no call comes twice');
  console.log(`callDetails: ${lengths.join(', ')} calls in the store, page after page`);
  return list();
}

async function refetching(row: calls_row$key) {
  const before = page.read(callsRow, row);
  environment.commitUpdate((store) => store.get(before.id)?.setValue(0, 'statusCode'));
  assert.equal(page.read(callsRow, row).statusCode, 0);
  await page.refetch(callsRow, row);
  assert.deepEqual(page.read(callsRow, row), before);
  console.log(`node: ${before.id} was fetched again`);
}

/** A connection of an object with an id: further pages are loaded with `node(id:)`. */
async function pagingByNode(key: calls_errorLogs$key) {
  const list = () => page.read(callsErrorLogs, key).errorLogs.edges.map((edge) => edge.node);
  const lengths = [list().length];
  while (await page.loadNext(callsErrorLogs, key, 3)) {
    lengths.push(list().length);
  }
  assert.deepEqual(lengths, [3, 6, 7]);
  assert.ok(list().every((log) => log.errorCode === 429));
  console.log(`errorLogs of a key: ${lengths.join(', ')} in the store`);
}

void main();
