//! A small client for the Centrifuge protocol v2 in JSON, in browsers and in Node; it never touches the DOM.
//
//   const client = new Client('wss://host/connection/websocket', { data: { name: 'Ada' } });
//   const lobby = client.subscribe('chat:lobby', { recover: true, joinLeave: true });
//   lobby.addEventListener('publication', (e) => console.log(e.detail.data));
//   client.connect();
//
// Client events        'state' { state, code, reason, retryIn } · 'open' { url } · 'traffic' { direction, text }
// Subscription events  'subscribed' { wasRecovering, recovered, publications, data } · 'publication' · 'join' · 'leave'
//                      · 'subscribing' { code, reason } · 'unsubscribed' { code, reason } · 'error' (a ReplyError)
// After a lost connection every subscription is taken up again; one with `recover` asks for what it missed,
// and those publications arrive as usual, marked `missed: true`.

const DEFAULTS = {
  data: undefined,              // sent with connect; others see it as conn_info
  name: 'tidegate-page',
  WebSocket: globalThis.WebSocket,
  protocols: ['centrifuge-json'],
  minDelay: 500,                // ms; the first retry waits at most this long
  maxDelay: 20_000,             // ms; ceiling of the full-jitter back-off
  timeout: 5_000,               // ms for the handshake with its connect reply, and for each command
  grace: 10_000,                // ms beyond the server's ping interval before silence means dead
  random: Math.random,
  hints: typeof window === 'undefined' ? null : window,   // where online, offline and visibilitychange are heard
};

/** An answer that is an error. `temporary` says that trying again later may help. */
export class ReplyError extends Error {
  constructor({ code = 0, message = 'error', temporary = false }) {
    super(message);
    Object.assign(this, { name: 'ReplyError', code, temporary });
  }
  get retriable() { return this.temporary || this.code < 100 || this.code === 109; }
}

/** Close codes after which a client must not come back by itself. */
export const isTerminal = (code) => (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);

/** Full jitter: a random wait below a ceiling that doubles; the first is short, later ones never below `min`. */
export function backoff(attempt, { minDelay, maxDelay, random }) {
  const ceiling = Math.min(maxDelay, minDelay * 2 ** attempt);
  return attempt === 0 ? random() * minDelay : minDelay + random() * Math.max(0, ceiling - minDelay);
}

const emit = (target, type, detail) => target.dispatchEvent(Object.assign(new Event(type), { detail }));
const lost = (message) => new ReplyError({ message, temporary: true });

export class Client extends EventTarget {
  /** 'disconnected' (only `connect` leaves it), 'connecting' (also while waiting to retry) or 'connected'. */
  state = 'disconnected';
  /** The id the server gave this connection, or null. */
  id = null;

  #endpoint; #options; #socket = null; #nextId = 1; #attempt = 0; #batch = [];
  #pending = new Map(); #subscriptions = new Map(); #retry; #handshake; #silence; #ping = 0; #pong = false;

