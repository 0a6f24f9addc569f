// How fast the page is: figures, no verdict. MEASURE=1 npm run test:e2e -- measure, on a quiet machine, with CALLSCOPE_BIN a release build.
import type { Browser, BrowserContext, Page } from '@playwright/test';
import { expect, open, type Server, settled, test } from './servers';

test.skip(!process.env.MEASURE, 'measured with MEASURE=1');

// A trace takes screenshots all the time, which is half of the machine's load.
test.use({ trace: 'off' });

const ROUNDS = 15;
const ROWS = 1000;

const at = (values: number[], share: number): number => values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1] ?? NaN;
const spread = (values: number[]): string =>
  `least ${Math.min(...values).toFixed(0)} ms, median ${at(values, 0.5).toFixed(0)} ms, most ${Math.max(...values).toFixed(0)} ms`;

/** Times of the browser, in milliseconds since the start of the navigation. */
interface Seen {
  painted: number;
  /** Headline, incidents, cards, charts: all requests are complete. */
  whole: number;
  /** The end of the last task of more than 50 ms before that; from then on the page answers clicks. */
  busyUntil: number;
}

/** Runs in the page before its scripts. */
function watch(): void {
  const seen = { painted: 0, whole: 0, busyUntil: 0 };
  Object.assign(globalThis, { seen });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntriesByName('first-contentful-paint')) seen.painted = entry.startTime;
  }).observe({ type: 'paint', buffered: true });
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) seen.busyUntil = Math.max(seen.busyUntil, startTime + duration);
  }).observe({ type: 'longtask', buffered: true });
  const look = (): void => {
    const has = (selector: string): boolean => document.querySelector(selector) !== null;
    const isWhole = has('.sentence a, .sentence strong') && has('.incident') && has('.plot canvas') && has('.bar-row') && !has('.skeleton');
    if (isWhole) seen.whole = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}

async function fresh(browser: Browser): Promise<[BrowserContext, Page]> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: 'en-GB', timezoneId: 'Europe/Berlin' });
  return [context, await context.newPage()];
}

async function firstView(page: Page, server: Server): Promise<Seen & { bytes: number; toCalls: number }> {
  const client = await page.context().newCDPSession(page);
  await client.send('Network.enable');
  let bytes = 0;
  client.on('Network.loadingFinished', ({ encodedDataLength }) => (bytes += encodedDataLength));
  await page.addInitScript(watch);
  await page.goto(server.url);
  const seen = (): Promise<Seen> => page.evaluate(() => (globalThis as unknown as { seen: Seen }).seen);
  await page.waitForFunction(() => (globalThis as unknown as { seen: Seen }).seen.whole > 0);
  const first = { ...(await seen()), bytes };
  // The time of a click: from the first view to a hundred calls.
  const toCalls = await page.evaluate(async () => {
    const opened = performance.now();
    document.querySelector<HTMLElement>('nav a[href^="/calls"]')?.click();
    while (!document.querySelector('tbody tr[aria-rowindex]')) await new Promise(requestAnimationFrame);
    return performance.now() - opened;
  });
  return { ...first, toCalls };
}

test('the first view', async ({ browser, demo }) => {
  const seen: Awaited<ReturnType<typeof firstView>>[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    // A new context has an empty cache.
    const [context, page] = await fresh(browser);
    seen.push(await firstView(page, demo));
    await context.close();
  }
  const of = (name: 'painted' | 'whole' | 'busyUntil' | 'toCalls'): string => spread(seen.map((one) => one[name]));
  console.log(`first view, ${ROUNDS} times without a cache:`);
  console.log(`  transferred: ${Math.max(...seen.map(({ bytes }) => bytes))} bytes at most`);
  console.log(`  first painted: ${of('painted')}`);
  console.log(`  interactive (whole, and no long task any more): ${spread(seen.map(({ whole, busyUntil }) => Math.max(whole, busyUntil)))}`);
  console.log(`  the first time is ${Math.max(seen[0]?.whole ?? 0, seen[0]?.busyUntil ?? 0).toFixed(0)} ms`);
  console.log(`  from a click on Calls to its rows: ${of('toCalls')}`);
});

