//! The page itself: one client for all parts, its state, routes and theme.
//
// data-testid: status[data-state=connected|connecting|reconnecting|offline|closed] status-text rtt gate theme tab-{market,game,chat,wire} chat-unread
//   market market-channel market-delivery market-skipped quote-symbol quote-price quote-change quote-rate chart market-empty tickers ticker-SYM price-SYM change-SYM
//   game arena arena-hint players score game-out game-in
//   chat name rooms room-{lobby,market,harbour} here-count here lines line[data-id,data-own,data-missed,data-waiting] marker-{missed,gap,move} chat-empty composer message send
//   waterline rate-in rate-out
//   wire wire-total wire-pause wire-filters filter-{all,market,game,chat,protocol,sent,received} frames frame-row[data-seq,data-direction,data-opcode]
//   frame-view frame-drawing[data-octets,data-opcode] frame-sentence frame-payload frame-text request-head response-head derivation[data-equal]
//   poll-interval {ws,http}-{bytes,rate,delay,age,missed} verdict cost-note
import { Client } from './client.js';
import { WireFeed, makeSecret } from './wire-feed.js';
import { $, say, store, isDark, onTheme, calm } from './dom.js';
import { startMarket } from './market.js';
import { startChat, ownName } from './chat.js';
import { startGame } from './game.js';
import { startWaterline } from './waterline.js';
import { startWire } from './wire-view.js';
import { startCost } from './cost.js';

const origin = location.origin.replace(/^http/, 'ws');
const person = { name: ownName(), tag: Math.random().toString(36).slice(2, 8) };
store.set('name', person.name);

let secret;
const client = new Client(() => `${origin}/connection/websocket?wire=${secret = makeSecret()}`, { data: { name: person.name } });
const feed = new WireFeed(`${origin}/wire`);
client.addEventListener('open', () => feed.follow(secret));

startConnection();
startTheme();
startWaterline(client);
startWire(feed);
startCost(client, feed);
startMarket(client);
startChat(client, person);
const game = startGame(client, person);
startRoutes();
client.connect();

/** For curious people in the console. */
window.tidegate = { client, feed, game };

function startConnection() {
  const status = $('status'), gate = $('gate');
  let was = false, round;
  const measure = async () => {
    clearTimeout(round);
    if (client.state !== 'connected') return say($('rtt'), '–');
    if (!document.hidden) await client.ping().then((ms) => say($('rtt'), ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`), () => {});
    round = setTimeout(measure, 3000);
  };
  client.addEventListener('state', ({ detail: { state, reason, terminal } }) => {
    const name = state === 'connected' ? 'connected' : state === 'disconnected' ? 'closed' : !navigator.onLine ? 'offline' : was ? 'reconnecting' : 'connecting';
    was ||= state === 'connected';
    status.dataset.state = document.body.dataset.link = name;
    say($('status-text'), name === 'closed' && !terminal ? 'gate closed' : name);
    status.title = reason ?? '';
    gate.setAttribute('aria-pressed', String(state === 'disconnected'));
    say(gate, state === 'disconnected' ? 'Open the gate' : 'Close the gate');
    if (state === 'disconnected') feed.stop();
    measure();
  });
  gate.addEventListener('click', () => (client.state === 'disconnected' ? client.connect() : client.disconnect()));
}

function startTheme() {
  const button = $('theme');
  const show = () => button.setAttribute('aria-pressed', String(isDark()));
  button.addEventListener('click', () => store.set('theme', document.documentElement.dataset.theme = isDark() ? 'light' : 'dark'));
  onTheme(show);
  show();
}

/** `#/wire` and its like: on a phone a part is a page of its own, on a desk it is a place to go to. */
function startRoutes() {
  const show = (event) => {
    const name = /^#\/(market|game|chat|wire)$/.exec(location.hash)?.[1];
    const view = document.body.dataset.view = name ?? 'market';
    for (const tab of document.querySelectorAll('.tabs a')) {
      if (tab.hash === `#/${view}`) tab.setAttribute('aria-current', 'page'); else tab.removeAttribute('aria-current');
    }
    if (!event && !name) return;
    if (matchMedia('(max-width: 799px)').matches) scrollTo(0, 0);
    else if (name) document.getElementById(name).scrollIntoView({ behavior: event && !calm.matches ? 'smooth' : 'auto', block: 'start' });
    else scrollTo({ top: 0, behavior: calm.matches ? 'auto' : 'smooth' });
    if (event && name) $(name).querySelector('h2').focus({ preventScroll: true });
  };
  addEventListener('hashchange', show);
  show();
}
