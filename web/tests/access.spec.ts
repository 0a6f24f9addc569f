import { ADMIN, expect, open, PROBE, READER, recordCalls, settled, test } from './servers';

const FULL = 'secret-key-of-a-guarded-server-0001';

test.beforeAll(async ({ guarded }) => {
  await recordCalls(guarded, [
    { key: FULL, model: 'm', statusCode: 200, latencyMs: 10 },
    { key: FULL, model: 'm', statusCode: 500, latencyMs: 10, error: { errorType: 't', message: 'no', request: { prompt: 'a prompt' } } },
  ]);
});

test('an unauthenticated user signs in and gets the requested view', async ({ page, guarded }) => {
  await page.goto(`${guarded.url}/calls?status=failure`);
  await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
  await page.getByLabel('Token').fill('not a token');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toContainText('Invalid token');
  await page.getByLabel('Token').fill(PROBE);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toContainText('It needs the scope READ');
  await page.getByLabel('Token').fill(ADMIN);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await settled(page);
  await expect(page).toHaveURL(`${guarded.url}/calls?status=failure`);
  await expect(page.locator('tbody tr')).toHaveCount(1);
  // The token is nowhere that a script could read.
  const kept = await page.evaluate(() => JSON.stringify([document.cookie, Object.entries(localStorage), Object.entries(sessionStorage)]));
  expect(kept).not.toContain(ADMIN);
  await page.reload();
  await settled(page);
  await expect(page.locator('tbody tr')).toHaveCount(1);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
  await page.reload();
  await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
});

test('actions that the token does not allow are hidden', async ({ page, guarded }) => {
  await page.goto(`${guarded.url}/errors`);
  await page.getByLabel('Token').fill(READER);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await settled(page);
  await expect(page.locator('.listing > .table-box tbody tr')).toHaveCount(1);
  await expect(page.locator('input[type=checkbox]')).toHaveCount(0);
  await page.locator('.listing > .table-box tbody a').first().click();
  await expect(page.getByText('Viewing the request requires a token with the scope READ_REQUESTS.')).toBeVisible();
  await open(page, guarded, '/keys');
  await page.locator('tbody a').first().click();
  await settled(page);
  await expect(page.getByRole('link', { name: 'View calls' })).toBeVisible();
  await expect(page.getByRole('button', { name: 'Reveal' })).toHaveCount(0);
  await expect(page.getByRole('button', { name: 'Copy key' })).toHaveCount(0);
  expect(await page.content()).not.toContain(FULL);
});

test('after its session expires a user signs in and returns to the same view', async ({ page, guarded, context }) => {
  await page.goto(`${guarded.url}/calls?model=m&sort=slowest`);
  await page.getByLabel('Token').fill(READER);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await settled(page);
  // The click sends the next request.
  await page.keyboard.press('p');
  await page.waitForLoadState('networkidle');
  await context.clearCookies();
  await page.getByRole('group', { name: 'Status' }).getByRole('button', { name: 'Failed' }).click();
  await expect(page.getByText('Your session has expired')).toBeVisible();
  await expect(page).toHaveURL(/\/calls\?model=m&sort=slowest&status=failure/);
  await page.getByLabel('Token').fill(READER);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await settled(page);
  await expect(page).toHaveURL(/\/calls\?model=m&sort=slowest&status=failure/);
  await expect(page.locator('tbody tr')).toHaveCount(1);
});
