// Sends documents to the server, and tells what came of it.
import type { TypedDocumentString } from './gen/graphql';

/** Why there is no answer; `code` is the server's, or one of ours: `OFFLINE`. */
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

/** Tells of every request whether it reached the server. */
export function onContact(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell(reachable: boolean, error?: ApiError): void {
  for (const listener of listeners) listener(reachable, error);
}

/** `fetch`, where a server out of reach is an error as any other. */
export async function contact(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, { ...init, credentials: 'same-origin', cache: 'no-store' });
  } catch (cause) {
    if (init.signal?.aborted) throw cause;
    const error = new ApiError('OFFLINE', cause instanceof Error ? cause.message : String(cause));
    tell(false, error);
    throw error;
  }
}

/** The error that an answer without data tells. */
export function refusal(response: Response, body: Result<unknown> | undefined): ApiError {
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

/** Sends an operation. An answer of which a part is missing is an error as well. */
export async function send<T, V>(
  document: TypedDocumentString<T, V>,
  variables: V,
  signal?: AbortSignal,
): Promise<T> {
  const response = await contact('/graphql', {
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
    // A proxy's own page, or an answer that broke off.
    body = undefined;
  }
  if (body?.data && !body.errors?.length) {
    tell(true);
    return body.data;
  }
  const error = refusal(response, body);
  tell(true, error);
  throw error;
}
