// Deletes error logs by abortable requests: the server stops after the batch in progress. If no answer arrives,
// the page reads the outcome from the audit log.
import { ApiError, send } from './client';
import { DeleteErrorsDocument, DeleteErrorsWhereDocument, DeletionByIdDocument, type ErrorLogFilter } from './gen/graphql';

/** The result of a deletion. */
export interface DeletionResult {
  /** The number of deleted rows; undefined if unknown. */
  deleted: number | undefined;
  /** Whether all rows are deleted. */
  complete: boolean;
  /** The error of the server or the network. */
  error?: ApiError;
}

/** Error logs by id, in requests of `batch` ids, or all that match a filter. */
export type DeletionTarget = { ids: string[]; batch: number } | { filter: ErrorLogFilter };

/** Longer than the server takes to finish the batch of an aborted request. */
const OUTCOME_WAIT_MS = 15_000;
const OUTCOME_EVERY_MS = 250;

type Send = (deletionId: string) => Promise<number>;

export async function deleteErrors(target: DeletionTarget, signal: AbortSignal): Promise<DeletionResult> {
  let deleted = 0;
  for (const request of requests(target, signal)) {
    if (signal.aborted) return { deleted, complete: false };
    const deletionId = newId();
    try {
      deleted += await request(deletionId);
    } catch (cause) {
      const error = cause instanceof ApiError ? cause : undefined;
      // The server answered: a deletion that it has not started by then never starts.
      const hasAnswered = error !== undefined && error.code !== 'OFFLINE';
      const outcome = await readOutcome(deletionId, hasAnswered);
      if (outcome?.complete && outcome.deleted !== undefined) {
        deleted += outcome.deleted;
        continue;
      }
      return {
        deleted: outcome?.deleted === undefined ? undefined : deleted + outcome.deleted,
        complete: false,
        ...(error && { error }),
      };
    }
  }
  return { deleted, complete: true };
}

function* requests(target: DeletionTarget, signal: AbortSignal): Generator<Send> {
  if ('filter' in target) {
    const { filter } = target;
    yield async (deletionId) => (await send(DeleteErrorsWhereDocument, { filter, deletionId }, signal)).deleteErrorLogsWhere.deletedCount;
    return;
  }
  for (let from = 0; from < target.ids.length; from += target.batch) {
    const ids = target.ids.slice(from, from + target.batch);
    yield async (deletionId) => (await send(DeleteErrorsDocument, { ids, deletionId }, signal)).deleteErrorLogs.deletedCount;
  }
}

/** The outcome of a deletion; undefined if it is not known in time. */
async function readOutcome(id: string, hasAnswered: boolean): Promise<Omit<DeletionResult, 'error'> | undefined> {
  const end = Date.now() + OUTCOME_WAIT_MS;
  while (Date.now() < end) {
    try {
      const { deletion } = await send(DeletionByIdDocument, { id });
      if (!deletion && hasAnswered) return { deleted: 0, complete: false };
      if (deletion?.outcome) return { deleted: deletion.deletedErrorLogs ?? undefined, complete: deletion.outcome === 'COMPLETED' };
    } catch (cause) {
      // An unreachable or busy server may answer later.
      if (cause instanceof ApiError && ['UNAUTHENTICATED', 'FORBIDDEN'].includes(cause.code)) return undefined;
    }
    await new Promise((resolve) => setTimeout(resolve, OUTCOME_EVERY_MS));
  }
  return undefined;
}

/** `crypto.randomUUID` is missing in pages over plain HTTP, except on loopback. */
function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
