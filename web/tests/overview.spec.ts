import { dragIn, expect, open, recordCalls, selectionMenu, settled, test } from './servers';

interface Usage {
  usageStats: { last24Hours: { total: number }; lastHour: { total: number } };
}

const card = '.card:has-text("Last hour") .card-total';
const number = (text: string | null): number => Number((text ?? '').replaceAll(/\D/g, ''));

test('starts with the most severe incident, and how the calls went', async ({ page, demo }) => {
  const before = await demo.ask<Usage>('{ usageStats { last24Hours { total } lastHour { total } } }');
  await open(page, demo, '/');
  // The demo always has a dead key.
  await expect(page.locator('.headline a').first()).toHaveText(/ since 20\d\d-\d\d-\d\d \d\d:\d\d UTC \(\d{3}, [\d,]+ of [\d,]+ calls\): .+\.$/);
  const rate = page.locator('.rate');
  await expect(rate).toHaveText(/^\d+(\.\d+)?% of [\d,]+ calls succeeded in the last 24 hours$/);
  const shown = number((/of ([\d,]+) calls/.exec((await rate.textContent()) ?? '') ?? [])[1] ?? '');
  // Calls arrive and others leave the window meanwhile.
  expect(Math.abs(shown - before.usageStats.last24Hours.total)).toBeLessThan(200);

  const dead = page.locator('.incident', { hasText: 'Key rejected' });
  await expect(dead).toHaveCount(1);
  await expect(dead).toContainText(/Warning.*ongoing.*The provider has rejected key Fake\.\.\..{4} since.*failed calls.*Replace the key/);
  await dead.locator('.key').click();
  await expect(page).toHaveURL(/\/keys\/key_/);
  await expect(page.locator('.incident', { hasText: 'Key rejected' })).toHaveCount(1);
});

test('compares five windows with the previous ones', async ({ page, demo }) => {
  await open(page, demo, '/');
  await expect(page.locator('.card-label')).toHaveText(['Last minute', 'Last hour', 'Last 8 hours', 'Last 24 hours', 'This month']);
  await expect(page.locator('.card', { hasText: 'Last 24 hours' })).toContainText(/calls compared with the previous 24 hours/);
  const all = await demo.ask<{ usageStats: { currentMonth: { total: number } } }>('{ usageStats(timeZone: "Europe/Berlin") { currentMonth { total } } }');
  const shown = number(await page.locator('.card:has-text("This month") .card-total').textContent());
  expect(Math.abs(shown - all.usageStats.currentMonth.total)).toBeLessThan(100);
});

test('updates live, and pauses', async ({ page, demo }) => {
  await open(page, demo, '/');
  await expect(page.locator('.live')).toHaveText('Live');
  const calls = (count: number): Record<string, unknown>[] => Array.from({ length: count }, () => ({ model: 'live', statusCode: 200, latencyMs: 5 }));
  const before = number(await page.locator(card).textContent());
  await recordCalls(demo, calls(500));
  await expect.poll(async () => number(await page.locator(card).textContent())).toBeGreaterThanOrEqual(before + 400);

  await page.keyboard.press('p');
  await expect(page.locator('.live')).toHaveText('Paused');
  const paused = await page.locator(card).textContent();
  const requested: string[] = [];
  page.on('request', (request) => requested.push(request.url()));
  await recordCalls(demo, calls(500));
  // The stream would show new calls, with events every two seconds; the server's
  // clock has advanced by more than that after responses for four different seconds.
  const seconds = new Set<string>();
  await expect
    .poll(async () => seconds.add((await demo.ask<{ serverInfo: { now: string } }>('{ serverInfo { now } }')).serverInfo.now.slice(0, 19)).size)
    .toBeGreaterThan(4);
  expect(await page.locator(card).textContent()).toBe(paused);
  expect(requested).toEqual([]);
  await page.getByRole('button', { name: 'Resume' }).click();
  await expect.poll(async () => number(await page.locator(card).textContent())).toBeGreaterThan(number(paused) + 400);
});

test('zooms by dragging, and back by the browser history', async ({ page, demo }) => {
  await open(page, demo, '/');
  await dragIn(page, page.locator('.plot .u-over').first(), 0.3, 0.5);
  await selectionMenu(page).getByRole('button', { name: 'Zoom' }).click();
  await expect(page).toHaveURL(/since=.+&until=.+/);
  const zoomed = new URL(page.url()).searchParams;
  const hours = (Date.parse(zoomed.get('until') ?? '') - Date.parse(zoomed.get('since') ?? '')) / 3_600_000;
  expect(hours).toBeGreaterThan(4);
  expect(hours).toBeLessThan(6);
  await settled(page);
  // A link to a range leads every user to the same view.
  await page.reload();
  await settled(page);
  await expect(page.getByRole('button', { name: 'Back to 24 hours' })).toBeVisible();
  await page.goBack();
  await expect(page).toHaveURL(`${demo.url}/`);
  await expect(page.getByRole('button', { name: '24 h', exact: true })).toHaveAttribute('aria-pressed', 'true');
});

