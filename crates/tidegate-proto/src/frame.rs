//! The frame header (RFC 6455 §5.2): parse and encode; never touches a payload.

use crate::error::ProtocolError;
use crate::mask::MaskKey;
use std::fmt;

/// Longest header: two octets, a 64-bit length and a masking key.
pub const MAX_HEADER: usize = 14;

/// Longest payload of a control frame (§5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// What a frame is (§5.2); reserved codes cannot be held.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum OpCode {
    /// A further piece of the message begun before.
    Continuation = 0x0,
    /// A message of UTF-8 text, or its first piece.
    Text = 0x1,
    /// A message of octets, or its first piece.
    Binary = 0x2,
    /// The end.
    Close = 0x8,
    /// Asks for a Pong.
    Ping = 0x9,
    /// Answers a Ping, or says unasked that the peer lives.
    Pong = 0xA,
}

impl OpCode {
    /// The opcode in the low four bits of a frame's first octet, if it is defined.
    pub const fn from_bits(bits: u8) -> Option<OpCode> {
        match bits & 0x0F {
            0x0 => Some(OpCode::Continuation),
            0x1 => Some(OpCode::Text),
            0x2 => Some(OpCode::Binary),
            0x8 => Some(OpCode::Close),
            0x9 => Some(OpCode::Ping),
            0xA => Some(OpCode::Pong),
            _ => None,
        }
    }

    /// Close, Ping and Pong (§5.5).
    pub const fn is_control(self) -> bool {
        self as u8 >= 0x8
    }
}

impl fmt::Display for OpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OpCode::Continuation => "continuation",
            OpCode::Text => "text",
            OpCode::Binary => "binary",
            OpCode::Close => "close",
            OpCode::Ping => "ping",
            OpCode::Pong => "pong",
        })
    }
}

/// The header of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// This is the message's last frame.
    pub fin: bool,
    /// RSV1: with permessage-deflate, the message is compressed (RFC 7692 §6).
    pub rsv1: bool,
    /// What the frame is.
    pub opcode: OpCode,
    /// The masking key; every client frame has one, no server frame does (§5.1).
    pub mask: Option<MaskKey>,
    /// Payload length in bytes, at most 2^63-1.
    pub len: u64,
}

impl FrameHeader {
    /// A final, unmasked frame.
    pub const fn new(opcode: OpCode, len: u64) -> FrameHeader {
        FrameHeader {
            fin: true,
            rsv1: false,
            opcode,
            mask: None,
            len,
        }
    }

    /// Reads a header from the front of `bytes`: the header and its length in octets, or `None` when more
    /// octets are needed. What the first octets say is judged before the rest has come.
    ///
    /// # Errors
    /// RSV2 or RSV3, a reserved opcode, a control frame in pieces or over 125 bytes, a length that is not
    /// minimal or over 2^63-1. RSV1 and the mask's presence are the connection's to judge.
    pub fn parse(bytes: &[u8]) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        //= rfc6455#5.2  a reserved bit without an extension that defines it fails the connection.
        if first & 0x30 != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        let code = first & 0x0F;
        let opcode = OpCode::from_bits(code).ok_or(ProtocolError::ReservedOpCode { code })?;
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(ProtocolError::FragmentedControl { opcode });
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        let short = second & 0x7F;
        if opcode.is_control() && short as usize > MAX_CONTROL_PAYLOAD {
            return Err(ProtocolError::ControlTooLong { opcode });
        }
        let Some((len, after_len)) = parse_length(short, bytes)? else {
            return Ok(None);
        };
        let (mask, end) = if second & 0x80 == 0 {
            (None, after_len)
        } else {
            match bytes.get(after_len..after_len + 4) {
                Some(key) => (Some(MaskKey::from_slice(key)), after_len + 4),
                None => return Ok(None),
            }
        };
        let header = FrameHeader {
            fin,
            rsv1: first & 0x40 != 0,
            opcode,
            mask,
            len,
        };
        Ok(Some((header, end)))
    }

    /// Writes the header to the front of `out`; returns its length in octets.
    pub fn encode(&self, out: &mut [u8; MAX_HEADER]) -> usize {
        out[0] = (u8::from(self.fin) << 7) | (u8::from(self.rsv1) << 6) | self.opcode as u8;
        //= rfc6455#5.2  the minimal number of octets encodes the length.
        let mut end = match self.len {
            0..=125 => {
                out[1] = self.len as u8;
                2
            }
            126..=0xFFFF => {
                out[1] = 126;
                out[2..4].copy_from_slice(&(self.len as u16).to_be_bytes());
                4
            }
            _ => {
                out[1] = 127;
                out[2..10].copy_from_slice(&self.len.to_be_bytes());
                10
            }
        };
        if let Some(mask) = self.mask {
            out[1] |= 0x80;
            out[end..end + 4].copy_from_slice(&mask.to_bytes());
            end += 4;
        }
        end
    }
}

/// What most headers say: a whole message, uncompressed, of at most 65,535 octets.
pub(crate) struct UsualHeader {
    pub(crate) opcode: OpCode,
    /// Zeros when frames of this direction are not masked.
    pub(crate) mask: MaskKey,
    pub(crate) header_len: usize,
    /// Payload length in bytes.
    pub(crate) len: usize,
}

