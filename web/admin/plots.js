//! Draws time series on canvas: lines over the last minutes with a crosshair. It keeps no data.

const font = '11px ui-monospace, "SF Mono", "DejaVu Sans Mono", "Liberation Mono", monospace';

/** Round steps of 1, 2 or 5 that give about `n` lines up to `high`. */
function steps(high, n) {
  const raw = high / n, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((k) => k * power >= raw);
  return Array.from({ length: Math.floor(high / step) + 1 }, (_, i) => i * step);
}

/**
 * A plot in `section`: `series` are `{ name, ink, read, fill }`, where `read(sample, before)` gives a number or null.
 * `format` writes a value; `floor` is the least upper end of the scale. A series with `own` has a scale of its own, unmarked.
 */
export class Plot {
  #pointer = null;

  constructor(section, { series, format, floor = 1, span = 300_000, ink }) {
    Object.assign(this, { series, format, floor, span, ink });
    this.canvas = section.querySelector('canvas');
    this.reading = section.querySelector('[data-reading]');
    this.canvas.addEventListener('pointermove', (event) => { this.#pointer = event.offsetX; this.draw(); });
    this.canvas.addEventListener('pointerleave', () => { this.#pointer = null; this.draw(); });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    this.samples = [];
  }

  show(samples) {
    this.samples = samples;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const [w, t] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== t) Object.assign(this.canvas, { width: w, height: t });
    const context = this.canvas.getContext('2d');
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.#paint(context, width, height);
  }

  #paint(context, width, height) {
    const now = this.samples.at(-1)?.at ?? Date.now();
    // A server that has just begun fills the plot too: one minute at first, more as there is more to show.
    const age = Math.ceil((now - (this.samples[0]?.at ?? now)) / 60_000) * 60_000;
    const span = Math.min(this.span, Math.max(60_000, age));
    const from = now - span;
    const shown = this.samples.filter((sample) => sample.at >= from - 2000);
    const lines = this.series.map((one) => ({ ...one, points: shown.map((sample, i) => [sample.at, i || !one.needsBefore ? one.read(sample, shown[i - 1]) : null]).filter(([, value]) => value != null) }));
    const most = (some) => Math.max(...some.flatMap(({ points }) => points.map(([, value]) => value)), 0);
    const high = Math.max(this.floor, most(lines.filter(({ own }) => !own))) * 1.12;
    context.font = font;
    const marks = steps(high, height > 130 ? 4 : 2);
    const left = Math.max(...marks.map((mark) => context.measureText(this.format(mark)).width)) + 12;
    const right = width - 6, bottom = height - 20, top = 6;
    const x = (at) => left + ((at - from) / span) * (right - left);
    const y = (value, scale = high) => bottom - (value / scale) * (bottom - top);

    context.lineWidth = 1;
    context.textBaseline = 'middle';
    context.textAlign = 'right';
    for (const mark of marks) {
      const line = Math.round(y(mark)) + 0.5;
      context.strokeStyle = this.ink(mark ? 'line' : 'rule');
      context.beginPath(); context.moveTo(left, line); context.lineTo(right, line); context.stroke();
      context.fillStyle = this.ink('ink-2');
      context.fillText(this.format(mark), left - 8, Math.max(line, 7));
    }
    context.textAlign = 'center';
    const apart = span <= 60_000 ? 20_000 : span <= 180_000 || right - left > 330 ? 60_000 : 120_000;
    for (let back = 0; back <= span; back += apart) {
      const at = x(now - back);
      context.fillStyle = this.ink('ink-2');
      context.textAlign = back === 0 ? 'right' : back === span ? 'left' : 'center';
      context.fillText(back ? `−${back % 60_000 ? `${back / 1000} s` : `${back / 60_000} min`}` : 'now', at, height - 7);
    }

    context.save();
    context.beginPath(); context.rect(left, 0, right - left, bottom + 1); context.clip();
    for (const line of lines) {
      const { points, ink, fill, own } = line;
      if (points.length < 2) continue;
      const scale = own ? most([line]) * 1.4 : high;
      context.beginPath();
      points.forEach(([at, value], i) => context[i ? 'lineTo' : 'moveTo'](x(at), y(value, scale)));
      context.lineWidth = 1.6;
      context.lineJoin = 'round';
      context.strokeStyle = this.ink(ink);
      context.stroke();
      if (fill) {
        context.lineTo(x(points.at(-1)[0]), bottom); context.lineTo(x(points[0][0]), bottom); context.closePath();
        context.globalAlpha = 0.13;
        context.fillStyle = this.ink(ink);
        context.fill();
        context.globalAlpha = 1;
      }
    }
    context.restore();
    this.#read(context, lines, { x, left, right, top, bottom, now });
  }

  /** The values under the pointer, or the newest ones. */
  #read(context, lines, { x, left, right, top, bottom, now }) {
    const pointer = this.#pointer != null && this.#pointer >= left && this.#pointer <= right ? this.#pointer : null;
    let when = null;
    const parts = lines.map(({ name, ink, points, format }) => {
      const nearest = pointer == null ? points.at(-1) : points.reduce((best, point) => (!best || Math.abs(x(point[0]) - pointer) < Math.abs(x(best[0]) - pointer) ? point : best), null);
      when = nearest?.[0] ?? when;
      const text = nearest ? (format ?? this.format)(nearest[1]) : '–';
      const part = document.createElement('span');
      part.dataset.ink = ink;
      part.append(`${name} `, Object.assign(document.createElement('b'), { textContent: text }));
      return part;
    });
    this.reading.replaceChildren(...parts);
    if (pointer == null || when == null) return;
    const at = Math.round(x(when)) + 0.5;
    context.strokeStyle = this.ink('ink-2');
    context.lineWidth = 1;
    context.setLineDash([3, 3]);
    context.beginPath(); context.moveTo(at, top); context.lineTo(at, bottom); context.stroke();
    context.setLineDash([]);
    this.reading.append(` ${Math.round((now - when) / 1000)} s ago`);
  }
}
