// Time range picker: presets, or two instants in the browser's time zone.
import type { JSX } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { useI18n } from '../i18n';
import { timeZone, zoneOffset } from '../i18n/format';
import { DAYS, frozen, isLive, PRESETS, rangeEnds, rangeParams, type Preset, type Range } from '../state/range';
import { setParams, urlOf, withParams } from '../state/router';
import { serverNow } from '../state/session';
import { useShortcuts } from '../state/shortcuts';
import { CopyButton } from './copy';
import { Icon } from './icon';
import { useOutside } from './outside';

/** An instant in the format of `datetime-local`: the local wall clock. */
function wall(ms: number): string {
  return new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

export function setRange(range: Range, fallback: Preset = '24h'): void {
  setParams(rangeParams(range, fallback));
}

export function RangePicker({ range, fallback = '24h' }: { range: Range; fallback?: Preset }): JSX.Element {
  const { text, format } = useI18n();
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const custom = !('preset' in range);
  const day = !custom && DAYS.find((one) => one === range.preset);
  useShortcuts(
    Object.fromEntries(PRESETS.map((preset, index) => [String(index + 1), () => setRange({ preset }, fallback)])),
  );
  useOutside(root, open, () => setOpen(false));
  return (
    <div class="range" role="group" aria-label={text.range.label} ref={root}>
      <PrintedRange range={range} />
      <div class="segments">
        {PRESETS.map((preset) => (
          <button
            key={preset}
            type="button"
            class="segment"
            aria-pressed={!custom && range.preset === preset}
            onClick={() => setRange({ preset }, fallback)}
          >
            {text.range.presets[preset]}
          </button>
        ))}
        <button type="button" class="segment" aria-pressed={custom || day !== undefined} aria-expanded={open} onClick={() => setOpen(!open)}>
          {custom ? format.between(range.since, range.until) : day ? text.range.presets[day] : text.range.custom}
          <Icon name="chevron" />
        </button>
      </div>
      {custom && (
        <button type="button" class="button bare" aria-label={text.range.clear} title={text.range.clear} onClick={() => setRange({ preset: fallback }, fallback)}>
          <Icon name="zoomOut" />
        </button>
      )}
      {open && <CustomRange range={range} fallback={fallback} onDone={() => setOpen(false)} />}
    </div>
  );
}

/** Paper has no buttons, and no "now". */
function PrintedRange({ range }: { range: Range }): JSX.Element {
  const { text, format } = useI18n();
  const [since, until] = rangeEnds(range, serverNow());
  return (
    <p class="print-only">
      {format.between(since, until)}. {text.app.zone(timeZone, zoneOffset(since))}
    </p>
  );
}

/** The address of this view with its current start and end, so that it always shows the same rows. */
function frozenLink(range: Range): string {
  const params = withParams(new URLSearchParams(location.search), rangeParams(frozen(range, serverNow())));
  return location.origin + urlOf(location.pathname, params);
}

function CustomRange({ range, fallback, onDone }: { range: Range; fallback: Preset; onDone: () => void }): JSX.Element {
  const { text } = useI18n();
  const [from, to] = rangeEnds(range, serverNow());
  const [since, setSince] = useState(wall(from));
  const [until, setUntil] = useState(wall(to));
  const wrong = !since || !until || since >= until;
  useShortcuts({ Escape: onDone });
  return (
    <form
      class="popover right"
      onSubmit={(event) => {
        event.preventDefault();
        if (wrong) return;
        setRange({ since: new Date(since).toISOString(), until: new Date(until).toISOString() });
        onDone();
      }}
    >
      <div class="buttons">
        {DAYS.map((preset) => (
          <button
            key={preset}
            type="button"
            class="button small"
            onClick={() => {
              setRange({ preset }, fallback);
              onDone();
            }}
          >
            {text.range.presets[preset]}
          </button>
        ))}
      </div>
      <label class="stacked">
        {text.range.since}
        <input class="input" type="datetime-local" step="1" value={since} onInput={(event) => setSince(event.currentTarget.value)} />
      </label>
      <label class="stacked">
        {text.range.until}
        <input class="input" type="datetime-local" step="1" value={until} onInput={(event) => setUntil(event.currentTarget.value)} />
      </label>
      <p class="quiet">{wrong ? text.range.badOrder : text.app.zone(timeZone, zoneOffset(Date.parse(since)))}</p>
      <button type="submit" class="button primary" disabled={wrong}>
        {text.range.apply}
      </button>
      <p class="quiet">{text.range.linkHint}</p>
      <div class="buttons">
        <CopyButton label={text.range.link} text={() => location.href} />
        {isLive(range) && <CopyButton label={text.range.frozenLink} text={() => frozenLink(range)} />}
      </div>
    </form>
  );
}
