//! A frame encoded once and shared by all its receivers; never masked, so it serves server-role peers.

use crate::deflate::{CodecKey, Codecs};
use crate::frame::{FrameHeader, MAX_HEADER, OpCode};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// One whole message as a server sends it: header and payload, encoded once.
///
/// A clone is a reference count, so one value can wait in a thousand outboxes and travel between workers.
/// A client-role outbox masks its own copy. Its deflated form is made when the first peer wants it, and
/// then shared by all that agreed on the same parameters.
#[derive(Clone)]
pub struct Encoded(Arc<Frame>);

struct Frame {
    octets: Vec<u8>,
    header_len: u8,
    opcode: OpCode,
    /// It may be compressed.
    compressible: bool,
    deflated: OnceLock<Box<Form>>,
}

/// The frame deflated with one parameter set, and the next form.
struct Form {
    key: CodecKey,
    /// `None` when deflating made it no shorter.
    frame: Option<Arc<Deflated>>,
    next: OnceLock<Box<Form>>,
}

/// A whole compressed frame as a server sends it; it refers to no message before it.
pub(super) struct Deflated {
    octets: Vec<u8>,
    header_len: u8,
}

impl Deflated {
    /// The frame as it goes on the wire.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The deflated payload.
    pub(super) fn payload(&self) -> &[u8] {
        &self.octets[usize::from(self.header_len)..]
    }
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
            compressible: true,
            deflated: OnceLock::new(),
        }))
    }

    /// The same message, never to be compressed: it is compressed already, or it tells a secret beside
    /// text that an attacker chooses. Peers that agreed on compression take it all the same (RFC 7692 §6).
    #[must_use]
    pub fn uncompressed(self) -> Encoded {
        if !self.0.compressible {
            return self;
        }
        let frame = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Frame {
            octets: shared.octets.clone(),
            header_len: shared.header_len,
            opcode: shared.opcode,
            compressible: true,
            deflated: OnceLock::new(),
        });
        Encoded(Arc::new(Frame {
            compressible: false,
            ..frame
        }))
    }

    /// It may be compressed.
    pub(super) fn is_compressible(&self) -> bool {
        self.0.compressible
    }

    /// The frame deflated by itself; `None` when that makes it no shorter. Deflates at the first call for
    /// each key, on whichever worker; another worker that wants it meanwhile waits for the result.
    pub(super) fn deflated(&self, key: CodecKey, codecs: &mut Codecs) -> Option<&Arc<Deflated>> {
        let mut place = &self.0.deflated;
        loop {
            let form = place.get_or_init(|| Box::new(self.form(key, codecs)));
            if form.key == key {
                return form.frame.as_ref();
            }
            place = &form.next;
        }
    }

    fn form(&self, key: CodecKey, codecs: &mut Codecs) -> Form {
        let mut compressor = codecs.take_compressor(key);
        let mut payload = Vec::new();
        compressor.message(self.payload(), &mut payload);
        codecs.deflated += 1;
        codecs.recycle_compressor(compressor);
        let frame = (payload.len() < self.payload().len()).then(|| {
            let mut header = [0; MAX_HEADER];
            let header_len = FrameHeader {
                rsv1: true,
                ..FrameHeader::new(self.0.opcode, payload.len() as u64)
            }
            .encode(&mut header);
            let mut octets = Vec::with_capacity(header_len + payload.len());
            octets.extend_from_slice(&header[..header_len]);
            octets.extend_from_slice(&payload);
            Arc::new(Deflated {
                octets,
                header_len: header_len as u8,
            })
        });
        Form {
            key,
            frame,
            next: OnceLock::new(),
        }
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

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use super::*;
    use crate::deflate::testing::Words;

    const KEYS: [CodecKey; 3] = [key(9), key(12), key(15)];

    const fn key(bits: u8) -> CodecKey {
        CodecKey {
            level: 1,
            bits,
            mem_level: 8,
        }
    }

    #[test]
    fn each_form_is_deflated_once_on_whichever_worker() {
        let frame = Encoded::binary(&Words::new(1).bytes(10_000));
        let deflated: u64 = std::thread::scope(|scope| {
            let worker = || {
                let mut codecs = Codecs::default();
                for key in KEYS.iter().cycle().take(300) {
                    let form = frame.deflated(*key, &mut codecs).expect("it shrinks");
                    assert!(form.octets().len() < frame.octets().len());
                }
                codecs.deflated
            };
            let workers = [
                scope.spawn(worker),
                scope.spawn(worker),
                scope.spawn(worker),
            ];
            workers
                .into_iter()
                .map(|w| w.join().expect("no panic"))
                .sum()
        });
        assert_eq!(deflated, KEYS.len() as u64);
    }

    #[test]
    fn what_does_not_shrink_has_no_deflated_form_and_is_tried_once() {
        let frame = Encoded::binary(&Words::new(2).noise(10_000));
        let mut codecs = Codecs::default();
        for _ in 0..5 {
            assert!(frame.deflated(key(15), &mut codecs).is_none());
        }
        assert_eq!(codecs.deflated, 1);
    }

    #[test]
    fn the_opt_out_leaves_other_clones_alone() {
        let frame = Encoded::text("Hello");
        let plain = frame.clone().uncompressed();
        assert!(frame.is_compressible() && !plain.is_compressible());
        assert_eq!(plain.octets(), frame.octets());
        assert!(
            !Encoded::text("x")
                .uncompressed()
                .uncompressed()
                .is_compressible()
        );
    }

    #[test]
    fn the_frame_is_header_and_payload() {
        let frame = Encoded::text("Hello");
        assert_eq!(frame.octets(), b"\x81\x05Hello");
        assert_eq!(
            (frame.opcode(), frame.payload()),
            (OpCode::Text, &b"Hello"[..])
        );
        let long = Encoded::binary(&[7; 300]);
        assert_eq!(&long.octets()[..4], b"\x82\x7E\x01\x2C");
        assert_eq!(long.payload(), [7; 300]);
    }
}
