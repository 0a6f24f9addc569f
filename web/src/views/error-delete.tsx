// What is selected of the error logs, and deleting it: by ids in batches that the server takes, or all
// that match the filter by one mutation. Never without a question.
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { ApiError, send } from '../api/client';
import { DeleteErrorsDocument, DeleteErrorsWhereDocument, type ErrorLogFilter } from '../api/gen/graphql';
import { useSpeech } from '../i18n';
import { pageLimit, serverNow } from '../state/session';
import { Dialog } from '../ui/dialog';
import { Icon } from '../ui/icon';
import { tell } from '../ui/toast';

export interface Selection {
  /** All that match, also those that are not loaded. */
  all: boolean;
  ids: ReadonlySet<string>;
}

export const NOTHING: Selection = { all: false, ids: new Set() };

const BATCH = 1000;

async function remove(selection: Selection, filter: ErrorLogFilter): Promise<number> {
  if (selection.all) {
    const { deleteErrorLogsWhere } = await send(DeleteErrorsWhereDocument, { filter });
    return deleteErrorLogsWhere.deletedCount;
  }
  const ids = [...selection.ids];
  let deleted = 0;
  for (let from = 0; from < ids.length; from += pageLimit(BATCH)) {
    const { deleteErrorLogs } = await send(DeleteErrorsDocument, { ids: ids.slice(from, from + pageLimit(BATCH)) });
    deleted += deleteErrorLogs.deletedCount;
  }
  return deleted;
}

export function DeleteErrors(props: {
  selection: Selection;
  filter: ErrorLogFilter;
  total: number | undefined;
  onChange: (selection: Selection) => void;
  onDeleted: () => void;
}): JSX.Element {
  const { text, format } = useSpeech();
  const { selection, total } = props;
  // The filter with an end: what comes after the question was not meant by its answer.
  const [asking, setAsking] = useState<ErrorLogFilter>();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();
  const count = selection.all ? (total ?? 0) : selection.ids.size;
  const run = async (filter: ErrorLogFilter): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      const deleted = await remove(selection, filter);
      setAsking(undefined);
      tell(text.errors.deleted(deleted, format.count(deleted)));
      props.onDeleted();
    } catch (cause) {
      setProblem(cause instanceof ApiError ? (text.state.codes[cause.code] ?? cause.message) : String(cause));
    }
    setBusy(false);
  };
  return (
    <div class="bulk" role="group" aria-label={text.errors.select}>
      <strong aria-live="polite">{text.errors.selected(format.count(count))}</strong>
      {!selection.all && total !== undefined && total > selection.ids.size && (
        <button type="button" class="button small" onClick={() => props.onChange({ all: true, ids: selection.ids })}>
          {text.errors.selectMatching(format.count(total))}
        </button>
      )}
      <button type="button" class="button small" onClick={() => props.onChange(NOTHING)}>
        {text.errors.unselect}
      </button>
      <button
        type="button"
        class="button small danger"
        onClick={() => setAsking({ ...props.filter, until: props.filter.until ?? new Date(serverNow()).toISOString() })}
      >
        <Icon name="trash" />
        {text.errors.delete}
      </button>
      {asking && (
        <Dialog title={text.errors.confirm(count, format.count(count))} onClose={() => setAsking(undefined)}>
          <p>{text.errors.confirmHint}</p>
          {problem && (
            <p class="problem" role="alert">
              {problem}
            </p>
          )}
          <div class="dialog-actions">
            <button type="button" class="button" onClick={() => setAsking(undefined)}>
              {text.errors.cancel}
            </button>
            <button type="button" class="button danger" disabled={busy} onClick={() => void run(asking)}>
              <Icon name="trash" />
              {busy ? text.errors.deleting : text.errors.delete}
            </button>
          </div>
        </Dialog>
      )}
    </div>
  );
}
