// Sends GraphiQL's operations, with the session cookie or the headers of the headers editor.
import { getOperationAST, OperationTypeNode, parse } from 'graphql';
import type { GraphiQLProps } from 'graphiql';
import { createClient as createStream, NetworkError } from 'graphql-sse';
import { createClient as createSocket } from 'graphql-ws';

type Fetcher = GraphiQLProps['fetcher'];
type Headers = Record<string, string>;

/** The transport of subscriptions. */
export type Transport = 'websocket' | 'sse';

/** The close code of a WebSocket with an invalid token; an operation without a token gets 401. */
const FORBIDDEN = 4403;

interface Payload {
  query: string;
  operationName?: string;
  variables?: Record<string, unknown>;
}

/** Reads the transport for each subscription, and reports after each response whether the client is authenticated. */
export function createFetcher(transport: () => Transport, onAuthenticated: (isAuthenticated: boolean) => void): Fetcher {
  return (params, options) => {
    const { query, operationName } = params;
    const variables = params.variables as Payload['variables'];
    const payload: Payload = { query, ...(operationName && { operationName }), ...(variables && { variables }) };
    const headers: Headers = options?.headers ?? {};
    if (!isSubscription(payload)) return send(payload, headers, onAuthenticated);
    const events = transport() === 'sse' ? overStream(payload, headers) : overSocket(payload, headers);
    return withReadableErrors(events, onAuthenticated);
  };
}

function isSubscription({ query, operationName }: Payload): boolean {
  try {
    return getOperationAST(parse(query), operationName)?.operation === OperationTypeNode.SUBSCRIPTION;
  } catch {
    // The server reports the syntax error.
    return false;
  }
}

async function send(payload: Payload, headers: Headers, onAuthenticated: (isAuthenticated: boolean) => void): Promise<object> {
  const response = await fetch('/graphql', {
    method: 'POST',
    // CSRF protection: the server requires JSON, which no simple request of a browser can send.
    headers: { accept: 'application/graphql-response+json, application/json', ...headers, 'content-type': 'application/json' },
    body: JSON.stringify(payload),
    credentials: 'same-origin',
    cache: 'no-store',
  });
  onAuthenticated(response.status !== 401);
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
  // A browser's WebSocket cannot send headers; the server reads them from `connection_init`.
  const client = createSocket({ url: url.href, connectionParams: headers, retryAttempts: 0 });
  return client.iterate(payload);
}

/** The events, with errors that GraphiQL can display. */
function withReadableErrors(events: AsyncIterableIterator<object>, onAuthenticated: (isAuthenticated: boolean) => void): AsyncIterableIterator<object> {
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      try {
        const next = await events.next();
        onAuthenticated(true);
        return next;
      } catch (cause) {
        return explain(cause, onAuthenticated);
      }
    },
    async return() {
      return (await events.return?.()) ?? { done: true, value: undefined };
    },
  };
}

async function explain(cause: unknown, onAuthenticated: (isAuthenticated: boolean) => void): Promise<never> {
  // GraphQL errors, passed on unchanged.
  if (Array.isArray(cause)) throw Object.assign(new Error('The subscription was refused'), { errors: cause as unknown[] });
  if (cause instanceof CloseEvent) {
    if (cause.code === FORBIDDEN) onAuthenticated(false);
    throw new Error(`The connection was closed: ${cause.code} ${cause.reason}`);
  }
  if (cause instanceof NetworkError && cause.response) {
    const response = cause.response as Response;
    if (response.status === 401) onAuthenticated(false);
    const { errors } = (await read(response)) as { errors?: unknown };
    throw Object.assign(new Error(cause.message), { errors });
  }
  throw cause;
}
