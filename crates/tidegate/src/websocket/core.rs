//! One connection over one transport at poll level: all state lives here, none in a future, so a future
//! can be dropped at any point. It never spawns, locks or waits by itself.

mod reading;
mod receive;
mod transmit;

pub(super) use reading::Reading;
pub(super) use transmit::{NotQueued, WriteError};

use super::pool;
use crate::drain::{Order, Watch};
use crate::message::Message;
use receive::Held;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tidegate_proto::{
    CloseCode, Closed, Config, Connection, Negotiated, Outbox, Role, Time, Transport,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

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
    /// A message that is received in parts.
    reading: Option<Reading>,
    /// A message is sent in parts.
    writing: bool,
    /// Octets for which permits have been given.
    reserved: usize,
    /// Most octets that wait to be written.
    max_queued: usize,
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
    /// Messages came since the clock was read.
    heard: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    /// When the timer fires, and whom it wakes then.
    armed: Option<(Time, Waker)>,
    /// Number and moment of the latest ping of ours.
    pinged: Option<(u64, Time)>,
    rtt: Option<Duration>,
    /// Tells when the program wants it to end.
    drain: Option<Box<Watch>>,
}

impl<S> Core<S> {
    /// `early` is what came behind the handshake's head.
    pub(super) fn new(io: S, role: Role, config: Arc<Config>, early: &[u8]) -> Core<S> {
        Core {
            io: Some(io),
            held: Held::new(early),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            max_inbox_bytes: config.limits.max_message_size.max(1),
            reading: None,
            writing: false,
            reserved: 0,
            max_queued: config.limits.outbox,
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
            heard: false,
            sleep: None,
            armed: None,
            pinged: None,
            rtt: None,
            drain: None,
            connection: Connection::new(role, config, Outbox::default(), Time::ZERO),
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

    /// How it ended, or, while that is not yet known, that it is being closed by us.
    pub(super) fn reason(&self) -> Closed {
        self.closed.clone().unwrap_or(Closed {
            code: None,
            reason: "the connection is being closed".to_owned(),
            by: tidegate_proto::Side::Us,
            clean: false,
            cause: None,
        })
    }

    /// Reads the clock. Messages that came whole did not ask for it; they were heard until now.
    fn tick(&mut self) {
        self.now = Time::ZERO + self.started.elapsed();
        if std::mem::take(&mut self.heard) {
            self.connection.heard(self.now);
        }
    }

    fn ended(&mut self, closed: Option<Closed>) {
        if self.closed.is_none() {
            self.closed = closed;
        }
    }

    /// Queues a Close; what waits goes first. A message in parts that is not finished stays a torso.
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
        self.armed = None;
        self.parked = None;
        if self
            .reading
            .as_ref()
            .is_none_or(|reading| !reading.is_held())
        {
            self.drop_held();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Core<S> {
    /// Waits until the transport is closed; what comes meanwhile is dropped, or kept as far as there is room.
    pub(super) fn poll_finished(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        self.drive(cx);
        self.poll_end()
    }

    fn poll_end(&self) -> Poll<Closed> {
        match self.io {
            None => Poll::Ready(self.reason()),
            Some(_) => Poll::Pending,
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
            // A reader is at work: it comes to the pong.
            None if self.is_unread() && !self.is_being_read() => Poll::Ready(Ok(None)),
            None => Poll::Pending,
        }
    }

    /// Queues a ping; its number and the moment, or `None` when the connection is closing.
    fn start_ping(&mut self) -> Option<(u64, Time)> {
        self.tick();
        let number = pool::with_resources(|resources| self.connection.ping(resources))?;
        self.pinged = Some((number, self.now));
        self.pinged
    }

    /// Writes, reads into the inbox and looks at the deadlines, until nothing more can be done now.
    fn drive(&mut self, cx: &mut Context<'_>) {
        self.tick();
        loop {
            self.write(cx);
            self.fill_inbox(cx);
            self.write(cx);
            // It is the application that does not read: the peer's silence means nothing.
            if self.mute && self.is_unread() {
                self.abort();
            }
            let deaf = self.is_unread() && self.is_open() && !self.is_high();
            if !self.is_mute() && (deaf || !self.timers(cx)) {
                return;
            }
        }
    }

    /// A reader has been handed out and lives.
    fn is_being_read(&self) -> bool {
        let reading = self.reading.as_ref();
        reading.is_some_and(|reading| reading.is_claimed() && !reading.is_unwanted())
    }

    /// Writing has failed, and what the peer may have sent before is still to be read.
    fn is_mute(&self) -> bool {
        self.mute && self.io.is_some()
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

    /// Nothing is owed: does to the transport what the closing handshake asks for.
    fn settle(&mut self, cx: &mut Context<'_>) {
        if self.connection.is_open() && !self.eof {
            return;
        }
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
        self.tick();
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

    /// Waits for `deadline`. The timer is armed when first needed, moved only when it has fired or the deadline
    /// came nearer, and asked only when it has fired or somebody else waits, so that a message costs it nothing.
    fn poll_sleep(&mut self, cx: &mut Context<'_>, deadline: Time) -> Poll<()> {
        if let Some((at, waker)) = &self.armed {
            let is_still_to_come = *at > self.now && *at <= deadline;
            if is_still_to_come && waker.will_wake(cx.waker()) {
                return Poll::Pending;
            }
        }
        let at = self.started + deadline.since(Time::ZERO);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        loop {
            if sleep.as_mut().poll(cx).is_pending() {
                let fires = Time::ZERO + sleep.deadline().duration_since(self.started);
                self.armed = Some((fires, cx.waker().clone()));
                return Poll::Pending;
            }
            self.armed = None;
            if sleep.deadline() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}

impl<S> super::shared::Progress for Core<S> {
    type State = (u64, u64, usize, usize, [bool; 3], u64, usize);

    fn progress(&self) -> Self::State {
        (
            self.written,
            self.flushed,
            self.queued() + self.reserved,
            self.inbox.len(),
            [self.closed.is_some(), self.io.is_some(), self.writing],
            self.connection.pings_answered(),
            self.reading.as_ref().map_or(0, Reading::progress),
        )
    }
}

impl<S> Drop for Core<S> {
    /// Gives codecs back, and what they are worth to the budget.
    fn drop(&mut self) {
        if self.connection.deflate().is_some() {
            pool::with_last_resources(|resources| {
                self.connection.handle_end(resources);
            });
        }
    }
}
