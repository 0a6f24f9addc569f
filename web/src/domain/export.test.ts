import { expect, it } from 'vitest';
import { headOf, lineOf } from './export';

const COLUMNS = ['a', 'b'];

it('writes CSV that a spreadsheet reads as what it is', () => {
  expect(headOf('csv', COLUMNS)).toBe('a,b\r\n');
  expect(lineOf('csv', COLUMNS, { a: 'x,"y"\n', b: null })).toBe('"x,""y""\n",\r\n');
  expect(lineOf('csv', COLUMNS, { a: -1, b: '=cmd()' })).toBe("-1,'=cmd()\r\n");
});

it('writes a line of JSON for each row', () => {
  expect(headOf('ndjson', COLUMNS)).toBe('');
  expect(lineOf('ndjson', COLUMNS, { b: '=1\n', c: 3 })).toBe('{"a":null,"b":"=1\\n"}\n');
});
