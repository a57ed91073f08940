//! All connections of one worker, from the first octet of the opening handshake to the last.
//!
//! An engine (an event loop, a simulator) tells it what happened with `handle_*` and asks with `poll_*`
//! what to do. It owns no socket and reads no clock. The [`Handler`] on top decides what messages mean.
//!
//! ```text
//!  accepted ─► Head ──► upgrade? ── no ──► PlainHttp     (handed to an ordinary HTTP server)
//!                │          │ yes
//!                │          ├─ refused ──► Refused ─┐
//!                │          └─ accepted ─► Open ────┤  write what is owed, half-close, linger
//!                └─ too slow ──────────────────────►└─► Close
//! ```
//! A handler may think before it answers (`hold.rs`), and it may call others itself (`dial.rs`).

mod dial;
mod handler;
mod hold;
mod peers;
#[cfg(all(test, feature = "deflate"))]
mod streams;
#[cfg(test)]
mod tests;
mod timers;

pub use crate::connection::Transport;
pub use dial::{Call, Dial, DialError};
pub use handler::{
    Accept, Direction, Handler, MailboxFull, Opening, Outboxes, Post, Rejection, TimerId, Wire,
};
pub use hold::MAX_EARLY;
pub use peers::{PeerId, PeerInfo, WorkerId};

use crate::close::{CloseCode, Closed, Side};
use crate::config::HeadLimits;
use crate::connection::{Connection, Event, Level, Outbox, Resources, Role, StreamMisuse};
use crate::deflate::{self, Deflate, DeflateConfig};
use crate::error::ProtocolError;
use crate::handshake::server::{self, BadResponse, Head, Response};
use crate::handshake::{HeadScan, OriginPolicy, Request};
use crate::time::{Random, Time};
use hold::{Asked, Later};
use peers::{Peer, Peers, Stage};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;
use timers::Wheel;

/// How long a refused client may take to read its refusal.
const REFUSAL_LINGER: Duration = Duration::from_secs(1);

/// What holds for all handshakes of a worker.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Limits of the request head.
    pub head: HeadLimits,
    /// Which Origins may open a WebSocket. Default: the same origin.
    pub origins: OriginPolicy,
}

impl Default for EndpointConfig {
    fn default() -> EndpointConfig {
        EndpointConfig {
            head: HeadLimits::default(),
            origins: OriginPolicy::SameOrigin,
        }
    }
}

/// A worker's connections and the handler on top of them. See the module's picture.
pub struct Endpoint<H: Handler> {
    core: Core,
    handler: H,
}

/// Everything but the handler, so that the handler can be lent it.
pub(crate) struct Core {
    now: Time,
    worker: WorkerId,
    workers: usize,
    config: EndpointConfig,
    peers: Peers,
    resources: Resources,
    wheel: Wheel<Due>,
    dirty: VecDeque<PeerId>,
    /// Peers whose outbox was full; they are failed once the handler has returned.
    full: Vec<PeerId>,
    /// Done once the handler has returned.
    later: VecDeque<Later>,
    /// Transports that the driver is to open.
    calls: VecDeque<PeerId>,
    /// A handler has held a peer: from now on each event is followed by a look whether it did again.
    holding: bool,
    draining: bool,
}

#[derive(Clone, Copy)]
enum Due {
    Peer(PeerId, Time),
    Handler(TimerId),
}

