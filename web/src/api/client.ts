// Sends GraphQL operations to the server.
import type { TypedDocumentString } from './gen/graphql';

/** A failed request. `code` is `extensions.code` of the server, `HTTP_<status>`, `OFFLINE`, or `PAGE_FAULT`. */
export class ApiError extends Error {
  readonly code: string;
  readonly retryAfterMs: number | undefined;
  readonly requestId: string | undefined;

  constructor(code: string, message: string, more: { retryAfterMs?: number; requestId?: string } = {}) {
    super(message);
    this.code = code;
    this.retryAfterMs = more.retryAfterMs;
    this.requestId = more.requestId;
  }
}

interface GraphqlError {
  message: string;
  path?: (string | number)[];
  extensions?: { code?: string; requestId?: string };
}

interface Result<T> {
  data?: T | null;
  errors?: GraphqlError[];
}

type Listener = (reachable: boolean, error: ApiError | undefined) => void;
const listeners = new Set<Listener>();

/** Notifies the listener after each request whether the server was reachable. */
export function onReachability(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function notify(reachable: boolean, error?: ApiError): void {
  for (const listener of listeners) listener(reachable, error);
}

/** `fetch` that throws an `ApiError` if the server is unreachable. */
export async function fetchFromServer(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, { ...init, credentials: 'same-origin', cache: 'no-store' });
  } catch (cause) {
    if (init.signal?.aborted) throw cause;
    const error = new ApiError('OFFLINE', cause instanceof Error ? cause.message : String(cause));
    notify(false, error);
    throw error;
  }
}

/** The error of a response without data. */
export function responseError(response: Response, body: Result<unknown> | undefined): ApiError {
  const first = body?.errors?.[0];
  const seconds = Number(response.headers.get('retry-after'));
  return new ApiError(
    first?.extensions?.code ?? `HTTP_${response.status}`,
    first?.message ?? response.statusText,
    {
      ...(seconds > 0 && { retryAfterMs: seconds * 1000 }),
      requestId: response.headers.get('x-request-id') ?? first?.extensions?.requestId ?? '',
    },
  );
}

/** Sends an operation. A partial response is an error as well. */
export async function send<T, V>(
  document: TypedDocumentString<T, V>,
  variables: V,
  signal?: AbortSignal,
): Promise<T> {
  const response = await fetchFromServer('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json, application/json' },
    body: JSON.stringify({ query: document.toString(), variables }),
    ...(signal && { signal }),
  });
  let body: Result<T> | undefined;
  try {
    body = (await response.json()) as Result<T>;
  } catch (cause) {
    if (signal?.aborted) throw cause;
    // An error page of a proxy, or a truncated response.
    body = undefined;
  }
  if (body?.data && !body.errors?.length) {
    notify(true);
    return body.data;
  }
  const error = responseError(response, body);
  notify(true, error);
  throw error;
}
