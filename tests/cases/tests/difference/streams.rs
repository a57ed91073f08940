//! Random streams of frames: mostly good, some with one fault, some changed octet by octet.

use tidegate_cases::random::Numbers;
use tidegate_cases::wire::{self, Frame, Spelling};
use tidegate_proto::Role;

/// What a peer of `role` might send.
pub(crate) fn random(role: Role, numbers: &mut Numbers) -> Vec<u8> {
    let mut octets = Vec::new();
    for _ in 0..=numbers.below(6) {
        match numbers.below(10) {
            0..=5 => message(role, numbers, &mut octets),
            6 | 7 => control(role, numbers, &mut octets),
            8 => odd_frame(role, numbers, &mut octets),
            _ => close(role, numbers, &mut octets),
        }
    }
    if numbers.one_in(3) {
        change(numbers, &mut octets);
    }
    octets
}

fn push(role: Role, numbers: &mut Numbers, frame: &Frame, octets: &mut Vec<u8>) {
    let key = [0; 4].map(|_: u8| numbers.next_word() as u8);
    octets.extend(frame.write((role == Role::Server).then_some(key)));
}

/// A message, whole or in fragments, maybe with control frames in it.
fn message(role: Role, numbers: &mut Numbers, octets: &mut Vec<u8>) {
    let opcode = *numbers.pick(&[wire::TEXT, wire::BINARY]);
    let mut payload = payload(numbers);
    let pieces = if numbers.one_in(2) {
        1
    } else {
        1 + numbers.below(4)
    };
    for piece in 1..=pieces {
        let last = piece == pieces;
        let len = if last {
            payload.len()
        } else {
            numbers.below(payload.len() + 1)
        };
        let rest = payload.split_off(len);
        let frame = Frame {
            fin: last,
            ..Frame::new(if piece == 1 { opcode } else { wire::CONT }, payload)
        };
        push(role, numbers, &frame, octets);
        payload = rest;
        if !last && numbers.one_in(4) {
            control(role, numbers, octets);
        }
    }
}

/// Text that is mostly UTF-8, of lengths around the forms of a length.
fn payload(numbers: &mut Numbers) -> Vec<u8> {
    let len = *numbers.pick(&[0, 1, 2, 3, 5, 20, 124, 125, 126, 127, 300]);
    let mut text = String::new();
    while text.len() < len {
        text.push(*numbers.pick(&['a', 'é', '€', '🌊', '\0', '\u{7ff}', '\u{ffff}']));
    }
    let mut payload = text.into_bytes();
    if numbers.one_in(6) && !payload.is_empty() {
        let at = numbers.below(payload.len());
        payload[at] = *numbers.pick(&[0x80, 0xC0, 0xED, 0xF4, 0xF8, 0xFF, b'x']);
    }
    if numbers.one_in(12) {
        payload.pop();
    }
    payload
}

fn control(role: Role, numbers: &mut Numbers, octets: &mut Vec<u8>) {
    let len = *numbers.pick(&[0, 1, 20, 125]);
    let frame = Frame::new(*numbers.pick(&[wire::PING, wire::PONG]), numbers.bytes(len));
    push(role, numbers, &frame, octets);
}

fn close(role: Role, numbers: &mut Numbers, octets: &mut Vec<u8>) {
    let code: u16 = *numbers.pick(&[
        0, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1010, 1011, 1012, 1013, 1014, 1015,
        1016, 1100, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535,
    ]);
    let mut body = code.to_be_bytes().to_vec();
    match numbers.below(6) {
        0 => body.clear(),
        1 => body.truncate(1),
        2 => body.extend(b"bye"),
        3 => body.extend([0xFF, 0xC0]),
        _ => {}
    }
    push(role, numbers, &Frame::new(wire::CLOSE, body), octets);
}

/// Any bits in the first octet, any form of the length, a mask or none.
fn odd_frame(role: Role, numbers: &mut Numbers, octets: &mut Vec<u8>) {
    let len = *numbers.pick(&[0, 1, 125, 126, 200]);
    let frame = Frame {
        fin: !numbers.one_in(3),
        rsv: if numbers.one_in(3) {
            numbers.below(8) as u8
        } else {
            0
        },
        opcode: numbers.below(16) as u8,
        payload: vec![b'o'; len],
    };
    let extended = *numbers.pick(&[None, None, Some(2), Some(8)]);
    let announced = *numbers.pick(&[
        None,
        None,
        None,
        Some(1 << 20),
        Some(1 << 40),
        Some(1 << 63),
        Some((1 << 63) - 1),
        Some(u64::MAX),
    ]);
    let spelling = Spelling {
        extended: extended.filter(|_| announced.is_none()),
        announced,
    };
    let masked = (role == Role::Server) != numbers.one_in(4);
    octets.extend(spelling.write(&frame, masked.then_some([1, 2, 3, 4])));
}

/// A few octets become others, or the stream is cut.
fn change(numbers: &mut Numbers, octets: &mut Vec<u8>) {
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(octets.len().max(1));
        match numbers.below(4) {
            _ if octets.is_empty() => {}
            0 => octets.truncate(at),
            1 => octets[at] = numbers.next_word() as u8,
            _ => octets[at] ^= 1 << numbers.below(8),
        }
    }
}
