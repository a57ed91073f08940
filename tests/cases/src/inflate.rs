//! A codec that is not ours: what the table sends compressed, and a second opinion on what we send.

use crate::wire::{self, Frame};
use tidegate_proto::Role;
use tidegate_proto::deflate::Negotiated;

/// What RFC 7692 §7.2.1 takes from the end of a message.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// An empty block that is the last one, so that a stream has an end.
const END: [u8; 5] = [0x01, 0x00, 0x00, 0xFF, 0xFF];

/// `message` deflated by itself, as the payload of a frame with RSV1: a final block and an empty one behind it
/// (RFC 7692 §7.2.3.4).
pub fn deflated(message: &[u8]) -> Vec<u8> {
    let mut payload = miniz_oxide::deflate::compress_to_vec(message, 9);
    payload.push(0);
    payload
}

/// `message` in blocks that compress nothing (RFC 7692 §7.2.3.3).
pub fn stored(message: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for block in message.chunks(0xFFFF) {
        let len = block.len() as u16;
        payload.push(0);
        payload.extend(len.to_le_bytes());
        payload.extend((!len).to_le_bytes());
        payload.extend_from_slice(block);
    }
    payload.push(0);
    payload
}

/// Inflates the messages of one direction; slow, for it begins anew each time.
pub struct Inflater {
    takeover: bool,
    stream: Vec<u8>,
    produced: usize,
}

impl Inflater {
    /// For messages that `from` sends.
    pub fn new(negotiated: &Negotiated, from: Role) -> Inflater {
        let alone = match from {
            Role::Server => negotiated.server_no_context_takeover,
            Role::Client => negotiated.client_no_context_takeover,
        };
        Inflater {
            takeover: !alone,
            stream: Vec::new(),
            produced: 0,
        }
    }

    /// The next message.
    ///
    /// # Errors
    /// When it is no deflate stream, or refers to what it must not.
    pub fn message(&mut self, payload: &[u8]) -> Result<Vec<u8>, String> {
        if !self.takeover {
            self.stream.clear();
            self.produced = 0;
        }
        self.stream.extend_from_slice(payload);
        self.stream.extend_from_slice(&TAIL);
        let whole = [&self.stream[..], &END].concat();
        let out = miniz_oxide::inflate::decompress_to_vec(&whole);
        let out = out.map_err(|error| format!("what was sent does not inflate: {error}"))?;
        let message = out[self.produced..].to_vec();
        self.produced = out.len();
        Ok(message)
    }
}

/// Inflates the compressed ones among `frames` in place, and says how many they were.
///
/// # Errors
/// When one does not inflate, or RSV1 stands where it must not.
pub fn frames(
    frames: &mut [Frame],
    negotiated: Option<&Negotiated>,
    from: Role,
) -> Result<usize, String> {
    let Some(negotiated) = negotiated else {
        return Ok(0);
    };
    let mut inflater = Inflater::new(negotiated, from);
    let mut compressed = 0;
    for frame in frames.iter_mut().filter(|frame| frame.rsv & 4 != 0) {
        let data = matches!(frame.opcode, wire::TEXT | wire::BINARY);
        if !data || !frame.fin {
            return Err(format!("RSV1 on {frame:?}"));
        }
        frame.payload = inflater.message(&frame.payload)?;
        frame.rsv = 0;
        compressed += 1;
    }
    Ok(compressed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let takeover = Negotiated::default();
        let mut inflater = Inflater::new(&takeover, Role::Client);
        // RFC 7692 §7.2.3.1 and §7.2.3.2
        for payload in [
            &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
            b"\xf2\x00\x11\x00\x00",
        ] {
            assert_eq!(inflater.message(payload).as_deref(), Ok(&b"Hello"[..]));
        }
        let alone = Negotiated {
            client_no_context_takeover: true,
            ..takeover
        };
        let mut inflater = Inflater::new(&alone, Role::Client);
        assert!(inflater.message(&stored(b"abc")).is_ok());
        assert!(inflater.message(b"\xf2\x00\x11\x00\x00").is_err());
        assert_eq!(
            stored(b"Hello"),
            b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"
        );
    }
}