impl<H: Handler> Endpoint<H> {
    /// A worker without peers. `random` must be a CSPRNG unless this is a simulation.
    pub fn new(
        worker: WorkerId,
        workers: usize,
        config: EndpointConfig,
        random: Box<dyn Random + Send>,
        now: Time,
        handler: H,
    ) -> Endpoint<H> {
        let core = Core {
            now,
            worker,
            workers,
            config,
            peers: Peers::new(worker),
            resources: Resources::new(random),
            wheel: Wheel::new(now),
            dirty: VecDeque::new(),
            full: Vec::new(),
            later: VecDeque::new(),
            calls: VecDeque::new(),
            holding: false,
            draining: false,
        };
        Endpoint { core, handler }
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// A transport was accepted; its request head is awaited, [`HeadLimits::timeout`] in all.
    pub fn handle_open(&mut self, now: Time, info: PeerInfo) -> PeerId {
        self.core.now = now;
        let deadline = now + self.core.config.head.timeout;
        let stage = Stage::Head {
            octets: Vec::new(),
            scan: HeadScan::default(),
            deadline,
            certificate: None,
        };
        let id = self.core.peers.insert(Peer::new(info, stage));
        self.core.arm(id);
        id
    }

    /// A client's transport has shown this certificate (X.509, DER) and the driver has verified it, before any octet of the
    /// request came: the handler finds it in the [`Request`]. It is kept until the request is answered.
    pub fn handle_certificate(&mut self, peer: PeerId, shown: Arc<[u8]>) {
        if let Some(Stage::Head { certificate, .. }) =
            self.core.peers.get_mut(peer).map(|p| &mut p.stage)
        {
            *certificate = Some(shown);
        }
    }

    /// Octets came from a peer; all are taken. `input` is changed: payloads are unmasked in place.
    pub fn handle_bytes(
        &mut self,
        now: Time,
        peer: PeerId,
        input: &mut [u8],
        mail: &mut dyn Post<H::Mail>,
    ) {
        self.core.now = now;
        match self.core.peers.get_mut(peer).map(|p| &mut p.stage) {
            Some(Stage::Open(_)) => self.frames(peer, input, mail),
            Some(Stage::Head { .. }) => self.head(peer, input, mail),
            Some(Stage::Dialing(_)) => self.answer(peer, input, mail),
            Some(Stage::Asked(_)) => self.early(peer, input, mail),
            Some(Stage::Plain(octets)) => octets.extend_from_slice(input),
            Some(Stage::Refused { .. } | Stage::Dead) | None => {}
        }
        self.settle(mail);
        self.follow_up(mail);
        self.core.touch(peer);
    }

    /// Where a peer's next octets belong, if they are the middle of a long message: room for `least` to `most` of
    /// them. Read into it and say so with [`Endpoint::handle_filled`], and they need not be copied; or read
    /// elsewhere and call [`Endpoint::handle_bytes`]. `None` when they must be looked at first.
    pub fn room(&mut self, peer: PeerId, least: usize, most: usize) -> Option<&mut [u8]> {
        let peer = self.core.peers.get_mut(peer)?;
        match &mut peer.stage {
            Stage::Open(connection) if !peer.observe && peer.held.is_none() => {
                connection.room(least, most)
            }
            _ => None,
        }
    }

    /// The first `n` octets of [`Endpoint::room`] were read.
    pub fn handle_filled(
        &mut self,
        now: Time,
        peer: PeerId,
        n: usize,
        mail: &mut dyn Post<H::Mail>,
    ) {
        self.core.now = now;
        let connection = self.core.peers.connection_mut(peer);
        let event = connection.and_then(|c| c.filled(now, n, &mut self.core.resources));
        if let Some(mut event) = event {
            self.hand_out(peer, &mut event, mail);
            self.core.resources.recycle_event(event);
        }
        self.settle(mail);
        self.follow_up(mail);
        self.core.touch(peer);
    }

    /// The peer will send no more.
    pub fn handle_eof(&mut self, now: Time, peer: PeerId, mail: &mut dyn Post<H::Mail>) {
        self.core.now = now;
        let Some(entry) = self.core.peers.get_mut(peer) else {
            return;
        };
        entry.eof = true;
        if self.ends_later(peer) {
            return;
        }
        // What came before the end is not lost, though its answers may not fit.
        let held = self.core.peers.get_mut(peer).and_then(|p| p.held.take());
        if let Some(mut held) = held {
            self.pull(peer, &mut held.octets, false, mail);
        }
        self.ended(peer, mail);
        self.settle(mail);
        self.follow_up(mail);
        self.core.touch(peer);
    }

    /// All that a peer has sent was read, and it will send no more.
    fn ended(&mut self, peer: PeerId, mail: &mut dyn Post<H::Mail>) {
        let now = self.core.now;
        let Some(entry) = self.core.peers.get_mut(peer) else {
            return;
        };
        match &mut entry.stage {
            Stage::Open(connection) => {
                let closed = connection.handle_eof(now, &mut self.core.resources);
                self.over(peer, closed, mail);
            }
            Stage::Head { .. } => entry.kill(&mut self.core.resources),
            Stage::Asked(_) => self.turn_away(peer, None, Side::Transport, mail),
            Stage::Dialing(_) => self.dial_failed(peer, DialError::Cut, mail),
            Stage::Refused { .. } | Stage::Plain(_) | Stage::Dead => {}
        }
    }

    /// The transport failed: nothing can be sent or received any more.
    pub fn handle_error(&mut self, now: Time, peer: PeerId, mail: &mut dyn Post<H::Mail>) {
        self.core.now = now;
        let Some(entry) = self.core.peers.get_mut(peer) else {
            return;
        };
        match &mut entry.stage {
            Stage::Open(connection) => {
                let closed = connection.handle_end(&mut self.core.resources);
                self.over(peer, closed, mail);
            }
            Stage::Asked(_) => self.turn_away(peer, None, Side::Transport, mail),
            Stage::Dialing(_) => self.dial_failed(peer, DialError::Transport, mail),
            _ => entry.kill(&mut self.core.resources),
        }
        self.settle(mail);
        self.follow_up(mail);
        self.core.touch(peer);
    }

    /// `n` octets of [`Endpoint::poll_transmit`] were written.
    pub fn handle_sent(&mut self, now: Time, peer: PeerId, n: usize, mail: &mut dyn Post<H::Mail>) {
        self.core.now = now;
        self.observe_sent(peer, n, mail);
        let resources = &mut self.core.resources;
        let entry = self.core.peers.get_mut(peer);
        let holds = entry
            .as_ref()
            .is_some_and(|p| p.held.as_ref().is_some_and(|held| !held.by_handler));
        let drained = match entry.map(|p| &mut p.stage) {
            Some(Stage::Open(connection)) => connection.handle_sent(now, n, resources),
            Some(Stage::Refused { outbox, deadline }) => {
                outbox.advance(n, 0, resources);
                if outbox.is_empty() {
                    *deadline = (*deadline).min(now + REFUSAL_LINGER);
                }
                false
            }
            Some(Stage::Dialing(dialing)) => {
                dialing.outbox.advance(n, 0, resources);
                false
            }
            _ => false,
        };
        if drained {
            let mut out = Outboxes::new(&mut self.core, mail);
            self.handler.drained(peer, &mut out);
        }
        self.settle(mail);
        if holds && !self.core.is_high(peer) {
            self.resume(peer, mail);
            self.settle(mail);
        }
        self.follow_up(mail);
        self.core.touch(peer);
    }

    /// Mail came.
    pub fn handle_mail(&mut self, now: Time, mail: H::Mail, post: &mut dyn Post<H::Mail>) {
        self.core.now = now;
        let mut out = Outboxes::new(&mut self.core, post);
        self.handler.mail(mail, &mut out);
        self.settle(post);
        self.follow_up(post);
    }

    /// The time of [`Endpoint::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Time, mail: &mut dyn Post<H::Mail>) {
        self.core.now = now;
        let mut due = Vec::new();
        self.core.wheel.expire(now, &mut due);
        for due in due {
            match due {
                Due::Peer(peer, at) => self.peer_timeout(peer, at, mail),
                Due::Handler(timer) => {
                    let mut out = Outboxes::new(&mut self.core, mail);
                    self.handler.timeout(timer, &mut out);
                }
            }
            self.settle(mail);
            self.follow_up(mail);
        }
    }

