//! What comes: from the transport into a buffer, from there to `recv`, to the inbox or to a reader. It writes
//! nothing by itself.

use super::super::pool;
use super::{Core, Reading};
use crate::message::Message;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tidegate_proto::{Closed, Event, Piece, ProtocolError, Streaming};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most messages that are kept while something else than `recv` reads.
const MAX_INBOX: usize = 16;
/// Reads in one poll; then others have their turn.
const MAX_READS: usize = 32;
/// Messages come whole up to the limit of [`tidegate_proto::Limits::max_message_size`].
const WHOLE: Streaming = Streaming::from(usize::MAX);
/// Messages come as they arrive.
const PARTS: Streaming = Streaming::from(0);

/// What was read and not yet looked at.
pub(super) struct Held {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Held {
    /// `early` was read by somebody else.
    pub(super) fn new(early: &[u8]) -> Option<Held> {
        (!early.is_empty()).then(|| Held {
            buffer: early.into(),
            start: 0,
            end: early.len(),
        })
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn drop_into_pool(self) {
        if self.buffer.len() == pool::READ {
            pool::give_back(self.buffer);
        }
    }
}

/// What was found in the octets read.
enum Found {
    Message(Message),
    /// The next part of a long message is in `reading`.
    Part,
    /// Nothing will ever come.
    End,
}

impl<S> Core<S> {
    /// Messages wait to be received, so many that no more are read.
    pub(super) fn is_unread(&self) -> bool {
        let full = self.inbox.len() >= MAX_INBOX || self.inbox_bytes >= self.max_inbox_bytes;
        full || self.has_part()
    }

    /// A message in parts is there and somebody may want it.
    fn has_part(&self) -> bool {
        let reading = self.reading.as_ref();
        reading.is_some_and(|reading| !reading.is_unwanted())
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.inbox.pop_front()?;
        self.inbox_bytes -= message.len();
        if self.inbox.is_empty() {
            self.inbox = Default::default();
        }
        Some(message)
    }

    pub(super) fn drop_held(&mut self) {
        if let Some(held) = self.held.take() {
            held.drop_into_pool();
        }
    }

    /// Gives the read buffer back if nothing is in it that anybody wants.
    fn tidy_held(&mut self) {
        let in_use = self.reading.as_ref().is_some_and(Reading::is_held);
        if !in_use && self.held.as_ref().is_some_and(Held::is_empty) {
            self.drop_held();
        }
    }

    /// The reader is gone: the rest of its message will be passed over.
    pub(in super::super) fn stop_reading(&mut self) {
        if let Some(reading) = &mut self.reading {
            let buffer = reading.give_up();
            if reading.is_over() {
                self.reading = None;
            }
            recycle(buffer);
        }
        self.tidy_held();
    }

    /// Takes octets of the message being read.
    pub(in super::super) fn take_part(&mut self, into: &mut ReadBuf<'_>) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        let held = self.held.as_ref().map_or(&[][..], |held| &held.buffer);
        let octets = reading.octets(held);
        let n = octets.len().min(into.remaining());
        into.put_slice(&octets[..n]);
        recycle(reading.took(n));
        self.tidy_held();
    }

