// Layouts, addresses and texts that were once wrong.
import AxeBuilder from '@axe-core/playwright';
import { expect, open, recordCalls, recordErrors, selectionMenu, settled, test } from './servers';

test('a short list fills the page', async ({ page, demo }) => {
  await recordErrors(demo, [{ errorType: 'short-list', errorCode: 500, message: 'x' }]);
  for (const path of ['/errors?type=short-list', '/calls?model=nothing-has-this', '/keys?state=dead', '/']) {
    await open(page, demo, path);
    for (const part of ['.side', '.main']) {
      const box = await page.locator(part).boundingBox();
      expect([box?.y, box?.height], `${path} ${part}`).toEqual([0, 900]);
    }
  }
});

test('an address with invalid escapes, and unknown addresses', async ({ page, demo }) => {
  await open(page, demo, '/keys/%E0%A4%A');
  await expect(page.getByText('No key has this ID.')).toBeVisible();
  for (const path of ['/nowhere', '/keys/a/b']) {
    const response = await page.goto(demo.url + path);
    expect(response?.status()).toBe(404);
    await expect(page.getByText('Page not found')).toBeVisible();
  }
  await page.getByRole('link', { name: 'Go to the overview' }).click();
  await expect(page).toHaveURL(`${demo.url}/`);
});

test('a filter that matches nothing does not say that there were no calls or errors', async ({ page, demo }) => {
  for (const path of ['/calls?model=nothing-has-this', '/errors?q=nothing-has-this']) {
    await open(page, demo, path);
    await expect(page.locator('.listing > .empty')).toContainText('Nothing matches these filters');
    await expect(page.locator('.listing > .empty')).not.toContainText(/No (calls|errors)/);
    await page.getByRole('button', { name: 'Clear filters' }).click();
    await expect(page).not.toHaveURL(/nothing-has-this/);
    await expect(page.locator('.listing > .table-box tbody tr')).not.toHaveCount(0);
  }
});

test('no tooltip covers the bars after a zoom', async ({ page, demo }) => {
  await open(page, demo, '/');
  // The incidents above may be higher than the window.
  const plot = page.locator('.plot .u-over').first();
  await plot.scrollIntoViewIfNeeded();
  const box = await plot.boundingBox();
  if (!box) throw new Error('no chart');
  await page.mouse.move(box.x + box.width * 0.3, box.y + 60);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 60, { steps: 5 });
  await expect(page.locator('.tooltip').first()).toBeVisible();
  await page.mouse.up();
  await expect(page.locator('.plot').first().locator('.tooltip')).toHaveCount(0);
  // One menu, though the charts share the pointer.
  await selectionMenu(page).getByRole('button', { name: 'Zoom' }).click();
  await expect(page).toHaveURL(/since=/);
  await settled(page);
  await page.mouse.move(0, 0);
  await expect(page.locator('.tooltip')).toHaveCount(0);
  // The list of incidents above is another one.
  await plot.scrollIntoViewIfNeeded();
  const zoomed = await plot.boundingBox();
  if (!zoomed) throw new Error('no chart');
  await page.mouse.move(zoomed.x + zoomed.width * 0.4, zoomed.y + 70);
  await expect(page.locator('.tooltip').first()).toBeVisible();
});

test('no label is clipped', async ({ page, demo }) => {
  // Every text that the charts draw, and whether it is within its canvas.
  await page.addInitScript(() => {
    const clipped: string[] = [];
    Object.assign(globalThis, { clipped });
    // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with its canvas
    const draw = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text: string, x: number, y: number, ...rest) {
      const { width } = this.measureText(text);
      const left = this.textAlign === 'center' ? x - width / 2 : this.textAlign === 'right' ? x - width : x;
      if (left < 0 || left + width > this.canvas.width) clipped.push(`${text} at ${left} to ${left + width} of ${this.canvas.width}`);
      draw.call(this, text, x, y, ...rest);
    };
  });
  await recordCalls(demo, Array.from({ length: 5 }, () => ({ model: 'no-answer' })));
  for (const range of ['1h', '24h', '7d']) {
    for (const width of [1440, 1180]) {
      await page.setViewportSize({ width, height: 900 });
      await open(page, demo, `/?range=${range}`);
      expect(await page.evaluate(() => (globalThis as unknown as { clipped: string[] }).clipped), `${range} at ${width}`).toEqual([]);
      const marks = page.locator('.bar-row .mark');
      await expect(marks.filter({ hasText: 'no response' })).toHaveCount(1);
      const outside = await marks.evaluateAll((all) => all.filter((mark) => mark.getBoundingClientRect().right > (mark.nextElementSibling?.getBoundingClientRect().left ?? 0)).length);
      expect(outside).toBe(0);
    }
  }
});

