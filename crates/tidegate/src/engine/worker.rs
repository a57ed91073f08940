//! One worker: a thread, an event loop, an endpoint. Nothing here blocks but the one call that sleeps.
//!
//! ```text
//!           ┌──────────────────────────── a turn ─────────────────────────────┐
//!  sleep ─► │ read the readable ─► mail ─► timers ─► accept ─► write the owed │ ─► carry mail off ─► sleep
//!           └─────────────────────────────────────────────────────────────────┘
//! ```
//! Reading is in `receive.rs`, writing and closing in `transmit.rs`, accepting in `accept.rs` and
//! `adopt.rs`, calling others in `dial.rs`.

use super::accept::Gate;
use super::bridge::Piers;
use super::clock::{Clock, until};
use super::conn::{Conns, Mark};
use super::control::Shared;
use super::mailbox::PostOffice;
use mio::event::Event;
use mio::{Events, Poll, Token};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::{Endpoint, Handler, PeerId, Time, WorkerId};

/// The event loop of one thread and all it owns.
pub(super) struct Worker<H: Handler> {
    pub(super) id: WorkerId,
    pub(super) endpoint: Endpoint<H>,
    pub(super) post: PostOffice<H::Mail>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    pub(super) poll: Poll,
    pub(super) gate: Gate,
    pub(super) conns: Conns,
    /// Peers without a socket of their own.
    pub(super) piers: Piers,
    /// The one read buffer of all connections.
    pub(super) buffer: Box<[u8]>,
    /// What TLS makes of it; empty without TLS.
    pub(super) plain: Box<[u8]>,
    /// What a TLS peer is sent, encrypted; it grows to the longest write.
    pub(super) records: Vec<u8>,
    /// Peers whose sockets may hold more, and whose turn has passed.
    pub(super) ready: VecDeque<PeerId>,
    /// Peers to be looked after in the next flush though the endpoint does not name them.
    pub(super) owed: Vec<PeerId>,
    /// Peers whose end was read, and who are told so after they got what they are owed.
    pub(super) ended: Vec<PeerId>,
    pub(super) turn: Turn,
    stage: Stage,
}

/// What was used up of a turn's budgets.
#[derive(Default)]
pub(super) struct Turn {
    /// Octets read since the last flush.
    pub(super) unflushed: usize,
    /// Octets written in this flush.
    pub(super) written: usize,
    /// Reads of TLS clients that are not through their handshake.
    pub(super) handshakes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// The listener is closed; who was in its backlog is read once before they are sent away.
    Emptying,
    Draining,
}

/// The waker's token; peers have their slot.
pub(super) const WAKER: Token = Token(usize::MAX - 1);
/// The listener's token.
pub(super) const LISTENER: Token = Token(usize::MAX - 2);

/// One read at most; 8 KiB would cost 45 % more when messages are pipelined.
const READ_BUFFER: usize = 64 << 10;
/// A TLS record's plaintext at most.
const PLAIN_BUFFER: usize = 16 << 10;
/// Events taken from the kernel at once.
const EVENTS: usize = 1024;
/// Octets read after which those who are owed get it before more is read: outboxes stay short and the
/// data stay in the cache.
const FLUSH_AFTER: usize = 256 << 10;
/// Messages handed to the handler between two flushes.
const MAIL_A_TURN: usize = 64;

impl<H: Handler> Worker<H> {
    pub(super) fn new(
        id: WorkerId,
        endpoint: Endpoint<H>,
        post: PostOffice<H::Mail>,
        shared: Arc<Shared>,
        clock: Clock,
        poll: Poll,
        gate: Gate,
    ) -> Worker<H> {
        let plain = if shared.tls.is_some() || shared.upstream_tls.is_some() {
            PLAIN_BUFFER
        } else {
            0
        };
        Worker {
            id,
            endpoint,
            post,
            shared,
            clock,
            poll,
            gate,
            conns: Conns::default(),
            piers: Piers::default(),
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            plain: vec![0; plain].into_boxed_slice(),
            records: Vec::new(),
            ready: VecDeque::new(),
            owed: Vec::new(),
            ended: Vec::new(),
            turn: Turn::default(),
            stage: Stage::Serving,
        }
    }

