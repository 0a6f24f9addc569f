// The whole client: one function over fetch, typed by its document.
import type { TypedDocumentString } from './graphql/graphql.js';

/** An error of the server. Match on `code`; `message` may change. */
export class CallscopeError extends Error {
  readonly code: string;
  readonly extensions: Record<string, unknown>;
  /** The partial result: a failed field is null, the other fields have values. */
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
    // Errors are JSON for every status; only a proxy may return another content type.
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
