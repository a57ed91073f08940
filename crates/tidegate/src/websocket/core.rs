//! One connection over one transport at poll level: all state lives here, none in a future, so a future
//! can be dropped at any point. It never spawns, locks or waits by itself.

use super::pool;
use crate::drain::{Order, Watch};
use crate::message::Message;
use std::collections::VecDeque;
use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tidegate_proto::{
    CloseCode, Closed, Config, Connection, Event, Level, Negotiated, Outbox, Role, Time, Transport,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Most messages that are kept while something else than `recv` reads.
const MAX_INBOX: usize = 16;
/// Slices written at once.
const SLICES: usize = 16;
/// Reads in one poll; then others have their turn.
const MAX_READS: usize = 32;

pub(super) struct Core<S> {
    /// `None` once the transport was closed.
    io: Option<S>,
    connection: Connection,
    /// What was read and not yet looked at.
    held: Option<Held>,
    /// Messages that came while something else than `recv` read.
    inbox: VecDeque<Message>,
    inbox_bytes: usize,
    max_inbox_bytes: usize,
    /// A message that the sink has taken and that found no room yet.
    parked: Option<Message>,
    /// How it ended, once that is known.
    closed: Option<Closed>,
    /// Bytes written to the transport so far, and how many of them were flushed.
    written: u64,
    flushed: u64,
    /// The peer sends no more.
    eof: bool,
    /// Our half of the transport is shut.
    shut: bool,
    /// Writing failed; what can still be read is read.
    mute: bool,
    /// The stream face has said how it ended.
    pub(super) told: bool,
    started: Instant,
    now: Time,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Number and moment of the latest ping of ours.
    pinged: Option<(u64, Time)>,
    rtt: Option<Duration>,
    /// Tells when the program wants it to end.
    drain: Option<Box<Watch>>,
}

struct Held {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

/// A message found no way into the outbox; here it is again.
pub(super) struct NotQueued {
    pub(super) message: Message,
    pub(super) level: Level,
}

impl<S> Core<S> {
    /// `early` is what came behind the handshake's head.
    pub(super) fn new(io: S, role: Role, config: Arc<Config>, early: &[u8]) -> Core<S> {
        let max_inbox_bytes = config.limits.max_message_size;
        Core {
            io: Some(io),
            connection: Connection::new(role, config, Outbox::default(), Time::ZERO),
            held: (!early.is_empty()).then(|| Held {
                buffer: early.into(),
                start: 0,
                end: early.len(),
            }),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            max_inbox_bytes,
            parked: None,
            closed: None,
            written: 0,
            flushed: 0,
            eof: false,
            shut: false,
            mute: false,
            told: false,
            started: Instant::now(),
            now: Time::ZERO,
            sleep: None,
            pinged: None,
            rtt: None,
            drain: None,
        }
    }

    pub(super) fn watch(&mut self, watch: Watch) {
        self.drain = Some(Box::new(watch));
    }

    #[cfg(feature = "deflate")]
    pub(super) fn set_deflate(&mut self, negotiated: Negotiated) {
        pool::with_resources(|resources| self.connection.set_deflate(negotiated, resources));
    }

    pub(super) fn deflate(&self) -> Option<Negotiated> {
        self.connection.deflate()
    }

    pub(super) fn queued(&self) -> usize {
        self.connection.queued() + self.parked.as_ref().map_or(0, Message::len)
    }

    pub(super) fn is_high(&self) -> bool {
        self.connection.is_high() || self.parked.is_some()
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.is_open()
    }

    pub(super) fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(super) fn io(&self) -> Option<&S> {
        self.io.as_ref()
    }

    /// A number that changes whenever something happened that another waiter may wait for.
    pub(super) fn progress(&self) -> (u64, u64, usize, usize, bool, bool, u64) {
        (
            self.written,
            self.flushed,
            self.queued(),
            self.inbox.len(),
            self.closed.is_some(),
            self.io.is_some(),
            self.connection.pings_answered(),
        )
    }

    /// Queues a message, or gives it back.
    pub(super) fn enqueue(&mut self, message: Message) -> Result<Level, Box<NotQueued>> {
        unpark(&mut self.connection, &mut self.parked);
        let level = match self.parked {
            Some(_) => Level::Full,
            None => push(&mut self.connection, &message),
        };
        match level {
            Level::Low | Level::High => Ok(level),
            Level::Full | Level::Gone => Err(Box::new(NotQueued { message, level })),
        }
    }

    /// Takes a message for which the sink has promised room.
    pub(super) fn park(&mut self, message: Message) -> Result<(), Closed> {
        match self.enqueue(message) {
            Ok(_) => Ok(()),
            Err(refused) if refused.level == Level::Full && self.parked.is_none() => {
                self.parked = Some(refused.message);
                Ok(())
            }
            Err(_) => Err(self.reason()),
        }
    }

    /// How it ended, or, while that is not yet known, that it is being closed by us.
    fn reason(&self) -> Closed {
        self.closed.clone().unwrap_or(Closed {
            code: None,
            reason: "the connection is being closed".to_owned(),
            by: tidegate_proto::Side::Us,
            clean: false,
            cause: None,
        })
    }

    /// Where the octets queued so far end in the stream of octets written.
    fn mark(&self) -> u64 {
        self.written + self.connection.queued() as u64
    }

    fn tick(&mut self) {
        self.now = Time::ZERO + self.started.elapsed();
    }

    fn ended(&mut self, closed: Option<Closed>) {
        if self.closed.is_none() {
            self.closed = closed;
        }
    }

    /// Queues a Close; what waits goes first.
    pub(super) fn start_close(&mut self, code: CloseCode, reason: &str) {
        self.tick();
        pool::with_resources(|resources| self.connection.close(self.now, code, reason, resources));
    }

    /// Drops the transport.
    pub(super) fn abort(&mut self) {
        let closed = pool::with_resources(|resources| self.connection.handle_end(resources));
        self.ended(closed);
        self.io = None;
        self.drain = None;
        self.sleep = None;
        self.parked = None;
        if let Some(held) = self.held.take() {
            held.drop_into_pool();
        }
    }

    fn inbox_is_full(&self) -> bool {
        self.inbox.len() >= MAX_INBOX || self.inbox_bytes >= self.max_inbox_bytes
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.inbox.pop_front()?;
        self.inbox_bytes -= message.len();
        if self.inbox.is_empty() {
            self.inbox = VecDeque::new();
        }
        Some(message)
    }

    /// Queues a ping; its number and the moment, or `None` when the connection is closing.
    fn start_ping(&mut self) -> Option<(u64, Time)> {
        self.tick();
        let number = pool::with_resources(|resources| self.connection.ping(resources))?;
        self.pinged = Some((number, self.now));
        self.pinged
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Core<S> {
    /// The next message; the end once all is said and the transport is closed.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Closed>> {
        if let Some(message) = self.pop() {
            return Poll::Ready(Ok(message));
        }
        self.tick();
        loop {
            self.write(cx);
            let received = self.poll_receive(cx);
            self.write(cx);
            if let Poll::Ready(Some(message)) = received {
                return Poll::Ready(Ok(message));
            }
            if !self.timers(cx) && !self.is_mute() {
                break;
            }
        }
        self.poll_end()
    }

    /// Waits until the transport is closed; what comes meanwhile is dropped, or kept as far as there is room.
    pub(super) fn poll_finished(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        self.drive(cx);
        match ready!(self.poll_end()) {
            Ok(_) => unreachable!("the end is no message"),
            Err(closed) => Poll::Ready(closed),
        }
    }

    fn poll_end(&self) -> Poll<Result<Message, Closed>> {
        match self.io {
            None => Poll::Ready(Err(self.reason())),
            Some(_) => Poll::Pending,
        }
    }

    /// Queues `message` once there is room, then waits until its last octet was handed to the transport.
    /// Before it is queued it stays in `message`; afterwards `mark` says where it ends.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
        mark: &mut u64,
    ) -> Poll<Result<(), Closed>> {
        loop {
            let waiting = message.is_some();
            if waiting && !self.is_high() {
                self.try_take(message, mark)?;
            }
            self.drive(cx);
            if message.is_none() {
                return self.poll_flushed(*mark);
            }
            if let Some(closed) = &self.closed {
                return Poll::Ready(Err(closed.clone()));
            }
            if self.is_high() || !self.try_take(message, mark)? {
                return Poll::Pending;
            }
        }
    }

    /// Queues what is in `message`, if there is room.
    fn try_take(&mut self, message: &mut Option<Message>, mark: &mut u64) -> Result<bool, Closed> {
        let Some(taken) = message.take() else {
            return Ok(false);
        };
        match self.enqueue(taken) {
            Ok(_) => {
                *mark = self.mark();
                Ok(true)
            }
            Err(refused) if refused.level == Level::Full => {
                *message = Some(refused.message);
                Ok(false)
            }
            Err(_) => Err(self.reason()),
        }
    }

    /// Waits until all that is queued now was handed to the transport.
    pub(super) fn poll_flush(
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

    fn poll_flushed(&self, mark: u64) -> Poll<Result<(), Closed>> {
        if self.flushed >= mark {
            return Poll::Ready(Ok(()));
        }
        match &self.closed {
            Some(closed) => Poll::Ready(Err(closed.clone())),
            None => Poll::Pending,
        }
    }

    /// Waits until the outbox is no longer high.
    pub(super) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.drive(cx);
        if let Some(closed) = &self.closed {
            return Poll::Ready(Err(closed.clone()));
        }
        match self.is_high() {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }

    /// Sends a ping at the first call, then waits for its answer. `None`: unread messages are in the way.
    pub(super) fn poll_ping(
        &mut self,
        cx: &mut Context<'_>,
        ping: &mut Option<(u64, Time)>,
    ) -> Poll<Result<Option<Duration>, Closed>> {
        let (number, at) = match *ping {
            Some(ping) => ping,
            None => *ping.insert(self.start_ping().ok_or_else(|| self.reason())?),
        };
        self.drive(cx);
        if self.connection.pings_answered() >= number {
            return Poll::Ready(Ok(Some(self.rtt.unwrap_or_else(|| self.now.since(at)))));
        }
        match &self.closed {
            Some(closed) => Poll::Ready(Err(closed.clone())),
            None if self.inbox_is_full() => Poll::Ready(Ok(None)),
            None => Poll::Pending,
        }
    }

    /// Writes, reads into the inbox and looks at the deadlines, until nothing more can be done now.
    fn drive(&mut self, cx: &mut Context<'_>) {
        self.tick();
        loop {
            self.write(cx);
            while !self.inbox_is_full() || !self.connection.is_open() {
                match self.poll_receive(cx) {
                    Poll::Ready(Some(message)) => {
                        self.inbox_bytes += message.len();
                        self.inbox.push_back(message);
                    }
                    Poll::Ready(None) | Poll::Pending => break,
                }
            }
            self.write(cx);
            // It is the application that does not read: the peer's silence means nothing.
            if self.mute && self.inbox_is_full() {
                self.abort();
            }
            let deaf = self.inbox_is_full() && self.is_open() && !self.is_high();
            if !self.is_mute() && (deaf || !self.timers(cx)) {
                return;
            }
        }
    }

    /// The next message from what is held or can be read. `Ready(None)`: nothing will ever come.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        for _ in 0..MAX_READS {
            while self.held.is_some() {
                if let Some(message) = self.next_held() {
                    return Poll::Ready(Some(message));
                }
            }
            if self.eof || self.io.is_none() {
                return Poll::Ready(None);
            }
            match self.poll_read(cx) {
                Poll::Ready(()) => {}
                Poll::Pending if self.mute => self.abort(),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Looks at what is held, up to the next message.
    fn next_held(&mut self) -> Option<Message> {
        let mut held = self.held.take()?;
        let mut input = &mut held.buffer[held.start..held.end];
        let event = pool::with_resources(|resources| {
            self.connection.receive(self.now, &mut input, resources)
        });
        let rest = input.len();
        let message = match event {
            Some(Event::Message(message)) => Some(Message::own(message)),
            Some(Event::Closed(closed)) => {
                self.ended(Some(closed));
                None
            }
            _ => None,
        };
        self.note_pong();
        held.start = held.end - rest;
        match rest {
            0 => held.drop_into_pool(),
            _ => self.held = Some(held),
        }
        message
    }

    fn note_pong(&mut self) {
        if let Some((number, at)) = self.pinged {
            if self.connection.pings_answered() >= number {
                self.rtt = Some(self.now.since(at));
                self.pinged = None;
            }
        }
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

    /// Writing has failed, and what the peer may have sent before is still to be read.
    fn is_mute(&self) -> bool {
        self.mute && self.io.is_some()
    }

    fn handle_eof(&mut self) {
        self.eof = true;
        let closed =
            pool::with_resources(|resources| self.connection.handle_eof(self.now, resources));
        self.ended(closed);
    }

    /// Writes what is owed, as far as the transport takes it, and flushes; shuts the transport when it is
    /// time to.
    fn write(&mut self, cx: &mut Context<'_>) {
        self.obey(cx);
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

    /// Does what the program's [`crate::Drain`] says.
    fn obey(&mut self, cx: &mut Context<'_>) {
        while let Some(watch) = &mut self.drain {
            match watch.poll(cx) {
                Poll::Ready(Order::Close(farewell)) => {
                    self.start_close(farewell.code, &farewell.reason);
                }
                Poll::Ready(Order::Abort) => self.abort(),
                Poll::Pending => return,
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Ok(()));
        };
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.connection.poll_transmit(&mut slices);
            if filled == 0 {
                break;
            }
            match Pin::new(&mut *io).poll_write_vectored(cx, &slices[..filled])? {
                Poll::Ready(0) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(n) => {
                    self.written += n as u64;
                    let now = self.now;
                    pool::with_resources(|r| self.connection.handle_sent(now, n, r));
                    unpark(&mut self.connection, &mut self.parked);
                }
                Poll::Pending => break,
            }
        }
        if self.flushed < self.written {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.flushed = self.written;
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing is owed: does to the transport what the closing handshake asks for.
    fn settle(&mut self, cx: &mut Context<'_>) {
        let Some(io) = &mut self.io else { return };
        let transport = self.connection.transport();
        let over = transport == Transport::Close || self.eof;
        if (over || transport == Transport::ShutdownWrite) && !self.shut && !self.mute {
            // Over: one try, so that TLS says goodbye; the transport is dropped all the same.
            self.shut = Pin::new(io).poll_shutdown(cx).is_ready();
        }
        if over {
            self.abort();
        }
    }

    /// Looks at the deadlines. True when one had come, so that there may be something to do again.
    fn timers(&mut self, cx: &mut Context<'_>) -> bool {
        if self.io.is_none() {
            return false;
        }
        let Some(deadline) = self.connection.poll_timeout() else {
            return false;
        };
        if deadline > self.now && self.poll_sleep(cx, deadline).is_pending() {
            return false;
        }
        self.tick();
        let closed =
            pool::with_resources(|resources| self.connection.handle_timeout(self.now, resources));
        self.ended(closed);
        true
    }

    /// Waits for `deadline`. The timer is armed when first needed and moved only when it has fired or the
    /// deadline came nearer, so that a message costs it nothing.
    fn poll_sleep(&mut self, cx: &mut Context<'_>, deadline: Time) -> Poll<()> {
        let at = self.started + deadline.since(Time::ZERO);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
        Poll::Pending
    }
}

impl Held {
    fn drop_into_pool(self) {
        if self.buffer.len() == pool::READ {
            pool::give_back(self.buffer);
        }
    }
}

/// Queues what the sink has parked, if there is room now.
fn unpark(connection: &mut Connection, parked: &mut Option<Message>) {
    if let Some(message) = parked.take() {
        if push(connection, &message) == Level::Full {
            *parked = Some(message);
        }
    }
}

fn push(connection: &mut Connection, message: &Message) -> Level {
    pool::with_resources(|resources| match message {
        Message::Text(text) => connection.send_text(text, resources),
        Message::Binary(bytes) => connection.send_binary(bytes, resources),
    })
}
