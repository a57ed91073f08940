//! The wire part: the list of frames as they pass, the one that is taken apart, and the handshake before them all.
import { $, h, say, calm } from './dom.js';
import { GUID } from './wire.js';
import { drawFrame, count } from './frame-view.js';

const KEPT = 160;          // frames remembered of each kind, so that a busy game does not wash a chat line away
const ROWS = 60;
const KINDS = [['all', 'All'], ['market', 'Market'], ['game', 'Harbour'], ['chat', 'Chat'], ['protocol', 'Protocol']];
const decoder = new TextDecoder();

export function startWire(feed) {
  const list = $('frames'), view = $('frame-view'), pause = $('wire-pause');
  const kept = new Map(KINDS.map(([kind]) => [kind, []]));
  let kind = 'all', way = null, paused = false, held = false, dirty = false, chosen = null, first = 0;

  feed.addEventListener('head', ({ detail }) => { first = detail.direction === 'sent' ? detail.micros : first; showHead(detail); });
  feed.addEventListener('frame', ({ detail: frame }) => {
    frame.about = about(frame);
    for (const name of ['all', frame.about]) {
      const frames = kept.get(name);
      frames.push(frame);
      if (frames.length > KEPT) frames.shift();
    }
    if (!chosen && frame.direction === 'sent') choose(frame);       // the first one is the page's own connect: masked
    dirty = true;
  });
  feed.addEventListener('state', showTotal);

  // Filters: what a frame is about, and its direction.
  const chips = KINDS.map(([name, label]) => h('button', { type: 'button', class: 'chip', 'data-testid': `filter-${name}`, onclick: () => { kind = name; refilter(); } }, label));
  const ways = [['sent', '↑ sent'], ['received', '↓ received']].map(([name, label]) => h('button', { type: 'button', class: 'chip way', 'data-testid': `filter-${name}`, onclick: () => { way = way === name ? null : name; refilter(); } }, label));
  $('wire-filters').append(...chips, ...ways);
  function refilter() {
    KINDS.forEach(([name], i) => chips[i].setAttribute('aria-pressed', String(name === kind)));
    ['sent', 'received'].forEach((name, i) => ways[i].setAttribute('aria-pressed', String(name === way)));
    draw();
  }

  pause.addEventListener('click', () => { paused = !paused; showHeld(); });
  // While someone points into the list it stands still, or nobody could hit a row.
  list.addEventListener('pointerenter', (event) => { held = event.pointerType === 'mouse'; showHeld(); });
  list.addEventListener('pointerleave', () => { held = false; showHeld(); });
  list.addEventListener('focusin', (event) => { if (event.target.matches(':focus-visible')) { held = true; showHeld(); } });
  list.addEventListener('focusout', () => { held = false; showHeld(); });
  function showHeld() {
    pause.setAttribute('aria-pressed', String(paused));
    say(pause, paused ? 'Go on' : held ? 'Held' : 'Pause');
    list.dataset.held = paused || held;
  }

  setInterval(() => { showTotal(); if (dirty && !paused && !held && list.checkVisibility?.() !== false) draw(); }, 250);

  function showTotal() {
    const { sent, received } = feed.totals;
    say($('wire-total'), feed.trouble ?? `↑ ${sent.toLocaleString('en-US')}  ↓ ${received.toLocaleString('en-US')} octets`);
  }

  function draw() {
    dirty = false;
    const frames = kept.get(kind).filter(({ direction }) => !way || direction === way).slice(-ROWS).reverse();
    list.replaceChildren(...(frames.length ? frames.map(row) : [h('p', { class: 'empty' }, feed.trouble ? `Nothing to show: ${feed.trouble}.` : 'No such frame has passed yet.')]));
  }

  function row(frame) {
    return h('button', { type: 'button', class: 'row', 'data-testid': 'frame-row', 'data-seq': frame.seq, 'data-direction': frame.direction, 'data-opcode': frame.opcode, 'data-about': frame.about, 'aria-pressed': String(frame === chosen), onclick: () => { choose(frame); reveal(); } },
      h('span', { class: 'way', 'aria-label': frame.direction }, frame.direction === 'sent' ? '↑' : '↓'),
      h('time', {}, ((frame.micros - first) / 1e6).toFixed(3)),
      h('span', { class: 'op' }, frame.name),
      h('span', { class: 'size' }, String(frame.octets.length)),
      h('code', {}, ...gists(frame)));
  }

  function choose(frame) {
    chosen = frame;
    for (const other of list.children) other.setAttribute('aria-pressed', String(Number(other.dataset.seq) === frame.seq));
    redraw();
  }
  const columns = () => (view.clientWidth < 560 ? 16 : 32);
  let drawn = 0;
  function redraw() {
    if (!chosen) return;
    drawn = columns();
    view.replaceChildren(h('header', { class: 'block-head' }, h('h3', {}, `Frame ${chosen.seq}`), h('p', {}, chosen.direction === 'sent' ? '↑ sent by this page' : '↓ received by this page')), drawFrame(chosen, drawn));
  }
  new ResizeObserver(() => { if (chosen && columns() !== drawn) redraw(); }).observe(view);
  const reveal = () => { if (view.getBoundingClientRect().top > innerHeight - 160) view.scrollIntoView({ block: 'nearest', behavior: calm.matches ? 'auto' : 'smooth' }); };

  view.replaceChildren(h('p', { class: 'empty' }, 'A frame that you open is drawn here, bit by bit.'));
  refilter();
  showHeld();

  const heads = {};
  function showHead(head) {
    heads[head.direction] = head;
    const marked = /^(upgrade|connection|sec-websocket-.*)$/i;
    $(head.direction === 'sent' ? 'request-head' : 'response-head').replaceChildren(
      h('strong', {}, head.startLine), '\n',
      ...head.headers.flatMap(([name, value]) => [h('span', { class: marked.test(name) ? 'header marked' : 'header' }, h('i', {}, `${name}: `), value), '\n']));
    derive();
  }

  async function derive() {
    const find = (head, name) => head?.headers.find(([key]) => key.toLowerCase() === name)?.[1];
    const key = find(heads.sent, 'sec-websocket-key'), accept = find(heads.received, 'sec-websocket-accept');
    if (!key || !accept) return;
    const digest = crypto.subtle && new Uint8Array(await crypto.subtle.digest('SHA-1', new TextEncoder().encode(key + GUID)));
    const ours = digest && btoa(String.fromCharCode(...digest));
    const verdict = !ours ? 'A page without TLS may not compute it again here.' : ours === accept ? 'Computed again here: equal. The server speaks WebSocket.' : 'Computed again here: NOT equal.';
    $('derivation').replaceChildren('accept = base64(SHA-1(key + GUID)): ', h('code', {}, key), ' + ', h('code', { class: 'dim' }, GUID), ' → ', h('code', { class: 'marked' }, accept), `. ${verdict} It proves no identity, only that the server understood.`);
    $('derivation').dataset.equal = String(ours === accept);
  }
}

