import { readFileSync } from 'node:fs';
import { expect, milliseconds, open, recordCalls, settled, test, type Server } from './servers';

/** How many calls of 24 hours match, as the API counts them. */
async function count(server: Server, filter: Record<string, unknown>): Promise<number> {
  const query = 'query C($filter: CallFilter) { callDetails(period: LAST_24_HOURS, filter: $filter, first: 1) { totalCount } }';
  return (await server.ask<{ callDetails: { totalCount: number } }>(query, { filter })).callDetails.totalCount;
}

const shown = async (page: import('@playwright/test').Page): Promise<number> =>
  Number(((await page.locator('.filters-end > span').first().textContent()) ?? '').replaceAll(/\D/g, ''));

test('each filter matches the count of the API', async ({ page, demo }) => {
  const key = (await demo.ask<{ apiKeys: { nodes: { id: string; masked: string }[] } }>('{ apiKeys(first: 1) { nodes { id masked } } }')).apiKeys.nodes[0];
  if (!key) throw new Error('no keys');
  const cases: [string, Record<string, unknown>][] = [
    ['status=success', { status: 'SUCCESS' }],
    ['status=failure', { status: 'FAILURE' }],
    ['code=429&code=503', { statusCodes: [429, 503] }],
    ['model=gemini-2.5-pro', { models: ['gemini-2.5-pro'] }],
    [`key=${key.id}`, { keys: [key.id] }],
    ['min=20000', { minLatencyMs: 20_000 }],
    ['max=200', { maxLatencyMs: 200 }],
    ['status=failure&model=gemini-2.5-pro&min=100&max=1000', { status: 'FAILURE', models: ['gemini-2.5-pro'], minLatencyMs: 100, maxLatencyMs: 1000 }],
  ];
  const all = await count(demo, {});
  for (const [params, filter] of cases) {
    await open(page, demo, `/calls?${params}`);
    const expected = await count(demo, filter);
    expect(expected, params).toBeGreaterThan(0);
    expect(expected, params).toBeLessThan(all);
    // Calls arrive between the two requests.
    await expect.poll(async () => Math.abs((await shown(page)) - expected), params).toBeLessThan(60);
  }
});

test('filters can be selected, shared by the address and undone', async ({ page, demo }) => {
  await open(page, demo, '/calls');
  await page.getByRole('group', { name: 'Status' }).getByRole('button', { name: 'Failed' }).click();
  await expect(page).toHaveURL(/status=failure/);
  await page.getByRole('button', { name: /^Code/ }).click();
  await page.getByRole('group', { name: 'Code' }).getByRole('checkbox', { name: /^403/ }).check();
  await expect(page).toHaveURL(/code=403/);
  await page.keyboard.press('Escape');
  await expect(page.getByRole('group', { name: 'Code' })).toHaveCount(0);
  await page.getByLabel('Min. latency, ms').fill('1');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/min=1/);
  await settled(page);
  const codes = await page.locator('tbody .col-status').allTextContents();
  expect(codes.length).toBeGreaterThan(0);
  expect(codes.every((code) => code.includes('403'))).toBe(true);
  const link = page.url();
  await page.goBack();
  await page.goBack();
  await expect(page).toHaveURL(/status=failure$/);
  await page.goForward();
  await expect(page).toHaveURL(/code=403/);
  await page.goto(link);
  await settled(page);
  await expect(page.getByRole('button', { name: /Code\s*403/ })).toBeVisible();
  await page.getByLabel('Order').selectOption('slowest');
  await settled(page);
  const times = (await page.locator('tbody .col-latency').allTextContents()).map(milliseconds);
  expect(times.length).toBeGreaterThan(1);
  expect(times).toEqual(times.toSorted((a, b) => b - a));
  await page.getByLabel('Order').selectOption('oldest');
  await settled(page);
  const moments = await page.locator('tbody time').evaluateAll((all) => all.map((one) => one.getAttribute('datetime') ?? ''));
  expect(moments.length).toBeGreaterThan(1);
  expect(moments).toEqual(moments.toSorted((a, b) => Date.parse(a) - Date.parse(b)));
});

test('a custom time range', async ({ page, demo }) => {
  await open(page, demo, '/calls');
  await page.getByRole('button', { name: 'Custom' }).click();
  const day = new Date(Date.now() - 26 * 3_600_000).toISOString().slice(0, 10);
  await page.getByLabel('From').fill(`${day}T10:00`);
  await page.getByLabel('To', { exact: true }).fill(`${day}T09:00`);
  await expect(page.getByRole('button', { name: 'Apply' })).toBeDisabled();
  await page.getByLabel('To', { exact: true }).fill(`${day}T12:00`);
  await page.getByRole('button', { name: 'Apply' }).click();
  // Berlin's clock is an hour ahead of UTC in November.
  await expect(page).toHaveURL(new RegExp(`since=${day}T09:00:00.000Z&until=${day}T11:00:00.000Z`));
  await settled(page);
  await expect(page.locator('tbody .col-time').first()).toContainText(/, 11:5\d:\d\d/);
});

