//! The chat part: three rooms with presence, history for those who come late, and what you missed when you come back.
import { $, h, say, store } from './dom.js';

const ROOMS = ['lobby', 'market', 'harbour'];
const KEPT = 300;                    // lines a room
const NAMES = ['Spring', 'Neap', 'Ebb', 'Flood', 'Slack', 'Eddy', 'Swell', 'Fathom', 'Sounding', 'Mooring'];

/** The name of this window's person: chosen earlier, or a nautical one. */
export const ownName = () => store.get('name') || `${NAMES[Math.floor(Math.random() * NAMES.length)]} ${Math.floor(Math.random() * 90) + 10}`;

export function startChat(client, person) {
  const list = $('lines');
  const rooms = new Map(ROOMS.map((name) => [name, makeRoom(name)]));
  let room = rooms.get(ROOMS.includes(store.get('room')) ? store.get('room') : 'lobby');

  function makeRoom(name) {
    const made = { name, lines: [], seen: new Set(), waiting: new Map(), here: new Map(), unread: 0 };
    made.count = h('span', { class: 'badge', hidden: true });
    made.tab = h('button', { type: 'button', 'data-testid': `room-${name}`, onclick: () => enter(made) }, name, made.count);
    $('rooms').append(made.tab);

    const subscription = made.subscription = client.subscribe(`chat:${name}`, { recover: true, joinLeave: true });
    subscription.addEventListener('publication', ({ detail }) => line(made, detail));
    subscription.addEventListener('join', ({ detail }) => come(made, detail));
    subscription.addEventListener('leave', ({ detail }) => go(made, detail));
    subscription.addEventListener('subscribed', ({ detail }) => back(made, detail));
    return made;
  }

  async function back(target, { wasRecovering, recovered, publications }) {
    const missed = publications.filter(({ data }) => data?.id && !target.seen.has(data.id) && !target.waiting.has(data.id)).length;
    if (recovered && missed) note(target, 'missed', `You missed ${missed} ${missed === 1 ? 'message' : 'messages'}`);
    if (wasRecovering && !recovered) note(target, 'gap', 'Away too long: older lines may be missing');
    // Recovered lines follow this event in the same turn; what still waits after them never reached the room.
    setTimeout(() => target.waiting.forEach((own) => send(target, own)));
    target.subscription.presence().then((presence) => {
      target.here = new Map(Object.values(presence).map((info) => [info.client, info]));
      showHere();
    }, () => {});
    if (recovered) return;
    const { publications: earlier } = await target.subscription.history({ limit: 300 }).catch(() => ({ publications: [] }));
    for (const publication of earlier) line(target, { ...publication, earlier: true });
    if (target === room) draw();
  }

  /** Takes one message in, once; `offset` keeps history and live lines in one order. */
  function line(target, { data, offset = Infinity, info, earlier = false, missed = false }) {
    if (typeof data?.text !== 'string' || !data.id || target.seen.has(data.id)) return;
    target.seen.add(data.id);
    target.waiting.delete(data.id);
    const own = target.lines.findIndex((other) => other.id === data.id);
    if (own >= 0) target.lines.splice(own, 1);
    const entry = { kind: 'line', id: data.id, name: String(data.name ?? 'someone').slice(0, 24), text: data.text.slice(0, 500), at: when(data.t), offset, missed, own: mine(data, info) };
    insert(target, entry);
    while (target.lines.length > KEPT) target.seen.delete(target.lines.shift().id);
    if (!earlier && !(target === room && list.checkVisibility())) target.unread++;
    if (!earlier) draw();
  }

  /** Puts an entry where it belongs: what still waits to be sent stays last, and lines stay in the channel's order. */
  function insert({ lines }, entry) {
    let at = lines.length;
    while (at > 0 && lines[at - 1].waiting) at--;
    while (at > 0 && (lines[at - 1].offset ?? -1) > entry.offset) at--;
    lines.splice(at, 0, entry);
  }

  const mine = (data, info) => (info?.client ? info.client === client.id : data.id.startsWith(person.tag)) || data.id.startsWith(person.tag);

  function note(target, kind, text) {
    if (kind !== 'move') target.lines = target.lines.filter((other) => other.kind !== kind);
    insert(target, { kind, text, at: Date.now() });
    const moves = target.lines.filter((other) => other.kind === 'move');
    if (moves.length > 6) target.lines.splice(target.lines.indexOf(moves[0]), 1);
    if (target === room) draw();
  }

  function come(target, info) {
    const known = target.here.has(info.client);
    target.here.set(info.client, info);
    if (!known && info.client !== client.id) note(target, 'move', `${nameOf(info)} came in`);
    showHere();
  }

  function go(target, info) {
    if (target.here.delete(info.client) && info.client !== client.id) note(target, 'move', `${nameOf(info)} left`);
    showHere();
  }

  const nameOf = (info) => String(info?.conn_info?.name ?? 'someone').slice(0, 24);

  function showHere() {
    const people = new Map();
    for (const info of room.here.values()) {
      const name = info.client === client.id ? 'you' : nameOf(info);
      people.set(name, (people.get(name) ?? 0) + 1);
    }
    say($('here-count'), String(room.here.size));
    const names = [...people].sort(([a], [b]) => (b === 'you') - (a === 'you') || a.localeCompare(b));
    $('here').replaceChildren(...names.map(([name, count]) => h('span', { class: name === 'you' ? 'person you' : 'person' }, count > 1 ? `${name} ×${count}` : name)));
  }

  function enter(next) {
    room = next;
    room.unread = 0;
    store.set('room', room.name);
    $('message').placeholder = `Write to the ${room.name}`;
    showHere();
    draw(true);
  }

  function draw(jump = false) {
    let unread = 0;
    for (const other of rooms.values()) {
      other.tab.setAttribute('aria-current', String(other === room));
      other.count.hidden = other.unread === 0;
      say(other.count, String(other.unread));
      unread += other.unread;
    }
    $('chat-unread').hidden = unread === 0;
    say($('chat-unread'), String(unread));

    const atEnd = jump || list.scrollHeight - list.scrollTop - list.clientHeight < 48;
    const children = [];
    let day = '', previous = null;
    for (const entry of room.lines) {
      if (dayOf(entry.at) !== day) children.push(h('p', { class: 'day' }, day = dayOf(entry.at)));
      children.push(row(entry, previous));
      previous = entry.kind === 'line' ? entry : null;
    }
    if (!room.lines.some(({ kind }) => kind === 'line')) {
      children.unshift(h('p', { class: 'empty', 'data-testid': 'chat-empty' }, `Still water. The first line in the ${room.name} is yours.`));
    }
    list.replaceChildren(...children);
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  function row(entry, previous) {
    if (entry.kind !== 'line') return h('p', { class: entry.kind, 'data-testid': `marker-${entry.kind}` }, entry.text);
    const follows = previous && previous.name === entry.name && previous.own === entry.own && entry.at - previous.at < 180_000;
    return h('div', { class: 'line', 'data-testid': 'line', 'data-id': entry.id, 'data-own': entry.own, 'data-missed': entry.missed, 'data-waiting': entry.waiting, 'data-follows': Boolean(follows) },
      h('b', {}, entry.name), h('time', { datetime: new Date(entry.at).toISOString() }, entry.waiting ? 'waiting' : timeOf(entry.at)), h('span', {}, entry.text));
  }

  async function send(target, message) {
    try { await target.subscription.publish(message); } catch (error) {
      if (error.retriable) return;          // it waits; the next connection sends it, unless it arrived after all
      target.waiting.delete(message.id);
      target.lines = target.lines.filter(({ id }) => id !== message.id);
      note(target, 'gap', `Not sent: ${error.message}`);
    }
  }

  $('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    const text = $('message').value.trim();
    if (!text) return;
    const message = { name: person.name, text, id: `${person.tag}-${Date.now().toString(36)}${Math.random().toString(36).slice(2, 6)}`, t: Date.now() };
    $('message').value = '';
    room.waiting.set(message.id, message);
    room.lines.push({ kind: 'line', ...message, at: message.t, own: true, waiting: true });
    draw(true);
    if (room.subscription.state === 'subscribed') send(room, message);
  });

  $('name').value = person.name;
  $('name').addEventListener('change', () => {
    const name = $('name').value.trim().slice(0, 24);
    if (!name || name === person.name) { $('name').value = person.name; return; }
    store.set('name', person.name = name);
    client.setData({ name });
  });

  addEventListener('hashchange', () => setTimeout(() => list.checkVisibility() && enter(room)));     // on a phone the room may come into sight
  enter(room);
}

const when = (time) => {
  const ms = Number(time);
  return Number.isFinite(ms) && ms > 1e12 && ms < Date.now() + 6e4 ? ms : Date.now();
};
const timeOf = (at) => new Date(at).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' });
const dayOf = (at) => {
  const date = new Date(at), today = new Date();
  if (date.toDateString() === today.toDateString()) return 'Today';
  return date.toLocaleDateString('en-GB', { weekday: 'long', day: 'numeric', month: 'long' });
};
