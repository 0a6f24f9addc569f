// A deletion of error logs in a dialog: confirmation, progress, outcome. Cancel, or leaving the view, stops it.
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { deleteErrors, type DeletionResult, type DeletionTarget } from '../api/deletion';
import { useI18n } from '../i18n';
import { errorText } from '../i18n/error-text';
import { Dialog } from '../ui/dialog';
import { Icon } from '../ui/icon';
import { showToast } from '../ui/toast';

type Phase = 'confirming' | 'deleting' | 'stopping';

export function DeletionDialog(props: {
  title: string;
  /** Undefined while the rows are not known. */
  target: DeletionTarget | undefined;
  /** Called when the dialog closes and when a deletion ends later, with whether rows may be deleted. */
  onClose: (changed: boolean) => void;
  /** Explains what is deleted, with its inputs; a function gets whether the deletion runs. */
  children: ComponentChildren | ((running: boolean) => ComponentChildren);
}): JSX.Element {
  const { text, format } = useI18n();
  const [phase, setPhase] = useState<Phase>('confirming');
  const [problem, setProblem] = useState<string>();
  const running = useRef<AbortController | undefined>(undefined);
  const isOpen = useRef(true);
  /** Whether the list may show deleted rows. */
  const changed = useRef(false);
  const latest = useRef(props);
  latest.current = props;
  useEffect(
    () => () => {
      isOpen.current = false;
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
  const run = async (target: DeletionTarget): Promise<void> => {
    const abort = (running.current = new AbortController());
    setPhase('deleting');
    setProblem(undefined);
    const result = await deleteErrors(target, abort.signal);
    running.current = undefined;
    changed.current ||= result.deleted !== 0;
    if (result.complete) {
      const deleted = result.deleted ?? 0;
      showToast(text.errors.deleted(deleted, format.count(deleted)));
      latest.current.onClose(true);
      return;
    }
    const message = explain(result, abort.signal.aborted);
    if (isOpen.current) {
      setProblem(message);
      setPhase('confirming');
    } else {
      showToast(message);
      latest.current.onClose(changed.current);
    }
  };
  // A deletion that still runs calls `onClose` again at its end.
  const close = (): void => props.onClose(changed.current);
  const { target } = props;
  return (
    <Dialog title={props.title} onClose={close}>
      {typeof props.children === 'function' ? props.children(phase !== 'confirming') : props.children}
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <div class="dialog-actions">
        <button
          type="button"
          class="button"
          disabled={phase === 'stopping'}
          onClick={() => {
            if (phase === 'confirming') {
              close();
            } else {
              setPhase('stopping');
              running.current?.abort();
            }
          }}
        >
          {phase === 'stopping' ? text.errors.stopping : text.errors.cancel}
        </button>
        <button type="button" class="button danger" disabled={phase !== 'confirming' || !target} onClick={() => target && void run(target)}>
          <Icon name="trash" />
          {phase === 'confirming' ? text.errors.delete : text.errors.deleting}
        </button>
      </div>
    </Dialog>
  );
}
