//! Receives this page's own octets from the server's observer and turns them into heads and frames; it draws nothing.
import { WireSplitter, readObservation } from './wire.js';

/** 32 hex characters that only this page and the server know: they name the connection to record. */
export const makeSecret = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (octet) => octet.toString(16).padStart(2, '0')).join('');

/** Events: 'head' and 'frame', each with `detail` = the part plus `direction` ('sent' or 'received' by this page), `micros` and, for frames, `seq`; 'state'. */
export class WireFeed extends EventTarget {
  /** Octets so far on the connection that is recorded now. */
  totals = { sent: 0, received: 0 };
  /** null, or why nothing is recorded. */
  trouble = 'waiting for the connection';
  #socket = null; #seq = 0; #url;

  /** `url` is that of `/wire`, without its query. */
  constructor(url) { super(); this.#url = url; }

  /** Follows the connection that was opened with this secret; forgets the one before. */
  follow(secret, triesLeft = 4) {
    this.#socket?.close();
    const socket = this.#socket = new WebSocket(`${this.#url}?key=${secret}`);
    const splitters = { sent: new WireSplitter(), received: new WireSplitter() };
    let heard = false;
    this.totals = { sent: 0, received: 0 };
    socket.binaryType = 'arraybuffer';
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket || !(data instanceof ArrayBuffer)) return;
      heard = true;
      const { direction, micros, octets } = readObservation(data);
      const way = direction === 'received' ? 'sent' : 'received';     // what the server received, this page sent
      this.totals[way] += octets.length;
      this.#say(null);
      for (const part of splitters[way].push(octets)) {
        this.dispatchEvent(Object.assign(new Event(part.kind), { detail: Object.assign(part, { direction: way, micros }, part.kind === 'frame' && { seq: ++this.#seq }) }));
      }
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      this.#say('the observer is not there: it runs in dev mode only');
      if (!heard && triesLeft > 0) setTimeout(() => socket === this.#socket && this.follow(secret, triesLeft - 1), 400);
    };
  }

  /** Stops following; the recorded connection is gone. */
  stop() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#say('no connection to record');
  }

  #say(trouble) {
    if (trouble === this.trouble) return;
    this.trouble = trouble;
    this.dispatchEvent(new Event('state'));
  }
}
