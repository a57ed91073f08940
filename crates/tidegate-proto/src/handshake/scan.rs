//! Finds the end of an HTTP/1.1 head in a growing buffer and enforces its limits on the way; it looks at
//! each byte once and never at what the head says.

use crate::config::HeadLimits;

/// How far a head has been looked at. Keep one beside the buffer while a head is incomplete, so that a
/// peer who sends one byte at a time costs one look at each byte and not one at all of them each time.
///
/// The buffer may only grow between two calls; a new head needs a new `HeadScan`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadScan {
    start: usize,
    scanned: usize,
    line_start: usize,
    lines: usize,
    #[cfg(test)]
    pub(crate) looks: usize,
}

/// What a look at the new bytes has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The head goes on beyond the bytes that are there.
    NeedMore,
    /// The request or status line ended just before this offset; told once. Call again to go on.
    StartLine(usize),
    /// The head ended just before this offset.
    End(usize),
}

/// Why a head is refused before it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScanError {
    HeadTooLong,
    StartLineTooLong,
    LineTooLong,
    TooManyFields,
    /// A control character (CR alone, NUL, a TLS record and the like).
    Control {
        byte: u8,
        at: usize,
    },
}

impl HeadScan {
    /// A scan of the head that begins at `start` of the buffer; what came before counts for the size.
    pub(crate) fn starting_at(start: usize) -> HeadScan {
        HeadScan {
            start,
            scanned: start,
            line_start: start,
            ..HeadScan::default()
        }
    }

    /// Where the head begins.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Bytes looked at so far.
    pub fn scanned(&self) -> usize {
        self.scanned
    }

    /// Looks at the bytes that are new. A line ends with CRLF or LF (RFC 9112 §2.2), empty lines before
    /// the start line are skipped. An error or `End` is told again when asked again.
    pub(crate) fn advance(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
        max_start_line: usize,
    ) -> Result<Progress, ScanError> {
        while let Some(&byte) = bytes.get(self.scanned) {
            #[cfg(test)]
            {
                self.looks += 1;
            }
            let at = self.scanned;
            // Offsets into a head are 32 bits wide.
            if at >= limits.max_size.min(u32::MAX as usize) {
                return Err(ScanError::HeadTooLong);
            }
            let after_cr = at > self.line_start && bytes[at - 1] == b'\r';
            match byte {
                b'\n' => {
                    let length = at - self.line_start - usize::from(after_cr);
                    if let Some(progress) = self.end_line(at, length, limits)? {
                        return Ok(progress);
                    }
                }
                _ if after_cr => return Err(ScanError::Control { byte: b'\r', at }),
                b'\r' => self.scanned += 1,
                _ if is_text(byte) => self.within_line(bytes, limits, max_start_line)?,
                _ => return Err(ScanError::Control { byte, at }),
            }
        }
        Ok(Progress::NeedMore)
    }

    /// Passes over the text that is there, as far as the limits allow.
    fn within_line(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
        max_start_line: usize,
    ) -> Result<(), ScanError> {
        let (longest, too_long) = match self.lines {
            0 => (
                max_start_line.min(limits.max_line),
                ScanError::StartLineTooLong,
            ),
            _ => (limits.max_line, ScanError::LineTooLong),
        };
        let left = longest.saturating_sub(self.scanned - self.line_start);
        if left == 0 {
            return Err(too_long);
        }
        let end = self.scanned.saturating_add(left).min(limits.max_size);
        let text = &bytes[self.scanned..end.min(bytes.len())];
        let run = text.iter().position(|&byte| !is_text(byte));
        let run = run.unwrap_or(text.len());
        self.scanned += run;
        #[cfg(test)]
        {
            self.looks += run - 1; // the first was looked at to come here
        }
        Ok(())
    }

