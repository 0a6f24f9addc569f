// The filter and order of the list of calls: parsed from the address and converted for the API.
import type { CallFilter, CallOrder, ErrorLogFilter } from '../api/gen/graphql';
import type { Params } from './router';
import { excluded } from './value-filter';

export const SORTS = ['newest', 'oldest', 'slowest'] as const;
export type Sort = (typeof SORTS)[number];

const ORDERS: Record<Sort, CallOrder> = {
  newest: 'NEWEST_FIRST',
  oldest: 'OLDEST_FIRST',
  slowest: 'SLOWEST_FIRST',
};

export interface CallCriteria {
  status: 'success' | 'failure' | undefined;
  codes: string[];
  models: string[];
  keys: string[];
  /** Values that are left out. */
  notCodes: string[];
  notModels: string[];
  notKeys: string[];
  min: number | undefined;
  max: number | undefined;
  sort: Sort;
}

/** A non-negative integer, or undefined. */
function whole(text: string | null): number | undefined {
  return text !== null && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

export const codesOf = (params: URLSearchParams, name = 'code'): string[] =>
  params.getAll(name).filter((code) => /^\d{1,5}$/.test(code));

export function parseCallCriteria(params: URLSearchParams): CallCriteria {
  const status = params.get('status');
  const sort = params.get('sort');
  return {
    status: status === 'success' || status === 'failure' ? status : undefined,
    codes: codesOf(params),
    models: params.getAll('model'),
    keys: params.getAll('key'),
    notCodes: codesOf(params, excluded('code')),
    notModels: params.getAll(excluded('model')),
    notKeys: params.getAll(excluded('key')),
    min: whole(params.get('min')),
    max: whole(params.get('max')),
    sort: SORTS.find((one) => one === sort) ?? 'newest',
  };
}

export const orderOf = (criteria: CallCriteria): CallOrder => ORDERS[criteria.sort];

export function callFilter(criteria: CallCriteria): CallFilter {
  return {
    ...(criteria.status && { status: criteria.status === 'success' ? 'SUCCESS' : 'FAILURE' }),
    ...(criteria.codes.length > 0 && { statusCodes: criteria.codes.map(Number) }),
    ...(criteria.models.length > 0 && { models: criteria.models }),
    ...(criteria.keys.length > 0 && { keys: criteria.keys }),
    ...(criteria.notCodes.length > 0 && { excludeStatusCodes: criteria.notCodes.map(Number) }),
    ...(criteria.notModels.length > 0 && { excludeModels: criteria.notModels }),
    ...(criteria.notKeys.length > 0 && { excludeKeys: criteria.notKeys }),
    ...(criteria.min !== undefined && { minLatencyMs: criteria.min }),
    ...(criteria.max !== undefined && { maxLatencyMs: criteria.max }),
  };
}

/** The filter of the error logs of these calls, without status and latency, which error logs do not have. */
export function errorsOf(criteria: CallCriteria): ErrorLogFilter {
  const { codes, models, keys, notCodes, notModels, notKeys } = criteria;
  return {
    ...(codes.length > 0 && { errorCodes: codes.map(Number) }),
    ...(models.length > 0 && { models }),
    ...(keys.length > 0 && { keys }),
    ...(notCodes.length > 0 && { excludeErrorCodes: notCodes.map(Number) }),
    ...(notModels.length > 0 && { excludeModels: notModels }),
    ...(notKeys.length > 0 && { excludeKeys: notKeys }),
  };
}

/** The filters of the address that error logs have as well. */
export const errorParams = (params: URLSearchParams): Params =>
  Object.fromEntries(['code', 'model', 'key', '-code', '-model', '-key'].map((name) => [name, params.getAll(name)]));

/** The names of the filters in the address. */
export const CALL_PARAMS = ['status', 'code', 'model', 'key', '-code', '-model', '-key', 'min', 'max'] as const;
