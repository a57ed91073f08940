// The page in a real Chromium: two windows chat and play, prices move, a lost connection loses no line, and the octets
// drawn are the octets that passed.

import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import { base, connected, launch, open, pictures, pixels, until, visit } from './support.mjs';
import { proxy } from '../interop/node/support.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

/** The lines of the room that is open, as people see them. */
const lines = ({ page }) => page.getByTestId('line').evaluateAll((rows) => rows.map((row) => row.querySelector('span').textContent));

async function say(window, text) {
  await window.get('message').fill(text);
  await window.get('send').click();
}

/** A line no other test has written. */
const unique = (text) => `${text} ${Math.random().toString(36).slice(2, 8)}`;

test('two windows chat', async (t) => {
  const [ada, bob] = [await visit(t, browser), await visit(t, browser)];
  const [question, answer] = [unique('High water?'), unique('Half past four.')];
  await say(ada, question);
  await until('the question to arrive', () => lines(bob), (all) => all.includes(question));
  await say(bob, answer);
  const seen = await until('the answer to arrive', () => lines(ada), (all) => all.includes(answer));
  assert.ok(seen.indexOf(question) < seen.indexOf(answer));
  assert.equal(await ada.page.locator('[data-testid=line][data-own=true]', { hasText: question }).count(), 1);
  assert.equal(await bob.page.locator('[data-testid=line][data-own=false]', { hasText: question }).count(), 1);
  assert.deepEqual([ada.errors, bob.errors], [[], []]);
});

test('who comes late reads what was said, and sees who is here', async (t) => {
  const ada = await visit(t, browser);
  const text = unique('Said before you came');
  await say(ada, text);
  await until('the line to arrive', () => lines(ada), (all) => all.includes(text));
  const bob = await visit(t, browser);
  await until('the history', () => lines(bob), (all) => all.includes(text));
  const count = async (window) => Number(await window.get('here-count').textContent());
  await until('both to be here', () => count(ada), (n) => n === 2);
  await until('both to be here', () => count(bob), (n) => n === 2);
  await bob.context.close();
  await until('one to be left', () => count(ada), (n) => n === 1);
});

test('a name that is written into the page stays text', async (t) => {
  const [ada, bob] = [await visit(t, browser), await visit(t, browser)];
  const text = `<img src=x onerror="window.pwned=1"> ${unique('&amp;')}`;
  await ada.get('name').fill('<b>Ada</b>');
  await ada.get('name').press('Enter');
  await connected(ada);
  await say(ada, text);
  await until('the line as it was written', () => lines(bob), (all) => all.includes(text));
  assert.equal(await bob.page.evaluate(() => window.pwned), undefined);
});

test('rooms are apart', async (t) => {
  const [ada, bob] = [await visit(t, browser), await visit(t, browser)];
  await ada.get('room-harbour').click();
  const [there, here] = [unique('In the harbour'), unique('In the lobby')];
  await say(ada, there);
  await until('the line to be said', () => lines(ada), (all) => all.includes(there));
  await say(bob, here);
  const lobby = await until('the lobby line', () => lines(bob), (all) => all.includes(here));
  assert.ok(!lobby.includes(there));
  await bob.get('room-harbour').click();
  await until('the harbour line', () => lines(bob), (all) => all.includes(there) && !all.includes(here));
});

test('prices are left out when the newest is enough, and the page says how many', async (t) => {
  const window = await visit(t, browser);
  await window.get('market-delivery').selectOption('1');
  await until('prices that were left out', () => window.get('market-skipped').textContent(), (text) => /^[1-9]\d* left out$/.test(text));
  const before = await window.get('quote-price').textContent();
  await until('another price all the same', () => window.get('quote-price').textContent(), (text) => text !== before);
  await window.get('market-delivery').selectOption('0');
  await until('every price again', () => window.get('market-skipped').textContent(), (text) => text === '');
  assert.deepEqual(window.errors, []);
});

