//! Heads of HTTP/1.1: requests made of good ones and of the table's rows, and answers. It judges nothing.

use super::target::Target;
use crate::connect::{hex, redact};
use tidegate_proto::handshake::key::is_valid;

/// A request's head, line by line, and what follows it at once.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    lines: Vec<Vec<u8>>,
    tail: Vec<u8>,
}

/// What every request to this endpoint carries.
#[derive(Clone, Default, Debug)]
pub(crate) struct Usual {
    /// Fields of the user: credentials, cookies.
    pub(crate) fields: Vec<(String, String)>,
    /// An Origin that is let in.
    pub(crate) origin: Option<String>,
    /// Subprotocols to offer.
    pub(crate) protocols: Vec<String>,
}

impl Request {
    /// A good request.
    pub(crate) fn good(target: &Target, usual: &Usual, key: &str) -> Request {
        let lines = [
            format!("GET {} HTTP/1.1", target.path),
            format!("Host: {}", target.authority),
            "Upgrade: websocket".into(),
            "Connection: Upgrade".into(),
            format!("Sec-WebSocket-Key: {key}"),
            "Sec-WebSocket-Version: 13".into(),
        ];
        let lines = lines.map(String::into_bytes).to_vec();
        let tail = Vec::new();
        Request { lines, tail }.with_usual(usual)
    }

    /// A row of the table, as if it had been written for this endpoint.
    pub(crate) fn of_row(octets: &[u8], target: &Target, usual: &Usual) -> Request {
        let end = find(octets, b"\r\n\r\n").map_or(octets.len(), |at| at + 4);
        let mut lines = Vec::new();
        let mut rest = &octets[..end.saturating_sub(4)];
        while let Some(at) = find(rest, b"\r\n") {
            lines.push(rest[..at].to_vec());
            rest = &rest[at + 2..];
        }
        lines.push(rest.to_vec());
        lines[0] = replaced(&lines[0], b" /", format!(" {}", target.path).as_bytes());
        for line in &mut lines[1..] {
            *line = moved(line, target);
        }
        let tail = octets[end..].to_vec();
        Request { lines, tail }.with_usual(usual)
    }

    fn with_usual(mut self, usual: &Usual) -> Request {
        let protocols = usual.protocols.join(", ");
        let offer =
            (!protocols.is_empty()).then_some(("Sec-WebSocket-Protocol", protocols.as_str()));
        let origin = usual.origin.as_deref().map(|origin| ("Origin", origin));
        for (name, value) in origin.into_iter().chain(offer) {
            if !self.has(name) {
                self.lines.push(format!("{name}: {value}").into_bytes());
            }
        }
        for (name, value) in &usual.fields {
            self.lines.push(format!("{name}: {value}").into_bytes());
        }
        self
    }

    /// The same with this field instead of the one of its name.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Request {
        self.lines.retain(|line| !is_field(line, name));
        self.lines.push(format!("{name}: {value}").into_bytes());
        self
    }

    /// The same with another start line.
    pub(crate) fn to(mut self, start: &str) -> Request {
        self.lines[0] = start.as_bytes().to_vec();
        self
    }

    fn has(&self, name: &str) -> bool {
        self.lines.iter().any(|line| is_field(line, name))
    }

    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut octets = self.lines.join(&b"\r\n"[..]);
        octets.extend(b"\r\n\r\n");
        octets.extend(&self.tail);
        octets
    }

    /// Without secrets, and without what could act on a terminal.
    pub(crate) fn shown(&self) -> String {
        let lines: Vec<String> = self.lines.iter().map(|line| shown(line)).collect();
        lines.join("\n")
    }

    /// What it has that a good request has not, and the other way round, in a line.
    pub(crate) fn difference(&self, good: &Request) -> String {
        let mut words: Vec<String> = Vec::new();
        let times = |lines: &[Vec<u8>], line: &[u8]| lines.iter().filter(|l| *l == line).count();
        let keys = self.lines.iter().filter(|line| is_field(line, KEY)).count();
        let known = |line: &&Vec<u8>| {
            // Each request has a key of its own.
            let fresh =
                keys == 1 && is_field(line, KEY) && is_valid(line[KEY.len() + 1..].trim_ascii());
            fresh || times(&self.lines, line) <= times(&good.lines, line)
        };
        for line in self.lines.iter().filter(|line| !known(line)) {
            let text = shown(line);
            if !words.contains(&text) {
                words.push(text);
            }
        }
        for line in &good.lines[1..] {
            let name = name(line);
            if !self.has(&name) {
                words.push(format!("no {name}"));
            }
        }
        match words.is_empty() {
            true => shown(&self.lines[0]),
            false => words.join(" · "),
        }
    }
}

/// A line for people: long ones are cut.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = redact::line(&text);
    let cut: String = text.chars().take(MOST_SHOWN).collect();
    let more = text.chars().count().saturating_sub(MOST_SHOWN);
    let more = if more > 0 {
        format!("… ({more} more)")
    } else {
        String::new()
    };
    hex::harmless(&cut).replace('\0', "\\0") + &more
}

