// What the Node tests share: the installed packages, the servers under test, waiting for events, a connection that
// can be cut. It tests nothing itself.

import { createRequire } from 'node:module';
import net from 'node:net';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';

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
