//! A frame encoded once and shared by all its receivers; never masked, so it serves server-role peers.

use crate::frame::{FrameHeader, MAX_HEADER, OpCode};
use std::fmt;
use std::sync::Arc;

/// One whole message as a server sends it: header and payload, encoded once.
///
/// A clone is a reference count, so one value can wait in a thousand outboxes and travel between workers.
/// A client-role outbox masks its own copy.
#[derive(Clone)]
pub struct Encoded(Arc<Frame>);

struct Frame {
    octets: Vec<u8>,
    header_len: u8,
    opcode: OpCode,
}

impl Encoded {
    /// A text message.
    pub fn text(text: &str) -> Encoded {
        Encoded::new(OpCode::Text, text.as_bytes())
    }

    /// A binary message.
    pub fn binary(bytes: &[u8]) -> Encoded {
        Encoded::new(OpCode::Binary, bytes)
    }

    fn new(opcode: OpCode, payload: &[u8]) -> Encoded {
        let mut header = [0; MAX_HEADER];
        let header_len = FrameHeader::new(opcode, payload.len() as u64).encode(&mut header);
        let mut octets = Vec::with_capacity(header_len + payload.len());
        octets.extend_from_slice(&header[..header_len]);
        octets.extend_from_slice(payload);
        Encoded(Arc::new(Frame {
            octets,
            header_len: header_len as u8,
            opcode,
        }))
    }

    /// Text or binary.
    pub fn opcode(&self) -> OpCode {
        self.0.opcode
    }

    /// The message without its header.
    pub fn payload(&self) -> &[u8] {
        &self.0.octets[usize::from(self.0.header_len)..]
    }

    /// The frame as it goes on the wire.
    pub fn octets(&self) -> &[u8] {
        &self.0.octets
    }
}

impl fmt::Debug for Encoded {
    /// Kind and length only: payloads do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({}, {} B)", self.0.opcode, self.payload().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_header_and_payload() {
        let frame = Encoded::text("Hello");
        assert_eq!(frame.octets(), b"\x81\x05Hello");
        assert_eq!((frame.opcode(), frame.payload()), (OpCode::Text, &b"Hello"[..]));
        let long = Encoded::binary(&[7; 300]);
        assert_eq!(&long.octets()[..4], b"\x82\x7E\x01\x2C");
        assert_eq!(long.payload(), [7; 300]);
    }
}
