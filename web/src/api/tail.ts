// Rows as they are stored. The documents are written by hand and not generated, so that the page can be built
// from a schema that does not have these subscriptions.
import { CallRowFragmentDoc, ErrorRowFragmentDoc, TypedDocumentString } from './gen/graphql';
import type { CallFilter, CallRowFragment, ErrorLogFilter, ErrorRowFragment } from './gen/graphql';

interface CallRecorded {
  callRecorded: CallRowFragment;
}

interface ErrorRecorded {
  errorRecorded: ErrorRowFragment;
}

export const CALL_RECORDED = new TypedDocumentString<CallRecorded, { filter: CallFilter }>(`subscription CallRecorded($filter: CallFilter) {
  callRecorded(filter: $filter) { ...CallRow }
}
${CallRowFragmentDoc.toString()}`);

export const ERROR_RECORDED = new TypedDocumentString<ErrorRecorded, { filter: ErrorLogFilter }>(`subscription ErrorRecorded($filter: ErrorLogFilter) {
  errorRecorded(filter: $filter) { ...ErrorRow }
}
${ErrorRowFragmentDoc.toString()}`);
