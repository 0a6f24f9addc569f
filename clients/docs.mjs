// Checks that each code block of a page is a verbatim part of an example:
//
//   node clients/docs.mjs docs/CLIENTS.md
//
// A comment before each block, except shell, names its file: <!-- clients/… -->.
import { readFileSync } from 'node:fs';

const [page] = process.argv.slice(2);
const text = readFileSync(page, 'utf8');
const blocks = [...text.matchAll(/(?:^<!-- (?<file>\S+) -->\n)?^```(?<language>\w+)\n(?<code>[^]*?)^```$/gm)];
const shown = blocks.filter(({ groups }) => groups.language !== 'sh');
if (shown.length === 0) {
  throw new Error(`${page} contains no code`);
}
for (const { groups: { file, code } } of shown) {
  if (file === undefined) {
    throw new Error(`${page}: missing file name of this block\n${code}`);
  }
  if (!readFileSync(new URL(`../${file}`, import.meta.url), 'utf8').includes(code)) {
    throw new Error(`${page}: ${file} does not contain:\n${code}`);
  }
}
console.log(`${page}: ${shown.length} code blocks match the examples`);
