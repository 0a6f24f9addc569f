import { expect, it } from 'vitest';
import { fileName, headOf, lineOf } from './export';

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

it('the name of a file has its range and filters', () => {
  const range = [Date.UTC(2026, 10, 28, 6, 40), Date.UTC(2026, 10, 29, 6, 40, 5, 250)] as const;
  expect(fileName('calls', range, [])).toBe('calls_20261128T064000Z_20261129T064005Z');
  expect(fileName('calls', range, [['code', '429'], ['-model', 'a/b:c d'], ['q', '../é']])).toBe('calls_20261128T064000Z_20261129T064005Z_code-429_not-model-a-b-c-d_q-..-é');
  expect(fileName('calls', range, [['q', 'x'.repeat(500)]]).length).toBe(160);
});
