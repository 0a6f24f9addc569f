// The texts of errors.
import type { ApiError } from '../api/client';
import type { Messages } from './en';

/** For these codes the message of the server has details that the text lacks. */
const DETAILED = new Set(['BAD_USER_INPUT', 'DELETION_REFUSED', 'GRAPHQL_ERROR', 'GRAPHQL_PARSE_FAILED', 'GRAPHQL_VALIDATION_FAILED', 'PAGE_FAULT']);

/** The text of an error in the selected language, or the message of the server for an unknown code. */
export function errorText(text: Messages, { code, message }: ApiError): string {
  const known = (text.codes as Record<string, string>)[code];
  if (known === undefined) return message;
  return DETAILED.has(code) && message ? `${known} (${message})` : known;
}
