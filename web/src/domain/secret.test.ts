import { expect, it } from 'vitest';
import { isMasked, looksLikeKey, mayName } from './secret';

it('distinguishes keys from other texts', () => {
  for (const key of ['AIzaSyA-1234567890abcdefghijkl_mnopqrst', `sk-proj-${'Ab1'.repeat(16)}`, '3f2504e0-4f89-11d3-9a0c-0305e82c3301']) {
    expect(looksLikeKey(key), key).toBe(true);
    expect(looksLikeKey(`not valid: ${key}.`), key).toBe(true);
  }
  for (const text of ['', 'quota exceeded', 'RESOURCE_EXHAUSTED', 'gemini-2.5-flash-preview-05-20', 'generativelanguage.googleapis.com', 'Fake…PzJ5', 'FakeSyDEMO01']) {
    expect(looksLikeKey(text), text).toBe(false);
  }
});

it('finds keys by their masked form, a part of it, or in full', () => {
  expect(['Fake…PzJ5', 'Fake...PzJ5', '12…78', '…'].map(isMasked)).toEqual([true, true, true, false]);
  expect(['a reason…', 'gemini-2.5'].map(isMasked)).toEqual([false, false]);
  const masked = 'Fake...PzJ5';
  for (const text of ['Fake…PzJ5', 'fake...pzj5', 'PzJ5', 'ake', 'FakeSyFAKE0104xatws8phP9nhFyJfm5di4PzJ5']) expect(mayName(text, masked), text).toBe(true);
  for (const text of ['FakeSyFAKE0104xatws8phP9nhFyJfm5di4PzJ6', 'DEMO', 'Fake…PzJ6']) expect(mayName(text, masked), text).toBe(false);
});
