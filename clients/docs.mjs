// What a page shows as an example's code is in that example, word for word:
//
//   node clients/docs.mjs docs/CLIENTS.md
//
// Before each block of code other than shell stands the file that it is from: <!-- clients/… -->.
import { readFileSync } from 'node:fs';

const [page] = process.argv.slice(2);
const text = readFileSync(page, 'utf8');
const blocks = [...text.matchAll(/(?:^<!-- (?<file>\S+) -->\n)?^```(?<language>\w+)\n(?<code>[^]*?)^```$/gm)];
const shown = blocks.filter(({ groups }) => groups.language !== 'sh');
if (shown.length === 0) {
  throw new Error(`${page} shows no code`);
}
for (const { groups: { file, code } } of shown) {
  if (file === undefined) {
    throw new Error(`${page}: from which file is this?\n${code}`);
  }
  if (!readFileSync(new URL(`../${file}`, import.meta.url), 'utf8').includes(code)) {
    throw new Error(`${page}: ${file} has not (any more):\n${code}`);
  }
}
console.log(`${page}: ${shown.length} blocks of code are those of the examples`);
