import { expect, test } from 'vitest';
import { ErrorsDocument } from './gen/graphql';
import { graphiqlUrl } from './graphiql-url';

test('documents for GraphiQL keep the indentation of their fields', () => {
  const url = new URL(graphiqlUrl(ErrorsDocument, {} as never), 'http://localhost');
  const lines = (url.searchParams.get('query') ?? '').split('\n');
  let depth = 0;
  for (const line of lines.filter((line) => line.trim() !== '')) {
    if (/^\s*[})]/.test(line)) depth -= 1;
    expect(line.length - line.trimStart().length, line).toBe(2 * depth);
    if (/[{(]$/.test(line)) depth += 1;
  }
  expect(lines.some((line) => line.startsWith('query Errors'))).toBe(true);
  expect(lines.some((line) => line.startsWith('fragment '))).toBe(true);
});