    fn end_line(
        &mut self,
        at: usize,
        length: usize,
        limits: &HeadLimits,
    ) -> Result<Option<Progress>, ScanError> {
        if length == 0 && self.lines > 0 {
            return Ok(Some(Progress::End(at + 1)));
        }
        if self.lines > limits.max_fields {
            return Err(ScanError::TooManyFields);
        }
        self.scanned = at + 1;
        self.line_start = at + 1;
        self.lines += usize::from(length > 0);
        let start_line = length > 0 && self.lines == 1;
        Ok(start_line.then_some(Progress::StartLine(at + 1)))
    }
}

/// What may stand in a line: all but control characters (RFC 9110 §5.5).
fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        max_fields: 2,
        max_line: 16,
        max_size: 64,
        timeout: std::time::Duration::ZERO,
    };

    /// Scans to a decision, giving `step` bytes more each time.
    fn scan(input: &[u8], step: usize) -> Result<Progress, ScanError> {
        let mut scan = HeadScan::default();
        let mut given = 0;
        loop {
            match scan.advance(&input[..given], &LIMITS, 12) {
                Ok(Progress::StartLine(_)) => {}
                Ok(Progress::NeedMore) if given < input.len() => {
                    given = (given + step).min(input.len());
                }
                other => return other,
            }
        }
    }

    #[test]
    fn a_head_ends_or_fails_at_the_same_byte_however_it_comes() {
        let rows: &[(&[u8], Result<Progress, ScanError>)] = &[
            (b"A\r\n\r\n", Ok(Progress::End(5))),
            (b"A\n\n", Ok(Progress::End(3))),
            (b"A\r\n\ntail", Ok(Progress::End(4))),
            (b"\r\n\r\nA\r\nb: c\r\n\r\ntail", Ok(Progress::End(15))),
            (b"\r\n\r\n\n", Ok(Progress::NeedMore)),
            (b"A\r\nb: c\r\n", Ok(Progress::NeedMore)),
            (b"123456789012\r\n\r\n", Ok(Progress::End(16))),
            (b"1234567890123", Err(ScanError::StartLineTooLong)),
            (b"A\n1234567890123456\r\n\n", Ok(Progress::End(21))),
            (b"A\n12345678901234567", Err(ScanError::LineTooLong)),
            (b"A\nb\nc\n\n", Ok(Progress::End(7))),
            (b"A\nb\nc\nd\n", Err(ScanError::TooManyFields)),
            (b"A\0", Err(ScanError::Control { byte: 0, at: 1 })),
            (b"A\x7f", Err(ScanError::Control { byte: 0x7f, at: 1 })),
            (b"A\rB\n\n", Err(ScanError::Control { byte: b'\r', at: 2 })),
            (b"A\r\r\n\n", Err(ScanError::Control { byte: b'\r', at: 2 })),
            (
                b"\x16\x03\x01",
                Err(ScanError::Control { byte: 0x16, at: 0 }),
            ),
            (&[b'\n'; 65], Err(ScanError::HeadTooLong)),
        ];
        for (input, expected) in rows {
            for step in [1, 2, 3, input.len()] {
                assert_eq!(&scan(input, step), expected, "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn a_decision_is_repeated_when_asked_again() {
        for input in [&b"A\r\n\r\ntail"[..], b"A\0"] {
            let mut scan = HeadScan::default();
            let mut ask = || loop {
                match scan.advance(input, &LIMITS, 12) {
                    Ok(Progress::StartLine(_)) => {}
                    other => return other,
                }
            };
            assert_eq!(ask(), ask());
        }
    }

    #[test]
    fn each_byte_is_looked_at_once_however_slowly_it_comes() {
        let input = b"\r\nA\r\n1234567890123456\r\nxyz";
        let mut scan = HeadScan::default();
        for end in 0..=input.len() {
            while let Ok(Progress::StartLine(_)) = scan.advance(&input[..end], &LIMITS, 12) {}
            assert_eq!((scan.scanned(), scan.looks), (end, end));
        }
    }
}
