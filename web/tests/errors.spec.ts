import { readFileSync } from 'node:fs';
import { expect, open, recordErrors, settled, test, withServer, type Server } from './servers';

interface Count {
  errorLogs: { totalCount: number };
}

const total = async (server: Server, filter: Record<string, unknown>): Promise<number> =>
  (await server.ask<Count>('query E($filter: ErrorLogFilter) { errorLogs(filter: $filter, first: 1) { totalCount } }', { filter })).errorLogs.totalCount;

const logs = (type: string, count: number): Record<string, unknown>[] =>
  Array.from({ length: count }, (_, index) => ({ errorType: type, errorCode: 500, model: 'test-model', message: `fault ${index}`, key: 'a-key-of-errors' }));

test('error groups are listed and filter the rows', async ({ page, demo }) => {
  await open(page, demo, '/errors');
  const groups = page.getByRole('region', { name: 'Error groups' });
  const first = groups.locator('tbody tr', { hasText: 'You exceeded your current quota' }).first();
  await expect(first).toContainText('429');
  await expect(first.locator('time')).toHaveCount(2);
  const cause = (await first.locator('.text-button').textContent()) ?? '';
  const count = ((await first.locator('.col-count').textContent()) ?? '').replaceAll(/\D/g, '');
  await first.locator('.text-button').click();
  await expect(page).toHaveURL(/cause=QUOTA_[A-Z]+&form=t\d+-[0-9a-f]{16}/);
  await settled(page);
  const causes = await page.locator('.listing > .table-box tbody .col-cause').allTextContents();
  expect(new Set(causes)).toEqual(new Set([cause]));
  await expect(page.locator('.filters-end > span').first()).toHaveText(new RegExp(`^${count.replaceAll(/\B(?=(\d{3})+$)/g, ',')} error log`));
  await groups.getByRole('button', { pressed: true }).click();
  await expect(page).toHaveURL(`${demo.url}/errors`);
});

test('each filter matches the count of the API', async ({ page, demo }) => {
  const since = new Date(Date.now() - 24 * 3_600_000).toISOString();
  const cases: [string, Record<string, unknown>][] = [
    ['cause=QUOTA_DAY&cause=KEY_SUSPENDED', { failureClasses: ['QUOTA_DAY', 'KEY_SUSPENDED'] }],
    ['-cause=QUOTA_MINUTE', { excludeFailureClasses: ['QUOTA_MINUTE'] }],
    ['type=openai-chat-stream', { errorTypes: ['openai-chat-stream'] }],
    ['code=403', { errorCodes: [403] }],
    ['model=gemini-2.5-pro', { models: ['gemini-2.5-pro'] }],
    ['q=suspended', { contains: 'suspended' }],
    ['q=gemini-chat', { contains: 'gemini-chat' }],
    ['keytext=FakeSyDEMO01', { keyContains: 'FakeSyDEMO01' }],
  ];
  const all = await total(demo, { since });
  for (const [params, filter] of cases) {
    await open(page, demo, `/errors?${params}`);
    const expected = await total(demo, { ...filter, since });
    expect(expected, params).toBeGreaterThan(0);
    expect(expected, params).toBeLessThan(all);
    await expect
      .poll(async () => Math.abs(Number(((await page.locator('.filters-end > span').first().textContent()) ?? '').replaceAll(/\D/g, '')) - expected), params)
      .toBeLessThan(40);
  }
  await page.getByLabel('Search type and message').fill('overloaded');
  await expect(page).toHaveURL(/q=overloaded/);
  await settled(page);
  await expect(page.locator('.listing > .table-box tbody .col-message').first()).toContainText('overloaded');
});

