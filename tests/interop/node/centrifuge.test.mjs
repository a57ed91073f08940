// npm centrifuge, unmodified, as the client of the hub: everything a session can do, and what a cut connection must
// not lose. Publisher and subscriber are on different workers wherever there are several.

import test from 'node:test';
import assert from 'node:assert/strict';
import { Centrifuge, DevWebSocket, fresh, next, proxy, servers, within } from './support.mjs';

const OPTIONS = { minReconnectDelay: 20, maxReconnectDelay: 200, websocket: DevWebSocket };

/** A connected client, closed when the test ends. */
async function connect(t, url, options = {}) {
  const client = new Centrifuge(`${url}/connection/websocket`, { ...OPTIONS, ...options });
  t.after(() => client.disconnect());
  client.on('connected', (context) => { client.id = context.client; });
  client.connect();
  await within(client.ready(), 'connect');
  return client;
}

/** A subscription that is under way, with all it has heard. */
async function subscribe(client, channel, options = {}) {
  const subscription = client.newSubscription(channel, options);
  const heard = [];
  subscription.on('publication', (publication) => heard.push(publication.data));
  subscription.subscribe();
  await within(subscription.ready(), `subscribe to ${channel}`);
  return { subscription, heard };
}

/** Waits until `heard` has `count` entries. */
async function hears(subscription, heard, count) {
  while (heard.length < count) await next(subscription, 'publication', () => true, `${count} publications, there are ${heard.length}`);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const code = (expected) => (error) => { assert.equal(error.code, expected, error.message); return true; };

for (const { scheme, url } of servers) {
  const it = (name, run) => test(`${scheme}: ${name}`, run);

  it('a client connects and is told who it is', async (t) => {
    const client = new Centrifuge(`${url}/connection/websocket`, OPTIONS);
    t.after(() => client.disconnect());
    const connected = next(client, 'connected');
    client.connect();
    const { client: id, transport } = await connected;
    assert.match(id, /\S{8,}/);
    assert.equal(transport, 'websocket');
  });

  it('what one publishes all hear, whichever worker they are on', async (t) => {
    const channel = fresh('chat');
    const clients = await Promise.all(Array.from({ length: 8 }, () => connect(t, url)));
    const members = await Promise.all(clients.map((client) => subscribe(client, channel)));
    await Promise.all(members.map(({ subscription }, from) => subscription.publish({ from })));
    await Promise.all(members.map(({ subscription, heard }) => hears(subscription, heard, members.length)));
    const orders = members.map(({ heard }) => heard.map(({ from }) => from).join());
    assert.deepEqual([...members[0].heard].map(({ from }) => from).sort(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert.equal(new Set(orders).size, 1, `all hear the same order: ${orders}`);
  });

  it('any JSON passes unchanged', async (t) => {
    const client = await connect(t, url);
    const { subscription, heard } = await subscribe(client, fresh('chat'));
    const values = [null, true, 0, -1.5e300, 12345678901234567000, '', 'ü 🌊 \u2028 "\\" \n', [], [1, [2]], {}, { a: { b: null } }];
    for (const value of values) await subscription.publish(value);
    await hears(subscription, heard, values.length);
    assert.deepEqual(heard, values);
  });

  it('a publication says who published it', async (t) => {
    const client = await connect(t, url);
    const { subscription } = await subscribe(client, fresh('chat'));
    const heard = next(subscription, 'publication');
    await subscription.publish('hello');
    const { info, offset } = await heard;
    assert.match(info.client, /\S{8,}/);
    assert.equal(offset, 1);
  });

  it('history is kept, read from the start, from a position, and backwards', async (t) => {
    const client = await connect(t, url);
    const { subscription } = await subscribe(client, fresh('chat'));
    for (let n = 1; n <= 5; n += 1) await subscription.publish({ n });
    const numbers = ({ publications }) => publications.map(({ data }) => data.n);
    const all = await subscription.history({ limit: 100 });
    assert.deepEqual(numbers(all), [1, 2, 3, 4, 5]);
    assert.equal(all.offset, 5);
    assert.ok(all.epoch.length > 0);
    assert.deepEqual(numbers(await subscription.history({ limit: 2 })), [1, 2]);
    assert.deepEqual(numbers(await subscription.history({ limit: 2, since: { offset: 2, epoch: all.epoch } })), [3, 4]);
    assert.deepEqual(numbers(await subscription.history({ limit: 2, reverse: true })), [5, 4]);
    assert.deepEqual(numbers(await subscription.history({ limit: 0 })), []);
    await assert.rejects(subscription.history({ limit: 2, since: { offset: 2, epoch: 'another' } }), code(112));
  });

  it('presence lists who is there and counts them', async (t) => {
    const channel = fresh('chat');
    const [ada, bob] = await Promise.all([connect(t, url, { data: { name: 'Ada' } }), connect(t, url)]);
    const [{ subscription }] = await Promise.all([subscribe(ada, channel), subscribe(bob, channel)]);
    const { clients } = await subscription.presence();
    assert.equal(Object.keys(clients).length, 2);
    for (const [id, info] of Object.entries(clients)) assert.equal(info.client, id);
    assert.equal((await subscription.presenceStats()).numClients, 2);
    bob.disconnect();
    await within((async () => { while ((await subscription.presenceStats()).numClients !== 1) await sleep(20); })(), 'Bob to be gone');
    assert.equal(Object.keys((await subscription.presence()).clients).length, 1);
  });

  it('others are told who joins and who leaves', async (t) => {
    const channel = fresh('chat');
    const [ada, bob] = await Promise.all([connect(t, url), connect(t, url)]);
    const { subscription } = await subscribe(ada, channel, { joinLeave: true });
    const joined = next(subscription, 'join', ({ info }) => info.client === bob.id);
    const { subscription: of_bob } = await subscribe(bob, channel);
    await joined;
    const left = next(subscription, 'leave', ({ info }) => info.client === bob.id);
    of_bob.unsubscribe();
    await left;
  });

  it('rpc answers time and echo, and says that nothing else is there', async (t) => {
    const client = await connect(t, url);
    assert.deepEqual((await client.rpc('echo', { deep: [1, 'ü'] })).data, { deep: [1, 'ü'] });
    const { data } = await client.rpc('time', {});
    const times = [data, ...Object.values(data ?? {})].filter((value) => typeof value === 'number');
    const near = times.some((time) => [1, 1000].some((unit) => Math.abs(time * unit - Date.now()) < 60_000));
    assert.ok(near, `no time of now in ${JSON.stringify(data)}`);
    await assert.rejects(client.rpc('launch', {}), code(104));
  });

  it('what is not allowed is refused, and the session lives on', async (t) => {
    const client = await connect(t, url);
    const { subscription } = await subscribe(client, 'market:BTC-USD');
    await assert.rejects(subscription.publish({ price: 1 }), code(103));
    assert.deepEqual((await client.rpc('echo', 'alive')).data, 'alive');
  });

  it('after unsubscribing nothing more is heard', async (t) => {
    const channel = fresh('game');    // no history: with one, what was missed would rightly be recovered
    const [ada, bob] = await Promise.all([connect(t, url), connect(t, url)]);
    const [{ subscription, heard }, { subscription: of_bob, heard: heard_by_bob }] = await Promise.all([subscribe(ada, channel), subscribe(bob, channel)]);
    await of_bob.publish(1);
    await Promise.all([hears(subscription, heard, 1), hears(of_bob, heard_by_bob, 1)]);
    subscription.unsubscribe();
    await ada.rpc('echo', null);    // answered after the unsubscribe, for one connection's commands are done in order
    await of_bob.publish(2);
    await hears(of_bob, heard_by_bob, 2);
    await ada.rpc('echo', null);
    assert.deepEqual(heard, [1]);
    subscription.subscribe();
    await within(subscription.ready(), 'subscribe again');
    await of_bob.publish(3);
    await hears(subscription, heard, 2);
    assert.equal(heard.at(-1), 3);
  });

  it('what was published while the connection was cut arrives after it, in order and once', async (t) => {
    const channel = fresh('chat');
    const wire = await proxy(url);
    t.after(() => wire.close());
    const [away, writer] = [await connect(t, wire.url), await connect(t, url)];
    const { subscription, heard } = await subscribe(away, channel, { recoverable: true });
    const { subscription: writing } = await subscribe(writer, channel);
    await writing.publish('before');
    await hears(subscription, heard, 1);

    const lost = next(away, 'connecting');
    wire.cut();
    await lost;
    for (let n = 0; n < 20; n += 1) await writing.publish(`missed ${n}`);
    const back = next(subscription, 'subscribed');
    wire.heal();
    const context = await back;
    assert.equal(context.wasRecovering, true);
    assert.equal(context.recovered, true);
    assert.equal(context.hasRecoveredPublications, true);
    await writing.publish('after');
    await hears(subscription, heard, 22);
    const expected = ['before', ...Array.from({ length: 20 }, (_, n) => `missed ${n}`), 'after'];
    assert.deepEqual(heard, expected);
  });

  it('nothing is lost or doubled when the connection is cut again and again under load', async (t) => {
    const channel = fresh('chat');
    const wire = await proxy(url);
    t.after(() => wire.close());
    const [away, writer] = [await connect(t, wire.url), await connect(t, url)];
    const { subscription, heard } = await subscribe(away, channel, { recoverable: true });
    const { subscription: writing } = await subscribe(writer, channel);
    const total = 240;
    // The history keeps 100: whoever is back late must not find it gone, so the writer runs at most 60 ahead, and
    // the 15 that a cut takes away.
    const [ahead, whole] = [60, (n) => n % 60 <= 30 || n % 60 > 45];
    for (let n = 0; n < total; n += 1) {
      if (whole(n)) await hears(subscription, heard, n - ahead);
      await writing.publish(n);
      if (n % 60 === 30) wire.cut();
      if (n % 60 === 45) wire.heal();
      if (n % 10 === 0) await sleep(5);
    }
    await hears(subscription, heard, total);
    assert.deepEqual(heard, Array.from({ length: total }, (_, n) => n));
  });

  it('who missed more than the history keeps is told so', async (t) => {
    const channel = fresh('chat');
    const wire = await proxy(url);
    t.after(() => wire.close());
    const [away, writer] = [await connect(t, wire.url), await connect(t, url)];
    const { subscription, heard } = await subscribe(away, channel, { recoverable: true });
    const { subscription: writing } = await subscribe(writer, channel);
    await writing.publish('before');
    await hears(subscription, heard, 1);
    const lost = next(away, 'connecting');
    wire.cut();
    await lost;
    await Promise.all(Array.from({ length: 150 }, (_, n) => writing.publish(n)));
    const back = next(subscription, 'subscribed');
    wire.heal();
    const { wasRecovering, recovered } = await back;
    assert.deepEqual({ wasRecovering, recovered }, { wasRecovering: true, recovered: false });
  });

  it('a command nobody can parse ends the session with 3501, and only that one', async (t) => {
    const bystander = await connect(t, url);
    const socket = new DevWebSocket(`${url}/connection/websocket`);
    const closed = new Promise((resolve) => { socket.on('close', resolve); });
    socket.on('open', () => socket.send('this is not JSON'));
    assert.equal(await within(closed, 'the close'), 3501);
    assert.deepEqual((await bystander.rpc('echo', 1)).data, 1);
  });

  it('many commands in one message are all answered', async () => {
    const socket = new DevWebSocket(`${url}/connection/websocket`);
    const replies = [];
    const all = new Promise((resolve) => {
      socket.on('message', (data) => {
        for (const line of data.toString().split('\n')) if (line.trim()) replies.push(JSON.parse(line));
        if (replies.some(({ id }) => id === 3)) resolve();
      });
    });
    const batch = [{ id: 1, connect: {} }, { id: 2, rpc: { method: 'echo', data: 'x' } }, { id: 3, rpc: { method: 'echo', data: 'y' } }];
    socket.on('open', () => socket.send(batch.map((command) => JSON.stringify(command)).join('\n')));
    await within(all, 'three replies');
    assert.deepEqual(replies.filter(({ id }) => id).map(({ id }) => id), [1, 2, 3]);
    assert.equal(replies[2].rpc.data, 'y');
    socket.terminate();
  });
}