    /// The server shuts down: [`Handler::drain`] is called for each open peer, handshakes that come
    /// later are refused with 503, and transports that have asked for nothing yet are closed.
    pub fn handle_drain(&mut self, now: Time, mail: &mut dyn Post<H::Mail>) {
        self.core.now = now;
        self.core.draining = true;
        for peer in self.core.peers.ids() {
            match self.core.peers.get_mut(peer).map(|p| &mut p.stage) {
                Some(Stage::Open(connection)) if connection.is_open() => {
                    let mut out = Outboxes::new(&mut self.core, mail);
                    self.handler.drain(peer, &mut out);
                }
                Some(stage @ Stage::Head { .. }) => {
                    if matches!(stage, Stage::Head { octets, .. } if octets.is_empty()) {
                        *stage = Stage::Dead;
                    }
                }
                Some(Stage::Asked(_)) => {
                    self.turn_away(peer, Some(&shutting_down()), Side::Us, mail);
                }
                _ => {}
            }
            self.settle(mail);
            self.follow_up(mail);
            self.core.touch(peer);
        }
    }

    /// The next peer that is owed a write, a half-close, a close or a hand-over. Each is named once for
    /// each change; ask [`Endpoint::poll_transmit`], then [`Endpoint::transport`].
    pub fn poll_dirty(&mut self) -> Option<PeerId> {
        while let Some(id) = self.core.dirty.pop_front() {
            if let Some(peer) = self.core.peers.get_mut(id) {
                peer.dirty = false;
                return Some(id);
            }
        }
        None
    }

