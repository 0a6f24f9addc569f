// Runs the npm clients graphql-ws and graphql-sse against a local server, through restarts, and
// checks the close codes of graphql-transport-ws without a client library:
//
//   npm ci && node clients.mjs ../../../target/debug/callscope
import assert from 'node:assert/strict';
import { createClient as createSseClient } from 'graphql-sse';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { READER, Server } from './server.mjs';

const FAST = 'subscription { usageStats(every: "PT0.5S") { asOf lastMinute { total } } }';
const SLOW = 'subscription { usageStats(every: "PT1H") { asOf } }';

const [binary] = process.argv.slice(2);
if (!binary) {
  console.error('usage: node clients.mjs BINARY');
  process.exit(2);
}

// A server that does not respond is a failure.
const limit = setTimeout(() => {
  console.error('took too long');
  server?.process.kill('SIGKILL');
  process.exit(1);
}, 120_000);

const server = await Server.start(binary);
const url = `ws://${server.address}/graphql/ws`;

const ws = (options = {}) =>
  createClient({
    url,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${READER}` },
    retryAttempts: 0,
    ...options,
  });

const sse = (options = {}) =>
  createSseClient({
    url: `http://${server.address}/graphql/stream`,
    headers: { Authorization: `Bearer ${READER}` },
    retryAttempts: 0,
    ...options,
  });

// Node reports a refused connection as an error, which graphql-ws treats as final by default.
const soon = {
  retryAttempts: 50,
  retryWait: () => new Promise((done) => setTimeout(done, 100)),
  shouldRetry: () => true,
};

// The first events of a subscription.
async function events(client, query, count) {
  const found = [];
  for await (const { data, errors } of client.iterate({ query })) {
    assert.equal(errors, undefined);
    found.push(data);
    if (found.length === count) {
      break;
    }
  }
  return found;
}

