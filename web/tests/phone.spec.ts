// A phone: the custom range, tooltips by touch, two lines per row, and GraphiQL.
import AxeBuilder from '@axe-core/playwright';
import type { Locator, Page } from '@playwright/test';
import { expect, open, recordCalls, type Server, settled, test, withServer } from './servers';

const WIDTH = 390;
const HEIGHT = 844;

test.use({ viewport: { width: WIDTH, height: HEIGHT }, hasTouch: true });

async function isAccessible(page: Page, what: string): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).slice(0, 3).join(' | ')}`), what).toEqual([]);
}

/** Whether all of it is on the screen, and a tap reaches each of its buttons. */
async function isReachable(part: Locator, what: string): Promise<void> {
  await expect(part, what).toBeInViewport({ ratio: 1 });
  for (const button of await part.getByRole('button').all()) {
    await expect(button, what).toBeInViewport({ ratio: 1 });
    await button.tap({ trial: true });
  }
}

/** Taps in a chart at shares of its width and height. */
async function tapIn(page: Page, chart: Locator, x: number, y = 0.5): Promise<void> {
  await chart.scrollIntoViewIfNeeded();
  const box = await chart.boundingBox();
  if (!box) throw new Error('no chart');
  await page.touchscreen.tap(box.x + box.width * x, box.y + box.height * y);
}

const minute = (minutesAgo: number): string => new Date(Math.floor(Date.now() / 60_000 - minutesAgo) * 60_000).toISOString();

/** Opens an hour with ten calls in its middle, two of which failed, and returns the chart of the calls. */
async function openChart(page: Page, server: Server): Promise<Locator> {
  const timestamp = new Date(Date.parse(minute(30)) + 30_000).toISOString();
  await recordCalls(server, Array.from({ length: 10 }, (_, index) => ({ timestamp, model: 'm', key: 'a-key-of-a-chart-01', statusCode: index < 2 ? 500 : 200, latencyMs: 5 })));
  await open(page, server, `/?since=${minute(60)}&until=${minute(0)}&interval=60`);
  return page.locator('.plot .u-over').first();
}

test('the custom range is on the screen and can be used', async ({ page, demo }) => {
  for (const path of ['/', '/calls', '/keys', '/errors']) {
    await open(page, demo, path);
    await page.getByRole('button', { name: 'Custom' }).tap();
    const form = page.locator('.range .popover');
    await isReachable(form, path);
    const box = await form.boundingBox();
    expect(box?.width, path).toBeGreaterThan(WIDTH - 40);
  }
  await isAccessible(page, 'the custom range');
  const day = new Date(Date.now() - 26 * 3_600_000).toISOString().slice(0, 10);
  await page.getByLabel('From').fill(`${day}T10:00`);
  await page.getByLabel('To', { exact: true }).fill(`${day}T12:00`);
  await page.getByRole('button', { name: 'Apply' }).tap();
  await expect(page).toHaveURL(new RegExp(`since=${day}T09:00:00.000Z&until=${day}T11:00:00.000Z`));
  await settled(page);
  // The presets are scrolled to.
  for (const [name, range] of [['Month', 'month'], ['1 h', '1h']] as const) {
    await page.getByRole('button', { name, exact: true }).tap();
    await expect(page).toHaveURL(new RegExp(`range=${range}`));
  }
});

test('a tap on a bar shows its tooltip, and a button opens its calls', async ({ page }) => {
  await withServer(async (server) => {
    const chart = await openChart(page, server);
    const address = page.url();
    const tooltip = page.locator('.tooltip.tapped');
    await tapIn(page, chart, 30.5 / 60);
    await expect(tooltip.locator('dd')).toHaveText(['8', '2', '80%']);
    const button = tooltip.getByRole('button', { name: 'Open' });
    expect((await button.boundingBox())?.height).toBeGreaterThanOrEqual(40);
    await isReachable(tooltip, 'the tooltip');
    await isAccessible(page, 'the tooltip');
    expect(page.url()).toBe(address);
    // A tap elsewhere closes it, in all charts.
    await page.locator('.rate').tap();
    await expect(page.locator('.tooltip')).toHaveCount(0);
    expect(page.url()).toBe(address);
    await tapIn(page, chart, 30.5 / 60);
    await expect(tooltip).toBeVisible();
    await page.keyboard.press('Escape');
    await expect(page.locator('.tooltip')).toHaveCount(0);
    // A tap on another bar shows that one.
    await tapIn(page, chart, 30.5 / 60);
    await expect(tooltip.locator('dd')).toHaveText(['8', '2', '80%']);
    await tapIn(page, chart, 50.5 / 60);
    await expect(tooltip.locator('dd')).toHaveText(['0', '0', '–']);
    await page.keyboard.press('Escape');
    // The failed calls are at the top of the bar.
    await tapIn(page, chart, 30.5 / 60, 0.1);
    await expect(tooltip.locator('dd')).toHaveText(['8', '2', '80%']);
    await button.tap();
    await expect(page).toHaveURL(/\/calls\?.*status=failure/);
    await settled(page);
    await expect(page.locator('.filters-end')).toContainText('2 calls');
    await expect(page.locator('.tooltip')).toHaveCount(0);
  });
});

test('a mouse on the same screen opens a bar at once', async ({ page }) => {
  await withServer(async (server) => {
    const chart = await openChart(page, server);
    await tapIn(page, chart, 30.5 / 60);
    await expect(page.locator('.tooltip.tapped')).toBeVisible();
    const box = await chart.boundingBox();
    if (!box) throw new Error('no chart');
    await page.mouse.move(box.x + (box.width * 10.5) / 60, box.y + box.height / 2);
    await page.mouse.click(box.x + (box.width * 10.5) / 60, box.y + box.height / 2);
    await expect(page).toHaveURL(/\/calls\?/);
  });
});

test('a tooltip by touch is on the screen', async ({ page, demo }) => {
  const day = `since=${minute(24 * 60)}&until=${minute(0)}`;
  for (const path of [`/?${day}`, `/?${day}&stack=model`, `/?${day}&stack=cause`, `/calls?${day}`]) {
    await open(page, demo, path);
    for (const [index, chart] of (await page.locator('.plot .u-over').all()).entries()) {
      for (const share of [0.01, 0.3, 0.49, 0.51, 0.99]) {
        const what = `${path}, chart ${index} at ${share}`;
        await tapIn(page, chart, share);
        await isReachable(page.locator('.tooltip.tapped'), what);
        const sticksOut = await page.locator('.tooltip').evaluateAll((all) => all.some((one) => one.getBoundingClientRect().left < 0 || one.getBoundingClientRect().right > innerWidth));
        expect(sticksOut, what).toBe(false);
        await page.touchscreen.tap(WIDTH / 2, 4);
        await expect(page.locator('.tooltip'), what).toHaveCount(0);
      }
    }
  }
});

test('the tooltip of a chart at the end of the screen is scrolled to', async ({ page, demo }) => {
  await open(page, demo, '/');
  const chart = page.locator('.plot .u-over').first();
  await chart.evaluate((element) => {
    const scroll = element.closest('.scroll');
    if (scroll) scroll.scrollTop += element.getBoundingClientRect().top - scroll.getBoundingClientRect().bottom + 60;
  });
  const box = await chart.boundingBox();
  if (!box) throw new Error('no chart');
  await page.touchscreen.tap(box.x + box.width / 3, box.y + 30);
  await isReachable(page.locator('.tooltip.tapped'), 'the tooltip');
});

const LISTS = [
  { path: '/calls?status=failure', heads: ['Time', 'Status', 'Model', 'Key', 'Latency', 'Provider message'] },
  { path: '/errors', heads: ['Select all loaded rows', 'Time', 'Code', 'Cause', 'Key', 'Provider message'] },
] as const;

for (const { path, heads } of LISTS) {
  test(`rows of ${path} show key and message`, async ({ page, demo }) => {
    await open(page, demo, path);
    await page.keyboard.press('p');
    const list = page.locator('.listing > .table-box');
    const row = list.locator('tbody tr[aria-rowindex]').first();
    for (const width of [WIDTH, 360]) {
      await page.setViewportSize({ width, height: HEIGHT });
      await expect(row.locator('.col-key')).toHaveText(/^.+….{4}$/);
      for (const cell of ['.col-time', '.col-key', '.col-message']) await expect(row.locator(cell), cell).toBeInViewport({ ratio: 1 });
      const message = await row.locator('.col-message').boundingBox();
      expect(message?.width).toBeGreaterThan(width / 2);
      expect((await row.locator('.col-message').textContent())?.length).toBeGreaterThan(10);
      const [top, below] = [await row.locator('.col-time').boundingBox(), await row.locator('.col-key').boundingBox()];
      expect(below?.y).toBeGreaterThanOrEqual((top?.y ?? NaN) + (top?.height ?? NaN));
      // The key is not cut.
      expect(await row.locator('.col-key .key').evaluate((key) => key.getBoundingClientRect().right <= (key.closest('td')?.getBoundingClientRect().right ?? 0))).toBe(true);
      const sizes = await list.evaluate((box) => [document.documentElement.scrollWidth - innerWidth, box.scrollWidth - box.clientWidth]);
      expect(sizes, `at ${width}`).toEqual([0, 0]);
    }
    expect((await list.locator('thead').boundingBox())?.height).toBeLessThan(40);
    await isAccessible(page, path);
    // Each cell has its header.
    const named = (await list.getByRole('columnheader').allTextContents()).map((name) => name.replace(/ ?UTC.*/, ''));
    expect(named).toEqual([...heads]);
    await expect(row.getByRole('cell')).toHaveCount(heads.length);
    await row.locator('.col-message').tap();
    await expect(page.locator('.drawer')).toBeVisible();
  });
}

test('rows of two lines have their places in a long list, also after the screen is turned', async ({ page, demo }) => {
  await open(page, demo, '/calls');
  await page.keyboard.press('p');
  const list = page.locator('.listing > .table-box');
  const isInPlace = async (height: number): Promise<void> => {
    // The rows around the middle of the first page.
    await list.evaluate((box, top) => box.scrollTo(0, top), 50 * height);
    const row = list.locator('tbody tr[aria-rowindex="52"]');
    await expect.poll(async () => (await row.boundingBox())?.height).toBe(height);
    // Below the header of the table.
    await expect.poll(async () => Math.abs(((await row.boundingBox())?.y ?? NaN) - ((await list.boundingBox())?.y ?? NaN) - 35)).toBeLessThanOrEqual(1);
  };
  await isInPlace(58);
  await page.setViewportSize({ width: HEIGHT, height: WIDTH });
  await isInPlace(40);
  await page.setViewportSize({ width: WIDTH, height: HEIGHT });
  await isInPlace(58);
});

test('error logs are selected by touch', async ({ page, demo }) => {
  await open(page, demo, '/errors');
  await page.keyboard.press('p');
  await page.locator('.listing > .table-box tbody .col-pick label').nth(1).tap();
  await expect(page.locator('.bulk')).toContainText('1 selected');
  await expect(page.locator('.drawer')).toHaveCount(0);
});

test('GraphiQL says that it is made for larger screens, and can be shown anyway', async ({ page, demo }) => {
  const search = `?${new URLSearchParams({ query: 'query Linked { viewer { name } }' }).toString()}`;
  await page.goto(`${demo.url}/graphiql${search}`);
  await expect(page.getByRole('heading', { name: 'GraphiQL is made for larger screens' })).toBeVisible();
  await isAccessible(page, 'the hint');
  await isReachable(page.getByRole('main'), 'the hint');
  // The document of the link is kept.
  await page.reload();
  await page.getByRole('button', { name: 'Show anyway' }).tap();
  await expect(page.locator('.graphiql-query-editor .view-lines')).toBeVisible();
  await expect(page.locator('.graphiql-tab-active')).toContainText('Linked');
  await page.getByRole('button', { name: /^Execute query/ }).tap();
  const answer = page.locator('.graphiql-response .view-line', { hasText: '"viewer"' });
  await expect(answer).toBeInViewport({ ratio: 1 });
  await page.goto(`${demo.url}/graphiql`);
  await page.getByRole('link', { name: 'Back to Callscope' }).tap();
  await settled(page);
  await expect(page).toHaveURL(`${demo.url}/`);
  await page.getByRole('button', { name: '切换到中文' }).tap();
  await page.goto(`${demo.url}/graphiql`);
  await expect(page.getByRole('heading', { name: 'GraphiQL 适合更大的屏幕' })).toBeVisible();
});
