//! One connection as lines for people: the handshake with its secrets left out, then each frame as its octets pass.
//! It only looks: when it cannot read a direction it says so and is silent on it from then on.

use super::{hex, redact};
use std::fmt::Write as _;
use tidegate::client::Established;
use tidegate_proto::CloseCode;
use tidegate_proto::frame::{FrameHeader, OpCode};
use tidegate_proto::mask::apply_mask;

/// Who sent the octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum From {
    /// We did.
    Us,
    /// The server did.
    Server,
}

/// Reads both directions of a connection.
#[derive(Default)]
pub(crate) struct Inspector {
    ours: Direction,
    theirs: Direction,
}

/// One direction.
#[derive(Default)]
struct Direction {
    /// A frame's header that is not whole yet.
    rest: Vec<u8>,
    at: At,
}

#[derive(Default)]
enum At {
    /// Before a frame.
    #[default]
    Frame,
    /// Inside a frame's payload.
    Payload(Payload),
    /// What came was no frame.
    Lost,
}

struct Payload {
    header: FrameHeader,
    left: u64,
    /// The beginning of it, unmasked, as much as is shown.
    shown: Vec<u8>,
    seen: u64,
}

/// Draws the handshake.
pub(crate) fn handshake(how: &Established, say: &mut dyn FnMut(String)) {
    head("→", &how.request, say);
    head("←", how.headers.head(), say);
}

/// Draws one head.
pub(crate) fn head(arrow: &str, octets: &[u8], say: &mut dyn FnMut(String)) {
    for line in String::from_utf8_lossy(octets)
        .lines()
        .filter(|line| !line.is_empty())
    {
        say(format!("{arrow} {}", hex::harmless(&redact::line(line))));
    }
}

impl Inspector {
    /// Looks at octets; each line goes to `say`.
    pub(crate) fn look(&mut self, from: From, octets: &[u8], say: &mut dyn FnMut(String)) {
        let direction = match from {
            From::Us => &mut self.ours,
            From::Server => &mut self.theirs,
        };
        let arrow = match from {
            From::Us => "→",
            From::Server => "←",
        };
        direction.look(octets, &mut |line| say(format!("{arrow} {line}")));
    }
}

impl Direction {
    fn look(&mut self, octets: &[u8], say: &mut dyn FnMut(String)) {
        let mut octets = octets;
        while !octets.is_empty() {
            octets = match &mut self.at {
                At::Frame => self.header(octets, say),
                At::Payload(payload) => {
                    let rest = payload.take(octets);
                    self.end_of_payload(say);
                    rest
                }
                At::Lost => return,
            };
        }
    }

    fn header<'a>(&mut self, octets: &'a [u8], say: &mut dyn FnMut(String)) -> &'a [u8] {
        let before = self.rest.len();
        let most = (MAX_HEADER - before).min(octets.len());
        self.rest.extend_from_slice(&octets[..most]);
        match FrameHeader::parse(&self.rest) {
            Ok(Some((header, len))) => {
                self.rest.clear();
                self.at = At::Payload(Payload {
                    left: header.len,
                    header,
                    shown: Vec::new(),
                    seen: 0,
                });
                self.end_of_payload(say);
                &octets[len - before..]
            }
            Ok(None) => &[],
            Err(error) => {
                self.lose(&error.to_string(), say);
                &[]
            }
        }
    }

    fn end_of_payload(&mut self, say: &mut dyn FnMut(String)) {
        if let At::Payload(payload) = &self.at {
            if payload.left == 0 {
                say(payload.line());
                self.at = At::Frame;
            }
        }
    }

    fn lose(&mut self, why: &str, say: &mut dyn FnMut(String)) {
        say(format!("what follows cannot be drawn: {why}"));
        self.at = At::Lost;
        self.rest = Vec::new();
    }
}

