//! The admin page: asks the server every second and shows what it says; orders go through the HTTP API's methods.
//
// data-testid: status[data-state=connecting|live|draining|lost] status-text node version uptime theme sign-in sign-in-why token board
//   tiles tile-{connections,users,subscriptions,channels,received,deliveries,skipped,turn,memory}
//   channels channel-row[data-key] channel-filter channels-empty channel channel-name channel-stats history history-remove presence
//   publish publish-channel publish-data publish-said user-form user clients disconnect-user user-said slow slow-empty
//   workers ends errors refused config reload reload-said
import { $, h, say, fill, count, rate, bytes, micros, ago, clock, store, isDark, onTheme, palette } from './dom.js';
import { get, post, call, setToken, Refused } from './api.js';
import { Plot } from './plots.js';

const KEPT = 600;
const ink = palette();
const perSecond = (field) => (sample, before) => (before ? Math.max(0, (sample[field] - before[field]) * 1000 / (sample.at - before.at)) : null);
const plot = (name, options) => new Plot(document.querySelector(`[data-plot="${name}"]`), { ink, ...options });
const plots = [
  plot('connections', { format: count, floor: 8, series: [{ name: 'open', ink: 'tide', fill: true, read: (s) => s.connections }, { name: 'new/s', ink: 'buoy', needsBefore: true, format: rate, read: perSecond('opened') }] }),
  plot('messages', { format: rate, floor: 10, series: [{ name: 'delivered', ink: 'tide', fill: true, needsBefore: true, read: perSecond('deliveries') }, { name: 'published', ink: 'lamp', needsBefore: true, read: perSecond('publications') }, { name: 'received', ink: 'buoy', needsBefore: true, read: perSecond('received') }, { name: 'skipped', ink: 'rule', needsBefore: true, read: perSecond('skipped') }] }),
  plot('turn', { format: micros, floor: 500, series: [{ name: 'slowest worker', ink: 'tide', fill: true, read: (s) => s.turn }] }),
  plot('machine', { format: (n) => `${rate(n)} %`, floor: 20, series: [{ name: 'processor', ink: 'tide', fill: true, needsBefore: true, read: (s, b) => (b ? Math.max(0, (s.cpu - b.cpu) * 100 / (s.at - b.at)) : null) }, { name: 'memory', ink: 'buoy', own: true, read: (s) => s.memory, format: bytes }] }),
];
let samples = [], chosen = null, beat;

function tiles(now, last, before) {
  const speed = (field) => rate(before ? perSecond(field)(last, before) : 0);
  const rows = [
    ['connections', 'connections', count(last?.connections ?? 0)], ['users', 'users', count(now.users)],
    ['subscriptions', 'subscriptions', count(now.subscriptions)], ['channels', 'channels', count(now.channels)],
    ['received', 'received/s', speed('received')], ['deliveries', 'delivered/s', speed('deliveries')],
    ['skipped', 'skipped/s', speed('skipped')], ['turn', 'turn', last?.turn == null ? '–' : micros(last.turn)],
    ['memory', 'memory', bytes(last?.memory ?? 0)],
  ];
  fill($('tiles'), rows, ([name]) => name, ([name, label, value]) => h('div', { 'data-testid': `tile-${name}` }, h('dt', {}, label), h('dd', {}, value)));
}

function pairs(element, map) {
  const rows = Object.entries(map).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  fill(element, rows.length ? rows : [['none', 0]], ([name]) => name, ([name, n]) => h('div', {}, h('dt', {}, name), h('dd', {}, n ? count(n) : '')));
}

async function overview() {
  const { fields, samples: fresh, now, workers } = await get(`/admin/overview?since=${samples.at(-1)?.at ?? 0}`);
  // A server that was started anew counts from zero.
  const named = fresh.map((row) => Object.fromEntries(fields.map((field, i) => [field, row[i]])));
  if (named.length && samples.length && named[0].opened < samples.at(-1).opened) samples = [];
  samples = [...samples, ...named].slice(-KEPT);
  say($('node'), now.node);
  say($('version'), now.version);
  say($('uptime'), `up ${ago(now.uptime)}`);
  state(now.draining ? 'draining' : 'live', now.draining ? 'draining' : 'serving');
  tiles(now, samples.at(-1), samples.at(-2));
  plots.forEach((one) => one.show(samples));
  const cells = (...values) => values.map((value) => h('td', { class: 'n' }, value));
  fill($('workers'), workers, (one) => String(one.worker), (one) => h('tr', {}, ...cells(String(one.worker), count(one.clients), count(one.subscriptions), count(one.channels), bytes(one.history_bytes), count(one.spooled))));
  pairs($('ends'), now.ends);
  pairs($('errors'), now.errors);
  pairs($('refused'), now.refused);
}

