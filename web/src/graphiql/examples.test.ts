import { readFileSync } from 'node:fs';
import { buildSchema, parse, validate } from 'graphql';
import { expect, it } from 'vitest';
import { EXAMPLES } from './examples';

it('matches the schema', () => {
  const schema = buildSchema(readFileSync(new URL('../../../schema.graphql', import.meta.url), 'utf8'));
  for (const example of EXAMPLES) expect(validate(schema, parse(example)), example).toEqual([]);
});
