//! The property: any fragmentation, compression, chunking or interleaved control frame of a message gives
//! the same message, whole or in parts, to a server and to a client.

use super::deflate::{compressed, config};
use super::*;
use crate::deflate::testing::Words;
use crate::deflate::{CodecKey, Compressor, Deflate, Negotiated};
use zlib_rs::DeflateFlush;

/// One peer's way of sending messages.
struct Sender {
    role: Role,
    words: Words,
    /// With a context, where it may take over.
    compressor: Compressor,
    takeover: bool,
    pings: usize,
}

impl Sender {
    fn new(role: Role, mut words: Words, takeover: bool) -> Sender {
        let key = CodecKey {
            level: words.below(10) as u8,
            bits: 9 + words.below(7) as u8,
            mem_level: 1 + words.below(9) as u8,
        };
        Sender {
            role,
            words,
            compressor: Compressor::new(key),
            takeover,
            pings: 0,
        }
    }

    fn message(&mut self) -> (bool, Vec<u8>) {
        let len = [0, 1, 5, 80, 600, 5_000][self.words.below(6)];
        let len = self.words.below(len + 1);
        match self.words.below(3) {
            0 => (false, self.words.noise(len)),
            1 => (false, self.words.bytes(len)),
            _ => (true, self.words.text(len).into_bytes()),
        }
    }

    /// The frames of a message, in one of the many ways to send it.
    fn frames(&mut self, is_text: bool, message: &[u8]) -> Vec<u8> {
        let is_compressed = self.words.below(3) > 0;
        let payload = match is_compressed {
            true => self.deflate(message),
            false => message.to_vec(),
        };
        let mut frames = Vec::new();
        let mut first = 1 + u8::from(!is_text) + 0x40 * u8::from(is_compressed);
        let mut rest = &payload[..];
        loop {
            let fin = self.words.below(3) > 0;
            let at = if fin {
                rest.len()
            } else {
                self.words.below(rest.len() + 1)
            };
            let (piece, next) = rest.split_at(at);
            frames.extend(self.frame(first + 0x80 * u8::from(fin), piece));
            if self.words.below(4) == 0 {
                frames.extend(self.frame(0x89, &[7; 3]));
                self.pings += 1;
            }
            if fin {
                return frames;
            }
            (first, rest) = (0, next);
        }
    }

    /// A frame as this role sends it.
    fn frame(&self, first: u8, payload: &[u8]) -> Vec<u8> {
        match self.role {
            Role::Client => client_frame(first, payload),
            Role::Server => server_frame(first, payload),
        }
    }

    fn deflate(&mut self, message: &[u8]) -> Vec<u8> {
        if !self.takeover {
            self.compressor.reset();
        }
        let mut payload = Vec::new();
        match self.words.below(4) {
            // All in a stream of its own, which ends with a final block.
            0 => {
                self.compressor.reset();
                let mut whole = vec![0; message.len() * 2 + 200];
                let mut codec = zlib_rs::Deflate::new(6, false, 15);
                codec
                    .compress(message, &mut whole, DeflateFlush::Finish)
                    .expect("there is room");
                payload.extend_from_slice(&whole[..codec.total_out() as usize]);
                if self.words.below(2) == 0 {
                    payload.push(0);
                }
            }
            // Flushed here and there.
            1 => {
                let (a, b) = message.split_at(self.words.below(message.len() + 1));
                for piece in [a, b].into_iter().filter(|piece| !piece.is_empty()) {
                    self.compressor.flush(piece, &mut payload);
                }
                payload.push(0);
            }
            _ if message.is_empty() => payload.push(0),
            _ => self.compressor.message(message, &mut payload),
        }
        payload
    }
}

/// A frame as a server sends it.
fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader::new(OpCode::Text, payload.len() as u64);
    let mut octets = [0; MAX_HEADER];
    let len = header.encode(&mut octets);
    octets[0] = first;
    [&octets[..len], payload].concat()
}

/// Messages to an end of this role.
fn case(receiver: Role, seed: u64) {
    let mut words = Words::new(seed);
    let takeover = words.below(2) == 0;
    let (sender, pong) = match receiver {
        Role::Server => (Role::Client, 5),
        Role::Client => (Role::Server, 9), // masked
    };
    let negotiated = Negotiated {
        client_no_context_takeover: !takeover && sender == Role::Client,
        server_no_context_takeover: !takeover && sender == Role::Server,
        ..Negotiated::default()
    };
    let mut config = config(Deflate::Shared);
    config.deflate.max_ratio = 2_000;
    config.limits.control_burst = u16::MAX;
    // Every other case has no room to keep an inflater.
    config.deflate.context_budget = words.below(2) << 20;
    let mut end = compressed(receiver, negotiated, config);
    if words.below(2) == 0 {
        let from = [0, 10, 1_000][words.below(3)];
        end.connection.set_streaming(Streaming::from(from));
    }
    let mut sender = Sender::new(sender, Words::new(seed + 1), takeover);
    let (mut sent, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..1 + words.below(6) {
        let (is_text, message) = sender.message();
        sent.extend(sender.frames(is_text, &message));
        expected.push((is_text, message));
    }
    let mut rest = &sent[..];
    while !rest.is_empty() {
        let step = [1, 3, 50, 4_000, 1 << 20][words.below(5)];
        let (mut piece, next) = rest.split_at(1 + words.below(step.min(rest.len())));
        if words.below(2) == 0 {
            piece = end.fill(at(0), piece);
        }
        end.feed(at(0), piece);
        rest = next;
        if words.below(8) == 0 {
            end.connection.release_codecs(&mut end.resources);
        }
        end.flush(at(0));
    }
    assert_eq!(end.close_code(), None, "{receiver:?}, seed {seed}");
    assert!(end.messages == expected, "{receiver:?}, seed {seed}");
    assert_eq!(
        end.written.len(),
        sender.pings * pong,
        "{receiver:?}, seed {seed}: a pong for each ping"
    );
}

#[test]
fn a_message_is_the_same_however_it_is_sent() {
    for seed in 0..4_000 {
        case(Role::Server, seed);
        case(Role::Client, seed);
    }
}

/// Any octet of a compressed stream changed: some verdict, no panic, no more memory than allowed.
#[test]
fn damaged_streams_end_in_a_verdict_or_another_message() {
    for seed in 0..3_000 {
        let mut words = Words::new(seed + 1_000_000);
        let mut sender = Sender::new(Role::Client, Words::new(seed), true);
        let mut sent = Vec::new();
        for _ in 0..3 {
            let (is_text, message) = sender.message();
            sent.extend(sender.frames(is_text, &message));
        }
        for _ in 0..1 + words.below(3) {
            let at = words.below(sent.len());
            sent[at] ^= 1 << words.below(8);
        }
        let mut config = config(Deflate::Shared);
        config.limits.max_message_size = 50_000;
        let mut server = compressed(Role::Server, Negotiated::default(), config);
        let step = 1 + words.below(2_000);
        for piece in sent.chunks(step) {
            let piece = match seed % 2 {
                0 => piece,
                _ => server.fill(at(0), piece),
            };
            server.feed(at(0), piece);
            server.flush(at(0));
        }
        assert!(server.messages.iter().all(|(_, m)| m.len() <= 50_000));
        assert!(server.closed.len() <= 1);
        server.connection.handle_end(&mut server.resources);
        assert_eq!(server.resources.codecs.kept_by_connections(), 0);
    }
}
