// The filter and order of the list of error logs: parsed from the address and converted for the API.
import type { ErrorLogFilter, FailureClass } from '../api/gen/graphql';
import { isFailureClass } from '../domain/failure';
import { between, isLive, type Range } from './range';
import type { Route } from './router';
import { codesOf } from './call-filter';
import { excluded } from './value-filter';

export interface ErrorCriteria {
  causes: FailureClass[];
  /** Ids of message templates. */
  forms: string[];
  types: string[];
  codes: string[];
  models: string[];
  keys: string[];
  /** Values that are left out. */
  notCauses: FailureClass[];
  notForms: string[];
  notTypes: string[];
  notCodes: string[];
  notModels: string[];
  notKeys: string[];
  keyContains: string;
  contains: string;
  oldestFirst: boolean;
}

export const ERROR_PARAMS = ['cause', 'form', 'type', 'code', 'model', 'key', '-cause', '-form', '-type', '-code', '-model', '-key', 'keytext', 'q'] as const;

const classesOf = (params: URLSearchParams, name: string): FailureClass[] => params.getAll(name).filter(isFailureClass);

export function parseErrorCriteria({ params, hidden }: Pick<Route, 'params' | 'hidden'>): ErrorCriteria {
  return {
    causes: classesOf(params, 'cause'),
    forms: params.getAll('form'),
    types: params.getAll('type'),
    codes: codesOf(params),
    models: params.getAll('model'),
    keys: params.getAll('key'),
    notCauses: classesOf(params, excluded('cause')),
    notForms: params.getAll(excluded('form')),
    notTypes: params.getAll(excluded('type')),
    notCodes: codesOf(params, excluded('code')),
    notModels: params.getAll(excluded('model')),
    notKeys: params.getAll(excluded('key')),
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
    ...(criteria.causes.length > 0 && { failureClasses: criteria.causes }),
    ...(criteria.forms.length > 0 && { messageTemplates: criteria.forms }),
    ...(criteria.types.length > 0 && { errorTypes: criteria.types }),
    ...(criteria.codes.length > 0 && { errorCodes: criteria.codes.map(Number) }),
    ...(criteria.models.length > 0 && { models: criteria.models }),
    ...(criteria.keys.length > 0 && { keys: criteria.keys }),
    ...(criteria.notCauses.length > 0 && { excludeFailureClasses: criteria.notCauses }),
    ...(criteria.notForms.length > 0 && { excludeMessageTemplates: criteria.notForms }),
    ...(criteria.notTypes.length > 0 && { excludeErrorTypes: criteria.notTypes }),
    ...(criteria.notCodes.length > 0 && { excludeErrorCodes: criteria.notCodes.map(Number) }),
    ...(criteria.notModels.length > 0 && { excludeModels: criteria.notModels }),
    ...(criteria.notKeys.length > 0 && { excludeKeys: criteria.notKeys }),
    ...(criteria.keyContains && { keyContains: criteria.keyContains }),
    ...(criteria.contains && { contains: criteria.contains }),
  };
}
