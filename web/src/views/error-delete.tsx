// The selected error logs and their deletion: by ids, in batches of the size that the server accepts, or all that
// match the filter, by one mutation. It asks for confirmation. Cancel, or leaving the view, stops the deletion.
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { deleteErrors, type DeletionResult } from '../api/deletion';
import type { ErrorLogFilter } from '../api/gen/graphql';
import { useI18n } from '../i18n';
import { errorText } from '../i18n/error-text';
import { pageLimit, serverNow } from '../state/session';
import { Dialog } from '../ui/dialog';
import { Icon } from '../ui/icon';
import { showToast } from '../ui/toast';

export interface Selection {
  /** All matching rows, including those not loaded. */
  all: boolean;
  ids: ReadonlySet<string>;
}

export const NOTHING: Selection = { all: false, ids: new Set() };

const BATCH = 1000;

type Phase = 'confirming' | 'deleting' | 'stopping';

export function DeleteErrors(props: {
  selection: Selection;
  filter: ErrorLogFilter;
  total: number | undefined;
  onChange: (selection: Selection) => void;
  onDeleted: () => void;
}): JSX.Element {
  const { text, format } = useI18n();
  const { selection, total } = props;
  // Has an end: rows that arrive after the confirmation dialog opened are not deleted.
  const [filterToDelete, setFilterToDelete] = useState<ErrorLogFilter>();
  const [phase, setPhase] = useState<Phase>('confirming');
  const [problem, setProblem] = useState<string>();
  const running = useRef<AbortController | undefined>(undefined);
  const isOpen = useRef(false);
  const isMounted = useRef(true);
  /** Whether the list may show deleted rows. */
  const isStale = useRef(false);
  const count = selection.all ? (total ?? 0) : selection.ids.size;
  const open = (): void => {
    isOpen.current = true;
    setProblem(undefined);
    setFilterToDelete({ ...props.filter, until: props.filter.until ?? new Date(serverNow()).toISOString() });
  };
  const stop = (): void => {
    setPhase('stopping');
    running.current?.abort();
  };
  const close = (): void => {
    isOpen.current = false;
    running.current?.abort();
    setFilterToDelete(undefined);
    if (isStale.current && !running.current) props.onDeleted();
  };
  useEffect(
    () => () => {
      isMounted.current = isOpen.current = false;
      running.current?.abort();
    },
    [],
  );
  const explain = ({ deleted, error }: DeletionResult, stopped: boolean): string => {
    if (deleted === undefined) return text.errors.deletedUnknown;
    const done = format.count(deleted);
    if (stopped) return text.errors.stopped(deleted, done);
    const reason = error ? errorText(text, error) : '';
    return deleted > 0 ? `${text.errors.deletedBefore(deleted, done)} ${reason}` : reason;
  };
  const run = async (filter: ErrorLogFilter): Promise<void> => {
    const abort = (running.current = new AbortController());
    setPhase('deleting');
    setProblem(undefined);
    const target = selection.all ? { filter } : { ids: [...selection.ids], batch: pageLimit(BATCH) };
    const result = await deleteErrors(target, abort.signal);
    running.current = undefined;
    isStale.current ||= result.deleted !== 0;
    if (result.complete) {
      const deleted = result.deleted ?? 0;
      showToast(text.errors.deleted(deleted, format.count(deleted)));
      isOpen.current = false;
      if (isMounted.current) props.onDeleted();
    } else {
      const message = explain(result, abort.signal.aborted);
      if (isOpen.current) setProblem(message);
      else showToast(message);
      if (isMounted.current && !isOpen.current && isStale.current) props.onDeleted();
    }
    setPhase('confirming');
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
      <button type="button" class="button small danger" disabled={phase !== 'confirming'} onClick={open}>
        <Icon name="trash" />
        {text.errors.delete}
      </button>
      {filterToDelete && (
        <Dialog title={text.errors.confirm(count, format.count(count))} onClose={close}>
          <p>{text.errors.confirmHint}</p>
          {problem && (
            <p class="problem" role="alert">
              {problem}
            </p>
          )}
          <div class="dialog-actions">
            <button type="button" class="button" disabled={phase === 'stopping'} onClick={phase === 'deleting' ? stop : close}>
              {phase === 'stopping' ? text.errors.stopping : text.errors.cancel}
            </button>
            <button type="button" class="button danger" disabled={phase !== 'confirming'} onClick={() => void run(filterToDelete)}>
              <Icon name="trash" />
              {phase === 'confirming' ? text.errors.delete : text.errors.deleting}
            </button>
          </div>
        </Dialog>
      )}
    </div>
  );
}
