//! F12: one verdict per message. Whatever way a message is wrapped (fragments, pings between them, compression
//! with and without context, octet by octet), the upstream gets the same one frame, or none.

use crate::support::client::{Ask, Client};
use crate::support::guard::Guard;
use crate::support::upstream::Upstream;
use crate::support::wire::{BINARY, KEY, PING, TEXT, frame};

/// A small generator: the same seed gives the same wrappings.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// A message in one of its wrappings, as octets and where the writes are cut.
fn wrapped(opcode: u8, payload: &[u8], deflate: bool, chance: &mut Chance) -> Vec<Vec<u8>> {
    let compressed = deflate && chance.below(2) == 0;
    let body = match compressed {
        true => stored(payload),
        false => payload.to_vec(),
    };
    let pieces = 1 + chance.below(6);
    let mut cuts: Vec<usize> = (1..pieces).map(|_| chance.below(body.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.insert(0, 0);
    cuts.push(body.len());
    let mut octets = Vec::new();
    for (n, pair) in cuts.windows(2).enumerate() {
        let fin = if n + 2 == cuts.len() { 0x80 } else { 0 };
        let rsv1 = if compressed && n == 0 { 0x40 } else { 0 };
        let opcode = if n == 0 { opcode } else { 0 };
        if n > 0 && chance.below(3) == 0 {
            octets.extend(frame(0x80 | PING, Some(KEY), b"between"));
        }
        octets.extend(frame(
            fin | rsv1 | opcode,
            Some(KEY),
            &body[pair[0]..pair[1]],
        ));
    }
    match chance.below(3) {
        0 => octets.iter().map(|octet| vec![*octet]).collect(),
        1 => octets
            .chunks(1 + chance.below(40))
            .map(<[u8]>::to_vec)
            .collect(),
        _ => vec![octets],
    }
}

/// Stored blocks are deflate, too (RFC 1951 §3.2.4); RFC 7692 §7.2.1 wants an open end, which one octet is.
fn stored(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_le_bytes();
    let inverse = (!(payload.len() as u16)).to_le_bytes();
    [&[0], &length[..], &inverse[..], payload, &[0]].concat()
}

fn payloads() -> Vec<(u8, Vec<u8>)> {
    vec![
        (TEXT, b"{\"a\":1}".to_vec()),
        (
            TEXT,
            "gr\u{fc}\u{df}e \u{1F600} \u{2764}".as_bytes().to_vec(),
        ),
        (TEXT, Vec::new()),
        (BINARY, (0..=255).collect()),
        (BINARY, vec![0xFF; 3_000]),
    ]
}

fn property(policy: Option<&str>, deflate: bool, rounds: usize, seed: u64) {
    let upstream = Upstream::echo();
    let guard = Guard::start(&upstream.url(), policy, &[]);
    let mut ask = Ask::new(guard.address, "/");
    if deflate {
        ask = ask.with("Sec-WebSocket-Extensions", "permessage-deflate");
    }
    let mut client = Client::opened(guard.address, &ask);
    let mut chance = Chance(seed);
    let mut expected = Vec::new();
    for round in 0..rounds {
        let all = payloads();
        let (opcode, payload) = &all[chance.below(all.len())];
        for write in wrapped(*opcode, payload, deflate, &mut chance) {
            client.send(&write);
        }
        let back = client.next();
        assert_eq!(back.opcode(), *opcode, "seed {seed}, round {round}");
        expected.push((0x80 | opcode, payload.clone()));
    }
    let seen = upstream.seen.now();
    let got: Vec<(u8, Vec<u8>)> = seen
        .data()
        .iter()
        .map(|frame| (frame.first & 0x8F, frame.payload.clone()))
        .collect();
    assert_eq!(got.len(), expected.len(), "one frame for each message");
    assert!(
        got == expected,
        "seed {seed}: a message came otherwise than it was sent"
    );
}

#[test]
fn every_wrapping_of_a_message_is_one_frame_for_the_upstream() {
    for seed in [1, 0xDEAD_BEEF, 77_777] {
        property(None, false, 300, seed);
    }
}

#[test]
fn compressed_ones_too_and_the_upstream_is_not_told() {
    // The upstream declines compression, so what it gets is plain whatever the client sent.
    let policy = "[compression]\ndeflate = \"on\"\n";
    for seed in [2, 31_337] {
        property(Some(policy), true, 300, seed);
    }
}
