//! The contract between a worker and what runs on it: [`Handler`], and the [`Outboxes`] it acts through.

use super::Core;
use super::dial::{Dial, DialError};
use super::peers::{PeerId, WorkerId};
use crate::close::{CloseCode, Closed};
use crate::config::Config;
use crate::connection::{Encoded, Incoming, Level, MessageKind, Part, StreamMisuse, Streaming};
use crate::deflate::Negotiated;
use crate::handshake::Request;
use crate::handshake::client::{Accepted, RequestError};
use crate::handshake::server::BadResponse;
use crate::time::Time;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use crate::handshake::server::Refusal as Rejection;

/// What runs on a worker. One value per worker; it never blocks and never awaits.
///
/// All calls for one peer come in order: `open`, `opened`, any number of `message` and
/// `part`, at last `closed`.
pub trait Handler {
    /// What workers send each other, and the control plane sends them.
    type Mail: Send;

    /// A client asks for a WebSocket. The handshake is valid and its Origin allowed. Nothing can be sent
    /// to the peer yet.
    fn open(
        &mut self,
        peer: PeerId,
        request: &Request,
        out: &mut Outboxes<'_, Self::Mail>,
    ) -> Opening;

    /// The peer was accepted; from now on it can be sent to.
    fn opened(&mut self, peer: PeerId, out: &mut Outboxes<'_, Self::Mail>) {
        let _ = (peer, out);
    }

    /// A whole message came.
    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, Self::Mail>);

    /// A part of a long message came; only from peers accepted with [`Accept::streaming`]. No message of
    /// the peer comes between the first part and the last. By default the peer is closed with 1009,
    /// because what asks for parts must take them, and what wraps a handler must pass them on.
    fn part(&mut self, peer: PeerId, part: Part<'_>, out: &mut Outboxes<'_, Self::Mail>) {
        let _ = part;
        out.close(peer, CloseCode::TOO_BIG, "long messages are not taken here");
    }

    /// Mail came, from another worker, from this one, or from the control plane.
    fn mail(&mut self, mail: Self::Mail, out: &mut Outboxes<'_, Self::Mail>);

    /// A timer set with [`Outboxes::timer`] has expired.
    fn timeout(&mut self, timer: TimerId, out: &mut Outboxes<'_, Self::Mail>) {
        let _ = (timer, out);
    }

    /// The peer's outbox, once above its high mark, has fallen below the low one.
    fn drained(&mut self, peer: PeerId, out: &mut Outboxes<'_, Self::Mail>) {
        let _ = (peer, out);
    }

    /// Octets passed a connection that was accepted with [`Accept::observe`]: received ones before they are
    /// understood, sent ones when the transport has taken them. So the last octets sent, a server's Close
    /// among them, may be shown after [`Handler::closed`]; an observer keeps its record until then.
    fn observed(&mut self, peer: PeerId, wire: Wire<'_>, out: &mut Outboxes<'_, Self::Mail>) {
        let _ = (peer, wire, out);
    }

    /// What came of [`Outboxes::dial`]: a WebSocket, whose 101 follows all rules and which can be sent to from
    /// now on, or the reason why not; then the peer is gone, and [`Handler::closed`] is not called for it. A
    /// call that was given up with [`Outboxes::close`] is not told of.
    fn dialed(
        &mut self,
        peer: PeerId,
        answer: Result<&Accepted, &DialError>,
        out: &mut Outboxes<'_, Self::Mail>,
    ) {
        let _ = answer;
        out.close(peer, CloseCode::GOING_AWAY, "");
    }

    /// The server shuts down; called once for each open peer, which should be closed.
    fn drain(&mut self, peer: PeerId, out: &mut Outboxes<'_, Self::Mail>) {
        out.close(peer, CloseCode::GOING_AWAY, "server is shutting down");
    }

    /// The peer is gone. Called exactly once for each peer that was accepted or dialed, and for a held one
    /// that left, or whose time was over, before it had its answer. No message, part or `drained` of it
    /// follows; of an observed peer, what was still owed to it may yet be shown by [`Handler::observed`].
    fn closed(&mut self, peer: PeerId, why: &Closed, out: &mut Outboxes<'_, Self::Mail>);
}

/// The answer to a client that asks for a WebSocket.
#[derive(Debug)]
pub enum Opening {
    /// Yes: 101.
    Accept(Accept),
    /// No, with this status and line.
    Reject(Rejection),
    /// Not yet: somebody else is asked first. Answer with [`Outboxes::accept`] or [`Outboxes::reject`]
    /// within this time; after it the client is answered 504. What it sends meanwhile is kept, up to
    /// [`super::MAX_EARLY`] octets, and read after the 101 only.
    Hold(Duration),
}

/// How a peer is accepted.
#[derive(Clone, Debug)]
pub struct Accept {
    /// Limits and timeouts of the connection.
    pub config: Arc<Config>,
    /// The subprotocol; it must be one that the client offered.
    pub subprotocol: Option<String>,
    /// Show every octet of the connection to [`Handler::observed`].
    pub observe: bool,
    /// Hand long messages to [`Handler::part`] instead of refusing them. Default: `None`. Cost: no more
    /// than for other peers, however long the message.
    pub streaming: Option<Streaming>,
}

impl Accept {
    /// Accepts without a subprotocol, unobserved, messages whole.
    pub fn new(config: Arc<Config>) -> Accept {
        Accept {
            config,
            subprotocol: None,
            observe: false,
            streaming: None,
        }
    }
}

/// Names a timer; the meaning is its owner's. A timer cannot be cancelled: ignore a stale one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerId(pub u64);

/// Octets as they passed the connection, behind TLS where there is TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wire<'a> {
    /// Which way.
    pub direction: Direction,
    /// The octets, the HTTP head first, frames masked as the client sent them.
    pub bytes: &'a [u8],
}

