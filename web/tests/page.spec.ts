// Checks of every view: accessibility, languages, colours, sizes, transfer size, unusual texts.
import AxeBuilder from '@axe-core/playwright';
import type { Page } from '@playwright/test';
import { expect, open, recordCalls, settled, test } from './servers';

const VIEWS = ['/', '/calls?status=failure', '/keys', '/errors'];

async function isAccessible(page: Page, what: string): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const problems = violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map((node) => node.html.slice(0, 120)).slice(0, 3).join(' | ')}`);
  expect(problems, what).toEqual([]);
}

for (const colorScheme of ['light', 'dark'] as const) {
  test(`axe finds nothing, ${colorScheme}`, async ({ page, demo }) => {
    test.setTimeout(420_000);
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    for (const path of VIEWS) {
      await open(page, demo, path);
      await isAccessible(page, path);
    }
    await open(page, demo, '/');
    await page.locator('.headline a').first().click();
    await expect(page.locator('.drawer .provider-message').first()).toBeVisible();
    await isAccessible(page, 'an incident');
    await open(page, demo, '/calls?code=403');
    await page.locator('tbody a').first().click();
    await expect(page.locator('.drawer .provider-message')).toBeVisible();
    await settled(page);
    await isAccessible(page, 'a call');
    await open(page, demo, '/keys?state=dead');
    await page.locator('tbody a').first().click();
    await settled(page);
    await isAccessible(page, 'a key');
    await page.keyboard.press('?');
    await isAccessible(page, 'the shortcuts');
  });
}

test('axe finds no problems on the sign-in form', async ({ page, guarded }) => {
  await page.goto(guarded.url);
  await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
  await isAccessible(page, 'sign in');
});

test('selects Chinese by the browser language, and by a button', async ({ browser, demo }) => {
  const context = await browser.newContext({ locale: 'zh-CN', timezoneId: 'Asia/Shanghai' });
  const page = await context.newPage();
  await open(page, demo, '/');
  await expect(page.locator('html')).toHaveAttribute('lang', 'zh-Hans');
  await expect(page.locator('.sentence')).toContainText('的调用成功');
  await expect(page.locator('.settings-note')).toContainText('Asia/Shanghai (UTC+8)');
  // In the hour before midnight in California, the quotas of the demo may be more severe than its dead key.
  await expect(page.locator('.headline')).toContainText(/被服务商拒绝|配额已用尽/);
  await expect(page.locator('.incidents')).toContainText('密钥被拒绝');
  for (const [path, title] of [['/calls', '调用'], ['/keys', '密钥'], ['/errors', '错误'], ['/', '总览']] as const) {
    await open(page, demo, path);
    await expect(page.locator('h1')).toHaveText(title);
  }
  await isAccessible(page, 'the overview in Chinese');
  await page.getByRole('button', { name: 'Switch to English' }).click();
  await expect(page.locator('h1')).toHaveText('Overview');
  await page.reload();
  await settled(page);
  await expect(page.locator('h1')).toHaveText('Overview');
  await page.getByRole('button', { name: '切换到中文' }).click();
  await expect(page.locator('h1')).toHaveText('总览');
  await context.close();
});

test('the dark theme follows the system, or a button', async ({ page, demo }) => {
  const ground = (): Promise<string> => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: 'light' });
  await open(page, demo, '/keys');
  const light = await ground();
  await page.emulateMedia({ colorScheme: 'dark' });
  const dark = await ground();
  expect(dark).not.toBe(light);
  await page.getByRole('button', { name: /Theme: System/ }).click();
  expect(await ground()).toBe(light);
  await page.reload();
  await settled(page);
  expect(await ground()).toBe(light);
  await page.getByRole('button', { name: /Theme: Light/ }).click();
  await page.emulateMedia({ colorScheme: 'light' });
  expect(await ground()).toBe(dark);
});

for (const width of [360, 768, 2560]) {
  test(`nothing sticks out at ${width} pixels`, async ({ page, demo }) => {
    await page.setViewportSize({ width, height: 800 });
    for (const path of [...VIEWS, '/calls?code=403&min=1']) {
      await open(page, demo, path);
      const sizes = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      expect(sizes[0], path).toBeLessThanOrEqual(sizes[1] ?? 0);
      const scrolls = await page.locator('.scroll').evaluateAll((all) => all.every((one) => one.scrollWidth <= one.clientWidth));
      expect(scrolls, path).toBe(true);
    }
  });
}

test('respects reduced motion', async ({ page, demo }) => {
  const lasts = (): Promise<number> => page.locator('.live .dot').evaluate((dot) => parseFloat(getComputedStyle(dot).animationDuration));
  await open(page, demo, '/');
  expect(await lasts()).toBeGreaterThan(0.5);
  await page.emulateMedia({ reducedMotion: 'reduce' });
  expect(await lasts()).toBeLessThan(0.01);
});

test('a phone shows dead keys and the time zone', async ({ page, demo }) => {
  await page.setViewportSize({ width: 360, height: 740 });
  await open(page, demo, '/keys');
  const first = page.locator('tbody tr').first();
  await expect(first.locator('.col-key')).toBeInViewport({ ratio: 1 });
  await expect(first.locator('.col-key')).toHaveText(/^Fake….{4}$/);
  await expect(first.locator('.col-state .tag')).toHaveText('Dead');
  await expect(first.locator('.col-rate')).toBeInViewport({ ratio: 1 });
  await open(page, demo, '/calls');
  await expect(page.getByRole('columnheader', { name: 'Time' }).getByText('UTC+1')).toBeInViewport();
});

test.describe('on a phone', () => {
  test.use({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });

  test('there are filters and details', async ({ page, demo }) => {
    await open(page, demo, '/calls');
    await page.getByRole('button', { name: 'Filters' }).tap();
    await page.getByRole('group', { name: 'Status' }).getByRole('button', { name: 'Failed' }).tap();
    await settled(page);
    // Its middle, where a mouse finds the button that copies the value.
    await page.locator('tbody tr').first().tap();
    await expect(page.locator('.drawer')).toBeVisible();
    const width = async (): Promise<number | undefined> => (await page.locator('.drawer').boundingBox())?.width;
    expect(await width()).toBe(390);
    await page.locator('.drawer').getByRole('button', { name: 'Close' }).tap();
    await expect(page.locator('.drawer')).toHaveCount(0);
    await open(page, demo, '/');
    await page.locator('.incident-sentence').first().tap();
    await expect(page.locator('.drawer')).toBeVisible();
    expect(await width()).toBe(390);
  });
});

// A touch screen beside a mouse, and phones that pretend to have one.
test.describe('on a touch screen with hover', () => {
  test.use({ viewport: { width: 390, height: 844 }, hasTouch: true });

  test('a tap on any part of a row opens it', async ({ page, demo }) => {
    await open(page, demo, '/calls?status=failure');
    const row = page.locator('tbody tr').first();
    for (const cell of ['.col-status', '.col-model', '.col-key']) {
      const box = await row.locator(cell).boundingBox();
      if (!box) continue;
      // The end of the value, where the buttons are.
      await page.touchscreen.tap(box.x + box.width - 24, box.y + box.height / 2);
      await expect(page.locator('.drawer'), cell).toBeVisible();
      await page.locator('.drawer').getByRole('button', { name: 'Close' }).tap();
      await expect(page.locator('.drawer'), cell).toHaveCount(0);
    }
  });
});

test('the first view is small', async ({ page, demo }) => {
  const client = await page.context().newCDPSession(page);
  await client.send('Network.enable');
  let bytes = 0;
  client.on('Network.loadingFinished', ({ encodedDataLength }) => (bytes += encodedDataLength));
  await open(page, demo, '/');
  test.info().annotations.push({ type: 'transferred', description: `${bytes} bytes` });
  expect(bytes).toBeGreaterThan(20_000);
  expect(bytes).toBeLessThan(150_000);
});

test('sends few requests, each below the cost limit', async ({ page, demo }) => {
  const costs: string[] = [];
  await page.route('**/graphql', async (route) => {
    const body = route.request().postDataJSON() as { query: string; extensions?: unknown };
    const response = await route.fetch({ postData: JSON.stringify({ ...body, extensions: { cost: true } }) });
    const answer = (await response.json()) as { extensions?: { cost: { requested: number; maximum: number } } };
    const { requested = Infinity, maximum = 0 } = answer.extensions?.cost ?? {};
    expect(requested, body.query.slice(0, 60)).toBeLessThanOrEqual(maximum);
    costs.push(`${/(?:query|mutation) (\w+)/.exec(body.query)?.[1]} ${requested}`);
    await route.fulfill({ response });
  });
  for (const path of [...VIEWS, '/keys/key_AAAAAAAAAAAAAAAAAAAAAA']) {
    costs.length = 0;
    await open(page, demo, path);
    await page.keyboard.press('p');
    test.info().annotations.push({ type: path, description: costs.join(', ') });
    // The server's information, and the view: the list of errors has five documents.
    expect(costs.length, `${path}: ${costs.join(', ')}`).toBeLessThanOrEqual(6);
  }
});

test('stored markup is shown as text', async ({ page, demo }) => {
  const model = '<script>window.hacked = true</script>';
  const image = '<img src=x onerror="window.hacked = true">';
  await recordCalls(demo, [
    { model, key: image, statusCode: 500, latencyMs: 1, error: { errorType: '<b>type</b>', message: image, request: { text: image } } },
  ]);
  const policy: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') policy.push(message.text());
  });
  await open(page, demo, `/calls?model=${encodeURIComponent(model)}`);
  await expect(page.locator('tbody .col-model').first()).toHaveText(model);
  await page.locator('tbody a').first().click();
  await expect(page.locator('.provider-message')).toHaveText(image);
  await open(page, demo, '/errors?q=onerror');
  await expect(page.locator('.listing > .table-box tbody .col-type').first()).toHaveText('<b>type</b>');
  await open(page, demo, '/?range=1h');
  await expect(page.getByRole('link', { name: model })).toBeVisible();
  expect(await page.evaluate(() => 'hacked' in window)).toBe(false);
  expect(policy).toEqual([]);
});

test('an unknown address links to the overview', async ({ page, demo }) => {
  await open(page, demo, '/calls?since=yesterday&status=maybe&code=x&min=-1&sort=up');
  await expect(page.getByRole('button', { name: '24 h', exact: true })).toHaveAttribute('aria-pressed', 'true');
  await expect(page.locator('tbody tr')).not.toHaveCount(0);
});
