//! Gets the same price pushed and polled, and compares octets and age; it says when plain HTTP is the better choice.
import { $, say } from './dom.js';

const CHANNEL = 'market:BTC-USD';
const SPAN = 30_000;                   // figures are over this many ms
const decoder = new TextDecoder();

export function startCost(client, feed) {
  const pushed = new Ledger(), polled = new Ledger();
  let handshake = 0, ahead = 0, timer;

  feed.addEventListener('head', ({ detail }) => { handshake = (detail.direction === 'sent' ? 0 : handshake) + detail.octets.length; });
  feed.addEventListener('frame', ({ detail: { direction, opcode, payload, octets } }) => {
    if (direction !== 'received' || opcode !== 1 || payload.length > 4096) return;
    const text = decoder.decode(payload);
    if (!text.includes(CHANNEL)) return;
    const lines = text.split('\n');                           // several pushes may share a frame: they share its header
    for (const line of lines) {
      const push = parse(line)?.push;
      if (push?.channel === CHANNEL && push.pub) pushed.octets(line.length + (octets.length - payload.length) / lines.length);
    }
  });
  client.subscribe(CHANNEL, { recover: true }).addEventListener('publication', ({ detail: { data } }) => pushed.update(data, ahead));

  // The clocks of page and server may differ: ask on each connection, and believe only what the round trip cannot explain.
  client.addEventListener('state', async ({ detail: { state } }) => {
    if (state !== 'connected') return;
    const start = Date.now();
    const time = milliseconds(await client.rpc('time').catch(() => null));
    const end = Date.now();
    if (time) ahead = time > end ? time - end : time < start ? time - start : 0;
  });

  async function poll() {
    const every = Number($('poll-interval').value);
    timer = setTimeout(poll, every);
    if (document.hidden || client.state !== 'connected') return;
    const path = `/channels/${CHANNEL}/latest`;
    try {
      const response = await fetch(path, { cache: 'no-store' });
      const body = await response.text();
      if (!response.ok) throw new Error(`${response.status}`);
      const entry = performance.getEntriesByName(response.url).at(-1);
      const size = entry?.encodedBodySize || new TextEncoder().encode(body).length;
      performance.clearResourceTimings();
      polled.octets(size + responseHead(response) + requestHead(path));
      const data = find(parse(body));
      if (data) polled.update(data, ahead);
      polled.trouble = null;
    } catch (error) { polled.trouble = `HTTP: ${error.message}`; }
  }
  $('poll-interval').addEventListener('change', () => { clearTimeout(timer); polled.clear(); poll(); });
  timer = setTimeout(poll, 1200);

  setInterval(() => {
    if (document.hidden) return;
    pushed.look(ahead);
    polled.look(ahead);
  }, 100);
  setInterval(() => { show('ws', pushed); show('http', polled); verdict(); }, 500);

  function show(name, ledger) {
    const { each, second, delay, age, missed } = ledger.figures();
    const about = name === 'http' ? '≈ ' : '';
    say($(`${name}-bytes`), each == null ? ledger.trouble ?? '–' : about + Math.round(each));
    say($(`${name}-rate`), second == null ? '–' : about + Math.round(second).toLocaleString('en-US'));
    say($(`${name}-delay`), delay == null ? '–' : time(delay));
    say($(`${name}-age`), age == null ? '–' : time(age));
    say($(`${name}-missed`), missed == null ? '–' : `${Math.round(missed * 100)} %`);
  }

  function verdict() {
    const push = pushed.figures(), pull = polled.figures();
    if (push.second == null || pull.each == null) return say($('verdict'), 'Counting…');
    const even = pull.each / push.second;
    say($('verdict'), `An update costs ${(pull.each / push.each).toFixed(1)} times as many octets when it is asked for. But plain HTTP is the better choice when a value may be old: asked for less than once in ${seconds(even)} it moves fewer octets than this stream, it needs no connection held open (this one cost ${handshake.toLocaleString('en-US')} octets to open), and caches understand it. For one value, or one a minute: GET ${`/channels/${CHANNEL}/latest`}.`);
  }
}

/** What one way of getting the price has cost and brought, over the last while. */
class Ledger {
  constructor() { this.clear(); }
  clear() { Object.assign(this, { sizes: [], seen: [], ages: [], latest: null, since: Date.now(), trouble: null }); }
  octets(size) { this.sizes.push({ at: Date.now(), size }); }
  update({ ts, seq }, ahead) {
    if (this.latest?.seq === seq) return;
    this.latest = { ts, seq };
    this.seen.push({ at: Date.now(), seq, delay: Date.now() + ahead - ts });
  }
  look(ahead) { if (this.latest) this.ages.push({ at: Date.now(), age: Date.now() + ahead - this.latest.ts }); }
  figures() {
    const now = Date.now(), from = now - SPAN;
    for (const log of [this.sizes, this.seen, this.ages]) while (log[0]?.at < from && log.length > 1) log.shift();
    const { sizes, seen, ages } = this;
    const span = Math.max(1000, now - Math.max(from, this.since, sizes.length > 1 ? sizes[0].at : 0)) / 1000;
    const total = sizes.reduce((sum, { size }) => sum + size, 0);
    const passed = seen.length > 1 ? seen.at(-1).seq - seen[0].seq : 0;
    return {
      each: sizes.length ? total / sizes.length : null,
      second: sizes.length > 1 ? total / span : null,
      delay: median(seen.map(({ delay }) => delay)),
      age: ages.length ? ages.reduce((sum, { age }) => sum + age, 0) / ages.length : null,
      missed: passed > 0 ? Math.max(0, 1 - (seen.length - 1) / passed) : null,
    };
  }
}

/** A response head is only partly visible to a page: status line, the fields that are, and the blank line. */
const responseHead = (response) => [...response.headers].reduce((sum, [name, value]) => sum + name.length + value.length + 4, 17 + 2);

/** What this browser sends with a fetch, as far as a page knows. */
const requestHead = (path) => [
  `GET ${path} HTTP/1.1`, `Host: ${location.host}`, 'Connection: keep-alive', `User-Agent: ${navigator.userAgent}`, 'Accept: */*', 'Cache-Control: no-cache', 'Pragma: no-cache',
  'Sec-Fetch-Site: same-origin', 'Sec-Fetch-Mode: cors', 'Sec-Fetch-Dest: empty', 'Accept-Encoding: gzip, deflate, br, zstd', `Accept-Language: ${navigator.languages.join(',')}`,
].reduce((sum, line) => sum + line.length + 2, 2);

/** The price inside whatever envelope the HTTP answer has. */
function find(value) {
  if (!value || typeof value !== 'object') return null;
  if (Number.isFinite(value.price) && Number.isFinite(value.ts)) return value;
  return Object.values(value).map(find).find(Boolean) ?? null;
}

/** The Unix time in an answer of the `time` procedure, in whatever unit and field, or null. */
function milliseconds(answer) {
  const value = [answer, ...Object.values(Object(answer))].map(Number).find((number) => number > 1e9);
  return value ? value * (value < 1e11 ? 1000 : value > 1e17 ? 1e-6 : value > 1e14 ? 1e-3 : 1) : null;
}

const parse = (text) => { try { return JSON.parse(text); } catch { return null; } };
const median = (values) => (values.length ? [...values].sort((a, b) => a - b)[values.length >> 1] : null);
const time = (ms) => (Math.abs(ms) < 1 ? '< 1 ms' : ms < 950 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
const seconds = (value) => (value < 10 ? `${value.toFixed(1)} s` : `${Math.round(value)} s`);
