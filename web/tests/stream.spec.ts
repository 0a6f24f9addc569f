// Updates by the stream alone, and the fallback when no stream connects.
import type { Page, Request } from '@playwright/test';
import { expect, open, recordCalls, recordErrors, settled, test } from './servers';

/** GraphQL requests of the page without a response. */
const inFlight = new Set<Request>();

test.beforeEach(({ page }) => {
  inFlight.clear();
  page.on('request', (request) => {
    if (request.url().endsWith('/graphql')) inFlight.add(request);
  });
  page.on('requestfinished', (request) => inFlight.delete(request));
  page.on('requestfailed', (request) => inFlight.delete(request));
});

/**
 * Blocks all further requests, so that only an open stream can update the page. Waits for earlier requests first: a
 * view is complete before the options of its filters are loaded.
 */
async function blockRequests(page: Page): Promise<string[]> {
  const blocked = new Set<Request>();
  await page.route('**/graphql', (route) => void blocked.add(route.request()));
  await expect.poll(() => [...inFlight].filter((request) => !blocked.has(request)).length).toBe(0);
  const responses: string[] = [];
  page.on('response', (response) => responses.push(response.url()));
  return responses;
}

const rows = (page: Page) => page.locator('.listing > .table-box tbody tr[aria-rowindex]');

test('calls arrive by the stream', async ({ page, demo }) => {
  await open(page, demo, '/calls?model=by-stream&status=failure');
  // No event has arrived by then, but the stream is open.
  await expect(page.locator('.live')).toHaveText('Live');
  const responses = await blockRequests(page);
  await recordCalls(demo, [
    { model: 'by-stream', statusCode: 200, latencyMs: 5 },
    { model: 'not-by-stream', statusCode: 500, latencyMs: 5 },
    { model: 'by-stream', statusCode: 503, latencyMs: 5, error: { errorType: 't', message: 'overloaded' } },
  ]);
  await expect(rows(page)).toHaveCount(1);
  await expect(rows(page).first()).toContainText('503');
  await expect(page.locator('.filters-end')).toContainText('1 call');
  await recordCalls(demo, [{ model: 'by-stream', statusCode: 504, latencyMs: 5 }]);
  await expect(rows(page).locator('.col-status')).toHaveText([/504/, /503/]);
  await expect(page.locator('.filters-end')).toContainText('2 calls');
  expect(responses).toEqual([]);
});

test('a call that arrives before the list is included', async ({ page, demo }) => {
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  let answers = 0;
  await page.route('**/graphql', async (route) => {
    if (!route.request().postData()?.includes('query Calls(')) return route.continue();
    // The first list, delayed; no second list.
    const response = await route.fetch();
    answers += 1;
    if (answers > 1) return undefined;
    await held;
    return route.fulfill({ response });
  });
  const client = await page.context().newCDPSession(page);
  await client.send('Network.enable');
  const streams = new Set<string>();
  let received = 0;
  client.on('Network.requestWillBeSent', ({ requestId, request }) => {
    if (request.url.endsWith('/graphql/stream')) streams.add(requestId);
  });
  client.on('Network.dataReceived', ({ requestId, dataLength }) => {
    if (streams.has(requestId)) received += dataLength;
  });
  await page.goto(`${demo.url}/calls?model=early`);
  await expect(page.locator('.live')).toHaveText('Live');
  await expect.poll(() => answers).toBe(1);
  const before = received;
  await recordCalls(demo, [{ model: 'early', statusCode: 207, latencyMs: 5 }]);
  await expect.poll(() => received).toBeGreaterThan(before + 100);
  release();
  await expect(rows(page).locator('.col-status')).toHaveText([/207/]);
});

test('a call with an earlier time is inserted in order, and one outside of the range is not shown', async ({ page, demo }) => {
  await open(page, demo, '/calls?model=earlier');
  await expect(page.locator('.live')).toHaveText('Live');
  const responses = await blockRequests(page);
  const call = (statusCode: number, secondsAgo: number): Record<string, unknown> => ({
    model: 'earlier',
    statusCode,
    latencyMs: 5,
    timestamp: new Date(Date.now() - secondsAgo * 1000).toISOString(),
  });
  await recordCalls(demo, [call(201, 10), call(204, 60)]);
  await expect(rows(page).locator('.col-status')).toHaveText([/201/, /204/]);
  await recordCalls(demo, [call(205, 2 * 86_400)]);
  await recordCalls(demo, [call(202, 30)]);
  await expect(rows(page).locator('.col-status')).toHaveText([/201/, /202/, /204/]);
  expect(responses).toEqual([]);
});