    /// The usual case and the quick way through it: the next message lies whole in what is held.
    #[inline(always)]
    fn lies_ready(&mut self) -> Option<Message> {
        if !self.inbox.is_empty() || self.reading.is_some() {
            return None;
        }
        let held = self.held.as_mut()?;
        let mut input = &mut held.buffer[held.start..held.end];
        let received = self.connection.receive_whole(&mut input)?;
        held.start = held.end - input.len();
        self.heard = true;
        match received {
            Ok(message) => {
                // Made here and moved nowhere: for small messages the moves cost more than the rest.
                let message = Message::own(message);
                if self.held.as_ref().is_some_and(Held::is_empty) {
                    self.drop_held();
                }
                Some(message)
            }
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// The same for what was just read, where it is not repeated for each message.
    #[inline(never)]
    fn has_come_ready(&mut self) -> Option<Message> {
        self.lies_ready()
    }

    /// Looks at what is held, up to the next thing found.
    fn next_held(&mut self, rule: Streaming) -> Option<Found> {
        let mut held = self.held.take()?;
        let mut input = &mut held.buffer[held.start..held.end];
        let event = pool::with_resources(|resources| {
            self.connection
                .receive_streaming(self.now, rule, &mut input, resources)
        });
        let taken = held.end - input.len();
        let found = match event {
            None => None,
            Some(Event::Message(message)) => Some(Found::Message(Message::own(message))),
            Some(Event::Part(piece)) => self.part(piece, taken),
            Some(Event::Closed(closed)) => {
                self.ended(Some(closed));
                None
            }
        };
        self.note_pong();
        held.start = taken;
        self.held = Some(held);
        self.tidy_held();
        found
    }

    /// A part has come; it ends at `end` of the read buffer if it lies there.
    fn part(&mut self, mut piece: Piece<'_>, end: usize) -> Option<Found> {
        let (kind, last) = (piece.part().kind, piece.part().last);
        let next = match piece.take_buffer() {
            Some(buffer) => Reading::own(kind, buffer, last),
            None => Reading::held(kind, end - piece.part().bytes.len()..end, last),
        };
        match &mut self.reading {
            None => self.reading = Some(next),
            Some(reading) => reading.go_on(next),
        }
        if self.reading.as_ref().is_some_and(Reading::is_unwanted) {
            self.stop_reading();
            return None;
        }
        Some(Found::Part)
    }

    fn note_pong(&mut self) {
        if let Some((number, at)) = self.pinged {
            if self.connection.pings_answered() >= number {
                self.rtt = Some(self.now.since(at));
                self.pinged = None;
            }
        }
    }

    fn handle_eof(&mut self) {
        self.tick();
        self.eof = true;
        let closed =
            pool::with_resources(|resources| self.connection.handle_eof(self.now, resources));
        self.ended(closed);
    }

    /// `recv` was asked for a message that is longer than it may be.
    fn too_long(&mut self) {
        self.fail(ProtocolError::MessageTooBig);
        self.stop_reading();
        self.reading = None;
    }

    #[cold]
    fn fail(&mut self, error: ProtocolError) {
        self.tick();
        let closed =
            pool::with_resources(|resources| self.connection.fail(self.now, error, resources));
        self.ended(Some(closed));
    }

    /// Nobody will read the message in parts that is there: it was dropped, or it is too long to be whole.
    fn settle_reading(&mut self) {
        match &self.reading {
            Some(reading) if reading.is_claimed() => self.stop_reading(),
            Some(_) if self.is_open() => self.too_long(),
            Some(_) => self.reading = None,
            None => {}
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Core<S> {
    /// The next message; the end once all is said and the transport is closed.
    #[inline]
    pub(in super::super) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Message, Closed>> {
        match self.lies_ready() {
            Some(message) => Poll::Ready(Ok(message)),
            None => self.poll_recv_any(cx),
        }
    }

    #[inline(never)]
    fn poll_recv_any(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Closed>> {
        if let Some(message) = self.pop() {
            return Poll::Ready(Ok(message));
        }
        self.settle_reading();
        if self.held.is_none() && !self.eof && !self.mute && self.is_open() {
            match self.poll_one_read(cx) {
                Poll::Ready(Some(message)) => return Poll::Ready(Ok(message)),
                Poll::Ready(None) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        loop {
            match ready!(self.poll_next(cx, WHOLE)) {
                Ok(Some(message)) => return Poll::Ready(Ok(message)),
                Ok(None) => self.too_long(),
                Err(closed) => return Poll::Ready(Err(closed)),
            }
        }
    }

    /// The second usual case, of an open connection with nothing in hand: what is queued is written, and then either one
    /// read brings a whole message or there is nothing to do but wait. `None`: something else is the case.
    #[inline]
    fn poll_one_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.write(cx);
        if self.io.is_none() || self.mute {
            return Poll::Ready(None);
        }
        if self.poll_read(cx).is_ready() {
            return Poll::Ready(self.has_come_ready());
        }
        match self.timers(cx) {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }

    /// The next message; after a clean end nothing, after any other that end once.
    pub(in super::super) fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, Closed>>> {
        if self.told {
            return Poll::Ready(None);
        }
        let received = ready!(self.poll_recv(cx));
        self.told = received.is_err();
        Poll::Ready(match received {
            Err(closed) if closed.clean => None,
            received => Some(received),
        })
    }

    /// Waits for the next message and claims it for a reader.
    pub(in super::super) fn poll_next_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<tidegate_proto::MessageKind, Closed>> {
        if let Some(reading) = &self.reading {
            if reading.is_claimed() {
                self.stop_reading();
            }
        }
        let found = match self.pop() {
            Some(message) => Some(message),
            None if self.has_part() => None,
            None => ready!(self.poll_next(cx, PARTS))?,
        };
        let found = found.map(Reading::whole);
        if found.is_some() {
            self.reading = found;
        }
        let reading = self.reading.as_mut().expect("a part was found");
        reading.claim();
        Poll::Ready(Ok(reading.kind()))
    }

    /// Waits until there are octets of the message being read; false at its end.
    pub(in super::super) fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, Closed>> {
        loop {
            match &self.reading {
                None => return Poll::Ready(Err(self.reason())),
                Some(reading) if !reading.is_empty() => return Poll::Ready(Ok(true)),
                Some(reading) if reading.is_over() => {
                    self.stop_reading();
                    return Poll::Ready(Ok(false));
                }
                Some(_) => {}
            }
            ready!(self.poll_next(cx, PARTS))?;
        }
    }

    /// The next message, or `None` for a part of one, which is in `reading` then.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        rule: Streaming,
    ) -> Poll<Result<Option<Message>, Closed>> {
        // What is here already costs no system call, and what the program queues meanwhile is written
        // together. Only answers to control frames are not kept waiting.
        let queued = self.connection.queued();
        if self.held.is_some() {
            self.tick();
        }
        while self.held.is_some() {
            let found = self.next_held(rule);
            if self.connection.queued() != queued {
                self.write(cx);
            }
            if let Some(found) = self.found(found) {
                return Poll::Ready(Ok(found));
            }
        }
        loop {
            self.write(cx);
            let received = self.poll_receive(cx, rule);
            if self.connection.queued() > 0 || !self.is_open() {
                self.write(cx);
            }
            if let Poll::Ready(found) = received {
                if let Some(found) = self.found(Some(found)) {
                    return Poll::Ready(Ok(found));
                }
            }
            if !self.timers(cx) && !self.is_mute() {
                return self.poll_end().map(Err);
            }
        }
    }

    /// A message, `Some(None)` for a part, or nothing.
    fn found(&self, found: Option<Found>) -> Option<Option<Message>> {
        match found? {
            Found::Message(message) => Some(Some(message)),
            Found::Part => Some(None),
            Found::End => None,
        }
    }

    /// Reads messages into the inbox, as many as it takes. A long message stays before it.
    pub(super) fn fill_inbox(&mut self, cx: &mut Context<'_>) {
        loop {
            if self.is_unread() {
                if self.connection.is_open() {
                    return;
                }
                // Closing: what still comes is passed over, up to the peer's Close.
                self.stop_reading();
            }
            match self.poll_receive(cx, WHOLE) {
                Poll::Ready(Found::Message(message)) => {
                    self.inbox_bytes += message.len();
                    self.inbox.push_back(message);
                }
                Poll::Ready(Found::Part) => {}
                Poll::Ready(Found::End) | Poll::Pending => return,
            }
        }
    }

    /// The next thing in what is held or can be read. The clock is read only for what is no plain message.
    fn poll_receive(&mut self, cx: &mut Context<'_>, rule: Streaming) -> Poll<Found> {
        for _ in 0..MAX_READS {
            while self.held.is_some() {
                if let Some(found) = self.next_held(rule) {
                    return Poll::Ready(found);
                }
            }
            if self.eof || self.io.is_none() {
                return Poll::Ready(Found::End);
            }
            match self.poll_read(cx) {
                Poll::Ready(()) => {
                    if let Some(message) = (rule == WHOLE).then(|| self.has_come_ready()).flatten()
                    {
                        return Poll::Ready(Found::Message(message));
                    }
                    self.tick();
                }
                Poll::Pending if self.mute => self.abort(),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once, into a buffer that is owned only if something came.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(());
        };
        let mut buffer = pool::take_buffer();
        let mut read = ReadBuf::new(&mut buffer);
        let result = Pin::new(io).poll_read(cx, &mut read);
        let end = read.filled().len();
        if end == 0 {
            pool::give_back(buffer);
        } else {
            self.held = Some(Held {
                buffer,
                start: 0,
                end,
            });
        }
        match result {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => self.abort(),
            Poll::Ready(Ok(())) if end == 0 => self.handle_eof(),
            Poll::Ready(Ok(())) => {}
        }
        Poll::Ready(())
    }
}

/// Gives a buffer back that a part was in.
fn recycle(buffer: Option<Vec<u8>>) {
    if let Some(buffer) = buffer {
        pool::with_resources(|resources| resources.recycle(buffer));
    }
}