test('a model name that overrides the direction of text does not reverse its row', async ({ page, demo }) => {
  const key = 'a-key-with-unusual-models-01';
  const evil = 'evil\u202Eledom';
  await recordCalls(demo, [
    { key, model: evil, statusCode: 200, latencyMs: 5 },
    { key, model: evil, statusCode: 200, latencyMs: 5 },
    { key, model: 'zz-after', statusCode: 200, latencyMs: 5 },
  ]);
  const found = await demo.ask<{ apiKey: { id: string } }>('query K($key: String!) { apiKey(key: $key) { id } }', { key });
  await open(page, demo, `/keys?range=1h&key=${found.apiKey.id}`);
  const models = page.locator('tbody .col-models').first();
  await expect(models).toContainText('zz-after');
  // Letters of the next name stay in order.
  const lefts = await models.evaluate((cell) => {
    const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    const node = walker.nextNode();
    const at = (offset: number): number => {
      const range = document.createRange();
      if (node) range.setStart(node, offset);
      if (node) range.setEnd(node, offset + 1);
      return range.getBoundingClientRect().left;
    };
    const from = node?.textContent?.indexOf('zz-after') ?? 0;
    return [at(from), at(from + 4), at(from + 7)];
  });
  expect(lefts).toEqual(lefts.toSorted((a, b) => a - b));
});

test('the card of the last minute opens that minute', async ({ page, demo }) => {
  await open(page, demo, '/');
  await page.locator('.card', { hasText: 'Last minute' }).click();
  await expect(page).toHaveURL(/since=.+&until=.+/);
  const params = new URL(page.url()).searchParams;
  expect(Date.parse(params.get('until') ?? '') - Date.parse(params.get('since') ?? '')).toBe(60_000);
  await page.goBack();
  await page.locator('.card', { hasText: 'Last 8 hours' }).click();
  await expect(page).toHaveURL(/range=8h/);
});

test('exactly as many keys as the list can show are all keys', async ({ page, demo }) => {
  let total = 1000;
  await page.route('**/graphql', async (route) => {
    const body = route.request().postData() ?? '';
    if (!/query (KeyTable|KeyStates)\(/.test(body)) return route.continue();
    const response = await route.fetch();
    const answer = (await response.json()) as { data: { keys?: { apiKey: { id: string } | null }[]; apiKeys?: { totalCount: number; nodes: unknown[] } } };
    // The calls without a key are a group too.
    const first = answer.data.keys?.find(({ apiKey }) => apiKey);
    if (answer.data.keys && first) {
      answer.data.keys = Array.from({ length: 1000 }, (_, index) => ({ ...first, apiKey: { ...first.apiKey, id: `key_${index}` } }));
    }
    if (answer.data.apiKeys) answer.data.apiKeys = { ...answer.data.apiKeys, totalCount: total, nodes: [] };
    return route.fulfill({ response, json: answer });
  });
  await open(page, demo, '/keys?range=8h');
  await expect(page.locator('.filters-end')).not.toContainText('Only');
  total = 1234;
  await open(page, demo, '/keys?range=1h');
  await expect(page.locator('.filters-end')).toContainText(/Only 1,0\d\d of 1,234 keys are listed/);
});

test('a view that cannot show an answer says so', async ({ page, demo }) => {
  let isBroken = true;
  await page.route('**/graphql', async (route) => {
    if (!isBroken || !/query KeyTable\(/.test(route.request().postData() ?? '')) return route.continue();
    return route.fulfill({ json: { data: { keys: [{ apiKey: { id: 'key_1' } }], models: [] } } });
  });
  await page.goto(`${demo.url}/keys`);
  await expect(page.getByRole('alert')).toContainText('This view has a fault');
  await page.getByRole('link', { name: 'Calls', exact: true }).click();
  await settled(page);
  await expect(page.getByRole('alert')).toHaveCount(0);
  await page.goBack();
  await expect(page.getByRole('alert')).toContainText('PAGE_FAULT');
  isBroken = false;
  await page.getByRole('button', { name: 'Try again' }).click();
  await settled(page);
  await expect(page.getByRole('table', { name: 'Keys' })).toBeVisible();
});

test('the names of controls contain their labels', async ({ page, demo }) => {
  for (const path of ['/', '/calls?status=failure', '/keys', '/errors']) {
    await open(page, demo, path);
    const { violations } = await new AxeBuilder({ page }).withRules(['label-content-name-mismatch']).analyze();
    expect(violations.flatMap(({ nodes }) => nodes.map((node) => node.html)), path).toEqual([]);
  }
});

test('/ on Calls focuses the search for a key', async ({ page, demo }) => {
  await open(page, demo, '/calls');
  await page.keyboard.press('/');
  await expect(page.getByLabel('Find a key')).toBeFocused();
});
