// Ways to look closer: stacked charts, the period before, days, links, the histogram of a list, single values.
import { dragIn, expect, open, recordCalls, recordErrors, selectionMenu, settled, test, withServer } from './servers';

const number = (text: string | null): number => Number((text ?? '').replaceAll(/\D/g, ''));

const PARTS = {
  class: { names: ['2xx', '429', '4xx', '5xx', 'Other'], counts: [20, 6, 4, 3, 1], params: [/status=success/, /code=429/, /code=400/, /code=500/, /until=[^&]+$/] },
  model: { names: ['m0', 'm1', 'm2', 'Other'], counts: [17, 11, 5, 1], params: [/model=m0/, /model=m1/, /model=m2/, /until=[^&]+$/] },
  key: { names: ['key-…--00', 'key-…--01', 'Other'], counts: [20, 13, 1], params: [/key=key_/, /key=key_/, /until=[^&]+$/] },
} as const;

for (const by of ['class', 'model', 'key'] as const) {
  test(`the chart stacks calls by ${by}, and a segment opens its calls`, async ({ page }) => {
    await withServer(async (server) => {
      const end = Math.floor(Date.now() / 60_000) * 60_000;
      const iso = (minutesAgo: number): string => new Date(end - minutesAgo * 60_000).toISOString();
      // 34 calls of one minute, in the middle of the hour; the last one has no status code, no model and no key.
      const codes = [200, 429, 400, 500, undefined].flatMap((code, index) => Array.from({ length: PARTS.class.counts[index] ?? 0 }, () => code));
      const calls = codes.map((statusCode, index) => ({
        timestamp: iso(29.5),
        statusCode,
        latencyMs: 5,
        ...(statusCode !== undefined && { model: index < 17 ? 'm0' : index < 28 ? 'm1' : 'm2', key: `key-of-a-chart--0${index < 20 ? 0 : 1}` }),
      }));
      await recordCalls(server, calls);
      const { names, counts, params } = PARTS[by];
      await open(page, server, `/?since=${iso(60)}&until=${iso(0)}&interval=60`);
      await page.getByLabel('Stack by').selectOption(by);
      await expect(page).toHaveURL(new RegExp(`stack=${by}`));
      await settled(page);
      // Reload restores the stack.
      await page.reload();
      await settled(page);
      await expect(page.locator('.charted').first().locator('.legend-part')).toHaveText([...names]);
      let below = 0;
      for (const [index, count] of counts.entries()) {
        const plot = page.locator('.plot .u-over').first();
        await plot.scrollIntoViewIfNeeded();
        const box = await plot.boundingBox();
        if (!box) throw new Error('no chart');
        // The axis ends 8 % above the highest bar.
        const x = box.x + (box.width * 30.5) / 60;
        const y = box.y + box.height * (1 - (below + count / 2) / (34 * 1.08));
        below += count;
        await page.mouse.move(x, y);
        // The highest part is the first line, and the sum the last one.
        await expect(page.locator('.tooltip').first().locator('dd')).toHaveText([...[...counts].reverse().map(String), '34']);
        await page.mouse.click(x, y);
        await expect(page).toHaveURL(params[index] ?? '');
        await settled(page);
        const listed = names[index] === 'Other' ? 34 : count;
        await expect(page.locator('.filters-end')).toContainText(`${listed} call`);
        await page.goBack();
        await settled(page);
      }
    });
  });
}

test('the chart stacks error logs by cause, and a segment opens its error logs', async ({ page }) => {
  await withServer(async (server) => {
    const end = Math.floor(Date.now() / 60_000) * 60_000;
    const iso = (minutesAgo: number): string => new Date(end - minutesAgo * 60_000).toISOString();
    const messages = [...Array.from({ length: 6 }, () => 'The model is overloaded'), ...Array.from({ length: 3 }, () => 'API key not valid')];
    const failures = messages.map((message) => ({ timestamp: iso(29.5), errorCode: 503, message, key: 'a-key-of-a-chart-01', model: 'm' }));
    await recordCalls(server, failures.map(({ timestamp, key, model }) => ({ timestamp, key, model, statusCode: 503, latencyMs: 5 })));
    await recordErrors(server, failures);
    await open(page, server, `/?since=${iso(60)}&until=${iso(0)}&interval=60&stack=cause`);
    await expect(page.locator('.charted').first().locator('.legend-part')).toHaveText(['Provider overloaded', 'Invalid key']);
    const plot = page.locator('.plot .u-over').first();
    await plot.scrollIntoViewIfNeeded();
    const box = await plot.boundingBox();
    if (!box) throw new Error('no chart');
    const [x, y] = [box.x + (box.width * 30.5) / 60, box.y + box.height * (1 - 7.5 / (9 * 1.08))];
    await page.mouse.move(x, y);
    await expect(page.locator('.tooltip').first().locator('dd')).toHaveText(['3', '6', '9']);
    await page.mouse.click(x, y);
    await expect(page).toHaveURL(/\/errors\?.*cause=KEY_INVALID/);
    await settled(page);
    await expect(page.locator('.filters-end > span').first()).toHaveText('3 error logs');
  });
});

