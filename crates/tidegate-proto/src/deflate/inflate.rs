//! Inflating a message as it comes (RFC 7692 §7.2.2), bounded in size and ratio at every step; it never
//! checks UTF-8 and knows no frames.

use super::DeflateConfig;
use super::compress::TAIL;
use super::zlib::{Inflate, InflateFlush, Status};
use crate::error::ProtocolError;

/// What an inflater holds, whatever the window.
pub(crate) const INFLATER_BYTES: usize = 48 << 10;
/// Output between two looks at the limits.
const STEP: usize = 4 << 10;
/// From here on the ratio is judged.
const RATIO_FROM: u64 = 64 << 10;

/// An inflate stream. Always made for a window of 32 KiB: peers that agreed on 8 bits use 9 all the same.
pub(crate) struct Inflater(Inflate);

impl Inflater {
    pub(crate) fn new() -> Inflater {
        Inflater(Inflate::new(false, 15))
    }

    /// Forgets everything: the next message can refer to nothing before it.
    pub(crate) fn reset(&mut self) {
        self.0.reset(false);
    }

    /// Makes `history` what the next message can refer to.
    pub(crate) fn prime(&mut self, history: &[u8]) {
        self.0
            .set_dictionary(history)
            .expect("a raw stream takes a dictionary between blocks");
    }

    /// Inflates some of `input` into at most `room` more bytes of `out`.
    fn step(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        room: usize,
        flush: InflateFlush,
    ) -> Result<Step, ProtocolError> {
        let start = out.len();
        out.resize(start + room, 0);
        let (in_before, out_before) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, &mut out[start..], flush);
        let produced = (self.0.total_out() - out_before) as usize;
        out.truncate(start + produced);
        match status {
            Ok(status) => Ok(Step {
                consumed: (self.0.total_in() - in_before) as usize,
                full: produced == room,
                ended: status == Status::StreamEnd,
            }),
            Err(_) => Err(ProtocolError::DeflateCorrupt),
        }
    }
}

struct Step {
    consumed: usize,
    /// There may be more output.
    full: bool,
    /// A final block has ended.
    ended: bool,
}

/// What bounds an inflated message.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Most bytes of the message.
    pub(crate) size: u64,
    /// See [`DeflateConfig::max_ratio`].
    pub(crate) ratio: u32,
}

impl Bounds {
    pub(crate) fn new(size: u64, config: &DeflateConfig) -> Bounds {
        Bounds {
            size,
            ratio: config.max_ratio,
        }
    }
}

/// One message being inflated.
pub(crate) struct Inflating {
    inflater: Box<Inflater>,
    consumed: u64,
    produced: u64,
    /// A final block has ended; what follows is a new stream (§7.2.3.4).
    ended: bool,
    /// How much was produced when the stream last began anew, which loses the window.
    restarted_at: Option<u64>,
}

/// How far [`Inflating::feed`] came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fed {
    /// Octets of the input that were taken.
    pub(crate) consumed: usize,
    /// It stopped because `out` has grown to the length asked for; there may be more.
    pub(crate) paused: bool,
}

impl Inflating {
    /// `inflater` must be at the start of a message.
    pub(crate) fn new(inflater: Box<Inflater>) -> Inflating {
        Inflating {
            inflater,
            consumed: 0,
            produced: 0,
            ended: false,
            restarted_at: None,
        }
    }

    /// Octets inflated so far.
    #[cfg(test)]
    pub(crate) fn produced(&self) -> u64 {
        self.produced
    }

    /// How many of the last octets the next message can refer to, where a final block has limited that.
    pub(crate) fn window_left(&self) -> Option<u64> {
        self.restarted_at.map(|at| self.produced - at)
    }

    /// The inflater, ready for the next message of the same context.
    pub(crate) fn into_inflater(self) -> Box<Inflater> {
        self.inflater
    }

