import { expect, test } from 'vitest';
import { excludeParams, includeParams, onlyParams } from './value-filter';

test('a value is selected, left out, and taken back', () => {
  const params = new URLSearchParams('model=a&model=b&-model=c&key=k');
  expect(onlyParams('model', 'c')).toEqual({ model: 'c', '-model': undefined });
  // A value cannot be both selected and left out.
  expect(excludeParams(params, 'model', 'a')).toEqual({ model: ['b'], '-model': ['c', 'a'] });
  expect(excludeParams(params, 'model', 'c')).toEqual({ model: ['a', 'b'], '-model': ['c'] });
  expect(includeParams(params, 'model', 'c')).toEqual({ '-model': [] });
});
