// The rows that a real gemini-balance wrote within 94 seconds.
import { expect, open, settled, test } from './servers';

const SPAN = 'since=2026-11-22T21:51:00Z&until=2026-11-22T21:53:00Z';

test('an overview of real calls', async ({ page, real }) => {
  await open(page, real, `/?${SPAN}`);
  await expect(page.locator('.bar-row', { hasText: '200' }).locator('.num').first()).toHaveText('689');
  await expect(page.locator('.bar-row', { hasText: '429' }).locator('.num').first()).toHaveText('221');
  // Texts in the column of codes are calls without a response: 24 + 15 + 24 + 3.
  await expect(page.locator('.bar-row', { hasText: 'no response' }).locator('.num').first()).toHaveText('66');
  await expect(page.getByRole('row', { name: /gemini-2\.5-flash (.* )?588/ })).toBeVisible();
});

test('real calls and their provider messages', async ({ page, real }) => {
  await open(page, real, `/calls?${SPAN}&code=400`);
  await expect(page.locator('.filters-end')).toContainText('67 calls');
  await page.locator('tbody a').first().click();
  await expect(page.locator('.provider-message')).toContainText('API key not valid. Please pass a valid API key.');
  await expect(page.locator('.provider-message-name')).toHaveText('INVALID_ARGUMENT · API_KEY_INVALID');
  await open(page, real, `/calls?${SPAN}&status=failure`);
  await expect(page.locator('.filters-end')).toContainText('472 calls');
});

test('real keys and errors', async ({ page, real }) => {
  await open(page, real, `/keys?${SPAN}`);
  await expect(page.locator('.filters-end')).toContainText('50 keys');
  // 42 keys have no diagnosis; of 41 of them more than 20 % of the calls failed.
  await page.getByLabel('State').selectOption('failures');
  await expect(page.locator('.filters-end')).toContainText('41 keys');
  await page.getByLabel('State').selectOption('healthy');
  await expect(page.locator('.filters-end')).toContainText('1 key');
  await open(page, real, `/errors?${SPAN}&q=API_KEY_INVALID`);
  await expect(page.locator('.filters-end')).toContainText('37 error logs');
  await page.locator('.listing > .table-box tbody a').last().click();
  await settled(page);
  await expect(page.locator('.provider-message')).toContainText('API key not valid');
});