async function channels() {
  const text = $('channel-filter').value.trim();
  const pattern = text && !text.includes('*') ? `*${text}*` : text;
  const { channels: found } = await call('channels', pattern ? { pattern } : {});
  const rows = Object.entries(found).map(([name, { num_clients: clients }]) => [name, clients]).sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
  $('channels-empty').hidden = rows.length > 0;
  fill($('channels'), rows.slice(0, 500), ([name]) => name, ([name, clients]) => h('tr', { 'data-testid': 'channel-row', 'aria-current': name === chosen },
    h('td', {}, h('button', { type: 'button', class: 'link-button', onclick: () => choose(name) }, name)), h('td', { class: 'n' }, count(clients))));
}

async function choose(name) {
  chosen = name;
  say($('channel-name'), name);
  $('publish-channel').value = name;
  for (const row of $('channels').children) row.toggleAttribute('aria-current', row.dataset.key === name);
  $('history').replaceChildren();
  $('presence').replaceChildren();
  await channel();
}

/** A question that a channel may not have an answer to: no history, no presence. */
const maybe = (promise) => promise.catch((error) => ({ refused: error.message }));

async function channel() {
  if (!chosen) return;
  const name = chosen;
  const [history, presence, stats] = await Promise.all([
    maybe(call('history', { channel: name, limit: 30, reverse: true })), maybe(call('presence', { channel: name })), maybe(call('presence_stats', { channel: name })),
  ]);
  if (name !== chosen) return;
  const position = history.refused ? 'keeps no history' : `offset ${history.offset ?? 0}`;
  say($('channel-stats'), stats.refused ? position : `${count(stats.num_clients ?? 0)} clients, ${count(stats.num_users ?? 0)} users, ${position}`);
  const publications = history.publications ?? [];
  $('history-remove').hidden = !publications.length;
  fill($('history'), publications, (one) => String(one.offset), (one) => h('li', {}, h('span', { class: 'offset' }, `#${one.offset}`), h('time', { class: 'by', datetime: new Date(one.time).toISOString() }, clock(one.time)), h('code', {}, one.b64data ? `${one.b64data} (base64)` : JSON.stringify(one.data)), one.info ? h('span', { class: 'by' }, one.info.user || 'anonymous') : null));
  if (!publications.length) $('history').replaceChildren(h('li', { class: 'empty' }, history.refused ?? 'nothing is kept'));
  const here = Object.values(presence.presence ?? {});
  fill($('presence'), here.slice(0, 200), (one) => one.client, (one) => h('li', {}, h('button', { type: 'button', class: 'link-button', onclick: () => lookUp(one.user) }, one.user || 'anonymous'), one.conn_info ? h('code', {}, JSON.stringify(one.conn_info)) : null));
  if (!here.length) $('presence').replaceChildren(h('li', { class: 'empty' }, presence.refused ?? 'nobody'));
}

async function slow() {
  const { clients } = await get('/admin/slow');
  $('slow-empty').hidden = clients.length > 0;
  fill($('slow'), clients, (one) => one.client, (one) => h('tr', {}, h('td', {}, h('code', {}, one.client.slice(0, 8))), h('td', {}, one.user || 'anonymous'), h('td', { class: 'n' }, bytes(one.queued)), h('td', { class: 'n' }, ago(one.slow_seconds ?? 0)), h('td', {}, [...new Set(one.channels.map((channel) => channel.delivery))].join(', '))));
}

