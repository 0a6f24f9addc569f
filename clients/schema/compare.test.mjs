// Breaking changes of the schema are detected: node --test
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const RELEASED = `
  type Query { calls(filter: Filter, order: Order = NEWEST_FIRST): [Call!]! }
  type Call { id: ID!, model: String, latencyMs: Int! }
  input Filter { model: String }
  enum Order { NEWEST_FIRST SLOWEST_FIRST }
`;
const script = fileURLToPath(new URL('compare.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'callscope-compare-'));
after(() => rmSync(folder, { recursive: true }));

/** What the script says of the released schema with one text of it replaced. */
function compare(from, to, accepted = []) {
  assert.ok(RELEASED.includes(from));
  const contents = [RELEASED, RELEASED.replace(from, to), JSON.stringify(accepted)];
  const files = contents.map((text, index) => {
    const file = join(folder, String(index));
    writeFileSync(file, text);
    return file;
  });
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...files], { encoding: 'utf8' });
  return { status, said: stdout + stderr };
}

test('the same schema passes', () => {
  const { status, said } = compare('', '');
  assert.equal(status, 0, said);
  assert.match(said, /^0 changes since the release, 0 of them breaking/);
});

test('what is added passes', () => {
  const { status, said } = compare('model: String,', 'model: String, colour: String,');
  assert.equal(status, 0, said);
  assert.match(said, /^1 changes since the release, 0 of them breaking/);
});

const breaking = [
  ['a field that is removed', 'model: String,', '', 'FIELD_REMOVED', 'Call.model'],
  ['a field that may become null', 'latencyMs: Int!', 'latencyMs: Int', 'FIELD_TYPE_CHANGED', 'Call.latencyMs'],
  ['an argument that is removed', 'filter: Filter, ', '', 'FIELD_ARGUMENT_REMOVED', 'Query.calls.filter'],
  ['an argument that is demanded', 'filter: Filter,', 'filter: Filter!,', 'FIELD_ARGUMENT_TYPE_CHANGED', 'Query.calls.filter'],
  ['an input that is demanded', '{ model: String }', '{ model: String! }', 'INPUT_FIELD_TYPE_CHANGED', 'Filter.model'],
  ['an enum value that is removed', ' SLOWEST_FIRST', '', 'ENUM_VALUE_REMOVED', 'Order.SLOWEST_FIRST'],
];

for (const [what, from, to, type, path] of breaking) {
  test(`${what} fails, unless just that is accepted`, () => {
    const { status, said } = compare(from, to);
    assert.equal(status, 1, said);
    assert.ok(said.includes(`(type ${type}, path ${path})`), said);
    const accepted = compare(from, to, [{ type, path, reason: 'unused' }]);
    assert.equal(accepted.status, 0, accepted.said);
    assert.match(accepted.said, /breaking, accepted: .*\(unused\)/);
    const other = compare(from, to, [{ type, path: 'Call.id', reason: 'another one' }]);
    assert.equal(other.status, 1, other.said);
    assert.match(other.said, /accepted, but no longer present: Call\.id/);
  });
}

test('dangerous changes are reported', () => {
  const { status, said } = compare('enum Order {', 'enum Order { CHEAPEST_FIRST');
  assert.equal(status, 0, said);
  assert.match(said, /dangerous: .*CHEAPEST_FIRST/);
});

test('an accepted change needs a reason', () => {
  const { status, said } = compare('', '', [{ type: 'FIELD_REMOVED', path: 'Call.model', reason: ' ' }]);
  assert.notEqual(status, 0, said);
  assert.match(said, /each entry needs type, path and reason/);
});
