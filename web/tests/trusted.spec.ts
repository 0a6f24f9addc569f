// A server that runs only trusted documents, which include those of the page.
import type { Page } from '@playwright/test';
import { ADMIN, expect, open, recordCalls, recordErrors, settled, test } from './servers';

const FULL = 'secret-key-of-a-trusting-server-0001';

test.beforeAll(async ({ trusting }) => {
  await recordCalls(trusting, [
    { key: FULL, model: 'm', statusCode: 200, latencyMs: 10 },
    { key: FULL, model: 'm', statusCode: 403, latencyMs: 10, error: { errorType: 't', message: 'Permission denied', request: { prompt: 'a prompt' } } },
  ]);
  await recordErrors(trusting, [{ key: FULL, errorType: 'to-delete', errorCode: 500, message: 'gone soon' }]);
});

/** The error codes of all refused requests. */
function refusals(page: Page): string[] {
  const codes: string[] = [];
  page.on('response', async (response) => {
    if (!response.url().endsWith('/graphql')) return;
    const body = (await response.json().catch(() => ({}))) as { errors?: { extensions: { code: string } }[] };
    codes.push(...(body.errors ?? []).map((error) => error.extensions.code));
  });
  return codes;
}

test('the page works on a server with trusted documents', async ({ page, trusting }) => {
  await page.goto(trusting.url);
  await page.getByLabel('Token').fill(ADMIN);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await settled(page);
  const refused = refusals(page);
  await expect(page.locator('.sentence:not(.skeleton)')).toContainText('of 2 calls succeeded');
  await expect(page.locator('.live')).toHaveText('Live');
  // No link leads to a missing page.
  await expect(page.locator('a[href^="/graphiql"]')).toHaveCount(0);

  await open(page, trusting, '/calls');
  await expect(page.locator('tbody tr[aria-rowindex]')).toHaveCount(2);
  await expect(page.locator('.live')).toHaveText('Live');
  await recordCalls(trusting, [{ key: FULL, model: 'm', statusCode: 429, latencyMs: 10 }]);
  await expect(page.locator('tbody tr[aria-rowindex]')).toHaveCount(3);
  await page.locator('tbody tr', { hasText: '403' }).locator('a').click();
  await expect(page.locator('.provider-message')).toHaveText('Permission denied');
  await expect(page.locator('.nearby-calls li')).toHaveCount(3);
  await expect(page.locator('.drawer')).toContainText('a prompt');
  await expect(page.locator('a[href^="/graphiql"]')).toHaveCount(0);

  await open(page, trusting, '/keys');
  await expect(page.locator('tbody tr[aria-rowindex]')).toHaveCount(1);
  await page.locator('tbody a').first().click();
  await settled(page);
  await page.getByRole('button', { name: 'Reveal' }).click();
  await expect(page.locator('.key-name')).toHaveText(FULL);
  await expect(page.locator('a[href^="/graphiql"]')).toHaveCount(0);

  await open(page, trusting, '/errors?type=to-delete');
  await page.locator('.listing > .table-box tbody a').first().click();
  await expect(page.locator('.provider-message')).toHaveText('gone soon');
  await page.keyboard.press('Escape');
  await page.getByLabel('Select all loaded rows').check();
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await expect(page.getByText('1 error log deleted')).toBeVisible();
  expect(refused).toEqual([]);
});

test('other documents are rejected, and GraphiQL is not served', async ({ page, trusting }) => {
  await expect(trusting.ask('{ serverInfo { version } }')).rejects.toThrow('DOCUMENT_NOT_TRUSTED');
  const graphiql = await page.goto(`${trusting.url}/graphiql`);
  expect(graphiql?.status()).toBe(404);
});
