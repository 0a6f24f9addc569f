// Follows a subscription by server-sent events (graphql-sse, distinct connections), over `fetch` since
// a browser's EventSource can send no body. Begins anew, ever less often, when the stream ends.
import { ApiError, contact, refusal } from './client';

export type StreamState = 'connecting' | 'open' | 'waiting' | 'refused';

export interface Followed<T> {
  query: string;
  variables: unknown;
  onData: (data: T) => void;
  onState: (state: StreamState, error?: ApiError) => void;
  /** Of an event without data, after which the stream goes on. */
  onError?: (error: ApiError) => void;
}

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
/** The server sends a comment every 15 seconds; who hears nothing for longer hears nobody. */
const SILENCE_MS = 40_000;

/** What a server refuses for good: to ask again would be refused again. */
const FINAL = new Set(['UNAUTHENTICATED', 'FORBIDDEN', 'GRAPHQL_VALIDATION_FAILED', 'BAD_USER_INPUT', 'HTTP_404']);

interface Message {
  event: string;
  data: string;
}

/** Splits what came so far into messages and a rest. */
export function split(text: string): { messages: Message[]; rest: string } {
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
async function read<T>(followed: Followed<T>, signal: AbortSignal, heard: () => void): Promise<void> {
  const response = await contact('/graphql/stream', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ query: followed.query, variables: followed.variables }),
    signal,
  });
  if (!response.ok || !response.body) {
    const body: unknown = await response.json().catch(() => undefined);
    throw refusal(response, body as Parameters<typeof refusal>[1]);
  }
  // A stream of rows may have nothing to tell for hours.
  followed.onState('open');
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done || signal.aborted) return;
    heard();
    const { messages, rest } = split(text + value);
    text = rest;
    for (const { event, data } of messages) {
      if (event === 'complete') return;
      if (event !== 'next') continue;
      const result = JSON.parse(data) as { data?: T; errors?: { message: string; extensions?: { code?: string } }[] };
      if (result.data) {
        followed.onData(result.data);
      } else {
        const first = result.errors?.[0];
        const error = new ApiError(first?.extensions?.code ?? 'INTERNAL', first?.message ?? '');
        // Others pass: the next event may be well.
        if (FINAL.has(error.code)) throw error;
        followed.onError?.(error);
      }
    }
  }
}

/** Follows until the function that it returns is called. */
export function follow<T>(followed: Followed<T>): () => void {
  let stopped = false;
  let wait = FIRST_WAIT_MS;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopReading = (): void => undefined;

  const begin = async (): Promise<void> => {
    const abort = new AbortController();
    let silence: ReturnType<typeof setTimeout> | undefined;
    const heard = (): void => {
      wait = FIRST_WAIT_MS;
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    stopReading = () => abort.abort();
    followed.onState('connecting');
    let error: ApiError | undefined;
    try {
      silence = setTimeout(() => abort.abort(), SILENCE_MS);
      await read(followed, abort.signal, heard);
    } catch (cause) {
      error = cause instanceof ApiError ? cause : new ApiError('OFFLINE', String(cause));
    }
    clearTimeout(silence);
    if (isStopped()) return;
    if (error && FINAL.has(error.code)) {
      followed.onState('refused', error);
      return;
    }
    followed.onState('waiting', error);
    // Not all pages at once when a server comes back.
    timer = setTimeout(() => void begin(), (error?.retryAfterMs ?? wait) * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  };
  const isStopped = (): boolean => stopped;

  void begin();
  return () => {
    stopped = true;
    clearTimeout(timer);
    stopReading();
  };
}