test('a model has the same colour in every range', async ({ page, demo }) => {
  const colours = async (): Promise<Record<string, string>> => {
    const parts = await page.locator('.charted').first().locator('.legend-part').all();
    const pairs = parts.map(async (part) => [await part.textContent(), (await part.locator('.swatch').getAttribute('class')) ?? '']);
    return Object.fromEntries((await Promise.all(pairs)) as [string, string][]);
  };
  await open(page, demo, '/?range=24h&stack=model');
  const day = await colours();
  expect(Object.keys(day).length).toBeGreaterThan(2);
  await page.getByRole('button', { name: '7 d', exact: true }).click();
  await expect(page).toHaveURL(/range=7d/);
  await expect(page.locator('.progress')).toHaveCount(0);
  await settled(page);
  const week = await colours();
  expect(Object.keys(week).filter((model) => model in day).length).toBeGreaterThan(2);
  for (const [model, colour] of Object.entries(day)) if (model in week) expect(week[model], model).toBe(colour);
});

test('the chart compares with the period before', async ({ page, demo }) => {
  await open(page, demo, '/?range=8h');
  await page.getByLabel('Compare with before').check();
  await expect(page).toHaveURL(/compare=1/);
  await expect(page.locator('.legend').first()).toContainText('Period before');
  await page.getByRole('button', { name: 'Show as table' }).first().click();
  const table = page.getByRole('region', { name: 'Show as table' }).first();
  const cells = await table.locator('tbody tr').evaluateAll((rows) => rows.map((row) => [...row.querySelectorAll('td')].map((cell) => cell.textContent)));
  const before = cells.map((row) => number(row[2] ?? '')).reduce((sum, count) => sum + count, 0);
  const usage = await demo.ask<{ usageStats: { last8Hours: { total: number }; last: { total: number } } }>('{ usageStats { last8Hours { total } last(duration: "PT16H") { total } } }');
  const expected = usage.usageStats.last.total - usage.usageStats.last8Hours.total;
  expect(expected).toBeGreaterThan(0);
  expect(Math.abs(before - expected) / expected).toBeLessThan(0.2);
});

test('today and yesterday are ranges, and only today is live', async ({ page, demo }) => {
  await open(page, demo, '/calls');
  await page.getByRole('button', { name: 'Custom' }).click();
  await page.getByRole('button', { name: 'Yesterday' }).click();
  await expect(page).toHaveURL(/range=yesterday/);
  await settled(page);
  await expect(page.locator('.live')).toHaveText('Not live');
  const local = (daysAgo: number): string => new Date(Date.now() - daysAgo * 86_400_000).toLocaleDateString('en-GB', { timeZone: 'Europe/Berlin', day: 'numeric', month: 'short' });
  await expect(page.locator('tbody .col-time').first()).toContainText(local(1));
  await page.getByRole('button', { name: 'Yesterday' }).click();
  await page.getByRole('button', { name: 'Today' }).click();
  await expect(page).toHaveURL(/range=today/);
  await expect(page.locator('.live')).toHaveText('Live');
});

