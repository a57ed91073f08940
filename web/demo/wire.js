//! Splits the raw octets of one direction of a WebSocket connection into its HTTP head and its frames (RFC 6455 §5.2); pure, it never does I/O.

export const OPCODES = { 0: 'continuation', 1: 'text', 2: 'binary', 8: 'close', 9: 'ping', 10: 'pong' };

/** One message of the server's observer: 1 octet direction, 8 octets of microseconds (big-endian), then raw octets. */
export function readObservation(buffer) {
  const octets = new Uint8Array(buffer);
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  return {
    direction: octets[0] === 0 ? 'received' : 'sent',      // as the server sees it
    micros: Number(view.getBigUint64(1)),
    octets: octets.subarray(9),
  };
}

/** Feed octets in pieces of any size; each `push` returns the parts completed by it, in order. */
export class WireSplitter {
  #held = new Uint8Array(0);
  #head;
  #offset = 0;

  /** With `{ head: false }` the octets begin with a frame. */
  constructor({ head = true } = {}) { this.#head = head; }

  push(octets) {
    this.#held = join(this.#held, octets);
    const parts = [];
    for (let part; (part = this.#head ? readHead(this.#held) : readFrame(this.#held)); ) {
      this.#head = false;
      parts.push({ ...part, offset: this.#offset });
      this.#offset += part.octets.length;
      this.#held = this.#held.subarray(part.octets.length);
    }
    return parts;
  }

  /** Octets that wait for the rest of their part. */
  get pending() { return this.#held.length; }
}

/** The head up to its blank line, or null while that is missing. */
export function readHead(octets) {
  const end = blankLine(octets);
  if (end < 0) return null;
  const text = latin1(octets.subarray(0, end));
  const [startLine, ...lines] = text.slice(0, -4).split('\r\n');
  const headers = lines.map((line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  return { kind: 'head', octets: octets.slice(0, end), text, startLine, headers };
}

/** One whole frame, or null while octets are missing. `payload` is unmasked; `masked` is as it was on the wire. */
export function readFrame(octets) {
  if (octets.length < 2) return null;
  const [first, second] = octets;
  const length7 = second & 0x7f;
  const extended = length7 === 126 ? 2 : length7 === 127 ? 8 : 0;
  const isMasked = (second & 0x80) !== 0;
  const start = 2 + extended + (isMasked ? 4 : 0);
  if (octets.length < start) return null;
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  const length = extended === 2 ? view.getUint16(2) : extended === 8 ? Number(view.getBigUint64(2)) : length7;
  if (octets.length < start + length) return null;
  const whole = octets.slice(0, start + length);
  const key = isMasked ? whole.subarray(start - 4, start) : null;
  const masked = whole.subarray(start);
  return {
    kind: 'frame',
    octets: whole,
    fin: first >> 7 & 1,
    rsv: [first >> 6 & 1, first >> 5 & 1, first >> 4 & 1],
    opcode: first & 0x0f,
    name: OPCODES[first & 0x0f] ?? 'reserved',
    isMasked,
    length7,
    extended,
    length,
    key,
    masked,
    payload: key ? masked.map((octet, i) => octet ^ key[i & 3]) : masked,
  };
}

/** The fields of a frame before its payload, in wire order, each as a string of bits. */
export function headerFields(frame) {
  const bits = (value, width) => value.toString(2).padStart(width, '0');
  const octetBits = (octets) => Array.from(octets, (octet) => bits(octet, 8)).join('');
  const fields = [
    { id: 'fin', label: 'FIN', bits: bits(frame.fin, 1) },
    ...frame.rsv.map((value, i) => ({ id: 'rsv', label: `RSV${i + 1}`, bits: bits(value, 1) })),
    { id: 'opcode', label: 'opcode', bits: bits(frame.opcode, 4) },
    { id: 'mask', label: 'MASK', bits: bits(frame.isMasked ? 1 : 0, 1) },
    { id: 'length', label: 'payload length', bits: bits(frame.length7, 7) },
  ];
  if (frame.extended) fields.push({ id: 'extended', label: 'extended payload length', bits: octetBits(frame.octets.subarray(2, 2 + frame.extended)) });
  if (frame.key) fields.push({ id: 'key', label: 'masking key', bits: octetBits(frame.key) });
  return fields;
}

/** What the accept value is made of: base64 of SHA-1 over key and this (RFC 6455 §1.3). */
export const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export const latin1 = (octets) => Array.from(octets, (octet) => String.fromCharCode(octet)).join('');

function join(a, b) {
  if (a.length === 0) return Uint8Array.from(b);
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}

function blankLine(octets) {
  for (let i = 3; i < octets.length; i++) {
    if (octets[i] === 10 && octets[i - 1] === 13 && octets[i - 2] === 10 && octets[i - 3] === 13) return i + 1;
  }
  return -1;
}
