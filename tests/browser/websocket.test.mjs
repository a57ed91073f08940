// Chromium's own WebSocket, bare and under npm centrifuge: what browsers do that other clients do not.

import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import { bare, base, launch } from './support.mjs';

const ws = base.replace(/^http/, 'ws');
let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

/** The messages of a protobuf frame: each behind its length, as a varint. */
function messages(frame) {
  const all = [];
  for (let at = 0; at < frame.length;) {
    let [length, shift] = [0, 0];
    for (;;) {
      const octet = frame[at];
      at += 1;
      length |= (octet & 0x7f) << shift;
      shift += 7;
      if (octet < 0x80) break;
    }
    assert.ok(at + length <= frame.length, 'a message that is longer than its frame');
    all.push(frame.subarray(at, at + length));
    at += length;
  }
  return all;
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
  const { page } = await bare(t, browser);
  const messages = ['', 'Fähre 渡し船 🌊', 'x'.repeat(200_000)];
  const { opened, echoes, code, wasClean } = await talk(page, `${ws}/echo`, messages);
  assert.ok(opened);
  assert.deepEqual(echoes, messages);
  assert.deepEqual({ code, wasClean }, { code: 4123, wasClean: true });
});

test('a page of another origin may not connect, though its user could', async (t) => {
  const other = base.replace('127.0.0.1', 'localhost');
  const { page, errors } = await bare(t, browser, other);
  const refused = await talk(page, `${ws}/connection/websocket`);
  assert.deepEqual([refused.opened, refused.code], [false, 1006]);
  assert.match(errors.join(), /403/, 'it is the server that refuses, not the browser');
  const own = await talk(page, `${other.replace(/^http/, 'ws')}/echo`, ['own']);
  assert.deepEqual([own.opened, own.echoes], [true, ['own']]);
});

test('a path that is not there does not open, and the page is told at once', async (t) => {
  const { page, errors } = await bare(t, browser);
  const { opened, code } = await talk(page, `${ws}/nowhere`);
  assert.deepEqual([opened, code], [false, 1006]);
  assert.match(errors.join(), /404/);
});

/** The spellings of npm centrifuge's bundles for browsers, as they were published. */
const spellings = [
  {
    name: 'JSON',
    bundle: 'centrifuge.js',
    /** Text that is JSON, line by line, from the connect command on. How many publications and pushes there are. */
    judge({ sent, received }) {
      const lines = (frames) => frames.flatMap((frame) => {
        assert.equal(typeof frame, 'string', 'a binary frame in JSON');
        return frame.split('\n').map((line) => JSON.parse(line));
      });
      assert.ok('connect' in lines(sent)[0]);
      const heard = lines(received);
      assert.equal(typeof heard[0].connect.client, 'string');
      const publications = heard.flatMap(({ push, subscribe }) => [push?.pub, ...(subscribe?.publications ?? [])]).filter(Boolean);
      return { publications: publications.length, pushes: heard.filter(({ push }) => push).length };
    },
  },
  {
    name: 'protobuf',
    bundle: 'centrifuge.protobuf.js',
    /** Binary frames of whole messages. The same counts; data are the application's own octets, here JSON. */
    judge({ sent, received }) {
      for (const frame of [...sent, ...received]) assert.ok(Buffer.isBuffer(frame), 'a text frame in protobuf');
      const [[, id]] = sent.flatMap(messages);
      const [connect] = messages(sent[0]);
      assert.deepEqual([...connect.subarray(0, 3)], [0x08, id, 0x22], 'an id, then field 4: the connect request');
      const heard = received.flatMap(messages);
      assert.deepEqual([...heard[0].subarray(0, 3)], [0x08, id, 0x2a], 'the same id, then field 5: the connect result');
      const text = Buffer.concat(heard).toString('latin1');
      assert.ok(!text.includes('"push"'), 'no JSON around the data');
      // A push has no id: it begins with field 4.
      return { publications: text.split('{"n":').length - 1, pushes: heard.filter((reply) => reply[0] === 0x22).length };
    },
  },
];

for (const { name, bundle, judge } of spellings) {
  test(`npm centrifuge in Chromium, ${name}: connect, subscribe, publish, history, presence, join, rpc, recovery`, async (t) => {
    const { page, sockets } = await bare(t, browser, base, bundle);
    const result = await page.evaluate(async ({ url, protobuf }) => {
      const [encoder, decoder] = [new TextEncoder(), new TextDecoder()];
      const pack = (value) => (protobuf ? encoder.encode(JSON.stringify(value)) : value);
      const unpack = (data) => (protobuf ? JSON.parse(decoder.decode(data)) : data);
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
        subscription.on('publication', ({ data }) => heard.push(unpack(data)));
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
      await of_bob.publish(pack({ n: 1 }));
      await until(() => heard.length === 1 && joins.length >= 1);
      const history = await subscription.history({ limit: 10 });
      const presence = await subscription.presence();
      const stats = await subscription.presenceStats();
      const echo = await ada.rpc('echo', pack(['ü']));
      const refused = await ada.publish('market:BTC-USD', pack({ price: 1 })).catch(({ code }) => code);
      const again = new Promise((resolve) => { subscription.on('subscribed', resolve); });
      sockets[0].close(4000);
      for (let n = 2; n <= 11; n += 1) await of_bob.publish(pack({ n }));
      const { wasRecovering, recovered } = await again;
      await until(() => heard.length === 11);
      const { protocol } = sockets[0];
      ada.disconnect();
      bob.disconnect();
      return {
        heard: heard.map(({ n }) => n), history: history.publications.length, present: Object.keys(presence.clients).length,
        stats: stats.numClients, echo: unpack(echo.data), refused, wasRecovering, recovered, protocol,
      };
    }, { url: ws, protobuf: name === 'protobuf' });
    assert.deepEqual(result, {
      heard: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], history: 1, present: 2, stats: 2, echo: ['ü'], refused: 103, wasRecovering: true,
      recovered: true, protocol: name === 'protobuf' ? 'centrifuge-protobuf' : '',
    });
    // On the wire: three connections, each in the spelling that was asked for, and on them all publications.
    assert.equal(sockets.length, 3);
    const seen = sockets.map(judge);
    const sum = (what) => seen.reduce((all, one) => all + one[what], 0);
    assert.ok(sum('publications') >= 22, `each of two heard each of eleven: ${JSON.stringify(seen)}`);
    assert.ok(sum('pushes') >= 12, `Bob heard all of them as pushes, Ada one at least: ${JSON.stringify(seen)}`);
  });
}
