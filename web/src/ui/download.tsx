// Downloads all rows of a list, page by page. The user can cancel it.
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { headOf, lineOf, MEDIA_TYPES, type FileKind, type Row } from '../domain/export';
import { useI18n } from '../i18n';
import type { Page } from '../state/pages';
import { Icon } from './icon';
import { useOutside } from './outside';

export interface DownloadProps {
  /** Without the extension. */
  name: () => string;
  columns: readonly string[];
  total: number | undefined;
  load: (after: string | undefined, signal: AbortSignal) => Promise<Page<Row>>;
}

export function Download(props: DownloadProps): JSX.Element {
  const { text, format } = useI18n();
  const [open, setOpen] = useState(false);
  const [done, setDone] = useState<number>();
  const [failed, setFailed] = useState(false);
  const abort = useRef<AbortController | undefined>(undefined);
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => () => abort.current?.abort(), []);
  useOutside(root, open, () => setOpen(false));

  const run = async (kind: FileKind): Promise<void> => {
    setOpen(false);
    setFailed(false);
    setDone(0);
    const { signal } = (abort.current = new AbortController());
    try {
      save(`${props.name()}.${kind}`, await collect(props, kind, signal, setDone), kind);
    } catch {
      setFailed(!signal.aborted);
    }
    setDone(undefined);
  };

  if (done !== undefined) {
    return (
      <span class="inline" role="status">
        {text.download.running(format.count(done), props.total === undefined ? '?' : format.count(props.total))}
        <button type="button" class="button small" onClick={() => abort.current?.abort()}>
          {text.download.cancel}
        </button>
      </span>
    );
  }
  return (
    <div class="choose" ref={root}>
      {failed && (
        <span class="bad" role="alert">
          {text.download.failed}
        </span>
      )}
      <button type="button" class="button small" aria-expanded={open} onClick={() => setOpen(!open)}>
        <Icon name="download" />
        {text.download.label}
      </button>
      {open && (
        <div class="popover right narrow" role="group" aria-label={text.download.label}>
          <p class="quiet">{text.download.hint}</p>
          {(['csv', 'ndjson'] as const).map((kind) => (
            <button key={kind} type="button" class="button small" onClick={() => void run(kind)}>
              {text.download[kind]}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

/** The parts of the file. The browser keeps large blobs on disk. */
async function collect(
  { columns, load }: DownloadProps,
  kind: FileKind,
  signal: AbortSignal,
  onProgress: (done: number) => void,
): Promise<Blob[]> {
  const parts = [new Blob([headOf(kind, columns)])];
  let after: string | undefined;
  let done = 0;
  do {
    const page = await load(after, signal);
    parts.push(new Blob([page.rows.map((row) => lineOf(kind, columns, row)).join('')]));
    done += page.rows.length;
    onProgress(done);
    after = page.next;
  } while (after !== undefined);
  return parts;
}

function save(name: string, parts: Blob[], kind: FileKind): void {
  const url = URL.createObjectURL(new Blob(parts, { type: MEDIA_TYPES[kind] }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // By then the browser has started to read the blob.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
