// GraphiQL: a query, subscriptions over both transports, tokens, links. Documents are written into the models of
// its editors, since the editors complete what is typed.
import AxeBuilder from '@axe-core/playwright';
import type { Page } from '@playwright/test';
import { ADMIN, expect, READER, recordCalls, type Server, settled, test } from './servers';

interface Monaco {
  editor: { getModels: () => { uri: { path: string }; getValue: () => string; setValue: (text: string) => void }[] };
}

type Editor = 'operation.graphql' | 'variables.json' | 'request-headers.json' | 'response.json';

async function read(page: Page, editor: Editor): Promise<string> {
  return page.evaluate((name) => {
    const { __MONACO } = globalThis as unknown as { __MONACO: Monaco };
    return __MONACO.editor.getModels().find(({ uri }) => uri.path.endsWith(name))?.getValue() ?? '';
  }, editor);
}

async function write(page: Page, editor: Editor, text: string): Promise<void> {
  await page.evaluate(
    ([name, value]) => {
      const { __MONACO } = globalThis as unknown as { __MONACO: Monaco };
      const model = __MONACO.editor.getModels().find(({ uri }) => uri.path.endsWith(name));
      if (!model) throw new Error(`there is no ${name}`);
      model.setValue(value);
    },
    [editor, text] as const,
  );
}

const tabs = (page: Page) => page.getByRole('tab');
const runs = (page: Page) => page.getByRole('button', { name: /^(Execute query|Stop query)/ });

/** Opens GraphiQL and waits for its editors. */
async function explore(page: Page, server: Server, search = ''): Promise<void> {
  await page.goto(`${server.url}/graphiql${search}`);
  await expect(page.locator('.graphiql-query-editor .view-lines')).toBeVisible();
  await expect(page.locator('.graphiql-response .view-lines')).toBeVisible();
}

/** Writes an operation with a name, and waits until GraphiQL shows the name. */
async function compose(page: Page, name: string, document: string): Promise<void> {
  await write(page, 'operation.graphql', document);
  await expect(page.locator('.graphiql-tab-active')).toContainText(name);
}

async function answers(page: Page, text: string): Promise<void> {
  await expect.poll(() => read(page, 'response.json')).toContain(text);
}

