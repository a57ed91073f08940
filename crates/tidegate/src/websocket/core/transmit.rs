//! What goes: messages into the queue, whole or in parts, and the queue into the transport.

use super::super::pool;
use super::Core;
use crate::message::Message;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tidegate_proto::{Closed, Connection, Level, MessageKind, StreamMisuse, Transport};
use tokio::io::{AsyncRead, AsyncWrite};

/// Slices written at once.
const SLICES: usize = 16;
/// What a frame may add to a message: its header, and what deflate adds to what does not shrink.
const OVERHEAD: usize = 64;

/// A message found no way into the outbox; here it is again.
pub(in super::super) struct NotQueued {
    pub(in super::super) message: Message,
    pub(in super::super) level: Level,
}

/// A part of a message was not taken.
pub(in super::super) enum WriteError {
    Closed(Closed),
    NotUtf8,
}

impl<S> Core<S> {
    pub(in super::super) fn queued(&self) -> usize {
        self.connection.queued() + self.parked.as_ref().map_or(0, Message::len)
    }

    pub(super) fn is_high(&self) -> bool {
        self.connection.is_high() || self.parked.is_some()
    }

    /// Queues a message if there is room below the marks and nobody is before it.
    #[inline]
    pub(in super::super) fn offer(&mut self, message: &Message) -> bool {
        let free = self.parked.is_none() && !self.writing && self.reserved == 0;
        let free = free && !self.connection.is_high();
        free && matches!(
            push(&mut self.connection, message),
            Level::Low | Level::High
        )
    }

    /// Where the message that was queued last ends, to be waited for with `poll_mark`.
    pub(in super::super) fn mark_of_last(&self) -> u64 {
        self.mark()
    }

    /// Queues a message, or gives it back.
    pub(in super::super) fn enqueue(&mut self, message: Message) -> Result<Level, Box<NotQueued>> {
        self.unpark();
        let level = match self.parked.is_some() || self.has_no_room(message.len()) {
            true => Level::Full,
            false => push(&mut self.connection, &message),
        };
        match level {
            Level::Low | Level::High => Ok(level),
            Level::Full if !self.is_open() => Err(Box::new(NotQueued {
                message,
                level: Level::Gone,
            })),
            Level::Full | Level::Gone => Err(Box::new(NotQueued { message, level })),
        }
    }

    /// A message in parts, or what was promised to others, is in the way.
    fn has_no_room(&self, len: usize) -> bool {
        let taken = self.connection.queued() + self.reserved;
        self.writing || (self.reserved > 0 && taken + len + OVERHEAD > self.max_queued)
    }

    /// Takes a message for which the sink has promised room.
    pub(in super::super) fn park(&mut self, message: Message) -> Result<(), Closed> {
        match self.enqueue(message) {
            Ok(_) => Ok(()),
            Err(refused) if refused.level == Level::Full && self.parked.is_none() => {
                self.parked = Some(refused.message);
                Ok(())
            }
            Err(_) => Err(self.reason()),
        }
    }

    /// Queues what the sink has parked, if there is room now.
    fn unpark(&mut self) {
        if self
            .parked
            .as_ref()
            .is_none_or(|m| self.has_no_room(m.len()))
        {
            return;
        }
        if let Some(message) = self.parked.take() {
            if push(&mut self.connection, &message) == Level::Full {
                self.parked = Some(message);
            }
        }
    }

    /// Queues a message for which `room` octets were reserved; it must not be longer. Answers to pings may
    /// have taken some of the room: then it waits beside the queue.
    pub(in super::super) fn redeem(
        &mut self,
        room: usize,
        message: Message,
    ) -> Result<Level, Box<NotQueued>> {
        self.cancel(room);
        match push(&mut self.connection, &message) {
            level @ (Level::Low | Level::High) => Ok(level),
            Level::Full if self.parked.is_none() => {
                self.parked = Some(message);
                Ok(Level::High)
            }
            level => Err(Box::new(NotQueued { message, level })),
        }
    }

    /// Gives up what was reserved.
    pub(in super::super) fn cancel(&mut self, room: usize) {
        self.reserved -= room + OVERHEAD;
    }

    /// A message in parts was not finished: the peer cannot be left with a torso.
    pub(in super::super) fn stop_writing(&mut self) {
        if std::mem::take(&mut self.writing) {
            self.start_close(tidegate_proto::CloseCode::INTERNAL, TORSO);
        }
    }

