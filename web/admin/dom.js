//! The few DOM helpers this page needs: look-up, making elements, numbers for people, colours for canvas.

export const $ = (testid, root = document) => root.querySelector(`[data-testid="${testid}"]`);

/** Makes an element: `h('p', { class: 'note', onclick }, 'text', child)`. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Writes text only when it changed. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const number = new Intl.NumberFormat('en-US');
const short = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 });
export const count = (n) => (Math.abs(n) < 100_000 ? number.format(Math.round(n)) : short.format(n));
export const rate = (n) => (n < 10 ? n.toFixed(1).replace(/\.0$/, '') : count(n));

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${n < 10 && unit ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

/** Microseconds as people read them. */
export const micros = (n) => (n < 1000 ? `${Math.round(n)} µs` : n < 1e6 ? `${(n / 1000).toFixed(n < 1e4 ? 2 : 0)} ms` : `${(n / 1e6).toFixed(2)} s`);

/** The time of day, of milliseconds since 1970. */
export const clock = (ms) => new Date(ms).toLocaleTimeString('en-GB');

export function ago(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

export const store = {
  get(key) { try { return localStorage.getItem(`tidegate.${key}`); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(`tidegate.${key}`, value); } catch { /* private mode: forget */ } },
};

const dark = matchMedia('(prefers-color-scheme: dark)');
export const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? 'dark' : 'light')) === 'dark';
export function onTheme(handler) {
  dark.addEventListener('change', handler);
  new MutationObserver(handler).observe(document.documentElement, { attributeFilter: ['data-theme'] });
}

/** A reader of CSS colours as canvas wants them; forgets all when the theme turns. */
export function palette() {
  const probe = h('span', { hidden: true });
  document.body.append(probe);
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

/** Fills a table's body, or any list, keeping rows whose key and content did not change. */
export function fill(parent, items, key, make) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const fresh = items.map((item) => {
    const name = key(item), seal = JSON.stringify(item), known = old.get(name);
    if (known?.dataset.seal === seal) return known;
    const row = make(item);
    row.dataset.key = name;
    row.dataset.seal = seal;
    return row;
  });
  if (fresh.length !== parent.children.length || fresh.some((row, i) => row !== parent.children[i])) parent.replaceChildren(...fresh);
}
