// The values that a list leaves out, each as a button that takes it back.
import type { JSX } from 'preact';
import { useI18n } from '../i18n';
import { setParams, useRoute } from '../state/router';
import { excluded, includeParams } from '../state/value-filter';
import { Icon } from './icon';

export interface ExcludedField {
  /** The parameter of the filter. */
  name: string;
  label: string;
  /** The text of a value, if it differs. */
  of?: (value: string) => string | undefined;
}

export function Exclusions({ fields }: { fields: readonly ExcludedField[] }): JSX.Element | null {
  const { text } = useI18n();
  const { params } = useRoute();
  const all = fields.flatMap(({ name, label, of }) => [...new Set(params.getAll(excluded(name)))].map((value) => ({ name, label, value, shown: of?.(value) ?? value })));
  if (all.length === 0) return null;
  return (
    <div class="chips" role="group" aria-label={text.calls.excluded}>
      <span class="quiet">{text.calls.excluded}</span>
      {all.map(({ name, label, value, shown }) => (
        <button key={`${name} ${value}`} type="button" class="chip" title={text.calls.include} onClick={() => setParams(includeParams(params, name, value))}>
          <span class="visually-hidden">{text.calls.include}: </span>
          <span class="field-label">{label}</span>
          <bdi class="chip-value">{shown}</bdi>
          <Icon name="close" />
        </button>
      ))}
    </div>
  );
}
