// What the page says is true for the range that it shows, also where it does not know.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, OLD_CALLS, OLD_DAY, open, recordCalls, settled, test, withServer } from './servers';

const REAL = 'since=2026-11-22T21:51:00Z&until=2026-11-22T21:53:00Z';

const number = (text: string | null): number => Number((text ?? '').replaceAll(/\D/g, ''));

test('headline, cards and incidents are those of a past range, at its end', async ({ page, real }) => {
  await open(page, real, `/?${REAL}`);
  // 472 calls failed; no text says that the keys are healthy.
  await expect(page.locator('.headline')).toHaveText('40.7% of the calls failed during 22 Nov, 22:51–22:53; many of them without a known cause');
  await expect(page.locator('.incidents')).toContainText(/since 2026-11-22 21:5\d UTC/);
  await expect(page.locator('.rate')).toHaveText('59.3% of 1,161 calls succeeded during 22 Nov, 22:51–22:53');
  await expect(page.locator('main')).not.toContainText(/healthy/i);
  await expect(page.locator('.cards-end')).toHaveText('Calls up to 22 Nov, 22:53:00');
  await expect(page.locator('.card-label')).toHaveText(['Final minute', 'Final hour', 'Final 8 hours', 'Final 24 hours', 'Month to date']);
  await expect(page.locator('.card:has-text("Final hour") .card-total')).toHaveText('1,161');
  await expect(page.locator('.incidents .panel-head')).toHaveText(/Incidents\s*during 22 Nov, 22:51–22:53/);
  // The card opens its own window.
  await page.locator('.card', { hasText: 'Final hour' }).click();
  await expect(page).toHaveURL(/since=2026-11-22T20:53:00.000Z&until=2026-11-22T21:53:00.000Z/);
});

test('the states of keys are those at the end of the range', async ({ page, real }) => {
  await open(page, real, `/keys?${REAL}`);
  // Those of the diagnoses of the API.
  const query = 'query K($asOf: DateTime!) { apiKeys(first: 1000) { nodes { id masked diagnoses(asOf: $asOf) { cause keys { id } } } } }';
  type Keys = { apiKeys: { nodes: { id: string; masked: string; diagnoses: { cause: string; keys: { id: string }[] }[] }[] } };
  const { apiKeys } = await real.ask<Keys>(query, { asOf: '2026-11-22T21:53:00Z' });
  const exhausted = apiKeys.nodes.filter(({ id, diagnoses }) => diagnoses.some(({ cause, keys }) => cause === 'QUOTA_EXHAUSTED' && keys.some((key) => key.id === id)));
  expect(exhausted.length).toBeGreaterThan(0);
  const shown = await page.locator('tbody tr', { has: page.locator('.tag-quota') }).locator('.col-key').allTextContents();
  expect(shown.sort()).toEqual(exhausted.map(({ masked }) => masked.replace('...', '…')).sort());
  // The last call within the range, though some keys were called later.
  const seen = await page.locator('tbody .col-seen time').evaluateAll((all) => all.map((one) => one.getAttribute('datetime') ?? ''));
  expect(seen.length).toBeGreaterThan(10);
  for (const at of seen) expect(at < '2026-11-22T21:53:00Z', at).toBe(true);
});

