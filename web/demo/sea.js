//! The harbour itself: depth at a place, the chart drawn from it, and the lights that all windows compute alike; pure but for drawing.

export const WORLD = { width: 1000, height: 1000 };

/** Depth in metres; below zero is land. The same everywhere: it is only a formula. */
export function depth(x, y) {
  const u = x / 100, v = y / 100;
  const coast = 10 - 9 * Math.exp(-((u - 0.2) ** 2 + (v - 0.4) ** 2) / 3.4) * 2.1 - 9 * Math.exp(-((u - 10) ** 2 / 5 + (v - 9.8) ** 2 / 4.2)) * 2.2;
  const island = -14.5 * Math.exp(-((u - 6.3) ** 2 / 0.55 + (v - 3.1) ** 2 / 0.3)) - 12.5 * Math.exp(-((u - 3) ** 2 / 0.25 + (v - 6.9) ** 2 / 0.4));
  return coast + island + 1.5 * Math.sin(u * 1.3 + v * 0.7) + 1.1 * Math.sin(v * 1.9 - u * 0.6 + 1) + 0.45 * Math.sin(u * 3.7 + 2) * Math.sin(v * 4.1);
}

/** Lights: `COUNT` lanes; in each a new light every `LIFE` ms at a place drawn from lane and turn. */
const COUNT = 7, LIFE = 14_000;
export function lights(now) {
  return Array.from({ length: COUNT }, (_, lane) => {
    const shifted = now + lane * (LIFE / COUNT);
    const turn = Math.floor(shifted / LIFE), age = (shifted % LIFE) / LIFE;
    let x, y, n = 0;
    do { x = 40 + hash(lane, turn, n++) * 920; y = 40 + hash(lane, turn, n++) * 920; } while (depth(x, y) < 3 && n < 40);
    return { key: `${lane}:${turn}`, x: x + 10 * Math.sin(age * 9 + lane), y: y + 6 * Math.cos(age * 7 + lane), glow: Math.min(1, age * 12, (1 - age) * 8) };
  });
}

function hash(a, b, c) {
  let n = Math.imul(a + 1, 0x9e3779b1) ^ Math.imul(b % 0x7fffffff, 0x85ebca6b) ^ Math.imul(c + 1, 0xc2b2ae35);
  n = Math.imul(n ^ (n >>> 15), 0x2c1b3c6d);
  n = Math.imul(n ^ (n >>> 12), 0x297a2d39);
  return ((n ^ (n >>> 15)) >>> 0) / 2 ** 32;
}

/** The nautical chart: land, shoals, depth contours and soundings, drawn once for a size and theme. */
export function drawSea(width, height, ratio, ink, font) {
  const canvas = document.createElement('canvas');
  const [w, t] = [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext('2d');
  const image = context.createImageData(w, t);
  const tone = Object.fromEntries(['land', 'coast', 'shoal', 'shelf', 'deep', 'contour'].map((name) => [name, rgb(ink(name))]));
  const scale = WORLD.width / w;
  const row = new Float32Array(w + 1);
  for (let j = 0; j < t; j++) {
    for (let i = 0; i <= w; i++) row[i] = depth(i * scale, j * scale);
    for (let i = 0; i < w; i++) {
      const d = row[i], slope = Math.hypot(row[i + 1] - d, depth(i * scale, (j + 1) * scale) - d) || 1e-6;
      const fill = d < 0 ? tone.land : d < 2.5 ? tone.shoal : d < 6 ? tone.shelf : tone.deep;
      const near = (level, wide) => Math.max(0, Math.min(1, wide - Math.abs(d - level) / slope));
      const coast = near(0, 1.1 * ratio), contour = Math.max(near(2.5, 0.9), near(6, 0.9), near(9, 0.9), near(11, 0.9)) * 0.85;
      const line = coast > contour ? tone.coast : tone.contour, mix = Math.max(coast, contour), at = (j * w + i) * 4;
      for (let k = 0; k < 3; k++) image.data[at + k] = fill[k] + (line[k] - fill[k]) * mix;
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  context.scale(ratio, ratio);
  soundings(context, width, height, ink, font);
  return canvas;
}

function soundings(context, width, height, ink, font) {
  context.fillStyle = ink('sounding');
  context.font = `italic 10px ${font}`;
  context.textAlign = 'center';
  for (let n = 0, y = 34; y < height - 20; y += 58) {
    for (let x = 40 + (n++ % 2) * 38; x < width - 24; x += 76) {
      const at = depth(x / width * WORLD.width, y / height * WORLD.height);
      if (at > 1.2) context.fillText(String(Math.round(at)), x, y);
    }
  }
}

const rgb = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number);
