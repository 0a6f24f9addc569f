// A value in a table, with buttons that appear on hover and focus: only rows with this value, and copy it.
import type { ComponentChildren, JSX } from 'preact';
import { useI18n } from '../i18n';
import { setParams, type Params } from '../state/router';
import { copyText } from './copy';
import { Icon } from './icon';
import { showToast } from './toast';

export function Cell(props: { only: Params; copy: string | undefined; children: ComponentChildren }): JSX.Element {
  const { text } = useI18n();
  const { only, copy, children } = props;
  return (
    <span class="cell">
      <bdi class="cell-value">{children}</bdi>
      <span class="cell-actions">
        <button type="button" class="cell-action" title={text.calls.only} aria-label={text.calls.only} onClick={() => setParams(only)}>
          <Icon name="search" />
        </button>
        {copy !== undefined && (
          <button
            type="button"
            class="cell-action"
            title={text.detail.copy}
            aria-label={text.detail.copy}
            onClick={() => {
              copyText(copy).then(
                () => showToast(text.detail.copied),
                () => showToast(text.detail.copyFailed),
              );
            }}
          >
            <Icon name="copy" />
          </button>
        )}
      </span>
    </span>
  );
}
