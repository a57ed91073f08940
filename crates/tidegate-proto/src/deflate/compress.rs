//! Deflating a message (RFC 7692 §7.2.1); it never decides whether a message is worth it.

use super::zlib::{Deflate, DeflateConfig, DeflateFlush, Method, Status, Strategy};

/// What every flushed message ends with and no sent one has (§7.2.1).
pub(crate) const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// The parameters that make two compressors interchangeable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct CodecKey {
    pub(crate) level: u8,
    pub(crate) bits: u8,
    pub(crate) mem_level: u8,
}

/// What a compressor holds, in bytes: a hash table of fixed size, window and chains, symbols, the state.
pub(crate) const fn compressor_bytes(key: CodecKey) -> usize {
    (128 << 10) + (4 << key.bits) + (7 << (key.mem_level + 6)) + (4 << 10)
}

/// A deflate stream. Costs [`compressor_bytes`].
pub(crate) struct Compressor {
    codec: Deflate,
    key: CodecKey,
}

impl Compressor {
    pub(crate) fn new(key: CodecKey) -> Compressor {
        let config = DeflateConfig {
            level: i32::from(key.level),
            method: Method::Deflated,
            window_bits: -i32::from(key.bits),
            mem_level: i32::from(key.mem_level),
            strategy: Strategy::Default,
        };
        Compressor {
            codec: Deflate::new_with_config(config),
            key,
        }
    }

    pub(crate) fn key(&self) -> CodecKey {
        self.key
    }

    /// Forgets the context: the next message refers to nothing before it.
    pub(crate) fn reset(&mut self) {
        self.codec.reset();
    }

    /// Appends a whole message, deflated; it must not be empty.
    pub(crate) fn message(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.flush(payload, out);
        //= rfc7692#7.2.1  the four octets of the flush are removed from the tail.
        debug_assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
    }

    /// Appends a piece of a message, deflated so that the peer can inflate it at once.
    pub(crate) fn flush(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let mut input = payload;
        let mut room = payload.len() / 2 + 64;
        loop {
            let start = out.len();
            out.resize(start + room, 0);
            let (in_before, out_before) = (self.codec.total_in(), self.codec.total_out());
            let status = self
                .codec
                .compress(input, &mut out[start..], DeflateFlush::SyncFlush)
                .expect("the parameters were checked and the stream never finishes");
            debug_assert_ne!(status, Status::StreamEnd);
            input = &input[(self.codec.total_in() - in_before) as usize..];
            let written = (self.codec.total_out() - out_before) as usize;
            out.truncate(start + written);
            // Room that is left over says that all is flushed.
            if written < room {
                debug_assert!(input.is_empty());
                return;
            }
            room = room.max(4 << 10);
        }
    }
}

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use super::*;
    use crate::deflate::testing::{Words, inflate_strictly};

    fn key(level: u8, bits: u8, mem_level: u8) -> CodecKey {
        CodecKey {
            level,
            bits,
            mem_level,
        }
    }

    #[test]
    fn every_parameter_set_round_trips_within_its_window() {
        let mut words = Words::new(3);
        for level in 1..=9 {
            for bits in 9..=15 {
                for mem_level in [1, 5, 8, 9] {
                    let mut compressor = Compressor::new(key(level, bits, mem_level));
                    let mut stream = Vec::new();
                    let mut plain = Vec::new();
                    for len in [1, 2, 300, 5_000, 40_000, 3] {
                        let message = words.bytes(len);
                        plain.extend_from_slice(&message);
                        compressor.message(&message, &mut stream);
                        stream.extend_from_slice(&TAIL);
                    }
                    let inflated = inflate_strictly(&stream, bits);
                    assert!(
                        inflated == plain,
                        "level {level}, {bits} bits, memory {mem_level}"
                    );
                }
            }
        }
    }

    #[test]
    #[should_panic = "a reference beyond the window"]
    fn a_reference_beyond_the_window_would_be_seen() {
        let mut words = Words::new(6);
        let far = [words.noise(900), words.noise(3_000)];
        let mut stream = Vec::new();
        let message = [&far[0][..], &far[1], &far[0]].concat();
        Compressor::new(key(6, 15, 8)).message(&message, &mut stream);
        inflate_strictly(&stream, 9);
    }

    #[test]
    fn a_reset_compressor_writes_what_a_new_one_does() {
        let mut words = Words::new(4);
        for bits in [9, 12, 15] {
            let mut used = Compressor::new(key(1, bits, 8));
            used.message(&words.bytes(100_000), &mut Vec::new());
            used.reset();
            let message = words.bytes(3_000);
            let (mut after, mut fresh) = (Vec::new(), Vec::new());
            used.message(&message, &mut after);
            Compressor::new(key(1, bits, 8)).message(&message, &mut fresh);
            assert!(after == fresh, "{bits} bits");
        }
    }

    #[test]
    fn pieces_can_be_inflated_as_they_come() {
        let mut words = Words::new(5);
        let mut compressor = Compressor::new(key(6, 15, 8));
        let (mut stream, mut plain) = (Vec::new(), Vec::new());
        for len in [700, 0, 0, 1, 20_000] {
            let piece = words.bytes(len);
            compressor.flush(&piece, &mut stream);
            plain.extend_from_slice(&piece);
            assert!(inflate_strictly(&stream, 15) == plain, "after {len}");
        }
    }
}
