// The text of a time range within a sentence.
import type { Range } from '../state/range';
import type { I18n } from '.';

/** "in the last 24 hours", "between 22 Nov, 21:51 and 21:53". */
export function rangeText({ text, format }: Pick<I18n, 'text' | 'format'>, range: Range): string {
  return 'preset' in range ? text.range.within[range.preset] : text.range.during(format.between(range.since, range.until));
}
