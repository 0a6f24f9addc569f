// Full keys on the screen, in the clipboard and in search fields; and the deletion of old error logs.
import type { Page } from '@playwright/test';
import { expect, open, recordCalls, recordErrors, settled, test } from './servers';

/** The rule of the page for what looks like a key. */
const FULL = 'AIzaSyPastedKey0123456789abcdefghijklm';
const UNKNOWN = 'AIzaSyUnknownKey9876543210zyxwvutsrqpon';

test.beforeAll(async ({ demo }) => {
  await recordCalls(demo, [
    { key: FULL, model: 'pasted', statusCode: 200, latencyMs: 5 },
    { key: FULL, model: 'pasted', statusCode: 403, latencyMs: 5, error: { errorType: 'pasted', message: 'not for you' } },
  ]);
});

test('a revealed key is hidden after 30 seconds', async ({ page, demo }) => {
  await page.clock.install();
  await page.goto(`${demo.url}/keys/${await idOf(demo)}`);
  await page.getByRole('button', { name: 'Reveal' }).click();
  await expect(page.locator('.key-name')).toHaveText(FULL);
  await page.clock.fastForward(15_000);
  await expect(page.locator('.key-name')).toHaveText(FULL);
  await page.clock.fastForward(15_100);
  await expect(page.locator('.key-name')).toHaveText('AIza…jklm');
});

async function idOf(server: { ask: <T>(query: string, variables?: unknown) => Promise<T> }): Promise<string> {
  return (await server.ask<{ apiKey: { id: string } }>('query K($key: String!) { apiKey(key: $key) { id } }', { key: FULL })).apiKey.id;
}