/// Which way octets went, as the server sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the client.
    Received,
    /// To the client.
    Sent,
}

/// Carries mail to workers.
pub trait Post<M> {
    /// Delivers `mail` to `worker`, later and in order.
    ///
    /// # Errors
    /// [`MailboxFull`] when the worker's mailbox has no room; the mail is dropped.
    fn post(&mut self, worker: WorkerId, mail: M) -> Result<(), MailboxFull>;
}

/// A worker's mailbox had no room. Workers never block on each other: tell the sender, or mark the loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MailboxFull;

impl fmt::Display for MailboxFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the worker's mailbox is full")
    }
}

impl std::error::Error for MailboxFull {}

/// What a handler acts through: the outboxes of this worker's peers, the mail, the timers.
pub struct Outboxes<'a, M> {
    core: &'a mut Core,
    mail: &'a mut dyn Post<M>,
}

impl<'a, M> Outboxes<'a, M> {
    pub(super) fn new(core: &'a mut Core, mail: &'a mut dyn Post<M>) -> Outboxes<'a, M> {
        Outboxes { core, mail }
    }

    /// The time of this batch of events.
    pub fn now(&self) -> Time {
        self.core.now
    }

    /// The worker this runs on.
    pub fn worker(&self) -> WorkerId {
        self.core.worker
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.core.workers
    }

    /// Eight octets from the driver's random source.
    pub fn random(&mut self) -> u64 {
        self.core.resources.random().next_u64()
    }

    /// Queues a shared frame for a peer. It is written after the whole batch of events, together with
    /// what else the peer is owed. At [`Level::Full`] the peer is closed with 1013 after this call of the
    /// handler, unless the handler closes it otherwise.
    pub fn send(&mut self, peer: PeerId, frame: &Encoded) -> Level {
        self.core.send(peer, |c, r| c.send(frame, r))
    }

    /// Queues a text for one peer, copied once. Otherwise as [`Outboxes::send`].
    pub fn send_text(&mut self, peer: PeerId, text: &str) -> Level {
        self.core.send(peer, |c, r| c.send_text(text, r))
    }

    /// Queues octets for one peer, copied once. Otherwise as [`Outboxes::send`].
    pub fn send_binary(&mut self, peer: PeerId, bytes: &[u8]) -> Level {
        self.core.send(peer, |c, r| c.send_binary(bytes, r))
    }

    /// Queues what another peer, or the same, has sent, with its kind; of a message that came in several reads or
    /// frames and is 16 KiB or longer nothing is copied. Otherwise as [`Outboxes::send`].
    pub fn send_incoming(&mut self, peer: PeerId, message: Incoming<'_>) -> Level {
        if message.is_assembled() {
            return self.send_assembled(peer, message);
        }
        self.core.send(peer, |c, r| c.send_incoming(&message, r))
    }

    /// Apart from the usual way, which it would make longer.
    #[cold]
    fn send_assembled(&mut self, peer: PeerId, message: Incoming<'_>) -> Level {
        self.core.send(peer, |c, r| c.send_assembled(message, r))
    }

    /// Begins a message that is sent in parts: see [`crate::Connection::begin`]. Whole messages sent to
    /// the peer meanwhile wait behind it.
    ///
    /// # Errors
    /// [`StreamMisuse::AlreadyBegun`].
    pub fn begin(&mut self, peer: PeerId, kind: MessageKind) -> Result<Level, StreamMisuse> {
        self.core.stream(peer, |c, r| c.begin(kind, r))
    }

    /// The same for a message that is not to be compressed: see [`Encoded::uncompressed`].
    ///
    /// # Errors
    /// [`StreamMisuse::AlreadyBegun`].
    pub fn begin_uncompressed(
        &mut self,
        peer: PeerId,
        kind: MessageKind,
    ) -> Result<Level, StreamMisuse> {
        self.core.stream(peer, |c, r| c.begin_uncompressed(kind, r))
    }

    /// Queues the next part. At [`Level::High`] wait for [`Handler::drained`]. At [`Level::Full`] the part
    /// was not queued, and the peer is closed with 1013 as by [`Outboxes::send`].
    ///
    /// # Errors
    /// [`StreamMisuse`]: nothing was queued.
    pub fn part(&mut self, peer: PeerId, bytes: &[u8]) -> Result<Level, StreamMisuse> {
        self.core.stream(peer, |c, r| c.part(bytes, r))
    }

    /// Ends the message begun.
    ///
    /// # Errors
    /// [`StreamMisuse`]: no message was begun, or its text ends inside a character.
    pub fn finish(&mut self, peer: PeerId) -> Result<Level, StreamMisuse> {
        self.core.stream(peer, |c, r| c.finish(r))
    }

    /// What was agreed with the peer on compression; `None` when messages go uncompressed.
    pub fn deflate(&self, peer: PeerId) -> Option<Negotiated> {
        self.core.peers.connection(peer)?.deflate()
    }

    /// The peer will be quiet for a while: see [`crate::Connection::release_codecs`].
    pub fn release_codecs(&mut self, peer: PeerId) {
        if let Some(connection) = self.core.peers.connection_mut(peer) {
            connection.release_codecs(&mut self.core.resources);
        }
    }

    /// Sends mail to a worker; to the own one too: it arrives later, in order.
    ///
    /// # Errors
    /// [`MailboxFull`]: the mail was dropped.
    pub fn post(&mut self, worker: WorkerId, mail: M) -> Result<(), MailboxFull> {
        self.mail.post(worker, mail)
    }

    /// Calls [`Handler::timeout`] with `id` at `at`, up to 9 ms late.
    pub fn timer(&mut self, id: TimerId, at: Time) {
        self.core.timer(id, at);
    }

    /// Closes a peer: what is queued goes first, then the Close. No message of it is delivered after this.
    pub fn close(&mut self, peer: PeerId, code: CloseCode, reason: &str) {
        self.core.close(peer, code, reason);
    }

    /// Calls an upstream: [`Handler::dialed`] says what came of it. Until then the peer can only be closed,
    /// which gives up the call.
    ///
    /// # Errors
    /// [`RequestError`] when the request cannot be sent as it is: nothing happens then.
    pub fn dial(&mut self, dial: &Dial) -> Result<PeerId, RequestError> {
        self.core.dial(dial)
    }

    /// Answers a held client with 101. [`Handler::opened`] follows once the handler has returned.
    ///
    /// # Errors
    /// [`BadResponse`] when the answer would break the protocol; the client was answered 500, and nothing
    /// more is said of it.
    pub fn accept(&mut self, peer: PeerId, accept: Accept) -> Result<(), BadResponse> {
        self.core.accept_held(peer, accept)
    }

    /// Answers a held client with a refusal; nothing more is said of it.
    pub fn reject(&mut self, peer: PeerId, refusal: &Rejection) {
        self.core.reject_held(peer, refusal);
    }

    /// Reads nothing more of an open peer until [`Outboxes::release`]: not one event follows this call, and
    /// what was read already, at most one read, is kept. Its silence is not counted meanwhile, so hold it
    /// only while something else has a deadline, such as the peer it waits for. [`Outboxes::close`]
    /// releases it too.
    pub fn hold(&mut self, peer: PeerId) {
        self.core.hold_peer(peer);
    }

    /// Reads a held peer again.
    pub fn release(&mut self, peer: PeerId) {
        self.core.release_peer(peer);
    }

    /// Reads nothing more of a peer that was closed, or that has broken a rule: who floods on takes no turn from others. Its
    /// own Close is not heard any more, and its transport ends with its time to close. An open peer is not changed.
    pub fn mute(&mut self, peer: PeerId) {
        self.core.mute_peer(peer);
    }

    /// Octets that wait for a peer.
    pub fn queued(&self, peer: PeerId) -> usize {
        self.core.peers.connection(peer).map_or(0, |c| c.queued())
    }

    /// Where a peer comes from.
    pub fn remote(&self, peer: PeerId) -> Option<SocketAddr> {
        self.core.peers.get(peer).map(|peer| peer.remote())
    }

    pub(super) fn core_observes(&self, peer: PeerId) -> bool {
        self.core.peers.get(peer).is_some_and(|p| p.observe)
    }

    /// Runs `f` with outboxes for an inner handler, whose mail is wrapped on its way out.
    pub fn nest<N, R>(&mut self, wrap: fn(N) -> M, f: impl FnOnce(&mut Outboxes<'_, N>) -> R) -> R {
        let mut wrapped = Wrapped {
            wrap,
            mail: self.mail,
        };
        f(&mut Outboxes {
            core: self.core,
            mail: &mut wrapped,
        })
    }
}

struct Wrapped<'a, N, M> {
    wrap: fn(N) -> M,
    mail: &'a mut dyn Post<M>,
}

impl<N, M> Post<N> for Wrapped<'_, N, M> {
    fn post(&mut self, worker: WorkerId, mail: N) -> Result<(), MailboxFull> {
        self.mail.post(worker, (self.wrap)(mail))
    }
}
