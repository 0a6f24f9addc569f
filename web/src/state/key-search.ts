// Finds keys by a text that the user typed or pasted. A full key is sent only by POST, as a variable.
import { ApiError, send } from '../api/client';
import { FindKeyDocument, KeyNamesDocument, SearchKeysDocument, type KeyNamesQuery } from '../api/gen/graphql';
import { isMasked, sameMask } from '../domain/secret';
import { pageLimit } from './session';

/** Bounds the search for a masked form. */
const MAX_PAGES = 20;
/** The most keys in the address. */
const MOST = 50;
/** Shorter texts are no keys. */
const SHORTEST = 8;

/** The ids of the keys with this masked form, or of the key with this full text. */
export async function findKeys(text: string, signal: AbortSignal): Promise<string[]> {
  if (isMasked(text)) return await withMask(text, signal);
  if (text.length < SHORTEST || /\s/.test(text)) return [];
  try {
    const { apiKey } = await send(FindKeyDocument, { key: text }, signal);
    return apiKey ? [apiKey.id] : [];
  } catch (cause) {
    // A text that cannot be a key.
    if (cause instanceof ApiError && ['NOT_FOUND', 'BAD_USER_INPUT'].includes(cause.code)) return [];
    throw cause;
  }
}

/** The same, or the keys that contain the text. */
export async function searchKeys(text: string, signal: AbortSignal): Promise<string[]> {
  const found = await findKeys(text, signal);
  if (found.length > 0 || isMasked(text)) return found;
  const { apiKeys } = await send(SearchKeysDocument, { search: text, first: pageLimit(MOST) }, signal);
  return apiKeys.nodes.map(({ id }) => id);
}

async function withMask(text: string, signal: AbortSignal): Promise<string[]> {
  const found: string[] = [];
  let after: string | null = null;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const { apiKeys }: KeyNamesQuery = await send(KeyNamesDocument, { first: pageLimit(1000), after }, signal);
    found.push(...apiKeys.nodes.filter(({ masked }) => sameMask(masked) === sameMask(text)).map(({ id }) => id));
    if (!apiKeys.pageInfo.hasNextPage || found.length >= MOST) break;
    after = apiKeys.pageInfo.endCursor ?? null;
  }
  return found.slice(0, MOST);
}
