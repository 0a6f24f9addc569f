// The whole client: one function over fetch, typed by the document that it is given.
import type { TypedDocumentString } from './graphql/graphql.js';

/** What the server says is wrong. Decide by `code`; `message` is for people and may change. */
export class CallscopeError extends Error {
  readonly code: string;
  readonly extensions: Record<string, unknown>;
  /** What was answered all the same: a field that failed is null there, the others are right. */
  readonly data: unknown;

  constructor(message: string, extensions: Record<string, unknown> = {}, data: unknown = null) {
    super(message);
    this.extensions = extensions;
    this.data = data;
    this.code = String(extensions['code'] ?? 'UNKNOWN');
  }
}

interface Answer<Result> {
  data?: Result | null;
  errors?: { message: string; extensions?: Record<string, unknown> }[];
}

export class Callscope {
  constructor(
    private readonly url: string,
    private readonly token?: string,
  ) {}

  get headers(): Record<string, string> {
    return this.token === undefined ? {} : { Authorization: `Bearer ${this.token}` };
  }

  async query<Result, Variables>(
    document: TypedDocumentString<Result, Variables>,
    ...[variables]: Variables extends Record<string, never> ? [] : [Variables]
  ): Promise<Result> {
    const response = await fetch(this.url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...this.headers },
      body: JSON.stringify({ query: document, variables }),
    });
    // Errors come as JSON with any status; only a proxy in between answers with something else.
    const answer = (await response.json()) as Answer<Result>;
    const error = answer.errors?.[0];
    if (error !== undefined) {
      throw new CallscopeError(error.message, error.extensions, answer.data);
    }
    if (answer.data == null) {
      throw new CallscopeError(`no data, status ${response.status}`);
    }
    return answer.data;
  }
}
