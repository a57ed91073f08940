//! Streaming UTF-8 validation (RFC 6455 §8.1): fails at the first bad octet, however the text was cut.

use crate::error::ProtocolError;

/// Validates a text that comes in pieces. Keeps at most the three octets of an unfinished character.
#[derive(Clone, Copy, Default, Debug)]
pub struct Utf8Decoder {
    pending: [u8; 3],
    pending_len: u8,
}

impl Utf8Decoder {
    /// Takes the next piece of the text.
    ///
    /// # Errors
    /// [`ProtocolError::TextNotUtf8`] as soon as no continuation could make the text valid.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<(), ProtocolError> {
        while self.pending_len > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                return Ok(());
            };
            self.push(byte)?;
            piece = rest;
        }
        match simdutf8::compat::from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                let unfinished = &piece[error.valid_up_to()..];
                self.pending[..unfinished.len()].copy_from_slice(unfinished);
                self.pending_len = unfinished.len() as u8;
                Ok(())
            }
            Err(_) => Err(ProtocolError::TextNotUtf8),
        }
    }

    /// The text ends here.
    ///
    /// # Errors
    /// [`ProtocolError::TextNotUtf8`] if it ends inside a character.
    pub fn finish(self) -> Result<(), ProtocolError> {
        if self.pending_len == 0 {
            Ok(())
        } else {
            Err(ProtocolError::TextNotUtf8)
        }
    }

    /// Adds one octet to the unfinished character.
    fn push(&mut self, byte: u8) -> Result<(), ProtocolError> {
        let len = usize::from(self.pending_len);
        let mut character = [0; 4];
        character[..len].copy_from_slice(&self.pending[..len]);
        character[len] = byte;
        match std::str::from_utf8(&character[..=len]) {
            Ok(_) => self.pending_len = 0,
            Err(error) if error.error_len().is_none() => {
                self.pending[len] = byte;
                self.pending_len += 1;
            }
            Err(_) => return Err(ProtocolError::TextNotUtf8),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where validation of `text`, fed in pieces of `step`, fails; `None` if it never does.
    fn fails_at(text: &[u8], step: usize) -> Option<usize> {
        let mut decoder = Utf8Decoder::default();
        let mut fed = 0;
        for piece in text.chunks(step) {
            fed += piece.len();
            if decoder.feed(piece).is_err() {
                return Some(fed);
            }
        }
        decoder.finish().is_err().then_some(text.len())
    }

    #[test]
    fn text_fails_at_its_first_impossible_octet() {
        // text, and how many octets are enough to refuse it
        let rows: &[(&[u8], Option<usize>)] = &[
            (b"", None),
            ("plain, κόσμε, 🌊".as_bytes(), None),
            (b"\xF4\x90\x80\x80", Some(2)),
            (b"\xED\xA0\x80", Some(2)),
            (b"\xC0\x80", Some(1)),
            (b"\xE0\x80\x80", Some(2)),
            (b"ok\xFFok", Some(3)),
            (b"\x80", Some(1)),
            (b"cut \xF0\x9F\x98", Some(7)),
            (b"\xF0\x9F\x98\x80", None),
            (b"\xF8\x88\x80\x80\x80", Some(1)),
        ];
        for (text, expected) in rows {
            assert_eq!(fails_at(text, 1), *expected, "{text:02x?}");
            for step in 2..=text.len() {
                let whole = fails_at(text, step).is_some();
                assert_eq!(whole, expected.is_some(), "{text:02x?} in {step}s");
            }
        }
    }

    #[test]
    fn every_cut_of_a_long_text_gives_the_verdict_of_the_whole() {
        let text = "aé€🌊".repeat(40);
        for cut in 0..=text.len() {
            let mut decoder = Utf8Decoder::default();
            decoder.feed(&text.as_bytes()[..cut]).unwrap();
            decoder.feed(&text.as_bytes()[cut..]).unwrap();
            decoder.finish().unwrap();
        }
    }
}
