//! Draws price series on canvas: the large chart with its axis and crosshair, and the sparklines; it keeps no data.

const MINUTE = 60_000;
export const places = (price) => (price < 5 ? 5 : price < 50 ? 3 : 2);
export const money = (price) => price.toLocaleString('en-US', { minimumFractionDigits: places(price), maximumFractionDigits: places(price) });

function range(points) {
  let low = Infinity, high = -Infinity;
  for (const { price } of points) { if (price < low) low = price; if (price > high) high = price; }
  const room = (high - low || Math.abs(high) * 0.001) * 0.12;
  return [low - room, high + room];
}

/** Round steps of 1, 2 or 5 that give about `count` lines. */
function steps(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((n) => n * power >= raw);
  const lines = [];
  for (let i = Math.ceil(low / step); i * step < high; i++) lines.push(i * step);
  return lines;
}

const trace = (context, points, x, y) => {
  context.beginPath();
  points.forEach((point, i) => context[i ? 'lineTo' : 'moveTo'](x(point.ts), y(point.price)));
};

/** The last minute before `now` (server time). `pointer` is an x position or null. */
export function drawChart(context, width, height, { points, now, pointer, ink, font }) {
  const shown = points.filter((point) => point.ts > now - MINUTE - 2000);
  if (shown.length < 2) return;
  const [low, high] = range(shown);
  context.font = font;
  const axis = Math.ceil(context.measureText(money(high)).width) + 16, right = width - axis, bottom = height - 22;
  const x = (ts) => right - 10 - ((now - ts) / MINUTE) * (right - 10);
  const y = (price) => bottom - ((price - low) / (high - low)) * (bottom - 8);
  const last = shown.at(-1);

  context.textBaseline = 'middle';
  context.lineWidth = 1;
  context.strokeStyle = ink('line');
  context.fillStyle = ink('ink-2');
  for (const price of steps(low, high, height > 220 ? 5 : 3)) {
    const at = Math.round(y(price)) + 0.5;
    context.beginPath(); context.moveTo(0, at); context.lineTo(right, at); context.stroke();
    if (Math.abs(at - y(last.price)) > 13) context.fillText(money(price), right + 8, at);
  }
  context.textAlign = 'center';
  for (let ts = Math.ceil((now - MINUTE) / 15_000) * 15_000; ts < now; ts += 15_000) {
    const at = Math.round(x(ts)) + 0.5;
    context.beginPath(); context.moveTo(at, bottom); context.lineTo(at, bottom + 4); context.stroke();
    if (at > 24 && at < right - 24) context.fillText(clock(ts), at, bottom + 13);
  }
  context.textAlign = 'left';

  context.save();
  context.beginPath(); context.rect(0, 0, right, bottom); context.clip();
  trace(context, shown, x, y);
  context.lineTo(x(last.ts), bottom); context.lineTo(x(shown[0].ts), bottom); context.closePath();
  const water = context.createLinearGradient(0, 0, 0, bottom);
  water.addColorStop(0, ink('water-1')); water.addColorStop(1, ink('water-0'));
  context.fillStyle = water; context.fill();
  trace(context, shown, x, y);
  context.strokeStyle = ink('tide'); context.lineWidth = 1.75; context.lineJoin = 'round'; context.stroke();
  context.restore();

  const at = y(last.price);
  context.strokeStyle = ink('buoy'); context.lineWidth = 1;
  context.setLineDash([2, 4]); context.beginPath(); context.moveTo(x(last.ts), at); context.lineTo(right, at); context.stroke(); context.setLineDash([]);
  context.fillStyle = ink('buoy');
  context.beginPath(); context.arc(x(last.ts), at, 3.5, 0, 7); context.fill();
  context.beginPath(); context.roundRect(right + 2, at - 10, axis - 3, 20, 3); context.fill();
  context.fillStyle = ink('on-buoy');
  context.fillText(money(last.price), right + 8, at + 0.5);

  if (pointer != null && pointer < right) crosshair(context, shown, { x, y, pointer, right, bottom, ink });
}

function crosshair(context, shown, { x, y, pointer, right, bottom, ink }) {
  const point = shown.reduce((best, p) => (Math.abs(x(p.ts) - pointer) < Math.abs(x(best.ts) - pointer) ? p : best));
  const text = `${money(point.price)}  ${clock(point.ts)}`;
  const wide = context.measureText(text).width + 16;
  const left = Math.min(Math.max(x(point.ts) - wide / 2, 0), right - wide);
  context.strokeStyle = ink('ink-2');
  context.beginPath(); context.moveTo(x(point.ts), 24); context.lineTo(x(point.ts), bottom); context.stroke();
  context.fillStyle = ink('ink');
  context.beginPath(); context.arc(x(point.ts), y(point.price), 3, 0, 7); context.fill();
  context.beginPath(); context.roundRect(left, 2, wide, 22, 3); context.fill();
  context.fillStyle = ink('panel');
  context.fillText(text, left + 8, 13.5);
}

export function drawSpark(context, width, height, points, colour) {
  const shown = points.slice(-80);
  if (shown.length < 2) return;
  const [low, high] = range(shown);
  const [from, to] = [shown[0].ts, shown.at(-1).ts];
  trace(context, shown, (ts) => ((ts - from) / (to - from || 1)) * (width - 3) + 1, (price) => height - 2 - ((price - low) / (high - low)) * (height - 4));
  context.strokeStyle = colour; context.lineWidth = 1.25; context.lineJoin = 'round'; context.stroke();
}

const clock = (ts) => new Date(ts).toLocaleTimeString('en-GB');
