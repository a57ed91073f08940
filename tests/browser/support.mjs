// What the browser tests share: Chromium, windows that report their errors, and reading pixels. It tests nothing itself.

import { createRequire } from 'node:module';
import assert from 'node:assert/strict';

// Installed by `cargo xtask setup npm`, outside the tree.
export const packages = process.env.TIDEGATE_NPM ?? new URL('../../target/tools/npm', import.meta.url).pathname;
const { chromium } = createRequire(`${packages}/package.json`)('playwright-core');

/** The page under test: `cargo xtask browser` starts the server; by hand, point this at a running `tidegate serve`. */
export const base = process.env.TIDEGATE_HTTP ?? 'http://127.0.0.1:8000';
export const pictures = process.env.TIDEGATE_PICTURES ?? new URL('../../target/browser', import.meta.url).pathname;

export const launch = () => chromium.launch({
  executablePath: process.env.TIDEGATE_CHROMIUM ?? '/usr/bin/chromium',
  // The machine that tests run on is often a container, whose root Chromium refuses to sandbox.
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--force-color-profile=srgb'],
});

/** A window of its own (own storage, so own name and boat). `errors` gathers what its console complains of. */
export async function open(t, browser, url = base, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 1000 }, ...options });
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const errors = [];
  page.on('pageerror', (error) => errors.push(`uncaught: ${error.message}`));
  page.on('console', (message) => { if (message.type() === 'error') errors.push(message.text()); });
  await page.goto(url);
  return { context, page, errors, get: (id) => page.getByTestId(id) };
}

/** A window that shows the connected page. */
export async function visit(t, browser, url = base, options = {}) {
  const window = await open(t, browser, url, options);
  await connected(window);
  return window;
}

/** A page of that origin without scripts of its own, with npm centrifuge in it, as it was published. The page must come
 *  from the server itself: Chromium keeps one that playwright made up away from the local network. */
export async function bare(t, browser, origin = base, bundle = 'centrifuge.js') {
  const window = await open(t, browser, 'about:blank', { bypassCSP: true });
  await window.context.addInitScript({ path: `${packages}/node_modules/centrifuge/dist/${bundle}` });
  window.sockets = watch(window.page);
  await window.page.goto(`${origin}/icon.svg`);
  return window;
}

/** The frames of each of the page's WebSockets as Chromium saw them on the wire: text as a string, binary as a Buffer. */
function watch(page) {
  const sockets = [];
  page.on('websocket', (socket) => {
    const seen = { sent: [], received: [] };
    sockets.push(seen);
    socket.on('framesent', ({ payload }) => seen.sent.push(payload));
    socket.on('framereceived', ({ payload }) => seen.received.push(payload));
  });
  return sockets;
}

export const connected = ({ page }) => page.locator('[data-testid=status][data-state=connected]').waitFor();

/** Waits until `read` gives something that fits, and gives it back. */
export async function until(what, read, fits = Boolean, ms = 15_000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await read();
    if (fits(value)) return value;
    if (Date.now() > end) assert.fail(`not within ${ms} ms: ${what}; there is ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
}

/** A canvas as a number that differs when the picture does, and how many of its pixels are not like its corner. */
export const pixels = ({ page }, id) => page.evaluate((id) => {
  const canvas = document.querySelector(`[data-testid=${id}]`);
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const colours = new Uint32Array(data.buffer);
  let [sum, ink] = [0, 0];
  for (const colour of colours) {
    sum = (Math.imul(sum, 31) + colour) | 0;
    if (colour !== colours[0]) ink += 1;
  }
  return { sum, ink };
}, id);