test('thousands of rows can be scrolled, with few in the DOM', async ({ page, demo }) => {
  await open(page, demo, '/calls?range=30d');
  await page.keyboard.press('p');
  const box = page.locator('.listing > .table-box');
  const last = (): Promise<number> => page.locator('tbody tr[aria-rowindex]').last().getAttribute('aria-rowindex').then(Number);
  while ((await last()) < 1000) {
    const before = await last();
    await box.evaluate((element) => element.scrollTo(0, element.scrollHeight));
    await expect.poll(last).toBeGreaterThan(before);
  }
  expect(await page.locator('tbody tr').count()).toBeLessThan(100);
  // Frames while scrolling through loaded rows: none of them takes long.
  const slowest = await box.evaluate(async (element) => {
    let longest = 0;
    let at = performance.now();
    for (let top = element.scrollHeight; top > 0; top -= 400) {
      element.scrollTop = top;
      await new Promise(requestAnimationFrame);
      longest = Math.max(longest, performance.now() - at);
      at = performance.now();
    }
    return longest;
  });
  test.info().annotations.push({ type: 'slowest frame', description: `${slowest.toFixed(0)} ms` });
  await expect(page.locator('tbody tr[aria-rowindex="2"]')).toBeVisible();
});

test('a row shows the provider message, nearby calls and a GraphiQL link', async ({ page, demo }) => {
  await open(page, demo, '/calls?code=403');
  await page.locator('tbody tr td.col-model').first().click();
  const panel = page.getByRole('complementary', { name: 'Call' });
  await expect(panel.locator('.provider-message')).toContainText("Permission denied: Consumer 'api_key' has been suspended.");
  await expect(panel.locator('.provider-message-name')).toHaveText('PERMISSION_DENIED · CONSUMER_SUSPENDED');
  await expect(panel.locator('.code').first()).toContainText('"@type": "type.googleapis.com/google.rpc.ErrorInfo"');
  await expect(panel.locator('.nearby-calls li')).not.toHaveCount(0);
  await expect(panel.locator('.nearby-calls [aria-current]')).toHaveCount(1);
  const link = await panel.getByRole('link', { name: 'Open in GraphiQL' }).getAttribute('href');
  const requested = new URL(link ?? '', demo.url).searchParams;
  const answer = await demo.ask<{ node: { statusCode: number } }>(requested.get('query') ?? '', JSON.parse(requested.get('variables') ?? '{}'));
  expect(answer.node.statusCode).toBe(403);
  await expect(panel.getByRole('link', { name: /^Open in GraphiQL$/ })).toHaveAttribute('href', /^\/graphiql\?query=query/);
  const url = page.url();
  await panel.locator('.nearby-calls a:not([aria-current])').first().click();
  await expect(page).not.toHaveURL(url);
  await page.keyboard.press('Escape');
  await expect(panel).toHaveCount(0);
  await expect(page).not.toHaveURL(/call=/);
});

