// Incidents: the page says what the API diagnoses, at the end of each range, and says so if it does not know.
import type { Page } from '@playwright/test';
import { expect, open, recordCalls, type Server, settled, test, withServer } from './servers';

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;

interface Found {
  id: string;
  cause: string;
  since: string;
  until: string | null;
  sentence: string;
}

const iso = (ms: number): string => new Date(ms).toISOString();
const number = (text: string | null): number => Number((text ?? '').replaceAll(/\D/g, ''));
/** A range that ends at an instant. */
const upTo = (ms: number): string => `since=${iso(ms - 2 * HOUR_MS)}&until=${iso(ms)}`;

async function diagnoses(server: Server, asOf: number): Promise<Found[]> {
  const query = 'query D($asOf: DateTime!) { diagnoses(period: LAST_24_HOURS, asOf: $asOf) { id cause since until sentence } }';
  return (await server.ask<{ diagnoses: Found[] }>(query, { asOf: iso(asOf) })).diagnoses;
}

/** The demo has an outage of its busiest model for 40 minutes, 2 to 22 hours ago: a time within it. */
async function duringOutage(demo: Server): Promise<number> {
  const query = `{ callSeries(period: LAST_24_HOURS, interval: "PT10M", filter: { models: ["gemini-2.5-flash"], statusCodes: [503] }) { start counts { total } } }`;
  const { callSeries } = await demo.ask<{ callSeries: { start: string; counts: { total: number } }[] }>(query);
  const [worst] = callSeries.toSorted((a, b) => b.counts.total - a.counts.total);
  return Date.parse(worst?.start ?? '') + 5 * MINUTE_MS;
}

/** When most keys of the demo were out of quota for a model last, in milliseconds: until midnight in California. */
async function lastReset(demo: Server): Promise<number> {
  const query = '{ diagnoses(period: LAST_7_DAYS, causes: [POOL_EXHAUSTED]) { until } }';
  const { diagnoses } = await demo.ask<{ diagnoses: { until: string | null }[] }>(query);
  const reset = Math.max(...diagnoses.flatMap(({ until }) => (until === null ? [] : [Date.parse(until)])));
  // On a quiet night, the last failure is some minutes before midnight.
  expect(new Date(reset + 20 * MINUTE_MS).toLocaleTimeString('en-GB', { timeZone: 'America/Los_Angeles', hour: '2-digit' })).toBe('00');
  return reset;
}

const headline = (page: Page) => page.locator('main .sentence').getByRole('paragraph').first();

test('the first sentence of the page names the incidents of the demo at their times', async ({ page, demo }) => {
  const outage = await duringOutage(demo);
  const reset = await lastReset(demo);
  // Neither the outage nor the quotas of the model.
  const other = [1.5, 4, -3, -6].map((hours) => reset + hours * HOUR_MS).find((at) => at < Date.now() && Math.abs(at - outage) > 1.2 * HOUR_MS);
  for (const [at, sentence] of [
    [outage, /^gemini-2\.5-flash has been failing for all keys since .* \(50[03], .*\): wait, or use another model\./],
    // Just after the last failure: on a quiet night, the one before it is minutes older.
    [reset + 1_000, /^Most keys have been out of quota for gemini-.* since .* \(429, .*\): wait for the reset, or add keys\./],
    [other ?? 0, /^The provider has rejected key Fake\.\.\..{4} since .* \(403, .*\): replace the key\./],
  ] as const) {
    await open(page, demo, `/?${upTo(at)}`);
    await expect(headline(page), iso(at)).toHaveText(sentence);
    // Exactly what the API says.
    const [first] = (await diagnoses(demo, at)).filter(({ until }) => until === null);
    await expect(headline(page).getByRole('link').first()).toHaveText(first?.sentence ?? '');
  }
  await expect(page.locator('.headline')).not.toContainText(/healthy/i);
});