test('error logs can be filtered, sorted and downloaded', async ({ page, demo }) => {
  await recordErrors(demo, [...logs('by-hand', 3), { errorType: 'by-hand', errorCode: 418, model: 'test-model', message: 'the fourth', key: 'a-key-of-errors' }]);
  await open(page, demo, '/errors?type=by-hand');
  await expect(page.locator('.filters-end')).toContainText('4 error logs');
  await page.getByLabel('Order').selectOption('oldest');
  await settled(page);
  const said = page.locator('.listing > .table-box tbody .col-message');
  await expect(said).toHaveText(['fault 0', 'fault 1', 'fault 2', 'the fourth']);
  await page.getByRole('button', { name: /^Code/ }).click();
  await page.getByRole('group', { name: 'Code' }).getByRole('checkbox', { name: /^500/ }).check();
  await page.keyboard.press('Escape');
  await expect(page).toHaveURL(/code=500/);
  await expect(said).toHaveText(['fault 0', 'fault 1', 'fault 2']);
  await page.getByRole('button', { name: 'Download' }).click();
  const waiting = page.waitForEvent('download');
  await page.getByRole('button', { name: 'NDJSON', exact: true }).click();
  const file = await waiting;
  expect(file.suggestedFilename()).toMatch(/^errors_\d{8}T\d{6}Z_\d{8}T\d{6}Z_type-by-hand_code-500\.ndjson$/);
  const rows = readFileSync(await file.path(), 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line) as { message: string });
  expect(rows.map(({ message }) => message)).toEqual(['fault 0', 'fault 1', 'fault 2']);
  await page.getByLabel('Key contains').fill('unknown-key');
  await expect(page.getByText('Nothing matches these filters')).toBeVisible();
});

test('a row shows the failed request', async ({ page, demo }) => {
  const { errorLogs } = await demo.ask<{ errorLogs: { nodes: { id: string; request: unknown }[] } }>('{ errorLogs(first: 200) { nodes { id request } } }');
  const kept = errorLogs.nodes.find((node) => node.request !== null);
  if (!kept) throw new Error('the demo keeps some requests');
  await open(page, demo, `/errors?error=${kept.id}`);
  const panel = page.getByRole('complementary', { name: 'Error log' });
  await expect(panel.getByText('Failed request')).toBeVisible();
  await expect(panel.locator('.code').last()).toContainText(/"(messages|contents|input|content)"/);
  await page.keyboard.press('Escape');
  await expect(panel).toHaveCount(0);
});

test('selected rows are deleted after a confirmation', async ({ page, demo }) => {
  await recordErrors(demo, logs('to-pick', 3));
  await open(page, demo, '/errors?type=to-pick');
  const boxes = page.locator('.listing > .table-box tbody input[type=checkbox]');
  await boxes.nth(0).check();
  await boxes.nth(2).check();
  await expect(page.getByText('2 selected')).toBeVisible();
  await page.getByRole('button', { name: 'Delete' }).click();
  const dialog = page.getByRole('dialog', { name: 'Delete 2 error logs?' });
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  expect(await total(demo, { errorTypes: ['to-pick'] })).toBe(3);
  await page.getByRole('button', { name: 'Delete' }).click();
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await expect(page.getByText('2 error logs deleted')).toBeVisible();
  await expect(boxes).toHaveCount(1);
  expect(await total(demo, { errorTypes: ['to-pick'] })).toBe(1);
});

test('all matching rows are deleted, beyond the loaded page, and no others', async ({ page, demo }) => {
  await recordErrors(demo, logs('to-empty', 250));
  await recordErrors(demo, logs('to-stay', 2));
  await open(page, demo, '/errors?type=to-empty');
  await page.getByLabel('Select all loaded rows').check();
  await expect(page.getByText('100 selected')).toBeVisible();
  await page.getByRole('button', { name: 'Select all 250 matching' }).click();
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog', { name: 'Delete 250 error logs?' }).getByRole('button', { name: 'Delete' }).click();
  await expect(page.getByText('250 error logs deleted')).toBeVisible();
  await expect(page.getByText('Nothing matches these filters')).toBeVisible();
  expect(await total(demo, { errorTypes: ['to-empty'] })).toBe(0);
  expect(await total(demo, { errorTypes: ['to-stay'] })).toBe(2);
});

