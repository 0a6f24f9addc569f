// Views that are kept, printed and copied.
import { expect, open, settled, test } from './servers';

test('a view is saved by name, opened and deleted', async ({ page, demo }) => {
  await open(page, demo, '/calls?range=8h&-code=200&model=gemini-2.5-pro');
  const views = page.getByRole('group', { name: 'Saved views' });
  await page.getByRole('button', { name: 'Saved views' }).click();
  await expect(views).toContainText('No view is saved in this browser.');
  await expect(views.getByRole('button', { name: 'Save' })).toBeDisabled();
  await views.getByLabel('Name of this view').fill('Failures of pro');
  await page.keyboard.press('Enter');
  await expect(views.getByRole('link')).toHaveText(['Failures of pro']);
  // It is there in every view, and after a reload.
  await open(page, demo, '/keys');
  await page.getByRole('button', { name: 'Saved views' }).click();
  await views.getByRole('link', { name: 'Failures of pro' }).click();
  await expect(page).toHaveURL(`${demo.url}/calls?range=8h&-code=200&model=gemini-2.5-pro`);
  await settled(page);
  await expect(page.getByRole('group', { name: 'Excluded' })).toContainText('200');
  await page.getByRole('button', { name: 'Saved views' }).click();
  await views.getByRole('button', { name: 'Delete the view Failures of pro' }).click();
  await expect(views.getByRole('link')).toHaveCount(0);
  await page.keyboard.press('Escape');
  await expect(views).toHaveCount(0);
});

test('a key that was pasted into a search is not in a saved view', async ({ page, demo }) => {
  await open(page, demo, '/errors');
  const key = 'AIzaSyKeyThatNoOneHas0123456789abcdefghi';
  await page.getByLabel('Key contains').fill(key);
  await expect(page.getByText('Nothing matches these filters')).toBeVisible();
  await page.getByRole('button', { name: 'Saved views' }).click();
  await page.getByLabel('Name of this view').fill('with a key');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('link', { name: 'with a key' })).toBeVisible();
  expect(await page.evaluate(() => JSON.stringify(Object.entries(localStorage)))).not.toContain(key);
});

test('paper shows the content without controls, with the range', async ({ page, demo }) => {
  await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
  for (const path of ['/', '/calls?code=429', '/keys', '/errors']) {
    await page.goto(demo.url + path);
    await expect(page.locator('.skeleton, [aria-busy=true]')).toHaveCount(0);
    await expect(page.locator('.nav')).toBeHidden();
    await expect(page.locator('.live')).toBeHidden();
    await expect(page.locator('.print-only')).toContainText(/\d{2}:\d{2}.*Times are in Europe\/Berlin/);
    // Nothing is cut: the page is as long as its content.
    const { content, shown } = await page.evaluate(() => {
      const box = document.querySelector('.scroll, .table-box');
      return { content: box?.scrollHeight ?? 0, shown: box?.clientHeight ?? 0 };
    });
    expect(shown, path).toBeGreaterThan(100);
    expect(content, path).toBeLessThanOrEqual(shown + 1);
    // Light, also in the dark theme.
    expect(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), path).toBe('light');
  }
  const pages = await page.pdf();
  expect(pages.length).toBeGreaterThan(1000);
});

test('the keys of a state are copied, and the audit log has each of them', async ({ page, demo, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await open(page, demo, '/keys');
  await expect(page.getByRole('button', { name: /^Copy these/ })).toHaveCount(0);
  await page.getByLabel('State').selectOption('attention');
  await expect(page).toHaveURL(/state=attention/);
  const count = await page.locator('tbody tr[aria-rowindex]').count();
  await page.getByRole('button', { name: count === 1 ? 'Copy this key' : `Copy these ${count} keys` }).click();
  await expect(page.getByText('Copied')).toBeVisible();
  const keys = (await page.evaluate(() => navigator.clipboard.readText())).split('\n');
  expect(keys).toHaveLength(count);
  for (const key of keys) expect(key).toMatch(/^FakeSyDEMO.{29}$/);
  expect(new Set(keys).size).toBe(count);
  const ids = await page.locator('tbody .col-key a').evaluateAll((links) => links.map((link) => (link as HTMLAnchorElement).pathname.replace('/keys/', '')));
  const audit = demo.runCommand('audit');
  for (const id of ids) expect(audit).toContain(id);
});