impl Payload {
    /// Takes its part of `octets`, and gives back the rest.
    fn take<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        let n = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(octets.len());
        let wanted = SHOWN.saturating_sub(self.shown.len()).min(n);
        let start = self.shown.len();
        self.shown.extend_from_slice(&octets[..wanted]);
        if let Some(mask) = self.header.mask {
            apply_mask(mask.advanced(start), &mut self.shown[start..]);
        }
        self.left -= n as u64;
        self.seen += n as u64;
        &octets[n..]
    }

    fn line(&self) -> String {
        let header = &self.header;
        let name = match header.opcode {
            OpCode::Text => "text",
            OpCode::Binary => "binary",
            OpCode::Continuation => "contin.",
            OpCode::Ping => "ping",
            OpCode::Pong => "pong",
            OpCode::Close => "close",
        };
        let mut line = format!("{name:<7}");
        for (is, flag) in [
            (header.fin, "fin"),
            (header.rsv1, "rsv1"),
            (header.mask.is_some(), "mask"),
        ] {
            line.push_str(if is { " " } else { " -" });
            line.push_str(if is { flag } else { &"----"[..flag.len() - 1] });
        }
        let infallible = "writing to a String cannot fail";
        write!(line, " {:>7} B", self.seen).expect(infallible);
        if header.opcode == OpCode::Close {
            line.push_str(&close(&self.shown));
        } else if header.rsv1 {
            line.push_str("  (compressed)");
        } else if self.seen > 0 {
            let mut all = self.shown.clone();
            if self.seen > all.len() as u64 {
                all.push(b' '); // so that the preview knows of more
            }
            write!(line, "  {}", hex::preview(&all, SHOWN)).expect(infallible);
        }
        line
    }
}

fn close(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let known = CloseCode::new(code).map_or(" (not allowed)", |_| "");
            format!("  {code}{known} {}", hex::preview(reason, SHOWN))
        }
        _ => "  without a code".to_owned(),
    }
}

/// Octets of a payload that are shown.
const SHOWN: usize = 72;
const MAX_HEADER: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is drawn of a connection whose octets come in pieces of `n`.
    fn drawn(ours: &[u8], theirs: &[u8], n: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut inspector = Inspector::default();
        for (from, octets) in [(From::Us, ours), (From::Server, theirs)] {
            for piece in octets.chunks(n) {
                inspector.look(from, piece, &mut |line| lines.push(line));
            }
        }
        lines
    }

    #[test]
    fn frames_are_drawn_however_they_are_cut() {
        let ours = b"\x81\x85\x01\x02\x03\x04\x69\x67\x6f\x68\x6e"; // "hello"
        let theirs = b"\x02\x02\xff\x00\x80\x01a\x89\x00\xc1\x01x\x88\x05\x03\xe8bye";
        let expected = [
            "→ text    fin ---- mask       5 B  \"hello\"",
            "← binary  --- ---- ----       2 B  ff 00",
            "← contin. fin ---- ----       1 B  \"a\"",
            "← ping    fin ---- ----       0 B",
            "← text    fin rsv1 ----       1 B  (compressed)",
            "← close   fin ---- ----       5 B  1000 \"bye\"",
        ];
        for n in [1, 2, 3, 7, 1_000] {
            assert_eq!(drawn(ours, theirs, n), expected, "in pieces of {n}");
        }
    }

    #[test]
    fn heads_are_drawn_without_their_secrets() {
        let octets = b"GET /?token=hush HTTP/1.1\r\nHost: a\r\nAuthorization: Basic hush\r\n\r\n";
        let mut lines = Vec::new();
        head("→", octets, &mut |line| lines.push(line));
        let expected = [
            "→ GET /?token=… HTTP/1.1",
            "→ Host: a",
            "→ Authorization: Basic …",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn of_a_long_payload_the_beginning_is_shown() {
        let mut theirs = b"\x82\x7e\x01\x00".to_vec();
        theirs.extend([b'x'; 256]);
        let expected = format!(
            "← binary  fin ---- ----     256 B  \"{}\"…",
            "x".repeat(SHOWN)
        );
        assert_eq!(drawn(b"", &theirs, 5), [expected]);
    }

    #[test]
    fn what_is_no_frame_ends_the_drawing_of_its_direction() {
        let lines = drawn(b"\x82\x00", b"\x83\x00\x81\x00", 100);
        assert_eq!(lines[0], "→ binary  fin ---- ----       0 B");
        assert!(
            lines.len() == 2 && lines[1].contains("cannot be drawn"),
            "{lines:?}"
        );
    }
}
