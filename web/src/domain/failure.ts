// The classes of failures.
import type { FailureClass } from '../api/gen/graphql';

/** All classes: those of a key first, then quotas, the provider, the request and the network. */
export const FAILURE_CLASSES: readonly FailureClass[] = [
  'KEY_INVALID',
  'KEY_SUSPENDED',
  'KEY_PERMISSION',
  'BILLING',
  'QUOTA_DAY',
  'QUOTA_TOKENS',
  'QUOTA_MINUTE',
  'QUOTA_OTHER',
  'PROVIDER_OVERLOADED',
  'PROVIDER_ERROR',
  'MODEL_NOT_FOUND',
  'BAD_REQUEST',
  'CONTENT_FILTER',
  'CONTEXT_TOO_LONG',
  'REGION_BLOCKED',
  'IP_BLOCKED',
  'TIMEOUT',
  'NETWORK',
  'GATEWAY_OTHER',
  'UNKNOWN',
];

export const isFailureClass = (name: string): name is FailureClass => FAILURE_CLASSES.some((one) => one === name);
