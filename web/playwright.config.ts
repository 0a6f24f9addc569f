import { defineConfig } from '@playwright/test';

// Debian's Chromium, so that nothing is downloaded. It runs without sandbox, since a CI machine's user is root,
// and resolves no host name: the page must not load anything from other servers.
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
  timeout: 300_000,
  // Generous, since CI machines are busy. No test measures speed.
  expect: { timeout: 60_000 },
  // One demo server for all; two cores.
  workers: 1,
  reporter: process.env.CI ? 'line' : 'list',
  forbidOnly: Boolean(process.env.CI),
  // On a busy machine a timing-dependent test may fail once; a retry reports it as flaky.
  retries: process.env.CI ? 1 : 0,
  use: {
    viewport: { width: 1440, height: 900 },
    locale: 'en-GB',
    timezoneId: 'Europe/Berlin',
    launchOptions: { executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args },
    trace: 'retain-on-failure',
  },
});