test('a failed deletion is reported and can be retried', async ({ page, demo }) => {
  await recordErrors(demo, logs('to-fail', 2));
  await open(page, demo, '/errors?type=to-fail');
  await page.getByLabel('Select all loaded rows').check();
  await page.getByRole('button', { name: 'Delete' }).click();
  let broken = true;
  await page.route('**/graphql', (route) =>
    broken && route.request().postData()?.includes('deleteErrorLogs')
      ? route.fulfill({ status: 200, json: { errors: [{ message: 'x', extensions: { code: 'SERVER_BUSY' } }] } })
      : route.continue(),
  );
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await expect(dialog.getByRole('alert')).toHaveText('The server is busy. Try again later.');
  broken = false;
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await expect(page.getByText('2 error logs deleted')).toBeVisible();
});

test('Cancel stops a deletion after its batch and shows how many rows are deleted', async ({ page, demo }) => {
  const TOTAL = 15_000;
  const batch = logs('to-stop', 1000);
  for (let sent = 0; sent < TOTAL; sent += batch.length) await recordErrors(demo, batch);
  await open(page, demo, '/errors?type=to-stop');
  await page.getByLabel('Select all loaded rows').check();
  await page.getByRole('button', { name: 'Select all 15,000 matching' }).click();
  await page.getByRole('button', { name: 'Delete' }).click();
  const dialog = page.getByRole('dialog', { name: 'Delete 15,000 error logs?' });
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await expect.poll(() => total(demo, { errorTypes: ['to-stop'] }), { intervals: [20] }).toBeLessThan(TOTAL);
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  const notice = dialog.getByRole('alert');
  await expect(notice).toContainText(/^Stopped: [\d,]+ error logs deleted/);
  const deleted = Number(((await notice.textContent()) ?? '').replaceAll(/\D/g, ''));
  const left = await total(demo, { errorTypes: ['to-stop'] });
  expect(left).toBeGreaterThan(0);
  expect(deleted).toBe(TOTAL - left);
  expect(demo.runCommand('audit')).toContain(`stopped: 0 calls and ${deleted} error logs deleted`);
  // The list shows the remaining rows, and a second deletion deletes them.
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await expect(page.getByText(`${left.toLocaleString('en-GB')} error logs deleted`)).toBeVisible();
  expect(await total(demo, { errorTypes: ['to-stop'] })).toBe(0);
});

test('closing the page stops its deletion, and the audit log has the outcome', async ({ page, demo }) => {
  const TOTAL = 15_000;
  const batch = logs('to-leave', 1000);
  for (let sent = 0; sent < TOTAL; sent += batch.length) await recordErrors(demo, batch);
  await open(page, demo, '/errors?type=to-leave');
  await page.getByLabel('Select all loaded rows').check();
  await page.getByRole('button', { name: 'Select all 15,000 matching' }).click();
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await expect.poll(() => total(demo, { errorTypes: ['to-leave'] }), { intervals: [20] }).toBeLessThan(TOTAL);
  await page.close();
  let entry = '';
  await expect.poll(() => (entry = demo.runCommand('audit').trimEnd().split('\n').at(-1) ?? '')).toContain('stopped: ');
  expect(entry).toContain('to-leave');
  const left = await total(demo, { errorTypes: ['to-leave'] });
  expect(left).toBeGreaterThan(0);
  expect(entry).toContain(`stopped: 0 calls and ${TOTAL - left} error logs deleted`);
});

test('after a lost answer the page shows the outcome from the audit log', async ({ page, demo }) => {
  await recordErrors(demo, logs('to-lose', 3));
  await open(page, demo, '/errors?type=to-lose');
  await page.getByLabel('Select all loaded rows').check();
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.route('**/graphql', async (route) => {
    if (!route.request().postData()?.includes('deleteErrorLogs')) return route.continue();
    await route.fetch();
    return route.abort('connectionreset');
  });
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await expect(page.getByText('3 error logs deleted')).toBeVisible();
  expect(await total(demo, { errorTypes: ['to-lose'] })).toBe(0);
});

test('the cause of a failure and what helps are shown', async ({ page }) => {
  await withServer(async (server) => {
    await recordErrors(server, [{ errorType: 'chat', errorCode: 400, key: 'a-key-of-a-cause', message: 'API key not valid. Please pass a valid API key.' }]);
    await open(page, server, '/errors');
    await page.locator('.listing > .table-box tbody tr[aria-rowindex]').first().click();
    const panel = page.getByRole('complementary');
    await expect(panel.locator('.cause')).toHaveText('CauseInvalid key – use another key or account');
  });
});

