//! What only some connections have, so that a plain one pays a pointer for it: compression, and messages
//! that come or go in parts.

use super::compression::Compression;
use super::outbox::Outbox;
use crate::config::Config;
use crate::deflate::Compressor;
use crate::frame::OpCode;
use crate::utf8::Utf8Decoder;
use std::fmt;

/// Compression and streams of one connection.
#[derive(Default)]
pub(super) struct Extras {
    pub(super) compression: Option<Compression>,
    pub(super) streaming: Option<Streaming>,
    pub(super) outgoing: Option<Box<Outgoing>>,
}

/// From which length on received messages come in parts, and how long they may become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Streaming {
    /// Messages of more bytes than this come in parts; others whole. Never more than
    /// [`crate::Limits::max_message_size`].
    pub from: usize,
    /// Longest message, in bytes; beyond it we close with 1009. `None`: what RFC 6455 allows, 2^63-1.
    pub limit: Option<u64>,
}

impl Streaming {
    /// Messages of more than `from` bytes come in parts, however long they become.
    pub const fn from(from: usize) -> Streaming {
        Streaming { from, limit: None }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.unwrap_or(u64::MAX >> 1).min(u64::MAX >> 1)
    }

    /// The longest message that is assembled.
    pub(super) fn whole(&self, config: &Config) -> usize {
        self.from.min(config.limits.max_message_size)
    }
}

/// A message that we send in parts. What else is sent meanwhile waits behind it.
pub(super) struct Outgoing {
    pub(super) opcode: OpCode,
    /// Its first frame is queued.
    pub(super) begun: bool,
    pub(super) utf8: Option<Utf8Decoder>,
    /// It is compressed, by itself.
    pub(super) compressor: Option<Box<Compressor>>,
    /// Messages that wait for its end (RFC 6455 §5.4: messages are never interleaved).
    pub(super) deferred: Outbox,
}

/// Text or binary.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MessageKind {
    /// UTF-8.
    Text,
    /// Octets.
    Binary,
}

impl MessageKind {
    pub(super) fn opcode(self) -> OpCode {
        match self {
            MessageKind::Text => OpCode::Text,
            MessageKind::Binary => OpCode::Binary,
        }
    }
}

/// A stream was sent in a way that cannot be: a mistake of the calling program. Nothing was queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StreamMisuse {
    /// `begin` while another message is being streamed to this peer: `finish` it first.
    AlreadyBegun,
    /// `part` or `finish` without `begin`.
    NotBegun,
    /// A part of a text message is not UTF-8, or the message ends inside a character.
    NotUtf8,
}

impl fmt::Display for StreamMisuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StreamMisuse::AlreadyBegun => "another message is being streamed: finish it first",
            StreamMisuse::NotBegun => "no message is being streamed: begin one first",
            StreamMisuse::NotUtf8 => "the streamed text is not UTF-8: stream it as binary",
        })
    }
}

impl std::error::Error for StreamMisuse {}