    /// The octets owed to a peer, as far as `slices` go; returns how many were filled, 0 if none is owed.
    pub fn poll_transmit<'s>(&'s self, peer: PeerId, slices: &mut [IoSlice<'s>]) -> usize {
        match self.core.peers.get(peer).map(|p| &p.stage) {
            Some(Stage::Open(connection)) => connection.poll_transmit(slices),
            Some(Stage::Refused { outbox, .. }) => outbox.slices(slices),
            Some(Stage::Dialing(dialing)) => dialing.outbox.slices(slices),
            _ => 0,
        }
    }

    /// What to do with the peer's transport once nothing is owed to it. An unknown peer's is closed.
    pub fn transport(&self, peer: PeerId) -> Transport {
        match self.core.peers.get(peer) {
            Some(peer) => peer.transport(),
            None => Transport::Close,
        }
    }

    /// The peer's Close has come, and it will send no more; see [`Connection::peer_has_closed`].
    pub fn peer_has_closed(&self, peer: PeerId) -> bool {
        let connection = self.core.peers.connection(peer);
        connection.is_some_and(Connection::peer_has_closed)
    }

    /// False while so much is owed to the peer that reading on would only make it more.
    pub fn wants_read(&self, peer: PeerId) -> bool {
        let holds = |peer: &Peer| peer.held.is_some();
        !self.core.is_high(peer) && !self.core.peers.get(peer).is_some_and(holds)
    }

    /// The octets of a peer that wants no WebSocket ([`Transport::PlainHttp`]); its slot is free afterwards.
    pub fn take_plain_http(&mut self, peer: PeerId) -> Vec<u8> {
        match self.core.peers.remove(peer).map(|p| p.stage) {
            Some(Stage::Plain(octets)) => octets,
            _ => Vec::new(),
        }
    }

    /// The engine has closed the peer's transport: its slot is free.
    pub fn release(&mut self, peer: PeerId) {
        if let Some(mut entry) = self.core.peers.remove(peer) {
            if let Stage::Open(connection) = &mut entry.stage {
                let unsaid = connection.handle_end(&mut self.core.resources);
                debug_assert!(unsaid.is_none(), "released before it was closed");
            }
            entry.kill(&mut self.core.resources);
        }
    }

