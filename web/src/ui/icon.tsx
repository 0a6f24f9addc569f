// Icons, drawn with strokes on a grid of 16. Each accompanies a text and is hidden from screen readers.
import type { JSX } from 'preact';

const PATHS = {
  overview: 'M2.5 13.5v-4M6.2 13.5v-8M9.8 13.5v-5M13.5 13.5v-11',
  calls: 'M5.5 4h8M5.5 8h8M5.5 12h8M2.5 4h.01M2.5 8h.01M2.5 12h.01',
  keys: 'M10.5 2.5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8.3 7.7 2.5 13.5M4.5 11.5l2 2',
  errors: 'M8 2.2 14.3 13.3H1.7ZM8 6.5v3M8 11.4v.01',
  graphiql: 'M8 1.8 13.4 4.9V11.1L8 14.2 2.6 11.1V4.9ZM8 1.8 2.6 11.1H13.4Z',
  help: 'M6.2 6a1.9 1.9 0 1 1 2.7 1.8c-.6.3-.9.7-.9 1.4M8 11.5v.01M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8Z',
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  play: 'M5 3.2v9.6L12.5 8Z',
  close: 'm4 4 8 8M12 4l-8 8',
  check: 'm3 8.5 3.2 3L13 4.8',
  cross: 'm4.5 4.5 7 7M11.5 4.5l-7 7',
  copy: 'M5.5 5.5h7v8h-7ZM10.5 5.5v-3h-7v8h2',
  download: 'M8 2.5v7.5M4.8 7.2 8 10.2l3.2-3M2.8 13.3h10.4',
  saved: 'M4 2.2h8v11.6l-4-3.2-4 3.2Z',
  mute: 'M2.5 6v4h2.6l3.4 2.8V3.2L5.1 6ZM11 6.2l3 3.6M14 6.2l-3 3.6',
  exclude: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8ZM3.7 3.7l8.6 8.6',
  search: 'M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM10.4 10.4l3.1 3.1',
  chevron: 'm4.5 6.2 3.5 3.6 3.5-3.6',
  up: 'M8 13V3.5M4 7.2l4-3.9 4 3.9',
  down: 'M8 3v9.5M4 8.8l4 3.9 4-3.9',
  left: 'M9.8 4 5.8 8l4 4',
  external: 'M6.5 3h-3.5v10h10v-3.5M9 2.8h4.2V7M13 3 7.5 8.5',
  trash: 'M2.8 4.5h10.4M6 4.5v-2h4v2M4.2 4.5l.6 9h6.4l.6-9',
  eye: 'M1.8 8S4 3.8 8 3.8 14.2 8 14.2 8 12 12.2 8 12.2 1.8 8 1.8 8ZM8 6.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6Z',
  sun: 'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M12.6 3.4l-.7.7M4.1 11.9l-.7.7',
  moon: 'M13.5 9.6A5.8 5.8 0 1 1 6.4 2.5a4.6 4.6 0 0 0 7.1 7.1Z',
  auto: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8ZM8 1.8v12.4M9.5 4h2.2M9.5 8h4M9.5 12h2.2',
  out: 'M6.5 2.5h-4v11h4M10 5l3 3-3 3M13 8H6',
  table: 'M2.5 3h11v10h-11ZM2.5 6.5h11M6.5 6.5V13',
  zoomOut: 'M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM10.4 10.4l3.1 3.1M5 7h4',
  dead: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8ZM5.7 5.7l4.6 4.6M10.3 5.7l-4.6 4.6',
  unpaid: 'M1.8 3.8h12.4v8.4H1.8ZM1.8 6.8h12.4M4.3 9.8h2.4',
  quota: 'M2.2 12a5.8 5.8 0 1 1 11.6 0M8 12 4.6 8.4',
  info: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8ZM8 7.4v3.8M8 4.8v.01',
  throttled: 'M4 2.5h8M4 13.5h8M4.8 2.5v2.3L8 8l3.2-3.2V2.5M4.8 13.5v-2.3L8 8l3.2 3.2v2.3',
  failing: 'M8 2.2 14.3 13.3H1.7ZM8 6.5v3M8 11.4v.01',
  slow: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8ZM8 4.5V8l2.6 1.8',
  silent: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8ZM5 8h6',
  healthy: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8ZM5.2 8.2l2 1.9 3.6-4',
  offline: 'M2 2l12 12M4.3 8.7a5.3 5.3 0 0 1 2.3-1.3M2.2 6.2a8.3 8.3 0 0 1 2.3-1.5M8.2 4a8.5 8.5 0 0 1 5.6 2.2M10 7.7a5.3 5.3 0 0 1 1.7 1M8 12v.01',
  more: 'M3.5 8h.01M8 8h.01M12.5 8h.01',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, class: className = '' }: { name: IconName; class?: string }): JSX.Element {
  return (
    <svg class={`icon ${className}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
