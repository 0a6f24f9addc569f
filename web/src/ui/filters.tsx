// The filter bar below the header of a view. On narrow screens a button opens it.
import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { useI18n } from '../i18n';
import { Icon } from './icon';

export function Filters(props: { active: number; children: ComponentChildren; end: ComponentChildren }): JSX.Element {
  const { text, format } = useI18n();
  const [open, setOpen] = useState(false);
  return (
    <div class="filters" role="search" aria-label={text.calls.filters} data-open={open || undefined}>
      <button type="button" class="button small filters-toggle" aria-expanded={open} onClick={() => setOpen(!open)}>
        <Icon name="search" />
        {text.calls.filters}
        {props.active > 0 && ` (${format.count(props.active)})`}
      </button>
      <div class="filters-body">{props.children}</div>
      <div class="filters-end">{props.end}</div>
    </div>
  );
}
