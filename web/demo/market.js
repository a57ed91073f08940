//! The market part: six simulated tickers, each with what happened before you came, and the chart of the chosen one.
import { $, h, say, loop, palette, Rate, store } from './dom.js';
import { drawChart, drawSpark, money } from './chart.js';

const SYMBOLS = ['BTC-USD', 'ETH-USD', 'EUR-USD', 'GOLD', 'OIL', 'TIDE'];
const KEPT = 900;         // points a symbol; the chart shows a minute

export function startMarket(client) {
  const part = $('market');
  const ink = palette(part);
  const series = new Map(SYMBOLS.map((symbol) => [symbol, { symbol, points: [], rate: new Rate() }]));
  let chosen = series.get(SYMBOLS.includes(store.get('symbol')) ? store.get('symbol') : SYMBOLS[0]);
  const delivery = $('market-delivery');
  let skipped = 0;        // publications that the server says it did not send, in the mode chosen
  let skew = null;        // how far the clock of the prices is ahead of ours, ms: the chart glides on it

  const choose = (entry) => {
    chosen = entry;
    store.set('symbol', entry.symbol);
    for (const other of series.values()) other.tile.setAttribute('aria-pressed', String(other === entry));
    say($('market-channel'), `market:${entry.symbol}`);
    say($('quote-symbol'), entry.symbol);
    quote();
  };

  for (const entry of series.values()) {
    const { symbol } = entry;
    entry.price = h('span', { class: 'ticker-price', 'data-testid': `price-${symbol}` }, '–');
    entry.change = h('span', { class: 'ticker-change', 'data-testid': `change-${symbol}` });
    entry.spark = h('canvas', { class: 'spark', 'aria-hidden': 'true' });
    entry.tile = h('button', { type: 'button', class: 'ticker', 'data-testid': `ticker-${symbol}`, onclick: () => choose(entry) },
      h('span', { class: 'ticker-symbol' }, symbol), entry.change, entry.price, entry.spark);
    $('tickers').append(entry.tile);
    loop(entry.spark, (context, width, height) => drawSpark(context, width, height, entry.points, ink(trend(entry) < 0 ? 'buoy' : 'tide')), 4);

    const subscription = entry.subscription = client.subscribe(`market:${symbol}`, options());
    subscription.addEventListener('publication', ({ detail }) => {
      entry.rate.add();
      skipped += Number(detail.tags?.skipped ?? 0);
      add(entry, detail.data);
    });
    subscription.addEventListener('subscribed', async ({ detail }) => {
      if (detail.recovered && entry.points.length) return;
      const { publications } = await subscription.history({ limit: 300 }).catch(() => ({ publications: [] }));
      for (const publication of publications) add(entry, publication.data);
    });
  }

  /** Every price, or the newest so many times a second: the server leaves the others out, and says how many they were. */
  function options() {
    const hz = Number(delivery.value);
    return hz ? { data: { delivery: 'conflate', hz } } : { recover: true };
  }
  delivery.addEventListener('change', () => {
    skipped = 0;
    for (const { subscription } of series.values()) subscription.setOptions(options());
  });

  /** Keeps points in order of time, each once: history may overtake live updates. */
  function add(entry, { price, ts, seq }) {
    const { points } = entry;
    if (!Number.isFinite(price) || !Number.isFinite(ts)) return;
    let at = points.length;
    while (at > 0 && points[at - 1].ts > ts) at--;
    if (points[at - 1]?.ts === ts && points[at - 1].seq === seq) return;
    points.splice(at, 0, { price, ts, seq });
    if (points.length > KEPT) points.shift();
    if (at < points.length - 1) return;
    const ahead = ts - Date.now();
    skew = skew == null || Math.abs(ahead - skew) > 3000 ? ahead : skew + (ahead - skew) * 0.02;
    entry.dirty = true;
  }

  const trend = ({ points }) => (points.length ? points.at(-1).price / points[0].price - 1 : 0);
  const percent = (value) => `${value < 0 ? '▼' : '▲'} ${Math.abs(value * 100).toFixed(2)} %`;
  const paint = (element, value) => { say(element, percent(value)); element.dataset.trend = value < 0 ? 'down' : 'up'; };

  function quote() {
    $('market-empty').hidden = chosen.points.length > 1;
    if (!chosen.points.length) return;
    say($('quote-price'), money(chosen.points.at(-1).price));
    paint($('quote-change'), trend(chosen));
  }

  setInterval(() => {
    for (const entry of series.values()) {
      if (!entry.dirty) continue;
      entry.dirty = false;
      say(entry.price, money(entry.points.at(-1).price));
      paint(entry.change, trend(entry));
      if (entry === chosen) quote();
    }
    say($('quote-rate'), chosen.rate.get().toFixed(1));
    say($('market-skipped'), skipped ? `${skipped} left out` : '');
  }, 100);

  let pointer = null;
  const canvas = $('chart');
  canvas.addEventListener('pointermove', (event) => { pointer = event.offsetX; });
  canvas.addEventListener('pointerleave', () => { pointer = null; });
  const family = getComputedStyle(document.documentElement).getPropertyValue('--mono');
  let shownNow = 0;
  loop(canvas, (context, width, height) => {
    const last = chosen.points.at(-1);
    if (!last) return;
    const wanted = Math.min(Date.now() + skew, last.ts + 3000);     // a stopped feed stops the chart too
    shownNow = Math.max(wanted, Math.min(shownNow, wanted + 500), last.ts);
    drawChart(context, width, height, { points: chosen.points, now: shownNow, pointer, ink, font: `11px ${family}` });
  }, 30);

  choose(chosen);
}
