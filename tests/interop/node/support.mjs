// What the Node tests share: the installed packages, the servers under test, waiting for events, a connection that
// can be cut. It tests nothing itself.

import { createRequire } from 'node:module';
import net from 'node:net';
import { once } from 'node:events';
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';

// Installed by `cargo xtask setup npm`, outside the tree.
const folder = process.env.TIDEGATE_NPM ?? new URL('../../../target/tools/npm', import.meta.url).pathname;
const require = createRequire(`${folder}/package.json`);

export const WebSocket = require('ws');
export const { Centrifuge } = require('centrifuge');
export const { Centrifuge: CentrifugeProtobuf } = require('centrifuge/build/protobuf');

/** The servers: `cargo xtask interop` starts both; by hand, point these at a running `tidegate serve`. */
export const servers = [
  { scheme: 'ws', url: process.env.TIDEGATE_WS ?? 'ws://127.0.0.1:8000' },
  ...(process.env.TIDEGATE_WSS ? [{ scheme: 'wss', url: process.env.TIDEGATE_WSS }] : []),
];

/** The server with `tests/interop/hub.toml`, which wants tokens. */
export const hub = process.env.TIDEGATE_HUB ?? 'ws://127.0.0.1:8010';

/** npm ws that takes the development certificate, which nobody has signed. */
export class DevWebSocket extends WebSocket {
  constructor(url, protocols, options = {}) {
    super(url, protocols, { rejectUnauthorized: false, ...options });
  }
}

/** A channel that no other test uses. */
export const fresh = (namespace) => `${namespace}:${randomBytes(6).toString('hex')}`;

/** Waits for a promise, but not for ever: says what was awaited when it does not come. */
export function within(promise, what, ms = 10_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The next event of an emitter that fits. */
export function next(emitter, event, fits = () => true, what = event) {
  return within(
    new Promise((resolve) => {
      const listener = (value) => {
        if (!fits(value)) return;
        emitter.removeListener(event, listener);
        resolve(value);
      };
      emitter.on(event, listener);
    }),
    what,
  );
}

/** An open npm ws connection whose messages can be taken one by one. */
export async function open(url, protocols, options) {
  const socket = new DevWebSocket(url, protocols, options);
  const messages = [];
  const waiting = [];
  socket.on('message', (data, isBinary) => {
    const message = { data, isBinary, text: isBinary ? null : data.toString() };
    waiting.length ? waiting.shift()(message) : messages.push(message);
  });
  const closed = new Promise((resolve) => {
    socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
  });
  await within(once(socket, 'open'), `open ${url}`);
  // An error after this shows as a close with 1006, which every test would see.
  socket.on('error', () => {});
  return {
    socket,
    take: () => within(messages.length ? messages.shift() : new Promise((resolve) => waiting.push(resolve)), 'a message'),
    closed: () => within(closed, 'the close'),
    close: async () => {
      socket.close();
      await within(closed, 'the close');
    },
  };
}

/** A TCP proxy in front of a server: `cut` ends what is open and refuses what comes, until `heal`. It keeps the octets
 *  of each connection in `captures`, as a client `sent` and `received` them. */
export async function proxy(url) {
  const target = new URL(url);
  const open = new Set();
  const captures = [];
  let whole = true;
  const server = net.createServer((near) => {
    near.on('error', () => {});
    if (!whole) return near.resetAndDestroy();
    const far = net.connect(Number(target.port), target.hostname);
    far.on('error', () => near.destroy());
    far.on('close', () => near.destroy());
    near.on('close', () => { open.delete(near); far.destroy(); });
    open.add(near);
    const capture = { sent: Buffer.alloc(0), received: Buffer.alloc(0) };
    captures.push(capture);
    near.on('data', (data) => { capture.sent = Buffer.concat([capture.sent, data]); });
    far.on('data', (data) => { capture.received = Buffer.concat([capture.received, data]); });
    near.pipe(far).pipe(near);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `${target.protocol}//127.0.0.1:${server.address().port}`,
    captures,
    cut() {
      whole = false;
      for (const near of open) near.destroy();
    },
    heal() { whole = true; },
    async close() {
      this.cut();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Seconds since 1970. */
export const now = () => Math.floor(Date.now() / 1000);
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token of HS256, signed here and not by a library that the server uses too. */
export function token(claims, secret = 'interop') {
  const message = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${message}.${createHmac('sha256', secret).update(message).digest('base64url')}`;
}

/** Calls the server's HTTP API. */
export async function api(method, params) {
  const response = await fetch(`${hub.replace(/^ws/, 'http')}/api/${method}`, {
    method: 'POST',
    headers: { 'X-API-Key': process.env.TIDEGATE_API_KEY ?? 'interop', 'Content-Type': 'application/json' },
    body: JSON.stringify(params),
  });
  assert.equal(response.status, 200, await response.clone().text());
  const reply = await response.json();
  assert.ok(!reply.error, JSON.stringify(reply));
  return reply.result;
}

/** A proxy that breaks each connection when the server has sent so many octets through it. */
export async function fragile(url, limit) {
  const target = new URL(url);
  const state = { limit, cuts: 0, on: true };
  const open_ = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(Number(target.port), target.hostname);
    open_.add(near);
    let passed = 0;
    const end = () => { near.destroy(); far.destroy(); open_.delete(near); };
    const most = state.limit();
    near.on('error', end);
    far.on('error', end);
    near.on('close', end);
    far.on('close', end);
    near.on('data', (data) => far.write(data));
    far.on('data', (data) => {
      if (state.on && passed + data.length > most) {
        near.write(data.subarray(0, most - passed), () => { state.cuts += 1; end(); });
        far.pause();
        return;
      }
      passed += data.length;
      near.write(data);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `${target.protocol}//127.0.0.1:${server.address().port}`,
    state,
    close() { for (const near of open_) near.destroy(); server.close(); },
  };
}
