//! The NATS client protocol over WebSocket: lines and payloads, cut into frames wherever the server likes.

use super::{Frame, Heard};

/// All clients.
pub(crate) struct Nats {
    subject: String,
    /// For each client what came of a line or payload that goes on.
    rests: Vec<Vec<u8>>,
}

impl Nats {
    pub(super) fn new(subject: String) -> Nats {
        Nats {
            subject,
            rests: Vec::new(),
        }
    }

    pub(super) fn hello(&self) -> Frame {
        let subject = &self.subject;
        let text = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"protocol\":0}}\r\nSUB {subject} 1\r\nPING\r\n"
        );
        Frame::Binary(text.into_bytes())
    }

    pub(super) fn publish(&self, payload: &str) -> Frame {
        let text = format!("PUB {} {}\r\n{payload}\r\n", self.subject, payload.len());
        Frame::Binary(text.into_bytes())
    }

    pub(super) fn hear(&mut self, id: usize, message: &[u8], mut each: impl FnMut(Heard<'_>)) {
        if self.rests.len() <= id {
            self.rests.resize(id + 1, Vec::new());
        }
        let rest = &mut self.rests[id];
        if rest.is_empty() {
            let taken = operations(message, &mut each);
            rest.extend_from_slice(&message[taken..]);
            return;
        }
        rest.extend_from_slice(message);
        let taken = operations(rest, &mut each);
        rest.drain(..taken);
    }
}

/// Reads whole operations; returns how many octets they were.
fn operations(octets: &[u8], each: &mut impl FnMut(Heard<'_>)) -> usize {
    let mut taken = 0;
    while let Some((heard, len)) = operation(&octets[taken..]) {
        taken += len;
        if let Some(heard) = heard {
            each(heard);
        }
    }
    taken
}

/// The first operation and its length; `None` when it is not all there.
fn operation(octets: &[u8]) -> Option<(Option<Heard<'_>>, usize)> {
    let end = octets.windows(2).position(|window| window == b"\r\n")?;
    let (line, after) = (&octets[..end], end + 2);
    if line.starts_with(b"MSG ") {
        let digits = line.rsplit(|byte| *byte == b' ').next()?;
        let len = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse::<usize>().ok());
        let Some(len) = len.filter(|len| *len <= MOST) else {
            return Some((Some(Heard::Refused("a MSG without a length".into())), after));
        };
        let payload = octets.get(after..after + len)?;
        octets.get(after + len + 1)?;
        return Some((Some(Heard::Payload(payload)), after + len + 2));
    }
    let heard = match line {
        b"PING" => Some(Heard::Answer(Frame::Binary(b"PONG\r\n".to_vec()))),
        b"PONG" => Some(Heard::Ready),
        _ if line.starts_with(b"-ERR") => {
            Some(Heard::Refused(String::from_utf8_lossy(line).into_owned()))
        }
        _ => None,
    };
    Some((heard, after))
}

/// Longest payload a server may announce.
const MOST: usize = 128 << 20;

#[cfg(test)]
mod tests {
    use super::super::{Dialect, heard};
    use super::*;

    #[test]
    fn operations_are_read_however_they_are_cut() {
        let wire =
            b"INFO {}\r\nPONG\r\nMSG b 1 7\r\npay\r\nld\r\nPING\r\nMSG b 1 0\r\n\r\n-ERR 'no'\r\n";
        let all = ["Ready", "pay\r\nld", PONG, "", "Refused(\"-ERR 'no'\")"];
        for cut in 0..wire.len() {
            let mut dialect = Dialect::Nats(Nats::new("b".into()));
            let mut got = heard(&mut dialect, &wire[..cut]);
            got.extend(heard(&mut dialect, &wire[cut..]));
            assert_eq!(got, all, "cut at {cut}");
        }
    }

    #[test]
    fn what_it_publishes_names_its_length() {
        let frame = Nats::new("b".into()).publish("hello");
        assert_eq!(frame, Frame::Binary(b"PUB b 5\r\nhello\r\n".to_vec()));
    }

    const PONG: &str = "Answer(Binary([80, 79, 78, 71, 13, 10]))";
}
