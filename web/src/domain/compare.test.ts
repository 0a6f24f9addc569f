import { expect, it } from 'vitest';
import { isComparable } from './compare';

it('compares windows that both saw calls', () => {
  expect(isComparable(13_046, 13_590)).toBe(true);
  expect(isComparable(0, 20)).toBe(true);
  expect(isComparable(600, 20)).toBe(true);
});

it('does not compare with a window before or at the start of the log', () => {
  expect(isComparable(29, 0)).toBe(false);
  expect(isComparable(302_423, 7)).toBe(false);
});