test('prices change, and the chart is drawn anew', async (t) => {
  const window = await visit(t, browser);
  for (const symbol of ['BTC-USD', 'ETH-USD', 'EUR-USD', 'GOLD', 'OIL', 'TIDE']) {
    const price = () => window.get(`price-${symbol}`).textContent();
    const first = await until(`a price of ${symbol}`, price, (text) => /\d/.test(text));
    await until(`another price of ${symbol}`, price, (text) => /\d/.test(text) && text !== first);
  }
  const before = await until('a drawn chart', () => pixels(window, 'chart'), ({ ink }) => ink > 500);
  const later = await until('another picture', () => pixels(window, 'chart'), ({ sum }) => sum !== before.sum);
  assert.ok(later.ink > 500, 'the chart has a line in it');
  await window.get('ticker-GOLD').click();
  assert.equal(await window.get('quote-symbol').textContent(), 'GOLD');
  const rate = async () => Number(await window.get('quote-rate').textContent());
  await until('several updates a second', rate, (n) => n >= 2);
  assert.deepEqual(window.errors, []);
});

/** How many pixels near a place in the arena (world units) have the colour of a boat. */
const boatPixels = ({ page }, place, hue) => page.evaluate(({ place, hue }) => {
  const canvas = document.querySelector('[data-testid=arena]');
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  const probe = new OffscreenCanvas(1, 1).getContext('2d');
  probe.fillStyle = `oklch(${dark ? 0.76 : 0.66} 0.15 ${hue})`;
  probe.fillRect(0, 0, 1, 1);
  const colour = probe.getImageData(0, 0, 1, 1).data;
  const scale = canvas.width / 1000, reach = Math.ceil(34 * scale);
  const { data } = canvas.getContext('2d').getImageData(place.x * scale - reach, place.y * scale - reach, 2 * reach, 2 * reach);
  let count = 0;
  for (let i = 0; i < data.length; i += 4) if ([0, 1, 2].every((c) => Math.abs(data[i + c] - colour[c]) < 10)) count += 1;
  return count;
}, { place, hue });

test('the other player\'s boat moves, in the picture too', async (t) => {
  const [ada, bob] = [await visit(t, browser), await visit(t, browser)];
  const id = await ada.page.evaluate(() => { window.tidegate.game.me.hue = 30; return window.tidegate.client.id; });
  await bob.page.evaluate(() => { window.tidegate.game.me.hue = 250; });
  const seen = () => bob.page.evaluate((id) => {
    const boat = window.tidegate.game.others.get(id);
    return boat && { x: boat.x, y: boat.y, hue: boat.hue };
  }, id);
  const from = await until('Ada\'s boat in Bob\'s window', seen, (boat) => boat?.hue === 30);
  await until('two players to be counted', () => bob.get('players').textContent().then(Number), (n) => n === 2);
  await until('the boat to be drawn', () => boatPixels(bob, from, 30), (n) => n > 30);

  // She steers to the far side of where she lies, by the pointer, as people do.
  await ada.get('arena').scrollIntoViewIfNeeded();
  const box = await ada.get('arena').boundingBox();
  const goal = { x: from.x < 500 ? 0.85 : 0.15, y: from.y < 500 ? 0.6 : 0.4 };
  await ada.page.mouse.move(box.x + box.width * goal.x, box.y + box.height * goal.y);
  await ada.page.mouse.down();
  const to = await until('the boat to have moved in Bob\'s window', seen, (boat) => Math.hypot(boat.x - from.x, boat.y - from.y) > 120);
  await ada.page.mouse.up();
  const rate = async () => Number(await bob.get('game-in').textContent());
  await until('20 updates a second and more while it moves', rate, (n) => n >= 20, 6000);
  await until('the old place to be empty in the picture', () => boatPixels(bob, from, 30), (n) => n < 10);
  const now = await seen();
  assert.ok(Math.hypot(now.x - from.x, now.y - from.y) > 100, `it stays away: ${JSON.stringify([from, to, now])}`);
  await until('the boat to be drawn at the new place', async () => boatPixels(bob, await seen(), 30), (n) => n > 30);
  assert.deepEqual([ada.errors, bob.errors], [[], []]);
});

