import { expect, milliseconds, open, settled, test } from './servers';

const numbers = (texts: string[]): number[] => texts.map((text) => Number(text.replaceAll(/[^\d.]/g, '')));

test('lists every key, masked, with its state', async ({ page, demo }) => {
  await open(page, demo, '/keys');
  await expect(page.locator('.filters-end')).toContainText(/5\d keys/);
  const first = page.locator('tbody tr').first();
  await expect(first.locator('.tag')).toHaveText('Dead');
  await expect(first.getByRole('img', { name: /\d+ calls, \d+ failed/ })).toBeVisible();
  await expect(first.locator('.col-models')).toContainText('gemini-');
  // The demo's keys have this prefix and 39 characters.
  expect(await page.content()).not.toMatch(/FakeSyDEMO/);
});

test('sorts by each column in both directions', async ({ page, demo }) => {
  await open(page, demo, '/keys');
  for (const [name, column] of [['Calls', 'calls'], ['Failed', 'failures']] as const) {
    await page.getByRole('columnheader', { name }).getByRole('button').click();
    await expect(page).toHaveURL(new RegExp(`sort=${column}`));
    const down = numbers(await page.locator(`tbody .col-${column}`).allTextContents());
    expect(down).toEqual(down.toSorted((a, b) => b - a));
    await page.getByRole('columnheader', { name }).getByRole('button').click();
    await expect(page.getByRole('columnheader', { name })).toHaveAttribute('aria-sort', 'ascending');
    const up = numbers(await page.locator(`tbody .col-${column}`).allTextContents());
    expect(up).toEqual(up.toSorted((a, b) => a - b));
  }
  await page.getByRole('columnheader', { name: 'Success' }).getByRole('button').click();
  await expect(page.locator('tbody tr').first().locator('.col-rate')).toHaveText('0%');
  // No new calls from now on.
  await page.keyboard.press('p');
  await page.getByRole('columnheader', { name: 'p95' }).getByRole('button').click();
  const slow = (await page.locator('tbody .col-p95').allTextContents()).map(milliseconds);
  expect(slow).toEqual(slow.toSorted((a, b) => b - a));
  await page.getByRole('columnheader', { name: 'Last seen' }).getByRole('button').click();
  await expect(page.getByRole('columnheader', { name: 'Last seen' })).toHaveAttribute('aria-sort', 'descending');
  const seen = await page.locator('tbody time').evaluateAll((all) => all.map((one) => Date.parse(one.getAttribute('datetime') ?? '')));
  expect(seen.length).toBeGreaterThan(10);
  expect(seen).toEqual(seen.toSorted((a, b) => b - a));
  await page.getByRole('columnheader', { name: 'State' }).getByRole('button').click();
  await expect(page.locator('tbody .tag').first()).toHaveText('Dead');
});

test('filters by state and by part of the key', async ({ page, demo }) => {
  await open(page, demo, '/keys');
  await page.getByLabel('State').selectOption('dead');
  await expect(page).toHaveURL(/state=dead/);
  await expect(page.locator('.filters-end')).toHaveText('1 key');
  const name = (await page.locator('tbody .key').first().textContent()) ?? '';
  await page.getByLabel('State').selectOption('');
  await page.keyboard.press('Escape');
  await page.getByLabel('Search keys').fill(name.slice(-4));
  await expect(page).toHaveURL(/q=/);
  await expect(page.locator('tbody .key').first()).toHaveText(name);
  await page.getByLabel('Search keys').fill('nothing has this');
  await expect(page.getByText('Nothing matches these filters')).toBeVisible();
});

test('a key has a page, and is revealed on demand', async ({ page, demo, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await open(page, demo, '/keys?state=dead');
  await page.locator('tbody a').first().click();
  await settled(page);
  await expect(page.locator('.key-head .tag')).toHaveText('Dead');
  await expect(page.locator('.incident').first()).toContainText('The provider has rejected key');
  await expect(page.locator('.stat', { hasText: 'Success rate' })).toContainText('0%');
  await expect(page.locator('.latest li')).toHaveCount(8);
  const secrets: string[] = [];
  page.on('request', (request) => {
    if (request.postData()?.includes('secret')) secrets.push(request.url());
  });
  await expect(page.locator('.key-name')).toHaveText(/^Fake….{4}$/);
  await page.getByRole('button', { name: 'Reveal' }).click();
  await expect(page.locator('.key-name')).toHaveText(/^FakeSyDEMO.{29}$/);
  const key = await page.locator('.key-name').textContent();
  await page.getByRole('button', { name: 'Copy key' }).click();
  await expect(page.getByText('Copied')).toBeVisible();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(key);
  await page.getByRole('button', { name: 'Hide' }).click();
  await expect(page.locator('.key-name')).toHaveText(/^Fake….{4}$/);
  // A key on the screen is not requested again.
  expect(secrets).toHaveLength(1);
  const id = new URL(page.url()).pathname.replace('/keys/', '');
  expect(demo.runCommand('audit').split('\n').filter((line) => line.includes(id))).toHaveLength(1);
  await page.getByRole('link', { name: 'View calls' }).click();
  await expect(page).toHaveURL(/\/calls\?key=key_/);
});

test('no key is shown as healthy before its state is known', async ({ page, demo }) => {
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route('**/graphql', async (route) => {
    if (!route.request().postData()?.includes('query KeyStates(')) return route.continue();
    await held;
    return route.fulfill({ status: 200, json: { errors: [{ message: 'x', extensions: { code: 'TIMEOUT' } }] } });
  });
  const table = page.waitForResponse((response) => response.request().postData()?.includes('query KeyTable(') ?? false);
  await page.goto(`${demo.url}/keys`);
  await table;
  await expect(page.locator('.listing .skeleton')).toBeVisible();
  release();
  await expect(page.locator('tbody tr[aria-rowindex]')).not.toHaveCount(0);
  await expect(page.locator('tbody .col-state').first()).toHaveText('–');
  await expect(page.locator('tbody .tag')).toHaveCount(0);
});

test('an unknown key', async ({ page, demo }) => {
  await open(page, demo, '/keys/key_AAAAAAAAAAAAAAAAAAAAAA');
  await expect(page.getByText('No key has this ID.')).toBeVisible();
});
