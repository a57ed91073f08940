// npm ws, unmodified, as the client of the echo: what goes out comes back, and what is wrong is answered as RFC 6455
// says. The hub has tests of its own.

import test from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { DevWebSocket, open, servers, within } from './support.mjs';

/** The response of a handshake that is refused. */
async function refusal(url, options = {}) {
  const socket = new DevWebSocket(url, [], options);
  socket.on('error', () => {});
  const [, response] = await within(once(socket, 'unexpected-response'), `a refusal of ${url}`);
  let body = '';
  response.setEncoding('utf8').on('data', (text) => { body += text; });
  await once(response, 'end');
  return { status: response.statusCode, headers: response.headers, body };
}

for (const { scheme, url } of servers) {
  const it = (name, run) => test(`${scheme}: ${name}`, run);

  it('messages of every length form come back whole', async () => {
    const peer = await open(`${url}/echo`);
    for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000]) {
      const data = randomBytes(length);
      peer.socket.send(data);
      const echo = await peer.take();
      assert.equal(echo.isBinary, true);
      assert.ok(data.equals(echo.data), `${length} octets came back changed`);
    }
    await peer.close();
  });

  it('text stays text, in any script', async () => {
    const peer = await open(`${url}/echo`);
    for (const text of ['', 'plain', 'Fähre, паром, 渡し船', '🌊'.repeat(1000)]) {
      peer.socket.send(text);
      const echo = await peer.take();
      assert.equal(echo.text, text);
    }
    await peer.close();
  });

  it('a message in fragments comes back as one, with a ping between them answered at once', async () => {
    const peer = await open(`${url}/echo`);
    const order = [];
    peer.socket.on('pong', (data) => order.push(`pong ${data}`));
    peer.socket.on('message', (data) => order.push(`message ${data}`));
    peer.socket.send('one ', { fin: false });
    peer.socket.ping('between');
    peer.socket.send('two ', { fin: false });
    peer.socket.send('three', { fin: true });
    assert.equal((await peer.take()).text, 'one two three');
    assert.deepEqual(order, ['pong between', 'message one two three']);
    await peer.close();
  });

  it('many messages sent at once come back in order', async () => {
    const peer = await open(`${url}/echo`);
    for (let n = 0; n < 2000; n += 1) peer.socket.send(String(n));
    for (let n = 0; n < 2000; n += 1) assert.equal((await peer.take()).text, String(n));
    await peer.close();
  });

  it('pings are answered in order with their payload', async () => {
    const peer = await open(`${url}/echo`);
    const pongs = [];
    peer.socket.on('pong', (data) => pongs.push(data.toString()));
    const sent = ['', 'a', 'b'.repeat(125)];
    for (const payload of sent) peer.socket.ping(payload);
    peer.socket.send('after');
    await peer.take();
    assert.deepEqual(pongs, sent);
    await peer.close();
  });

  it('a close is answered with its own code', async () => {
    for (const [code, reason] of [[1000, ''], [1000, 'done'], [1001, 'leaving'], [3000, 'ours'], [4999, 'ü'.repeat(50)]]) {
      const peer = await open(`${url}/echo`);
      peer.socket.close(code, reason);
      assert.equal((await peer.closed()).code, code);
    }
  });

  it('an upgrade at the root is the echo too', async () => {
    const peer = await open(url);
    peer.socket.send('root');
    assert.equal((await peer.take()).text, 'root');
    await peer.close();
  });

  it('compressed messages come back whole in every mode and with every parameter', async () => {
    const offers = [
      {},
      { serverNoContextTakeover: true },
      { clientNoContextTakeover: true },
      { serverMaxWindowBits: 10, clientMaxWindowBits: 10 },
    ];
    const text = 'the same words again and again, '.repeat(3000);
    for (const mode of ['dedicated', 'shared']) {
      for (const offer of offers) {
        const peer = await open(`${url}/echo?deflate=${mode}`, [], { perMessageDeflate: { threshold: 0, ...offer } });
        const what = `${mode}, ${JSON.stringify(offer)}: ${peer.socket.extensions}`;
        assert.match(peer.socket.extensions, /^permessage-deflate/, what);
        for (let n = 0; n < 60; n += 1) {
          const sent = text.slice(n, n + (n * 997) % 70_000);
          peer.socket.send(sent);
          assert.equal((await peer.take()).text, sent, what);
        }
        const noise = randomBytes(100_000);
        peer.socket.send(noise);
        assert.ok(noise.equals((await peer.take()).data), what);
        assert.ok(peer.socket._socket.bytesRead < 700_000, `${what}: ${peer.socket._socket.bytesRead} octets came`);
        await peer.close();
      }
    }
  });

  it('nothing is compressed where it is switched off, or not offered', async () => {
    for (const [path, perMessageDeflate] of [['/echo?deflate=off', true], ['/echo', false]]) {
      const peer = await open(`${url}${path}`, [], { perMessageDeflate });
      assert.equal(peer.socket.extensions, '');
      await peer.close();
    }
  });

  it('frames that break a rule are answered with the right code', async () => {
    const masked = (first, ...payload) => Buffer.from([first, 0x80 | payload.length, 0, 0, 0, 0, ...payload]);
    const rows = [
      ['a reserved opcode', masked(0x83), 1002],
      ['a reserved bit', masked(0xa1, 0x61), 1002],
      ['a compressed message that inflates to nothing', masked(0xc1, 0xff, 0xff, 0xff), 1007],
      ['an unmasked frame', Buffer.from([0x81, 1, 0x61]), 1002],
      ['a control frame in pieces', masked(0x09), 1002],
      ['a continuation of nothing', masked(0x80), 1002],
      ['text that is not UTF-8', masked(0x81, 0xff), 1007],
      ['a close code nobody may send', masked(0x88, 0x03, 0xed), 1002],
      ['a length longer than it need be', Buffer.from([0x82, 0xfe, 0, 1, 0, 0, 0, 0, 0x61]), 1002],
      ['a message beyond the limit', Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0]), 1009],
    ];
    const bystander = await open(`${url}/echo`);
    for (const [name, bytes, code] of rows) {
      const peer = await open(`${url}/echo`);
      let ended = false;
      peer.socket._socket.once('end', () => { ended = true; });
      peer.socket._socket.write(bytes);
      assert.equal((await peer.closed()).code, code, name);
      // Had the server left TCP open, ws would have cut it by itself, and no end would have come before.
      assert.ok(ended, `${name}: the server did not close TCP`);
    }
    bystander.socket.send('unharmed');
    assert.equal((await bystander.take()).text, 'unharmed');
    await bystander.close();
  });

  it('a path that is not there is 404 with one line', async () => {
    const { status, body } = await refusal(`${url}/nowhere`);
    assert.equal(status, 404);
    assert.match(body, /^[^\n]+\n?$/);
  });

  it('a version we do not speak is 426 and names ours', async () => {
    const { status, headers, body } = await refusal(`${url}/echo`, { protocolVersion: 8 });
    assert.equal(status, 426);
    assert.equal(headers['sec-websocket-version'], '13');
    assert.match(body, /^[^\n]+\n?$/);
  });

  it('a page of another origin is refused, one of our own is not', async () => {
    const { status, body } = await refusal(`${url}/echo`, { origin: 'https://elsewhere.example' });
    assert.equal(status, 403);
    assert.match(body, /^[^\n]+\n?$/);
    const peer = await open(`${url}/echo`, [], { origin: url.replace(/^ws/, 'http') });
    await peer.close();
  });

  it('the hub agrees to its subprotocol by name', async () => {
    const peer = await open(`${url}/connection/websocket`, ['something.else', 'centrifuge-json']);
    assert.equal(peer.socket.protocol, 'centrifuge-json');
    peer.socket.terminate();
  });
}