    /// When [`Endpoint::handle_timeout`] should be called next; maybe early, never late.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.core.wheel.next()
    }

    /// What the worker's connections share; for gauges.
    pub fn resources(&self) -> &Resources {
        &self.core.resources
    }

    /// How many peers there are, in whatever stage.
    pub fn peers(&self) -> usize {
        self.core.peers.len()
    }

    /// Draining has begun and no peer is left.
    pub fn is_drained(&self) -> bool {
        self.core.draining && self.core.peers.len() == 0
    }

    /// Octets of a request head came.
    fn head(&mut self, peer: PeerId, input: &mut [u8], mail: &mut dyn Post<H::Mail>) {
        let Some(entry) = self.core.peers.get_mut(peer) else {
            return;
        };
        let Stage::Head {
            octets,
            scan,
            certificate,
            ..
        } = &mut entry.stage
        else {
            return;
        };
        octets.extend_from_slice(input);
        let (secure, limits) = (entry.info.secure, &self.core.config.head);
        match server::resume(scan, octets, secure, limits) {
            (Head::Incomplete, _) => {}
            (Head::Plain, _) => {
                let octets = std::mem::take(octets);
                entry.stage = Stage::Plain(octets);
            }
            (Head::Bad(refusal), _) => self.core.refuse(peer, &refusal),
            (Head::Upgrade(request), len) => {
                let rest = input.len() - (octets.len() - len).min(input.len());
                let request = request.with_certificate(certificate.take());
                self.upgrade(peer, &request, mail);
                self.settle(mail);
                let held = matches!(
                    self.core.peers.get(peer).map(|p| &p.stage),
                    Some(Stage::Asked(_))
                );
                match held {
                    true => self.early(peer, &input[rest..], mail),
                    false => self.frames(peer, &mut input[rest..], mail),
                }
            }
        }
    }

    /// A valid request for a WebSocket: who may have one is the Origin policy's and the handler's to say.
    fn upgrade(&mut self, peer: PeerId, request: &Request, mail: &mut dyn Post<H::Mail>) {
        if self.core.draining {
            return self.core.refuse(peer, &shutting_down());
        }
        if !self.core.config.origins.allows(request) {
            //= rfc6455#10.2  an Origin that is not acceptable is answered 403.
            let refusal = Rejection::new(403, "this Origin may not open a WebSocket here");
            return self.core.refuse(peer, &refusal);
        }
        let mut out = Outboxes::new(&mut self.core, mail);
        match self.handler.open(peer, request, &mut out) {
            Opening::Reject(refusal) => self.core.refuse(peer, &refusal),
            Opening::Hold(patience) => {
                let asked = Asked::new(request.clone(), self.core.now + patience);
                if let Some(entry) = self.core.peers.get_mut(peer) {
                    entry.stage = Stage::Asked(Box::new(asked));
                }
            }
            Opening::Accept(accept) => {
                let observe = accept.observe;
                if let Err(misuse) = self.core.accept(peer, request, accept) {
                    return self.misused(peer, misuse, mail);
                }
                let mut out = Outboxes::new(&mut self.core, mail);
                if observe {
                    let wire = Wire {
                        direction: Direction::Received,
                        bytes: request.head(),
                    };
                    self.handler.observed(peer, wire, &mut out);
                }
                self.handler.opened(peer, &mut out);
            }
        }
    }

    /// The handler accepted a peer in a way that cannot be answered: its fault, so the client gets 500.
    fn misused(&mut self, peer: PeerId, misuse: BadResponse, mail: &mut dyn Post<H::Mail>) {
        debug_assert!(false, "Handler::open: {misuse}");
        let refusal = Rejection::new(500, "the server could not answer this handshake");
        self.core.refuse(peer, &refusal);
        let closed = Closed {
            code: None,
            reason: misuse.to_string(),
            by: Side::Us,
            clean: false,
            cause: None,
        };
        self.over(peer, Some(closed), mail);
    }

    /// Octets of frames came.
    fn frames(&mut self, peer: PeerId, input: &mut [u8], mail: &mut dyn Post<H::Mail>) {
        self.observe_received(peer, input, mail);
        let held = self.core.peers.get_mut(peer).and_then(|p| p.held.as_mut());
        match held {
            // An engine that reads on though it should not: the order is kept all the same.
            Some(held) => held.octets.extend_from_slice(input),
            None => self.pull(peer, input, true, mail),
        }
    }

    /// Hands out what is in `input`. A few octets can inflate to many parts, and a handler may answer each:
    /// with `may_hold` the rest waits once the outbox is high.
    fn pull(
        &mut self,
        peer: PeerId,
        mut input: &mut [u8],
        may_hold: bool,
        mail: &mut dyn Post<H::Mail>,
    ) {
        loop {
            let now = self.core.now;
            let Some(connection) = self.core.peers.connection_mut(peer) else {
                return;
            };
            let received = connection.receive(now, &mut input, &mut self.core.resources);
            let Some(mut event) = received else {
                return;
            };
            self.hand_out(peer, &mut event, mail);
            let is_part = matches!(event, Event::Part(_));
            self.core.resources.recycle_event(event);
            self.settle(mail);
            let stops =
                is_part && self.core.is_high(peer) || self.core.holding && self.core.is_held(peer);
            if stops && may_hold && !input.is_empty() {
                return self.core.keep(peer, input);
            }
        }
    }

    /// Used where it lies: to move a message costs as much as to unmask a small one.
    #[inline]
    fn hand_out(&mut self, peer: PeerId, event: &mut Event<'_>, mail: &mut dyn Post<H::Mail>) {
        let mut out = Outboxes::new(&mut self.core, mail);
        match event {
            Event::Message(message) => self.handler.message(peer, message.incoming(), &mut out),
            Event::Part(piece) => self.handler.part(peer, piece.part(), &mut out),
            Event::Closed(closed) => self.handler.closed(peer, closed, &mut out),
        }
    }

    fn peer_timeout(&mut self, id: PeerId, at: Time, mail: &mut dyn Post<H::Mail>) {
        let now = self.core.now;
        let Some(peer) = self.core.peers.get_mut(id) else {
            return;
        };
        if peer.armed != Some(at) {
            return;
        }
        peer.armed = None;
        let is_due = peer.deadline().is_some_and(|deadline| deadline <= now);
        match &mut peer.stage {
            _ if !is_due => {}
            Stage::Open(connection) => {
                let closed = connection.handle_timeout(now, &mut self.core.resources);
                self.over(id, closed, mail);
            }
            Stage::Head { octets, .. } if !octets.is_empty() => {
                let refusal = Rejection::new(408, "the request head took too long");
                self.core.refuse(id, &refusal);
            }
            Stage::Asked(_) => {
                let refusal = Rejection::new(504, "the upstream took too long to answer");
                self.turn_away(id, Some(&refusal), Side::Us, mail);
            }
            Stage::Dialing(_) => self.dial_failed(id, DialError::Timeout, mail),
            _ => peer.kill(&mut self.core.resources),
        }
        self.core.touch(id);
    }

    /// Tells the handler how a peer ended.
    fn over(&mut self, peer: PeerId, closed: Option<Closed>, mail: &mut dyn Post<H::Mail>) {
        if let Some(closed) = closed {
            let mut out = Outboxes::new(&mut self.core, mail);
            self.handler.closed(peer, &closed, &mut out);
        }
    }

    /// Fails the peers whose outbox the handler found full and did not close itself.
    #[inline]
    fn settle(&mut self, mail: &mut dyn Post<H::Mail>) {
        if !self.core.full.is_empty() {
            self.fail_full(mail);
        }
    }

    fn fail_full(&mut self, mail: &mut dyn Post<H::Mail>) {
        while let Some(peer) = self.core.full.pop() {
            let now = self.core.now;
            let Some(connection) = self.core.peers.connection_mut(peer) else {
                continue;
            };
            if connection.is_open() {
                let error = ProtocolError::SlowConsumer;
                let closed = connection.fail(now, error, &mut self.core.resources);
                self.over(peer, Some(closed), mail);
                self.core.touch(peer);
            }
        }
    }

    fn observe_received(&mut self, peer: PeerId, bytes: &[u8], mail: &mut dyn Post<H::Mail>) {
        let observe = self.core.peers.get(peer).is_some_and(|p| p.observe);
        if observe && !bytes.is_empty() {
            let direction = Direction::Received;
            let mut out = Outboxes::new(&mut self.core, mail);
            self.handler
                .observed(peer, Wire { direction, bytes }, &mut out);
        }
    }

    fn observe_sent(&mut self, peer: PeerId, n: usize, mail: &mut dyn Post<H::Mail>) {
        if n == 0 || !self.core.peers.get(peer).is_some_and(|p| p.observe) {
            return;
        }
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = self.poll_transmit(peer, &mut slices);
        let mut bytes: Vec<u8> = Vec::with_capacity(n);
        for slice in &slices[..filled] {
            bytes.extend_from_slice(&slice[..slice.len().min(n - bytes.len())]);
        }
        let wire = Wire {
            direction: Direction::Sent,
            bytes: &bytes,
        };
        let mut out = Outboxes::new(&mut self.core, mail);
        self.handler.observed(peer, wire, &mut out);
    }
}

