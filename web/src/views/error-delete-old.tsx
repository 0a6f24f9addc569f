// Deletes the error logs that are older than a number of days, of all keys and kinds. Counts them first.
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { ErrorsDocument } from '../api/gen/graphql';
import { useI18n } from '../i18n';
import { errorText } from '../i18n/error-text';
import { useQuery } from '../state/query';
import { serverNow } from '../state/session';
import { Icon } from '../ui/icon';
import { DeletionDialog } from './deletion';

const DAYS = 3;
const DAY_MS = 86_400_000;

export function DeleteOldErrors({ onDeleted }: { onDeleted: () => void }): JSX.Element {
  const { text } = useI18n();
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" class="button small" onClick={() => setOpen(true)}>
        <Icon name="trash" />
        {text.errors.deleteOld}
      </button>
      {open && (
        <DeleteOldDialog
          onClose={(changed) => {
            setOpen(false);
            if (changed) onDeleted();
          }}
        />
      )}
    </>
  );
}

function DeleteOldDialog({ onClose }: { onClose: (changed: boolean) => void }): JSX.Element {
  const { text, format } = useI18n();
  const [typed, setTyped] = useState(String(DAYS));
  // Fixed: the rows that were counted are the rows that are deleted.
  const [openedAt] = useState(serverNow);
  const days = /^\d{1,4}$/.test(typed.trim()) ? Number(typed) : undefined;
  const until = days === undefined ? undefined : new Date(openedAt - days * DAY_MS).toISOString();
  const answer = useQuery(ErrorsDocument, {
    key: until,
    variables: () => ({ filter: until === undefined ? {} : { until }, orderBy: 'OLDEST_FIRST' as const, first: 1, after: null, count: true }),
  });
  const found = until === undefined || answer.stale ? undefined : answer.data?.errorLogs;
  const count = found?.totalCount;
  const oldest = found?.nodes[0]?.timestamp;
  return (
    <DeletionDialog title={text.errors.deleteOldTitle} target={until !== undefined && count ? { filter: { until } } : undefined} onClose={onClose}>
      {(running) => (
        <>
          <label class="inline">
            {text.errors.olderThan}
            <input
              class="input days"
              inputMode="numeric"
              disabled={running}
              aria-invalid={days === undefined}
              value={typed}
              onInput={(event) => setTyped(event.currentTarget.value)}
            />
            {text.errors.days}
          </label>
          <p role="status">
            {days === undefined || until === undefined
              ? text.errors.badDays
              : answer.error
                ? errorText(text, answer.error)
                : count === undefined
                  ? text.state.loading
                  : text.errors.oldOnes(count, format.count(count), format.time(until))}
            {oldest && ` ${text.errors.oldest(format.time(oldest))}`}
          </p>
          <p>{text.errors.confirmHint}</p>
        </>
      )}
    </DeletionDialog>
  );
}