test('scrolling', async ({ browser, demo }) => {
  const [context, page] = await fresh(browser);
  await open(page, demo, '/calls?range=30d');
  await page.keyboard.press('p');
  const box = page.locator('.listing > .table-box');
  const last = (): Promise<number> => page.locator('tbody tr[aria-rowindex]').last().getAttribute('aria-rowindex').then(Number);
  while ((await last()) < ROWS) {
    const before = await last();
    await box.evaluate((element) => element.scrollTo(0, element.scrollHeight));
    await expect.poll(last).toBeGreaterThan(before);
  }
  await box.evaluate((element) => element.scrollTo(0, 0));
  await settled(page);
  await page.evaluate(() => {
    const frames: number[] = [];
    Object.assign(globalThis, { frames });
    let before = performance.now();
    const next = (now: number): void => {
      frames.push(now - before);
      before = now;
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  });
  // Like a wheel: 1,000 rows down and up again, at 6,000 pixels a second.
  const client = await context.newCDPSession(page);
  const middle = await box.boundingBox();
  if (!middle) throw new Error('no list');
  const where = { x: middle.x + middle.width / 2, y: middle.y + middle.height / 2 };
  const far = ROWS * 40 - 1000;
  await page.evaluate(() => void ((globalThis as unknown as { frames: number[] }).frames.length = 0));
  for (const yDistance of [-far, far]) {
    await client.send('Input.synthesizeScrollGesture', { ...where, yDistance, speed: 6000, gestureSourceType: 'mouse' });
  }
  const frames = await page.evaluate(() => (globalThis as unknown as { frames: number[] }).frames);
  const late = frames.filter((ms) => ms > 34).length;
  console.log(`scrolling ${ROWS} rows down and up, ${frames.length} frames:`);
  console.log(`  median ${at(frames, 0.5).toFixed(1)} ms, p95 ${at(frames, 0.95).toFixed(1)} ms, p99 ${at(frames, 0.99).toFixed(1)} ms, most ${Math.max(...frames).toFixed(1)} ms`);
  console.log(`  ${late} of them were more than a frame late`);
  await context.close();
});

async function fetchKeys(url: string): Promise<string[]> {
  const response = await fetch(new URL('/graphql', url), { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ query: '{ apiKeys(first: 1) { nodes { id } } }' }) });
  const { data } = (await response.json()) as { data: { apiKeys: { nodes: { id: string }[] } } };
  return data.apiKeys.nodes.map(({ id }) => id);
}

test('views of a large log', async ({ browser }) => {
  const url = process.env.MEASURE_URL;
  test.skip(!url, 'MEASURE_URL is not set');
  const until = Date.parse(process.env.MEASURE_UNTIL ?? '');
  for (const days of [1, 7, 30]) {
    const [key] = await fetchKeys(url ?? '');
    const inside = `${new Date(until - 12 * 3_600_000).toISOString()},${new Date(until - 6 * 3_600_000).toISOString()}`;
    for (const view of ['/', '/?stack=cause', `/?explain=${inside}`, '/calls', '/keys', `/keys/${key}`, '/errors']) {
      const whole: number[] = [];
      for (let round = 0; round < 5; round += 1) {
        const [context, page] = await fresh(browser);
        const address = new URL(view, url);
        address.searchParams.set('since', new Date(until - days * 86_400_000).toISOString());
        address.searchParams.set('until', new Date(until).toISOString());
        await page.goto(address.href);
        await page.waitForFunction(() => document.querySelector('main h1') !== null && document.querySelector('.skeleton, [aria-busy=true]') === null);
        whole.push(await page.evaluate(() => performance.now()));
        await context.close();
      }
      console.log(`${days} days of ${view}: ${spread(whole)}`);
    }
  }
});