  /** `endpoint` is a URL, or a function asked for one before each attempt. */
  constructor(endpoint, options = {}) {
    super();
    this.#endpoint = typeof endpoint === 'function' ? endpoint : () => endpoint;
    this.#options = { ...DEFAULTS, ...options };
    const { hints } = this.#options;
    hints?.addEventListener('online', () => this.#hurry());
    hints?.addEventListener('offline', () => this.#socket && this.#fail(3000, 'the browser went offline'));
    hints?.document?.addEventListener('visibilitychange', () => {
      if (hints.document.hidden) return;
      if (this.state === 'connected') this.ping().catch(() => this.#fail(3012, 'no answer after sleep'));
      else this.#hurry();
    });
  }

  connect() {
    if (this.state !== 'disconnected') return;
    this.#attempt = 0;
    this.#setState('connecting', { code: 0, reason: 'connecting' });
    this.#dial();
  }

  disconnect(reason = 'closed by this side') {
    if (this.state !== 'disconnected') this.#end(0, reason, false);
  }

  /** The data sent with the next connect; a connected client comes back at once with it. */
  setData(data) {
    this.#options.data = data;
    if (this.state !== 'connected') return;
    this.disconnect('connecting anew with other data');
    this.connect();
  }

  /** Takes up a channel and keeps it over reconnects. Options: `recover`, `joinLeave`, `data` (such as `{ delivery: 'conflate', hz: 2 }`). Asking twice gives the same one. */
  subscribe(channel, options = {}) {
    let subscription = this.#subscriptions.get(channel);
    if (!subscription) this.#subscriptions.set(channel, subscription = new Subscription(this, channel, options, this.#options));
    subscription.subscribe();
    return subscription;
  }

  publish(channel, data) { return this.command('publish', { channel, data }); }
  presence(channel) { return this.command('presence', { channel }).then((r) => r.presence ?? {}); }
  presenceStats(channel) { return this.command('presence_stats', { channel }); }
  /** `{ limit, since: { offset, epoch }, reverse }`; limit 0 asks for the position only. */
  history(channel, options = {}) {
    return this.command('history', { channel, ...options }).then((r) => ({ publications: [], offset: 0, epoch: '', ...r }));
  }
  rpc(method, data = null) { return this.command('rpc', { method, data }).then((r) => r.data); }
  /** Milliseconds for the protocol's own ping command and its answer. */
  async ping() {
    const start = performance.now();
    await this.command('ping', {});
    return performance.now() - start;
  }

  /** One command; resolves with its result, rejects with a ReplyError. Nothing is queued while not connected. */
  command(name, body) {
    return new Promise((resolve, reject) => this.ask(name, body, (error, result) => (error ? reject(error) : resolve(result))));
  }

  /** As `command`, but `done(error, result)` is called before anything behind the reply is read: order is kept. */
  ask(name, body, done) {
    if (this.state === 'connected') this.#request(name, body, done);
    else done(lost('not connected'));
  }

  #request(name, body, done) {
    const id = this.#nextId++;
    const timer = setTimeout(() => { this.#pending.delete(id); done(lost(`${name}: no answer in time`)); }, this.#options.timeout);
    this.#pending.set(id, { name, done, timer });
    this.#send({ id, [name]: body });
  }

  /** Commands of the same turn leave in one frame, one JSON object a line. */
  #send(command) {
    if (this.#batch.push(JSON.stringify(command)) > 1) return;
    queueMicrotask(() => {
      const text = this.#batch.join('\n');
      this.#batch = [];
      if (this.#socket?.readyState !== 1) return;
      this.#socket.send(text);
      emit(this, 'traffic', { direction: 'out', text });
    });
  }

  #dial() {
    const { WebSocket, protocols, timeout, data, name } = this.#options;
    const url = this.#endpoint();
    const socket = this.#socket = new WebSocket(url, protocols);
    const current = (handler) => (event) => socket === this.#socket && handler(event);
    this.#handshake = setTimeout(() => this.#fail(3000, 'no answer in time'), timeout);
    socket.addEventListener('open', current(() => {
      emit(this, 'open', { url });
      this.#request('connect', { data, name }, (error, result) => {
        if (socket !== this.#socket) return;
        if (!error) this.#connected(result);
        else if (error.retriable) this.#fail(error.code, error.message);
        else this.#end(error.code, error.message);
      });
    }));
    socket.addEventListener('message', current(({ data: text }) => this.#receive(text)));
    socket.addEventListener('close', current(({ code, reason }) => (isTerminal(code) ? this.#end(code, reason) : this.#fail(code, reason))));
    socket.addEventListener('error', () => {});   // a close event always follows
  }

  #connected({ client, ping = 0, pong = false }) {
    clearTimeout(this.#handshake);
    Object.assign(this, { id: client });
    this.#ping = ping * 1000;
    this.#pong = pong;
    this.#attempt = 0;
    this.#listen();
    this.#setState('connected', { code: 0, reason: '' });
    for (const subscription of this.#subscriptions.values()) subscription.handleConnected();
  }

  /** Any octet from the server proves it alive; silence beyond its ping interval proves the opposite. */
  #listen() {
    clearTimeout(this.#silence);
    if (this.#ping) this.#silence = setTimeout(() => this.#fail(3012, 'the server fell silent'), this.#ping + this.#options.grace);
  }

  #receive(text) {
    emit(this, 'traffic', { direction: 'in', text });
    this.#listen();
    let replies;
    try { replies = text.split('\n').filter(Boolean).map((line) => JSON.parse(line)); }
    catch { return this.#fail(3000, 'the server sent what is no JSON'); }
    const socket = this.#socket;
    for (const reply of replies) {
      if (socket !== this.#socket) return;              // an earlier one ended this connection
      if (reply.id) this.#settle(reply);
      else if (reply.push) this.#push(reply.push);
      else if (this.#pong) this.#send({});
    }
  }

  #settle({ id, error, ...result }) {
    const waiting = this.#pending.get(id);
    if (!waiting) return;
    this.#pending.delete(id);
    clearTimeout(waiting.timer);
    waiting.done(error && new ReplyError(error), result[waiting.name] ?? {});
  }

  #push({ channel, disconnect, ...push }) {
    if (disconnect) {
      const { code, reason } = disconnect;
      return isTerminal(code) ? this.#end(code, reason) : this.#fail(code, reason);
    }
    this.#subscriptions.get(channel)?.handlePush(push);
  }

  /** The connection is over and will be tried again. */
  #fail(code, reason) {
    this.#hangUp();
    const offline = this.#options.hints?.navigator?.onLine === false;   // a hint only: loopback works without a network
    const retryIn = offline ? this.#options.maxDelay : backoff(this.#attempt, this.#options);
    this.#attempt++;
    this.#setState('connecting', { code, reason, retryIn });
    this.#retry = setTimeout(() => this.#dial(), retryIn);
  }

  /** The connection is over for good, until someone calls `connect`. */
  #end(code, reason, terminal = true) {
    this.#hangUp();
    this.#setState('disconnected', { code, reason, terminal });
  }

  #hangUp() {
    for (const timer of [this.#retry, this.#handshake, this.#silence]) clearTimeout(timer);
    const socket = this.#socket;
    this.#socket = null;
    this.#batch.length = 0;
    this.id = null;
    try { socket?.close(); } catch { /* it was never open */ }
    if (this.state === 'connected') this.state = 'connecting';   // nothing below may send
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { done, timer } of pending) { clearTimeout(timer); done(lost('connection lost')); }
    for (const subscription of this.#subscriptions.values()) subscription.handleLost();
  }

  #hurry() {
    if (this.state !== 'connecting' || this.#socket) return;
    clearTimeout(this.#retry);
    this.#attempt = 0;
    this.#dial();
  }

  #setState(state, detail) {
    this.state = state;
    emit(this, 'state', { state, ...detail });
  }
}

/** One channel of one client. Made by `client.subscribe`. */
export class Subscription extends EventTarget {
  state = 'unsubscribed';     // | 'subscribing' | 'subscribed'
  position = null;            // { epoch, offset } of the last publication seen, when the channel keeps positions
  #client; #options; #timing; #attempt = 0; #retry;

  constructor(client, channel, options, timing) {
    super();
    this.#client = client;
    this.channel = channel;
    this.#options = options;
    this.#timing = timing;
  }

  subscribe() {
    if (this.state !== 'unsubscribed') return;
    this.state = 'subscribing';
    if (this.#client.state === 'connected') this.#ask();
  }

  unsubscribe() {
    if (this.state === 'unsubscribed') return;
    this.#stop(0, 'unsubscribed by this side');
    this.#client.command('unsubscribe', { channel: this.channel }).catch(() => {});
  }

  /** Other options than those it was made with; a running subscription begins anew with them. */
  setOptions(options) {
    this.#options = options;
    if (this.state === 'unsubscribed') return;
    this.unsubscribe();
    this.subscribe();
  }

  publish(data) { return this.#client.publish(this.channel, data); }
  history(options) { return this.#client.history(this.channel, options); }
  presence() { return this.#client.presence(this.channel); }

  handleConnected() { if (this.state !== 'unsubscribed') this.#ask(); }

  handleLost() {
    clearTimeout(this.#retry);
    this.#again(3000, 'connection lost');
  }

  handlePush({ pub, join, leave, unsubscribe }) {
    if (pub) this.#publication(pub);
    if (join) emit(this, 'join', join.info);
    if (leave) emit(this, 'leave', leave.info);
    if (!unsubscribe) return;
    if (unsubscribe.code < 2500) return this.#stop(unsubscribe.code, unsubscribe.reason);
    this.#again(unsubscribe.code, unsubscribe.reason);
    this.#ask();
  }

  #again(code, reason) {
    if (this.state === 'unsubscribed') return;
    const was = this.state;
    this.state = 'subscribing';
    if (was === 'subscribed') emit(this, 'subscribing', { code, reason });
  }

  #stop(code, reason) {
    clearTimeout(this.#retry);
    this.state = 'unsubscribed';
    this.position = null;
    emit(this, 'unsubscribed', { code, reason });
  }

  #ask() {
    const { recover, joinLeave, data } = this.#options;
    const body = { channel: this.channel };
    if (data !== undefined) body.data = data;
    if (joinLeave) body.join_leave = true;
    if (recover) Object.assign(body, { recoverable: true }, this.position && { recover: true, ...this.position });
    this.#client.ask('subscribe', body, (error, result) => {
      if (error) this.#refused(error);
      else if (this.state === 'subscribing') this.#subscribed(result, Boolean(body.recover));
    });
  }

  #subscribed({ epoch = '', offset = 0, recoverable, positioned, recovered = false, publications = [], data }, wasRecovering) {
    this.state = 'subscribed';
    this.#attempt = 0;
    emit(this, 'subscribed', { wasRecovering, recovered, publications, data });
    for (const publication of publications) this.#publication({ ...publication, missed: wasRecovering });
    if (recoverable || positioned || epoch) this.position = { epoch, offset };
  }

  #refused(error) {
    if (this.#client.state !== 'connected' || this.state !== 'subscribing') return;
    if (error.code === 105) return;                     // already subscribed: the earlier answer counts
    if (error.code === 112) this.position = null;       // that past is gone: start from now
    else if (!error.retriable) { emit(this, 'error', error); return this.#stop(error.code, error.message); }
    this.#retry = setTimeout(() => this.#client.state === 'connected' && this.state === 'subscribing' && this.#ask(), backoff(this.#attempt++, this.#timing));
  }

  #publication(publication) {
    if (publication.offset && this.position) this.position.offset = publication.offset;
    emit(this, 'publication', publication);
  }
}
