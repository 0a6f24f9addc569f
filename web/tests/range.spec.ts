// What the page says is true for the range that it shows, also where it does not know.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, OLD_DAY, open, recordCalls, settled, test, withServer } from './servers';

const REAL = 'since=2026-11-22T21:51:00Z&until=2026-11-22T21:53:00Z';

const number = (text: string | null): number => Number((text ?? '').replaceAll(/\D/g, ''));

test('headline, cards and attention are those of a past range, at its end', async ({ page, real }) => {
  await open(page, real, `/?${REAL}`);
  // 472 calls failed; no text says that the keys are healthy.
  await expect(page.locator('.sentence')).toHaveText(/^59\.3% of 1,161 calls succeeded during 22 Nov, 22:51–22:53; the pool fails as a whole$/);
  await expect(page.locator('main')).not.toContainText(/all keys are healthy|no key needs attention|All keys are healthy/);
  await expect(page.locator('.cards-end')).toHaveText('Calls up to 22 Nov, 22:53:00');
  await expect(page.locator('.card-label')).toHaveText(['Final minute', 'Final hour', 'Final 8 hours', 'Final 24 hours', 'Month to date']);
  await expect(page.locator('.card:has-text("Final hour") .card-total')).toHaveText('1,161');
  await expect(page.locator('.attention h2')).toHaveText('Keys that needed attention at 22 Nov, 22:53:00');
  await expect(page.locator('.attention .notice')).toContainText(/%/);
  // The card opens its own window.
  await page.locator('.card', { hasText: 'Final hour' }).click();
  await expect(page).toHaveURL(/since=2026-11-22T20:53:00.000Z&until=2026-11-22T21:53:00.000Z/);
});

test('the states of keys are those at the end of the range', async ({ page, real }) => {
  await open(page, real, `/keys?${REAL}`);
  const states = new Set(await page.locator('tbody .col-state').allTextContents());
  expect(states).toEqual(new Set(['Like the pool']));
  // The last call within the range, though some keys were called later.
  const seen = await page.locator('tbody .col-seen time').evaluateAll((all) => all.map((one) => one.getAttribute('datetime') ?? ''));
  expect(seen.length).toBeGreaterThan(10);
  for (const at of seen) expect(at < '2026-11-22T21:53:00Z', at).toBe(true);
});

test('a dead key shows since when, in the list of attention, on its page and in tooltips', async ({ page }) => {
  await withServer(async (server) => {
    const start = Date.now();
    const at = (minutesAgo: number): string => new Date(start - minutesAgo * 60_000).toISOString();
    const key = 'a-key-that-died-00000001';
    const call = (minutes: number, statusCode: number): Record<string, unknown> => ({ timestamp: at(minutes), key, model: 'm', statusCode, latencyMs: 5 });
    await recordCalls(server, [call(200, 401), call(100, 200), call(90, 200), ...[80, 70, 45, 40, 30].map((minutes) => call(minutes, 401))]);
    const clock = (minutesAgo: number): string => new Date(at(minutesAgo)).toLocaleTimeString('en-GB', { timeZone: 'Europe/Berlin' });
    const expected = new RegExp(`Dead since .*${clock(80)}, last success .*${clock(90)}, 5 refusals`);
    await open(page, server, '/');
    await expect(page.locator('.unhealthy-row')).toContainText(expected);
    await open(page, server, '/keys');
    await expect(page.locator('tbody .tag-dead')).toHaveAttribute('title', expected);
    await page.locator('tbody a').first().click();
    await expect(page.locator('.reasoning')).toContainText(expected);
    // Before it died.
    await open(page, server, `/keys?since=${at(120)}&until=${at(85)}`);
    await expect(page.locator('tbody .col-state')).toHaveText('Too few calls');
  });
});

test('too few calls and no recent calls are no health', async ({ page, old }) => {
  await open(page, old, `/keys?since=${OLD_DAY}T00:00:00Z&until=${OLD_DAY}T12:00:00Z`);
  await expect(page.locator('tbody .col-state .tag').first()).toHaveText('Healthy');
  await open(page, old, '/keys?range=1h');
  await expect(page.locator('tbody .col-state').first()).toHaveText('No recent calls');
  await expect(page.locator('tbody .tag-healthy')).toHaveCount(0);
  await page.getByLabel('State').selectOption('noCalls');
  await expect(page.locator('.filters-end')).toContainText('20 keys');
  // Three minutes after the first call of the month, no key has been called often.
  await open(page, old, '/keys?since=2025-01-08T08:26:00Z&until=2025-01-08T08:29:00Z');
  await expect(page.locator('tbody .col-state').first()).toHaveText('Too few calls');
  await open(page, old, '/?since=2025-01-08T08:26:00Z&until=2025-01-08T08:29:00Z');
  await expect(page.locator('.sentence')).toContainText('too few calls to judge the keys');
  await expect(page.locator('main')).not.toContainText('All keys are healthy');
});

test('a silent pool is an alarm, and a button shows its last day', async ({ page, old }) => {
  await open(page, old, '/');
  await expect(page.locator('.sentence')).toHaveText('No calls in the last 24 hours');
  const alarm = page.getByRole('alert');
  await expect(alarm).toContainText('The whole pool is silent.');
  await expect(alarm).toContainText(/Last call 31 Jan 2025, 12:59 \(\d+ days ago\)/);
  await expect(page.locator('main')).not.toContainText(/healthy|no key needs attention/i);
  await alarm.getByRole('button', { name: 'Show that day' }).click();
  // Berlin's day.
  await expect(page).toHaveURL(/since=2025-01-30T23:00:00.000Z&until=2025-01-31T23:00:00.000Z/);
  await settled(page);
  await expect(page.locator('.sentence')).toContainText('calls succeeded');
  await expect(page.getByRole('alert')).toHaveCount(0);
  for (const path of ['/calls', '/keys?range=1h&q=nothing-has-this']) {
    await open(page, old, path);
    await expect(page.locator('.empty')).toBeVisible();
  }
  await open(page, old, '/calls');
  await page.getByRole('button', { name: 'Show that day' }).click();
  await settled(page);
  await expect(page.locator('tbody tr').first()).toContainText('31 Jan');
});

