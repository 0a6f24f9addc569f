// Which error logs are listed: as the address tells it, and as the API takes it.
import type { ErrorLogFilter } from '../api/gen/graphql';
import { rangeEnds, type Range } from './range';

export interface ErrorsAsked {
  types: string[];
  codes: string[];
  models: string[];
  keys: string[];
  keyContains: string;
  contains: string;
  oldestFirst: boolean;
}

export const ERROR_PARAMS = ['type', 'code', 'model', 'key', 'keytext', 'q'] as const;

export function errorsAsked(params: URLSearchParams): ErrorsAsked {
  return {
    types: params.getAll('type'),
    codes: params.getAll('code').filter((code) => /^\d{1,5}$/.test(code)),
    models: params.getAll('model'),
    keys: params.getAll('key'),
    keyContains: params.get('keytext') ?? '',
    contains: params.get('q') ?? '',
    oldestFirst: params.get('sort') === 'oldest',
  };
}

/** The span alone. A preset has no end, so that what comes is seen. */
export function spanFilter(range: Range, now: number): ErrorLogFilter {
  if (!('preset' in range)) return { since: range.since, until: range.until };
  return { since: new Date(rangeEnds(range, now)[0]).toISOString() };
}

export const errorFilter = (asked: ErrorsAsked, range: Range, now: number): ErrorLogFilter => ({
  ...spanFilter(range, now),
  ...kindsFilter(asked),
});

/** All but the span. */
export function kindsFilter(asked: ErrorsAsked): ErrorLogFilter {
  return {
    ...(asked.types.length > 0 && { errorTypes: asked.types }),
    ...(asked.codes.length > 0 && { errorCodes: asked.codes.map(Number) }),
    ...(asked.models.length > 0 && { models: asked.models }),
    ...(asked.keys.length > 0 && { keys: asked.keys }),
    ...(asked.keyContains && { keyContains: asked.keyContains }),
    ...(asked.contains && { contains: asked.contains }),
  };
}