test('offline and back: no chat line is lost or doubled, whoever wrote it', async (t) => {
  const wire = await proxy(base);
  t.after(() => wire.close());
  const [away, home] = [await visit(t, browser, wire.url), await visit(t, browser)];
  const first = unique('before');
  await say(home, first);
  await until('the first line', () => lines(away), (all) => all.includes(first));

  await away.context.setOffline(true);
  wire.cut();
  await away.page.locator('[data-testid=status]:not([data-state=connected])').waitFor();
  const written = [];
  for (let n = 0; n < 12; n += 1) {
    written.push(unique(`while away ${n}`));
    await say(home, written.at(-1));
  }
  const own = [unique('written offline 1'), unique('written offline 2')];
  for (const text of own) await say(away, text);
  assert.equal(await away.page.locator('[data-testid=line][data-waiting=true]').count(), 2, 'own lines wait to be sent');
  await until('all to be said at home', () => lines(home), (all) => written.every((text) => all.includes(text)));

  wire.heal();
  await away.context.setOffline(false);
  await connected(away);
  const all = await until('everything to be there', () => lines(away), (all) => [...written, ...own].every((text) => all.includes(text)));
  const mine = all.slice(all.indexOf(first));
  assert.deepEqual(mine.filter((text) => written.includes(text)), written, 'in order and once');
  assert.deepEqual(mine.filter((text) => own.includes(text)), own, 'own lines in order and once');
  assert.match(await away.get('marker-missed').textContent(), /12/);
  await until('own lines to reach the others', () => lines(home), (all) => own.every((text) => all.filter((line) => line === text).length === 1));
  assert.equal(await away.page.locator('[data-testid=line][data-waiting=true]').count(), 0);
});

test('a cut connection comes back by itself', async (t) => {
  const wire = await proxy(base);
  t.after(() => wire.close());
  const window = await visit(t, browser, wire.url);
  for (let turn = 0; turn < 3; turn += 1) {
    wire.cut();
    await window.page.locator('[data-testid=status]:not([data-state=connected])').waitFor();
    wire.heal();
    await connected(window);
  }
  const text = unique('still here');
  await say(window, text);
  await until('a line to be said', () => lines(window), (all) => all.includes(text));
});

test('the gate closes and opens', async (t) => {
  const window = await visit(t, browser);
  await window.get('gate').click();
  await window.page.locator('[data-testid=status][data-state=closed]').waitFor();
  await window.get('gate').click();
  await connected(window);
});

test('the wire lists frames of every kind, and draws one bit by bit', async (t) => {
  const window = await visit(t, browser);
  const text = unique('seen on the wire');
  await say(window, text);
  for (const kind of ['market', 'game', 'protocol', 'chat']) {
    await window.get(`filter-${kind}`).click();
    await until(`frames of ${kind}`, () => window.get('frame-row').count(), (n) => n > 0);
    const kinds = await window.get('frame-row').evaluateAll((rows) => rows.map((row) => row.dataset.about));
    assert.ok(kinds.every((about) => about === kind), `${kind}: ${kinds}`);
  }
  await window.get('filter-sent').click();
  await window.get('frame-row').filter({ hasText: text }).first().click();
  const payload = await window.get('frame-text').textContent();
  assert.ok(payload.includes(text), payload);
  const { octets, opcode } = await window.get('frame-drawing').evaluate((drawing) => ({ ...drawing.dataset }));
  assert.equal(Number(opcode), 1);
  assert.match(octets, /\d/);
  for (const word of ['FIN', 'RSV1', 'opcode', 'MASK']) {
    assert.ok((await window.get('frame-view').textContent()).toLowerCase().includes(word.toLowerCase()), `the drawing names ${word}`);
  }
  assert.match(await window.get('request-head').textContent(), /^GET \/connection\/websocket\?wire=\S+ HTTP\/1\.1[^]*Sec-WebSocket-Key: /i);
  assert.match(await window.get('response-head').textContent(), /^HTTP\/1\.1 101 [^]*Sec-WebSocket-Accept: /i);
  await window.page.locator('[data-testid=derivation][data-equal=true]').waitFor();
  assert.deepEqual(window.errors, []);
});

