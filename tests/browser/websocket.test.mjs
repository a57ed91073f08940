// Chromium's own WebSocket, bare and under npm centrifuge: what browsers do that other clients do not.

import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import { base, launch, open, packages } from './support.mjs';

const ws = base.replace(/^http/, 'ws');
let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

/** A page of that origin without scripts of its own, with npm centrifuge in it, as it was published. The page must come
 *  from the server itself: Chromium keeps one that playwright made up away from the local network. */
async function bare(t, origin = base) {
  const window = await open(t, browser, 'about:blank', { bypassCSP: true });
  await window.context.addInitScript({ path: `${packages}/node_modules/centrifuge/dist/centrifuge.js` });
  await window.page.goto(`${origin}/icon.svg`);
  return window;
}

/** Opens a socket in the page, sends, and says what came of it. */
const talk = (page, url, messages = []) => page.evaluate(({ url, messages }) => new Promise((resolve) => {
  const socket = new WebSocket(url);
  const result = { opened: false, echoes: [] };
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => { result.opened = true; messages.length ? messages.forEach((m) => socket.send(m)) : socket.close(4123, 'enough'); };
  socket.onmessage = ({ data }) => { result.echoes.push(data); if (result.echoes.length === messages.length) socket.close(4123, 'enough'); };
  socket.onclose = ({ code, wasClean }) => resolve(Object.assign(result, { code, wasClean }));
}), { url, messages });

test('Chromium\'s WebSocket echoes and closes cleanly', async (t) => {
  const { page } = await bare(t);
  const messages = ['', 'Fähre 渡し船 🌊', 'x'.repeat(200_000)];
  const { opened, echoes, code, wasClean } = await talk(page, `${ws}/echo`, messages);
  assert.ok(opened);
  assert.deepEqual(echoes, messages);
  assert.deepEqual({ code, wasClean }, { code: 4123, wasClean: true });
});

test('a page of another origin may not connect, though its user could', async (t) => {
  const other = base.replace('127.0.0.1', 'localhost');
  const { page, errors } = await bare(t, other);
  const refused = await talk(page, `${ws}/connection/websocket`);
  assert.deepEqual([refused.opened, refused.code], [false, 1006]);
  assert.match(errors.join(), /403/, 'it is the server that refuses, not the browser');
  const own = await talk(page, `${other.replace(/^http/, 'ws')}/echo`, ['own']);
  assert.deepEqual([own.opened, own.echoes], [true, ['own']]);
});

test('a path that is not there does not open, and the page is told at once', async (t) => {
  const { page, errors } = await bare(t);
  const { opened, code } = await talk(page, `${ws}/nowhere`);
  assert.deepEqual([opened, code], [false, 1006]);
  assert.match(errors.join(), /404/);
});

test('npm centrifuge in Chromium: connect, subscribe, publish, history, presence, join, rpc, recovery', async (t) => {
  const { page } = await bare(t);
  const result = await page.evaluate(async (url) => {
    const channel = `chat:${crypto.randomUUID()}`;
    const open = async () => {
      const client = new Centrifuge(`${url}/connection/websocket`, { minReconnectDelay: 20, maxReconnectDelay: 100 });
      client.connect();
      await client.ready(5000);
      return client;
    };
    const subscribe = async (client, options) => {
      const subscription = client.newSubscription(channel, options);
      const heard = [];
      subscription.on('publication', ({ data }) => heard.push(data));
      subscription.subscribe();
      await subscription.ready(5000);
      return { subscription, heard };
    };
    const until = async (condition) => { for (let n = 0; !condition(); n += 1) { if (n > 500) throw new Error(`${condition}`); await new Promise((r) => setTimeout(r, 10)); } };
    // A socket that can be pulled out from under the client.
    const sockets = [];
    const Native = WebSocket;
    window.WebSocket = class extends Native { constructor(...rest) { super(...rest); sockets.push(this); } };
    const ada = await open();
    window.WebSocket = Native;
    const bob = await open();
    const joins = [];
    const { subscription, heard } = await subscribe(ada, { recoverable: true, joinLeave: true });
    subscription.on('join', ({ info }) => joins.push(info.client));
    const { subscription: of_bob } = await subscribe(bob, {});
    await of_bob.publish({ n: 1 });
    await until(() => heard.length === 1 && joins.length >= 1);
    const history = await subscription.history({ limit: 10 });
    const presence = await subscription.presence();
    const stats = await subscription.presenceStats();
    const echo = await ada.rpc('echo', ['ü']);
    const again = new Promise((resolve) => { subscription.on('subscribed', resolve); });
    sockets[0].close(4000);
    for (let n = 2; n <= 11; n += 1) await of_bob.publish({ n });
    const { wasRecovering, recovered } = await again;
    await until(() => heard.length === 11);
    ada.disconnect();
    bob.disconnect();
    return { heard: heard.map(({ n }) => n), history: history.publications.length, present: Object.keys(presence.clients).length, stats: stats.numClients, echo: echo.data, wasRecovering, recovered };
  }, ws);
  assert.deepEqual(result, { heard: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], history: 1, present: 2, stats: 2, echo: ['ü'], wasRecovering: true, recovered: true });
});
