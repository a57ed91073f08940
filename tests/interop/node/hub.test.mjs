// npm centrifuge, unmodified, in both of its spellings (JSON and protobuf), against a hub that wants tokens: who may
// come in, what keeps a connection alive, and that nothing is lost however a connection breaks.

import test from 'node:test';
import assert from 'node:assert/strict';
import { Centrifuge, CentrifugeProtobuf, DevWebSocket, api, fragile, fresh, hub, next, now, open, proxy, token, within } from './support.mjs';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The spellings: which SDK, and how it carries a value. */
const spellings = [
  { name: 'json', Sdk: Centrifuge, pack: (value) => value, unpack: (data) => data },
  {
    name: 'protobuf',
    Sdk: CentrifugeProtobuf,
    pack: (value) => encoder.encode(JSON.stringify(value)),
    unpack: (data) => JSON.parse(decoder.decode(data)),
  },
];

const OPTIONS = { minReconnectDelay: 20, maxReconnectDelay: 200, websocket: DevWebSocket };

const code = (expected) => (error) => { assert.equal(error.code, expected, error.message); return true; };

for (const { name, Sdk, pack, unpack } of spellings) {
  const it = (title, run) => test(`hub, ${name}: ${title}`, run);

  const client = (t, options = {}, url = hub) => {
    const made = new Sdk(`${url}/connection/websocket`, { ...OPTIONS, ...options });
    t.after(() => made.disconnect());
    return made;
  };
  const connect = async (t, user, options = {}, url = hub) => {
    const made = client(t, { token: token({ sub: user }), ...options }, url);
    made.connect();
    await within(made.ready(), `connect ${user}`);
    return made;
  };
  const subscribe = async (made, channel, options = {}) => {
    const subscription = made.newSubscription(channel, options);
    const heard = [];
    subscription.on('publication', ({ data }) => heard.push(unpack(data)));
    subscription.subscribe();
    await within(subscription.ready(), `subscribe to ${channel}`);
    return { subscription, heard };
  };
  const hears = async (emitter, heard, count) => {
    while (heard.length < count) await next(emitter, 'publication', () => true, `${count} publications, there are ${heard.length}`);
  };

  it('a token says who one is, and the others see it', async (t) => {
    const wire = await proxy(hub);
    t.after(() => wire.close());
    const ann = await connect(t, 'ann', { token: token({ sub: 'ann', info: { name: 'Ann' } }) }, wire.url);
    const { subscription } = await subscribe(ann, fresh('chat'));
    const { clients } = await subscription.presence();
    const [info] = Object.values(clients);
    assert.equal(info.user, 'ann');
    assert.deepEqual(unpack(info.connInfo), { name: 'Ann' });
    // On the wire: the subprotocol that was agreed to, and frames of its kind.
    const received = wire.captures[0].received;
    const head = received.subarray(0, received.indexOf('\r\n\r\n')).toString().toLowerCase();
    const first = received[received.indexOf('\r\n\r\n') + 4];
    assert.equal(first & 0x0f, name === 'json' ? 1 : 2);
    assert.equal(head.includes('sec-websocket-protocol: centrifuge-protobuf'), name === 'protobuf');
  });

  it('a forged token ends it, a missing one too', async (t) => {
    const forged = client(t, { token: token({ sub: 'ann' }, 'another secret') });
    const ended = next(forged, 'disconnected');
    forged.connect();
    assert.equal((await ended).code, 3500);
    const nobody = client(t);
    const refused = next(nobody, 'disconnected');
    nobody.connect();
    assert.equal((await refused).code, 101);
  });

  it('an expired token is replaced by the application, and the client is in', async (t) => {
    let asked = 0;
    const late = client(t, {
      token: token({ sub: 'ann', exp: now() - 10 }),
      getToken: async () => { asked += 1; return token({ sub: 'ann', exp: now() + 60 }); },
    });
    late.connect();
    await within(late.ready(), 'connect with the second token');
    assert.equal(asked, 1);
  });

  it('a token that runs out is refreshed, and the connection stays', async (t) => {
    const wire = await proxy(hub);
    t.after(() => wire.close());
    let asked = 0;
    const fresh_ = () => token({ sub: 'ann', exp: now() + 2 });
    const made = client(t, { token: fresh_(), getToken: async () => { asked += 1; return fresh_(); } }, wire.url);
    let connects = 0;
    made.on('connected', () => { connects += 1; });
    made.connect();
    await within(made.ready(), 'connect');
    await within((async () => { while (asked < 3) await new Promise((done) => setTimeout(done, 50)); })(), 'three refreshes', 30_000);
    await made.rpc('echo', pack(1));
    assert.deepEqual([connects, wire.captures.length], [1, 1], 'one connection all the time');
    if (name === 'json') {
      const text = wire.captures[0].received.toString();
      assert.ok(text.split('"refresh":{"client":').length > 3, 'the server has answered refreshes');
    }
  });

  it('who does not refresh is closed with 3005 and comes back with a new token', async (t) => {
    const made = client(t, { token: token({ sub: 'ann', exp: now() + 600 }), getToken: async () => token({ sub: 'ann', exp: now() + 600 }) });
    made.connect();
    await within(made.ready(), 'connect');
    const lost = next(made, 'connecting');
    await api('refresh', { user: 'ann', expired: true });
    assert.equal((await lost).code, 3005);
    await within(made.ready(), 'connect again');
  });

  it('a private channel opens with a subscription token, which is refreshed when it runs out', async (t) => {
    const ann = await connect(t, 'ann');
    const channel = `$${fresh('chat')}`;
    let asked = 0;
    const getToken = async ({ channel: wanted }) => { asked += 1; return token({ sub: 'ann', channel: wanted, exp: now() + 2 }); };
    const { subscription } = await subscribe(ann, channel, { getToken });
    let ends = 0;
    subscription.on('subscribing', () => { ends += 1; });
    await within((async () => { while (asked < 3) await new Promise((done) => setTimeout(done, 50)); })(), 'two refreshes', 30_000);
    await subscription.publish(pack('still in'));
    assert.equal(ends, 0);
    const closed = ann.newSubscription(`$${fresh('chat')}`);
    const refused = next(closed, 'unsubscribed');
    closed.subscribe();
    assert.equal((await refused).code, 103);
    const of_bob = ann.newSubscription(channel.replace('chat', 'chat:x'), { getToken: async () => token({ sub: 'bob', channel: 'x' }) });
    const denied = next(of_bob, 'unsubscribed');
    of_bob.subscribe();
    assert.equal((await denied).code, 103);
  });

  it('what is published is heard, kept, and told with who did it', async (t) => {
    const channel = fresh('chat');
    const [ann, bob] = [await connect(t, 'ann'), await connect(t, 'bob')];
    const [{ subscription }, { subscription: of_bob, heard }] = [await subscribe(ann, channel), await subscribe(bob, channel)];
    const seen = next(of_bob, 'publication');
    for (let n = 0; n < 5; n += 1) await subscription.publish(pack({ n, text: 'ü 🌊' }));
    const first = await seen;
    assert.equal(first.info.user, 'ann');
    assert.equal(first.offset, 1);
    await hears(of_bob, heard, 5);
    assert.deepEqual(heard.map(({ n }) => n), [0, 1, 2, 3, 4]);
    const { publications, offset } = await of_bob.history({ limit: 10 });
    assert.equal(Number(offset), 5);
    assert.deepEqual(publications.map(({ data }) => unpack(data).n), [0, 1, 2, 3, 4]);
    assert.deepEqual((await of_bob.presenceStats()), { numClients: 2, numUsers: 2 });
    const outside = await connect(t, 'carl');
    await assert.rejects(outside.history(channel, { limit: 1 }), code(103));
    await assert.rejects(outside.publish(channel, pack(1)), code(103));
  });

  it('where the publisher is not told nobody learns it, and no octet is sent for it', async (t) => {
    const channel = fresh('secret');
    const wire = await proxy(hub);
    t.after(() => wire.close());
    const [ann, bob] = [await connect(t, 'ann'), await connect(t, 'bob', {}, wire.url)];
    const { subscription } = await subscribe(bob, channel);
    const seen = next(subscription, 'publication');
    await ann.publish(channel, pack('psst'));
    const { info, offset } = await seen;
    assert.deepEqual([info, offset], [undefined, 1]);
    const { publications } = await subscription.history({ limit: 10 });
    assert.deepEqual(publications.map(({ info, offset }) => [info, offset]), [[undefined, 1]]);
    const frame = name === 'json' ? `{"push":{"channel":"${channel}","pub":{"data":"psst","offset":1}}}`
      : Buffer.concat([Buffer.from([0x12, channel.length]), Buffer.from(channel), Buffer.from([0x22, 10, 0x22, 6]), Buffer.from('"psst"'), Buffer.from([0x30, 1])]);
    assert.ok(wire.captures[0].received.includes(frame), 'the shortest frame of its kind');
  });

  it('who asks is told who joins and leaves, who does not is not', async (t) => {
    const channel = fresh('chat');
    const [ann, bob, carl] = [await connect(t, 'ann'), await connect(t, 'bob'), await connect(t, 'carl')];
    const { subscription } = await subscribe(ann, channel, { joinLeave: true });
    const { subscription: deaf } = await subscribe(bob, channel);
    let news = 0;
    deaf.on('join', () => { news += 1; });
    const joined = next(subscription, 'join', ({ info }) => info.user === 'carl');
    const { subscription: of_carl } = await subscribe(carl, channel);
    await joined;
    const left = next(subscription, 'leave', ({ info }) => info.user === 'carl');
    of_carl.unsubscribe();
    await left;
    await bob.rpc('echo', pack(1));
    assert.equal(news, 0);
  });

  it('a user with two connections comes once, and goes once when both are gone', async (t) => {
    const channel = fresh('lobby');
    const { subscription } = await subscribe(await connect(t, 'watcher'), channel);
    const news = [];
    subscription.on('join', ({ info }) => news.push(`+${info.user}`));
    subscription.on('leave', ({ info }) => news.push(`-${info.user}`));
    const both = [await connect(t, 'ann'), await connect(t, 'ann')];
    for (const one of both) await subscribe(one, channel);
    assert.deepEqual(await subscription.presenceStats(), { numClients: 3, numUsers: 2 });
    const { clients } = await subscription.presence();
    assert.deepEqual(Object.values(clients).map(({ user }) => user).sort(), ['ann', 'watcher']);
    const left = next(subscription, 'leave', ({ info }) => info.user === 'ann');
    for (const one of both) one.disconnect();
    await left;
    assert.deepEqual(news.filter((one) => one.endsWith('ann')), ['+ann', '-ann']);
    assert.deepEqual(await subscription.presenceStats(), { numClients: 1, numUsers: 1 });
  });

  it('a position is given, and who is closed for an insufficient one comes back and recovers', async (t) => {
    const user = fresh('u').replace(':', '');
    const ann = client(t, { token: token({ sub: user }) });
    const heard = [];
    ann.on('publication', ({ data }) => heard.push(unpack(data).n));
    const begun = next(ann, 'subscribed');
    ann.connect();
    const { positioned, streamPosition } = await begun;
    assert.ok(positioned && streamPosition.epoch, JSON.stringify(streamPosition));
    await api('publish', { channel: `personal:#${user}`, data: { n: 1 } });
    await hears(ann, heard, 1);
    const closed = next(ann, 'connecting');
    const again = next(ann, 'subscribed');
    await api('disconnect', { user, disconnect: { code: 3010, reason: 'insufficient state' } });
    assert.equal((await closed).code, 3010);
    await api('publish', { channel: `personal:#${user}`, data: { n: 2 } });
    assert.equal((await again).recovered, true);
    await hears(ann, heard, 2);
    assert.deepEqual(heard, [1, 2]);
  });

  it('the server subscribes a user to its own channel, recovers it, and takes it away', async (t) => {
    const wire = await proxy(hub);
    t.after(() => wire.close());
    const user = fresh('u').replace(':', '');
    const ann = client(t, { token: token({ sub: user }) }, wire.url);
    const heard = [];
    ann.on('publication', ({ data }) => heard.push(unpack(data)));
    const begun = next(ann, 'subscribed');
    ann.connect();
    assert.equal((await begun).channel, `personal:#${user}`);
    await api('publish', { channel: `personal:#${user}`, data: { n: 1 } });
    await hears(ann, heard, 1);
    const lost = next(ann, 'connecting');
    wire.cut();
    await lost;
    await api('publish', { channel: `personal:#${user}`, data: { n: 2 } });
    const again = next(ann, 'subscribed');
    wire.heal();
    assert.equal((await again).recovered, true);
    await hears(ann, heard, 2);
    assert.deepEqual(heard, [{ n: 1 }, { n: 2 }]);
    const extra = fresh('chat');
    const granted = next(ann, 'subscribed');
    await api('subscribe', { user, channel: extra });
    assert.equal((await granted).channel, extra);
    const taken = next(ann, 'unsubscribed');
    await api('unsubscribe', { user, channel: extra });
    assert.equal((await taken).channel, extra);
  });

  it('unsubscribe and disconnect codes are what the SDK makes of them', async (t) => {
    const user = fresh('u').replace(':', '');
    const ann = await connect(t, user);
    const { subscription } = await subscribe(ann, fresh('chat'));
    const gone = next(subscription, 'unsubscribed');
    await api('unsubscribe', { user, channel: subscription.channel });
    assert.equal((await gone).code, 2000);
    const away = next(ann, 'connecting');
    await api('disconnect', { user, disconnect: { code: 3011, reason: 'come again' } });
    assert.deepEqual(await away, { code: 3011, reason: 'come again' });
    await within(ann.ready(), 'the second connection');
    const over = next(ann, 'disconnected');
    await api('disconnect', { user });
    assert.equal((await over).code, 3503);
  });

  it('a cache gives the newest at once', async (t) => {
    const channel = fresh('cache');
    const ann = await connect(t, 'ann');
    for (let n = 0; n < 3; n += 1) await ann.publish(channel, pack({ n }));
    const { subscription, heard } = await subscribe(ann, channel, { since: { offset: 0, epoch: '' } });
    await hears(subscription, heard, 1);
    assert.deepEqual(heard, [{ n: 2 }]);
  });

  it('a cache gives a conflated subscriber the newest of each key at once, and then what comes', async (t) => {
    const [ann, bob] = [await connect(t, 'ann'), await connect(t, 'bob')];
    for (const delivery of ['conflate', 'latest']) {
      const channel = fresh('quotes');
      for (const [symbol, n] of [['A', 1], ['B', 2], ['A', 3]]) await ann.publish(channel, pack({ symbol, n }));
      const subscription = bob.newSubscription(channel, { data: pack({ delivery }) });
      const heard = [];
      subscription.on('publication', ({ data, offset, tags }) => heard.push({ n: unpack(data).n, offset, skipped: tags?.skipped }));
      subscription.subscribe();
      await hears(subscription, heard, 2);
      await within(subscription.ready(), `subscribe to ${channel}`);
      assert.deepEqual(heard, [{ n: 2, offset: undefined, skipped: undefined }, { n: 3, offset: undefined, skipped: undefined }]);
      await ann.publish(channel, pack({ symbol: 'B', n: 4 }));
      await hears(subscription, heard, 3);
      assert.deepEqual(heard[2], { n: 4, offset: undefined, skipped: '0' });
    }
  });

  it('nothing is lost or doubled when connections break at any octet', async (t) => {
    const channel = fresh('chat');
    const writer = await connect(t, 'writer');
    const { subscription: writing } = await subscribe(writer, channel);
    // A head of some 200 octets, then anything: inside of a frame's header, a reply, a publication.
    const wire = await fragile(hub, () => 150 + Math.floor(Math.random() * 1_800));
    t.after(() => wire.close());
    const away = client(t, { token: token({ sub: 'away' }), minReconnectDelay: 1, maxReconnectDelay: 5 }, wire.url);
    away.on('error', () => {});
    const subscription = away.newSubscription(channel, { recoverable: true });
    const heard = [];
    let unrecovered = 0;
    subscription.on('publication', ({ data }) => heard.push(unpack(data).n));
    subscription.on('subscribed', ({ wasRecovering, recovered }) => { if (wasRecovering && !recovered) unrecovered += 1; });
    subscription.on('error', () => {});
    // The first time it must come in whole, or it has no position to come back to.
    wire.state.on = false;
    subscription.subscribe();
    away.connect();
    await within(subscription.ready(), 'the first subscription', 30_000);
    wire.state.on = true;
    const first = next(away, 'connecting', () => true, 'a first cut');
    wire.state.limit = () => 150 + Math.floor(Math.random() * 1_800);
    await api('disconnect', { user: 'away', disconnect: { code: 3011, reason: 'through the fragile wire' } });
    await first;
    const total = 90;    // fewer than the history keeps, so that every recovery must succeed
    for (let n = 0; n < total; n += 1) {
      await writing.publish(pack({ n, ballast: 'x'.repeat(n % 50) }));
      if (n % 5 === 0) await new Promise((done) => setTimeout(done, 10));
    }
    await within((async () => { while (wire.state.cuts < 5) await new Promise((done) => setTimeout(done, 10)); })(), 'five cuts', 60_000);
    wire.state.on = false;
    while (heard.length < total) await next(subscription, 'publication', () => true, `${total} publications, there are ${heard.length}`);
    assert.deepEqual(heard, Array.from({ length: total }, (_, n) => n));
    assert.equal(unrecovered, 0);
  });
}

