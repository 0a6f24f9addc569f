// Multi-select: a button that opens a list of checkboxes, with a search field for long lists.
import type { JSX } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { mayName } from '../domain/secret';
import { useI18n } from '../i18n';
import { Icon } from './icon';

export interface Option {
  value: string;
  label: string;
  count?: number;
}

const MANY = 10;

export function MultiSelect(props: {
  label: string;
  any: string;
  options: Option[];
  chosen: string[];
  onChange: (chosen: string[]) => void;
}): JSX.Element {
  const { text, format } = useI18n();
  const [open, setOpen] = useState(false);
  const [search, setSearch] = useState('');
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const id = useId();
  useEffect(() => {
    if (!open) return undefined;
    const leave = (event: Event): void => {
      if (event.target instanceof Node && !root.current?.contains(event.target)) setOpen(false);
    };
    const escape = (event: KeyboardEvent): void => {
      if (event.key !== 'Escape') return;
      event.preventDefault();
      event.stopPropagation();
      setOpen(false);
      button.current?.focus();
    };
    root.current?.querySelector('input')?.focus();
    addEventListener('pointerdown', leave);
    addEventListener('focusin', leave);
    addEventListener('keydown', escape, true);
    return () => {
      removeEventListener('pointerdown', leave);
      removeEventListener('focusin', leave);
      removeEventListener('keydown', escape, true);
    };
  }, [open]);

  const known = new Set(props.options.map((option) => option.value));
  // Selected values are listed even if no row in the range has them.
  const options: Option[] = [...props.options, ...props.chosen.filter((value) => !known.has(value)).map((value) => ({ value, label: value }))];
  const found = options.filter((option) => mayName(search, option.label));
  const toggle = (value: string): void =>
    props.onChange(props.chosen.includes(value) ? props.chosen.filter((one) => one !== value) : [...props.chosen, value]);
  const names = options.filter((option) => props.chosen.includes(option.value)).map((option) => option.label);

  return (
    <div class="choose" ref={root}>
      <button
        ref={button}
        type="button"
        class="button field"
        data-chosen={props.chosen.length > 0 || undefined}
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        onClick={() => setOpen(!open)}
      >
        <span class="field-label">{props.label}</span>
        <span class="field-value">{names.length === 0 ? props.any : names.length === 1 ? names[0] : format.count(names.length)}</span>
        <Icon name="chevron" />
      </button>
      {open && (
        <div class="popover" id={id} role="group" aria-label={props.label}>
          {options.length > MANY && (
            <input
              type="search"
              class="input"
              placeholder={text.help.search}
              aria-label={text.help.search}
              value={search}
              onInput={(event) => setSearch(event.currentTarget.value)}
            />
          )}
          <ul class="choices">
            {found.slice(0, 200).map((option) => (
              <li key={option.value}>
                <label>
                  <input type="checkbox" checked={props.chosen.includes(option.value)} onChange={() => toggle(option.value)} />
                  <span class="choice-label">{option.label}</span>
                  {option.count !== undefined && <span class="quiet num">{format.compact(option.count)}</span>}
                </label>
              </li>
            ))}
          </ul>
          {props.chosen.length > 0 && (
            <button type="button" class="button small" onClick={() => props.onChange([])}>
              {text.calls.clear}
            </button>
          )}
        </div>
      )}
    </div>
  );
}
