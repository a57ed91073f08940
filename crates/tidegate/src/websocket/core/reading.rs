//! A message that is received in parts: where the part lies that nobody has taken yet, and who wants the rest.

use crate::message::Message;
use bytes::Bytes;
use std::ops::Range;
use tidegate_proto::MessageKind;

/// What has come of the message and was not taken.
enum Octets {
    /// This range of the read buffer.
    Held(Range<usize>),
    /// A buffer, and where the rest of it begins.
    Own(Vec<u8>, usize),
    /// The message came whole while nobody read.
    Whole(Bytes),
}

/// A message in parts.
pub(in super::super) struct Reading {
    kind: MessageKind,
    octets: Octets,
    /// The octets that are there are the last ones.
    last: bool,
    /// A reader was handed out for it.
    claimed: bool,
    /// Nobody wants the rest.
    unwanted: bool,
}

impl Reading {
    /// A message that begins with this range of the read buffer.
    pub(super) fn held(kind: MessageKind, range: Range<usize>, last: bool) -> Reading {
        Reading::new(kind, Octets::Held(range), last)
    }

    /// A message that begins with this buffer.
    pub(super) fn own(kind: MessageKind, buffer: Vec<u8>, last: bool) -> Reading {
        Reading::new(kind, Octets::Own(buffer, 0), last)
    }

    /// A message that is there already.
    pub(super) fn whole(message: Message) -> Reading {
        let kind = match message.is_text() {
            true => MessageKind::Text,
            false => MessageKind::Binary,
        };
        Reading::new(kind, Octets::Whole(message.into_bytes()), true)
    }

    fn new(kind: MessageKind, octets: Octets, last: bool) -> Reading {
        Reading {
            kind,
            octets,
            last,
            claimed: false,
            unwanted: false,
        }
    }

    /// The next part has come, and the one before was taken.
    pub(super) fn go_on(&mut self, next: Reading) {
        self.octets = next.octets;
        self.last = next.last;
    }

    pub(in super::super) fn kind(&self) -> MessageKind {
        self.kind
    }

    /// All octets that have come were taken.
    pub(super) fn is_empty(&self) -> bool {
        match &self.octets {
            Octets::Held(range) => range.is_empty(),
            Octets::Own(buffer, at) => *at == buffer.len(),
            Octets::Whole(bytes) => bytes.is_empty(),
        }
    }

    /// All octets of the message were taken.
    pub(super) fn is_over(&self) -> bool {
        self.last && self.is_empty()
    }

    /// Octets of the read buffer are still to be taken.
    pub(super) fn is_held(&self) -> bool {
        matches!(&self.octets, Octets::Held(range) if !range.is_empty())
    }

    /// A reader has it, or has dropped it.
    pub(super) fn is_claimed(&self) -> bool {
        self.claimed
    }

    pub(super) fn claim(&mut self) {
        self.claimed = true;
    }

    pub(super) fn is_unwanted(&self) -> bool {
        self.unwanted
    }

    /// Nobody wants the rest; the buffer it has is returned.
    pub(super) fn give_up(&mut self) -> Option<Vec<u8>> {
        self.unwanted = true;
        match std::mem::replace(&mut self.octets, Octets::Held(0..0)) {
            Octets::Own(buffer, _) => Some(buffer),
            Octets::Held(_) | Octets::Whole(_) => None,
        }
    }

    /// The octets that are there, where `buffer` is the read buffer.
    pub(super) fn octets<'a>(&'a self, buffer: &'a [u8]) -> &'a [u8] {
        match &self.octets {
            Octets::Held(range) => &buffer[range.clone()],
            Octets::Own(buffer, at) => &buffer[*at..],
            Octets::Whole(bytes) => bytes,
        }
    }

    /// `n` octets were taken; the buffer, when that was the rest of it.
    pub(super) fn took(&mut self, n: usize) -> Option<Vec<u8>> {
        match &mut self.octets {
            Octets::Held(range) => range.start += n,
            Octets::Whole(bytes) => drop(bytes.split_to(n)),
            Octets::Own(buffer, at) => {
                *at += n;
                if *at == buffer.len() {
                    *at = 0;
                    return Some(std::mem::take(buffer));
                }
            }
        }
        None
    }

    /// A number that changes when octets are taken or come.
    pub(super) fn progress(&self) -> usize {
        let left = match &self.octets {
            Octets::Held(range) => range.len(),
            Octets::Own(buffer, at) => buffer.len() - at,
            Octets::Whole(bytes) => bytes.len(),
        };
        1 + left * 4 + usize::from(self.last) * 2 + usize::from(self.unwanted)
    }
}
