// Lists the changes that break clients of the last release:
//
//   node compare.mjs RELEASED NEW ACCEPTED
//
// RELEASED and NEW are schemas. ACCEPTED is a JSON array of intended breaking changes:
// { "type": "FIELD_REMOVED", "path": "Call.model", "reason": "…" }. Any other breaking change fails.
import { readFile } from 'node:fs/promises';
import { CriticalityLevel, diff } from '@graphql-inspector/core';
import { buildSchema } from 'graphql';

const read = (file) => readFile(file, 'utf8');

async function readAccepted(file) {
  const accepted = JSON.parse(await read(file));
  for (const { type, path, reason } of accepted) {
    if (![type, path, reason].every((text) => typeof text === 'string' && text.trim() !== '')) {
      throw new Error(`${file}: each entry needs type, path and reason`);
    }
  }
  return accepted;
}

async function compare(released, current, acceptedFile) {
  const accepted = await readAccepted(acceptedFile);
  const changes = await diff(buildSchema(await read(released)), buildSchema(await read(current)));
  const of = (level) => changes.filter((change) => change.criticality.level === level);
  const breaking = of(CriticalityLevel.Breaking);
  const unexpected = [];
  for (const change of breaking) {
    const entry = accepted.find(({ type, path }) => type === change.type && path === change.path);
    if (entry === undefined) {
      unexpected.push(change);
    } else {
      console.log(`breaking, accepted: ${change.message} (${entry.reason})`);
    }
  }
  for (const change of of(CriticalityLevel.Dangerous)) {
    console.log(`dangerous: ${change.message}`);
  }
  const seen = ({ type, path }) => breaking.some((change) => type === change.type && path === change.path);
  for (const { path } of accepted.filter((entry) => !seen(entry))) {
    console.log(`accepted, but no longer present: ${path}`);
  }
  for (const { type, path, message } of unexpected) {
    console.log(`BREAKING: ${message} (type ${type}, path ${path})`);
  }
  console.log(`${changes.length} changes since the release, ${breaking.length} of them breaking`);
  return unexpected.length;
}

const files = process.argv.slice(2);
if (files.length !== 3) {
  console.error('usage: node compare.mjs RELEASED NEW ACCEPTED');
  process.exit(2);
}
process.exitCode = (await compare(...files)) > 0 ? 1 : 0;