test('messages that differ in numbers are one group', async ({ page }) => {
  await withServer(async (server) => {
    await recordErrors(server, Array.from({ length: 5 }, (_, index) => ({ errorType: index < 4 ? 'chat' : 'embed', errorCode: 500, message: `Worker ${index}7 of job 0x${index}ff3 stopped after ${index}.5 s` })));
    await open(page, server, '/errors');
    const groups = page.locator('.groups tbody tr');
    await expect(groups).toHaveCount(1);
    await expect(groups.locator('.col-message')).toHaveText('Worker <*> of job <*> stopped after <*>');
    await expect(groups.locator('.col-count')).toHaveText('5');
    await expect(groups.locator('.col-type')).toHaveText('chat and 1 more');
  });
});

test('groups show their development, keys and models, and can be muted', async ({ page }) => {
  await withServer(async (server) => {
    const ago = (hours: number): string => new Date(Date.now() - hours * 3_600_000).toISOString();
    const error = (errorType: string, key: string, model: string, hours: number) => ({ errorType, errorCode: 500, key, model, message: 'fault', timestamp: ago(hours) });
    await recordErrors(server, [
      ...[1, 3, 3.1, 23].map((hours, index) => error('chat', `a-key-of-issues-000${index % 3}`, index < 2 ? 'm1' : 'm2', hours)),
      { errorType: 'embed', errorCode: 500, message: 'another', timestamp: ago(5) },
    ]);
    await open(page, server, '/errors');
    const group = (type: string) => page.locator('.groups tbody tr', { hasText: type });
    await expect(group('chat').locator('.col-affected')).toHaveText(['3', '2']);
    await expect(group('embed').locator('.col-affected')).toHaveText(['0', '0']);
    // Parts of two hours; the last one ends now.
    await expect(group('chat').locator('.spark')).toHaveAttribute('aria-label', 'Error logs in each twelfth of the range: 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1');
    await group('embed').getByRole('button', { name: 'Mute this group' }).click();
    await expect(group('embed')).toHaveCount(0);
    await expect(page.locator('.groups')).toContainText('1 muted group');
    // Its rows stay.
    await expect(page.locator('.listing > .table-box tbody tr')).toHaveCount(5);
    await page.reload();
    await settled(page);
    await expect(group('embed')).toHaveCount(0);
    await page.locator('.groups').getByRole('button', { name: 'Show' }).click();
    await expect(page).toHaveURL(/muted=1/);
    await group('embed').getByRole('button', { name: 'Show this group again' }).click();
    await expect(page.locator('.groups-muted')).toHaveCount(0);
    await expect(group('embed')).toHaveCount(1);
  });
});

test('a value of an error log can be left out', async ({ page, demo }) => {
  await recordErrors(demo, [...logs('to-leave-out', 2), { errorType: 'to-leave-out', errorCode: 418, model: 'test-model', message: 'the third', key: 'a-key-of-errors' }]);
  await open(page, demo, '/errors?type=to-leave-out');
  const rows = page.locator('.listing > .table-box tbody tr[aria-rowindex]');
  await expect(rows).toHaveCount(3);
  const cell = rows.filter({ hasText: 'the third' }).locator('.col-code');
  await cell.hover();
  await cell.getByRole('button', { name: 'Exclude this value' }).click();
  await expect(page).toHaveURL(/-code=418/);
  await expect(rows).toHaveCount(2);
  // The subscription leaves it out as well.
  await recordErrors(demo, [{ errorType: 'to-leave-out', errorCode: 418, message: 'not shown' }, { errorType: 'to-leave-out', errorCode: null, message: 'without a code' }]);
  await expect(rows.first()).toContainText('without a code');
  await expect(rows).toHaveCount(3);
  await page.getByRole('group', { name: 'Excluded' }).getByRole('button', { name: '418' }).click();
  await expect(rows).toHaveCount(5);
});
