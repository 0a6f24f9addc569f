// The views that the user has named, and a field to name this one.
import type { JSX } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { LONGEST_NAME } from '../domain/saved-views';
import { useI18n } from '../i18n';
import { deleteView, savedViews, saveView } from '../state/local';
import { urlOf, useRoute } from '../state/router';
import { useShortcuts } from '../state/shortcuts';
import { useStore } from '../state/store';
import { Icon } from './icon';
import { useOutside } from './outside';

export function SavedViews(): JSX.Element {
  const { text } = useI18n();
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  useOutside(root, open, () => setOpen(false));
  return (
    <div class="choose" ref={root}>
      <button type="button" class="button bare" aria-label={text.views.title} title={text.views.title} aria-expanded={open} onClick={() => setOpen(!open)}>
        <Icon name="saved" />
      </button>
      {open && <List onDone={() => setOpen(false)} />}
    </div>
  );
}

function List({ onDone }: { onDone: () => void }): JSX.Element {
  const { text } = useI18n();
  const views = useStore(savedViews);
  const { path, params } = useRoute();
  const address = urlOf(path, params);
  const [name, setName] = useState('');
  useShortcuts({ Escape: onDone });
  return (
    <div class="popover right" role="group" aria-label={text.views.title}>
      {views.length === 0 ? (
        <p class="quiet">{text.views.none}</p>
      ) : (
        <ul class="choices">
          {views.map((view) => (
            <li key={view.name} class="saved-view">
              <a data-inner class="clip" href={view.address} aria-current={view.address === address || undefined} onClick={onDone}>
                <bdi>{view.name}</bdi>
              </a>
              <button type="button" class="button small bare" aria-label={text.views.delete(view.name)} title={text.views.delete(view.name)} onClick={() => deleteView(view.name)}>
                <Icon name="trash" />
              </button>
            </li>
          ))}
        </ul>
      )}
      <form
        class="inline"
        onSubmit={(event) => {
          event.preventDefault();
          if (!name.trim()) return;
          saveView({ name: name.trim(), address });
          setName('');
        }}
      >
        <input
          class="input"
          maxLength={LONGEST_NAME}
          autocomplete="off"
          placeholder={text.views.name}
          aria-label={text.views.name}
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <button type="submit" class="button primary" disabled={!name.trim()}>
          {text.views.save}
        </button>
      </form>
    </div>
  );
}