test('rows of a previous list are discarded', async ({ page, demo }) => {
  const call = { id: 'call_0', timestamp: new Date().toISOString(), apiKey: null, model: 'ghost', status: 'SUCCESS', statusCode: 200, latencyMs: 1, errorLog: null };
  const event = `event: next\ndata: ${JSON.stringify({ data: { callRecorded: call } })}\n\n`;
  await page.route('**/graphql/stream', (route) => route.fulfill({ status: 200, contentType: 'text/event-stream', body: event }));
  const day = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10);
  const span = `/calls?since=${day}T00:00:00.000Z&until=${day}T12:00:00.000Z`;
  await page.addInitScript((elsewhere) => {
    const ask = globalThis.fetch;
    globalThis.fetch = async (...args) => {
      const answer = await ask(...args);
      // The page gathers rows for 200 ms; meanwhile the view changes to another, which gets no new rows.
      if (args[0] === '/graphql/stream') {
        setTimeout(() => {
          history.pushState(null, '', elsewhere);
          dispatchEvent(new PopStateEvent('popstate'));
        }, 50);
      }
      return answer;
    };
  }, span);
  // Its list arrives after that time.
  await page.route('**/graphql', async (route) => {
    if (route.request().postData()?.includes(`"since":"${day}`)) await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 400)));
    await route.continue();
  });
  await page.goto(`${demo.url}/calls`);
  await expect(page).toHaveURL(demo.url + span);
  await settled(page);
  await expect(rows(page).first()).toBeVisible();
  await expect(rows(page).filter({ hasText: 'ghost' })).toHaveCount(0);
});

test('error logs arrive by the stream', async ({ page, demo }) => {
  await open(page, demo, '/errors?type=by-stream');
  await expect(page.locator('.live')).toHaveText('Live');
  const responses = await blockRequests(page);
  await recordErrors(demo, [
    { errorType: 'by-stream', errorCode: 500, model: 'm', message: 'expected message', key: 'k' },
    { errorType: 'not-by-stream', errorCode: 500, model: 'm', message: 'other message', key: 'k' },
  ]);
  await expect(rows(page)).toHaveCount(1);
  await expect(rows(page).first()).toContainText('expected message');
  expect(responses).toEqual([]);
});

test('the stream updates the cards of the overview', async ({ page, demo }) => {
  await open(page, demo, '/');
  await expect(page.locator('.live')).toHaveText('Live');
  const responses = await blockRequests(page);
  const total = async (): Promise<number> =>
    Number(((await page.locator('.card:has-text("Last hour") .card-total').textContent()) ?? '').replaceAll(/\D/g, ''));
  const before = await total();
  await recordCalls(demo, Array.from({ length: 500 }, () => ({ model: 'by-stream', statusCode: 200, latencyMs: 5 })));
  await expect.poll(total).toBeGreaterThanOrEqual(before + 400);
  expect(responses).toEqual([]);
});

test('without a stream the page polls for rows', async ({ page, demo }) => {
  await page.route('**/graphql/stream', (route) => route.fulfill({ status: 502, body: 'a proxy that knows no streams' }));
  await open(page, demo, '/calls?model=by-question');
  await expect(page.locator('.live')).toHaveText('Reconnecting');
  await recordCalls(demo, [{ model: 'by-question', statusCode: 200, latencyMs: 5 }]);
  await expect(rows(page)).toHaveCount(1);
});

test('a list that missed events is reloaded', async ({ page, demo }) => {
  // Each stream reports missed events at once and ends; a second later the next one starts.
  let opened = 0;
  const missed = { data: null, errors: [{ message: 'rows went by', extensions: { code: 'EVENTS_MISSED' } }] };
  await page.route('**/graphql/stream', (route) => {
    opened += 1;
    return route.fulfill({ status: 200, contentType: 'text/event-stream', body: `event: next\ndata: ${JSON.stringify(missed)}\n\n` });
  });
  let lists = 0;
  page.on('request', (request) => {
    if (request.postData()?.includes('query Calls(')) lists += 1;
  });
  await open(page, demo, '/calls?model=missed');
  await expect.poll(() => opened).toBeGreaterThanOrEqual(5);
  // Without the stream there would be one list by now, and another every 15 seconds.
  expect(lists).toBeGreaterThanOrEqual(4);
});