async function lookUp(user) {
  $('user').value = user;
  const { clients } = await get(`/admin/clients?user=${encodeURIComponent(user)}`);
  say($('user-said'), `${clients.length} connection${clients.length === 1 ? '' : 's'}`);
  fill($('clients'), clients.slice(0, 200), (one) => one.client, (one) => h('tr', {},
    h('td', {}, h('code', { title: one.client }, one.client.slice(0, 8))), h('td', {}, one.user || 'anonymous'), h('td', {}, `${ago((Date.now() - one.since) / 1000)}`), h('td', {}, one.form),
    h('td', { class: 'wide' }, one.channels.map(({ channel: name, delivery }) => (delivery === 'full' ? name : `${name} (${delivery})`)).join(', ')),
    h('td', {}, h('button', { type: 'button', class: 'quiet', onclick: () => order($('user-said'), async () => {
      await call('disconnect', { user: one.user, client: one.client });
      await lookUp(user);
      return 'disconnected';
    }) }, 'Disconnect'))));
}

async function config() {
  $('config').replaceChildren(...tree(await get('/admin/config')));
}

function tree(value) {
  return Object.entries(value).filter(([name]) => name !== 'schema').map(([name, inner]) => {
    if (inner && typeof inner === 'object' && !Array.isArray(inner) && Object.keys(inner).length) return h('details', { open: name === 'namespaces' || name === 'server' }, h('summary', {}, name || '(no namespace)'), ...tree(inner));
    const text = inner == null ? '–' : Array.isArray(inner) ? inner.join(', ') || '–' : typeof inner === 'object' ? '{}' : String(inner);
    return h('p', {}, h('span', {}, name), h('code', {}, text));
  });
}

/** Carries an order out and says what came of it. */
async function order(said, what) {
  try {
    said.dataset.bad = 'false';
    say(said, await what());
  } catch (error) {
    said.dataset.bad = 'true';
    say(said, error.message);
    if (error instanceof Refused && (error.status === 401 || error.status === 403)) signIn(error.message);
  }
}

function state(name, text) {
  $('status').dataset.state = name;
  say($('status-text'), text);
}

function signIn(why) {
  clearTimeout(beat);
  $('sign-in').hidden = false;
  $('board').hidden = true;
  say($('sign-in-why'), why);
  state('lost', 'signed out');
}

async function turn() {
  clearTimeout(beat);
  try {
    await overview();
    if ($('board').hidden) {
      $('board').hidden = false;
      $('sign-in').hidden = true;
      await config();
    }
    if (!document.hidden) await Promise.all([channels(), channel(), slow()]);
  } catch (error) {
    if (error instanceof Refused && (error.status === 401 || error.status === 403)) return signIn(error.message);
    state('lost', 'no answer');
  }
  beat = setTimeout(turn, 1000);
}

$('sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  setToken($('token').value.trim());
  turn();
});
$('publish').addEventListener('submit', (event) => {
  event.preventDefault();
  order($('publish-said'), async () => {
    let data;
    try { data = JSON.parse($('publish-data').value); } catch { throw new Error('the data must be JSON; a text stands in quotes'); }
    const name = $('publish-channel').value;
    const { offset } = await call('publish', { channel: name, data });
    if (name === chosen) await channel();
    return offset ? `published as #${offset}` : 'published';
  });
});
$('history-remove').addEventListener('click', () => order($('publish-said'), async () => {
  await call('history_remove', { channel: chosen });
  await channel();
  return 'the history is removed';
}));
$('user-form').addEventListener('submit', (event) => {
  event.preventDefault();
  order($('user-said'), () => lookUp($('user').value.trim()).then(() => $('user-said').textContent));
});
$('disconnect-user').addEventListener('click', () => order($('user-said'), async () => {
  const user = $('user').value.trim();
  if (!user) throw new Error('name a user first; anonymous clients are disconnected one by one');
  await call('disconnect', { user });
  await lookUp(user);
  return `${user} is disconnected`;
}));
$('reload').addEventListener('click', () => order($('reload-said'), async () => {
  const { status, body } = await post('/reload');
  if (status !== 200) throw new Error(body.error);
  await config();
  return ['reloaded', ...body.notes].join('; ');
}));
$('channel-filter').addEventListener('input', () => channels().catch(() => {}));
document.addEventListener('visibilitychange', () => { if (!document.hidden && $('sign-in').hidden) turn(); });

const theme = $('theme');
const showTheme = () => theme.setAttribute('aria-pressed', String(isDark()));
theme.addEventListener('click', () => store.set('theme', document.documentElement.dataset.theme = isDark() ? 'light' : 'dark'));
onTheme(() => { showTheme(); plots.forEach((one) => one.draw()); });
showTheme();
turn();
