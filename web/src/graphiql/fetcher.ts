// Sends GraphiQL's documents: by the session's cookie, or by the headers that somebody typed.
import { getOperationAST, OperationTypeNode, parse } from 'graphql';
import type { GraphiQLProps } from 'graphiql';
import { createClient as createStream, NetworkError } from 'graphql-sse';
import { createClient as createSocket } from 'graphql-ws';

type Fetcher = GraphiQLProps['fetcher'];
type Headers = Record<string, string>;

/** How subscriptions come. */
export type Transport = 'websocket' | 'sse';

/** The close code of a WebSocket whose token does not hold; an operation without one gets 401. */
const FORBIDDEN = 4403;

interface Payload {
  query: string;
  operationName?: string;
  variables?: Record<string, unknown>;
}

/** Asks for the transport with each subscription, and tells with each answer whether who asks is known. */
export function createFetcher(transport: () => Transport, onKnown: (isKnown: boolean) => void): Fetcher {
  return (params, options) => {
    const { query, operationName } = params;
    const variables = params.variables as Payload['variables'];
    const payload: Payload = { query, ...(operationName && { operationName }), ...(variables && { variables }) };
    const headers: Headers = options?.headers ?? {};
    if (!isSubscription(payload)) return send(payload, headers, onKnown);
    const events = transport() === 'sse' ? overStream(payload, headers) : overSocket(payload, headers);
    return told(events, onKnown);
  };
}

function isSubscription({ query, operationName }: Payload): boolean {
  try {
    return getOperationAST(parse(query), operationName)?.operation === OperationTypeNode.SUBSCRIPTION;
  } catch {
    // The server tells what is wrong with it.
    return false;
  }
}

async function send(payload: Payload, headers: Headers, onKnown: (isKnown: boolean) => void): Promise<object> {
  const response = await fetch('/graphql', {
    method: 'POST',
    // No simple request of a browser brings JSON: it is what the server wants against forged ones.
    headers: { accept: 'application/graphql-response+json, application/json', ...headers, 'content-type': 'application/json' },
    body: JSON.stringify(payload),
    credentials: 'same-origin',
    cache: 'no-store',
  });
  onKnown(response.status !== 401);
  return read(response);
}

async function read(response: Response): Promise<object> {
  try {
    return (await response.json()) as object;
  } catch {
    throw new Error(`The server answered ${response.status} ${response.statusText}`);
  }
}

function overStream(payload: Payload, headers: Headers): AsyncIterableIterator<object> {
  const client = createStream({ url: '/graphql/stream', headers, credentials: 'same-origin', retryAttempts: 0 });
  return client.iterate(payload);
}

function overSocket(payload: Payload, headers: Headers): AsyncIterableIterator<object> {
  const url = new URL('/graphql/ws', location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  // A browser's WebSocket has no headers; what it begins with stands for them.
  const client = createSocket({ url: url.href, connectionParams: headers, retryAttempts: 0 });
  return client.iterate(payload);
}

/** The events, whose errors can be read. */
function told(events: AsyncIterableIterator<object>, onKnown: (isKnown: boolean) => void): AsyncIterableIterator<object> {
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      try {
        const next = await events.next();
        onKnown(true);
        return next;
      } catch (cause) {
        return explain(cause, onKnown);
      }
    },
    async return() {
      return (await events.return?.()) ?? { done: true, value: undefined };
    },
  };
}

async function explain(cause: unknown, onKnown: (isKnown: boolean) => void): Promise<never> {
  // Errors of GraphQL, which are told as the server tells them.
  if (Array.isArray(cause)) throw Object.assign(new Error('The subscription was refused'), { errors: cause as unknown[] });
  if (cause instanceof CloseEvent) {
    if (cause.code === FORBIDDEN) onKnown(false);
    throw new Error(`The connection was closed: ${cause.code} ${cause.reason}`);
  }
  if (cause instanceof NetworkError && cause.response) {
    const response = cause.response as Response;
    if (response.status === 401) onKnown(false);
    const { errors } = (await read(response)) as { errors?: unknown };
    throw Object.assign(new Error(cause.message), { errors });
  }
  throw cause;
}
