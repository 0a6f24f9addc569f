// The selected error logs and their deletion: by ids, in batches of the size that the server accepts, or all that
// match the filter, by one mutation.
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { DeletionTarget } from '../api/deletion';
import type { ErrorLogFilter } from '../api/gen/graphql';
import { useI18n } from '../i18n';
import { pageLimit, serverNow } from '../state/session';
import { Icon } from '../ui/icon';
import { DeletionDialog } from './deletion';

export interface Selection {
  /** All matching rows, including those not loaded. */
  all: boolean;
  ids: ReadonlySet<string>;
}

export const NOTHING: Selection = { all: false, ids: new Set() };

const BATCH = 1000;

export function DeleteErrors(props: {
  selection: Selection;
  filter: ErrorLogFilter;
  total: number | undefined;
  onChange: (selection: Selection) => void;
  onDeleted: () => void;
}): JSX.Element {
  const { text, format } = useI18n();
  const { selection, total } = props;
  const [target, setTarget] = useState<DeletionTarget>();
  const count = selection.all ? (total ?? 0) : selection.ids.size;
  const open = (): void => {
    // Has an end: rows that arrive after the confirmation dialog opened are not deleted.
    const filter = { ...props.filter, until: props.filter.until ?? new Date(serverNow()).toISOString() };
    setTarget(selection.all ? { filter } : { ids: [...selection.ids], batch: pageLimit(BATCH) });
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
      <button type="button" class="button small danger" onClick={open}>
        <Icon name="trash" />
        {text.errors.delete}
      </button>
      {target && (
        <DeletionDialog
          title={text.errors.confirm(count, format.count(count))}
          target={target}
          onClose={(changed) => {
            setTarget(undefined);
            if (changed) props.onDeleted();
          }}
        >
          <p>{text.errors.confirmHint}</p>
        </DeletionDialog>
      )}
    </div>
  );
}
