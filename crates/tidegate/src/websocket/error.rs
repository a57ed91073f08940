//! What can be refused on an open WebSocket; how one ends is a `Closed`, not an error of its own.

use super::core::NotQueued;
use crate::message::Message;
use std::fmt;
use tidegate_proto::{Closed, Level};

/// `try_send` did not queue the message; here it is again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrySendError {
    /// The queue is at its byte limit. Wait for `writable`, drop the message, or close.
    Full(Message),
    /// The connection is closing or closed: no message can be sent any more.
    Closed(Message),
}

impl TrySendError {
    /// The message that was not queued.
    pub fn into_message(self) -> Message {
        match self {
            TrySendError::Full(message) | TrySendError::Closed(message) => message,
        }
    }
}

impl From<Box<NotQueued>> for TrySendError {
    fn from(refused: Box<NotQueued>) -> TrySendError {
        match refused.level {
            Level::Full => TrySendError::Full(refused.message),
            _ => TrySendError::Closed(refused.message),
        }
    }
}

impl fmt::Display for TrySendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "the send queue is full: wait for `writable`",
            TrySendError::Closed(_) => "the connection is closing: nothing can be sent any more",
        })
    }
}

impl std::error::Error for TrySendError {}

/// A ping got no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PingError {
    /// The connection ended, or is closing.
    Closed(Closed),
    /// Unread messages lie before the pong, and no more of them are kept. Call `recv`, then ping again.
    Unread,
}

impl fmt::Display for PingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PingError::Closed(_) => f.write_str("the connection ended before the pong came"),
            PingError::Unread => f.write_str("unread messages lie before the pong: receive them"),
        }
    }
}

impl std::error::Error for PingError {}