    /// Inflates `input`, the next octets of the payload, to the end of `out`, until `out` is `pause_at` long.
    ///
    /// # Errors
    /// What is inflated breaks a bound, or the input is no deflate stream.
    pub(crate) fn feed(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        pause_at: usize,
        bounds: Bounds,
    ) -> Result<Fed, ProtocolError> {
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            if self.ended {
                if rest.is_empty() {
                    return Ok(Fed {
                        consumed,
                        paused: false,
                    });
                }
                //= rfc7692#7.2.3.4  a block with BFINAL set ends its stream, not the message.
                self.restart();
            }
            let room = STEP.min(pause_at.saturating_sub(out.len()));
            if room == 0 {
                return Ok(Fed {
                    consumed,
                    paused: true,
                });
            }
            let step = self.step(rest, out, room, InflateFlush::NoFlush, bounds)?;
            consumed += step.consumed;
            if !step.full && !step.ended {
                debug_assert_eq!(consumed, input.len(), "an inflater with room takes all");
                return Ok(Fed {
                    consumed,
                    paused: false,
                });
            }
        }
    }

    /// The payload is complete: the rest of the message goes to the end of `out`.
    ///
    /// # Errors
    /// As [`Inflating::feed`]; also when the payload stops in the middle of a block.
    pub(crate) fn finish(
        &mut self,
        out: &mut Vec<u8>,
        bounds: Bounds,
    ) -> Result<(), ProtocolError> {
        // Not by the book, but seen: an empty message without even a block header, and a final block that
        // is not followed by an empty one. What they mean is clear.
        if self.ended {
            self.restart();
            return Ok(());
        }
        if self.consumed == 0 {
            return Ok(());
        }
        //= rfc7692#7.2.2  the four octets removed by the sender are appended before inflating.
        // The fifth octet is the probe: with `Block` the inflater stops before it if and only if the tail
        // has completed a block.
        let [a, b, c, d] = TAIL;
        let step = self.step(&[a, b, c, d, 0], out, STEP, InflateFlush::Block, bounds)?;
        if step.consumed != TAIL.len() {
            return Err(ProtocolError::DeflateCorrupt);
        }
        Ok(())
    }

    /// A new stream begins.
    fn restart(&mut self) {
        self.inflater.reset();
        self.ended = false;
        self.restarted_at = Some(self.produced);
    }

    /// One step, and a look at the bounds.
    fn step(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        room: usize,
        flush: InflateFlush,
        bounds: Bounds,
    ) -> Result<Step, ProtocolError> {
        let before = out.len();
        let step = self.inflater.step(input, out, room, flush)?;
        self.consumed += step.consumed as u64;
        self.produced += (out.len() - before) as u64;
        self.ended = step.ended;
        if self.produced > bounds.size {
            return Err(ProtocolError::MessageTooBig);
        }
        let allowed = self.consumed.saturating_mul(u64::from(bounds.ratio));
        if self.produced > RATIO_FROM && self.produced > allowed {
            return Err(ProtocolError::InflatesTooMuch);
        }
        Ok(step)
    }
}

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use super::*;
    use crate::deflate::compress::{CodecKey, Compressor};
    use crate::deflate::testing::{Words, bomb};

    const BOUNDS: Bounds = Bounds {
        size: 1 << 20,
        ratio: 100,
    };

    /// Inflates one payload in pieces of `step`, with output drawn in pieces of `pause_at`.
    fn inflate(
        payload: &[u8],
        step: usize,
        pause_at: usize,
        bounds: Bounds,
    ) -> Result<Vec<u8>, (ProtocolError, usize)> {
        let mut inflating = Inflating::new(Box::new(Inflater::new()));
        let (mut out, mut piece) = (Vec::new(), Vec::new());
        let fail = |error, inflating: &Inflating| (error, inflating.produced() as usize);
        for mut input in payload.chunks(step) {
            loop {
                let fed = inflating
                    .feed(input, &mut piece, pause_at, bounds)
                    .map_err(|e| fail(e, &inflating))?;
                input = &input[fed.consumed..];
                out.append(&mut piece);
                if !fed.paused {
                    break;
                }
            }
            assert!(input.is_empty());
        }
        inflating
            .finish(&mut out, bounds)
            .map_err(|e| fail(e, &inflating))?;
        Ok(out)
    }

    #[test]
    fn the_examples_of_the_rfc_inflate_to_hello() {
        // RFC 7692 §7.2.3.1, .3 (a stored block), .4 (BFINAL), .5 (two blocks); §7.2.3.6 (empty)
        let rows: &[(&[u8], &[u8])] = &[
            (b"\xF2\x48\xCD\xC9\xC9\x07\x00", b"Hello"),
            (b"\x00\x05\x00\xFA\xFF\x48\x65\x6C\x6C\x6F\x00", b"Hello"),
            (b"\xF3\x48\xCD\xC9\xC9\x07\x00\x00", b"Hello"),
            (
                b"\xF2\x48\x05\x00\x00\x00\xFF\xFF\xCA\xC9\xC9\x07\x00",
                b"Hello",
            ),
            (b"\x00", b""),
            (b"\x02\x00", b""),
            // Seen in the wild, beyond the book.
            (b"", b""),
            (b"\xF3\x48\xCD\xC9\xC9\x07\x00", b"Hello"),
            (
                b"\xF3\x48\xCD\xC9\xC9\x07\x00\xF3\x48\xCD\xC9\xC9\x07\x00\x00",
                b"HelloHello",
            ),
        ];
        for (payload, expected) in rows {
            for step in 1..=payload.len().max(1) {
                for pause_at in [1, 2, 5, 100] {
                    let got = inflate(payload, step, pause_at, BOUNDS);
                    assert_eq!(got.as_deref(), Ok(*expected), "{payload:02x?} in {step}s");
                }
            }
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let rows: &[&[u8]] = &[
            b"\xF2\x48\xCD\xC9\xC9\x07", // the last octet is missing
            b"\xF2\x48\xCD",             // cut in a block
            b"\xF2\x48\xCD\xC9\xC9\x07\x00\x00\x00\xFF\xFF", // the tail was not removed
            b"\x07",                     // a reserved block type
            b"\x00\x05\x00\xFA\xFE\x48", // stored lengths that disagree
            b"\x00\x05\x00\xFA\xFF\x48\x65", // a stored block cut short
            b"\xFF\xFF\xFF",
            b"\xF2\x00\x11\x00\x00", // refers back to before the start
        ];
        for payload in rows {
            for step in [1, payload.len()] {
                let error = inflate(payload, step, 1_000, BOUNDS).unwrap_err().0;
                assert_eq!(error, ProtocolError::DeflateCorrupt, "{payload:02x?}");
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_ratio_before_it_has_grown() {
        let payload = bomb(64 << 20);
        assert!(payload.len() < 70 << 10, "{}", payload.len());
        for step in [1, 1_000, payload.len()] {
            let (error, produced) = inflate(&payload, step, usize::MAX, BOUNDS).unwrap_err();
            assert_eq!(error, ProtocolError::InflatesTooMuch);
            assert!(produced <= 68 << 10, "{produced}");
        }
    }

    #[test]
    fn the_size_is_checked_at_every_step() {
        let message = Words::new(1).bytes(200_000);
        let mut payload = Vec::new();
        let key = CodecKey {
            level: 6,
            bits: 15,
            mem_level: 8,
        };
        Compressor::new(key).message(&message, &mut payload);
        for size in [0, 1, 4_095, 4_096, 100_000, 199_999] {
            let bounds = Bounds { size, ..BOUNDS };
            let (error, produced) = inflate(&payload, 700, usize::MAX, bounds).unwrap_err();
            assert_eq!(error, ProtocolError::MessageTooBig);
            assert!(produced <= size as usize + STEP, "{produced} of {size}");
        }
        let bounds = Bounds {
            size: 200_000,
            ..BOUNDS
        };
        assert!(inflate(&payload, 700, usize::MAX, bounds).unwrap() == message);
    }

    #[test]
    fn a_used_inflater_shows_nothing_of_the_message_before() {
        let secret = b"the password is swordfish";
        let mut payload = Vec::new();
        let key = CodecKey {
            level: 1,
            bits: 15,
            mem_level: 8,
        };
        let mut compressor = Compressor::new(key);
        compressor.message(secret, &mut payload);
        let mut inflating = Inflating::new(Box::new(Inflater::new()));
        let mut out = Vec::new();
        inflating.feed(&payload, &mut out, 1_000, BOUNDS).unwrap();
        inflating.finish(&mut out, BOUNDS).unwrap();
        assert_eq!(out, secret);
        let mut inflater = inflating.into_inflater();
        inflater.reset();
        // The same message again, now told by a reference to the first: what an attacker would send.
        let mut referring = Vec::new();
        compressor.message(secret, &mut referring);
        assert!(referring.len() < secret.len() / 2);
        let mut inflating = Inflating::new(inflater);
        let mut out = Vec::new();
        let error = inflating
            .feed(&referring, &mut out, 1_000, BOUNDS)
            .unwrap_err();
        assert_eq!(error, ProtocolError::DeflateCorrupt);
        assert!(
            !secret
                .windows(4)
                .any(|word| out.windows(4).any(|w| w == word))
        );
    }
}
