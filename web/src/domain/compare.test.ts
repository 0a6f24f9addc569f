import { expect, it } from 'vitest';
import { comparable } from './compare';

it('compares windows that both saw calls', () => {
  expect(comparable(13_046, 13_590)).toBe(true);
  expect(comparable(0, 20)).toBe(true);
  expect(comparable(600, 20)).toBe(true);
});

it('does not compare with a window before there was a log, or in which it began', () => {
  expect(comparable(29, 0)).toBe(false);
  expect(comparable(302_423, 7)).toBe(false);
});
