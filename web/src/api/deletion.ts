// Deletes error logs by requests that can be aborted: the server stops after the batch in progress. The audit
// log has what was deleted, and is read where the answer did not arrive.
import { ApiError, send } from './client';
import { DeleteErrorsDocument, DeleteErrorsWhereDocument, DeletionByIdDocument, type ErrorLogFilter } from './gen/graphql';

/** The result of a deletion. */
export interface Removed {
  /** Rows that are deleted; undefined where it is not known. */
  deleted: number | undefined;
  /** Whether all rows are deleted. */
  complete: boolean;
  /** What the server or the network failed with. */
  error?: ApiError;
}

/** The error logs with these ids, in requests of `batch` ids, or all that match a filter. */
export type Doomed = { ids: string[]; batch: number } | { filter: ErrorLogFilter };

/** A server that was left has ended its batch long before. */
const OUTCOME_WAIT_MS = 15_000;
const OUTCOME_EVERY_MS = 250;

type Send = (deletionId: string) => Promise<number>;

export async function deleteErrors(doomed: Doomed, signal: AbortSignal): Promise<Removed> {
  let deleted = 0;
  for (const request of requests(doomed, signal)) {
    if (signal.aborted) return { deleted, complete: false };
    const deletionId = newId();
    try {
      deleted += await request(deletionId);
    } catch (cause) {
      const error = cause instanceof ApiError ? cause : undefined;
      // An answer of the server: what it did not start by then it does not start any more.
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

function* requests(doomed: Doomed, signal: AbortSignal): Generator<Send> {
  if ('filter' in doomed) {
    const { filter } = doomed;
    yield async (deletionId) => (await send(DeleteErrorsWhereDocument, { filter, deletionId }, signal)).deleteErrorLogsWhere.deletedCount;
    return;
  }
  for (let from = 0; from < doomed.ids.length; from += doomed.batch) {
    const ids = doomed.ids.slice(from, from + doomed.batch);
    yield async (deletionId) => (await send(DeleteErrorsDocument, { ids, deletionId }, signal)).deleteErrorLogs.deletedCount;
  }
}

/** The outcome of a deletion once it has one; undefined where it is not known in time. */
async function readOutcome(id: string, hasAnswered: boolean): Promise<Omit<Removed, 'error'> | undefined> {
  const end = Date.now() + OUTCOME_WAIT_MS;
  while (Date.now() < end) {
    try {
      const { deletion } = await send(DeletionByIdDocument, { id });
      if (!deletion && hasAnswered) return { deleted: 0, complete: false };
      if (deletion?.outcome) return { deleted: deletion.deletedErrorLogs ?? undefined, complete: deletion.outcome === 'COMPLETED' };
    } catch (cause) {
      // A server out of reach or too busy may answer later.
      if (cause instanceof ApiError && ['UNAUTHENTICATED', 'FORBIDDEN'].includes(cause.code)) return undefined;
    }
    await new Promise((resolve) => setTimeout(resolve, OUTCOME_EVERY_MS));
  }
  return undefined;
}

/** Not `crypto.randomUUID`, which browsers have only over HTTPS and on loopback. */
function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