impl Core {
    fn send(
        &mut self,
        peer: PeerId,
        send: impl FnOnce(&mut Connection, &mut Resources) -> Level,
    ) -> Level {
        let Some(connection) = self.peers.connection_mut(peer) else {
            return Level::Gone;
        };
        let level = send(connection, &mut self.resources);
        self.sent(peer, level);
        level
    }

    fn stream(
        &mut self,
        peer: PeerId,
        send: impl FnOnce(&mut Connection, &mut Resources) -> Result<Level, StreamMisuse>,
    ) -> Result<Level, StreamMisuse> {
        let Some(connection) = self.peers.connection_mut(peer) else {
            return Ok(Level::Gone);
        };
        let level = send(connection, &mut self.resources)?;
        self.sent(peer, level);
        Ok(level)
    }

    fn sent(&mut self, peer: PeerId, level: Level) {
        match level {
            Level::Low | Level::High => self.mark_dirty(peer),
            Level::Full => self.full.push(peer),
            Level::Gone => {}
        }
    }

    fn close(&mut self, peer: PeerId, code: CloseCode, reason: &str) {
        if let Some(connection) = self.peers.connection_mut(peer) {
            connection.close(self.now, code, reason, &mut self.resources);
            // Its answer must be read, though nothing else of it counts.
            self.release_peer(peer);
            return self.touch(peer);
        }
        let stage = self.peers.get(peer).map(|p| &p.stage);
        if matches!(stage, Some(Stage::Dialing(_) | Stage::Asked(_))) {
            self.hang_up(peer);
        }
    }