const checks = {
  async 'graphql-ws subscribes, queries and is refused'() {
    const client = ws();
    const [first, second] = await events(client, FAST, 2);
    assert.equal(typeof first.usageStats.lastMinute.total, 'number');
    assert.notEqual(first.usageStats.asOf, second.usageStats.asOf);
    // Leaving the loop completes the subscription.
    await server.subscriptions(0);
    assert.deepEqual(await events(client, '{ __typename }', 5), [{ __typename: 'Query' }]);
    for (const query of ['{ nothing }', 'subscription { nothing }']) {
      const refused = events(client, query, 1);
      await assert.rejects(refused, ([error]) => error.extensions.code === 'GRAPHQL_VALIDATION_FAILED');
    }
    const all = [1, 2, 3].map(() => events(client, FAST, 2));
    assert.equal((await Promise.all(all)).flat().length, 6);
    await client.dispose();
  },

  async 'a wrong token closes with 4403'() {
    for (const connectionParams of [{ token: 'wrong' }, {}]) {
      const closed = events(ws({ connectionParams }), SLOW, 1);
      await assert.rejects(closed, { code: 4403, reason: 'Forbidden' });
    }
    await events(ws({ connectionParams: async () => ({ token: READER }) }), SLOW, 1);
    const refused = events(sse({ headers: { Authorization: 'Bearer wrong' } }), SLOW, 1);
    await assert.rejects(refused, (error) => error.response.status === 401);
  },

  async 'a lazy client connects to subscribe, and disconnects afterwards'() {
    const seen = [];
    const record = (what) => (event) => seen.push(what === 'closed' ? event.code : what);
    const on = { connecting: record('connecting'), connected: record('connected'), closed: record('closed') };
    const client = ws({ on });
    await new Promise((done) => setTimeout(done, 200));
    assert.deepEqual(seen, []);
    await events(client, SLOW, 1);
    await server.subscriptions(0);
    await new Promise((done) => setTimeout(done, 200));
    assert.deepEqual(seen, ['connecting', 'connected', 1000]);
    seen.length = 0;
    const eager = ws({ lazy: false, on, onNonLazyError: assert.fail });
    while (!seen.includes('connected')) {
      await new Promise((done) => setTimeout(done, 20));
    }
    await events(eager, SLOW, 1);
    await eager.dispose();
  },

  async 'pings of the client are answered, and a quiet connection stays open'() {
    let pongs = 0;
    let closed = false;
    const on = { pong: (received) => (pongs += received ? 1 : 0), closed: () => (closed = true) };
    const client = ws({ lazy: false, keepAlive: 300, on, onNonLazyError: assert.fail });
    // Longer than the server's timeout for silent clients.
    while (pongs < 15) {
      await new Promise((done) => setTimeout(done, 100));
    }
    await events(client, SLOW, 1);
    assert.equal(closed, false);
    await client.dispose();
  },

  async 'both clients continue after the server was stopped or killed and restarted'() {
    for (const [signal, code] of [['SIGTERM', 1001], ['SIGKILL', 1006]]) {
      const closed = [];
      const on = { closed: ({ code }) => closed.push(code) };
      const clients = [ws({ ...soon, on }), sse(soon)];
      const counts = clients.map(() => 0);
      const following = clients.map(async (client, index) => {
        for await (const { data } of client.iterate({ query: FAST })) {
          assert.ok(data.usageStats.asOf);
          counts[index] += 1;
          if (counts[index] === 1000) {
            break;
          }
        }
        throw new Error(`${index ? 'graphql-sse' : 'graphql-ws'} gave up`);
      });
      const ended = Promise.race(following);
      const until = async (done) => {
        while (!done()) {
          await Promise.race([ended, new Promise((wake) => setTimeout(wake, 50))]);
        }
      };
      await until(() => counts.every((count) => count > 0));
      await server.stop(signal);
      await until(() => closed.length > 0);
      assert.equal(closed[0], code);
      const before = [...counts];
      await server.start();
      await until(() => counts.every((count, index) => count > before[index] + 1));
      following.forEach((one) => one.catch(() => {}));
      clients.forEach((client) => client.dispose());
      await server.subscriptions(0);
    }
  },

  async 'close codes'() {
    const init = { type: 'connection_init', payload: { token: READER } };
    const subscribe = { id: 'a', type: 'subscribe', payload: { query: SLOW } };
    for (const [code, reason, sent, protocol] of [
      [4400, 'Invalid message received', ['nonsense']],
      [4400, 'Invalid message received', [init, { type: 'unknown' }]],
      [4400, 'Invalid message received', [init, { type: 'subscribe', payload: { query: SLOW } }]],
      [4401, 'Unauthorized', [subscribe]],
      [4403, 'Forbidden', [{ type: 'connection_init', payload: { token: 'wrong' } }]],
      [4406, 'Subprotocol not acceptable', [], null],
      [4408, 'Connection initialisation timeout', []],
      [4409, 'Subscriber for a already exists', [init, subscribe, subscribe]],
      [4429, 'Too many initialisation requests', [init, init]],
      [1009, 'Message too large', [init, { ...subscribe, more: 'x'.repeat(2_000_000) }]],
    ]) {
      const socket =
        protocol === null ? new WebSocket(url) : new WebSocket(url, 'graphql-transport-ws');
      socket.on('open', () => {
        for (const message of sent) {
          socket.send(typeof message === 'string' ? message : JSON.stringify(message));
        }
      });
      const closed = await new Promise((done, fail) => {
        socket.on('close', (code, reason) => done([code, reason.toString()]));
        socket.on('error', (error) => error.code === 'EPIPE' || fail(error));
      });
      assert.deepEqual(closed, [code, reason]);
    }
    // The older protocol is not supported, as the handshake shows.
    const old = new WebSocket(url, 'graphql-ws');
    const error = await new Promise((done) => old.on('error', done));
    assert.match(error.message, /no subprotocol/);
    for (const origin of ['https://evil.example', 'null']) {
      const page = new WebSocket(url, 'graphql-transport-ws', { origin });
      const error = await new Promise((done) => page.on('error', done));
      assert.match(error.message, /403/);
    }
  },
};

try {
  for (const [name, check] of Object.entries(checks)) {
    await check();
    console.log(`ok: ${name}`);
  }
} finally {
  clearTimeout(limit);
  await server.end();
}
process.exit(0);
