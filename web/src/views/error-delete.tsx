// What is selected of the error logs, and deleting it: by ids in batches that the server takes, or all
// that match the filter by one mutation. Never without a question. Cancel and leaving the view stop a deletion.
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { deleteErrors, type Removed } from '../api/deletion';
import type { ErrorLogFilter } from '../api/gen/graphql';
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

type Phase = 'asking' | 'deleting' | 'stopping';

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
  const [phase, setPhase] = useState<Phase>('asking');
  const [problem, setProblem] = useState<string>();
  const running = useRef<AbortController | undefined>(undefined);
  const isOpen = useRef(false);
  const isMounted = useRef(true);
  /** Whether the list shows rows that may be deleted. */
  const isStale = useRef(false);
  const count = selection.all ? (total ?? 0) : selection.ids.size;
  const open = (): void => {
    isOpen.current = true;
    setProblem(undefined);
    setAsking({ ...props.filter, until: props.filter.until ?? new Date(serverNow()).toISOString() });
  };
  const stop = (): void => {
    setPhase('stopping');
    running.current?.abort();
  };
  const close = (): void => {
    isOpen.current = false;
    running.current?.abort();
    setAsking(undefined);
    if (isStale.current && !running.current) props.onDeleted();
  };
  useEffect(
    () => () => {
      isMounted.current = isOpen.current = false;
      running.current?.abort();
    },
    [],
  );
  const explain = ({ deleted, error }: Removed, stopped: boolean): string => {
    if (deleted === undefined) return text.errors.deletedUnknown;
    const done = format.count(deleted);
    if (stopped) return text.errors.stopped(deleted, done);
    const reason = error ? (text.state.codes[error.code] ?? error.message) : '';
    return deleted > 0 ? `${text.errors.deletedBefore(deleted, done)} ${reason}` : reason;
  };
  const run = async (filter: ErrorLogFilter): Promise<void> => {
    const abort = (running.current = new AbortController());
    setPhase('deleting');
    setProblem(undefined);
    const doomed = selection.all ? { filter } : { ids: [...selection.ids], batch: pageLimit(BATCH) };
    const removed = await deleteErrors(doomed, abort.signal);
    running.current = undefined;
    isStale.current ||= removed.deleted !== 0;
    if (removed.complete) {
      const deleted = removed.deleted ?? 0;
      tell(text.errors.deleted(deleted, format.count(deleted)));
      isOpen.current = false;
      if (isMounted.current) props.onDeleted();
    } else {
      const message = explain(removed, abort.signal.aborted);
      if (isOpen.current) setProblem(message);
      else tell(message);
      if (isMounted.current && !isOpen.current && isStale.current) props.onDeleted();
    }
    setPhase('asking');
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
      <button type="button" class="button small danger" disabled={phase !== 'asking'} onClick={open}>
        <Icon name="trash" />
        {text.errors.delete}
      </button>
      {asking && (
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
            <button type="button" class="button danger" disabled={phase !== 'asking'} onClick={() => void run(asking)}>
              <Icon name="trash" />
              {phase === 'asking' ? text.errors.delete : text.errors.deleting}
            </button>
          </div>
        </Dialog>
      )}
    </div>
  );
}
