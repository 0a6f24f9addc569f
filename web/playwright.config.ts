import { defineConfig } from '@playwright/test';

// Debian's Chromium, so that nothing is downloaded. It runs without a sandbox of its own, since a
// CI machine's user is root, and resolves no name: the page must need nothing from outside.
const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
];

export default defineConfig({
  testDir: 'tests',
  timeout: 180_000,
  // A busy machine is slow, and no test is about speed.
  expect: { timeout: 40_000 },
  // One demo server for all; two cores.
  workers: 1,
  reporter: process.env.CI ? 'line' : 'list',
  forbidOnly: Boolean(process.env.CI),
  // A browser, a server and a busy machine: what fails once and passes then is told as flaky.
  retries: process.env.CI ? 1 : 0,
  use: {
    viewport: { width: 1440, height: 900 },
    locale: 'en-GB',
    timezoneId: 'Europe/Berlin',
    launchOptions: { executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args },
    trace: 'retain-on-failure',
  },
});