    /// Where the octets queued so far end in the stream of octets written.
    fn mark(&self) -> u64 {
        self.written + self.connection.queued() as u64
    }

    fn poll_flushed(&self, mark: u64) -> Poll<Result<(), Closed>> {
        if self.flushed >= mark {
            return Poll::Ready(Ok(()));
        }
        match &self.closed {
            Some(closed) => Poll::Ready(Err(closed.clone())),
            None => Poll::Pending,
        }
    }

    /// An end that is known, so that nobody waits in vain.
    fn check_open(&self) -> Result<(), Closed> {
        match &self.closed {
            Some(closed) => Err(closed.clone()),
            None => Ok(()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Core<S> {
    /// Queues `message` once there is room, then waits until its last octet was handed to the transport.
    /// Before it is queued it stays in `message`; afterwards `mark` says where it ends.
    pub(in super::super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
        mark: &mut u64,
    ) -> Poll<Result<(), Closed>> {
        if message.is_some() {
            ready!(self.poll_feed(cx, message))?;
            *mark = self.mark();
        }
        // Mostly the transport takes all at once, and then there is nothing to wait for.
        self.write(cx);
        if self.flushed < *mark {
            self.drive(cx);
        }
        self.poll_flushed(*mark)
    }

    /// Queues `message` once there is room.
    pub(in super::super) fn poll_feed(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), Closed>> {
        if !self.is_high() && self.try_take(message)? {
            return Poll::Ready(Ok(()));
        }
        self.drive(cx);
        self.check_open()?;
        match !self.is_high() && self.try_take(message)? {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    /// Queues what is in `message`, if there is room.
    fn try_take(&mut self, message: &mut Option<Message>) -> Result<bool, Closed> {
        let Some(taken) = message.take() else {
            return Ok(true);
        };
        match self.enqueue(taken) {
            Ok(_) => Ok(true),
            Err(refused) if refused.level == Level::Full => {
                *message = Some(refused.message);
                Ok(false)
            }
            Err(_) => Err(self.reason()),
        }
    }

    /// Waits until all that is queued now was handed to the transport.
    pub(in super::super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        mark: &mut Option<u64>,
    ) -> Poll<Result<(), Closed>> {
        self.drive(cx);
        if self.parked.is_some() && self.closed.is_none() {
            return Poll::Pending;
        }
        let mark = *mark.get_or_insert_with(|| self.mark());
        self.poll_flushed(mark)
    }

    /// Waits until the outbox is no longer high.
    pub(in super::super) fn poll_writable(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        if self.is_high() || !self.is_open() {
            self.drive(cx);
            self.check_open()?;
        }
        match self.is_high() {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }

    /// Waits until a message of `len` bytes finds room, and keeps that room for it.
    pub(in super::super) fn poll_reserve(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
    ) -> Poll<Result<(), Closed>> {
        if !self.can_reserve(len) {
            self.drive(cx);
            self.check_open()?;
            if !self.is_open() {
                return Poll::Ready(Err(self.reason()));
            }
            if !self.can_reserve(len) {
                return Poll::Pending;
            }
        }
        self.reserved += len + OVERHEAD;
        Poll::Ready(Ok(()))
    }

    fn can_reserve(&self, len: usize) -> bool {
        let taken = self.connection.queued() + self.reserved;
        let fits = taken == 0 || taken + len + OVERHEAD <= self.max_queued;
        fits && !self.is_high() && !self.writing && self.is_open()
    }

    /// Waits for its turn, and begins a message in parts.
    pub(in super::super) fn poll_begin(
        &mut self,
        cx: &mut Context<'_>,
        kind: MessageKind,
    ) -> Poll<Result<(), Closed>> {
        if !self.can_begin() {
            self.drive(cx);
        }
        if !self.is_open() {
            return Poll::Ready(Err(self.reason()));
        }
        if !self.can_begin() {
            return Poll::Pending;
        }
        let begun = pool::with_resources(|resources| self.connection.begin(kind, resources));
        debug_assert!(begun.is_ok(), "no other message in parts is under way");
        self.writing = true;
        Poll::Ready(Ok(()))
    }

    fn can_begin(&self) -> bool {
        !self.writing && !self.is_high() && self.reserved == 0
    }

    /// Queues a part of the message begun once there is room for it.
    pub(in super::super) fn poll_write_part(
        &mut self,
        cx: &mut Context<'_>,
        part: &[u8],
    ) -> Poll<Result<(), WriteError>> {
        for driven in [false, true] {
            if !self.is_high() || !self.is_open() {
                let pushed =
                    pool::with_resources(|resources| self.connection.part(part, resources));
                match pushed {
                    Ok(Level::Low | Level::High) => return Poll::Ready(Ok(())),
                    Ok(Level::Full) => {}
                    Err(StreamMisuse::NotUtf8) => return Poll::Ready(Err(WriteError::NotUtf8)),
                    Ok(Level::Gone) | Err(_) => {
                        return Poll::Ready(Err(WriteError::Closed(self.reason())));
                    }
                }
            }
            if !driven {
                self.drive(cx);
            }
        }
        Poll::Pending
    }

    /// Ends the message begun, and says where it ends in the stream of octets.
    pub(in super::super) fn finish_writing(&mut self) -> Result<u64, WriteError> {
        match pool::with_resources(|resources| self.connection.finish(resources)) {
            Ok(Level::Gone) => Err(WriteError::Closed(self.reason())),
            Ok(_) => {
                self.writing = false;
                Ok(self.mark())
            }
            Err(StreamMisuse::NotUtf8) => Err(WriteError::NotUtf8),
            Err(_) => Err(WriteError::Closed(self.reason())),
        }
    }

    /// Waits until the octets up to `mark` were handed to the transport.
    pub(in super::super) fn poll_mark(
        &mut self,
        cx: &mut Context<'_>,
        mark: u64,
    ) -> Poll<Result<(), Closed>> {
        self.write(cx);
        if self.flushed < mark {
            self.drive(cx);
        }
        self.poll_flushed(mark)
    }

    /// Writes what is owed, as far as the transport takes it, and flushes; shuts the transport when it is
    /// time to.
    pub(super) fn write(&mut self, cx: &mut Context<'_>) {
        if self.drain.is_some() {
            self.obey(cx);
        }
        if !self.mute && self.io.is_some() {
            if let Poll::Ready(Err(_)) = self.poll_write(cx) {
                self.mute = true;
            }
        }
        let nothing_owed = self.connection.queued() == 0 && self.flushed == self.written;
        if nothing_owed || self.mute || self.connection.transport() == Transport::Close {
            self.settle(cx);
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.queued() > 0 {
            let Some(io) = &mut self.io else {
                return Poll::Ready(Ok(()));
            };
            let written = match self.connection.poll_transmit_one() {
                Some(octets) => Pin::new(io).poll_write(cx, octets)?,
                None => {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    let filled = self.connection.poll_transmit(&mut slices);
                    Pin::new(io).poll_write_vectored(cx, &slices[..filled])?
                }
            };
            match written {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(n) => {
                    self.written += n as u64;
                    // Else the moment means nothing: no silence and no deadline is counted from it.
                    if self.connection.is_high() || !self.connection.is_open() {
                        self.tick();
                    }
                    let now = self.now;
                    pool::with_resources(|r| self.connection.handle_sent(now, n, r));
                    self.unpark();
                }
                Poll::Pending => break,
            }
        }
        if self.flushed < self.written {
            let Some(io) = &mut self.io else {
                return Poll::Ready(Ok(()));
            };
            ready!(Pin::new(io).poll_flush(cx))?;
            self.flushed = self.written;
        }
        Poll::Ready(Ok(()))
    }
}

#[inline]
fn push(connection: &mut Connection, message: &Message) -> Level {
    let kind = match message {
        Message::Text(_) => MessageKind::Text,
        Message::Binary(_) => MessageKind::Binary,
    };
    let queued = connection.send_behind(kind, message.as_bytes());
    queued.unwrap_or_else(|| push_any(connection, message))
}

#[inline(never)]
fn push_any(connection: &mut Connection, message: &Message) -> Level {
    pool::with_resources(|resources| match message {
        Message::Text(text) => connection.send_text(text, resources),
        Message::Binary(bytes) => connection.send_binary(bytes, resources),
    })
}

/// The reason of a Close that cuts a message of ours.
const TORSO: &str = "a message was not finished";