test('hub: protobuf carries any octets where the namespace says so, and JSON is kept out', async (t) => {
  const channel = fresh('bin');
  const make = async (Sdk) => {
    const made = new Sdk(`${hub}/connection/websocket`, { ...OPTIONS, token: token({ sub: 'ann' }) });
    t.after(() => made.disconnect());
    made.connect();
    await within(made.ready(), 'connect');
    return made;
  };
  const [binary, json] = [await make(CentrifugeProtobuf), await make(Centrifuge)];
  const subscription = binary.newSubscription(channel);
  subscription.subscribe();
  await within(subscription.ready(), 'subscribe');
  const octets = Uint8Array.from({ length: 300 }, (_, n) => n & 255);
  const heard = next(subscription, 'publication');
  await subscription.publish(octets);
  assert.deepEqual(Uint8Array.from((await heard).data), octets);
  const refused = json.newSubscription(channel);
  const no = next(refused, 'unsubscribed');
  refused.subscribe();
  assert.equal((await no).code, 108);
});

test('hub: a conflated subscriber is sent no more than it asked for, counted at its socket', async (t) => {
  const channel = fresh('ticker');
  const writer = new Centrifuge(`${hub}/connection/websocket`, { ...OPTIONS, token: token({ sub: 'writer' }) });
  t.after(() => writer.disconnect());
  writer.connect();
  await within(writer.ready(), 'connect');
  const socket = await open(`${hub}/connection/websocket`);
  t.after(() => socket.socket.terminate());
  const pushes = [];
  const replies = new Map();
  const waiting = new Map();
  socket.socket.on('message', (data) => {
    for (const line of data.toString().split('\n')) {
      const value = JSON.parse(line);
      if (value.id) { replies.set(value.id, value); waiting.get(value.id)?.(); }
      else if (value.push?.pub) pushes.push({ at: Date.now(), ...value.push.pub });
      else if (line === '{}') socket.socket.send('{}');
    }
  });
  const ask = async (id, command) => {
    const answered = new Promise((resolve) => waiting.set(id, resolve));
    socket.socket.send(JSON.stringify({ id, ...command }));
    await within(answered, `reply ${id}`);
    return replies.get(id);
  };
  await ask(1, { connect: { token: token({ sub: 'reader' }) } });
  const reply = await ask(2, { subscribe: { channel, data: { delivery: 'conflate', hz: 4 } } });
  assert.deepEqual(reply.subscribe, { data: { delivery: 'conflate', hz: 4 } });
  const start = Date.now();
  const total = 400;
  for (let n = 0; n < total; n += 1) {
    await writer.publish(channel, { symbol: `S${n % 2}`, n });
    if (n % 10 === 0) await new Promise((done) => setTimeout(done, 25));
  }
  const newest = () => [0, 1].every((s) => pushes.some(({ data }) => data.n === total - 2 + s));
  await within((async () => { while (!newest()) await new Promise((done) => setTimeout(done, 20)); })(), 'the newest of both');
  const seconds = (Date.now() - start) / 1000;
  const skipped = pushes.reduce((sum, { tags }) => sum + Number(tags.skipped), 0);
  assert.equal(pushes.length + skipped, total, 'what came and what was skipped is all there was');
  assert.ok(pushes.length <= 2 * (4 * seconds + 2), `${pushes.length} values of 2 symbols in ${seconds} s at 4 Hz`);
  assert.ok(pushes.every(({ offset }) => offset === undefined));
});
