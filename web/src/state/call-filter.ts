// Which calls are listed: as the address tells it, and as the API takes it.
import type { CallFilter, CallOrder } from '../api/gen/graphql';

export const SORTS = ['newest', 'oldest', 'slowest'] as const;
export type Sort = (typeof SORTS)[number];

const ORDERS: Record<Sort, CallOrder> = {
  newest: 'NEWEST_FIRST',
  oldest: 'OLDEST_FIRST',
  slowest: 'SLOWEST_FIRST',
};

export interface CallsAsked {
  status: 'success' | 'failure' | undefined;
  codes: string[];
  models: string[];
  keys: string[];
  min: number | undefined;
  max: number | undefined;
  sort: Sort;
}

/** A whole number of at least zero, or nothing. */
function whole(text: string | null): number | undefined {
  return text !== null && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

export const codesOf = (params: URLSearchParams): string[] =>
  params.getAll('code').filter((code) => /^\d{1,5}$/.test(code));

export function callsAsked(params: URLSearchParams): CallsAsked {
  const status = params.get('status');
  const sort = params.get('sort');
  return {
    status: status === 'success' || status === 'failure' ? status : undefined,
    codes: codesOf(params),
    models: params.getAll('model'),
    keys: params.getAll('key'),
    min: whole(params.get('min')),
    max: whole(params.get('max')),
    sort: SORTS.find((one) => one === sort) ?? 'newest',
  };
}

export const orderOf = (asked: CallsAsked): CallOrder => ORDERS[asked.sort];

export function callFilter(asked: CallsAsked): CallFilter {
  return {
    ...(asked.status && { status: asked.status === 'success' ? 'SUCCESS' : 'FAILURE' }),
    ...(asked.codes.length > 0 && { statusCodes: asked.codes.map(Number) }),
    ...(asked.models.length > 0 && { models: asked.models }),
    ...(asked.keys.length > 0 && { keys: asked.keys }),
    ...(asked.min !== undefined && { minLatencyMs: asked.min }),
    ...(asked.max !== undefined && { maxLatencyMs: asked.max }),
  };
}

/** The filters' names in the address. */
export const CALL_PARAMS = ['status', 'code', 'model', 'key', 'min', 'max'] as const;
