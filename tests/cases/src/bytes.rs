//! The language of octets: hex, text, frames, heads and what repeats them, read into octets and steps. It
//! never judges what they mean.

use crate::inflate;
use crate::wire::{self, Frame, KEY, Spelling};
use std::collections::HashMap;
use std::time::Duration;
use tidegate_proto::Role;

/// One step of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The peer's octets come; how they are cut is the runner's matter.
    Bytes(Vec<u8>),
    /// `~5s`, `~100ms`: time passes, and timers that are due run.
    Wait(Duration),
    /// `!close 1000 "why"`: our application closes.
    Close(u16, String),
    /// `!text "…"`: our application sends.
    Send(String),
    /// `!eof`: the peer sends no more.
    Eof,
}

/// What `let name = …` has defined.
pub(crate) type Names = HashMap<String, Vec<u8>>;

/// Reads one row from left to right.
pub(crate) struct Reader<'a> {
    rest: &'a str,
    names: &'a Names,
    /// Whose peer speaks: to a server frames come masked.
    role: Role,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str, names: &'a Names, role: Role) -> Reader<'a> {
        Reader {
            rest: text,
            names,
            role,
        }
    }

    /// All steps up to the end.
    pub(crate) fn steps(&mut self) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        while !self.at_end() {
            match self.rest.as_bytes()[0] {
                b'!' | b'~' => steps.push(self.action()?),
                _ => {
                    let bytes = self.term()?;
                    match steps.last_mut() {
                        Some(Step::Bytes(before)) => before.extend(bytes),
                        _ => steps.push(Step::Bytes(bytes)),
                    }
                }
            }
        }
        Ok(steps)
    }

    /// Terms up to the end, or to one of `words`.
    pub(crate) fn bytes_before(&mut self, words: &[&str]) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        while !self.at_end() && !words.contains(&self.peek_word()) && !self.rest.starts_with('@') {
            bytes.extend(self.term()?);
        }
        Ok(bytes)
    }

    pub(crate) fn at_end(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.is_empty()
    }

    /// The next word without taking it: letters, digits and hyphens.
    pub(crate) fn peek_word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let in_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == ':';
        let end = self.rest.find(|c| !in_word(c));
        &self.rest[..end.unwrap_or(self.rest.len())]
    }

    pub(crate) fn word(&mut self) -> &'a str {
        let word = self.peek_word();
        self.rest = &self.rest[word.len()..];
        word
    }

    /// A decimal number, if one is next.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let number = self.peek_word().parse().ok()?;
        self.word();
        Some(number)
    }

    /// `"text"`, if it is next.
    pub(crate) fn text(&mut self) -> Result<Option<String>, String> {
        self.rest = self.rest.trim_start();
        if !self.rest.starts_with('"') {
            return Ok(None);
        }
        let text = String::from_utf8(self.string()?);
        text.map(Some).map_err(|error| error.to_string())
    }

    pub(crate) fn take(&mut self, sign: char) -> bool {
        self.rest = self.rest.trim_start();
        let found = self.rest.strip_prefix(sign);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn action(&mut self) -> Result<Step, String> {
        if self.take('~') {
            return self.wait();
        }
        self.take('!');
        match self.word() {
            "close" => {
                let code = self.number().ok_or("!close wants a code")?;
                let reason = self.text()?.unwrap_or_default();
                Ok(Step::Close(code as u16, reason))
            }
            "text" => Ok(Step::Send(self.text()?.ok_or("!text wants a text")?)),
            "eof" => Ok(Step::Eof),
            other => Err(format!("no action is called !{other}")),
        }
    }

    fn wait(&mut self) -> Result<Step, String> {
        let word = self.word();
        let split = word.find(|c: char| !c.is_ascii_digit());
        let (number, unit) = word.split_at(split.unwrap_or(word.len()));
        let number: u64 = number.parse().map_err(|_| "~ wants a time")?;
        match unit {
            "s" => Ok(Step::Wait(Duration::from_secs(number))),
            "ms" => Ok(Step::Wait(Duration::from_millis(number))),
            _ => Err(format!("{unit:?} is no unit of time")),
        }
    }

    /// One term and its `*N`.
    fn term(&mut self) -> Result<Vec<u8>, String> {
        self.rest = self.rest.trim_start();
        let mut bytes = match self.rest.as_bytes().first() {
            Some(b'"') => self.string()?,
            Some(b'[') => self.frame()?,
            Some(b'{') => self.head()?,
            Some(b'(') => self.group('(', ')')?,
            Some(b'$') => self.name()?,
            _ => self.hex()?,
        };
        while let Some(rest) = self.rest.strip_prefix('*') {
            self.rest = rest;
            let times = self.number().ok_or("* wants a number")?;
            bytes = bytes.repeat(times as usize);
        }
        Ok(bytes)
    }

    fn hex(&mut self) -> Result<Vec<u8>, String> {
        let word = self.word();
        if self.rest.starts_with('(') {
            return self.coded(word);
        }
        if word.is_empty() || word.len() % 2 == 1 || !word.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("no octets: {:?}", excerpt(word, self.rest)));
        }
        let pair = |at| u8::from_str_radix(&word[at..at + 2], 16).expect("hex digits");
        Ok((0..word.len()).step_by(2).map(pair).collect())
    }

    /// `deflated("text")`, `stored("text")`: a compressed message.
    fn coded(&mut self, codec: &str) -> Result<Vec<u8>, String> {
        let message = self.group('(', ')')?;
        match codec {
            "deflated" => Ok(inflate::deflated(&message)),
            "stored" => Ok(inflate::stored(&message)),
            other => Err(format!("nothing codes {other:?}")),
        }
    }

    fn name(&mut self) -> Result<Vec<u8>, String> {
        self.take('$');
        let name = self.word();
        let known = self.names.get(name).cloned();
        known.ok_or_else(|| format!("${name} is not defined above"))
    }

    fn group(&mut self, open: char, close: char) -> Result<Vec<u8>, String> {
        self.take(open);
        let mut bytes = Vec::new();
        while !self.take(close) {
            if self.at_end() {
                return Err(format!("{close:?} is missing"));
            }
            bytes.extend(self.term()?);
        }
        Ok(bytes)
    }

    /// `"text"` with escapes.
    fn string(&mut self) -> Result<Vec<u8>, String> {
        self.rest = &self.rest[1..];
        let mut bytes = Vec::new();
        loop {
            match self.next_char()? {
                '"' => return Ok(bytes),
                '\\' => bytes.push(self.escape()?),
                c => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
    }

    fn escape(&mut self) -> Result<u8, String> {
        Ok(match self.next_char()? {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            '0' => 0,
            'x' => {
                let digits = self.rest.get(..2).ok_or("\\x wants two hex digits")?;
                self.rest = &self.rest[2..];
                u8::from_str_radix(digits, 16).map_err(|_| "\\x wants two hex digits")?
            }
            c if c.is_ascii_punctuation() => c as u8,
            c => return Err(format!("no escape: \\{c}")),
        })
    }

    fn next_char(&mut self) -> Result<char, String> {
        let c = self
            .rest
            .chars()
            .next()
            .ok_or("the row ends in the middle")?;
        self.rest = &self.rest[c.len_utf8()..];
        Ok(c)
    }

    /// `[text more rsv1 "Hel"]`: an opcode, flags, a payload.
    fn frame(&mut self) -> Result<Vec<u8>, String> {
        self.take('[');
        let mut frame = Frame::new(opcode(self.word())?, []);
        let mut key = (self.role == Role::Server).then_some(KEY);
        let mut spelling = Spelling::default();
        let mut raw = frame.opcode != wire::CLOSE;
        loop {
            match self.peek_word() {
                "more" => frame.fin = false,
                "rsv1" => frame.rsv |= 4,
                "rsv2" => frame.rsv |= 2,
                "rsv3" => frame.rsv |= 1,
                "masked" => key = Some(KEY),
                "unmasked" => key = None,
                "zeros" => key = Some([0; 4]),
                "len16" => spelling.extended = Some(2),
                "len64" => spelling.extended = Some(8),
                "raw" => raw = true,
                word => match word.strip_prefix("announce:") {
                    Some(len) => spelling.announced = Some(len.parse().map_err(|_| "a number")?),
                    None => break,
                },
            }
            self.word();
        }
        if !raw {
            let code = self.number().map(|code| (code as u16).to_be_bytes());
            frame.payload.extend(code.into_iter().flatten());
        }
        while !self.take(']') {
            frame.payload.extend(self.term()?);
        }
        Ok(spelling.write(&frame, key))
    }

    /// `{start line | Name: value | +Name: value | -Name}`: a head with the usual fields, changed.
    fn head(&mut self) -> Result<Vec<u8>, String> {
        self.take('{');
        let mut parts = vec![Vec::new()];
        let mut part = 0;
        loop {
            match self.next_char()? {
                '}' => break,
                '|' => {
                    parts.push(Vec::new());
                    part += 1;
                }
                '\\' => parts[part].push(self.escape()?),
                '<' => {
                    let repeated = self.group('\0', '>')?;
                    parts[part].extend(repeated);
                }
                c => parts[part].extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.trim_ascii()).collect();
        Ok(assemble(&parts))
    }
}

fn opcode(word: &str) -> Result<u8, String> {
    Ok(match word {
        "cont" => wire::CONT,
        "text" => wire::TEXT,
        "binary" => wire::BINARY,
        "close" => wire::CLOSE,
        "ping" => wire::PING,
        "pong" => wire::PONG,
        _ => match word.strip_prefix("op").map(str::parse) {
            Some(Ok(code @ 0..=15)) => code,
            _ => return Err(format!("{word:?} is no opcode")),
        },
    })
}

/// The fields of a good request, and of a good answer to [`crate::run::dial`].
const REQUEST: [&[u8]; 5] = [
    b"Host: example.com",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
];
const RESPONSE: [&[u8]; 3] = [
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
];

fn assemble(parts: &[&[u8]]) -> Vec<u8> {
    let (start, changes) = (parts[0], &parts[1..]);
    let usual: &[&[u8]] = if start.starts_with(b"HTTP/1.1 101") {
        &RESPONSE
    } else if start.starts_with(b"HTTP/") {
        &[]
    } else {
        &REQUEST
    };
    let mut lines: Vec<Vec<u8>> = usual.iter().map(|line| line.to_vec()).collect();
    for change in changes {
        let at = lines
            .iter()
            .position(|line| name_of(line) == name_of(change));
        match (change.first(), at) {
            (Some(b'-'), _) => lines.retain(|line| name_of(line) != name_of(&change[1..])),
            (Some(b'+'), _) => lines.push(change[1..].to_vec()),
            (_, Some(at)) => lines[at] = change.to_vec(),
            (_, None) => lines.push(change.to_vec()),
        }
    }
    let mut head = start.to_vec();
    for line in lines {
        head.extend(b"\r\n");
        head.extend(line);
    }
    head.extend(b"\r\n\r\n");
    head
}

fn name_of(line: &[u8]) -> Vec<u8> {
    let name = line.split(|&b| b == b':').next().unwrap_or_default();
    name.to_ascii_lowercase()
}

fn excerpt(word: &str, rest: &str) -> String {
    word.chars().chain(rest.chars()).take(30).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, role: Role) -> Result<Vec<u8>, String> {
        let names = Names::from([("hi".to_owned(), b"hi!".to_vec())]);
        Reader::new(text, &names, role).bytes_before(&[])
    }

    #[test]
    fn octets_are_spelled_in_many_ways() {
        let rows: &[(&str, &[u8])] = &[
            ("0aFF 00*3", b"\x0a\xff\0\0\0"),
            (r#""a\r\n\x41\0\"é" 41"#, "a\r\nA\0\"éA".as_bytes()),
            (r#"("ab" 00)*2 $hi"#, b"ab\0ab\0hi!"),
            (r#"[text "Hello"]"#, b"\x81\x05Hello"),
            (r#"[text more rsv1 "a"]"#, b"\x41\x01a"),
            (r#"[close]"#, b"\x88\x00"),
            (r#"[close 1000 "x"]"#, b"\x88\x03\x03\xe8x"),
            (r#"[close raw 03]"#, b"\x88\x01\x03"),
            (r#"[binary len16 00]"#, b"\x82\x7e\0\x01\0"),
            (r#"[op3 announce:300]"#, b"\x83\x7e\x01\x2c"),
            (
                r#"[ping masked "Hello"]"#,
                b"\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text, Role::Client).as_deref(), Ok(*expected), "{text}");
        }
        let masked = read(r#"[text "Hello"]"#, Role::Server).unwrap();
        assert_eq!(masked, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        for bad in [
            "0", "zz", "\"", "[text", "(00", "$no", "[what]", "\"\\q\"", "00*",
        ] {
            assert!(read(bad, Role::Client).is_err(), "{bad}");
        }
    }

    #[test]
    fn heads_are_the_usual_one_with_changes() {
        let head = read(
            r"{GET / HTTP/1.1 | -upgrade | Host: b\|<41*3> | +host: c | X: \r}",
            Role::Server,
        );
        let expected = "GET / HTTP/1.1\r\nHost: b|AAA\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nhost: c\r\nX:\r\n\r\n";
        assert_eq!(String::from_utf8(head.unwrap()).unwrap(), expected);
        let refused = read("{HTTP/1.1 404 No}", Role::Client);
        assert_eq!(refused.as_deref(), Ok(&b"HTTP/1.1 404 No\r\n\r\n"[..]));
    }

    #[test]
    fn steps_are_octets_and_actions() {
        let text = r#"00 01 ~5s !close 1001 "bye" ~10ms 02 !text "x" !eof"#;
        let names = Names::new();
        let steps = Reader::new(text, &names, Role::Server).steps();
        let expected = vec![
            Step::Bytes(vec![0, 1]),
            Step::Wait(Duration::from_secs(5)),
            Step::Close(1001, "bye".into()),
            Step::Wait(Duration::from_millis(10)),
            Step::Bytes(vec![2]),
            Step::Send("x".into()),
            Step::Eof,
        ];
        assert_eq!(steps, Ok(expected));
    }
}
