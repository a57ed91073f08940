// The admin page in a real Chromium: what it shows of a living server, and the orders it gives.

import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { base, launch, open, pictures, until, visit } from './support.mjs';
import { open as dial } from '../interop/node/support.mjs';

const admin = process.env.TIDEGATE_ADMIN_HTTP ?? 'http://127.0.0.1:8001';
const channel = 'chat:lobby';
let browser;
before(async () => { browser = await launch(); });
after(() => browser.close());

const board = async (t, options) => {
  const window = await open(t, browser, admin, { viewport: { width: 1440, height: 1500 }, ...options });
  await window.page.locator('[data-testid=status][data-state=live]').waitFor();
  return window;
};
const number = (text) => Number(text.replaceAll(',', ''));
const choose = ({ page }, name) => page.locator(`[data-testid=channel-row][data-key="${name}"] button`).click();

/** How many of a plot's pixels are not like its corner. */
const ink = ({ page }, name) => page.evaluate((name) => {
  const canvas = document.querySelector(`[data-plot=${name}] canvas`);
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const colours = new Uint32Array(data.buffer);
  return colours.reduce((sum, colour) => sum + (colour !== colours[0]), 0);
}, name);

test('it shows the connections, the channels and the plots of a living server', async (t) => {
  const demo = await visit(t, browser);
  const window = await board(t);
  await until('a connection', () => window.get('tile-connections').locator('dd').textContent(), (text) => number(text) >= 1);
  await until('the channel', () => window.page.locator(`[data-testid=channel-row][data-key="${channel}"]`).count());
  for (const name of ['connections', 'messages', 'turn', 'machine']) {
    assert.ok(await until(`a drawn plot: ${name}`, () => ink(window, name), (n) => n > 200));
  }
  await until('messages a second', () => window.page.locator('[data-plot=messages] [data-reading]').textContent(), (text) => /delivered [1-9]/.test(text));
  await window.page.screenshot({ path: `${pictures}/admin-light.png`, fullPage: true });
  assert.deepEqual(window.errors, []);
  assert.deepEqual(demo.errors, []);
});

test('in the dark and on a phone it is readable too', async (t) => {
  const dark = await board(t, { colorScheme: 'dark' });
  const background = await dark.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(background, 'rgb(10, 29, 36)');
  await dark.page.screenshot({ path: `${pictures}/admin-dark.png`, fullPage: true });
  const phone = await board(t, { viewport: { width: 390, height: 844 } });
  const overflow = await phone.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${overflow} px too wide`);
  await phone.page.screenshot({ path: `${pictures}/admin-phone.png` });
});

test('a publication from here arrives at the page and stands in the history', async (t) => {
  const demo = await visit(t, browser, `${base}/#/chat`);
  const window = await board(t);
  await until('the channel', () => window.page.locator(`[data-testid=channel-row][data-key="${channel}"]`).count());
  await choose(window, channel);
  await until('who is there', () => window.get('presence').getByRole('button').count(), (n) => n >= 1);
  const said = `from the bridge ${Date.now()}`;
  await window.get('publish-data').fill(JSON.stringify({ id: String(Date.now()), name: 'Bridge', text: said }));
  await window.get('publish').getByRole('button').click();
  await until('word of it', () => window.get('publish-said').textContent(), (text) => text.startsWith('published as #'));
  await until('it in the history', () => window.get('history').textContent(), (text) => text.includes(said));
  assert.match(await window.get('history').locator('li').first().textContent(), /^#\d+\d\d:\d\d:\d\d/);
  await until('it in the chat', () => demo.get('lines').textContent(), (text) => text.includes(said));
  await window.get('publish-data').fill('no JSON');
  await window.get('publish').getByRole('button').click();
  await until('a complaint', () => window.get('publish-said').getAttribute('data-bad'), (bad) => bad === 'true');
});

test('a connection is looked up and disconnected', async (t) => {
  const demo = await visit(t, browser);
  const window = await board(t);
  await window.get('user-form').getByRole('button', { name: 'Look up' }).click();
  await until('connections', () => window.get('clients').locator('tr').count());
  const gone = demo.page.locator('[data-testid=status]:not([data-state=connected])').waitFor();
  for (const button of await window.get('clients').getByRole('button').all()) await button.click().catch(() => {});
  await gone;
});

test('a client that takes nothing is named among the slow, and no longer when it takes again', async (t) => {
  const snail = await dial(`${base.replace(/^http/, 'ws')}/connection/websocket`);
  t.after(() => snail.socket.terminate());
  const room = `chat:slow-${Date.now()}`;
  snail.socket.send(`{"id":1,"connect":{"data":{"name":"Snail"}}}\n{"id":2,"subscribe":{"channel":"${room}"}}`);
  let id, subscribed;
  while (!subscribed) {
    for (const line of (await snail.take()).text.split('\n').map(JSON.parse)) {
      id ??= line.connect?.client;
      subscribed ??= line.subscribe;
    }
  }
  const window = await board(t);
  const api = (path, body) => window.page.evaluate(({ path, body }) => fetch(path, body && { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }).then((answer) => answer.json()), { path, body });
  assert.equal(await window.get('slow').locator('tr').count(), 0);
  snail.socket.pause();
  // What both kernels hold comes first; then its outbox fills, until it is above its high mark and not yet closed.
  const ballast = 'x'.repeat(48 << 10);
  for (let n = 0; !(await api('/admin/slow')).clients.some((one) => one.client === id); n += 1) {
    assert.ok(n < 1_000, 'it should lag by now');
    const { error } = await api('/admin/api/publish', { channel: room, data: ballast });
    assert.equal(error, undefined);
  }
  const row = window.get('slow').locator('tr', { hasText: id.slice(0, 8) });
  await until('its row', () => row.count(), (n) => n === 1);
  assert.match(await row.textContent(), /anonymous.*\d [KM]iB.*full/);
  assert.equal(await window.get('slow-empty').isVisible(), false);
  await window.page.screenshot({ path: `${pictures}/admin-slow.png`, fullPage: true });
  snail.socket.resume();
  await until('nobody who lags', () => window.get('slow-empty').isVisible());
  assert.equal(await row.count(), 0);
});

test('the configuration in force is shown without a secret, and can be reloaded', async (t) => {
  const window = await board(t);
  await until('the tree', () => window.get('config').textContent(), (text) => text.includes('history_size'));
  assert.ok(!(await window.page.content()).includes('interop'), 'the API key is nowhere');
  await window.get('reload').click();
  await until('word of it', () => window.get('reload-said').textContent(), (text) => text.startsWith('reloaded'));
});