fn name(line: &[u8]) -> String {
    let name = line
        .split(|&octet| octet == b':')
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

fn is_field(line: &[u8], wanted: &str) -> bool {
    name(line).eq_ignore_ascii_case(wanted)
}

/// The table speaks of example.com; here it is somebody else.
fn moved(line: &[u8], target: &Target) -> Vec<u8> {
    if line == b"Host: example.com" {
        return format!("Host: {}", target.authority).into_bytes();
    }
    if !is_field(line, "Origin") {
        return line.to_vec();
    }
    let mut out = Vec::new();
    let mut rest = line;
    while let Some(at) = find(rest, EXAMPLE) {
        let after = &rest[at + EXAMPLE.len()..];
        // What has a port of its own, or goes on as a name, takes the name only.
        let place = match after.first() {
            Some(b':' | b'.') => &target.host,
            _ => &target.authority,
        };
        out.extend(&rest[..at]);
        out.extend(place.as_bytes());
        rest = after;
    }
    out.extend(rest);
    out
}

fn replaced(line: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    match find(line, what) {
        Some(at) => [&line[..at], by, &line[at + what.len()..]].concat(),
        None => line.to_vec(),
    }
}

pub(crate) fn find(octets: &[u8], what: &[u8]) -> Option<usize> {
    octets.windows(what.len()).position(|window| window == what)
}

/// An answer's head.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// `HTTP/1.1 101 Switching Protocols`.
    pub(crate) start: String,
    /// The status.
    pub(crate) status: u16,
    /// Lines of fields.
    pub(crate) lines: Vec<String>,
}

impl Answer {
    /// Takes an answer from the front of `inbox`, if it is all there; `Err` when what is there is none.
    pub(crate) fn take(inbox: &mut Vec<u8>) -> Result<Option<Answer>, ()> {
        let start = &inbox[..inbox.len().min(5)];
        if !b"HTTP/".starts_with(start) {
            return Err(());
        }
        let Some(end) = find(inbox, b"\r\n\r\n") else {
            return match inbox.len() > LONGEST_HEAD {
                true => Err(()),
                false => Ok(None),
            };
        };
        let head = String::from_utf8_lossy(&inbox[..end]).into_owned();
        // Also where a lone CR or LF stands: some reader will see a line there.
        let mut lines = head.split(['\r', '\n']).filter(|line| !line.is_empty());
        let start = lines.next().unwrap_or_default().to_owned();
        let lines = lines.map(str::to_owned).collect();
        let status = start
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .ok_or(())?;
        inbox.drain(..end + 4);
        Ok(Some(Answer {
            start,
            status,
            lines,
        }))
    }

    /// The values of a field.
    pub(crate) fn values<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a str> {
        let value = move |line: &'a String| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then_some(value.trim())
        };
        self.lines.iter().filter_map(value)
    }

    /// Whether a list has this token, in any case.
    pub(crate) fn lists(&self, field: &str, token: &str) -> bool {
        let mut words = self.values(field).flat_map(|value| value.split(','));
        words.any(|word| word.trim().eq_ignore_ascii_case(token))
    }

    /// Without secrets, and without what could act on a terminal.
    pub(crate) fn shown(&self) -> String {
        let lines = std::iter::once(&self.start).chain(&self.lines);
        let lines: Vec<String> = lines.map(|line| shown(line.as_bytes())).collect();
        lines.join("\n")
    }
}

const KEY: &str = "Sec-WebSocket-Key";
const EXAMPLE: &[u8] = b"example.com";
const MOST_SHOWN: usize = 200;
const LONGEST_HEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            secure: false,
            host: "localhost".into(),
            authority: "localhost:8000".into(),
            path: "/echo?a=1".into(),
            authorization: None,
            addr: "127.0.0.1:8000".parse().expect("an address"),
            shown: String::new(),
        }
    }

    #[test]
    fn rows_are_moved_to_the_endpoint() {
        let usual = Usual {
            fields: vec![("Cookie".into(), "a=hush".into())],
            ..Usual::default()
        };
        let row = b"GET /#x HTTP/1.1\r\nHost: example.com\r\nOrigin: http://example.com.evil.example\r\nX: example.com\r\n\r\nHello";
        let request = Request::of_row(row, &target(), &usual);
        let octets = String::from_utf8(request.octets()).expect("text");
        assert_eq!(
            octets,
            "GET /echo?a=1#x HTTP/1.1\r\nHost: localhost:8000\r\nOrigin: http://localhost.evil.example\r\n\
             X: example.com\r\nCookie: a=hush\r\n\r\nHello"
        );
        assert!(!request.shown().contains("hush"));
        let good = Request::good(&target(), &usual, "k");
        assert!(
            request
                .difference(&good)
                .starts_with("GET /echo?a=1#x HTTP/1.1 · Origin: http://localhost.evil")
        );
        assert!(request.difference(&good).contains("no Upgrade"));
        let again = Request::good(&target(), &usual, "dGhlIHNhbXBsZSBub25jZQ==");
        let other = again.clone().with("Origin", "null");
        assert_eq!(other.difference(&good), "Origin: null");
        let moved =
            |line: &str| String::from_utf8(moved(line.as_bytes(), &target())).expect("text");
        assert_eq!(
            moved("Origin: ws://example.com"),
            "Origin: ws://localhost:8000"
        );
        assert_eq!(
            moved("Origin: http://example.com:81"),
            "Origin: http://localhost:81"
        );
    }

    #[test]
    fn answers_are_read_when_they_are_whole() {
        let mut inbox =
            b"HTTP/1.1 101 OK\r\nupgrade: WebSocket\r\nX: a\rY: b\r\n\r\n\x81\x00".to_vec();
        let answer = Answer::take(&mut inbox).expect("HTTP").expect("whole");
        assert_eq!((answer.status, inbox.len()), (101, 2));
        assert!(answer.lists("Upgrade", "websocket"));
        assert_eq!(answer.values("y").next(), Some("b"));
        assert!(
            Answer::take(&mut b"HTTP/1.1 1".to_vec())
                .expect("HTTP so far")
                .is_none()
        );
        assert!(Answer::take(&mut b"SSH-2.0".to_vec()).is_err());
        assert!(Answer::take(&mut b"HTTP/1.1 x\r\n\r\n".to_vec()).is_err());
    }
}
