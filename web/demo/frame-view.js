//! Draws one frame as RFC 6455 §5.2 does, bit by bit, and its payload octet by octet, masked and unmasked.
import { h } from './dom.js';
import { headerFields, OPCODES } from './wire.js';

const FIRST = 64;          // octets of payload drawn until more is asked for
const MOST = 4096;         // octets of payload drawn at all

/** The figure for `frame` with `columns` bits a row (32, or 16 on a narrow screen). */
export function drawFrame(frame, columns) {
  return h('div', { class: 'drawing', 'data-testid': 'frame-drawing', 'data-opcode': frame.opcode, 'data-octets': hex(frame.octets.subarray(0, MOST)) },
    h('p', { class: 'sentence', 'data-testid': 'frame-sentence' }, sentence(frame)),
    bits(frame, columns),
    octets(frame),
    text(frame));
}

function sentence({ direction, name, fin, rsv, isMasked, length, octets }) {
  const way = direction === 'sent' ? 'from this page to the server' : 'from the server to this page';
  const parts = [
    fin ? 'whole in one frame' : 'to be continued',
    rsv.some(Boolean) ? 'with an extension' : 'no extension',
    isMasked ? 'masked, as every frame from a client must be' : 'not masked, as no frame from a server may be',
  ];
  const head = octets.length - length;
  return `A ${name} frame ${way}: ${parts.join(', ')}. ${count(octets.length)} on the wire, ${head} of them header.`;
}

function bits(frame, columns) {
  const grid = h('div', { class: 'bits', role: 'img', 'aria-label': headerFields(frame).map((field) => `${field.label} ${field.bits}`).join(', ') });
  grid.style.setProperty('--columns', columns);
  for (let i = 0; i < columns; i++) grid.append(h('i', { class: i % 8 ? 'tick' : 'tick octet' }, String(i % 10)));
  let at = 0;
  for (const field of headerFields(frame)) {
    for (let from = 0; from < field.bits.length;) {
      const width = Math.min(field.bits.length - from, columns - (at % columns));
      grid.append(segment(field, field.bits.slice(from, from + width), from > 0));
      from += width;
      at += width;
    }
  }
  const rest = columns - (at % columns);
  if (rest < columns) grid.append(payloadSegment(frame, rest));
  if (rest === columns || frame.length * 8 > rest) grid.append(payloadSegment(frame, columns, rest < columns));
  return grid;
}

function segment({ id, label, bits: value }, slice, continued) {
  const element = h('div', { class: `segment f-${id}`, title: `${label}: ${value}${meaning(id, value)}` },
    h('span', { class: 'label' }, continued ? `${label} (goes on)` : label),
    h('span', { class: 'digits' }, ...Array.from(slice, (bit) => h('i', { class: bit === '1' ? 'one' : 'zero' }, bit))),
    slice.length > 1 && !continued ? h('span', { class: 'value' }, value.length > 8 && id === 'key' ? '' : meaning(id, value).slice(3)) : null);
  element.style.gridColumn = `span ${slice.length}`;
  element.style.setProperty('--width', slice.length);
  if (slice.length === 1) element.classList.add('narrow');
  return element;
}

function payloadSegment({ length, isMasked }, width, continued = false) {
  const label = length === 0 ? 'no payload' : continued ? 'payload goes on' : `${isMasked ? 'masked ' : ''}payload`;
  const element = h('div', { class: `segment f-payload${length === 0 ? ' none' : ''}` }, h('span', { class: 'label' }, label), h('span', { class: 'value' }, length && !continued ? count(length) : ''));
  element.style.gridColumn = `span ${width}`;
  return element;
}

function meaning(id, value) {
  const number = parseInt(value, 2);
  if (id === 'opcode') return ` = ${number.toString(16)}, ${OPCODES[number] ?? 'reserved'}`;
  if (id === 'length') return number < 126 ? ` = ${number}` : ` = ${number}: the next ${number === 126 ? 2 : 8} octets say it`;
  if (id === 'extended') return ` = ${Number(BigInt(`0b${value}`)).toLocaleString('en-US')}`;
  return '';
}

/** The payload: on the wire, the key that turns it, and what it means. */
function octets(frame) {
  if (!frame.length) return null;
  const shown = Math.min(frame.length, MOST);
  const box = h('div', { class: 'octets', 'data-testid': 'frame-payload' });
  const draw = (to) => box.replaceChildren(
    ...Array.from(frame.payload.subarray(0, to), (octet, i) => cell(frame, octet, i)),
    ...(to < shown ? [h('button', { type: 'button', class: 'quiet', onclick: () => draw(shown) }, `and ${count(frame.length - to)} more`)] : []),
    ...(to === shown && shown < frame.length ? [h('span', { class: 'fine' }, `first ${count(MOST)} of ${count(frame.length)}`)] : []));
  draw(shown > FIRST * 1.5 ? FIRST : shown);
  const legend = frame.isMasked ? [['masked', 'on the wire'], ['key', 'XOR masking key'], ['plain', 'unmasked']] : [['plain', 'on the wire, not masked']];
  return h('div', { class: 'payload' }, h('p', { class: 'legend' }, ...legend.map(([name, label]) => h('span', { class: `k-${name}` }, label))), box);
}

function cell({ isMasked, masked, key }, octet, i) {
  const readable = octet > 32 && octet < 127 ? String.fromCharCode(octet) : octet === 32 ? '␣' : octet === 10 ? '↵' : '·';
  return h('span', { class: 'cell' },
    ...(isMasked ? [h('i', { class: 'masked' }, hex([masked[i]])), h('i', { class: 'key' }, hex([key[i & 3]]))] : []),
    h('i', { class: 'plain' }, hex([octet])), h('i', { class: 'char' }, readable));
}

/** The payload as its opcode means it. */
function text({ opcode, payload }) {
  if (!payload.length) return null;
  if (opcode === 8) return h('pre', { class: 'plain-text' }, `close ${payload.length > 1 ? payload[0] << 8 | payload[1] : ''} ${new TextDecoder().decode(payload.subarray(2))}`);
  if (opcode !== 1) return null;
  return h('pre', { class: 'plain-text', 'data-testid': 'frame-text', tabindex: '0', 'aria-label': 'Payload as text' }, new TextDecoder().decode(payload.subarray(0, MOST)));
}

export const count = (n) => `${n.toLocaleString('en-US')} ${n === 1 ? 'octet' : 'octets'}`;
export const hex = (octets) => Array.from(octets, (octet) => octet.toString(16).padStart(2, '0')).join('');
