//! The harbour part: each window is a boat that publishes where it is; the others are drawn a moment late and therefore smoothly.
import { $, say, loop, palette, Rate, calm, isDark } from './dom.js';
import { WORLD, depth, lights, drawSea } from './sea.js';

const MOVING = 40, IDLE = 500;      // ms between own publications: 25 and 2 a second
const SILENCE = 3000;               // ms after which a boat is gone
const LATE = 110;                   // ms: others are shown in this past, between two known places
const SPEED = 210;                  // world units a second

export function startGame(client, person) {
  const canvas = $('arena');
  const ink = palette($('game'));
  const font = getComputedStyle(document.documentElement).getPropertyValue('--sans');
  const me = { ...spawn(), hue: Math.floor(Math.random() * 360), angle: 0, wake: [], score: 0 };
  const others = new Map();
  const taken = new Map();          // light key -> when it went
  const rings = [];
  const keys = new Set();
  const sent = new Rate(1000), received = new Rate(1000);
  let target = null, moved = 0, published = 0, took = null, sea = null;

  const arena = client.subscribe('game:arena', { joinLeave: true, data: { delivery: 'latest' } });   // where a boat was is no use: a slow link gets the newest place of each
  arena.addEventListener('leave', ({ detail }) => others.delete(detail.client));
  arena.addEventListener('publication', ({ detail: { data } }) => {
    if (!data?.id || data.id === me.id) return;
    if (![data.x, data.y, data.t].every(Number.isFinite)) return;
    received.add();
    place(data);
  });

  function place({ id, name, x, y, hue, t, took: key }) {
    const now = performance.now();
    let boat = others.get(id);
    if (!boat) others.set(id, boat = { track: [], wake: [], x, y, angle: 0, lag: Infinity });
    boat.name = String(name ?? '').slice(0, 24);
    boat.hue = Number(hue) || 0;
    boat.heard = now;
    boat.lag = Math.min(boat.lag + 0.5, now - t);           // the quickest delivery tells their clock from ours
    boat.track.push({ x: clamp(x, WORLD.width), y: clamp(y, WORLD.height), t });
    if (boat.track.length > 40) boat.track.shift();
    if (typeof key === 'string') take(key.slice(0, 24), boat);
  }

  function take(key, boat) {
    if (taken.has(key)) return false;
    taken.set(key, Date.now());
    for (const [old, at] of taken) if (Date.now() - at > 60_000) taken.delete(old);
    rings.push({ x: boat.x, y: boat.y, born: performance.now(), hue: boat.hue });
    return true;
  }

  function publish(now) {
    const moving = now - moved < 120;
    const every = moving || took ? MOVING : IDLE;
    if (arena.state !== 'subscribed' || now < published + every) return;
    published = Math.max(published + every, now - every);     // timers are late: catch up, so that the mean holds
    me.id = client.id;
    const data = { id: client.id, name: person.name, x: Math.round(me.x * 10) / 10, y: Math.round(me.y * 10) / 10, hue: me.hue, t: Math.round(now) };
    if (took) data.took = took;
    took = null;
    sent.add();
    arena.publish(data).catch(() => {});
  }

  function steer(seconds) {
    let dx = 0, dy = 0;
    if (keys.size) {
      dx = keys.has('right') - keys.has('left');
      dy = keys.has('down') - keys.has('up');
      target = null;
    } else if (target) {
      dx = target.x - me.x;
      dy = target.y - me.y;
    }
    const far = Math.hypot(dx, dy);
    if (far < (target ? 3 : 0.1)) return;
    const step = Math.min(SPEED * seconds, target ? far : Infinity, target ? far * seconds * 6 + 1 : Infinity);
    const to = { x: clamp(me.x + dx / far * step, WORLD.width), y: clamp(me.y + dy / far * step, WORLD.height) };
    const [x, y] = [[to.x, to.y], [to.x, me.y], [me.x, to.y]].find(([a, b]) => depth(a, b) > 0.4) ?? [me.x, me.y];
    if (Math.hypot(x - me.x, y - me.y) < 0.05) return;
    me.angle = turn(me.angle, Math.atan2(y - me.y, x - me.x), seconds * 9);
    Object.assign(me, { x, y });
    moved = performance.now();
  }

  function catchLights() {
    for (const light of lights(Date.now())) {
      if (light.glow < 0.3 || taken.has(light.key) || Math.hypot(light.x - me.x, light.y - me.y) > 26) continue;
      take(light.key, me);
      took = light.key;
      me.score++;
    }
  }

  /** Where a boat was `LATE` ms ago by its own clock. */
  function follow(boat, now, seconds) {
    const at = now - boat.lag - LATE;
    const next = boat.track.findIndex(({ t }) => t > at);
    const a = boat.track[next < 0 ? boat.track.length - 1 : Math.max(0, next - 1)], b = next < 0 ? a : boat.track[next];
    const part = b.t === a.t ? 1 : Math.max(0, (at - a.t) / (b.t - a.t));
    const [x, y] = [a.x + (b.x - a.x) * part, a.y + (b.y - a.y) * part];
    if (Math.hypot(x - boat.x, y - boat.y) > 0.3) boat.angle = turn(boat.angle, Math.atan2(y - boat.y, x - boat.x), seconds * 9);
    Object.assign(boat, { x, y });
  }

  // Time goes on when nothing is drawn: a window in the background still says where its boat lies.
  let before = performance.now();
  setInterval(() => {
    const now = performance.now();
    steer(Math.min(0.1, (now - before) / 1000));
    before = now;
    catchLights();
    publish(now);
  }, 20);

  setInterval(() => {
    const now = performance.now();
    for (const [id, boat] of others) if (now - boat.heard > SILENCE) others.delete(id);
    say($('players'), String(others.size + 1));
    say($('score'), String(me.score));
    say($('game-out'), sent.get(now).toFixed(0));
    say($('game-in'), received.get(now).toFixed(0));
  }, 250);

  let frame = performance.now();
  loop(canvas, (context, width, height, now) => {
    const seconds = Math.min(0.1, (now - frame) / 1000);
    frame = now;
    const scale = width / WORLD.width;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    if (sea?.width !== Math.round(width * ratio) || sea.dark !== isDark()) sea = Object.assign(drawSea(width, height, ratio, ink, font), { dark: isDark() });
    context.drawImage(sea, 0, 0, width, height);
    for (const light of lights(Date.now())) if (!taken.has(light.key)) lantern(context, light, scale, now);
    for (const boat of others.values()) { follow(boat, now, seconds); hull(context, boat, scale, now); }
    hull(context, me, scale, now, true);
    ripples(context, scale, now);
  });

  function lantern(context, { x, y, glow }, scale, now) {
    const pulse = calm.matches ? 1 : 0.85 + 0.15 * Math.sin(now / 300 + x);
    const [px, py, size] = [x * scale, y * scale, Math.max(11, 26 * scale) * pulse];
    const light = context.createRadialGradient(px, py, 0, px, py, size);
    light.addColorStop(0, ink('lamp-1')); light.addColorStop(1, ink('lamp-0'));
    context.globalAlpha = glow;
    context.fillStyle = light;
    context.beginPath(); context.arc(px, py, size, 0, 7); context.fill();
    context.fillStyle = ink('lamp');
    context.beginPath(); context.arc(px, py, 2.6, 0, 7); context.fill();
    context.globalAlpha = 1;
  }

  function hull(context, boat, scale, now, own = false) {
    const { wake } = boat;
    if (!wake.length || Math.hypot(wake.at(-1).x - boat.x, wake.at(-1).y - boat.y) > 5) wake.push({ x: boat.x, y: boat.y, at: now });
    while (wake.length && now - wake[0].at > 1600) wake.shift();
    context.lineCap = 'round';
    for (let i = 1; i < wake.length; i++) {
      context.globalAlpha = 0.5 * (1 - (now - wake[i].at) / 1600);
      context.strokeStyle = ink('wake'); context.lineWidth = 1 + (now - wake[i].at) / 260;
      context.beginPath(); context.moveTo(wake[i - 1].x * scale, wake[i - 1].y * scale); context.lineTo(wake[i].x * scale, wake[i].y * scale); context.stroke();
    }
    context.globalAlpha = 1;
    const size = Math.max(10, 24 * scale);
    context.save();
    context.translate(boat.x * scale, boat.y * scale);
    context.rotate(boat.angle);
    context.beginPath();
    context.moveTo(size * 1.25, 0);
    context.quadraticCurveTo(size * 0.5, size * 0.72, -size * 0.85, size * 0.5);
    context.lineTo(-size * 0.85, -size * 0.5);
    context.quadraticCurveTo(size * 0.5, -size * 0.72, size * 1.25, 0);
    context.fillStyle = tint(boat.hue); context.fill();
    context.strokeStyle = own ? ink('ink') : ink('hull'); context.lineWidth = own ? 2 : 1.25; context.stroke();
    context.fillStyle = ink('hull');
    context.beginPath(); context.arc(-size * 0.1, 0, size * 0.2, 0, 7); context.fill();
    context.restore();
    context.font = `${own ? '600 ' : ''}11px ${font}`;
    context.textAlign = 'center'; context.textBaseline = 'alphabetic'; context.lineJoin = 'round';
    const [x, y] = [Math.min(Math.max(boat.x * scale, 24), WORLD.width * scale - 24), boat.y * scale < 34 ? boat.y * scale + size + 16 : boat.y * scale - size - 6];
    context.strokeStyle = ink('halo'); context.lineWidth = 3; context.strokeText(own ? 'you' : boat.name, x, y);
    context.fillStyle = ink('ink'); context.fillText(own ? 'you' : boat.name, x, y);
  }

  function ripples(context, scale, now) {
    while (rings.length && now - rings[0].born > 900) rings.shift();
    for (const { x, y, born, hue } of rings) {
      const age = Math.max(0, now - born) / 900;      // a frame may carry an earlier time than the catch
      context.strokeStyle = tint(hue); context.globalAlpha = 1 - age; context.lineWidth = 2;
      context.beginPath(); context.arc(x * scale, y * scale, 6 + age * 34, 0, 7); context.stroke();
    }
    context.globalAlpha = 1;
  }

  const aim = (event) => {
    if (event.pointerType === 'touch' && !event.buttons && event.type === 'pointermove') return;
    target = { x: event.offsetX / canvas.clientWidth * WORLD.width, y: event.offsetY / canvas.clientHeight * WORLD.height };
    $('arena-hint').dataset.done = '';
  };
  canvas.addEventListener('pointerdown', (event) => { canvas.setPointerCapture(event.pointerId); aim(event); });
  canvas.addEventListener('pointermove', aim);
  canvas.addEventListener('pointerleave', () => { target = null; });
  const KEYS = { w: 'up', a: 'left', s: 'down', d: 'right', ArrowUp: 'up', ArrowLeft: 'left', ArrowDown: 'down', ArrowRight: 'right' };
  canvas.addEventListener('keydown', (event) => {
    const way = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys.add(way);
    $('arena-hint').dataset.done = '';
  });
  canvas.addEventListener('keyup', (event) => keys.delete(KEYS[event.key] ?? KEYS[event.key.toLowerCase()]));
  canvas.addEventListener('blur', () => keys.clear());

  return { me, others, tint: () => tint(me.hue) };
}

const clamp = (value, limit) => Math.min(Math.max(value, 8), limit - 8);
const tint = (hue) => `oklch(${isDark() ? 0.76 : 0.66} 0.15 ${hue})`;
function spawn() {
  let x, y;
  do { x = 150 + Math.random() * 700; y = 120 + Math.random() * 760; } while (depth(x, y) < 4);
  return { x, y };
}
function turn(from, to, most) {
  const difference = ((to - from + Math.PI * 3) % (Math.PI * 2)) - Math.PI;
  return from + Math.max(-most, Math.min(most, difference));
}
