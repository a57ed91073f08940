//! The syntax of `Sec-WebSocket-Extensions` (RFC 6455 §9.1), read in one pass; it never judges what an
//! extension means.

use super::fields::{is_token, is_token_char};
use std::borrow::Cow;
use std::fmt;

/// One element of the header: an extension offered by a client, or one accepted by a server.
///
/// Names are unknown to us as a rule: decline those, do not fail (RFC 6455 §9.1). The same name may stand
/// in several elements, as offers in order of preference; the same parameter may be given twice, which
/// most extensions forbid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extension<'a> {
    /// Its name, a token.
    pub name: &'a str,
    /// Its parameters in order: key, and value where there is one. A quoted value is given without its
    /// quotes and escapes; it is a token all the same.
    pub params: Vec<(&'a str, Option<Cow<'a, str>>)>,
}

/// The header is not of the form that RFC 6455 §9.1 gives it. Whoever sent it erred; a server answers 400,
/// a client fails the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadHeader {
    /// Offset of the octet that does not fit.
    pub at: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was expected at octet {}", self.expected, self.at)
    }
}

impl std::error::Error for BadHeader {}

/// Reads the value of one `Sec-WebSocket-Extensions` field. Where there are several fields, each is read
/// by itself and the results follow each other. Linear in time, whatever the header holds.
///
/// # Errors
/// [`BadHeader`] when the value does not follow the grammar, or names no extension at all.
///
/// ```
/// use tidegate_proto::handshake::parse_offers;
/// let offers = parse_offers(b"permessage-deflate; client_max_window_bits; server_max_window_bits=\"10\", other").unwrap();
/// assert_eq!(offers[0].name, "permessage-deflate");
/// assert_eq!(offers[0].params[0], ("client_max_window_bits", None));
/// assert_eq!(offers[0].params[1], ("server_max_window_bits", Some("10".into())));
/// assert_eq!(offers[1].name, "other");
/// ```
pub fn parse_offers(header: &[u8]) -> Result<Vec<Extension<'_>>, BadHeader> {
    Cursor::new(header).offers()
}

struct Cursor<'a> {
    header: &'a [u8],
    at: usize,
    #[cfg(test)]
    looks: std::cell::Cell<usize>,
}