test('an empty database explains how to record or attach', async ({ page, empty }) => {
  for (const path of ['/', '/calls', '/keys']) {
    await open(page, empty, path);
    await expect(page.getByText('callscope serve --database-url').first()).toBeVisible();
    await expect(page.getByText(`${empty.url}/ingest/calls`).first()).toBeVisible();
    await expect(page.getByText('callscope import').first()).toBeVisible();
  }
});

test('facets count with the range and the other filters', async ({ page, real }) => {
  await open(page, real, `/calls?${REAL}&code=403`);
  const first = async (label: string): Promise<number> => {
    await page.getByRole('button', { name: new RegExp(`^${label}`) }).click();
    const counts = await page.getByRole('group', { name: label, exact: true }).locator('.num').allTextContents();
    await page.keyboard.press('Escape');
    return counts.map(number).reduce((sum, count) => sum + count, 0);
  };
  const total = number(await page.locator('.filters-end > span').first().textContent());
  expect(total).toBeGreaterThan(0);
  expect(await first('Model')).toBe(total);
  // The other codes can still be chosen.
  expect(await first('Code')).toBeGreaterThan(900);
  await open(page, real, `/errors?${REAL}&code=403`);
  const logs = number(await page.locator('.filters-end > span').first().textContent());
  expect(await first('Model')).toBe(logs);
  expect(await first('Code')).toBeGreaterThan(logs);
});

test('the first time of an error group is its first ever, marked if it is within the range', async ({ page, demo }) => {
  const ago = (days: number): string => new Date(Date.now() - days * 86_400_000).toISOString();
  const errors = [
    { errorType: 'first-old', errorCode: 500, message: 'x', timestamp: ago(9.1) },
    { errorType: 'first-old', errorCode: 500, message: 'x' },
    { errorType: 'first-new', errorCode: 500, message: 'x', timestamp: ago(0.5) },
    { errorType: 'first-new', errorCode: 500, message: 'x' },
  ];
  await demo.ask('mutation R($errors: [ErrorLogInput!]!) { recordErrors(input: {errors: $errors}) { recorded } }', { errors });
  await open(page, demo, '/errors');
  const group = (type: string) => page.locator('.groups tbody tr', { hasText: type });
  await expect(group('first-old').locator('.col-first-seen')).toHaveText('9 days ago');
  await expect(group('first-new').locator('.col-first-seen')).toHaveText(/^12 hr\.? ago\s*new$/);
});

test('only live views say that they are live', async ({ page, demo }) => {
  await open(page, demo, '/');
  await expect(page.locator('.live')).toHaveText('Live');
  const asked: string[] = [];
  page.on('request', (request) => asked.push(request.url()));
  const until = new Date(Date.now() - 3_600_000).toISOString();
  const since = new Date(Date.now() - 7_200_000).toISOString();
  for (const path of [`/?since=${since}&until=${until}`, `/calls?since=${since}&until=${until}`, '/calls?sort=slowest', `/keys?since=${since}&until=${until}`, '/errors?range=yesterday']) {
    await open(page, demo, path);
    await expect(page.locator('.live'), path).toHaveText('Not live');
  }
  expect(asked.filter((url) => url.endsWith('/graphql/stream'))).toEqual([]);
});

test('a broken file is reported as such, and the page recovers with it', async ({ page }) => {
  await withServer(async (server, folder) => {
    await recordCalls(server, [{ model: 'm', statusCode: 200, latencyMs: 5 }]);
    // All rows are in the file itself.
    await server.stop();
    await server.restart();
    await open(page, server, '/');
    await expect(page.locator('.live')).toHaveText('Live');
    const file = join(folder, 'calls.db');
    const content = readFileSync(file);
    const brokenAt = Date.now();
    writeFileSync(file, Buffer.alloc(content.length, 'this was a database. '));
    await page.getByRole('button', { name: '7 d', exact: true }).click();
    await expect(page.locator('.live')).toHaveText('No database');
    test.info().annotations.push({ type: 'detected', description: `${Date.now() - brokenAt} ms` });
    await expect(page.getByText('The database cannot be read').first()).toBeVisible();
    await expect(page.locator('main')).not.toContainText(/busy|overloaded/);
    await expect(page.locator('main')).not.toContainText(/healthy|no key needs attention/i);
    writeFileSync(file, content);
    await expect(page.locator('.live')).toHaveText('Live');
    await expect(page.locator('.sentence')).toContainText('100% of 1 calls');
  });
});

test('after a restart the page is connected again within three seconds', async ({ page }) => {
  await withServer(async (server) => {
    await recordCalls(server, [{ model: 'm', statusCode: 200, latencyMs: 5 }]);
    await open(page, server, '/calls');
    await expect(page.locator('.live')).toHaveText('Live');
    await server.stop();
    await expect(page.locator('.live')).toHaveText('Disconnected');
    // The backoff of the stream exceeds three seconds by then.
    await page.waitForTimeout(9000);
    await server.restart();
    const restarted = Date.now();
    await expect(page.locator('.live')).toHaveText('Live');
    expect(Date.now() - restarted).toBeLessThan(3000);
    await recordCalls(server, [{ model: 'm2', statusCode: 200, latencyMs: 5 }]);
    await expect(page.locator('tbody tr')).toHaveCount(2);
  });
});
