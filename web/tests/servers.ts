// Real servers for the tests: the binary, on a free port, each with its database.
import { test as base, type Locator, type Page, type Route } from '@playwright/test';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

const root = join(import.meta.dirname, '..', '..');
const binary = process.env.CALLSCOPE_BIN ?? join(root, 'target', 'debug', 'callscope');
/** The output of `vite build`. */
const build = process.env.WEB_BUILD;
/** The database that a real gateway wrote. */
const REAL = join(root, 'tests', 'data', 'gemini_balance.sqlite.gz');

// A server refuses unknown settings, and this one belongs to the tests.
const env = { ...process.env, CALLSCOPE_BIN: undefined, WEB_BUILD: undefined };

export const ADMIN = 'a'.repeat(48);
export const READER = 'b'.repeat(48);
export const PROBE = 'c'.repeat(48);

export interface Server {
  url: string;
  /** The output of another command of the binary for this database. */
  runCommand: (command: string) => string;
  /** Sends an operation with all rights. */
  ask: <T>(query: string, variables?: unknown) => Promise<T>;
  stop: () => Promise<void>;
  restart: () => Promise<void>;
}

async function start(command: string, folder: string, args: string[], token?: string): Promise<Server> {
  let child: ChildProcess;
  // On a port that the system chooses and the log has, or on the previous one.
  const launch = async (listen: string): Promise<string> => {
    const log: string[] = [];
    child = spawn(
      binary,
      [command, '--listen', listen, '--log-format', 'json', '--database-url', `sqlite://${join(folder, 'calls.db')}`, ...args],
      { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], env },
    );
    return await new Promise<string>((resolve, reject) => {
      const read = (bytes: Buffer): void => {
        log.push(bytes.toString());
        const [, found] = /"graphql":"(http:[^"]+)\/graphql"/.exec(log.join('')) ?? [];
        if (found) resolve(found);
      };
      child.stdout?.on('data', read);
      child.stderr?.on('data', read);
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`callscope ${command} ended with ${code}: ${log.join('')}`)));
    });
  };
  const url = await launch('127.0.0.1:0');
  return {
    url,
    runCommand: (command) => execFileSync(binary, [command, '--database-url', `sqlite://${join(folder, 'calls.db')}`], { encoding: 'utf8', env }),
    async ask<T>(query: string, variables?: unknown): Promise<T> {
      const response = await fetch(`${url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
        body: JSON.stringify({ query, variables }),
      });
      const body = (await response.json()) as { data: T; errors?: unknown };
      if (body.errors) throw new Error(JSON.stringify(body.errors));
      return body.data;
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await ended;
    },
    async restart() {
      await launch(new URL(url).host);
    },
  };
}

const temporary = (): string => mkdtempSync(join(tmpdir(), 'callscope-web-'));

async function served(
  use: (server: Server) => Promise<void>,
  launch: (folder: string) => Promise<Server>,
): Promise<void> {
  const folder = temporary();
  const server = await launch(folder);
  await use(server);
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}

async function fulfillFromBuild(route: Route): Promise<void> {
  const { pathname } = new URL(route.request().url());
  const path = join(build ?? '', pathname.startsWith('/assets/') ? pathname : 'index.html');
  const isKnown = /^\/(assets\/.*|calls|keys(\/[^/]*)?|errors|)$/.test(pathname);
  await route.fulfill({ path, status: isKnown ? 200 : 404 });
}

/** The start of the day with the last calls of `old`, in UTC. */
export const OLD_DAY = '2025-01-31';
export const OLD_CALLS = 1_000_000;
const OLD_PART = 50_000;

/** Calls of January of last year by 20 keys, from one index on. The last one is at 11:59:00 UTC; one in ten failed. */
function oldCalls(from: number): string {
  const end = Date.parse(`${OLD_DAY}T11:59:00Z`);
  const lines = Array.from({ length: OLD_PART }, (_, offset) => {
    const index = from + offset;
    const timestamp = new Date(end - index * 2_600).toISOString();
    const statusCode = Math.floor(index / 20) % 10 === 9 ? 500 : 200;
    return JSON.stringify({ timestamp, key: `an-old-key-number-${index % 20}`, model: 'old-model', statusCode, latencyMs: 100 + (index % 900) });
  });
  return `${lines.join('\n')}\n`;
}

export const test = base.extend<
  { outside: string[] },
  { demo: Server; guarded: Server; trusting: Server; empty: Server; real: Server; old: Server }
>({
  // The files of this folder replace those in the binary, so that it need not be built again.
  context: async ({ context }, use) => {
    if (build) await context.route(({ pathname }) => /^\/(assets\/|calls|keys|errors|nowhere|$)/.test(pathname), fulfillFromBuild);
    await use(context);
  },
  page: async ({ page }, use) => {
    await use(page);
    // The page renews its answers: a route may still fetch one.
    if (!page.isClosed()) await page.unrouteAll({ behavior: 'ignoreErrors' });
  },
  /** Requests of the page to other servers; there must be none after any test. */
  outside: [
    async ({ page }, use) => {
      const outside: string[] = [];
      page.on('request', (request) => {
        const { protocol, hostname } = new URL(request.url());
        if (!['data:', 'blob:'].includes(protocol) && hostname !== '127.0.0.1') outside.push(request.url());
      });
      await use(outside);
      base.expect(outside).toEqual([]);
    },
    { auto: true },
  ],
  demo: [({}, use) => served(use, (folder) => start('demo', folder, [])), { scope: 'worker', timeout: 120_000 }],
  guarded: [
    ({}, use) =>
      served(use, (folder) =>
        start('serve', folder, ['--tokens', `admin:ALL:${ADMIN} reader:READ:${READER} probe:METRICS:${PROBE}`], ADMIN),
      ),
    { scope: 'worker' },
  ],
  trusting: [
    ({}, use) =>
      served(use, (folder) => {
        const manifest = join(folder, 'persisted-documents.json');
        writeFileSync(manifest, JSON.stringify({ calls: RECORD_CALLS, errors: RECORD_ERRORS }));
        return start('serve', folder, ['--trusted-documents', manifest, '--tokens', `admin:ALL:${ADMIN}`], ADMIN);
      }),
    { scope: 'worker' },
  ],
  empty: [({}, use) => served(use, (folder) => start('serve', folder, [])), { scope: 'worker' }],
  old: [
    ({}, use) =>
      served(use, async (folder) => {
        const server = await start('serve', folder, []);
        for (let index = 0; index < OLD_CALLS; index += OLD_PART) await ingest(server, oldCalls(index));
        return server;
      }),
    { scope: 'worker', timeout: 300_000 },
  ],
  real: [
    ({}, use) =>
      served(use, (folder) => {
        writeFileSync(join(folder, 'calls.db'), gunzipSync(readFileSync(REAL)));
        return start('serve', folder, []);
      }),
    { scope: 'worker' },
  ],
});

/** Records calls from lines of JSON. */
export async function ingest(server: Server, lines: string): Promise<void> {
  const response = await fetch(`${server.url}/ingest/calls`, { method: 'POST', headers: { 'content-type': 'application/x-ndjson' }, body: lines });
  if (!response.ok) throw new Error(await response.text());
}

/** Runs a server with a separate database, which the test may change. */
export async function withServer(use: (server: Server, folder: string) => Promise<void>): Promise<void> {
  const folder = temporary();
  const server = await start('serve', folder, []);
  try {
    await use(server, folder);
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

export const expect = base.expect;

/** A latency in the page's format. */
export function milliseconds(text: string): number {
  const [, number = '', unit = ''] = /^([\d.]+)(ms|s|m|h)$/.exec(text.trim()) ?? [];
  return Number(number) * ({ ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit] ?? NaN);
}

/** Opens a view and waits until it is complete. */
export async function open(page: Page, server: Server, path: string): Promise<void> {
  await page.goto(server.url + path);
  await settled(page);
}

export async function settled(page: Page): Promise<void> {
  await expect(page.getByRole('main')).toBeVisible();
  // In one step: skeletons appear in the same render in which the start ends.
  await expect(page.locator('.skeleton, [aria-busy=true]')).toHaveCount(0);
}

const RECORD_CALLS = 'mutation R($calls: [CallInput!]!) { recordCalls(input: {calls: $calls}) { recorded calls { id } } }';
const RECORD_ERRORS = 'mutation R($errors: [ErrorLogInput!]!) { recordErrors(input: {errors: $errors}) { recorded } }';

/** Records rows for a test, of a model that no other test uses. */
export function recordCalls(server: Server, calls: Record<string, unknown>[]): Promise<{ recordCalls: { calls: { id: string }[] } }> {
  return server.ask(RECORD_CALLS, { calls });
}

export function recordErrors(server: Server, errors: Record<string, unknown>[]): Promise<unknown> {
  return server.ask(RECORD_ERRORS, { errors });
}

/** Drags in a chart from one share of its width to another. */
export async function dragIn(page: Page, chart: Locator, from: number, to: number): Promise<void> {
  await chart.scrollIntoViewIfNeeded();
  const box = await chart.boundingBox();
  if (!box) throw new Error('no chart');
  const y = box.y + box.height / 2;
  await page.mouse.move(box.x + box.width * from, y);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * to, y, { steps: 5 });
  await page.mouse.up();
}

/** The menu of the time that is selected in a chart. */
export const selectionMenu = (page: Page): Locator => page.getByRole('group', { name: 'Selected time' });
