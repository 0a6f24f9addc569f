// The list of keyboard shortcuts.
import type { JSX } from 'preact';
import { useI18n } from '../i18n';
import { Dialog } from './dialog';

export function Help({ onClose }: { onClose: () => void }): JSX.Element {
  const { text } = useI18n();
  const rows: [string[], string][] = [
    [['g o', 'g c', 'g k', 'g e'], text.help.goTo],
    [['/'], text.help.search],
    [['1', '…', '6'], text.help.range],
    [['j', 'k'], text.help.rows],
    [['Enter'], text.help.open],
    [['Esc'], text.help.close],
    [['p'], text.help.pause],
    [['?'], text.help.this],
  ];
  return (
    <Dialog title={text.help.title} onClose={onClose}>
      <dl class="keys-help">
        {rows.map(([keys, what]) => (
          <div key={what}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