test('each incident of a day of the demo is listed, with its start and what to do', async ({ page, demo }) => {
  const at = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS;
  const query = 'query D($between: TimeRange!) { diagnoses(between: $between, first: 100) { cause since sentence } }';
  const between = { since: iso(at - 24 * HOUR_MS), until: iso(at) };
  const { diagnoses: found } = await demo.ask<{ diagnoses: Found[] }>(query, { between });
  await open(page, demo, `/?since=${between.since}&until=${between.until}&incidents=all`);
  const rows = page.locator('.incident-box .incident');
  await expect(rows).toHaveCount(found.length);
  expect((await page.locator('.incident-sentence').allTextContents()).sort()).toEqual(found.map(({ sentence }) => sentence).sort());
  const NAMES: Record<string, RegExp> = {
    KEY_DEAD: /Key rejected.*Replace the key/s,
    MODEL_OUTAGE: /Model outage.*Wait/s,
    POOL_EXHAUSTED: /Quota of most keys exhausted.*Wait/s,
  };
  // The demo always has these; others depend on its hour.
  expect(Object.keys(NAMES).filter((cause) => found.every((one) => one.cause !== cause))).toEqual([]);
  for (const { cause, since, sentence } of found) {
    const row = rows.filter({ hasText: sentence });
    if (NAMES[cause]) await expect(row.first()).toContainText(NAMES[cause]);
    await expect(row.first().locator('time').first()).toContainText(new Date(since).toLocaleTimeString('en-GB', { timeZone: 'Europe/Berlin' }));
  }
});

