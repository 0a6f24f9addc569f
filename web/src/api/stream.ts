// Subscribes by server-sent events (graphql-sse, distinct connections mode). Uses `fetch`, since EventSource
// cannot send a body. Reconnects with exponential backoff.
import { ApiError, fetchFromServer, responseError } from './client';

export type StreamState = 'connecting' | 'open' | 'waiting' | 'refused';

export interface SubscriptionRequest<T> {
  query: string;
  variables: unknown;
  onData: (data: T) => void;
  onState: (state: StreamState, error?: ApiError) => void;
  /** Called for an event without data; the stream continues. */
  onError?: (error: ApiError) => void;
}

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
/** The server sends a comment every 15 seconds; a longer silence means that the connection is dead. */
const IDLE_TIMEOUT_MS = 40_000;

/** Errors that a retry cannot fix. */
const FINAL = new Set(['UNAUTHENTICATED', 'FORBIDDEN', 'GRAPHQL_VALIDATION_FAILED', 'BAD_USER_INPUT', 'HTTP_404']);

interface Message {
  event: string;
  data: string;
}

/** Splits received text into complete messages and the rest. */
export function parseMessages(text: string): { messages: Message[]; rest: string } {
  const blocks = text.split('\n\n');
  const rest = blocks.pop() ?? '';
  const messages = blocks.map((block) => {
    const message: Message = { event: 'message', data: '' };
    for (const line of block.split('\n')) {
      if (line.startsWith('event:')) message.event = line.slice(6).trim();
      if (line.startsWith('data:')) message.data += line.slice(5).trimStart();
    }
    return message;
  });
  return { messages, rest };
}

/** Reads one stream to its end. */
async function read<T>(request: SubscriptionRequest<T>, signal: AbortSignal, onActivity: () => void): Promise<void> {
  const response = await fetchFromServer('/graphql/stream', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ query: request.query, variables: request.variables }),
    signal,
  });
  if (!response.ok || !response.body) {
    const body: unknown = await response.json().catch(() => undefined);
    throw responseError(response, body as Parameters<typeof responseError>[1]);
  }
  // A stream of rows may stay silent for hours.
  request.onState('open');
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done || signal.aborted) return;
    onActivity();
    const { messages, rest } = parseMessages(text + value);
    text = rest;
    for (const { event, data } of messages) {
      if (event === 'complete') return;
      if (event !== 'next') continue;
      const result = JSON.parse(data) as { data?: T; errors?: { message: string; extensions?: { code?: string } }[] };
      if (result.data) {
        request.onData(result.data);
      } else {
        const first = result.errors?.[0];
        const error = new ApiError(first?.extensions?.code ?? 'INTERNAL', first?.message ?? '');
        // Other errors are transient: the next event may succeed.
        if (FINAL.has(error.code)) throw error;
        request.onError?.(error);
      }
    }
  }
}

/** Subscribes until the returned function is called. */
export function subscribe<T>(request: SubscriptionRequest<T>): () => void {
  let stopped = false;
  let wait = FIRST_WAIT_MS;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopReading = (): void => undefined;

  const connect = async (): Promise<void> => {
    const abort = new AbortController();
    let idleTimer: ReturnType<typeof setTimeout> | undefined;
    const onActivity = (): void => {
      wait = FIRST_WAIT_MS;
      clearTimeout(idleTimer);
      idleTimer = setTimeout(() => abort.abort(), IDLE_TIMEOUT_MS);
    };
    stopReading = () => abort.abort();
    request.onState('connecting');
    let error: ApiError | undefined;
    try {
      idleTimer = setTimeout(() => abort.abort(), IDLE_TIMEOUT_MS);
      await read(request, abort.signal, onActivity);
    } catch (cause) {
      error = cause instanceof ApiError ? cause : new ApiError('OFFLINE', String(cause));
    }
    clearTimeout(idleTimer);
    if (isStopped()) return;
    if (error && FINAL.has(error.code)) {
      request.onState('refused', error);
      return;
    }
    request.onState('waiting', error);
    // Jitter: pages do not reconnect all at once after a restart of the server.
    timer = setTimeout(() => void connect(), (error?.retryAfterMs ?? wait) * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  };
  const isStopped = (): boolean => stopped;

  void connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    stopReading();
  };
}