impl UsualHeader {
    /// Reads such a header, and nothing but such a one; what else it may be, or whether it is wrong or cut,
    /// is [`FrameHeader::parse`]'s to say. `masked`: the peer has to mask.
    #[inline]
    pub(crate) fn parse(bytes: &[u8], masked: bool) -> Option<UsualHeader> {
        let (&[first, second], _) = bytes.split_first_chunk()?;
        let opcode = match first {
            0x81 => OpCode::Text,
            0x82 => OpCode::Binary,
            _ => return None,
        };
        if (second & 0x80 != 0) != masked {
            return None;
        }
        let (len, after_len) = match second & 0x7F {
            127 => return None,
            126 => {
                let field = bytes.get(2..4)?;
                (usize::from(u16::from_be_bytes([field[0], field[1]])), 4)
            }
            short => (usize::from(short), 2),
        };
        if after_len == 4 && len < 126 {
            return None;
        }
        let (mask, header_len) = if masked {
            let end = after_len + 4;
            (MaskKey::from_slice(bytes.get(after_len..end)?), end)
        } else {
            (MaskKey::default(), after_len)
        };
        Some(UsualHeader {
            opcode,
            mask,
            header_len,
            len,
        })
    }
}

/// The payload length and the offset behind it; `None` when its octets have not all come.
#[inline]
fn parse_length(short: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, ProtocolError> {
    match short {
        126 => {
            let Some(field) = bytes.get(2..4) else {
                return Ok(None);
            };
            let len = u64::from(u16::from_be_bytes([field[0], field[1]]));
            if len < 126 {
                return Err(ProtocolError::LengthNotMinimal);
            }
            Ok(Some((len, 4)))
        }
        127 => {
            let Some(field) = bytes.get(2..10) else {
                return Ok(None);
            };
            let len = u64::from_be_bytes(field.try_into().expect("eight octets"));
            if len >> 63 != 0 {
                return Err(ProtocolError::LengthTooLarge);
            }
            if len <= 0xFFFF {
                return Err(ProtocolError::LengthNotMinimal);
            }
            Ok(Some((len, 10)))
        }
        short => Ok(Some((u64::from(short), 2))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(fin: bool, opcode: OpCode, mask: Option<[u8; 4]>, len: u64) -> FrameHeader {
        let mask = mask.map(MaskKey::new);
        FrameHeader {
            fin,
            mask,
            ..FrameHeader::new(opcode, len)
        }
    }

    #[test]
    fn the_usual_header_is_read_as_any_other_or_left_alone() {
        // Every first and second octet, lengths that are minimal and not, and every cut.
        for (first, second) in (0..=0xFFFFu16).map(u16::to_be_bytes).map(|[a, b]| (a, b)) {
            for field in [[0, 5], [0, 125], [0, 126], [0x12, 0x34]] {
                let bytes = [first, second, field[0], field[1], 9, 8, 7, 6];
                for cut in 0..=bytes.len() {
                    for masked in [true, false] {
                        let Some(usual) = UsualHeader::parse(&bytes[..cut], masked) else {
                            continue;
                        };
                        let expected = FrameHeader {
                            mask: masked.then_some(usual.mask),
                            ..FrameHeader::new(usual.opcode, usual.len as u64)
                        };
                        let parsed = FrameHeader::parse(&bytes[..cut]);
                        assert_eq!(parsed, Ok(Some((expected, usual.header_len))));
                    }
                }
            }
        }
        let header = |opcode, len| header(true, opcode, Some([1, 2, 3, 4]), len);
        for opcode in [OpCode::Text, OpCode::Binary] {
            for len in [0, 1, 125, 126, 65_535] {
                let mut bytes = [0; MAX_HEADER];
                header(opcode, len).encode(&mut bytes);
                assert!(UsualHeader::parse(&bytes, true).is_some(), "{len}");
            }
        }
    }

    #[test]
    fn headers_round_trip_whole_and_with_a_tail_and_wait_for_every_octet() {
        let lengths = [0, 1, 125, 126, 127, 255, 256, 65_535, 65_536, (1 << 63) - 1];
        for len in lengths {
            for mask in [None, Some([1, 2, 3, 4])] {
                for fin in [true, false] {
                    let header = header(fin, OpCode::Binary, mask, len);
                    let mut bytes = [0xEE; MAX_HEADER];
                    let n = header.encode(&mut bytes);
                    assert_eq!(FrameHeader::parse(&bytes), Ok(Some((header, n))));
                    for cut in 0..n {
                        assert_eq!(
                            FrameHeader::parse(&bytes[..cut]),
                            Ok(None),
                            "{len} at {cut}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn bad_headers_are_refused_at_the_first_octet_that_shows_it() {
        use ProtocolError::*;
        let rows: &[(&[u8], ProtocolError)] = &[
            (b"\xA1", ReservedBits),
            (b"\x91", ReservedBits),
            (b"\x83", ReservedOpCode { code: 3 }),
            (b"\x8B", ReservedOpCode { code: 11 }),
            (b"\x8F", ReservedOpCode { code: 15 }),
            (
                b"\x09",
                FragmentedControl {
                    opcode: OpCode::Ping,
                },
            ),
            (
                b"\x08",
                FragmentedControl {
                    opcode: OpCode::Close,
                },
            ),
            (
                b"\x89\x7E",
                ControlTooLong {
                    opcode: OpCode::Ping,
                },
            ),
            (
                b"\x8A\xFF",
                ControlTooLong {
                    opcode: OpCode::Pong,
                },
            ),
            (b"\x82\x7E\x00\x7D", LengthNotMinimal),
            (
                b"\x82\x7F\x00\x00\x00\x00\x00\x00\xFF\xFF",
                LengthNotMinimal,
            ),
            (b"\x82\x7F\x80\x00\x00\x00\x00\x00\x00\x00", LengthTooLarge),
        ];
        for (bytes, error) in rows {
            assert_eq!(FrameHeader::parse(bytes), Err(*error), "{bytes:02x?}");
            assert_eq!(
                FrameHeader::parse(&bytes[..bytes.len() - 1]),
                Ok(None),
                "{bytes:02x?}"
            );
        }
    }
}