test('the keyboard moves between rows', async ({ page, demo }) => {
  await open(page, demo, '/calls?status=failure');
  await page.keyboard.press('p');
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  await page.keyboard.press('k');
  await expect(page.locator('tbody tr[data-current]')).toHaveAttribute('aria-rowindex', '3');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('complementary', { name: 'Call' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('complementary')).toHaveCount(0);
  await page.keyboard.press('/');
  await expect(page.getByLabel('Find a key or a message')).toBeFocused();
  await page.keyboard.press('Escape');
  await page.keyboard.press('?');
  await expect(page.getByRole('dialog', { name: 'Keyboard shortcuts' })).toBeVisible();
  await page.keyboard.press('Escape');
  for (const [keys, path] of [['ge', '/errors'], ['gk', '/keys'], ['gc', '/calls'], ['go', '/']] as const) {
    for (const key of keys) await page.keyboard.press(key);
    await expect(page).toHaveURL(`${demo.url}${path}`);
  }
});

test('new calls are inserted at the top, and held back while the user reads', async ({ page, demo }) => {
  await open(page, demo, '/calls?model=tail');
  await expect(page.getByText('Nothing matches these filters')).toBeVisible();
  await recordCalls(demo, Array.from({ length: 60 }, () => ({ model: 'tail', statusCode: 200, latencyMs: 1 })));
  await expect(page.locator('tbody tr[aria-rowindex]')).not.toHaveCount(0);
  await page.locator('.listing > .table-box').evaluate((element) => element.scrollTo(0, 900));
  await recordCalls(demo, [{ model: 'tail', statusCode: 418, latencyMs: 1 }]);
  await page.getByRole('button', { name: '1 new call' }).click();
  await expect(page.locator('tbody tr[aria-rowindex="2"] .col-status')).toContainText('418');
});

for (const path of ['/calls?range=7d', '/calls?range=7d&sort=oldest', '/errors?range=7d']) {
  test(`back to ${path} restores the position`, async ({ page, demo }) => {
    await open(page, demo, path);
    const box = page.locator('.listing > .table-box');
    const rows = box.locator('tbody tr[aria-rowindex]');
    const top = (): Promise<number> => box.evaluate((element) => element.scrollTop);
    const last = async (): Promise<number> => Number(await rows.last().getAttribute('aria-rowindex'));
    while ((await last()) < 250) {
      const before = await last();
      await box.evaluate((element) => element.scrollTo(0, element.scrollHeight));
      await expect.poll(last).toBeGreaterThan(before);
    }
    await box.evaluate((element) => element.scrollTo(0, 7000));
    await rows.nth(20).locator('td.col-model').click();
    await expect(page.getByRole('complementary')).toBeVisible();
    const left = await top();
    expect(left).toBeGreaterThan(6000);
    const nav = (name: string) => page.getByRole('navigation').getByRole('link', { name });
    await nav('Keys').click();
    await settled(page);
    await page.goBack();
    await settled(page);
    // Rows that have arrived meanwhile are above it.
    await expect(page.locator('tr[data-opened]')).toBeInViewport();
    expect(await top()).toBe(left);
    const times = await box.locator('tbody time').evaluateAll((all) => all.map((one) => Date.parse(one.getAttribute('datetime') ?? '')));
    expect(times).toEqual(times.toSorted((a, b) => (path.includes('oldest') ? a - b : b - a)));
    // Another filter, and this one again, start at the top; so does a new visit.
    await page.keyboard.press('Escape');
    await page.getByLabel('Order').selectOption(path.includes('oldest') ? 'newest' : 'oldest');
    await settled(page);
    expect(await top()).toBe(0);
    await page.goBack();
    await settled(page);
    expect(await top()).toBe(0);
    await nav('Keys').click();
    await settled(page);
    await nav(path.startsWith('/calls') ? 'Calls' : 'Errors').click();
    await settled(page);
    expect(await top()).toBe(0);
  });
}

test('a text that names no key is searched in the error messages', async ({ page, demo }) => {
  await open(page, demo, '/calls?model=gemini-2.5-flash');
  await page.getByLabel('Find a key or a message').fill('suspended');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('status').filter({ hasText: 'No key found' })).toBeVisible();
  await page.getByRole('link', { name: 'Search error messages for “suspended”' }).click();
  await expect(page).toHaveURL(/\/errors\?model=gemini-2\.5-flash&q=suspended/);
  await settled(page);
  const messages = await page.locator('.listing > .table-box tbody .col-message').allTextContents();
  expect(messages.length).toBeGreaterThan(0);
  for (const message of messages) expect(message).toContain('suspended');
  // A text that may be a key is never in an address.
  await open(page, demo, '/calls');
  await page.getByLabel('Find a key or a message').fill('AIzaSyNotAKey0123456789');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('status').filter({ hasText: 'No key found' })).toBeVisible();
  await expect(page.getByRole('link', { name: /Search error messages/ })).toHaveCount(0);
});

