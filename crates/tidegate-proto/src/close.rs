//! Close codes and how a connection ended (RFC 6455 §7.4); says nothing about when to close.

use crate::error::ProtocolError;
use std::fmt;

/// Longest close reason in bytes: a control frame holds 125, two of them are the code (RFC 6455 §5.5).
pub const MAX_REASON: usize = 123;

/// A close code that may stand in a Close frame (RFC 6455 §7.4.2 and the registry it founded).
///
/// It cannot hold 1004, 1005, 1006 or 1015, which never go on the wire, nor a code nobody registered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the server goes down, or the page was left.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL: CloseCode = CloseCode(1002);
    /// 1003: this kind of data (text, binary) is not taken here.
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    /// 1007: the data do not fit the message's type, say text that is not UTF-8.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// 1008: a policy was violated; the general refusal.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// 1009: the message is too big to be processed.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// 1010: the client misses an extension (sent by clients only).
    pub const MISSING_EXTENSION: CloseCode = CloseCode(1010);
    /// 1011: the server met a condition it did not expect.
    pub const INTERNAL: CloseCode = CloseCode(1011);
    /// 1012: the service restarts; come back.
    pub const RESTART: CloseCode = CloseCode(1012);
    /// 1013: overloaded, or the consumer is too slow; try again later.
    pub const TRY_AGAIN: CloseCode = CloseCode(1013);
    /// 1014: the gateway's upstream gave no valid answer.
    pub const BAD_GATEWAY: CloseCode = CloseCode(1014);

    /// The code, or `None` when it may not be sent.
    ///
    /// Allowed are 1000–1003, 1007–1014 and the ranges 3000–3999 (registered by others) and 4000–4999
    /// (private use).
    pub const fn new(code: u16) -> Option<CloseCode> {
        //= rfc6455#7.4.1  1004, 1005, 1006 and 1015 are reserved and must not be set in a Close frame.
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(CloseCode(code)),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

/// The body of a Close frame: nothing, or a code and a reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloseFrame<'a> {
    /// The code; `None` when the frame was empty (what applications see as 1005).
    pub code: Option<CloseCode>,
    /// The reason, for people reading logs; empty when none was given.
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    /// Reads the unmasked payload of a Close frame.
    ///
    /// # Errors
    /// One octet, or a code that may not be on the wire, is a protocol error (1002); a reason that is not
    /// UTF-8 is invalid payload (1007).
    pub fn parse(payload: &'a [u8]) -> Result<CloseFrame<'a>, ProtocolError> {
        match payload {
            [] => Ok(CloseFrame {
                code: None,
                reason: "",
            }),
            //= rfc6455#5.5.1  if there is a body, its first two octets are the code.
            [_] => Err(ProtocolError::CloseBodyOfOneByte),
            [high, low, reason @ ..] => {
                let number = u16::from_be_bytes([*high, *low]);
                let code =
                    CloseCode::new(number).ok_or(ProtocolError::BadCloseCode { code: number })?;
                let reason = simdutf8::basic::from_utf8(reason)
                    .map_err(|_| ProtocolError::CloseReasonNotUtf8)?;
                Ok(CloseFrame {
                    code: Some(code),
                    reason,
                })
            }
        }
    }
}

/// Cuts `reason` to what fits a Close frame, on a character boundary.
pub(crate) fn truncate_reason(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

/// Who ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The peer closed first, or broke the protocol.
    Peer,
    /// This side closed first.
    Us,
    /// The transport ended without a Close frame, or the peer fell silent.
    Transport,
}

/// How a connection ended; handed out once, as the last thing said of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Closed {
    /// The code that closed it: the peer's if it closed first, else ours. `None` if there was none.
    pub code: Option<CloseCode>,
    /// The reason that came with the code; may be empty.
    pub reason: String,
    /// Who ended it.
    pub by: Side,
    /// Both sides sent a Close frame (RFC 6455 §7.1.4).
    pub clean: bool,
    /// What the peer did wrong, where that was the cause.
    pub cause: Option<ProtocolError>,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.by {
            Side::Peer => "closed by the peer",
            Side::Us => "closed by this side",
            Side::Transport => "the transport ended",
        })?;
        if let Some(code) = self.code {
            write!(f, ", {}", code.get())?;
        }
        match (&self.cause, self.reason.as_str()) {
            (Some(cause), _) => write!(f, ": {cause}"),
            (None, "") => Ok(()),
            (None, reason) => write!(f, ": {reason}"),
        }
    }
}

impl std::error::Error for Closed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_can_be_made() {
        for code in 0..=u16::MAX {
            let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            assert_eq!(CloseCode::new(code).is_some(), allowed, "{code}");
        }
    }

    #[test]
    fn close_bodies_are_judged() {
        type Row = (
            &'static [u8],
            Result<(Option<u16>, &'static str), ProtocolError>,
        );
        let rows: &[Row] = &[
            (b"", Ok((None, ""))),
            (b"\x03", Err(ProtocolError::CloseBodyOfOneByte)),
            (b"\x03\xe8", Ok((Some(1000), ""))),
            (b"\x0f\xa0bye", Ok((Some(4000), "bye"))),
            (b"\x03\xee", Err(ProtocolError::BadCloseCode { code: 1006 })),
            (b"\x00\x00", Err(ProtocolError::BadCloseCode { code: 0 })),
            (
                b"\x03\xe8\xed\xa0\x80",
                Err(ProtocolError::CloseReasonNotUtf8),
            ),
        ];
        for (body, expected) in rows {
            let got = CloseFrame::parse(body).map(|c| (c.code.map(CloseCode::get), c.reason));
            assert_eq!(&got, expected, "{body:?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = "é".repeat(80);
        assert_eq!(truncate_reason(&reason).len(), 122);
        assert_eq!(truncate_reason("short"), "short");
    }

    #[test]
    fn an_end_reads_as_a_sentence() {
        let closed = Closed {
            code: Some(CloseCode::NORMAL),
            reason: "bye".to_owned(),
            by: Side::Peer,
            clean: true,
            cause: None,
        };
        assert_eq!(closed.to_string(), "closed by the peer, 1000: bye");
        let cut = Closed {
            code: None,
            reason: String::new(),
            by: Side::Transport,
            clean: false,
            cause: Some(ProtocolError::Unresponsive),
        };
        let expected = format!("the transport ended: {}", ProtocolError::Unresponsive);
        assert_eq!(cut.to_string(), expected);
    }
}
