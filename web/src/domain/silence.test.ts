import { expect, it } from 'vitest';
import { isSilent } from './silence';

it('is an alarm where calls are expected', () => {
  const now = Date.parse('2026-11-23T08:00:00Z');
  const ago = (minutes: number): string => new Date(now - minutes * 60_000).toISOString();
  expect(isSilent(undefined, 0, now)).toBe(false);
  expect(isSilent(ago(59), 5000, now)).toBe(false);
  expect(isSilent(ago(61), 5000, now)).toBe(true);
  // A pool with few calls.
  expect(isSilent(ago(61), 99, now)).toBe(false);
  expect(isSilent(ago(25 * 60), 0, now)).toBe(true);
});