test('a search that fails finds neither keys nor "no key"', async ({ page, demo }) => {
  await open(page, demo, '/calls');
  await page.route('**/graphql', (route) =>
    /query (SearchKeys|FindKey)\(/.test(route.request().postData() ?? '')
      ? route.fulfill({ status: 200, json: { errors: [{ message: 'x', extensions: { code: 'DATABASE_UNAVAILABLE' } }] } })
      : route.continue(),
  );
  await page.getByLabel('Find a key or a message').fill('anything-long');
  await page.keyboard.press('Enter');
  await expect(page.locator('.filters').getByRole('status').filter({ hasText: /./ })).toHaveText('Could not load this data');
});

test('cells select and exclude by time, latency and message', async ({ page, demo }) => {
  await open(page, demo, '/calls?code=403');
  await page.keyboard.press('p');
  const row = page.locator('tbody tr[aria-rowindex="2"]');
  const at = (await row.locator('time').getAttribute('datetime')) ?? '';
  await row.locator('.col-latency').hover();
  await row.locator('.col-latency').getByRole('button', { name: 'Calls that took less' }).click();
  await expect(page).toHaveURL(/max=\d+/);
  await page.goBack();
  await settled(page);
  await row.locator('.col-time').hover();
  await row.locator('.col-time').getByRole('button', { name: 'Calls of this minute' }).click();
  await expect(page).toHaveURL(new RegExp(`since=${at.slice(0, 16)}:00.000Z`));
  await page.goBack();
  await settled(page);
  await row.locator('.col-message').hover();
  await row.locator('.col-message').getByRole('button', { name: 'Errors with this message' }).click();
  await expect(page).toHaveURL(/\/errors\?code=403&form=/);
  await settled(page);
  await expect(page.locator('.listing > .table-box tbody .col-message').first()).toContainText('Permission denied');
  const message = page.locator('.listing > .table-box tbody .col-message').first();
  await message.hover();
  await message.getByRole('button', { name: 'Exclude this value' }).click();
  await expect(page).toHaveURL(/-form=/);
});

test('a download contains all matching rows', async ({ page, demo }) => {
  const calls = Array.from({ length: 1200 }, (_, index) => ({ model: 'file', statusCode: index % 2 ? 200 : 500, latencyMs: index }));
  await recordCalls(demo, [...calls.slice(0, 600), { model: 'file', key: 'a-key-of-files', statusCode: 400, error: { message: '=1+1, "quoted"\nand a line' } }]);
  await recordCalls(demo, calls.slice(600));
  await open(page, demo, '/calls?model=file');
  for (const kind of ['CSV', 'NDJSON']) {
    await page.getByRole('button', { name: 'Download' }).click();
    const waiting = page.waitForEvent('download');
    await page.getByRole('button', { name: kind, exact: true }).click();
    const file = await waiting;
    // With the range and the filter.
    expect(file.suggestedFilename()).toMatch(new RegExp(`^calls_\\d{8}T\\d{6}Z_\\d{8}T\\d{6}Z_model-file\\.${kind.toLowerCase()}$`));
    const text = readFileSync(await file.path(), 'utf8');
    if (kind === 'CSV') {
      expect(text.split('\r\n')[0]).toBe('timestamp,status,statusCode,model,key,latencyMs,errorType,message,id');
      expect(text.trimEnd().split('\r\n')).toHaveLength(1 + 1201);
      expect(text).toContain(`"'=1+1, ""quoted""\nand a line"`);
    } else {
      const rows = text.trimEnd().split('\n').map((line) => JSON.parse(line) as { latencyMs: number | null; message: string | null });
      expect(new Set(rows.map((row) => row.latencyMs)).size).toBe(1201);
      expect(rows.some((row) => row.message === '=1+1, "quoted"\nand a line')).toBe(true);
    }
  }
});

test('loading is indicated', async ({ page, demo }) => {
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route('**/graphql', async (route) => {
    if (route.request().postData()?.includes('query Calls(')) await held;
    await route.continue();
  });
  await page.goto(`${demo.url}/calls`);
  await expect(page.locator('.listing .skeleton')).toBeVisible();
  await expect(page.locator('.listing')).toHaveAttribute('aria-busy', 'true');
  release();
  await expect(page.locator('tbody tr')).not.toHaveCount(0);
  await expect(page.locator('.listing')).toHaveAttribute('aria-busy', 'false');
});

test('a failure is shown and can be retried', async ({ page, demo }) => {
  let broken = true;
  await page.route('**/graphql', (route) => {
    if (!broken || !route.request().postData()?.includes('callDetails')) return route.continue();
    return route.fulfill({
      status: 200,
      json: { data: null, errors: [{ message: 'the database is unavailable', extensions: { code: 'DATABASE_UNAVAILABLE', requestId: 'r-1' } }] },
    });
  });
  await page.goto(`${demo.url}/calls`);
  const alert = page.locator('.failure');
  await expect(alert).toContainText('The database cannot be read: it is unreachable, damaged or out of resources.');
  await expect(alert).toContainText('DATABASE_UNAVAILABLE');
  // The rest of the view succeeds, but the page does not load it again and again.
  let facets = 0;
  page.on('request', (request) => {
    if (request.postData()?.includes('query CallFacets(')) facets += 1;
  });
  await page.waitForTimeout(5000);
  expect(facets).toBeLessThanOrEqual(4);
  broken = false;
  await page.getByRole('button', { name: 'Try again' }).click();
  await expect(page.locator('tbody tr')).not.toHaveCount(0);
});

test('an unreachable server is reported, and updates resume when it is back', async ({ page, empty }) => {
  await open(page, empty, '/');
  await empty.stop();
  await expect(page.getByRole('alert')).toContainText('Cannot reach the server', { timeout: 40_000 });
  await expect(page.locator('.live')).toHaveText('Disconnected');
  await expect(page.locator('.cards .card')).toHaveCount(5);
  await empty.restart();
  await expect(page.getByRole('alert')).toHaveCount(0, { timeout: 40_000 });
});