test('a link opens an incident, with its calls, keys and messages', async ({ page, demo, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const at = await duringOutage(demo);
  await open(page, demo, `/?${upTo(at)}`);
  await headline(page).getByRole('link').first().click();
  await expect(page).toHaveURL(/incident=diagnosis_/);
  const drawer = page.locator('.drawer');
  await expect(drawer).toContainText(/Critical.*Model outage.*has been failing for all keys.*Wait.*All keys.*gemini-2\.5-flash.*failed calls.*Confidence/s);
  await expect(drawer.locator('.provider-message').first()).toContainText(/overloaded|internal error/i);
  // The time zone of the page.
  const [found] = (await diagnoses(demo, at)).filter(({ cause }) => cause === 'MODEL_OUTAGE');
  const clock = new Date(found?.since ?? '').toLocaleTimeString('en-GB', { timeZone: 'Europe/Berlin' });
  await expect(drawer.locator('time').first()).toContainText(clock);

  // Its link, in a range that ends after the incident: by its id.
  await drawer.getByRole('button', { name: 'Copy link' }).click();
  await expect(page.getByText('Copied')).toBeVisible();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  expect(link).toMatch(new RegExp(`^${demo.url}/\\?since=.*&until=.*&incident=${found?.id}$`));
  // Outside of the range.
  await page.goto(`${demo.url}/?range=1h&incident=${found?.id}`);
  await settled(page);
  await expect(page.locator('.incident', { hasText: 'Model outage' })).toHaveCount(0);
  await expect(drawer).toContainText('gemini-2.5-flash failed for all keys from');
  await drawer.locator('.evidence a').first().click();
  await expect(page).toHaveURL(/\/errors\?.*error=error_/);
  await expect(page.locator('.drawer .provider-message')).toBeVisible();
  await page.goBack();
  await settled(page);
  const failures = number(await drawer.getByText(/failed calls$/).textContent());
  await drawer.getByRole('link', { name: 'Affected calls' }).click();
  await expect(page).toHaveURL(/\/calls\?since=.+&until=.+&status=failure&model=gemini-2.5-flash/);
  await settled(page);
  // Others of the model failed at that time for other reasons.
  const listed = number(await page.locator('.filters-end > span').first().textContent());
  const { since, until } = Object.fromEntries(new URL(page.url()).searchParams);
  const query = 'query C($between: TimeRange!) { callDetails(between: $between, filter: { models: ["gemini-2.5-flash"], status: FAILURE }) { totalCount } }';
  const { callDetails } = await demo.ask<{ callDetails: { totalCount: number } }>(query, { between: { since, until } });
  expect(listed).toBe(callDetails.totalCount);
  expect(listed).toBeGreaterThanOrEqual(failures);
  await page.goBack();
  await settled(page);
  await page.keyboard.press('Escape');
  await expect(drawer).toHaveCount(0);
  await expect(page).not.toHaveURL(/incident/);
});

test('an incident that does not exist, or no longer', async ({ page, demo }) => {
  const name = JSON.stringify({ cause: 'KEY_DEAD', since: 1_700_000_000_000_000, key: null, model: null });
  for (const id of [`diagnosis_${Buffer.from(name).toString('base64url')}`, 'diagnosis_x', 'key_AAAAAAAAAAAAAAAAAAAAAA']) {
    await open(page, demo, `/?incident=${id}`);
    await expect(page.locator('.drawer'), id).toContainText('This incident no longer exists');
  }
});

for (const { code, message } of [
  { code: 'COST_EXCEEDED', message: 'costs more than the server allows' },
  { code: 'BAD_USER_INPUT', message: 'at most 1,000,000 calls' },
  { code: 'TIMEOUT', message: 'timed out' },
]) {
  test(`a diagnosis that fails with ${code} is unknown, never healthy`, async ({ page }) => {
    await withServer(async (server) => {
      await recordCalls(server, Array.from({ length: 30 }, () => ({ key: 'a-key-of-healthy-calls-01', model: 'm', statusCode: 200, latencyMs: 5 })));
      await open(page, server, '/');
      await expect(headline(page)).toHaveText('Healthy: no incident in the last 24 hours');
      let fails = true;
      await page.route('**/graphql', async (route) => {
        if (!fails || !/query (Incidents|KeyStates|KeyIncidents)\(/.test(route.request().postData() ?? '')) return route.continue();
        return route.fulfill({ status: 200, json: { errors: [{ message: 'at most 1,000,000 calls', extensions: { code } }] } });
      });
      for (const [path, part] of [['/', 'main'], ['/?range=7d', 'main'], ['/keys', 'tbody']] as const) {
        await open(page, server, path);
        await expect(page.locator(part).first()).not.toContainText(/healthy/i);
      }
      await page.locator('tbody a').first().click();
      await settled(page);
      await expect(page.locator('.key-name')).toBeVisible();
      await expect(page.locator('main')).not.toContainText(/healthy/i);
      await open(page, server, '/');
      await expect(headline(page)).toHaveText('It is unknown whether anything is wrong');
      await expect(page.locator('.incidents').getByRole('alert')).toContainText(message);
      fails = false;
      await page.locator('.incidents').getByRole('button', { name: 'Try again' }).click();
      await expect(headline(page)).toHaveText('Healthy: no incident in the last 24 hours');
    });
  });
}

test('an answer that is followed by a failure is not current', async ({ page, demo }) => {
  await page.clock.install();
  await open(page, demo, '/');
  await page.route('**/graphql', async (route) => {
    if (!route.request().postData()?.includes('query Incidents(')) return route.continue();
    return route.fulfill({ status: 200, json: { errors: [{ message: 'x', extensions: { code: 'TIMEOUT' } }] } });
  });
  const asked = page.waitForRequest((request) => request.postData()?.includes('query Incidents(') ?? false);
  // Not more often than every 30 seconds.
  await page.clock.fastForward(31_000);
  await asked;
  await expect(headline(page)).toHaveText('It is unknown whether anything is wrong');
  await expect(page.locator('.incident')).toHaveCount(0);
});

test('a long range has the incidents of all its days', async ({ page, demo }) => {
  const query = '{ diagnoses(period: LAST_30_DAYS) { id cause since until sentence } }';
  const { diagnoses: found } = await demo.ask<{ diagnoses: Found[] }>(query);
  const day = Date.now() - 24 * HOUR_MS;
  const earlier = found.filter(({ until }) => until !== null && Date.parse(until) < day);
  const older = earlier.find(({ cause }) => cause === 'MODEL_OUTAGE');
  expect(earlier.length).toBeGreaterThan(5);
  await open(page, demo, '/?range=30d');
  const panel = page.locator('.incidents');
  await expect(panel.locator('.panel-head')).toContainText('in the last 30 days');
  await panel.getByRole('button', { name: `Show all ${found.length}` }).click();
  await expect(panel.locator('.incident')).toHaveCount(found.length);
  // The key that is rejected for a week is one incident, and the news.
  await expect(panel.locator('.incident', { hasText: 'Key rejected' })).toHaveCount(1);
  await expect(headline(page)).toContainText(found.find(({ until }) => until === null)?.sentence ?? '–');
  // The charts shade an earlier one, and its link shows it at its time.
  await panel.getByRole('link', { name: older?.sentence ?? '–' }).click();
  const drawer = page.locator('.drawer');
  await expect(drawer).toContainText('Model outage');
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await drawer.getByRole('button', { name: 'Copy link' }).click();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  expect(link).toMatch(/since=.*&until=.*&incident=diagnosis_/);
  await page.goto(link);
  await settled(page);
  await expect(drawer).toContainText(older?.sentence ?? '–');
});

test('a range that is too long or costs too much has the incidents of its last 24 hours, and says so', async ({ page, demo }) => {
  const at = await duringOutage(demo);
  const head = page.locator('.incidents .panel-head');
  await open(page, demo, `/?since=${iso(at - 800 * HOUR_MS)}&until=${iso(at)}`);
  await expect(head).toContainText(/in the 24 hours before \d+ \w+/);
  await expect(headline(page)).toContainText('gemini-2.5-flash has been failing');
  await expect(page.locator('.rate')).toContainText('calls succeeded during');

  const sent: unknown[] = [];
  let code = 'COST_EXCEEDED';
  await page.route('**/graphql', async (route) => {
    const body = route.request().postDataJSON() as { query?: string; variables: Record<string, unknown> };
    if (!body.query?.includes('query Incidents(')) return route.continue();
    sent.push(body.variables['period']);
    if (body.variables['period'] === 'LAST_24_HOURS') return route.continue();
    return route.fulfill({ status: 400, json: { errors: [{ message: 'refused', extensions: { code } }] } });
  });
  await open(page, demo, '/?range=30d');
  await expect(head).toContainText('in the last 24 hours');
  await expect(page.locator('.incident').first()).toBeVisible();
  expect(sent.toSorted()).toEqual(['LAST_24_HOURS', 'LAST_30_DAYS']);

  // Another error is shown, while the state at the end is known.
  code = 'TIMEOUT';
  await open(page, demo, '/?range=7d');
  await expect(page.locator('.incidents').getByRole('button', { name: 'Try again' })).toBeVisible();
  await expect(headline(page).getByRole('link').first()).toBeVisible();
});

test('charts name the incidents of each time', async ({ page, demo }) => {
  const at = await duringOutage(demo);
  await open(page, demo, `/?${upTo(at)}`);
  const plot = page.getByRole('application', { name: 'Calls over time' });
  await expect(page.locator('.charted .legend').first()).toContainText('Incident');
  await plot.scrollIntoViewIfNeeded();
  const box = await plot.locator('.u-over').boundingBox();
  if (!box) throw new Error('no chart');
  await page.mouse.move(box.x + box.width - 6, box.y + 40);
  await expect(page.locator('.tooltip').first().locator('.tooltip-incident').first()).toHaveText('Model outage');
  await page.mouse.move(box.x + 10, box.y + 40);
  await expect(page.locator('.tooltip').first()).toBeVisible();
  await expect(page.locator('.tooltip').first()).not.toContainText('Model outage');
  await plot.focus();
  await page.keyboard.press('End');
  await expect(plot.locator('[aria-live]')).toContainText('Model outage');
});

test('keys and models have the states of the incidents', async ({ page, demo }) => {
  const at = await duringOutage(demo);
  await open(page, demo, `/?${upTo(at)}`);
  const row = page.locator('.table.plain tbody tr', { hasText: 'gemini-2.5-flash' }).filter({ has: page.getByRole('link', { name: 'gemini-2.5-flash', exact: true }) });
  await expect(row.locator('.tag')).toHaveText('Failing');
  const others = page.locator('.table.plain tbody tr').filter({ hasNot: page.getByRole('link', { name: 'gemini-2.5-flash', exact: true }) });
  await expect(others.locator('.tag-healthy').first()).toHaveText('Healthy');
  // The histogram above the calls shades the same times.
  await open(page, demo, `/calls?${upTo(at)}`);
  const histogram = page.locator('.histogram .plot');
  await histogram.focus();
  // The incidents arrive after the calls.
  await expect(async () => {
    await page.keyboard.press('End');
    await expect(histogram.locator('[aria-live]')).toContainText('Model outage', { timeout: 1000 });
  }).toPass();
  await open(page, demo, `/keys?${upTo(at)}`);
  await expect(page.locator('tbody .col-state .tag').first()).toHaveText('Dead');
});

test('only keys that fail have the state of an incident of all keys', async ({ page }) => {
  await withServer(async (server) => {
    const now = Date.now();
    const calls = (key: string, model: string, failsFor: number): Record<string, unknown>[] =>
      Array.from({ length: 60 }, (_, minutes) => ({ timestamp: iso(now - (minutes + 1) * MINUTE_MS), key, model, statusCode: minutes < failsFor ? 503 : 200, latencyMs: 5 }));
    for (let index = 0; index < 6; index += 1) await recordCalls(server, calls(`a-key-of-an-outage-000${index}`, 'model-with-an-outage', 25));
    await recordCalls(server, calls('a-key-of-another-model-01', 'another-model', 0));
    await open(page, server, '/keys');
    await expect(page.locator('tbody .tag-likePool')).toHaveCount(6);
    await expect(page.locator('tbody .tag-likePool').first()).toHaveText('Fails like all keys');
    await expect(page.locator('tbody .tag-likePool').first()).toHaveAttribute('title', /for all keys/);
    await expect(page.locator('tbody .tag-healthy')).toHaveCount(1);
    await page.getByLabel('State').selectOption('likePool');
    await page.locator('tbody a').first().click();
    await settled(page);
    await expect(page.locator('.key-head .tag')).toHaveText('Fails like all keys');
    await expect(page.locator('.incident').first()).toContainText('Model outage');
  });
});

test('many failures without a diagnosis are not healthy', async ({ page }) => {
  await withServer(async (server) => {
    const now = Date.now();
    // A quarter of the calls of each hour: the usual rate.
    for (const key of ['a-key-with-failures-0001', 'a-key-with-failures-0002']) {
      await recordCalls(server, Array.from({ length: 80 }, (_, index) => ({ timestamp: iso(now - (index + 1) * 5 * MINUTE_MS), key, model: 'm', statusCode: index % 4 === 0 ? 400 : 200, latencyMs: 5 })));
    }
    expect(await diagnoses(server, now)).toEqual([]);
    await open(page, server, '/');
    await expect(headline(page)).toHaveText('25% of the calls failed in the last 24 hours; no cause is known');
    await page.getByRole('button', { name: '切换到中文' }).click();
    await expect(headline(page)).toHaveText('最近 24 小时有 25% 的调用失败，原因未知');
    await page.getByRole('button', { name: 'Switch to English' }).click();
    await open(page, server, '/keys?state=attention');
    await expect(page.locator('tbody .tag-failures')).toHaveText(['Many failures', 'Many failures']);
    await page.locator('tbody a').first().click();
    await settled(page);
    await expect(page.locator('.key-head .tag')).toHaveText('Many failures');
  });
});

test('sentences are in the language of the page', async ({ page, demo }) => {
  await open(page, demo, `/?${upTo(await duringOutage(demo))}`);
  await page.getByRole('button', { name: '切换到中文' }).click();
  await expect(headline(page)).toContainText('gemini-2.5-flash 对所有密钥都失败');
  await headline(page).getByRole('link').first().click();
  await expect(page.locator('.drawer')).toContainText(/严重.*模型故障.*对所有密钥都失败/s);
});

for (const width of [1440, 390]) {
  for (const of of ['the demo', 'a healthy server']) {
    test(`incidents of ${of} that arrive late do not move the charts, at ${width} pixels`, async ({ page, demo }) => {
      const check = async (server: Server, sentence: RegExp): Promise<void> => {
        await page.setViewportSize({ width, height: 900 });
        let release = (): void => undefined;
        const held = new Promise<void>((resolve) => (release = resolve));
        await page.route('**/graphql', async (route) => {
          if (route.request().postData()?.includes('query Incidents(')) await held;
          await route.continue();
        });
        await page.goto(`${server.url}/`);
        const charts = page.locator('.cards, .plot');
        await expect(charts).toHaveCount(3);
        await page.keyboard.press('p');
        // Relative to the scrolled content, since the window of a phone ends above the charts.
        const places = (): Promise<number[]> =>
          charts.evaluateAll((all) => all.map((one) => one.getBoundingClientRect().top - (document.querySelector('.scroll > *')?.getBoundingClientRect().top ?? 0)));
        await expect(page.locator('.skeleton')).toHaveCount(2);
        const before = await places();
        release();
        await expect(headline(page)).toHaveText(sentence);
        await settled(page);
        expect(await places()).toEqual(before);
      };
      if (of === 'the demo') return check(demo, /since/);
      await withServer(async (server) => {
        await recordCalls(server, Array.from({ length: 30 }, () => ({ key: 'a-key-of-healthy-calls-01', model: 'm', statusCode: 200, latencyMs: 5 })));
        await check(server, /^Healthy/);
        await expect(page.locator('.incidents')).toContainText('No incident.');
      });
    });
  }
}

test('the list of incidents opens and closes', async ({ page, demo }) => {
  await open(page, demo, '/');
  const box = page.locator('.incident-box');
  const count = await box.locator('.incident').count();
  const height = async (): Promise<number> => (await box.boundingBox())?.height ?? 0;
  const closed = await height();
  const button = page.locator('.incidents').getByRole('button', { name: `Show all ${count}` });
  await button.click();
  await expect(page).toHaveURL(/incidents=all/);
  expect(await height()).toBeGreaterThan(closed);
  await page.locator('.incidents').getByRole('button', { name: 'Show less' }).click();
  expect(await height()).toBe(closed);
});