test('a segment of a bar opens its calls', async ({ page, demo }) => {
  await open(page, demo, '/');
  const plot = page.locator('.plot .u-over').first();
  await plot.scrollIntoViewIfNeeded();
  let box = await plot.boundingBox();
  if (!box) throw new Error('no chart');
  const tooltip = page.locator('.tooltip').first();
  let [x, succeeded, failed] = [0, 0, 0];
  // A bar with more than four pixels of successes.
  for (const share of [0.7, 0.65, 0.6, 0.55, 0.5, 0.4, 0.3]) {
    x = box.x + box.width * share;
    await page.mouse.move(x, box.y + box.height - 4);
    await expect(tooltip).toBeVisible();
    [succeeded = 0, failed = 0] = (await tooltip.locator('dd').allTextContents()).slice(0, 2).map(number);
    if (succeeded >= 30 && succeeded > failed) break;
  }
  // The lowest segment has the successes.
  await page.mouse.click(x, box.y + box.height - 4);
  await expect(page).toHaveURL(/\/calls\?since=.+&until=.+&status=success/);
  await settled(page);
  await expect(page.locator('.filters-end')).toContainText(`${succeeded} call`);
  // Above the bar are all calls. Both views have a chart: wait for that of the overview.
  await page.goBack();
  await expect(page.locator('.cards')).toBeVisible();
  await settled(page);
  await plot.scrollIntoViewIfNeeded();
  box = await plot.boundingBox();
  if (!box) throw new Error('no chart');
  await page.mouse.click(x, box.y + 2);
  await expect(page).toHaveURL(/\/calls\?since=.+&until=[^&]+$/);
  await settled(page);
  await expect(page.locator('.filters-end')).toContainText(`${succeeded + failed} call`);
});

test('charts can be used with the keyboard and a screen reader', async ({ page, demo }) => {
  await open(page, demo, '/');
  const plot = page.getByRole('application', { name: 'Calls over time' });
  await plot.focus();
  await page.keyboard.press('End');
  await page.keyboard.press('ArrowLeft');
  await expect(plot.locator('[aria-live]')).toHaveText(/\d+ calls?, \d+ failed(, [A-Z].+)?$/);
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/calls\?since=/);
  await page.goBack();
  await page.getByRole('button', { name: 'Show as table' }).first().click();
  await expect(page.getByRole('region', { name: 'Show as table' }).getByRole('row')).not.toHaveCount(0);
  await page.getByRole('button', { name: 'Show as table' }).nth(1).click();
  await expect(page.getByRole('region', { name: 'Show as table' }).nth(1).getByRole('columnheader')).toHaveText(['Start', 'p50', 'p95', 'p99']);
});

test('range and interval are in the address', async ({ page, demo }) => {
  await open(page, demo, '/');
  for (const [name, param] of [['1 h', '1h'], ['8 h', '8h'], ['7 d', '7d'], ['30 d', '30d'], ['Month', 'month']] as const) {
    await page.getByRole('button', { name, exact: true }).click();
    await expect(page).toHaveURL(new RegExp(`range=${param}`));
  }
  await page.getByRole('button', { name: '8 h', exact: true }).click();
  const requested = page.waitForRequest((request) => request.postData()?.includes('"interval":"PT1800S"') ?? false);
  await page.getByLabel('Interval').selectOption({ label: '30m' });
  await requested;
  await expect(page).toHaveURL(/interval=1800/);
});

test('status codes and models open their calls', async ({ page, demo }) => {
  await open(page, demo, '/');
  await page.locator('.bar-row', { hasText: '403' }).click();
  await expect(page).toHaveURL(/\/calls\?code=403/);
  await settled(page);
  await expect(page.locator('tbody .col-status').first()).toContainText('403');
  await page.goBack();
  await page.getByRole('link', { name: 'gemini-2.5-pro', exact: true }).click();
  await expect(page).toHaveURL(/\/calls\?model=gemini-2.5-pro/);
});

test('an empty database has placeholders', async ({ page, empty }) => {
  await open(page, empty, '/');
  await expect(page.locator('.sentence')).toHaveText('No calls in the last 24 hours');
  await expect(page.locator('.incidents')).toContainText('No incident.');
  await expect(page.locator('.incident')).toHaveCount(0);
  for (const path of ['/calls', '/keys', '/errors']) {
    await open(page, empty, path);
    await expect(page.locator('.empty')).toBeVisible();
  }
});
