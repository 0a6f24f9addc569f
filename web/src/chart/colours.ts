// The colours of the style sheet, resolved for a canvas in the current theme.
import type { Severity } from '../api/gen/graphql';

export interface Colours {
  good: string;
  bad: string;
  badFill: CanvasPattern | string;
  ink: string;
  line: string;
  series: [string, string, string];
  /** The area and the line of an incident. */
  spans: Record<Severity, [string, string]>;
}

let probe: HTMLSpanElement | undefined;

function resolve(name: string): string {
  probe ??= document.body.appendChild(document.createElement('span'));
  probe.hidden = true;
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

/** Stripes distinguish failures from successes without colour. */
function hatch(base: string, stripe: string): CanvasPattern | string {
  const ratio = Math.max(1, Math.round(devicePixelRatio));
  const size = 6 * ratio;
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = size;
  const context = canvas.getContext('2d');
  if (!context) return base;
  context.fillStyle = base;
  context.fillRect(0, 0, size, size);
  context.strokeStyle = stripe;
  context.lineWidth = 1.6 * ratio;
  context.beginPath();
  for (const shift of [-size, 0, size]) {
    context.moveTo(shift - 1, size + 1);
    context.lineTo(shift + size + 1, -1);
  }
  context.stroke();
  return context.createPattern(canvas, 'repeat') ?? base;
}

export function colours(): Colours {
  const bad = resolve('bad-fill');
  return {
    good: resolve('good-fill'),
    bad,
    badFill: hatch(bad, resolve('bad-stripe')),
    ink: resolve('ink-3'),
    line: resolve('line'),
    series: [resolve('series-1'), resolve('series-2'), resolve('series-3')],
    spans: {
      CRITICAL: [resolve('bad-soft'), resolve('bad')],
      WARNING: [resolve('warned-soft'), resolve('warned')],
      INFO: [resolve('sunken'), resolve('ink-3')],
    },
  };
}

/** The colour of a part of a stacked chart; undefined for the rest. */
export const partFill = (colour: number | undefined): (() => string) => () => resolve(`part-${colour ?? 'rest'}`);

/** Calls back when the theme changes, by the system or the user. */
export function onColours(changed: () => void): () => void {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  dark.addEventListener('change', changed);
  const observer = new MutationObserver(changed);
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });
  return () => {
    dark.removeEventListener('change', changed);
    observer.disconnect();
  };
}
