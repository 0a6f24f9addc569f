// The filter and order of the list of error logs: parsed from the address and converted for the API.
import type { ErrorLogFilter } from '../api/gen/graphql';
import { between, isLive, type Range } from './range';
import type { Route } from './router';

export interface ErrorCriteria {
  types: string[];
  codes: string[];
  models: string[];
  keys: string[];
  keyContains: string;
  contains: string;
  oldestFirst: boolean;
}

export const ERROR_PARAMS = ['type', 'code', 'model', 'key', 'keytext', 'q'] as const;

export function parseErrorCriteria({ params, hidden }: Pick<Route, 'params' | 'hidden'>): ErrorCriteria {
  return {
    types: params.getAll('type'),
    codes: params.getAll('code').filter((code) => /^\d{1,5}$/.test(code)),
    models: params.getAll('model'),
    keys: params.getAll('key'),
    keyContains: hidden['keytext'] ?? params.get('keytext') ?? '',
    contains: hidden['q'] ?? params.get('q') ?? '',
    oldestFirst: params.get('sort') === 'oldest',
  };
}

/** The time range alone. A live range has no end, so that new rows are included. */
export function spanFilter(range: Range, now: number): ErrorLogFilter {
  const { since, until } = between(range, now);
  return isLive(range) ? { since } : { since, until };
}

export const errorFilter = (criteria: ErrorCriteria, range: Range, now: number): ErrorLogFilter => ({
  ...spanFilter(range, now),
  ...kindsFilter(criteria),
});

/** The filter without the time range. */
export function kindsFilter(criteria: ErrorCriteria): ErrorLogFilter {
  return {
    ...(criteria.types.length > 0 && { errorTypes: criteria.types }),
    ...(criteria.codes.length > 0 && { errorCodes: criteria.codes.map(Number) }),
    ...(criteria.models.length > 0 && { models: criteria.models }),
    ...(criteria.keys.length > 0 && { keys: criteria.keys }),
    ...(criteria.keyContains && { keyContains: criteria.keyContains }),
    ...(criteria.contains && { contains: criteria.contains }),
  };
}