test('a link can be copied as it is, or with fixed times', async ({ page, demo, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const clipboard = (): Promise<string> => page.evaluate(() => navigator.clipboard.readText());
  await open(page, demo, '/calls?range=8h&code=429');
  await page.getByRole('button', { name: 'Custom' }).click();
  await page.getByRole('button', { name: 'Copy link' }).click();
  await expect.poll(clipboard).toBe(page.url());
  await page.getByRole('button', { name: 'Copy with fixed times' }).click();
  await expect.poll(clipboard).toContain('since=');
  const link = new URL(await clipboard());
  expect(link.searchParams.get('code')).toBe('429');
  expect(link.searchParams.has('range')).toBe(false);
  const [since, until] = ['since', 'until'].map((name) => Date.parse(link.searchParams.get(name) ?? ''));
  expect((until ?? 0) - (since ?? 0)).toBe(8 * 3_600_000);
  await open(page, demo, link.pathname + link.search);
  await expect(page.locator('.live')).toHaveText('Not live');
  await expect(page.locator('tbody tr').first()).toContainText('429');
});

test('a histogram of the listed calls zooms the list', async ({ page, demo }) => {
  await open(page, demo, '/calls?code=403');
  const before = number(await page.locator('.filters-end > span').first().textContent());
  await dragIn(page, page.locator('.histogram .u-over'), 0.25, 0.75);
  await selectionMenu(page).getByRole('button', { name: 'Zoom' }).click();
  await expect(page).toHaveURL(/code=403/);
  await expect(page).toHaveURL(/since=.+until=/);
  await settled(page);
  const after = number(await page.locator('.filters-end > span').first().textContent());
  expect(after).toBeLessThan(before);
});

test('a value filters the list, and is copied', async ({ page, demo, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  // In the past: rows of live calls would move under the pointer.
  const [since, until] = [3, 1].map((hours) => new Date(Date.now() - hours * 3_600_000).toISOString());
  await open(page, demo, `/calls?since=${since ?? ''}&until=${until ?? ''}`);
  for (const [column, param] of [['model', /model=gemini/], ['key', /key=key_/], ['status', /code=\d+|status=failure/]] as const) {
    const cell = page.locator(`tbody .col-${column}`).first();
    await cell.hover();
    await cell.getByRole('button', { name: 'Only this value' }).click();
    await expect(page).toHaveURL(param);
    await settled(page);
  }
  const model = page.locator('tbody .col-model').first();
  await model.hover();
  await model.getByRole('button', { name: 'Copy' }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(await model.locator('.cell-value').textContent());
});

test('a latency selects the calls that took as long', async ({ page, demo }) => {
  await recordCalls(demo, [10, 20, 30].map((latencyMs) => ({ model: 'latencies', statusCode: 200, latencyMs })));
  await open(page, demo, '/calls?model=latencies&sort=slowest');
  const cell = page.locator('tbody .col-latency').nth(1);
  await cell.hover();
  await cell.getByRole('button', { name: 'Calls that took at least as long' }).click();
  await expect(page).toHaveURL(/min=20/);
  await expect(page.locator('.filters-end > span').first()).toHaveText('2 calls');
});

test('the panel goes to the next and the previous row', async ({ page, demo }) => {
  await recordCalls(demo, [1, 2, 3].map((latencyMs) => ({ model: 'neighbours', statusCode: 200, latencyMs })));
  await open(page, demo, '/calls?model=neighbours&sort=slowest');
  await page.locator('tbody a').first().click();
  const panel = page.getByRole('complementary', { name: 'Call' });
  await expect(panel).toContainText('3ms');
  await expect(panel.getByRole('link', { name: 'Previous row' })).toBeHidden();
  await panel.getByRole('link', { name: 'Next row' }).click();
  await expect(panel).toContainText('2ms');
  await panel.getByRole('link', { name: 'Next row' }).click();
  await expect(panel.getByRole('link', { name: 'Next row' })).toBeHidden();
  await panel.getByRole('link', { name: 'Previous row' }).click();
  await expect(panel.locator('.facts')).toContainText('2ms');
});

test('values are left out of the list, in the address and as removable marks', async ({ page }) => {
  await withServer(async (server) => {
    const calls = (count: number, more: Record<string, unknown>) => Array.from({ length: count }, () => ({ latencyMs: 5, ...more }));
    const [first, second] = ['a-key-of-exclusions-01', 'a-key-of-exclusions-02'];
    await recordCalls(server, [
      ...calls(1, { model: 'm1', statusCode: 200, key: first }),
      ...calls(2, { model: 'm2', statusCode: 429, key: first }),
      ...calls(4, { model: 'm1', statusCode: 500, key: second }),
      // Without a model, a code and a key.
      ...calls(8, {}),
    ]);
    await open(page, server, '/calls');
    const total = page.locator('.filters-end > span').first();
    await expect(total).toHaveText('15 calls');
    const leaveOut = async (column: string, text: string, param: RegExp): Promise<void> => {
      const cell = page.locator(`tbody .col-${column}`, { hasText: text }).first();
      await cell.hover();
      await cell.getByRole('button', { name: 'Exclude this value' }).click();
      await expect(page).toHaveURL(param);
      await settled(page);
    };
    await leaveOut('model', 'm1', /-model=m1/);
    await expect(total).toHaveText('10 calls');
    // The histogram and the facets have the same calls; the facet of the filter itself has all.
    await page.getByRole('button', { name: /^Code/ }).click();
    await expect(page.getByRole('group', { name: 'Code', exact: true }).locator('li')).toHaveText(['4292']);
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: /^Model/ }).click();
    await expect(page.getByRole('group', { name: 'Model', exact: true }).locator('li')).toHaveText(['m15', 'm22']);
    await page.keyboard.press('Escape');
    await leaveOut('status', '429', /-code=429/);
    await expect(total).toHaveText('8 calls');
    const marks = page.getByRole('group', { name: 'Excluded' }).getByRole('button');
    await expect(marks).toHaveText(['Remove this exclusion: Code429', 'Remove this exclusion: Modelm1']);
    // A call that is stored now, and one that is left out.
    await recordCalls(server, [...calls(1, { model: 'm1' }), ...calls(1, { model: 'm3', statusCode: 204, key: second })]);
    await expect(total).toHaveText('9 calls');
    await expect(page.locator('tbody .col-model').first()).toHaveText('m3');
    await page.reload();
    await settled(page);
    await expect(total).toHaveText('9 calls');
    await marks.filter({ hasText: 'm1' }).click();
    await expect(page).not.toHaveURL(/-model/);
    await expect(total).toHaveText('15 calls');
    await page.goBack();
    await expect(total).toHaveText('9 calls');
    await leaveOut('key', '…', /-key=key_/);
    await expect(marks.filter({ hasText: 'Key' })).toContainText('a-ke…s-02');
    await expect(total).toHaveText('8 calls');
    // Only this value replaces its exclusion.
    await page.goto(`${server.url}/calls?-model=m2`);
    await settled(page);
    const cell = page.locator('tbody .col-model', { hasText: 'm1' }).first();
    await cell.hover();
    await cell.getByRole('button', { name: 'Only this value' }).click();
    await expect(page).toHaveURL(/calls\?model=m1$/);
  });
});

test('a value of a breakdown opens the calls with it, or without it', async ({ page, demo }) => {
  await open(page, demo, '/');
  const code = page.locator('.bar-cell', { hasText: '429' }).first();
  await code.scrollIntoViewIfNeeded();
  await code.hover();
  await code.getByRole('button', { name: 'Exclude this value' }).click();
  await expect(page).toHaveURL(/\/calls\?-code=429/);
  await page.goBack();
  await expect(page.locator('.cards')).toBeVisible();
  await settled(page);
  const model = page.locator('.table.plain .col-name', { hasText: 'gemini-2.5-pro' }).first();
  await model.scrollIntoViewIfNeeded();
  await model.hover();
  await model.getByRole('button', { name: 'Exclude this value' }).click();
  await expect(page).toHaveURL(/\/calls\?-model=gemini-2.5-pro/);
  await open(page, demo, '/keys');
  const key = page.locator('tbody .col-key').first();
  const name = (await key.locator('.key').textContent()) ?? '';
  await key.hover();
  await key.getByRole('button', { name: 'Exclude this value' }).click();
  await expect(page).toHaveURL(/-key=key_/);
  await expect(page.getByRole('group', { name: 'Excluded' }).getByRole('button')).toContainText(name);
  await expect(page.locator('tbody .col-key .key').first()).not.toHaveText(name);
});

test('a selected time is explained: what is more frequent in it than in the rest of the range', async ({ page }) => {
  await withServer(async (server) => {
    const end = Math.floor(Date.now() / 60_000) * 60_000;
    const iso = (minutesAgo: number): string => new Date(end - minutesAgo * 60_000).toISOString();
    // One call each minute of an hour, and in ten minutes of it nine failures each of one model with one key.
    const calls = Array.from({ length: 60 }, (_, minute) => ({ timestamp: iso(minute + 0.5), model: 'steady', statusCode: 200, key: 'a-key-that-is-steady-01', latencyMs: 5 }));
    const failures = Array.from({ length: 90 }, (_, index) => ({ timestamp: iso(25 + (index % 10) + 0.6), model: 'broken', statusCode: 503, key: 'a-key-that-is-broken-01', latencyMs: 5 }));
    await recordCalls(server, [...calls, ...failures]);
    await recordErrors(server, failures.map(({ timestamp, model, key }) => ({ timestamp, model, key, errorType: 'chat-of-broken', errorCode: 503, message: 'overloaded' })));
    await open(page, server, `/?since=${iso(60)}&until=${iso(0)}&interval=60`);
    const chart = page.locator('.plot .u-over').first();
    // Esc and a click elsewhere close the menu.
    await dragIn(page, chart, 0.4, 0.6);
    await expect(selectionMenu(page).getByRole('button')).toHaveText(['Zoom', 'Explain', 'Show calls', '']);
    await page.keyboard.press('Escape');
    await expect(selectionMenu(page)).toHaveCount(0);
    // The minutes 25 to 35 of 60, from the end: 25.5/60 to 34.5/60 of the width from the right.
    await dragIn(page, chart, 1 - 34.5 / 60, 1 - 25.5 / 60);
    await selectionMenu(page).getByRole('button', { name: 'Explain' }).click();
    await expect(page).toHaveURL(/explain=[^&]+,/);
    await settled(page);
    const panel = page.getByRole('complementary', { name: /What differs/ });
    const rows = (heading: string) => panel.locator('.block', { has: page.getByRole('heading', { name: heading }) }).locator('li');
    // 90 of 100 calls of the selection, and none of the other 50.
    await expect(rows('Models').first()).toHaveText(/^broken.*90%.*0%$/);
    await expect(rows('Models').nth(1)).toHaveText(/^steady.*10%.*100%$/);
    await expect(rows('Status codes').first()).toHaveText(/^503.*90%.*0%$/);
    await expect(rows('Keys').first()).toHaveText(/^a-ke….{4}.*90%.*0%$/);
    await expect(rows('Types of error logs').first()).toHaveText(/^chat-of-broken.*100%.*0%$/);
    await expect(rows('Causes of failures').first()).toHaveText(/^Provider overloaded.*100%.*0%$/);
    // Each is a filter.
    await rows('Models').first().getByRole('link').click();
    await expect(page).toHaveURL(new RegExp(`/calls\\?since=${iso(35).slice(0, 19)}[^&]*&until=${iso(25).slice(0, 19)}[^&]*&model=broken`));
    await settled(page);
    await expect(page.locator('.filters-end > span').first()).toHaveText('90 calls');
    await page.goBack();
    await settled(page);
    await panel.getByRole('button', { name: 'Failed calls' }).click();
    await expect(rows('Models').first()).toHaveText(/^broken.*100%.*0%$/);
    await expect(page).toHaveURL(/explained=failure/);
    await panel.getByRole('button', { name: 'Close' }).click();
    await expect(page).not.toHaveURL(/explain/);
    // The calls of the selection.
    await dragIn(page, chart, 1 - 34.5 / 60, 1 - 25.5 / 60);
    await selectionMenu(page).getByRole('button', { name: 'Show calls' }).click();
    await settled(page);
    await expect(page.locator('.filters-end > span').first()).toHaveText('100 calls');
    // Within a filtered list, and by the keyboard.
    await open(page, server, `/calls?since=${iso(60)}&until=${iso(0)}&-model=steady`);
    const histogram = page.getByRole('application', { name: 'Calls over time' });
    await histogram.focus();
    await page.keyboard.press('Home');
    for (let step = 0; step < 8; step += 1) await page.keyboard.press('Shift+ArrowRight');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await expect(selectionMenu(page).getByRole('button', { name: 'Explain' })).toBeFocused();
    await page.keyboard.press('Enter');
    await expect(panel).toBeVisible();
    await expect(page).toHaveURL(/-model=steady/);
  });
});
