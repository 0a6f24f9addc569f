// Formats numbers and times for a language, in the browser's time zone.
import type { Language } from '../state/prefs';

export interface Format {
  /** 12,803 */
  count: (value: number) => string;
  /** 12.8K, for axes. */
  compact: (value: number) => string;
  /** 94.1 %; a share below 1 is never shown as 100 %. */
  percent: (share: number) => string;
  /** +12 % */
  change: (share: number) => string;
  /** 950 ms, 13.5 s, 2.1 min */
  latency: (ms: number) => string;
  /** 23 Nov, 07:15:03 */
  time: (instant: string | number) => string;
  /** 07:15:03, or with the day if it differs from that of the other instant. */
  timeBeside: (instant: string, other: string) => string;
  /** 31 Jan, 11:59, with the year if it is not the current one. */
  day: (instant: string) => string;
  /** With milliseconds and the zone. */
  fullTime: (instant: string | number) => string;
  /** 07:15, or 23 Nov if the span is longer than a day. */
  tick: (ms: number, spanMs: number) => string;
  /** 5 minutes ago */
  ago: (instant: string | number, now: number) => string;
  /** A range; omits the parts that both ends share. */
  between: (since: string | number, until: string | number) => string;
  /** 5 min, 1 h */
  duration: (seconds: number) => string;
}

export const timeZone = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** The UTC offset at an instant: UTC+8, UTC+5:30. */
export function zoneOffset(at: number): string {
  const minutes = -new Date(at).getTimezoneOffset();
  const size = Math.abs(minutes);
  const rest = size % 60 ? `:${String(size % 60).padStart(2, '0')}` : '';
  return `UTC${minutes < 0 ? '−' : '+'}${Math.floor(size / 60)}${rest}`;
}

/** The browser's variant of the language, or zh-CN and en-GB. */
function localeOf(language: Language): string {
  const own = navigator.languages.find((locale) => locale.toLowerCase().startsWith(language));
  return own ?? (language === 'zh' ? 'zh-CN' : 'en-GB');
}

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
  ['second', 1000],
];

const DAY_MS = 86_400_000;

export function formatOf(language: Language, locale = localeOf(language)): Format {
  const number = (options?: Intl.NumberFormatOptions): Intl.NumberFormat => new Intl.NumberFormat(locale, options);
  const date = (options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat =>
    new Intl.DateTimeFormat(locale, { hourCycle: 'h23', ...options });
  const unit = (name: string, digits: number): Intl.NumberFormat =>
    number({ style: 'unit', unit: name, unitDisplay: 'narrow', maximumFractionDigits: digits });

  const count = number();
  const compact = number({ notation: 'compact', maximumFractionDigits: 1 });
  const percent = number({ style: 'percent', maximumFractionDigits: 1 });
  const finely = number({ style: 'percent', maximumFractionDigits: 2, roundingMode: 'trunc' });
  const change = number({ style: 'percent', maximumFractionDigits: 0, signDisplay: 'exceptZero' });
  const milliseconds = unit('millisecond', 0);
  const seconds = [unit('second', 0), unit('second', 1), unit('second', 2)] as const;
  const minutes = unit('minute', 1);
  const hours = unit('hour', 1);
  const days = unit('day', 1);
  const time = date({ month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit' });
  const full = date({
    year: 'numeric',
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    fractionalSecondDigits: 3,
    timeZoneName: 'shortOffset',
  });
  const clock = date({ hour: '2-digit', minute: '2-digit' });
  const preciseClock = date({ hour: '2-digit', minute: '2-digit', second: '2-digit' });
  const day = date({ month: 'short', day: 'numeric' });
  const minute = date({ month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' });
  const minuteOfYear = date({ year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' });
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'always', style: 'short' });
  const ms = (instant: string | number): number => (typeof instant === 'number' ? instant : Date.parse(instant));

  return {
    count: (value) => count.format(value),
    compact: (value) => compact.format(value),
    percent: (share) => (share > 0.99 && share < 1 ? finely : percent).format(share),
    change: (share) => change.format(share),
    latency(value) {
      if (value < 1000) return milliseconds.format(value);
      if (value < 120_000) return seconds[value < 10_000 ? 2 : value < 100_000 ? 1 : 0].format(value / 1000);
      return minutes.format(value / 60_000);
    },
    time: (instant) => time.format(ms(instant)),
    timeBeside: (instant, other) => (day.format(ms(instant)) === day.format(ms(other)) ? preciseClock : time).format(ms(instant)),
    day: (instant) => (new Date(instant).getFullYear() === new Date().getFullYear() ? minute : minuteOfYear).format(ms(instant)),
    fullTime: (instant) => full.format(ms(instant)),
    tick: (value, span) =>
      (span > 3 * DAY_MS ? day : span > 1.5 * DAY_MS ? minute : span < 600_000 ? preciseClock : clock).format(value),
    ago(instant, now) {
      const past = now - ms(instant);
      const [name, length] = UNITS.find(([, size]) => Math.abs(past) >= size) ?? (['second', 1000] as const);
      return relative.format(-Math.trunc(past / length), name);
    },
    between(since, until) {
      const span = ms(until) - ms(since);
      const format = span < 60_000 ? time : minute;
      return format.formatRange(ms(since), ms(until));
    },
    duration(value) {
      if (value < 60) return seconds[0].format(value);
      if (value < 3600) return minutes.format(value / 60);
      return value < 86_400 ? hours.format(value / 3600) : days.format(value / 86_400);
    },
  };
}
