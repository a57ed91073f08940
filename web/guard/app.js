//! The guard's page: asks every second what was let through and what was not, and shows it. It gives no orders.
//
// data-testid: status[data-state=connecting|live|draining|lost] status-text version tiles tile-{connections,opened,refused,watched,blocked}
//   rules rules-empty events
import { $, h, say, fill, count, rate, onTheme, palette } from './dom.js';
import { Plot } from './plots.js';

const KEPT = 300;
const ink = palette();
const perSecond = (read) => (sample, before) => (before ? Math.max(0, (read(sample) - read(before)) * 1000 / (sample.at - before.at)) : null);
const line = (name, colour, read, more = {}) => ({ name, ink: colour, needsBefore: true, format: rate, read: perSecond(read), ...more });
const plot = (name, options) => new Plot(document.querySelector(`[data-plot="${name}"]`), { ink, ...options });
const plots = [
  plot('connections', { format: count, floor: 8, series: [{ name: 'open', ink: 'tide', fill: true, read: (s) => s.connections }] }),
  plot('messages', { format: rate, floor: 10, series: [line('to the server', 'tide', (s) => s.messages.to_server, { fill: true }), line('to clients', 'buoy', (s) => s.messages.to_client)] }),
  plot('verdicts', { format: rate, floor: 2, series: [line('watched', 'lamp', (s) => s.watched, { fill: true }), line('blocked', 'buoy', (s) => s.blocked)] }),
  plot('refused', { format: rate, floor: 2, series: [line('refused', 'buoy', (s) => s.refused, { fill: true })] }),
];
let samples = [];

const sum = (verdicts, ...names) => verdicts.filter(({ verdict }) => names.includes(verdict)).reduce((all, { count: n }) => all + n, 0);

function show(now) {
  const sample = { at: Date.now(), ...now, watched: sum(now.verdicts, 'monitor', 'mask'), blocked: sum(now.verdicts, 'block', 'closed') };
  // A guard that was started anew counts from zero.
  if (samples.length && samples.at(-1).opened > now.opened) samples = [];
  samples = [...samples, sample].slice(-KEPT);
  plots.forEach((one) => one.show(samples));
  const rows = [['connections', 'connections', now.connections], ['opened', 'opened', now.opened], ['refused', 'refused', now.refused], ['watched', 'watched', sample.watched], ['blocked', 'blocked', sample.blocked]];
  fill($('tiles'), rows, ([name]) => name, ([name, label, value]) => h('div', { 'data-testid': `tile-${name}` }, h('dt', {}, label), h('dd', {}, count(value))));
  const rules = [...now.verdicts].sort((a, b) => b.count - a.count).slice(0, 50);
  fill($('rules'), rules, (one) => `${one.route} ${one.rule} ${one.verdict}`, (one) => h('tr', {}, h('td', {}, one.rule), h('td', {}, one.route), h('td', {}, one.verdict), h('td', { class: 'n' }, count(one.count))));
  $('rules-empty').hidden = rules.length > 0;
  const time = (at) => new Date(at).toLocaleTimeString();
  const events = now.events.map((one, n) => ({ ...one, n })).reverse();
  fill($('events'), events, (one) => `${one.at} ${one.n} ${one.rule}`, (one) => h('tr', {}, h('td', {}, time(one.at)), h('td', {}, one.rule), h('td', {}, one.route), h('td', {}, one.verdict)));
  say($('version'), now.version);
}

function state(name, text) {
  $('status').dataset.state = name;
  say($('status-text'), text);
}

async function turn() {
  try {
    const answer = await fetch('/overview', { cache: 'no-store', signal: AbortSignal.timeout(8000) });
    if (!answer.ok) throw new Error(String(answer.status));
    const now = await answer.json();
    show(now);
    state(now.draining ? 'draining' : 'live', now.draining ? 'draining' : 'on guard');
  } catch {
    state('lost', 'the guard does not answer');
  }
  setTimeout(turn, document.hidden ? 5000 : 1000);
}

onTheme(() => plots.forEach((one) => one.draw()));
turn();
