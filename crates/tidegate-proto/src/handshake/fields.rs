//! Header fields of a head, kept as its raw octets and offsets, and the list syntax of their values; it
//! never writes a header.

use std::ops::Range;

/// The fields of a parsed head, in the order they came. Names compare without regard to case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields {
    head: Box<[u8]>,
    fields: Box<[(Span, Span)]>,
}

impl Fields {
    /// Takes a copy of `head`, from which `headers` were parsed.
    pub(crate) fn new(head: &[u8], headers: &[httparse::Header<'_>]) -> Fields {
        let fields = headers
            .iter()
            .map(|field| {
                let name = Span::of(head, field.name.as_bytes());
                (name, Span::of(head, field.value))
            })
            .collect();
        Fields {
            head: head.into(),
            fields,
        }
    }

    /// Fields that came in another form than HTTP/1.1's, written down as if they had; `None` when one of them
    /// could not stand in such a head. Names are kept as they are.
    pub(crate) fn written<'a>(
        start_line: &str,
        pairs: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Option<Fields> {
        let mut head = format!("{start_line}\r\n").into_bytes();
        let mut fields = Vec::new();
        for (name, value) in pairs {
            if !is_token(name.as_bytes()) || !is_field_value(value) {
                return None;
            }
            let mut put = |bytes: &[u8]| {
                let start = u32::try_from(head.len()).ok()?;
                head.extend_from_slice(bytes);
                let end = u32::try_from(head.len()).ok()?;
                Some(Span { start, end })
            };
            let name = put(name.as_bytes())?;
            put(b": ")?;
            fields.push((name, put(value)?));
            put(b"\r\n")?;
        }
        head.extend_from_slice(b"\r\n");
        Some(Fields {
            head: head.into(),
            fields: fields.into(),
        })
    }

    /// The whole head as it came, start line and final empty line included.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// All fields: name and value, the value without the white space around it. A value may hold octets
    /// beyond ASCII, never CR, LF or NUL.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields
            .iter()
            .map(|&(name, value)| (self.text(name), self.octets(value)))
    }

    /// The values of all fields called `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| self.is_called(field.0, name))
            .map(|field| self.octets(field.1))
    }

    /// The value of the first field called `name`.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.fields.iter();
        let first = fields.find(|field| self.is_called(field.0, name))?;
        Some(self.octets(first.1))
    }

    fn is_called(&self, field: Span, name: &str) -> bool {
        self.octets(field).eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value, if there is exactly one field called `name`.
    pub fn only<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        let mut values = self.all(name);
        let first = values.next()?;
        values.next().is_none().then_some(first)
    }

    /// Whether one of the fields called `name`, read as comma-separated lists, holds `token` in any case.
    pub(crate) fn list_has(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(list)
            .any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }

    pub(crate) fn octets(&self, span: Span) -> &[u8] {
        &self.head[span.start as usize..span.end as usize]
    }

    /// The text of a span that was parsed from UTF-8 text.
    pub(crate) fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.octets(span)).expect("the span was made from a str")
    }
}

/// Shows names only: values hold cookies and tokens, which have no business in a log.
impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Part of a head.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Where `part`, a slice of `whole`, lies in it.
    ///
    /// # Panics
    /// When it is no slice of it, or lies beyond 4 GiB: a mistake in this crate.
    pub(crate) fn of(whole: &[u8], part: &[u8]) -> Span {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        let Range { start, end } = start..start.wrapping_add(part.len());
        assert!(start <= end && end <= whole.len(), "no slice of the head");
        let offset = |at| u32::try_from(at).expect("heads are limited to far less than 4 GiB");
        Span {
            start: offset(start),
            end: offset(end),
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// The elements of a comma-separated list; empty ones are skipped (RFC 9110 §5.6.1.2).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Whether this is a `token` (RFC 9110 §5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_char)
}

/// Whether this octet may stand in a `token`.
pub(crate) fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether this may be a field value: no control character but the tab, no white space around it.
pub(crate) fn is_field_value(bytes: &[u8]) -> bool {
    let allowed = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    bytes.iter().all(allowed) && bytes.trim_ascii().len() == bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_trimmed_and_rid_of_empty_elements() {
        let elements: Vec<_> = list(b" a ,\tb,, ,c").collect();
        assert_eq!(elements, [&b"a"[..], b"b", b"c"]);
        assert_eq!(list(b" , ,").count(), 0);
    }

    #[test]
    fn tokens_and_field_values_are_told_from_others() {
        for good in ["a", "chat.v2", "!#$%&'*+-.^_`|~09AZ"] {
            assert!(is_token(good.as_bytes()), "{good}");
        }
        for bad in ["", "a b", "a,b", "a\r", "é", "\"a\"", "a=b", "a/b", "a:b"] {
            assert!(!is_token(bad.as_bytes()), "{bad}");
        }
        for good in ["", "a b", "a\tb", "é"] {
            assert!(is_field_value(good.as_bytes()), "{good}");
        }
        for bad in ["a\r\nb: c", "a\n", "\0", " a", "a ", "\x7f", "a\rb"] {
            assert!(!is_field_value(bad.as_bytes()), "{bad:?}");
        }
    }
}
