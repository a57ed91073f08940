//! A second reader and writer of frames, plain and slow, for checking the first; it shares no code with it.

/// The key that the table's client frames are masked with, the one of RFC 6455 §5.7.
pub const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A frame with its payload unmasked.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// FIN.
    pub fin: bool,
    /// RSV1, RSV2, RSV3 as the bits 4, 2, 1.
    pub rsv: u8,
    /// The low four bits of the first octet.
    pub opcode: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Continuation, text, binary, Close, Ping and Pong.
pub const CONT: u8 = 0;
/// Text.
pub const TEXT: u8 = 1;
/// Binary.
pub const BINARY: u8 = 2;
/// Close.
pub const CLOSE: u8 = 8;
/// Ping.
pub const PING: u8 = 9;
/// Pong.
pub const PONG: u8 = 10;

impl Frame {
    /// A final frame without reserved bits.
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Frame {
        let (fin, rsv, payload) = (true, 0, payload.into());
        Frame {
            fin,
            rsv,
            opcode,
            payload,
        }
    }

    /// The frame as it goes on the wire, masked with `key` if there is one.
    pub fn write(&self, key: Option<[u8; 4]>) -> Vec<u8> {
        Spelling::default().write(self, key)
    }

    /// The code in a Close frame's payload.
    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.get(..2)?;
        (self.opcode == CLOSE).then(|| u16::from_be_bytes([code[0], code[1]]))
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.payload[..self.payload.len().min(40)];
        let (fin, rsv, opcode) = (u8::from(self.fin), self.rsv, self.opcode);
        write!(f, "[fin={fin} rsv={rsv} op={opcode} ")?;
        write!(f, "{} B \"{}\"]", self.payload.len(), shown.escape_ascii())
    }
}

/// How a length is spelled; the default is the shortest form of the true length.
#[derive(Clone, Copy, Default, Debug)]
pub struct Spelling {
    /// Octets of the extended length, 2 or 8, whatever the length is.
    pub extended: Option<u8>,
    /// The length announced, where it is not the payload's.
    pub announced: Option<u64>,
}

impl Spelling {
    /// The frame as it goes on the wire.
    pub fn write(self, frame: &Frame, key: Option<[u8; 4]>) -> Vec<u8> {
        let len = self.announced.unwrap_or(frame.payload.len() as u64);
        let extended = self.extended.unwrap_or(match len {
            0..=125 => 0,
            126..=0xFFFF => 2,
            _ => 8,
        });
        let masked = if key.is_some() { 0x80 } else { 0 };
        let mut out = vec![(u8::from(frame.fin) << 7) | (frame.rsv << 4) | frame.opcode];
        match extended {
            2 => {
                out.push(masked | 126);
                out.extend((len as u16).to_be_bytes());
            }
            8 => {
                out.push(masked | 127);
                out.extend(len.to_be_bytes());
            }
            _ => out.push(masked | len as u8),
        }
        out.extend(key.into_iter().flatten());
        let key = key.unwrap_or_default();
        let octets = frame.payload.iter().enumerate();
        out.extend(octets.map(|(i, octet)| octet ^ key[i % 4]));
        out
    }
}

/// Reads the frame at the front of `bytes`: it and its length on the wire, or `None` when it is cut off.
///
/// # Errors
/// A sentence, when a rule of RFC 6455 §5.1 or §5.2 for a sender is broken: a mask where none belongs or the
/// other way round, a length that is not minimal, a reserved opcode, a control frame in pieces or too long.
pub fn read_frame(bytes: &[u8], masked: bool) -> Result<Option<(Frame, usize)>, String> {
    let (Some(&first), Some(&second)) = (bytes.first(), bytes.get(1)) else {
        return Ok(None);
    };
    let (opcode, fin) = (first & 15, first >> 7 == 1);
    if !matches!(opcode, CONT | TEXT | BINARY | CLOSE | PING | PONG) {
        return Err(format!("reserved opcode {opcode} was sent"));
    }
    if (second >> 7 == 1) != masked {
        return Err(format!("a frame with the mask bit {}", second >> 7));
    }
    let number = |octets: &[u8]| octets.iter().fold(0u64, |n, &o| n << 8 | u64::from(o));
    let (len, mut at, least) = match second & 127 {
        126 if bytes.len() >= 4 => (number(&bytes[2..4]), 4, 126),
        127 if bytes.len() >= 10 => (number(&bytes[2..10]), 10, 65_536),
        126 | 127 => return Ok(None),
        short => (u64::from(short), 2, 0),
    };
    if len < least || len >> 63 == 1 {
        return Err(format!("the length {len} in a form it must not have"));
    }
    if opcode >= 8 && (!fin || len > 125) {
        return Err(format!("a control frame with fin={fin}, {len} octets"));
    }
    let mut key = [0; 4];
    if masked {
        let Some(octets) = bytes.get(at..at + 4) else {
            return Ok(None);
        };
        key.copy_from_slice(octets);
        at += 4;
    }
    if ((bytes.len() - at) as u64) < len {
        return Ok(None);
    }
    let end = at + len as usize;
    let octets = bytes[at..end].iter().enumerate();
    let frame = Frame {
        fin,
        rsv: first >> 4 & 7,
        opcode,
        payload: octets.map(|(i, octet)| octet ^ key[i % 4]).collect(),
    };
    Ok(Some((frame, end)))
}

/// Reads whole frames from all of `bytes`.
///
/// # Errors
/// As [`read_frame`]; and when octets are left over.
pub fn read_frames(mut bytes: &[u8], masked: bool) -> Result<Vec<Frame>, String> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (frame, len) = read_frame(bytes, masked)?
            .ok_or_else(|| format!("{} octets of an unfinished frame", bytes.len()))?;
        frames.push(frame);
        bytes = &bytes[len..];
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_written_and_read() {
        // RFC 6455 §5.7
        let hello = Frame::new(TEXT, "Hello");
        let plain = b"\x81\x05Hello".to_vec();
        let masked = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec();
        assert_eq!(
            (hello.write(None), hello.write(Some(KEY))),
            (plain.clone(), masked.clone())
        );
        assert_eq!(read_frames(&plain, false), Ok(vec![hello.clone()]));
        assert_eq!(read_frames(&masked, true), Ok(vec![hello]));
        assert_eq!(
            Frame::new(BINARY, vec![0; 256]).write(None)[..4],
            [0x82, 0x7E, 1, 0]
        );
        let long = Frame::new(BINARY, vec![0; 65_536]).write(None);
        assert_eq!(long[..10], [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn what_a_sender_must_not_do_is_found() {
        for bad in [
            &b"\x83\x00"[..],
            b"\x09\x00",
            b"\x89\x7E\x00\x7E",
            b"\x82\x7E\x00\x7D",
            b"\x82\x7F\0\0\0\0\0\0\xFF\xFF",
            b"\x81\x80\0\0\0\0",
        ] {
            assert!(read_frames(bad, false).is_err(), "{bad:02x?}");
        }
        assert!(read_frames(b"\x81\x00", true).is_err());
        assert!(read_frames(b"\x81\x05Hell", false).is_err(), "cut off");
    }
}
