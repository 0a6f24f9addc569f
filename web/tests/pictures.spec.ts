// The pictures of README and docs: PICTURES=1 npm run test:e2e -- pictures
import { join } from 'node:path';
import { expect, open, settled, test } from './servers';

test.skip(!process.env.PICTURES, 'pictures are taken with PICTURES=1');

const picture = (name: string): string => join(import.meta.dirname, '..', '..', 'docs', 'images', `${name}.png`);

test('pictures', async ({ browser, demo }) => {
  const page = await browser.newPage({ viewport: { width: 1280, height: 840 }, timezoneId: 'UTC', locale: 'en-GB' });
  await open(page, demo, '/');
  await page.screenshot({ path: picture('overview') });

  await page.emulateMedia({ colorScheme: 'dark' });
  await open(page, demo, '/calls?status=failure');
  await page.keyboard.press('p');
  await page.locator('tbody tr', { hasText: 'suspended' }).first().locator('a').click();
  await expect(page.locator('.provider-message')).toBeVisible();
  await settled(page);
  await page.screenshot({ path: picture('calls-dark') });

  await page.emulateMedia({ colorScheme: 'light' });
  await open(page, demo, '/keys');
  await page.screenshot({ path: picture('keys') });
  await page.close();

  const phone = await browser.newPage({ viewport: { width: 390, height: 760 }, timezoneId: 'Asia/Shanghai', locale: 'zh-CN' });
  await open(phone, demo, '/');
  await phone.screenshot({ path: picture('overview-phone-zh') });
  await phone.close();
});