    fn timer(&mut self, id: TimerId, at: Time) {
        self.wheel.insert(at, Due::Handler(id));
    }

    /// Queues the 101 and opens the connection.
    fn accept(
        &mut self,
        peer: PeerId,
        request: &Request,
        accept: Accept,
    ) -> Result<(), BadResponse> {
        let mut response = Vec::with_capacity(256);
        let deflate = self.negotiate(request, &accept.config.deflate);
        Response {
            subprotocol: accept.subprotocol.as_deref(),
            extensions: deflate.as_ref().map(|deflate| &*deflate.header),
            headers: &[],
        }
        .write(request, &mut response)?;
        let mut outbox = Outbox::default();
        outbox.push(&response, b"", &mut self.resources);
        let mut connection = Connection::new(Role::Server, accept.config, outbox, self.now);
        #[cfg(feature = "deflate")]
        if let Some(deflate) = deflate {
            connection.set_deflate(deflate.negotiated, &mut self.resources);
        }
        if let Some(streaming) = accept.streaming {
            connection.set_streaming(streaming);
        }
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.observe = accept.observe;
            entry.stage = Stage::Open(connection);
        }
        Ok(())
    }

    /// So much is owed to the peer that reading on would only make it more.
    fn is_high(&self, peer: PeerId) -> bool {
        let connection = self.peers.connection(peer);
        connection.is_some_and(|c| c.is_open() && c.is_high())
    }

    /// Judges the client's offers of compression.
    fn negotiate(&self, request: &Request, config: &DeflateConfig) -> Option<deflate::Accepted> {
        if config.mode == Deflate::Off {
            return None;
        }
        let offers = request.offers();
        let user_agent = request.header_str("user-agent");
        let accepted = deflate::accept(&offers, config, user_agent)?;
        let context = deflate::context_bytes(&accepted.negotiated);
        if self
            .resources
            .has_room_for_context(context, config.context_budget)
        {
            return Some(accepted);
        }
        deflate::accept(&offers, &config.frugal(), user_agent)
    }

    /// Queues an HTTP refusal, after which the transport is closed.
    fn refuse(&mut self, peer: PeerId, refusal: &Rejection) {
        let mut response = Vec::with_capacity(256);
        server::refuse(refusal, &mut response);
        let mut outbox = Outbox::default();
        outbox.push(&response, b"", &mut self.resources);
        let deadline = self.now + self.config.head.timeout;
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.stage = Stage::Refused { outbox, deadline };
        }
    }

    /// Something happened to a peer: tell the engine if it has to act, and keep its timer right.
    fn touch(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if peer.is_owed() || peer.transport() != Transport::Open {
            mark_dirty(peer, id, &mut self.dirty);
        }
        arm(peer, id, &mut self.wheel);
    }

    fn mark_dirty(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            mark_dirty(peer, id, &mut self.dirty);
        }
    }

    fn arm(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            arm(peer, id, &mut self.wheel);
        }
    }
}

fn shutting_down() -> Rejection {
    Rejection::new(503, "the server is shutting down; try again elsewhere")
}

/// The engine will be told to look at the peer.
#[inline]
fn mark_dirty(peer: &mut Peer, id: PeerId, dirty: &mut VecDeque<PeerId>) {
    if !peer.dirty {
        peer.dirty = true;
        dirty.push_back(id);
    }
}

/// Sees that the wheel wakes the peer at its deadline; an earlier timer looks again by itself.
#[inline]
fn arm(peer: &mut Peer, id: PeerId, wheel: &mut Wheel<Due>) {
    let Some(deadline) = peer.deadline() else {
        return;
    };
    if peer.armed.is_none_or(|armed| deadline < armed) {
        peer.armed = Some(deadline);
        wheel.insert(deadline, Due::Peer(id, deadline));
    }
}