    /// Serves until the server is drained, or its deadline has passed.
    ///
    /// # Errors
    /// When the operating system's event queue fails.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.sleep(&mut events)?;
            self.turn(&events);
            if self.is_over() {
                return Ok(());
            }
        }
    }

    /// Waits for events, mail or the next deadline; not at all while there is work left.
    fn sleep(&mut self, events: &mut Events) -> io::Result<()> {
        let patience = self.patience();
        let mailbox = self.post.mailbox();
        let result = if patience != Some(Duration::ZERO) && mailbox.may_sleep() {
            let result = self.poll.poll(events, patience);
            mailbox.woken();
            result
        } else {
            self.poll.poll(events, Some(Duration::ZERO))
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// How long the worker may sleep; `None` is for ever.
    fn patience(&self) -> Option<Duration> {
        let busy = !self.ready.is_empty()
            || !self.owed.is_empty()
            || self.post.has_mail()
            || self.endpoint.wants_dial()
            || self.stage == Stage::Emptying
            || self.gate.is_pending();
        if busy {
            return Some(Duration::ZERO);
        }
        let deadline = self
            .shared
            .control
            .deadline()
            .map(|instant| self.clock.at(instant));
        let next = [self.endpoint.poll_timeout(), self.gate.resumes(), deadline];
        next.into_iter()
            .flatten()
            .min()
            .map(|then| until(self.clock.now(), then))
    }

    fn turn(&mut self, events: &Events) {
        let now = self.clock.now();
        self.turn = Turn::default();
        for event in events {
            self.event(now, event);
        }
        self.read_ready(now);
        self.read_mail(now);
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(now, &mut self.post);
        }
        // Last, so that no slot freed in this turn is taken again while an event of its old peer waits.
        self.accept(now);
        self.adopt(now);
        self.bridge(now);
        self.dial(now);
        self.flush(now);
        self.drain(now);
        self.post.carry();
    }

    fn event(&mut self, now: Time, event: &Event) {
        match event.token() {
            WAKER => {} // it has woken us, which is all it is for
            LISTENER => self.gate.knock(),
            Token(slot) => self.peer_event(now, slot, event),
        }
    }

    fn peer_event(&mut self, now: Time, slot: usize, event: &Event) {
        let Some(conn) = self.conns.at(slot) else {
            return;
        };
        let peer = conn.peer;
        if event.is_writable() && conn.is(Mark::Blocked) && conn.is_connected() {
            conn.clear(Mark::Blocked);
            self.owed.push(peer);
        }
        let hung_up = event.is_read_closed() || event.is_error();
        if hung_up {
            conn.set(Mark::HungUp);
        }
        if hung_up || event.is_readable() {
            conn.set(Mark::Readable);
            self.receive_and_flush(now, peer);
        }
    }

    /// Goes on with the peers who had not been read dry when their turn passed.
    fn read_ready(&mut self, now: Time) {
        for _ in 0..self.ready.len() {
            let Some(peer) = self.ready.pop_front() else {
                return;
            };
            if let Some(conn) = self.conns.get_mut(peer) {
                conn.clear(Mark::Queued);
                self.receive_and_flush(now, peer);
            }
        }
    }

    fn receive_and_flush(&mut self, now: Time, peer: PeerId) {
        self.receive(now, peer);
        if self.turn.unflushed >= FLUSH_AFTER {
            self.flush(now);
        }
    }

    fn read_mail(&mut self, now: Time) {
        self.post.fetch();
        for _ in 0..MAIL_A_TURN {
            let Some(mail) = self.post.next() else {
                return;
            };
            self.endpoint.handle_mail(now, mail, &mut self.post);
        }
    }

    /// Takes the next step of an orderly end, if one was asked for.
    fn drain(&mut self, now: Time) {
        match self.stage {
            Stage::Serving if self.shared.control.is_draining() => {
                self.accept_the_rest(now);
                self.stage = Stage::Emptying;
            }
            Stage::Emptying => {
                self.endpoint.handle_drain(now, &mut self.post);
                self.flush(now);
                self.stage = Stage::Draining;
            }
            Stage::Serving | Stage::Draining => {}
        }
        if self.stage == Stage::Draining && self.endpoint.is_drained() {
            // The others may still need this one's handler, so it stays until all are drained.
            self.shared.control.drained(self.id);
        }
    }

    /// All workers are drained, or the time for that is up: then the sockets left are dropped.
    fn is_over(&mut self) -> bool {
        if self.stage != Stage::Draining {
            return false;
        }
        let overdue = self
            .shared
            .control
            .deadline()
            .is_some_and(|at| self.clock.at(at) <= self.clock.now());
        if overdue {
            self.drop_all();
        }
        overdue || self.shared.control.all_drained()
    }

    fn drop_all(&mut self) {
        let now = self.clock.now();
        for peer in self.conns.peers() {
            self.endpoint.handle_error(now, peer, &mut self.post);
            self.close(peer);
        }
        for peer in self.piers.keys().copied().collect::<Vec<_>>() {
            self.endpoint.handle_error(now, peer, &mut self.post);
            self.close_bridged(peer);
        }
        self.post.carry();
    }
}
