// A value in a list, with buttons that appear on hover and focus: only rows with this value, without it, and copy it.
import type { ComponentChildren, JSX } from 'preact';
import { useI18n } from '../i18n';
import { setParams, useRoute, type Params } from '../state/router';
import { excludeParams, onlyParams } from '../state/value-filter';
import { copyText } from './copy';
import { Icon, type IconName } from './icon';
import { showToast } from './toast';

export interface CellProps {
  /** The filter of the value, if the API has one. */
  filter?: { name: string; value: string } | undefined;
  /** Changes that select other rows than those with or without the value, where no filter selects exactly these. */
  only?: Params;
  onlyLabel?: string;
  exclude?: Params;
  excludeLabel?: string;
  copy?: string | null | undefined;
  /** Where the filter applies; by default in this list. */
  to?: ((change: Params) => void) | undefined;
}

export function Cell({ children, ...props }: CellProps & { children: ComponentChildren }): JSX.Element {
  return (
    <span class="cell">
      <bdi class="cell-value">{children}</bdi>
      <CellActions {...props} />
    </span>
  );
}

export function CellActions({ filter, only, onlyLabel, exclude, excludeLabel, copy, to }: CellProps): JSX.Element {
  const { text } = useI18n();
  const { params } = useRoute();
  const apply = to ?? setParams;
  // The filters of this view do not apply in another one.
  const present = to ? new URLSearchParams() : params;
  const selected = only ?? (filter && onlyParams(filter.name, filter.value));
  const others = exclude ?? (filter && excludeParams(present, filter.name, filter.value));
  return (
    <span class="cell-actions">
      {selected && <Action icon="search" label={onlyLabel ?? text.calls.only} run={() => apply(selected)} />}
      {others && <Action icon="exclude" label={excludeLabel ?? text.calls.exclude} run={() => apply(others)} />}
      {copy != null && (
        <Action
          icon="copy"
          label={text.detail.copy}
          run={() => {
            copyText(copy).then(
              () => showToast(text.detail.copied),
              () => showToast(text.detail.copyFailed),
            );
          }}
        />
      )}
    </span>
  );
}

function Action({ icon, label, run }: { icon: IconName; label: string; run: () => void }): JSX.Element {
  return (
    <button type="button" class="cell-action" title={label} aria-label={label} onClick={run}>
      <Icon name={icon} />
    </button>
  );
}
