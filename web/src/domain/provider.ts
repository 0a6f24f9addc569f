// Parses provider messages. Errors of Gemini are JSON; clients of OpenAI wrap them in Python's notation; others
// are plain text.

export interface ProviderMessage {
  /** The human-readable message. */
  text: string;
  /** The provider's error status: `RESOURCE_EXHAUSTED`. */
  status: string | undefined;
  /** The detailed reason: `API_KEY_INVALID`, `CONSUMER_SUSPENDED`. */
  reason: string | undefined;
  /** The whole message, indented if it is JSON. */
  pretty: string;
}

type Value = Record<string, unknown>;

const isObject = (value: unknown): value is Value => typeof value === 'object' && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string | undefined => (typeof value === 'string' && value ? value : undefined);

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** A field of a text in Python's notation: `'message': "…"`. */
function field(text: string, name: string): string | undefined {
  const found = new RegExp(`'${name}':\\s*(?:'((?:[^'\\\\]|\\\\.)*)'|"((?:[^"\\\\]|\\\\.)*)")`).exec(text);
  const value = found?.[1] ?? found?.[2];
  return value?.replaceAll('\\n', '\n').replaceAll(/\\(.)/g, '$1');
}

function reasonOf(details: unknown): string | undefined {
  if (!Array.isArray(details)) return undefined;
  return details.map((detail: unknown) => (isObject(detail) ? textOf(detail['reason']) : undefined)).find(Boolean);
}

export function parseProviderError(message: string | null | undefined): ProviderMessage {
  const raw = message?.trim() ?? '';
  const json = parse(raw);
  const body = Array.isArray(json) ? (json[0] as unknown) : json;
  if (isObject(body)) {
    const error = isObject(body['error']) ? body['error'] : body;
    const text = textOf(error['message']) ?? textOf(body['error']) ?? raw;
    return {
      text: text.trim(),
      status: textOf(error['status']) ?? textOf(error['type']),
      reason: reasonOf(error['details']) ?? textOf(error['code']),
      pretty: JSON.stringify(json, null, 2),
    };
  }
  return {
    text: field(raw, 'message') ?? raw,
    status: field(raw, 'status'),
    reason: field(raw, 'reason'),
    pretty: raw,
  };
}

/** The first line of the message, for lists. */
export function firstLine(message: string | null | undefined): string {
  return parseProviderError(message).text.split('\n', 1)[0]?.trim() ?? '';
}