async function isAccessible(page: Page, what: string): Promise<void> {
  // Outside of this project: the colours of Monaco's own theme, and GraphiQL's tabs, which contain their buttons.
  const builder = new AxeBuilder({ page }).exclude('.monaco-editor').disableRules('nested-interactive');
  const { violations } = await builder.analyze();
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  expect(
    serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 160)).join(' | ')}`),
    what,
  ).toEqual([]);
}

async function signIn(page: Page, server: Server, token: string): Promise<void> {
  await page.goto(server.url);
  await page.getByLabel('Token').fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await settled(page);
}

/** Subscribes to the calls of a model until one arrives, and then stops. */
async function follow(page: Page, server: Server, model: string): Promise<void> {
  await compose(page, 'Follow', `subscription Follow { callRecorded(filter: { models: ["${model}"] }) { model statusCode } }`);
  await runs(page).click();
  await expect(async () => {
    await recordCalls(server, [{ model, key: 'key-of-a-followed-call', statusCode: 200, latencyMs: 5 }]);
    expect(await read(page, 'response.json')).toContain(`"model": "${model}"`);
  }).toPass();
  // GraphiQL offers to stop a running subscription.
  await page.getByRole('button', { name: /^Stop query/ }).click();
  await expect(page.getByRole('button', { name: /^Execute query/ })).toBeVisible();
}

for (const colorScheme of ['light', 'dark'] as const) {
  test(`GraphiQL starts with six examples, ${colorScheme}`, async ({ page, demo }) => {
    const refused: string[] = [];
    page.on('console', (message) => {
      // Warnings of the explorer for lists as arguments, which it cannot show; and for a document that was sent
      // with the operation name of the previous tab, below.
      const known = /^arg mismatch|status of 400/.test(message.text());
      if (message.type() === 'error' && !known) {
        refused.push(message.text());
      }
    });
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await explore(page, demo);
    await expect(tabs(page)).toHaveText([/Counts/, /FailingKeys/, /FailedCalls/, /Timeline/, /ErrorCodes/, /Follow/]);
    for (const [at, field] of ['usageStats', 'callGroups', 'callDetails', 'callSeries', 'errorGroups'].entries()) {
      await tabs(page).nth(at).click();
      // GraphiQL briefly keeps the operation name of the previous tab.
      await expect(async () => {
        await runs(page).click();
        await expect.poll(() => read(page, 'response.json'), { timeout: 5000 }).toContain(`"${field}"`);
      }).toPass();
      expect(await read(page, 'response.json')).not.toContain('"errors"');
    }
    await tabs(page).nth(5).click();
    await expect(async () => {
      await runs(page).click();
      await expect(page.getByRole('button', { name: /^Stop query/ })).toBeVisible({ timeout: 2000 });
    }).toPass();
    // A subscription that was rejected has ended with its errors.
    await recordCalls(demo, [{ model: 'followed-by-an-example', key: 'key-of-an-example', statusCode: 503, latencyMs: 5 }]);
    await answers(page, 'followed-by-an-example');
    await page.getByRole('button', { name: /^Stop query/ }).click();
    await isAccessible(page, 'the editors');
    for (const plugin of ['Documentation Explorer', 'GraphiQL Explorer', 'History']) {
      await page.getByRole('button', { name: `Show ${plugin}` }).click();
      await expect(page.locator('.graphiql-plugin')).toContainText(plugin === 'Documentation Explorer' ? 'Query' : /\w/);
      // The explorer's own fields have no labels.
      if (plugin !== 'GraphiQL Explorer') {
        await isAccessible(page, plugin);
      }
    }
    // The page violates no rule of its policy.
    expect(refused).toEqual([]);
  });
}

test('subscriptions use WebSocket, or SSE after a switch', async ({ page, demo }) => {
  const sockets: string[] = [];
  const closed: string[] = [];
  page.on('websocket', (socket) => {
    sockets.push(socket.url());
    socket.on('close', () => closed.push(socket.url()));
  });
  await explore(page, demo);
  await follow(page, demo, 'followed-by-websocket');
  expect(sockets).toEqual([`${demo.url.replace('http', 'ws')}/graphql/ws`]);
  await expect.poll(() => closed).toEqual(sockets);

  await page.getByRole('button', { name: 'Subscriptions use WebSocket' }).click();
  const ended = page.waitForEvent('requestfailed', (request) => request.url().endsWith('/graphql/stream'));
  await follow(page, demo, 'followed-by-sse');
  await ended;
  expect(sockets).toHaveLength(1);
  await page.reload();
  await expect(page.getByRole('button', { name: 'Subscriptions use SSE' })).toBeVisible();
});

test('GraphiQL shows why a subscription is rejected', async ({ page, demo }) => {
  await explore(page, demo);
  for (const transport of ['WebSocket', 'SSE']) {
    await expect(page.getByRole('button', { name: `Subscriptions use ${transport}` })).toBeVisible();
    await compose(page, `Wrong${transport}`, `subscription Wrong${transport} { callRecorded { nothing${transport} } }`);
    await runs(page).click();
    await answers(page, `nothing${transport}`);
    await answers(page, 'GRAPHQL_VALIDATION_FAILED');
    await page.getByRole('button', { name: `Subscriptions use ${transport}` }).click();
  }
});

test('GraphiQL requires a token, and does not store it', async ({ page, guarded }) => {
  await explore(page, guarded);
  const notice = page.getByRole('alert').filter({ hasText: 'Sign in' });
  await expect(notice.getByRole('link', { name: 'Sign in' })).toHaveAttribute('href', '/');
  await isAccessible(page, 'the notice');
  await page.getByRole('button', { name: 'Headers' }).click();
  await write(page, 'request-headers.json', JSON.stringify({ Authorization: `Bearer ${ADMIN}` }));
  await page.getByRole('button', { name: /^Re-fetch GraphQL schema/ }).click();
  await expect(notice).toHaveCount(0);
  await compose(page, 'Who', 'query Who { viewer { name } }');
  await runs(page).click();
  await answers(page, '"admin"');
  await follow(page, guarded, 'followed-with-a-token');
  await page.getByRole('button', { name: 'Subscriptions use WebSocket' }).click();
  await follow(page, guarded, 'followed-with-a-token-by-sse');
  // The history has the query, a favourite is saved, and tabs are restored.
  await page.getByRole('button', { name: 'Show History' }).click();
  await expect(page.locator('.graphiql-history')).toContainText('Who');
  await page.getByRole('button', { name: 'Add favorite' }).first().click();
  await page.getByRole('button', { name: 'New tab' }).click();
  await expect.poll(() => page.evaluate(() => localStorage.getItem('graphiql:favorites'))).toContain('query');
  const kept = await page.evaluate(() => JSON.stringify([document.cookie, Object.entries(localStorage), Object.entries(sessionStorage)]));
  expect(kept).toContain('viewer');
  expect(kept).not.toContain(ADMIN);
  expect(kept).not.toContain('Bearer');
  await page.reload();
  await expect(notice).toBeVisible();
});

test('a session authenticates GraphiQL with both transports', async ({ page, guarded }) => {
  await signIn(page, guarded, READER);
  await explore(page, guarded);
  await compose(page, 'Who', 'query Who { viewer { name } }');
  await runs(page).click();
  await answers(page, '"reader"');
  await expect(page.getByRole('alert').filter({ hasText: 'Sign in' })).toHaveCount(0);
  await follow(page, guarded, 'followed-by-a-session');
  await page.getByRole('button', { name: 'Subscriptions use WebSocket' }).click();
  await follow(page, guarded, 'followed-by-a-session-by-sse');
});

test('a link opens its document in a tab that keeps its edits', async ({ page, demo }) => {
  const query = 'query Linked($first: Int) { callDetails(period: LAST_HOUR, first: $first) { nodes { model } } }';
  const search = `?${new URLSearchParams({ query, variables: '{"first": 1}' }).toString()}`;
  await explore(page, demo, search);
  await expect(tabs(page)).toHaveCount(7);
  await runs(page).click();
  await answers(page, '"callDetails"');
  expect(await read(page, 'variables.json')).toBe('{"first": 1}');
  await compose(page, 'Changed', query.replace('Linked', 'Changed'));
  // Check the document itself: the name of the tab may be stored before it.
  await expect.poll(() => page.evaluate(() => localStorage.getItem('graphiql:tabState'))).toContain('query Changed(');
  await page.reload();
  await expect(page.locator('.graphiql-tab-active')).toContainText('Changed');
  await expect(tabs(page)).toHaveCount(7);
  await expect.poll(() => read(page, 'variables.json')).toBe('{"first": 1}');
  await explore(page, demo, search);
  await expect(page.locator('.graphiql-tab-active')).toContainText('Linked');
  await expect(tabs(page)).toHaveCount(8);
  // The same link again: its tab exists already.
  await explore(page, demo, search);
  await expect(page.locator('.graphiql-tab-active')).toContainText('Linked');
  await expect(tabs(page)).toHaveCount(8);
});
