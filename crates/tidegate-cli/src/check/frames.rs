//! Frames for asking: writing ours, hearing the server's with an ear for anything. Nothing that comes is an error here;
//! what is wrong with it is told as it is.

/// A frame of the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    pub(crate) opcode: u8,
    /// It was masked, as no server's may be.
    pub(crate) masked: bool,
    /// Unmasked.
    pub(crate) payload: Vec<u8>,
}

impl Heard {
    /// The code of a Close.
    pub(crate) fn code(&self) -> Option<u16> {
        let code = self.payload.get(..2)?;
        Some(u16::from_be_bytes([code[0], code[1]]))
    }
}

pub(crate) const CONT: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A frame of a client, masked with the key of RFC 6455 §5.7: what it hides from is not on this path.
pub(crate) fn write(opcode: u8, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 14);
    out.push(u8::from(fin) << 7 | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(KEY);
    out.extend(
        payload
            .iter()
            .zip(KEY.iter().cycle())
            .map(|(octet, key)| octet ^ key),
    );
    out
}

/// Takes a frame from the front of `inbox`, if it is all there.
pub(crate) fn take(inbox: &mut Vec<u8>) -> Option<Heard> {
    let (first, second) = (*inbox.first()?, *inbox.get(1)?);
    let number = |octets: &[u8]| {
        octets
            .iter()
            .fold(0u64, |n, &octet| n << 8 | u64::from(octet))
    };
    let (len, mut at) = match second & 127 {
        126 => (number(inbox.get(2..4)?), 4),
        127 => (number(inbox.get(2..10)?), 10),
        short => (u64::from(short), 2),
    };
    let masked = second & 0x80 != 0;
    let mut key = [0; 4];
    if masked {
        key.copy_from_slice(inbox.get(at..at + 4)?);
        at += 4;
    }
    let end = at.checked_add(usize::try_from(len).ok()?)?;
    let octets = inbox.get(at..end)?;
    let payload = octets
        .iter()
        .zip(key.iter().cycle())
        .map(|(octet, key)| octet ^ key)
        .collect();
    inbox.drain(..end);
    Some(Heard {
        opcode: first & 15,
        masked,
        payload,
    })
}

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_written_as_the_rfc_does_and_heard_in_every_form() {
        assert_eq!(
            write(TEXT, true, b"Hello"),
            b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
        );
        for len in [0, 125, 126, 65_535, 65_536] {
            let payload = vec![7; len];
            let mut inbox = write(BINARY, false, &payload);
            for cut in [0, 1, 5, inbox.len() - 1] {
                assert_eq!(take(&mut inbox[..cut].to_vec()), None);
            }
            inbox.push(9);
            let heard = take(&mut inbox).expect("whole");
            assert!(heard.masked && heard.opcode == BINARY && heard.payload == payload);
            assert_eq!(inbox, [9]);
        }
        assert_eq!(
            take(&mut b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
            None
        );
    }
}
