// npm centrifuge in a real Chromium, JSON and protobuf, against a hub that wants tokens: who may come in, what keeps a
// connection alive, the codes of its end, and that nothing is lost when it is cut at any octet.

import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import { bare, base, launch, until } from './support.mjs';
import { api, fragile, fresh, hub, now, token } from '../interop/node/support.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

for (const [name, bundle] of [['JSON', 'centrifuge.js'], ['protobuf', 'centrifuge.protobuf.js']]) {
  const it = (title, run) => test(`hub in Chromium, ${name}: ${title}`, run);

  /** A page with a client `client` for that URL, whose tokens are signed here; what it hears stands in `log`. */
  const page = async (t, url, user, { lasts = 600, first = lasts } = {}) => {
    const window = await bare(t, browser, base, bundle);
    const asked = { connection: 0, subscription: 0 };
    await window.page.exposeFunction('sign', (channel) => {
      asked[channel ? 'subscription' : 'connection'] += 1;
      return token({ sub: user, exp: now() + lasts, ...(channel && { channel }) });
    });
    await window.page.evaluate(({ url, token, protobuf }) => {
      const [encoder, decoder] = [new TextEncoder(), new TextDecoder()];
      window.pack = (value) => (protobuf ? encoder.encode(JSON.stringify(value)) : value);
      window.unpack = (data) => (protobuf ? JSON.parse(decoder.decode(data)) : data);
      window.log = { connected: 0, ends: [], heard: [], subscribed: [] };
      window.client = new Centrifuge(`${url}/connection/websocket`, {
        token, getToken: () => sign(''), minReconnectDelay: 1, maxReconnectDelay: 20,
      });
      client.on('connected', () => { log.connected += 1; });
      client.on('connecting', ({ code }) => log.ends.push(code));
      client.on('disconnected', ({ code }) => log.ends.push(code));
      client.on('error', () => {});
      window.join = (channel, options) => {
        window.subscription = client.newSubscription(channel, options);
        subscription.on('publication', ({ data }) => log.heard.push(unpack(data).n));
        subscription.on('subscribed', ({ wasRecovering, recovered }) => log.subscribed.push([wasRecovering, recovered]));
        subscription.on('unsubscribed', ({ code }) => log.ends.push(code));
        subscription.on('error', () => {});
        subscription.subscribe();
        return subscription.ready(20_000);
      };
      client.connect();
    }, { url, token: token({ sub: user, exp: now() + first }), protobuf: name === 'protobuf' });
    return { ...window, asked, log: () => window.page.evaluate(() => log) };
  };
  const user = () => fresh('u').replace(':', '');

  it('an expired token is replaced, one that runs out is refreshed, and the connection stays', async (t) => {
    const { page: tab, asked, log, sockets } = await page(t, hub, user(), { first: -10, lasts: 2 });
    await tab.evaluate(() => client.ready(10_000));
    await until('three tokens', () => asked.connection, (n) => n >= 3, 30_000);
    const channel = `$${fresh('chat')}`;
    await tab.evaluate((channel) => join(channel, { getToken: ({ channel }) => sign(channel) }), channel);
    await until('a second subscription token', () => asked.subscription, (n) => n >= 2, 30_000);
    await tab.evaluate(() => subscription.publish(pack({ n: 7 })));
    await until('the publication', async () => (await log()).heard, (heard) => heard.includes(7));
    const { connected, subscribed } = await log();
    assert.deepEqual([connected, subscribed.length], [1, 1]);
    // The first connection ends with error 109; the second one stays, however often its token is renewed.
    assert.ok(sockets.length <= 2, `${sockets.length} sockets`);
    for (const frame of sockets.flatMap(({ sent, received }) => [...sent, ...received])) {
      assert.equal(typeof frame === 'string', name === 'JSON', 'each frame is of the spelling that was asked for');
    }
  });

  it('a forged token, an unsubscribe and a disconnect have their codes', async (t) => {
    const who = user();
    const { page: tab, log } = await page(t, hub, who);
    await tab.evaluate(() => client.ready(10_000));
    const channel = fresh('chat');
    await tab.evaluate((channel) => join(channel, {}), channel);
    await api('unsubscribe', { user: who, channel });
    await until('2000', async () => (await log()).ends, (ends) => ends.includes(2000));
    await api('disconnect', { user: who, disconnect: { code: 3011, reason: 'come again' } });
    await until('two connections', async () => (await log()).connected, (n) => n === 2);
    await api('disconnect', { user: who });
    await until('3503', async () => (await log()).ends, (ends) => ends.at(-1) === 3503);
    assert.ok((await log()).ends.includes(3011));
    const forged = await tab.evaluate(({ url, token }) => new Promise((resolve) => {
      const client = new Centrifuge(`${url}/connection/websocket`, { token });
      client.on('disconnected', ({ code }) => resolve(code));
      client.connect();
    }), { url: hub, token: token({ sub: who }, 'another secret') });
    assert.equal(forged, 3500);
  });

  it('what is published is kept, and it is known who is there, who comes and who goes', async (t) => {
    const names = [user(), user()];
    const [ann, bob] = [await page(t, hub, names[0]), await page(t, hub, names[1])];
    for (const { page: tab } of [ann, bob]) await tab.evaluate(() => client.ready(10_000));
    const channel = fresh('chat');
    await ann.page.evaluate(async (channel) => {
      window.news = [];
      await join(channel, { joinLeave: true });
      subscription.on('join', ({ info }) => news.push(`+${info.user}`));
      subscription.on('leave', ({ info }) => news.push(`-${info.user}`));
    }, channel);
    await bob.page.evaluate((channel) => join(channel, {}), channel);
    const hears = (word) => until(word, () => ann.page.evaluate(() => news), (news) => news.includes(word));
    await hears(`+${names[1]}`);
    for (const n of [0, 1, 2]) await bob.page.evaluate((n) => subscription.publish(pack({ n })), n);
    await until('three publications', async () => (await ann.log()).heard, (heard) => heard.join() === '0,1,2');
    const seen = await ann.page.evaluate(async () => {
      const { publications, offset } = await subscription.history({ limit: 10 });
      const { clients } = await subscription.presence();
      return {
        kept: publications.map(({ data, offset, info }) => [unpack(data).n, Number(offset), info.user]),
        offset: Number(offset),
        users: Object.values(clients).map(({ user }) => user).sort(),
        stats: await subscription.presenceStats(),
      };
    });
    assert.deepEqual(seen, {
      kept: [0, 1, 2].map((n) => [n, n + 1, names[1]]), offset: 3, users: [...names].sort(), stats: { numClients: 2, numUsers: 2 },
    });
    await bob.page.evaluate(() => subscription.unsubscribe());
    await hears(`-${names[1]}`);
  });

  it('nothing is lost or doubled when the connection breaks at any octet', async (t) => {
    const wire = await fragile(hub, () => 200 + Math.floor(Math.random() * 1_800));
    t.after(() => wire.close());
    wire.state.on = false;    // the first time it must come in whole, or it has no position to come back to
    const who = user();
    const { page: tab, log } = await page(t, wire.url, who);
    await tab.evaluate(() => client.ready(10_000));
    const channel = fresh('chat');
    await tab.evaluate((channel) => join(channel, { recoverable: true }), channel);
    wire.state.on = true;
    await api('disconnect', { user: who, disconnect: { code: 3011, reason: 'through the fragile wire' } });
    const total = 90;    // fewer than the history keeps, so that every recovery must succeed
    for (let n = 0; n < total; n += 1) {
      await api('publish', { channel, data: { n, ballast: 'x'.repeat(n % 50) } });
      if (n % 5 === 0) await new Promise((done) => setTimeout(done, 10));
    }
    await until('three cuts', () => wire.state.cuts, (cuts) => cuts >= 3, 60_000);
    wire.state.on = false;
    await until('all publications', async () => (await log()).heard.length, (length) => length >= total, 60_000);
    const { heard, subscribed } = await log();
    assert.deepEqual(heard, Array.from({ length: total }, (_, n) => n));
    assert.ok(subscribed.length > 1 && subscribed.slice(1).every(([was, recovered]) => was && recovered), JSON.stringify(subscribed));
  });
}
