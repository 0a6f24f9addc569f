import { expect, ingest, milliseconds, open, settled, test, withServer } from './servers';

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
  await expect(page.locator('.filters-end')).toHaveText(/^1 key/);
  const name = (await page.locator('tbody .key').first().textContent()) ?? '';
  await page.getByLabel('State').selectOption('');
  await page.keyboard.press('Escape');
  await page.getByLabel('Search keys').fill(name.slice(-4));
  await expect(page).toHaveURL(/q=/);
  await expect(page.locator('tbody .key').first()).toHaveText(name);
  await page.getByLabel('Search keys').fill('nothing has this');
  await expect(page.getByText('Nothing matches these filters')).toBeVisible();
});

test('a thousand keys', async ({ page }) => {
  await withServer(async (server) => {
    const now = Date.now();
    const name = (index: number): string => `thousand-keys-${String(index).padStart(4, '0')}`;
    // Of each tenth key, all calls fail.
    const lines = Array.from({ length: 1000 }, (_, index) =>
      Array.from({ length: 25 }, (_, call) =>
        JSON.stringify({ timestamp: new Date(now - (call + 1) * 60_000 - index).toISOString(), key: name(index), model: 'm', statusCode: index % 10 === 9 ? 403 : 200, latencyMs: index }),
      ).join('\n'),
    );
    await ingest(server, `${lines.join('\n')}\n`);
    await open(page, server, '/keys');
    await expect(page.locator('.filters-end')).toContainText('1,000 keys');
    // Nothing is cut.
    await expect(page.locator('.filters-end')).not.toContainText(/of 1,000|Only/);
    await page.getByLabel('State').selectOption('attention');
    await expect(page.locator('.filters-end')).toContainText('100 keys');
    await page.getByLabel('State').selectOption('healthy');
    await expect(page.locator('.filters-end')).toContainText('900 keys');
    await page.getByLabel('State').selectOption('');
    await page.getByRole('columnheader', { name: 'p95' }).getByRole('button').click();
    await expect(page.locator('tbody .col-p95').first()).toHaveText('999ms');
    const box = page.locator('.listing > .table-box');
    await box.evaluate((element) => element.scrollTo(0, element.scrollHeight));
    await expect(page.locator('tbody tr[aria-rowindex="1001"]')).toBeVisible();
    expect(await page.locator('tbody tr').count()).toBeLessThan(100);
    await page.getByLabel('Search keys').fill(name(777));
    await expect(page.locator('.filters-end')).toContainText(/^1 key/);
    expect(page.url()).not.toContain(name(777));
    await page.locator('tbody a').first().click();
    await settled(page);
    await expect(page.locator('.key-name')).toHaveText('thou…0777');
    await expect(page.locator('.key-head .tag')).toHaveText('Healthy');
  });
});

test('a key has a page, and is revealed on demand', async ({ page, demo, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await open(page, demo, '/keys?state=dead');
  await page.locator('tbody a').first().click();
  await settled(page);
  await expect(page.locator('.key-head .tag')).toHaveText('Dead');
  await expect(page.locator('.incident', { hasText: 'The provider has rejected key' })).toHaveCount(1);
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

test('a key shows its quotas, and when it can be used again', async ({ page, demo }) => {
  type Quota = { model: string | null; metric: string; window: string; ceiling: { value: number } | null; used: number; remaining: number | null; resetsAt: string | null };
  type Key = { id: string; usability: { state: string; usableAt: string | null }; quotas: Quota[] };
  const query = '{ apiKeys(first: 1000) { nodes { id usability { state usableAt } quotas { model metric window ceiling { value } used remaining resetsAt } } } }';
  const { apiKeys } = await demo.ask<{ apiKeys: { nodes: Key[] } }>(query);
  const [key] = apiKeys.nodes.toSorted((a, b) => b.quotas.length - a.quotas.length);
  if (!key || key.quotas.length === 0) throw new Error('no key of the demo has a quota');
  await open(page, demo, `/keys/${key.id}`);
  const panel = page.locator('.panel', { has: page.getByRole('heading', { name: 'Quotas' }) });
  await expect(panel.locator('tbody tr')).toHaveCount(key.quotas.length);
  for (const [index, quota] of key.quotas.entries()) {
    const row = panel.locator('tbody tr').nth(index);
    await expect(row.getByRole('rowheader')).toHaveText(quota.model ?? 'All models');
    if (quota.ceiling) await expect(row).toContainText(quota.ceiling.value.toLocaleString('en-GB'));
    if (quota.resetsAt !== null) await expect(row.locator('time')).toHaveText(/^(in \d+|now)/);
  }
  // A key that cannot be used, with the reason.
  const dead = apiKeys.nodes.find(({ usability }) => usability.state === 'UNUSABLE' && usability.usableAt === null);
  if (!dead) throw new Error('the demo has a dead key');
  await open(page, demo, `/keys/${dead.id}`);
  await expect(panel).toContainText('Cannot be used');
  await panel.locator('.usability a').click();
  await expect(page).toHaveURL(/\/\?.*incident=diagnosis_/);
  await expect(page.locator('.drawer')).toContainText('Key rejected');
  await page.goBack();
  await settled(page);
  await expect(page.locator('.timeline')).toContainText('Key rejected');
});

test('a quota that is used up counts down to its reset', async ({ page, demo }) => {
  await page.clock.install();
  const resetsAt = new Date(Date.now() + 100 * 60_000).toISOString();
  const { apiKeys } = await demo.ask<{ apiKeys: { nodes: { id: string }[] } }>('{ apiKeys(first: 1) { nodes { id } } }');
  await page.route('**/graphql', async (route) => {
    if (!route.request().postData()?.includes('query KeyQuotas(')) return route.continue();
    const response = await route.fetch();
    const answer = (await response.json()) as { data: { apiKey: Record<string, unknown> } };
    const ceiling = { value: 250, low: 240, high: 260, observations: 7 };
    answer.data.apiKey['usability'] = { state: 'UNUSABLE', usableAt: resetsAt, because: null };
    answer.data.apiKey['quotas'] = [{ model: 'gemini-2.5-pro', metric: 'REQUESTS', window: 'P1D', ceiling, used: 250, remaining: 0, resetsAt, basis: 'LEARNT' }];
    return route.fulfill({ response, json: answer });
  });
  await open(page, demo, `/keys/${apiKeys.nodes[0]?.id}`);
  const panel = page.locator('.panel', { has: page.getByRole('heading', { name: 'Quotas' }) });
  await expect(panel.getByRole('timer')).toContainText(/usable again at .* \(in 1 hr/);
  await expect(panel.locator('tbody tr')).toHaveText(/gemini-2\.5-pro.*Requests in 1d.*≈ 250.*250.*0.*in 1 hr/);
  await expect(panel.locator('[title*="between 240 and 260"]')).toBeVisible();
  await page.clock.fastForward(3_600_000);
  await expect(panel.getByRole('timer')).toContainText(/in \d\d min/);
});
