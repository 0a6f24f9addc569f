import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { ApiError } from '../api/client';
import { en } from './en';
import { errorText } from './error-text';
import { zh } from './zh';

it('has a text for each documented error code', () => {
  const operations = readFileSync(new URL('../../../docs/OPERATIONS.md', import.meta.url), 'utf8');
  const table = operations.slice(operations.indexOf('| code |')).split('\n\n', 1)[0] ?? '';
  const codes = table.split('\n').flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`([A-Z]+(?:_[A-Z]+)*)`/g)].map(([, code]) => code));
  expect(codes.length).toBeGreaterThan(40);
  expect(codes.filter((code) => code !== undefined && !(code in en.codes))).toEqual([]);
});

it('shows the details of the server for invalid input, and unknown codes as they are', () => {
  expect(errorText(en, new ApiError('TIMEOUT', 'gone'))).toBe(en.codes.TIMEOUT);
  expect(errorText(zh, new ApiError('BAD_USER_INPUT', 'first is 0'))).toBe('请求中包含无效的值。 (first is 0)');
  expect(errorText(en, new ApiError('HTTP_502', 'Bad Gateway'))).toBe('Bad Gateway');
});