test('the octets shown are the octets that passed', async (t) => {
  const wire = await proxy(base);
  t.after(() => wire.close());
  const window = await open(t, browser, 'about:blank');
  // Keeps what each of the page's observer sockets receives: direction, eight octets of time, octets.
  await window.page.addInitScript(() => {
    const Native = window.WebSocket;
    window.observers = [];
    window.WebSocket = class extends Native {
      constructor(url, ...rest) {
        super(url, ...rest);
        const key = /\/wire\?key=(\w+)/.exec(url)?.[1];
        if (!key) return;
        const observer = { key, octets: { 0: [], 1: [] } };
        window.observers.push(observer);
        this.addEventListener('message', ({ data }) => {
          const octets = new Uint8Array(data);
          // One by one: as arguments of a single call they would be too many, once a write holds 64 KiB.
          for (const octet of octets.subarray(9)) observer.octets[octets[0]].push(octet);
        });
      }
    };
  });
  await window.page.goto(wire.url);
  await connected(window);
  await say(window, unique('captured'));
  const observer = await until('enough octets observed', () => window.page.evaluate(() => window.observers.at(-1)), ({ octets }) => octets[0].length > 4000 && octets[1].length > 20_000);
  const capture = wire.captures.find(({ sent }) => sent.subarray(0, 200).includes(`?wire=${observer.key} HTTP`));
  assert.ok(capture, 'the connection passed the proxy');
  for (const [direction, captured] of [[0, capture.sent], [1, capture.received]]) {
    const seen = observer.octets[direction];
    const length = Math.min(seen.length, captured.length);
    assert.ok(length > 4000, `${length} octets to compare`);
    const at = seen.findIndex((octet, n) => n < length && octet !== captured[n]);
    const near = (octets) => Buffer.from(octets.slice(Math.max(0, at - 40), at + 40)).toString('latin1');
    assert.equal(at, -1, `direction ${direction}: octet ${at} of ${length} differs\nseen:   ${near(seen)}\npassed: ${near([...captured])}`);
  }
});

test('WebSocket and polling are compared with numbers', async (t) => {
  const window = await visit(t, browser);
  await window.get('poll-interval').selectOption('250');
  for (const id of ['ws-bytes', 'http-bytes', 'ws-rate', 'http-rate', 'ws-delay', 'http-delay']) {
    await until(`a number in ${id}`, () => window.get(id).textContent(), (text) => /\d/.test(text));
  }
  const bytes = async (id) => Number((await window.get(id).textContent()).replace(/\D/g, ''));
  const [pushed, polled] = [await bytes('ws-bytes'), await bytes('http-bytes')];
  assert.ok(pushed > 40 && pushed < polled, `a push costs fewer octets than a poll: ${pushed}, ${polled}`);
  await until('a verdict', () => window.get('verdict').textContent(), (text) => /\d/.test(text));
});

test('it fits a desk and a phone, in light and in dark', async (t) => {
  const shapes = { desk: { width: 1280, height: 1000 }, phone: { width: 390, height: 844 }, narrow: { width: 320, height: 640 } };
  const backgrounds = {};
  for (const [shape, viewport] of Object.entries(shapes)) {
    for (const colorScheme of ['light', 'dark']) {
      const window = await visit(t, browser, base, { viewport, colorScheme });
      await until('prices', () => window.get('quote-price').textContent(), (text) => /\d/.test(text));
      backgrounds[colorScheme] = await window.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const parts = shape === 'desk' ? ['all'] : ['market', 'game', 'chat', 'wire'];
      for (const part of parts) {
        if (part !== 'all') await window.get(`tab-${part}`).click();
        await window.page.waitForTimeout(300);
        const [content, screen] = await window.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(content <= screen, `${shape} ${part}: ${content} px wide on ${screen}`);
        await window.page.screenshot({ path: `${pictures}/${shape}-${colorScheme}-${part}.png`, fullPage: part === 'all' });
      }
      assert.deepEqual(window.errors, []);
      await window.context.close();
    }
  }
  assert.notEqual(backgrounds.light, backgrounds.dark);
});