test('a dead key shows since when, on the overview, on its page and in tooltips', async ({ page }) => {
  await withServer(async (server) => {
    const start = Date.now();
    const at = (minutesAgo: number): string => new Date(start - minutesAgo * 60_000).toISOString();
    const key = 'a-key-that-died-00000001';
    const call = (minutes: number, statusCode: number): Record<string, unknown> => ({ timestamp: at(minutes), key, model: 'm', statusCode, latencyMs: 5 });
    await recordCalls(server, [call(200, 401), call(100, 200), call(90, 200), ...[80, 70, 45, 40, 30].map((minutes) => call(minutes, 401))]);
    const minute = `${at(80).slice(0, 10)} ${at(80).slice(11, 16)} UTC`;
    const expected = `The provider has rejected key a-ke...0001 since ${minute} (401, 5 of 5 calls): replace the key.`;
    await open(page, server, '/');
    await expect(page.locator('.headline')).toHaveText(expected);
    // The time zone of the page.
    await expect(page.locator('.incident time').first()).toContainText(new Date(at(80)).toLocaleTimeString('en-GB', { timeZone: 'Europe/Berlin' }));
    await expect(page.locator('.incident')).toContainText('5 failed calls');
    const clock = (minutes: number): string => new Date(at(minutes)).toLocaleTimeString('en-GB', { timeZone: 'Europe/Berlin' });
    await expect(page.locator('.incident')).toContainText(new RegExp(`Last success before .*${clock(90)}`));
    await page.locator('.incident-sentence').click();
    await expect(page.locator('.drawer')).toContainText(new RegExp(`Last success before.*${clock(90)}`));
    await open(page, server, '/keys');
    await expect(page.locator('tbody .since')).toHaveText(new RegExp(`^since .*${clock(80)}$`));
    const title = (await page.locator('tbody .tag-dead').getAttribute('title')) ?? '';
    expect(title).toContain(expected);
    expect(title).toMatch(new RegExp(`^Since .*${clock(80)}, last success .*${clock(90)}, 5 failed calls in up to 25 hours`));
    await page.locator('tbody a').first().click();
    await expect(page.locator('.incident')).toContainText(expected);
    await expect(page.locator('.key-head')).toContainText(new RegExp(`Since .*${clock(80)}, last success .*${clock(90)}`));
    // Before it died.
    await open(page, server, `/keys?since=${at(120)}&until=${at(85)}`);
    await expect(page.locator('tbody .col-state')).toHaveText('Too few calls');
    await open(page, server, `/?since=${at(120)}&until=${at(85)}`);
    await expect(page.locator('.headline')).toHaveText(/^Too few calls to find incidents: 2 calls during/);
    await expect(page.locator('main')).not.toContainText(/healthy/i);
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
});

test('without calls, a button shows the last day with some', async ({ page, old }) => {
  await open(page, old, '/');
  const sentence = page.locator('.sentence');
  await expect(sentence.locator('.headline')).toHaveText('No calls in the last 24 hours');
  // The pool was in use before: an alarm. Before its first call it was not.
  await expect(sentence.locator('.headline')).toHaveClass(/headline-CRITICAL/);
  await expect(sentence).toContainText(/Last call 31 Jan 2025, 12:59 \(\d+ days ago\)/);
  await expect(page.locator('main')).not.toContainText(/healthy/i);
  await sentence.getByRole('button', { name: 'Show that day' }).click();
  // Berlin's day.
  await expect(page).toHaveURL(/since=2025-01-30T23:00:00.000Z&until=2025-01-31T23:00:00.000Z/);
  await settled(page);
  await expect(page.locator('.sentence')).toContainText('calls succeeded');
  for (const path of ['/calls', '/keys?range=1h&q=nothing-has-this']) {
    await open(page, old, path);
    await expect(page.locator('.empty')).toBeVisible();
  }
  await open(page, old, '/calls');
  await page.getByRole('button', { name: 'Show that day' }).click();
  await settled(page);
  await expect(page.locator('tbody tr').first()).toContainText('31 Jan');
});

test('before its first call a pool is not silent', async ({ page, old }) => {
  await open(page, old, '/?since=2024-06-01T00:00:00Z&until=2024-06-02T00:00:00Z');
  await expect(page.locator('.headline')).toHaveText(/^No calls/);
  await expect(page.locator('.headline')).not.toHaveClass(/headline-CRITICAL/);
});

test('a million calls of last year: each view shows them all', async ({ page, old }) => {
  const month = 'since=2025-01-01T00:00:00Z&until=2025-02-01T00:00:00Z';
  const { callDetails } = await old.ask<{ callDetails: { totalCount: number } }>('{ callDetails(between: { since: "2025-01-01T00:00:00Z", until: "2025-02-01T00:00:00Z" }, first: 1) { totalCount } }');
  expect(callDetails.totalCount).toBe(OLD_CALLS);
  await open(page, old, `/?${month}`);
  await expect(page.locator('.rate')).toContainText('90% of 1,000,000 calls succeeded');
  await expect(page.locator('.table.plain tbody tr')).toContainText(/old-model.*1,000,000.*100,000/);
  await open(page, old, `/calls?${month}`);
  await expect(page.locator('.filters-end')).toContainText('1,000,000 calls');
  await open(page, old, `/keys?${month}`);
  const counts = (await page.locator('tbody .col-calls').allTextContents()).map(number);
  expect(counts).toHaveLength(20);
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(OLD_CALLS);
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
    { errorType: 'first-old', errorCode: 500, message: 'the old failure', timestamp: ago(9.1) },
    { errorType: 'first-old', errorCode: 500, message: 'the old failure' },
    { errorType: 'first-new', errorCode: 500, message: 'the new failure', timestamp: ago(0.5) },
    { errorType: 'first-new', errorCode: 500, message: 'the new failure' },
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
    // SQLite has the pages of this view in memory.
    await page.getByRole('navigation').getByRole('link', { name: 'Errors' }).click();
    await expect(page.locator('.live')).toHaveText('No database');
    test.info().annotations.push({ type: 'detected', description: `${Date.now() - brokenAt} ms` });
    await expect(page.getByText('The database cannot be read').first()).toBeVisible();
    await expect(page.locator('main')).not.toContainText(/busy|overloaded/);
    await expect(page.locator('main')).not.toContainText(/healthy/i);
    writeFileSync(file, content);
    await expect(page.locator('.live')).toHaveText('Live');
    await page.getByRole('navigation').getByRole('link', { name: 'Overview' }).click();
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
