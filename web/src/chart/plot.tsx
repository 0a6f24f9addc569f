// uPlot in Preact: created once per chart, updated with data, sized by its container. Adds a tooltip, a menu for a
// time that is selected by dragging or with Shift and the arrow keys, opening a bucket by click, Enter or the button of
// a tapped tooltip, and the times of incidents.
import { createContext, type ComponentChildren, type CSSProperties, type JSX } from 'preact';
import { useContext, useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { Span } from '../domain/incident';
import { useI18n } from '../i18n';
import { useShortcuts } from '../state/shortcuts';
import { useOutside } from '../ui/outside';
import { Icon } from '../ui/icon';
import { colours, onColours, type Colours } from './colours';

/** The times that the charts of a view shade. */
export const Spans = createContext<readonly Span[]>([]);

export interface Bucket {
  start: string;
  end: string;
}

export interface SelectionAction {
  label: string;
  run: (since: string, until: string) => void;
}

export interface PlotProps<B extends Bucket> {
  label: string;
  hint: string;
  buckets: B[];
  data: uPlot.AlignedData;
  /** The start of the time axis, in seconds. */
  since: number;
  /** The series; called again when the colours change. */
  series: (colours: Colours) => uPlot.Series[];
  axisValue: (value: number) => string;
  axisTime: (ms: number, spanMs: number) => string;
  tooltip: (bucket: B) => ComponentChildren;
  /** The tooltip as a sentence for screen readers. */
  spoken: (bucket: B) => string;
  /** What can be done with a selected time. */
  actions: readonly SelectionAction[];
  /** Opens a bucket; `height` is the value of the y axis that was clicked. */
  onOpen: (bucket: B, height?: number) => void;
  height: number;
}

const DRAG_PX = 6;
/** The charts of a view share the pointer. */
const POINTER = 'range';
/** Between a tooltip and its bar. */
const TOOLTIP_GAP_PX = 14;
/** The line above a shaded time, in CSS pixels. */
const SPAN_LINE_PX = 3;

export function Plot<B extends Bucket>(props: PlotProps<B>): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const latest = useRef(props);
  latest.current = props;
  const spans = useContext(Spans);
  const shaded = useRef(spans);
  shaded.current = spans;
  const [hovered, setHovered] = useState<{ index: number; left: number } | undefined>();
  const [spoken, setSpoken] = useState('');
  const [tapped, setTapped] = useState<(Bucket & { height: number }) | undefined>();
  const [selected, setSelected] = useState<{ since: string; until: string } | undefined>();
  /** The bucket from which Shift and the arrow keys select. */
  const anchor = useRef<number | undefined>(undefined);
  const [look, setLook] = useState(0);
  useEffect(() => onColours(() => setLook((count) => count + 1)), []);

  const indexAt = (u: uPlot, left: number): number => {
    const at = u.posToVal(left, 'x') * 1000;
    // The first bucket is drawn from before its start.
    return latest.current.buckets.findIndex((bucket) => at < Date.parse(bucket.end));
  };

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const shades = colours();
    const options = optionsOf(latest, shaded, shades, element.clientWidth, {
      hover(u, left) {
        const index = left < 0 ? -1 : indexAt(u, left);
        setHovered(index < 0 ? undefined : { index, left });
      },
      select(u, left, width) {
        const { buckets } = latest.current;
        const first = buckets[Math.max(0, indexAt(u, left))];
        const lastIndex = indexAt(u, left + width);
        const last = buckets[lastIndex < 0 ? buckets.length - 1 : lastIndex];
        u.setCursor({ left: -10, top: -10 });
        if (first && last) setSelected({ since: first.start, until: last.end });
      },
      click(u, left, top, isTouch) {
        const bucket = latest.current.buckets[indexAt(u, left)];
        if (!bucket) return;
        const height = u.posToVal(top, 'y');
        if (isTouch) setTapped({ start: bucket.start, end: bucket.end, height });
        else latest.current.onOpen(bucket, height);
      },
    });
    const made = new uPlot(options, latest.current.data, element);
    plot.current = made;
    const observer = new ResizeObserver(() => {
      if (element.clientWidth > 0) made.setSize({ width: element.clientWidth, height: latest.current.height });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [look, props.height]);

  useLayoutEffect(() => {
    plot.current?.setData(props.data);
  }, [props.data]);
  useLayoutEffect(() => plot.current?.redraw(false), [spans]);
  // The tooltip of another range would be of other bars.
  useLayoutEffect(() => {
    setHovered(undefined);
    anchor.current = undefined;
  }, [props.buckets[0]?.start]);
  // The selected time has left the chart.
  const start = props.buckets[0]?.start ?? '';
  const end = props.buckets.at(-1)?.end ?? '';
  useLayoutEffect(() => {
    if (selected && (Date.parse(selected.until) <= Date.parse(start) || Date.parse(selected.since) >= Date.parse(end))) setSelected(undefined);
  }, [selected, start, end]);

  // The start of the first bucket and the end of the last one move with the range.
  const tappedBucket = tapped && props.buckets.find((one) => one.start === tapped.start || one.end === tapped.end);
  useLayoutEffect(() => {
    if (tapped && !tappedBucket) setTapped(undefined);
  }, [tapped, tappedBucket]);

  // A change of the language changes the axes, not the data.
  useLayoutEffect(() => plot.current?.redraw(false, true), [props.axisTime]);

  /** The incidents of a bucket. */
  const labelsOf = ({ start, end }: Bucket): string[] => [
    ...new Set(spans.filter(({ since, until }) => since * 1000 < Date.parse(end) && until * 1000 > Date.parse(start)).map(({ label }) => label)),
  ];
  const show = (index: number): void => {
    const u = plot.current;
    const bucket = props.buckets[index];
    if (!u || !bucket) return;
    const middle = (Date.parse(bucket.start) + Date.parse(bucket.end)) / 2000;
    u.setCursor({ left: u.valToPos(middle, 'x'), top: 10 });
    setSpoken([props.spoken(bucket), ...labelsOf(bucket)].join(', '));
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const index = hovered?.index ?? -1;
    const last = props.buckets.length - 1;
    if (event.shiftKey && (event.key === 'ArrowRight' || event.key === 'ArrowLeft') && props.buckets[index]) {
      const to = Math.min(Math.max(index + (event.key === 'ArrowRight' ? 1 : -1), 0), last);
      anchor.current ??= index;
      show(to);
      const [from, until] = [props.buckets[Math.min(anchor.current, to)], props.buckets[Math.max(anchor.current, to)]];
      if (from && until) setSelected({ since: from.start, until: until.end });
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    if (event.key === 'Escape' && selected) setSelected(undefined);
    else if (event.key === 'ArrowRight') show(Math.min(index + 1, last));
    else if (event.key === 'ArrowLeft') show(index < 0 ? last : Math.max(0, index - 1));
    else if (event.key === 'Home') show(0);
    else if (event.key === 'End') show(last);
    else if (event.key === 'Enter' && props.buckets[index]) props.onOpen(props.buckets[index]);
    else return;
    anchor.current = undefined;
    event.preventDefault();
    event.stopPropagation();
  };
  const bucket = hovered && props.buckets[hovered.index];
  const width = box.current?.clientWidth ?? 0;
  const tooltip = (of: B): JSX.Element => (
    <>
      {props.tooltip(of)}
      {labelsOf(of).map((label) => (
        <p key={label} class="tooltip-incident">
          <span class="swatch swatch-incident" />
          {label}
        </p>
      ))}
    </>
  );
  const closeTapped = (): void => {
    setTapped(undefined);
    // The tap moved the pointer that the charts of the view share.
    for (const one of uPlot.sync(POINTER).plots) one.setCursor({ left: -10, top: -10 });
  };

  return (
    <div class="plot-frame">
      <div
        class="plot"
        role="application"
        aria-label={props.label}
        aria-description={props.hint}
        tabIndex={0}
        onKeyDown={onKeyDown}
        onBlur={() => plot.current?.setCursor({ left: -10, top: -10 })}
      >
        <div class="plot-box" ref={box} style={{ height: `${props.height}px` }} />
        {bucket && !selected && !tappedBucket && (
          <div class="tooltip" style={nextTo(hovered.left + (plot.current?.over.offsetLeft ?? 0), width)}>
            {tooltip(bucket)}
          </div>
        )}
        <span class="visually-hidden" aria-live="polite">
          {spoken}
        </span>
      </div>
      {selected && plot.current && (
        <Selected selected={selected} u={plot.current} actions={props.actions} onClose={() => setSelected(undefined)} />
      )}
      {tapped && tappedBucket && !selected && plot.current && (
        <Tapped
          key={tapped.start}
          style={nextTo(middleOf(plot.current, tappedBucket), width)}
          onOpen={() => {
            closeTapped();
            props.onOpen(tappedBucket, tapped.height);
          }}
          onClose={closeTapped}
        >
          {tooltip(tappedBucket)}
        </Tapped>
      )}
    </div>
  );
}

/** A selected time, and what can be done with it. */
function Selected(props: { selected: { since: string; until: string }; u: uPlot; actions: readonly SelectionAction[]; onClose: () => void }): JSX.Element {
  const { selected, u, actions, onClose } = props;
  const { text, format } = useI18n();
  const menu = useRef<HTMLDivElement>(null);
  useShortcuts({ Escape: onClose });
  useOutside(menu, true, onClose);
  const width = u.over.clientWidth;
  const at = (time: string): number => Math.min(Math.max(u.valToPos(Date.parse(time) / 1000, 'x'), 0), width);
  const [from, to] = [at(selected.since), at(selected.until)];
  const offset = u.over.offsetLeft;
  const isRight = from + to > width;
  return (
    <>
      <div class="selection" style={{ left: `${offset + from}px`, width: `${to - from}px`, top: `${u.over.offsetTop}px`, height: `${u.over.clientHeight}px` }} />
      <div
        class="selection-menu"
        role="group"
        aria-label={text.explain.selection}
        ref={menu}
        style={isRight ? { right: `calc(100% - ${offset + to}px)` } : { left: `${offset + from}px` }}
      >
        <span class="selection-time">{format.between(selected.since, selected.until)}</span>
        {actions.map(({ label, run }) => (
          <button
            key={label}
            type="button"
            class="button small"
            onClick={() => {
              onClose();
              run(selected.since, selected.until);
            }}
          >
            {label}
          </button>
        ))}
        <button type="button" class="button small bare" aria-label={text.detail.close} onClick={onClose}>
          <Icon name="close" />
        </button>
      </div>
    </>
  );
}

/** The middle of a bucket within the chart, in CSS pixels. */
function middleOf(u: uPlot, { start, end }: Bucket): number {
  const middle = u.valToPos((Date.parse(start) + Date.parse(end)) / 2000, 'x');
  return u.over.offsetLeft + Math.min(Math.max(middle, 0), u.over.clientWidth);
}

/** The position of a tooltip: on the side with more room, and within it. */
function nextTo(left: number, width: number): CSSProperties {
  const isLeft = left > width / 2;
  const room = (isLeft ? left : width - left) - TOOLTIP_GAP_PX;
  return { [isLeft ? 'right' : 'left']: `${width - room}px`, maxWidth: `${room}px` };
}

/** The tooltip of a tapped bucket. A tap does not hover, so it shows the tooltip, and a button opens the bucket. */
function Tapped(props: { style: CSSProperties; onOpen: () => void; onClose: () => void; children: ComponentChildren }): JSX.Element {
  const { text } = useI18n();
  const root = useRef<HTMLDivElement>(null);
  useShortcuts({ Escape: props.onClose });
  useOutside(root, true, props.onClose);
  // The chart may be partly outside of the screen.
  useLayoutEffect(() => root.current?.scrollIntoView({ block: 'nearest' }), []);
  return (
    <div class="tooltip tapped" style={props.style} ref={root}>
      {props.children}
      <button type="button" class="button primary" onClick={props.onOpen}>
        {text.overview.open}
      </button>
    </div>
  );
}

interface Hooks {
  hover: (u: uPlot, left: number) => void;
  select: (u: uPlot, left: number, width: number) => void;
  click: (u: uPlot, left: number, top: number, isTouch: boolean) => void;
}

function optionsOf<B extends Bucket>(
  latest: { current: PlotProps<B> },
  shaded: { current: readonly Span[] },
  shades: Colours,
  width: number,
  hooks: Hooks,
): uPlot.Options {
  const { height, series } = latest.current;
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const axis: uPlot.Axis = {
    stroke: shades.ink,
    font,
    grid: { stroke: shades.line, width: 1 },
    ticks: { show: false },
    border: { show: false },
  };
  /** Whether the pointer was pressed in this chart. */
  let isOwn = false;
  const ends = (): [number, number] => {
    const { buckets } = latest.current;
    return [latest.current.since, Date.parse(buckets.at(-1)?.end ?? '') / 1000];
  };
  return {
    width: Math.max(width, 100),
    height,
    // Room for the last label of the time axis, which is centred on its tick.
    padding: [12, 30, 0, 0],
    legend: { show: false },
    scales: {
      x: { time: true, range: () => ends() },
      y: { range: (_u, _min, max) => [0, max > 0 ? max * 1.08 : 1] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 28,
        gap: 6,
        space: 72,
        values: (_u, values) => {
          const [since, until] = ends();
          return values.map((value) => latest.current.axisTime(value * 1000, (until - since) * 1000));
        },
      },
      { ...axis, size: 54, gap: 6, space: 36, values: (_u, values) => values.map((value) => latest.current.axisValue(value)) },
    ],
    series: [{}, ...series(shades)],
    cursor: {
      y: false,
      points: { show: false },
      drag: { x: true, y: false, setScale: false, dist: DRAG_PX },
      sync: { key: POINTER, setSeries: false },
    },
    hooks: {
      drawClear: [(u) => drawSpans(u, shaded.current, shades)],
      setCursor: [(u) => hooks.hover(u, u.cursor.left ?? -1)],
      setSelect: [
        (u) => {
          const { left, width: size } = u.select;
          if (size < DRAG_PX) return;
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          // The charts of a view share the pointer, and one of them has it.
          if (isOwn) hooks.select(u, left, size);
        },
      ],
      ready: [
        (u) => {
          let from = 0;
          let isTouch = false;
          u.over.addEventListener('pointerdown', (event) => (isTouch = event.pointerType === 'touch'));
          u.over.addEventListener('mousedown', (event) => {
            from = event.clientX;
            isOwn = true;
            addEventListener('mouseup', () => setTimeout(() => (isOwn = false)), { once: true });
          });
          u.over.addEventListener('click', (event) => {
            if (Math.abs(event.clientX - from) < DRAG_PX) hooks.click(u, event.offsetX, event.offsetY, isTouch);
          });
        },
      ],
    },
  };
}

/** Below the bars and lines. */
function drawSpans(u: uPlot, spans: readonly Span[], shades: Colours): void {
  const { left, top, width, height } = u.bbox;
  const at = (seconds: number): number => Math.min(Math.max(u.valToPos(seconds, 'x', true), left), left + width);
  // The most severe one is drawn last.
  for (const { since, until, severity } of spans.toReversed()) {
    const from = at(since);
    const to = until === Infinity ? left + width : at(until);
    if (to <= from) continue;
    const [fill, line] = shades.spans[severity];
    // An area that covers the whole chart would show nothing.
    if (to - from < width) {
      u.ctx.fillStyle = fill;
      u.ctx.fillRect(from, top, to - from, height);
    }
    u.ctx.fillStyle = line;
    u.ctx.fillRect(from, top, to - from, SPAN_LINE_PX * devicePixelRatio);
  }
}
