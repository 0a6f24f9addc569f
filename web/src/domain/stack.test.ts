import { expect, it } from 'vitest';
import { alignBefore, classParts, COLOURS, keyParts, modelParts, MOST_PARTS, partAt } from './stack';

it('has the classes that occur, with throttled calls apart', () => {
  expect(classParts([200, 201, 429, 400, 403, 503]).map(({ name, params }) => [name, params])).toEqual([
    ['2xx', { status: 'success' }],
    ['429', { code: ['429'] }],
    ['4xx', { code: ['400', '403'] }],
    ['5xx', { code: ['503'] }],
  ]);
  expect(classParts([429, 200]).map(({ colour }) => colour)).toEqual([0, 1]);
});

it('gives a model the same colour in every range, and no two the same', () => {
  const models = ['gemini-2.5-pro', 'gemini-2.5-flash', 'gpt-5', 'claude', 'x', 'y', 'z'];
  const parts = modelParts(models);
  expect(parts).toHaveLength(MOST_PARTS);
  expect(new Set(parts.map(({ colour }) => colour)).size).toBe(MOST_PARTS);
  expect(modelParts(models.toReversed().slice(2)).find(({ name }) => name === 'gpt-5')?.colour).toBe(parts.find(({ name }) => name === 'gpt-5')?.colour);
  for (const { colour } of [...parts, ...keyParts([{ id: 'key_a', masked: 'a...b' }])]) expect(colour).toBeLessThan(COLOURS);
});

it('keeps the colour of a key when other keys join', () => {
  const key = (id: string) => ({ id, masked: 'a...b' });
  const colour = (parts: ReturnType<typeof keyParts>, id: string) => parts.find(({ name }) => name === id)?.colour;
  // Many of these have the same colour by their text.
  const [first, ...others] = Array.from({ length: 40 }, (_, index) => key(`key-${index}`));
  if (!first) throw new Error('no key');
  const alone = colour(keyParts([first]), first.id);
  for (const other of others) expect(colour(keyParts([other, first]), first.id), other.id).toBe(alone);
  expect(colour(keyParts([first]), first.id)).toBe(alone);
});

it('finds the part of a bar at a height', () => {
  // Two parts and the rest.
  expect([1, 10, 11, 15, 16, 20, 21].map((height) => partAt([10, 5, 5], height))).toEqual([0, 0, 1, 1, 'rest', 'rest', undefined]);
  expect(partAt([0, 0, 0], 1)).toBeUndefined();
});

it('aligns the period before by time', () => {
  const bucket = (hour: number, total = 0) => ({ start: `2026-11-2${hour < 24 ? 2 : 3}T${String(hour % 24).padStart(2, '0')}:00:00Z`, end: `2026-11-2${hour < 23 ? 2 : 3}T${String((hour + 1) % 24).padStart(2, '0')}:00:00Z`, counts: { total } });
  expect(alignBefore([bucket(12), bucket(13), bucket(14)], [bucket(10, 1), bucket(11, 2)], 2 * 3_600_000)).toEqual([1, 2, null]);
});
