//! Writes HTTP/1.1 heads; it never lets a control character into one.

use super::fields::{is_field_value, is_token};
use std::fmt;
use std::io::Write as _;

/// A header field that may not be sent: its name is no token, or its value holds a control character
/// (CR and LF would begin another header) or white space at an end. Fix the caller's input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadField {
    /// The name as given.
    pub name: String,
}

impl fmt::Display for BadField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the header field {:?} may not be sent: ", self.name)?;
        f.write_str("its name is no token or its value holds control characters")
    }
}

impl std::error::Error for BadField {}

impl BadField {
    /// Checks a field that is to be sent later.
    ///
    /// # Errors
    /// [`BadField`] when it may not be sent.
    pub fn check(name: &str, value: &str) -> Result<(), BadField> {
        check_field(name, value)
    }
}

/// Checks a field without writing it.
pub(crate) fn check_field(name: &str, value: &str) -> Result<(), BadField> {
    //= rfc9110#5.5  CR, LF and NUL in a value are dangerous; a sender must not generate them.
    if is_token(name.as_bytes()) && is_field_value(value.as_bytes()) {
        return Ok(());
    }
    Err(BadField {
        name: name.to_owned(),
    })
}

/// Appends one head to a buffer. Dropped without [`HeadWriter::end`], it takes back what it wrote.
pub(crate) struct HeadWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> HeadWriter<'a> {
    /// Begins with `start_line`, which is made of checked parts.
    pub(crate) fn new(out: &'a mut Vec<u8>, start_line: fmt::Arguments<'_>) -> HeadWriter<'a> {
        let start = out.len();
        let _ = write!(out, "{start_line}"); // a Vec takes everything
        debug_assert!(
            is_field_value(out[start..].trim_ascii_end()),
            "{start_line}"
        );
        out.extend_from_slice(b"\r\n");
        HeadWriter { out, start }
    }

    /// Adds a field.
    pub(crate) fn field(&mut self, name: &str, value: &str) -> Result<(), BadField> {
        check_field(name, value)?;
        self.known(name, value);
        Ok(())
    }

    /// Adds a field of our own making, which needs no check.
    pub(crate) fn known(&mut self, name: &str, value: &str) {
        debug_assert_eq!(check_field(name, value), Ok(()));
        for part in [name, ": ", value, "\r\n"] {
            self.out.extend_from_slice(part.as_bytes());
        }
    }

    /// Ends the head.
    pub(crate) fn end(mut self) {
        self.out.extend_from_slice(b"\r\n");
        self.start = self.out.len();
    }
}

impl Drop for HeadWriter<'_> {
    fn drop(&mut self) {
        self.out.truncate(self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_with_a_bad_field_is_taken_back_whole() {
        for (name, value) in [
            ("A", "x\r\nB: y"),
            ("A", "x\0"),
            ("A: x\r\nB", "y"),
            ("", "y"),
            ("A", "\nx"),
        ] {
            let mut out = b"before".to_vec();
            let mut head = HeadWriter::new(&mut out, format_args!("HTTP/1.1 200 OK"));
            head.field("Good", "1").unwrap();
            let error = head.field(name, value).unwrap_err();
            assert_eq!(error.name, name);
            drop(head);
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn a_good_head_is_written_as_given() {
        let mut out = Vec::new();
        let mut head = HeadWriter::new(&mut out, format_args!("HTTP/1.1 {} ", 499));
        head.field("Name", "a value, with spaces").unwrap();
        head.end();
        assert_eq!(out, b"HTTP/1.1 499 \r\nName: a value, with spaces\r\n\r\n");
    }
}
