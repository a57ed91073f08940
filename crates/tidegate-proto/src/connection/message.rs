//! Messages as they are received: borrowed from the read buffer when they came whole, owned when assembled.

use super::extras::MessageKind;
use crate::frame::OpCode;
use std::fmt;
use std::ops::Deref;

/// A received message; borrows only from the input that completed it.
pub enum Message<'a> {
    /// Text that came in one frame and one read.
    Text(&'a str),
    /// Octets that came in one frame and one read.
    Binary(&'a [u8]),
    /// Text put together from several frames or reads; checked UTF-8.
    AssembledText(Vec<u8>),
    /// Octets put together from several frames or reads.
    AssembledBinary(Vec<u8>),
}

impl Message<'_> {
    /// The payload.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
            Message::AssembledText(bytes) | Message::AssembledBinary(bytes) => bytes,
        }
    }

    /// It is text.
    pub fn is_text(&self) -> bool {
        matches!(self, Message::Text(_) | Message::AssembledText(_))
    }

    /// The message as a handler sees it.
    pub fn incoming(&mut self) -> Incoming<'_> {
        match self {
            Message::Text(text) => Incoming::Text(Text(TextRepr::Whole(text))),
            Message::Binary(bytes) => Incoming::Binary(Payload(PayloadRepr::Whole(bytes))),
            Message::AssembledText(bytes) => Incoming::Text(Text(TextRepr::Assembled(bytes))),
            Message::AssembledBinary(bytes) => {
                Incoming::Binary(Payload(PayloadRepr::Assembled(bytes)))
            }
        }
    }
}

impl fmt::Debug for Message<'_> {
    /// Kind and length only: payloads do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_text() { "text" } else { "binary" };
        write!(f, "Message({kind}, {} B)", self.as_bytes().len())
    }
}

/// A piece of a message that is received in parts.
pub struct Piece<'a> {
    pub(super) kind: MessageKind,
    pub(super) first: bool,
    pub(super) last: bool,
    pub(super) octets: PieceOctets<'a>,
}

pub(super) enum PieceOctets<'a> {
    Lent(&'a [u8]),
    Owned(Vec<u8>),
}

impl Piece<'_> {
    /// The piece as a handler sees it.
    pub fn part(&self) -> Part<'_> {
        Part {
            kind: self.kind,
            first: self.first,
            last: self.last,
            bytes: match &self.octets {
                PieceOctets::Lent(octets) => octets,
                PieceOctets::Owned(octets) => octets,
            },
        }
    }
}

impl Piece<'_> {
    /// The buffer it was assembled or inflated in; `None` when its octets are the last ones that were taken
    /// from the input. Give it to [`super::Resources::recycle`] once it has been read.
    pub fn take_buffer(&mut self) -> Option<Vec<u8>> {
        match &mut self.octets {
            PieceOctets::Lent(_) => None,
            PieceOctets::Owned(octets) => Some(std::mem::take(octets)),
        }
    }
}

impl fmt::Debug for Piece<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.part().fmt(f)
    }
}

/// A part of a message that is too long to be handed over whole. The parts of a message come in order and
/// without another message between them; their sizes mean nothing.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Text or binary, the same in all parts of a message.
    pub kind: MessageKind,
    /// The message begins here.
    pub first: bool,
    /// The message ends here. Until this has come it may yet turn out to break a rule.
    pub last: bool,
    /// The octets. Of text they are UTF-8 so far, but a character may be cut between two parts.
    pub bytes: &'a [u8],
}

impl fmt::Debug for Part<'_> {
    /// Length only: payloads do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("kind", &self.kind)
            .field("first", &self.first)
            .field("last", &self.last)
            .field("len", &self.bytes.len())
            .finish()
    }
}

/// A whole message, lent to a handler.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// UTF-8 text, checked.
    Text(Text<'a>),
    /// Octets.
    Binary(Payload<'a>),
}

impl<'a> Incoming<'a> {
    /// The payload.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Incoming::Text(text) => text.as_bytes(),
            Incoming::Binary(bytes) => bytes,
        }
    }

    pub(super) fn opcode(&self) -> OpCode {
        match self {
            Incoming::Text(_) => OpCode::Text,
            Incoming::Binary(_) => OpCode::Binary,
        }
    }

    /// It was put together from several frames or reads, in a buffer that can be had without a copy.
    pub(crate) fn is_assembled(&self) -> bool {
        match self {
            Incoming::Text(Text(text)) => matches!(text, TextRepr::Assembled(_)),
            Incoming::Binary(Payload(payload)) => matches!(payload, PayloadRepr::Assembled(_)),
        }
    }

    /// The payload as an own buffer; costs a copy unless the message was assembled.
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            Incoming::Text(text) => text.into_vec(),
            Incoming::Binary(payload) => payload.into_vec(),
        }
    }
}

/// Text that has been checked to be UTF-8 and cannot be made otherwise.
pub struct Text<'a>(TextRepr<'a>);

enum TextRepr<'a> {
    Whole(&'a str),
    Assembled(&'a mut Vec<u8>),
}

impl Text<'_> {
    /// The text's octets, which are valid UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            TextRepr::Whole(text) => text.as_bytes(),
            TextRepr::Assembled(bytes) => bytes,
        }
    }

    /// The text. Costs a second look at the octets when it was assembled from pieces.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            TextRepr::Whole(text) => text,
            TextRepr::Assembled(bytes) => simdutf8::basic::from_utf8(bytes)
                .expect("assembled text was validated as it arrived"),
        }
    }

    /// The text's octets as an own buffer; costs a copy unless it was assembled.
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            TextRepr::Whole(text) => text.as_bytes().to_vec(),
            TextRepr::Assembled(bytes) => std::mem::take(bytes),
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} B)", self.as_bytes().len())
    }
}

/// Octets of a binary message.
pub struct Payload<'a>(PayloadRepr<'a>);

enum PayloadRepr<'a> {
    Whole(&'a [u8]),
    Assembled(&'a mut Vec<u8>),
}

impl Payload<'_> {
    /// The octets as an own buffer; costs a copy unless they were assembled.
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            PayloadRepr::Whole(bytes) => bytes.to_vec(),
            PayloadRepr::Assembled(bytes) => std::mem::take(bytes),
        }
    }
}

impl Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            PayloadRepr::Whole(bytes) => bytes,
            PayloadRepr::Assembled(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} B)", self.len())
    }
}
