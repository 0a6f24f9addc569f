// A virtualized table: only visible rows are in the DOM. All rows have the same height, so one spacer row
// above and one below replace the others. The roles are explicit: a phone shows the rows of some tables as grids
// (`two-lines` in the styles), and some browsers derive the roles of a table from its layout.
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { navigate } from '../state/router';
import { useShortcuts } from '../state/shortcuts';
import { Icon } from './icon';

export interface Column<R> {
  id: string;
  head: ComponentChildren;
  cell: (row: R) => ComponentChildren;
  /** Aligned right. */
  numeric?: boolean;
  /** The sort direction of the table by this column. */
  sort?: 'ascending' | 'descending' | 'none';
  onSort?: () => void;
}

export interface TableProps<R> {
  caption: string;
  columns: Column<R>[];
  rows: R[];
  rowKey: (row: R) => string;
  href: (row: R) => string;
  /** The row with open details. */
  opened?: string | undefined;
  rowHeight?: number;
  /** The height of a row on a phone, if it differs. */
  rowHeightNarrow?: number;
  /** The number of rows on the server, if known. */
  total?: number | undefined;
  onNearEnd?: () => void;
  /** Where a table starts that the user has left and returns to. */
  initialTop?: number | undefined;
  onScrolled?: (top: number) => void;
  foot?: ComponentChildren;
  class?: string;
}

/** Extra rows beyond the visible ones, so that scrolling finds them rendered. */
const SPARE = 12;
const NEAR_END_PX = 1200;
/** As in the styles. */
const NARROW = '(max-width: 680px)';

function useIsNarrow(): boolean {
  const [isNarrow, setNarrow] = useState(() => matchMedia(NARROW).matches);
  useEffect(() => {
    const query = matchMedia(NARROW);
    const change = (): void => setNarrow(query.matches);
    query.addEventListener('change', change);
    return () => query.removeEventListener('change', change);
  }, []);
  return isNarrow;
}

export function Table<R>(props: TableProps<R>): JSX.Element {
  const { rows } = props;
  const isNarrow = useIsNarrow();
  const rowHeight = (isNarrow ? props.rowHeightNarrow : undefined) ?? props.rowHeight ?? 40;
  const box = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState({ top: 0, height: 900 });
  const [current, setCurrent] = useState<string>();
  const focusNext = useRef(false);

  const look = (): void => {
    const element = box.current;
    if (!element) return;
    // Rounded to four rows: not every pixel causes a render.
    const step = rowHeight * 4;
    const top = Math.floor(element.scrollTop / step) * step;
    setSeen((before) => (before.top === top && before.height === element.clientHeight ? before : { top, height: element.clientHeight }));
    props.onScrolled?.(element.scrollTop);
    if (element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END_PX) props.onNearEnd?.();
  };
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    if (props.initialTop) element.scrollTop = props.initialTop;
    const observer = new ResizeObserver(look);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  useEffect(look, [rows.length, rowHeight]);

  const from = Math.max(0, Math.floor(seen.top / rowHeight) - SPARE);
  const to = Math.min(rows.length, Math.ceil((seen.top + seen.height) / rowHeight) + SPARE + 4);
  const at = rows.findIndex((row) => props.rowKey(row) === (current ?? props.opened));

  const move = (by: number): void => {
    const index = Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + by));
    const row = rows[index];
    const element = box.current;
    if (!row || !element) return;
    setCurrent(props.rowKey(row));
    focusNext.current = true;
    const top = index * rowHeight;
    const room = element.clientHeight - 2 * rowHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top > element.scrollTop + room) element.scrollTop = top - room;
  };
  useShortcuts({ j: () => move(1), k: () => move(-1), ...(at >= 0 && { Enter: () => open(rows[at]) }) });
  const open = (row: R | undefined): void => {
    if (row) navigate(props.href(row));
  };
  useEffect(() => {
    if (!focusNext.current) return;
    const link = box.current?.querySelector<HTMLElement>('tr[data-current] a[data-inner]');
    if (link) {
      focusNext.current = false;
      link.focus({ preventScroll: true });
    }
  });

  const { columns } = props;
  return (
    <div class={`table-box ${props.class ?? ''}`} ref={box} onScroll={look} tabIndex={-1}>
      <table class="table" role="table" aria-rowcount={(props.total ?? rows.length) + 1}>
        <caption class="visually-hidden">{props.caption}</caption>
        <thead role="rowgroup">
          <tr role="row">
            {columns.map((column) => (
              <th key={column.id} role="columnheader" scope="col" class={`col-${column.id} ${column.numeric ? 'num' : ''}`} aria-sort={column.sort}>
                {column.onSort ? (
                  <button type="button" class="sort" onClick={column.onSort}>
                    {column.head}
                    {column.sort !== 'none' && <Icon name={column.sort === 'ascending' ? 'up' : 'down'} />}
                  </button>
                ) : (
                  column.head
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {from > 0 && <Spacer height={from * rowHeight} />}
          {rows.slice(from, to).map((row, offset) => {
            const key = props.rowKey(row);
            return (
              <tr
                key={key}
                role="row"
                aria-rowindex={from + offset + 2}
                data-current={key === current || undefined}
                data-opened={key === props.opened || undefined}
                onClick={(event) => {
                  if (event.target instanceof Element && event.target.closest('a,button,input,label')) return;
                  if (getSelection()?.toString()) return;
                  setCurrent(key);
                  open(row);
                }}
              >
                {columns.map((column) => (
                  <td key={column.id} role="cell" class={`col-${column.id} ${column.numeric ? 'num' : ''}`}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            );
          })}
          {to < rows.length && <Spacer height={(rows.length - to) * rowHeight} />}
        </tbody>
      </table>
      {props.foot}
    </div>
  );
}

/** A single cell: several would add columns that narrow screens hide. */
function Spacer({ height }: { height: number }): JSX.Element {
  return (
    <tr class="spacer" aria-hidden="true">
      <td style={{ height: `${height}px` }} />
    </tr>
  );
}