impl<'a> Cursor<'a> {
    fn new(header: &'a [u8]) -> Cursor<'a> {
        Cursor {
            header,
            at: 0,
            #[cfg(test)]
            looks: std::cell::Cell::new(0),
        }
    }

    fn offers(&mut self) -> Result<Vec<Extension<'a>>, BadHeader> {
        let mut extensions = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                //= rfc9110#5.6.1.2  empty list elements are skipped.
                Some(b',') => self.at += 1,
                None if extensions.is_empty() => return Err(self.expected("an extension name")),
                None => return Ok(extensions),
                Some(_) => {
                    extensions.push(self.extension()?);
                    self.separator()?;
                }
            }
        }
    }

    fn extension(&mut self) -> Result<Extension<'a>, BadHeader> {
        let name = self.token("an extension name")?;
        let mut params = Vec::new();
        while self.take(b';') {
            let key = self.token("a parameter name")?;
            let value = self.take(b'=').then(|| self.value()).transpose()?;
            params.push((key, value));
        }
        Ok(Extension { name, params })
    }

    /// After an extension: a comma or the end.
    fn separator(&mut self) -> Result<(), BadHeader> {
        match self.peek() {
            None | Some(b',') => Ok(()),
            Some(_) => Err(self.expected("a comma, a semicolon or the end")),
        }
    }

    fn value(&mut self) -> Result<Cow<'a, str>, BadHeader> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => self.quoted(),
            _ => self.token("a parameter value").map(Cow::Borrowed),
        }
    }

    /// A quoted string, whose content must be a token once the escapes are gone (RFC 6455 §9.1).
    fn quoted(&mut self) -> Result<Cow<'a, str>, BadHeader> {
        self.at += 1;
        let start = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            let piece = self.run();
            if let Some(text) = &mut unescaped {
                text.push_str(piece);
            }
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    let text = unescaped.get_or_insert_with(|| piece.to_owned());
                    self.at += 1;
                    text.push(self.token_char()?);
                }
                _ => return Err(self.expected("a token character or the closing quote")),
            }
        }
        let content = unescaped.map_or_else(|| Cow::Borrowed(self.text(start)), Cow::Owned);
        if !is_token(content.as_bytes()) {
            return Err(self.expected("a value that is not empty"));
        }
        self.at += 1;
        Ok(content)
    }

    fn token_char(&mut self) -> Result<char, BadHeader> {
        match self.peek() {
            Some(byte) if is_token_char(byte) => {
                self.at += 1;
                Ok(char::from(byte))
            }
            _ => Err(self.expected("a token character")),
        }
    }

    /// White space, then a token that is not empty.
    fn token(&mut self, expected: &'static str) -> Result<&'a str, BadHeader> {
        self.skip_space();
        match self.run() {
            "" => Err(self.expected(expected)),
            token => Ok(token),
        }
    }

    /// The longest run of token characters from here, maybe empty.
    fn run(&mut self) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(is_token_char) {
            self.at += 1;
        }
        self.text(start)
    }

    /// White space, then `byte` if that is what follows.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        self.header.get(self.at).copied()
    }

    /// From `start` to here, which is token characters only.
    fn text(&self, start: usize) -> &'a str {
        std::str::from_utf8(&self.header[start..self.at]).expect("token characters are ASCII")
    }

    fn expected(&self, expected: &'static str) -> BadHeader {
        BadHeader {
            at: self.at,
            expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parsed header in a normal form: `name;key=value;flag,name`.
    fn normal(header: &[u8]) -> Result<String, BadHeader> {
        let elements = parse_offers(header)?;
        let param = |(key, value): &(&str, Option<Cow<'_, str>>)| match value {
            Some(value) => format!(";{key}={value}"),
            None => format!(";{key}"),
        };
        let element =
            |e: &Extension<'_>| e.name.to_owned() + &e.params.iter().map(param).collect::<String>();
        Ok(elements.iter().map(element).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn offers_are_read() {
        let rows = [
            ("foo", "foo"),
            ("foo, bar", "foo,bar"),
            (" , foo,,bar , ", "foo,bar"),
            ("foo; a; b=1; c=\"x\"", "foo;a;b=1;c=x"),
            ("foo;a=\"\\1\\0\";b=\"x\\y\\z!\"", "foo;a=10;b=xyz!"),
            ("foo ;\ta = 1 ; b , bar;c", "foo;a=1;b,bar;c"),
            ("foo;a=1;a=2", "foo;a=1;a=2"),
            (
                "permessage-deflate; client_max_window_bits; server_no_context_takeover, permessage-deflate",
                "permessage-deflate;client_max_window_bits;server_no_context_takeover,permessage-deflate",
            ),
        ];
        for (header, expected) in rows {
            assert_eq!(
                normal(header.as_bytes()).as_deref(),
                Ok(expected),
                "{header}"
            );
        }
    }

    #[test]
    fn what_is_no_list_of_extensions_is_refused_where_it_goes_wrong() {
        let rows: &[(&[u8], usize)] = &[
            (b"", 0),
            (b" , ,", 4),
            (b";a", 0),
            (b"foo;", 4),
            (b"foo;;a", 4),
            (b"foo; ,bar", 5),
            (b"foo bar", 4),
            (b"foo=1", 3),
            (b"foo;a=", 6),
            (b"foo;a=,", 6),
            (b"foo;a==1", 6),
            (b"foo;a=1 2", 8),
            (b"foo;a=\"", 7),
            (b"foo;a=\"\"", 7),
            (b"foo;a=\"1", 8),
            (b"foo;a=\"1\\", 9),
            (b"foo;a=\"1\\\"", 9),
            (b"foo;a=\"1 2\"", 8),
            (b"foo;a=\"1,2\"", 8),
            (b"foo;a=\"1\"2", 9),
            (b"foo;\"a\"", 4),
            (b"\"foo\"", 0),
            (b"foo;a=\xc3\xa9", 6),
            (b"foo\0", 3),
            (b"foo\r\n", 3),
        ];
        for (header, at) in rows {
            let error = parse_offers(header).unwrap_err();
            assert_eq!(error.at, *at, "{}: {error}", header.escape_ascii());
        }
    }

    /// Hostile headers of about `length` octets, each a trap for a parser that goes back, and what they are:
    /// so many extensions, or wrong at this octet.
    fn hostile(length: usize) -> Vec<(String, Result<usize, usize>)> {
        let half = length / 2;
        vec![
            ("a;".repeat(half), Err(2 * half)),
            ("a,".repeat(half), Ok(half)),
            (format!("a;b=\"{}", "\\a".repeat(half)), Err(2 * half + 5)),
            (format!("a;b=\"{}\"", "\\a".repeat(half)), Ok(1)),
            (format!("a{}", " ".repeat(length)), Ok(1)),
            (format!("a{}b", " ".repeat(length)), Err(length + 1)),
            (format!("a;{}=", "b".repeat(length)), Err(length + 3)),
            (format!("a;b=\"{}", "c".repeat(length)), Err(length + 5)),
            (",".repeat(length), Err(length)),
            (format!("a{}", ";b=\"c\"".repeat(length / 6)), Ok(1)),
        ]
    }

    #[test]
    fn hostile_lists_are_read_in_linear_time() {
        let looks = |length: usize| -> Vec<usize> {
            let count = |(header, expected): &(String, Result<usize, usize>)| {
                let mut cursor = Cursor::new(header.as_bytes());
                let got = cursor.offers().map(|e| e.len()).map_err(|e| e.at);
                assert_eq!(got, *expected);
                cursor.looks.get()
            };
            hostile(length).iter().map(count).collect()
        };
        for (once, twice) in looks(1 << 19).into_iter().zip(looks(1 << 20)) {
            assert!(
                twice * 10 <= once * 21,
                "{once} looks, then {twice} at twice the length"
            );
            assert!(twice <= 6 << 20, "{twice} looks at a megabyte");
        }
    }
}
