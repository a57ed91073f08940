//! The waterline: server on the left, this page on the right, a gate between; each message passes as a bubble, and a lost connection shuts the gate.
import { $, loop, palette, calm, say, Rate } from './dom.js';

const KEPT = 160;        // bubbles at once on a wide screen

export function startWaterline(client) {
  const canvas = $('waterline');
  const ink = palette(canvas.parentElement);
  const rates = { in: new Rate(), out: new Rate() };
  let bubbles = [];
  let lift = 0;          // 0 shut, 1 open
  let level = 0;         // how far the right side has run low

  client.addEventListener('traffic', ({ detail: { direction, text } }) => {
    const lines = text.split('\n').length;
    for (let i = 0; i < lines; i++) {
      rates[direction].add();
      if (!calm.matches && bubbles.length < Math.min(KEPT, canvas.clientWidth / 9)) bubbles.push({ direction, at: -i * 0.02, size: 1.4 + Math.min(3.4, Math.log2(text.length / lines / 24 + 1)), lane: Math.random(), speed: 0.34 + Math.random() * 0.12 });
    }
  });
  setInterval(() => {
    say($('rate-in'), rates.in.get().toFixed(0));
    say($('rate-out'), rates.out.get().toFixed(0));
  }, 500);

  let before = 0;
  loop(canvas, (context, width, height, now) => {
    const seconds = calm.matches ? 1 : Math.min(0.1, (now - before) / 1000);
    before = now;
    const open = client.state === 'connected' ? 1 : 0;
    lift += (open - lift) * Math.min(1, seconds * 5);
    level += (1 - open - level) * Math.min(1, seconds * 1.5);
    const time = calm.matches ? 0 : now / 1000;
    const swell = 1.6 + Math.min(3, rates.in.get() / 40);
    const middle = Math.round(width / 2), low = height * 0.2;
    const surface = (x, layer = 0) => {
      const right = 1 / (1 + Math.exp((middle - x) / 5));
      return height * 0.36 + right * level * low - layer * 6 + swell * (1 - right * level * 0.8) * (Math.sin(x / 61 + time * 1.3 + layer * 2) + 0.6 * Math.sin(x / 27 - time * 1.9 + layer));
    };
    for (const layer of [1, 0]) {
      context.beginPath();
      context.moveTo(0, height);
      for (let x = 0; x <= width + 6; x += 6) context.lineTo(x, surface(x, layer));
      context.lineTo(width, height);
      context.fillStyle = ink(layer ? 'water-veil' : 'water-top');
      context.fill();
    }
    bubbles = bubbles.filter((bubble) => bubble.at < 1 && (lift > 0.4 || Math.abs(bubble.at - 0.5) > 0.04));
    for (const bubble of bubbles) {
      bubble.at += bubble.speed * seconds;
      if (bubble.at < 0) continue;
      const along = bubble.direction === 'in' ? bubble.at : 1 - bubble.at;
      const x = along * width, top = surface(x) + 9;
      const y = top + bubble.lane * Math.max(4, height - top - (height > 60 ? 40 : 6)) + Math.sin(bubble.at * 12 + bubble.lane * 9) * 2;
      context.globalAlpha = Math.min(1, bubble.at * 8, (1 - bubble.at) * 8);
      context.beginPath(); context.arc(x, y, bubble.size * (height > 60 ? 1 : 0.7), 0, 7);
      if (bubble.direction === 'in') { context.fillStyle = ink('foam'); context.fill(); } else { context.strokeStyle = ink('sent'); context.lineWidth = 1.5; context.stroke(); }
    }
    context.globalAlpha = 1;
    gate(context, middle, height, surface(middle));
  }, 40);

  /** Two posts, a beam, and the board that is lifted out of the water. */
  function gate(context, x, height, water) {
    const half = 15, top = 5, board = height - top - 6;
    const y = top + 4 - lift * (board - Math.max(8, water - top - 12));
    context.save();
    context.beginPath(); context.rect(x - half, top, half * 2, height); context.clip();
    context.fillStyle = ink('buoy');
    context.beginPath(); context.roundRect(x - half + 4, y, half * 2 - 8, board, 2); context.fill();
    context.strokeStyle = ink('water-top'); context.lineWidth = 1; context.globalAlpha = 0.5;
    for (let rib = y + 8; rib < y + board; rib += 8) { context.beginPath(); context.moveTo(x - half + 4, rib); context.lineTo(x + half - 4, rib); context.stroke(); }
    context.restore();
    context.strokeStyle = ink('post'); context.lineWidth = 3; context.lineCap = 'round';
    context.beginPath(); context.moveTo(x - half, top); context.lineTo(x - half, height); context.moveTo(x + half, top); context.lineTo(x + half, height); context.moveTo(x - half - 5, top); context.lineTo(x + half + 5, top); context.stroke();
  }
}