test('copying works without the clipboard of secure pages, and reports a failure', async ({ page, demo, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  // As on a page over plain HTTP.
  await page.addInitScript(() => {
    const { clipboard } = navigator;
    Object.assign(globalThis, { readClipboard: () => clipboard.readText() });
    Object.defineProperty(navigator, 'clipboard', { value: undefined });
  });
  await open(page, demo, `/keys/${await idOf(demo)}`);
  await page.getByRole('button', { name: 'Copy key' }).click();
  await expect(page.getByText('Copied')).toBeVisible();
  expect(await page.evaluate(() => (globalThis as unknown as { readClipboard: () => Promise<string> }).readClipboard())).toBe(FULL);
  await page.evaluate(() => Object.assign(document, { execCommand: () => false }));
  await expect(page.getByRole('button', { name: 'Copy key' })).toBeVisible();
  await page.getByRole('button', { name: 'Copy key' }).click();
  await expect(page.getByText('Could not copy')).toBeVisible();
});

/** All addresses that the page had or requested. */
function addressesOf(page: Page): string[] {
  const all: string[] = [];
  page.on('request', (request) => all.push(request.url()));
  page.on('framenavigated', (frame) => all.push(frame.url()));
  return all;
}

const SEARCHES = [
  { path: '/keys', label: 'Search keys' },
  { path: '/errors', label: 'Search type and message' },
  { path: '/errors', label: 'Key contains' },
  { path: '/calls', label: 'Find a key' },
] as const;

for (const { path, label } of SEARCHES) {
  test(`a pasted key and its masked form are found by "${label}", and the key is in no address`, async ({ page, demo }) => {
    const addresses = addressesOf(page);
    await page.addInitScript(() => {
      const states: string[] = [];
      Object.assign(globalThis, { states });
      for (const name of ['pushState', 'replaceState'] as const) {
        const change = history[name].bind(history);
        history[name] = (state, unused, url) => {
          states.push(`${JSON.stringify(state)} ${String(url)}`);
          change(state, unused, url);
        };
      }
    });
    const id = await idOf(demo);
    for (const text of [FULL, 'AIza…jklm', 'AIza...jklm']) {
      await open(page, demo, path);
      await page.getByLabel(label).fill(text);
      await page.keyboard.press('Enter');
      await expect(page, text).toHaveURL(`${demo.url}${path}?key=${id}`);
      await settled(page);
      await expect(page.locator('.listing > .table-box tbody tr[aria-rowindex]').first()).toContainText(path === '/errors' ? 'not for you' : 'AIza…jklm');
      await expect(page.getByLabel(label)).toHaveValue('');
    }
    // A key that is not in the database is searched for, but is in no address either.
    await open(page, demo, path);
    await page.getByLabel(label).fill(UNKNOWN);
    await page.keyboard.press('Enter');
    await expect(page.getByText(path === '/calls' ? 'No key found' : 'Nothing matches these filters')).toBeVisible();
    expect(page.url()).not.toContain('UnknownKey');
    const states = await page.evaluate(() => (globalThis as unknown as { states: string[] }).states);
    for (const address of [...addresses, ...states]) expect(address).not.toMatch(/PastedKey|UnknownKey/);
    await expect(page.locator('a[href*="UnknownKey"]')).toHaveCount(0);
  });
}

test('a text that could not be looked up as a key is in no address', async ({ page, demo }) => {
  const addresses = addressesOf(page);
  await open(page, demo, '/errors');
  await page.route('**/graphql', async (route) => {
    if (route.request().postData()?.includes('query FindKey(')) await route.abort();
    else await route.continue();
  });
  // Without sixteen letters and digits in a row.
  await page.getByLabel('Search type and message').fill('odd-key-of-a-small-provider');
  await expect(page.getByText('Nothing matches these filters')).toBeVisible();
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  for (const address of [...addresses, page.url()]) expect(address).not.toContain('odd-key');
});

test('the options of a filter are found by a pasted key', async ({ page, demo }) => {
  await open(page, demo, '/calls');
  await page.getByRole('button', { name: 'Key All' }).click();
  for (const text of [FULL, 'AIza…jklm']) {
    await page.getByRole('group', { name: 'Key' }).getByRole('searchbox').fill(text);
    await expect(page.getByRole('group', { name: 'Key' }).getByRole('checkbox')).toHaveCount(1);
  }
});

test('old error logs are counted, then deleted', async ({ page, guarded, context }) => {
  const ago = (days: number): string => new Date(Date.now() - days * 86_400_000).toISOString();
  const logs = (count: number, days: number): Record<string, unknown>[] => Array.from({ length: count }, () => ({ errorType: 'aged', errorCode: 500, message: 'x', timestamp: ago(days) }));
  await recordErrors(guarded, [...logs(4, 9), ...logs(3, 4), ...logs(2, 1)]);
  const left = async (): Promise<number> =>
    (await guarded.ask<{ errorLogs: { totalCount: number } }>('{ errorLogs(filter: {errorTypes: ["aged"]}, first: 1) { totalCount } }')).errorLogs.totalCount;
  await context.request.post(`${guarded.url}/session`, { data: { token: 'a'.repeat(48) } });
  await open(page, guarded, '/errors');
  await page.getByRole('button', { name: 'Clean up' }).click();
  const dialog = page.getByRole('dialog', { name: 'Delete old error logs' });
  await expect(dialog.getByLabel('Delete error logs older than')).toHaveValue('3');
  await expect(dialog.getByRole('status')).toContainText('7 error logs of all keys are older than');
  await dialog.getByLabel('Delete error logs older than').fill('6');
  await expect(dialog.getByRole('status')).toContainText('4 error logs of all keys are older than');
  await dialog.getByLabel('Delete error logs older than').fill('x');
  await expect(dialog.getByRole('button', { name: 'Delete' })).toBeDisabled();
  await dialog.getByLabel('Delete error logs older than').fill('30');
  await expect(dialog.getByRole('status')).toContainText('No error log is older than');
  await expect(dialog.getByRole('button', { name: 'Delete' })).toBeDisabled();
  expect(await left()).toBe(9);
  await dialog.getByLabel('Delete error logs older than').fill('6');
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await expect(page.getByText('4 error logs deleted')).toBeVisible();
  expect(await left()).toBe(5);
});
