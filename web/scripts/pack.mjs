// Compresses the output of `vite build` into `dist/`, which is committed. Lists its files, and the documents that
// the page sends, for the server: with `--trusted-documents` the server accepts the page's documents as well.
// With --check it compares build and dist instead, decompressed, since brotli's output depends on the version
// of Node.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { runnerImport } from 'vite';

const root = join(import.meta.dirname, '..');
const build = join(root, 'build');
const dist = join(root, 'dist');

const filesIn = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();

const LIST = 'files.in';
const DOCUMENTS = 'documents.in';

/** One line per file: path, hash, content. Rust includes it as an array. */
function list(files) {
  const lines = files.map((file) => {
    const hash = createHash('sha256').update(readFileSync(join(build, file))).digest('hex');
    return `    ("${file}", "${hash.slice(0, 16)}", include_bytes!("${file}.br")),\n`;
  });
  return `[\n${lines.join('')}]\n`;
}

/** The exact texts, as an array of raw strings for Rust. No document contains `"#`, which would end one. */
async function documents() {
  const { module } = await runnerImport(join(root, 'src', 'api', 'gen', 'graphql.ts'));
  const texts = Object.keys(module)
    .filter((name) => name.endsWith('Document'))
    .sort()
    .map((name) => `    r#"${module[name]}"#,\n`);
  return `[\n${texts.join('')}]\n`;
}

function compress(bytes) {
  return brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  });
}

async function write(files) {
  rmSync(dist, { recursive: true, force: true });
  let total = 0;
  for (const file of files) {
    const bytes = compress(readFileSync(join(build, file)));
    const target = join(dist, `${file}.br`);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, bytes);
    total += bytes.length;
  }
  writeFileSync(join(dist, LIST), list(files));
  writeFileSync(join(dist, DOCUMENTS), await documents());
  console.log(`dist: ${files.length} files, ${total} bytes`);
}

async function check(files) {
  const committed = filesIn(dist);
  const expected = [...files.map((file) => `${file}.br`), LIST, DOCUMENTS].sort();
  const differs = (file) =>
    !readFileSync(join(build, file)).equals(brotliDecompressSync(readFileSync(join(dist, `${file}.br`))));
  const read = (file) => readFileSync(join(dist, file), 'utf8');
  const stale =
    committed.join() !== expected.join() ||
    read(LIST) !== list(files) ||
    read(DOCUMENTS) !== (await documents()) ||
    files.some(differs);
  if (stale) {
    console.error('web/dist is outdated: run scripts/web');
    process.exit(1);
  }
  console.log(`dist: ${files.length} files, as built`);
}

const files = filesIn(build);
if (process.argv.includes('--check')) await check(files);
else await write(files);
