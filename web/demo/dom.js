//! The few DOM helpers all parts share: look-up, making elements, colours for canvas, and a polite drawing loop.

/** The element with this `data-testid`: one name serves the code and the tests. */
export const $ = (testid, root = document) => root.querySelector(`[data-testid="${testid}"]`);

/** Makes an element: `h('p', { class: 'note', onclick }, 'text', child)`. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (/^(data|aria)-/.test(name)) { if (value !== undefined) element.setAttribute(name, String(value)); }
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Writes text only when it changed, so that idle numbers cost no layout. */
export function say(element, text) {
  if (element.firstChild?.nodeValue !== text || element.childNodes.length > 1) element.textContent = text;
}

export const store = {
  get(key) { try { return localStorage.getItem(`tidegate.${key}`); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(`tidegate.${key}`, value); } catch { /* private mode: forget */ } },
};

export const calm = matchMedia('(prefers-reduced-motion: reduce)');

const dark = matchMedia('(prefers-color-scheme: dark)');
export const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? 'dark' : 'light')) === 'dark';
export function onTheme(handler) {
  dark.addEventListener('change', handler);
  new MutationObserver(handler).observe(document.documentElement, { attributeFilter: ['data-theme'] });
}

/** A reader of CSS colours (`--tide` …) as canvas wants them, as seen at `element`; forgets all when the theme turns. */
export function palette(element) {
  const probe = h('span', { hidden: true });
  element.append(probe);
  const known = new Map();
  onTheme(() => known.clear());
  return (name) => {
    if (!known.has(name)) {
      probe.style.color = `var(--${name})`;
      known.set(name, getComputedStyle(probe).color);
    }
    return known.get(name);
  };
}

/** Calls `draw(context, width, height, now)` while the canvas is on screen, at most `fps` times a second. */
export function loop(canvas, draw, fps = 60) {
  const context = canvas.getContext('2d');
  let visible = false, running = false, last = 0;
  const size = () => {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const { clientWidth: width, clientHeight: height } = canvas;
    const [w, t] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== t) Object.assign(canvas, { width: w, height: t });
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return [width, height];
  };
  const step = (now) => {
    if (!(running = visible)) return;
    requestAnimationFrame(step);
    if (now - last < 1000 / fps - 4) return;
    last = now;
    const [width, height] = size();
    if (!width || !height) return;
    context.clearRect(0, 0, width, height);
    draw(context, width, height, now);
  };
  new IntersectionObserver(([entry]) => {
    visible = entry.isIntersecting;
    if (visible && !running) requestAnimationFrame(step);
  }).observe(canvas);
}

/** Events a second over the last few seconds. */
export class Rate {
  #times = [];
  constructor(span = 2000) { this.span = span; }
  add(now = performance.now()) { this.#times.push(now); if (this.#times.length > 4000) this.#times.splice(0, 2000); }
  get(now = performance.now()) {
    while (this.#times[0] < now - this.span) this.#times.shift();
    return this.#times.length * 1000 / this.span;
  }
}
