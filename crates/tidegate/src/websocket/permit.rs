//! Room in the queue, kept for a message that is made later.

use super::TrySendError;
use super::access::Access;
use crate::message::Message;
use std::fmt;
use tidegate_proto::Level;

/// Room for one message, from `reserve`. Dropped unused, the room is free again.
pub struct Permit<'a, S> {
    access: Access<'a, S>,
    room: usize,
    used: bool,
}

impl<'a, S> Permit<'a, S> {
    pub(super) fn new(access: Access<'a, S>, room: usize) -> Permit<'a, S> {
        Permit {
            access,
            room,
            used: false,
        }
    }

    /// Bytes of payload that were asked for.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Queues the message, as `try_send` does; there is room for it.
    ///
    /// # Errors
    /// [`TrySendError::Full`] only if the message is longer than what was reserved, [`TrySendError::Closed`]
    /// only if the connection has ended since, or is closing. The message comes back.
    pub fn send(mut self, message: impl Into<Message>) -> Result<Level, TrySendError> {
        let message = message.into();
        if message.len() > self.room {
            return Err(TrySendError::Full(message));
        }
        self.used = true;
        let room = self.room;
        let queued = self.access.now(|core| core.redeem(room, message));
        queued.map_err(TrySendError::from)
    }
}

impl<S> Drop for Permit<'_, S> {
    fn drop(&mut self) {
        if !self.used {
            let room = self.room;
            self.access.now(|core| core.cancel(room));
        }
    }
}

impl<S> fmt::Debug for Permit<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}