/** One line that tells a frame from the next: whom it is for, then its data; the whole is in the drawing. */
function gists(frame) {
  frame.gists ??= readGists(frame);
  return frame.gists.flatMap(([subject, rest], i) => [i ? '  ⏎  ' : '', h('b', {}, subject), ` ${rest}`]);
}

function readGists({ opcode, payload, length }) {
  if (opcode !== 1) return [[opcode === 8 ? decoder.decode(payload.subarray(2)) : length ? count(length) : '', '']];
  return decoder.decode(payload.subarray(0, 8192)).split('\n').slice(0, 4).map(gist);
}

function gist(line) {
  let message;
  try { message = JSON.parse(line); } catch { return ['', line.slice(0, 120)]; }
  const { id, push, error, ...body } = message;
  const short = (value) => (JSON.stringify(value) ?? '').slice(0, 120);
  if (push) {
    const { channel, ...rest } = push;
    const [what, value] = Object.entries(rest)[0] ?? ['push'];
    return [channel ?? what, what === 'pub' ? short(value.data) : `${what} ${short(value?.info?.conn_info ?? value)}`];
  }
  if (!id) return ['{}', 'the protocol\'s ping or pong'];
  const [what, value] = Object.entries(body)[0] ?? ['reply'];
  return [`${what} #${id}`, error ? `error ${error.code} ${error.message}` : value?.channel ? `${value.channel} ${short(value.data) || ''}` : short(value)];
}

/** Which part of the page a frame serves; replies, pings and the rest are the protocol's own. */
function about({ opcode, payload }) {
  if (opcode !== 1) return 'protocol';
  return /"channel":\s*"(market|game|chat):/.exec(decoder.decode(payload.subarray(0, 400)))?.[1] ?? 'protocol';
}
