// Slow answers: a progress bar with Cancel, and no data of another range meanwhile.
import type { Page, Route } from '@playwright/test';
import { expect, open, test } from './servers';

/** Delays the answers to documents (`A|B`) until the returned function is called. */
async function hold(page: Page, documents: string): Promise<() => void> {
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route('**/graphql', async (route: Route) => {
    if (new RegExp(`query (${documents})\\(`).test(route.request().postData() ?? '')) await held;
    // A cancelled request cannot continue.
    await route.continue().catch(() => undefined);
  });
  return release;
}

test('old curves are not shown under new dates', async ({ page, demo }) => {
  await open(page, demo, '/');
  await expect(page.locator('.plot canvas').first()).toBeVisible();
  const release = await hold(page, 'Range|Latencies');
  await page.getByRole('button', { name: '7 d', exact: true }).click();
  await expect(page).toHaveURL(/range=7d/);
  await expect(page.locator('.progress')).toBeVisible();
  for (const part of ['.plot canvas', '.bar-row', '.table.plain tbody tr']) {
    for (const one of await page.locator(part).all()) await expect(one, part).toBeHidden();
  }
  await expect(page.locator('.sentence')).not.toContainText('calls succeeded');
  release();
  await expect(page.locator('.plot canvas').first()).toBeVisible();
  await expect(page.locator('.sentence')).toContainText('calls succeeded in the last 7 days');
  await expect(page.locator('.progress')).toHaveCount(0);
});

for (const { path, document, counts } of [
  { path: '/', document: 'Latencies', counts: '.plot canvas, .bar-row, .table.plain td.num' },
  { path: '/keys', document: 'KeyLatencies', counts: 'tbody .col-calls' },
]) {
  test(`the counts of ${path} do not wait for percentiles`, async ({ page, demo }) => {
    const release = await hold(page, document);
    await page.goto(`${demo.url}${path}?range=7d`);
    await expect(page.locator('tbody tr').first()).toBeVisible();
    await expect(page.locator(counts).first()).toBeVisible();
    const percentiles = page.locator(path === '/' ? '.table.plain td:last-child' : 'tbody .col-p95').first();
    await expect(percentiles).toHaveText('–');
    release();
    await expect(percentiles).not.toHaveText('–');
  });
}

for (const { path, document } of [
  { path: '/calls', document: 'Calls' },
  { path: '/errors', document: 'Errors' },
]) {
  test(`the rows of ${path} are not shown under new dates`, async ({ page, demo }) => {
    await open(page, demo, path);
    const rows = page.locator('.listing > .table-box');
    const total = page.getByText(/^[\d,]+ (calls|error logs|errors)$/);
    await expect(rows).toBeVisible();
    await expect(total).toBeVisible();
    const release = await hold(page, document);
    await page.getByRole('button', { name: '30 d', exact: true }).click();
    await expect(page.locator('.progress')).toBeVisible();
    await expect(rows).toBeHidden();
    await expect(total).toHaveCount(0);
    release();
    await expect(rows).toBeVisible();
    await expect(total).toBeVisible();
  });
}

for (const { path, document } of [
  { path: '/', document: 'Range' },
  { path: '/calls', document: 'Calls' },
  { path: '/keys', document: 'KeyTable' },
  { path: '/errors', document: 'Errors' },
]) {
  test(`a slow ${document} shows a progress bar, and Cancel closes its connection`, async ({ page, demo }) => {
    const failed: string[] = [];
    page.on('requestfailed', (request) => failed.push(/query (\w+)/.exec(request.postData() ?? '')?.[1] ?? ''));
    await open(page, demo, path);
    await expect(page.locator('.progress')).toHaveCount(0);
    await hold(page, document);
    await page.getByRole('button', { name: '30 d', exact: true }).click();
    await expect(page.getByRole('progressbar')).toBeVisible();
    await page.locator('.progress').getByRole('button', { name: 'Cancel' }).click();
    await expect(page.getByText('Loading was cancelled').first()).toBeVisible();
    await expect(page.locator('.progress')).toHaveCount(0);
    expect(failed).toContain(document);
    await page.unrouteAll({ behavior: 'ignoreErrors' });
    // Cancel stops all requests of the view.
    const again = page.getByRole('button', { name: 'Try again' });
    await expect(async () => {
      if ((await again.count()) > 0) await again.first().click({ timeout: 1000 });
      await expect(page.getByText('Loading was cancelled')).toHaveCount(0, { timeout: 1000 });
    }).toPass();
  });
}
