//! One WebSocket connection after its handshake (RFC 6455 §5–§8): octets in, messages and octets out.
//!
//! `handle_*` is what the world tells us, `poll_*` what we tell the world, bare verbs are what the
//! application asks. Events are pulled, so that nothing slips past a close verdict in the same read.

mod closing;
#[cfg_attr(
    not(feature = "deflate"),
    expect(dead_code, reason = "nothing can be agreed on")
)]
mod compression;
mod encoded;
mod extras;
mod gather;
mod keepalive;
mod message;
mod outbox;
mod pings;
mod receiver;
mod resources;
mod sender;
#[cfg(test)]
pub(crate) mod tests;

pub use encoded::Encoded;
pub use extras::{MessageKind, StreamMisuse, Streaming};
pub use message::{Incoming, Message, Part, Payload, Piece, Text};
pub use outbox::{Level, Outbox};
pub use resources::Resources;

use crate::close::{CloseCode, CloseFrame, Closed, Side, truncate_reason};
use crate::config::{Config, Limits};
use crate::deflate::Negotiated;
use crate::error::ProtocolError;
use crate::frame::{FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER, OpCode};
use crate::mask::{MaskKey, apply_mask};
use crate::time::Time;
use closing::Phase;
use compression::Compression;
use extras::Extras;
use keepalive::{Due, Keepalive};
use outbox::SHARE_FROM;
use pings::Pings;
use receiver::{Control, Received, Receiver, Rules, longest_whole, unmask_text};
use std::io::IoSlice;
use std::sync::Arc;

/// Most pongs that wait unsent; beyond it only the newest waits (§5.5.3 allows that).
const MAX_PONGS: u8 = 16;
/// Most bytes of waiting pongs.
const MAX_PONG_BYTES: u16 = 2 << 10;

/// Which end of the connection this is (§1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Opened the connection; masks what it sends.
    Client,
    /// Accepted it; never masks.
    Server,
}

/// What a connection says to its application.
#[derive(Debug)]
pub enum Event<'a> {
    /// A whole message.
    Message(Message<'a>),
    /// A part of a long one; only after [`Connection::set_streaming`].
    Part(Piece<'a>),
    /// The end; said once, and nothing follows.
    Closed(Closed),
}

/// What a driver should do with the transport once nothing is owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Keep it.
    Open,
    /// Half-close it (send FIN, or close_notify and FIN) and keep reading.
    ShutdownWrite,
    /// Close it now.
    Close,
    /// No WebSocket was asked for: hand transport and octets to an ordinary HTTP server.
    PlainHttp,
}

/// The protocol state of one connection. Owns no read buffer; see [`Resources`].
pub struct Connection {
    role: Role,
    phase: Phase,
    config: Arc<Config>,
    receiver: Receiver,
    outbox: Outbox,
    keepalive: Keepalive,
    budget: ControlBudget,
    pongs: Pongs,
    extras: Option<Box<Extras>>,
    pings: Option<Box<Pings>>,
}

/// A message in one frame that lies whole in the input, still masked.
type WholeFrame<'a> = (OpCode, MaskKey, &'a mut [u8]);

/// Pongs among the waiting octets, since the outbox was last empty.
#[derive(Default)]
struct Pongs {
    waiting: u8,
    bytes: u16,
    /// The newest one beyond the limits.
    newest: Option<Box<Control>>,
}

/// A token bucket for control frames.
struct ControlBudget {
    tokens: u16,
    filled: Time,
}

impl ControlBudget {
    fn new(limits: &Limits, now: Time) -> ControlBudget {
        ControlBudget {
            tokens: limits.control_burst,
            filled: now,
        }
    }

    /// Takes one token; false when there is none.
    fn take(&mut self, limits: &Limits, now: Time) -> bool {
        let rate = u64::from(limits.control_per_second);
        let earned = now.since(self.filled).as_micros() as u64 * rate / 1_000_000;
        if earned > 0 {
            let tokens = u64::from(self.tokens) + earned;
            self.tokens = tokens.min(u64::from(limits.control_burst)) as u16;
            self.filled = now;
        }
        let had = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        had
    }
}

impl Connection {
    /// A connection whose handshake is done. `outbox` may hold octets to send first: the response.
    pub fn new(role: Role, config: Arc<Config>, outbox: Outbox, now: Time) -> Connection {
        Connection {
            role,
            phase: Phase::Open,
            receiver: Receiver::default(),
            outbox,
            keepalive: Keepalive::new(now),
            budget: ControlBudget::new(&config.limits, now),
            pongs: Pongs::default(),
            extras: None,
            pings: None,
            config,
        }
    }

    /// The handshake agreed on compression. Call before the first octet of a frame; the modes and limits
    /// are those of [`Config::deflate`].
    #[cfg(feature = "deflate")]
    pub fn set_deflate(&mut self, negotiated: Negotiated, resources: &mut Resources) {
        let compression = Compression::new(negotiated, self.role, &self.config.deflate, resources);
        self.extras.get_or_insert_default().compression = Some(compression);
    }

    /// What was agreed on compression; `None` when there is none.
    pub fn deflate(&self) -> Option<Negotiated> {
        let compression = self.extras.as_ref()?.compression.as_ref()?;
        Some(compression.negotiated())
    }

    /// From now on long messages are received in parts, as [`Event::Part`]. Call before the first octet
    /// of a frame.
    pub fn set_streaming(&mut self, streaming: Streaming) {
        self.extras.get_or_insert_default().streaming = Some(streaming);
    }

    /// Gives back the codecs of [`crate::Deflate::Dedicated`], say because the peer will be quiet for a
    /// while. The next message begins a new context; what the peer may refer to is kept as plain octets.
    /// Called by itself when a ping finds the codecs unused since the one before.
    pub fn release_codecs(&mut self, resources: &mut Resources) {
        if let Some(compression) = self.compression() {
            compression.release(resources);
        }
    }

    /// The next event in `input`, which is advanced past what was taken. `None` once all is taken.
    ///
    /// Payloads are unmasked in place, so `input` is changed.
    #[inline]
    pub fn receive<'a>(
        &mut self,
        now: Time,
        input: &mut &'a mut [u8],
        resources: &mut Resources,
    ) -> Option<Event<'a>> {
        match self.whole_frame(self.longest_whole(), input) {
            Some(frame) => self.deliver(now, frame, resources),
            None => self.receive_any(now, None, input, resources),
        }
    }

    /// As [`Connection::receive`], with `streaming` in place of what [`Connection::set_streaming`] said. It
    /// may differ from call to call: a message that has begun to come in parts goes on so, and one that is
    /// being assembled is judged by the new rule when its next frame begins.
    #[inline]
    pub fn receive_streaming<'a>(
        &mut self,
        now: Time,
        streaming: Streaming,
        input: &mut &'a mut [u8],
        resources: &mut Resources,
    ) -> Option<Event<'a>> {
        let longest = longest_whole(&self.config, Some(&streaming));
        match self.whole_frame(longest, input) {
            Some(frame) => self.deliver(now, frame, resources),
            None => self.receive_any(now, Some(streaming), input, resources),
        }
    }

    /// The next message, if it lies whole in `input`, in one frame, and nothing else has to be done for it:
    /// the usual case by itself, for drivers that want no more than that on their quickest way. `None` takes
    /// nothing and judges nothing; then call [`Connection::receive`]. An error is to be passed to
    /// [`Connection::fail`].
    ///
    /// It asks for no time, so that a driver may read its clock once for many messages: call
    /// [`Connection::heard`] before [`Connection::poll_timeout`] or [`Connection::handle_timeout`] is asked again.
    #[inline]
    pub fn receive_whole<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Option<Result<Message<'a>, ProtocolError>> {
        let (opcode, mask, payload) = self.whole_frame(self.longest_whole(), input)?;
        if opcode == OpCode::Binary {
            apply_mask(mask, payload);
            return Some(Ok(Message::Binary(payload)));
        }
        Some(unmask_text(mask, payload).map(Message::Text))
    }

    /// The peer was heard at `now` or shortly before: what [`Connection::receive_whole`] leaves to be said.
    #[inline]
    pub fn heard(&mut self, now: Time) {
        self.keepalive.heard(now);
    }

    /// Hands out a message that came whole.
    #[inline]
    fn deliver<'a>(
        &mut self,
        now: Time,
        (opcode, mask, payload): WholeFrame<'a>,
        resources: &mut Resources,
    ) -> Option<Event<'a>> {
        self.keepalive.heard(now);
        // Built here and nowhere copied: most of what a small message costs is how it is handed on.
        if opcode == OpCode::Binary {
            apply_mask(mask, payload);
            return Some(Event::Message(Message::Binary(payload)));
        }
        match unmask_text(mask, payload) {
            Ok(text) => Some(Event::Message(Message::Text(text))),
            Err(error) => Some(Event::Closed(self.fail(now, error, resources))),
        }
    }

    /// The longest message that is delivered whole.
    #[inline]
    fn longest_whole(&self) -> usize {
        let extras = self.extras.as_ref();
        longest_whole(&self.config, extras.and_then(|e| e.streaming.as_ref()))
    }

    /// The usual case and the quick way through it: a message in one frame that lies whole in the input.
    #[inline]
    fn whole_frame<'a>(&self, longest: usize, input: &mut &'a mut [u8]) -> Option<WholeFrame<'a>> {
        if !self.phase.is_open() {
            return None;
        }
        let longest = longest.min(self.config.limits.max_frame_size);
        self.receiver.whole_frame(self.role, longest, input)
    }

    /// The next event, whatever it is. By itself, so that the quick way has no more of a stack than it needs.
    #[inline(never)]
    fn receive_any<'a>(
        &mut self,
        now: Time,
        streaming: Option<Streaming>,
        input: &mut &'a mut [u8],
        resources: &mut Resources,
    ) -> Option<Event<'a>> {
        if !input.is_empty() {
            self.keepalive.heard(now);
        }
        while !input.is_empty() {
            if self.phase.is_over() {
                *input = &mut [];
                return None;
            }
            let mut rules = Rules::new(
                self.role,
                &self.config,
                !self.phase.is_open(),
                streaming,
                self.extras.as_deref_mut(),
            );
            match self.receiver.receive(&mut rules, input, resources) {
                Ok(None) => break,
                Ok(Some(Received::Message(message))) => return Some(Event::Message(message)),
                Ok(Some(Received::Piece(piece))) => return Some(Event::Part(piece)),
                Ok(Some(Received::Control(control))) => {
                    if let Some(closed) = self.control(now, control, resources) {
                        return Some(Event::Closed(closed));
                    }
                }
                Err(error) => return Some(Event::Closed(self.fail(now, error, resources))),
            }
        }
        self.receiver.note_unfinished(now);
        None
    }

    /// Where the next octets of a long message belong, so that they can be read into their place and need no copy:
    /// room for `least` to `most` of them. `None` when what comes next must be looked at first, or is less: then read
    /// elsewhere and call [`Connection::receive`]. What lies in the room is left from earlier messages and means
    /// nothing.
    pub fn room(&mut self, least: usize, most: usize) -> Option<&mut [u8]> {
        match self.phase.is_open() {
            true => self.receiver.room(least, most),
            false => None,
        }
    }

    /// The first `n` octets of [`Connection::room`] were read. The message, when its last octet is among them.
    pub fn filled(
        &mut self,
        now: Time,
        n: usize,
        resources: &mut Resources,
    ) -> Option<Event<'static>> {
        self.keepalive.heard(now);
        let extras = self.extras.as_deref_mut();
        let mut rules = Rules::new(self.role, &self.config, false, None, extras);
        match self.receiver.filled(n, &mut rules, resources) {
            Ok(Some(Received::Message(message))) => Some(Event::Message(message)),
            Ok(_) => None,
            Err(error) => Some(Event::Closed(self.fail(now, error, resources))),
        }
    }

    /// When a message that is incomplete must have come whole.
    #[inline]
    fn message_deadline(&self) -> Option<Time> {
        let since = self.receiver.unfinished_since()?;
        Some(since + self.config.timeouts.message?)
    }

    /// Queues a message. Everything but [`Level::Low`] and [`Level::High`] means that it was not queued.
    pub fn send(&mut self, frame: &Encoded, resources: &mut Resources) -> Level {
        if self.extras.is_some() {
            let (opcode, payload) = (frame.opcode(), frame.payload());
            return self.send_with_extras(opcode, payload, Some(frame), resources);
        }
        if self.role == Role::Client {
            return self.send_message(frame.opcode(), frame.payload(), resources);
        }
        if let Some(refused) = self.refuses(frame.octets().len()) {
            return refused;
        }
        self.outbox.push_shared(frame, resources);
        self.level()
    }

    /// Queues a text message, copied.
    pub fn send_text(&mut self, text: &str, resources: &mut Resources) -> Level {
        self.send_message(OpCode::Text, text.as_bytes(), resources)
    }

    /// Queues a binary message, copied.
    pub fn send_binary(&mut self, bytes: &[u8], resources: &mut Resources) -> Level {
        self.send_message(OpCode::Binary, bytes, resources)
    }

    /// Queues a message, copied behind what waits already, if nothing has to be done for it but that: the usual case
    /// within a batch by itself, for drivers on their quickest way. `None` has done nothing; then call
    /// [`Connection::send_text`] or [`Connection::send_binary`]. A text must be UTF-8.
    #[inline]
    pub fn send_behind(&mut self, kind: MessageKind, payload: &[u8]) -> Option<Level> {
        match self.role == Role::Server && self.can_send_behind() {
            true => self.push_behind(kind.opcode(), payload, || None),
            false => None,
        }
    }

    /// With extras frames may be compressed or have to wait for their turn.
    #[inline]
    fn can_send_behind(&self) -> bool {
        self.extras.is_none() && self.phase.is_open()
    }

    #[inline]
    fn push_behind(
        &mut self,
        opcode: OpCode,
        payload: &[u8],
        mask: impl FnOnce() -> Option<MaskKey>,
    ) -> Option<Level> {
        let limits = &self.config.limits;
        let waiting = self
            .outbox
            .push_behind(opcode, payload, mask, limits.outbox)?;
        if waiting > limits.outbox_high {
            self.outbox.mark_high();
            return Some(Level::High);
        }
        Some(Level::Low)
    }

    /// Sends on what came, with its kind.
    pub(crate) fn send_incoming(
        &mut self,
        message: &Incoming<'_>,
        resources: &mut Resources,
    ) -> Level {
        self.send_message(message.opcode(), message.as_bytes(), resources)
    }

    /// The same for a message that was assembled: the buffer of a long one moves into the outbox.
    pub(crate) fn send_assembled(
        &mut self,
        message: Incoming<'_>,
        resources: &mut Resources,
    ) -> Level {
        let len = message.as_bytes().len();
        if self.extras.is_some() || len < SHARE_FROM {
            return self.send_incoming(&message, resources);
        }
        if let Some(refused) = self.refuses(len + MAX_HEADER) {
            return refused;
        }
        let header = FrameHeader::new(message.opcode(), len as u64);
        let payload = message.into_vec();
        sender::push_owned(self.role, &mut self.outbox, header, payload, resources);
        self.level()
    }

    /// Queues a ping of the application's own (§5.5.2), whatever the limits say, and returns its number,
    /// which counts from 1. `None` when the connection is closing: nothing was queued then.
    pub fn ping(&mut self, resources: &mut Resources) -> Option<u64> {
        if !self.phase.is_open() {
            return None;
        }
        let number = self.pings.get_or_insert_default().next();
        self.push_frame(OpCode::Ping, &number.to_be_bytes(), resources);
        Some(number)
    }

    /// The highest number of a [`Connection::ping`] that the peer has answered; 0 before the first answer.
    pub fn pings_answered(&self) -> u64 {
        self.pings.as_ref().map_or(0, |pings| pings.answered())
    }

    /// Begins the closing handshake (§7.1.2): what is queued goes first, then the Close. A reason longer
    /// than 123 bytes is cut. Does nothing when the connection is closing already. A message in parts that
    /// is not finished stays a torso, and what waits behind it is dropped.
    pub fn close(&mut self, now: Time, code: CloseCode, reason: &str, resources: &mut Resources) {
        if self.phase.is_open() {
            self.push_close(Some(code), reason, resources);
            self.drop_outgoing(resources);
            self.phase = Phase::close_sent(code, now, &self.config.timeouts);
        }
    }

    /// Fails the connection (§7.1.7): the peer gets the error's close code and is read no more.
    pub fn fail(&mut self, now: Time, error: ProtocolError, resources: &mut Resources) -> Closed {
        let code = error.close_code();
        if self.phase.is_open() {
            self.push_close(Some(code), &error.to_string(), resources);
        }
        self.abandon(resources);
        self.phase = Phase::ended(now, &self.config.timeouts, false);
        self.flushed_if_empty(now);
        Closed {
            code: Some(code),
            reason: error.to_string(),
            by: Side::Peer,
            clean: false,
            cause: Some(error),
        }
    }

    /// The peer will send no more. What is owed may still be written; then the transport is to be closed.
    /// Returns how the connection closed, if that was not said before.
    pub fn handle_eof(&mut self, now: Time, resources: &mut Resources) -> Option<Closed> {
        let ended = Phase::ended(now, &self.config.timeouts, false);
        let phase = std::mem::replace(&mut self.phase, ended);
        self.abandon(resources);
        self.flushed_if_empty(now);
        phase.cut()
    }

    /// The transport failed: nothing can be sent or received. Returns how the connection closed, if that
    /// was not said before.
    pub fn handle_end(&mut self, resources: &mut Resources) -> Option<Closed> {
        let phase = std::mem::replace(&mut self.phase, Phase::Dead);
        self.abandon(resources);
        self.outbox.clear(resources);
        self.pongs = Pongs::default();
        phase.cut()
    }

    /// A deadline has come. Returns how the connection closed, if it did.
    pub fn handle_timeout(&mut self, now: Time, resources: &mut Resources) -> Option<Closed> {
        let late = |deadline: Time| deadline <= now;
        match self.phase {
            Phase::Open if self.message_deadline().is_some_and(late) => {
                Some(self.fail(now, ProtocolError::MessageTooSlow, resources))
            }
            Phase::Open => match self.keepalive.due(now, &self.config.timeouts) {
                Due::Nothing => None,
                Due::Ping => {
                    if let Some(compression) = self.compression() {
                        compression.passed(resources);
                    }
                    self.push_frame(OpCode::Ping, b"", resources);
                    None
                }
                Due::Unresponsive => self.give_up(ProtocolError::Unresponsive, resources),
            },
            Phase::CloseSent { deadline, .. } if deadline <= now => {
                self.give_up(ProtocolError::CloseTimeout, resources)
            }
            Phase::Ended { deadline, .. } if deadline <= now => self.handle_end(resources),
            _ => None,
        }
    }

    /// When [`Connection::handle_timeout`] should be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        match self.phase {
            Phase::Open => {
                let silence = self.keepalive.deadline(&self.config.timeouts);
                match self.message_deadline() {
                    None => silence,
                    Some(late) => Some(silence.map_or(late, |silent| silent.min(late))),
                }
            }
            phase => phase.deadline(),
        }
    }

    /// The octets owed to the peer, as far as `slices` go; returns how many were filled.
    pub fn poll_transmit<'s>(&'s self, slices: &mut [IoSlice<'s>]) -> usize {
        self.outbox.slices(slices)
    }

    /// The octets owed to the peer where they lie in one piece, as they mostly do; else `None`, also when nothing is
    /// owed.
    #[inline]
    pub fn poll_transmit_one(&self) -> Option<&[u8]> {
        self.outbox.only()
    }

    /// `n` octets of [`Connection::poll_transmit`] were written. True when the outbox had been high and
    /// has drained.
    pub fn handle_sent(&mut self, now: Time, n: usize, resources: &mut Resources) -> bool {
        if self.outbox.is_high() && n > 0 {
            // It is not read while its outbox is high, so that it takes its octets is its sign of life.
            self.keepalive.heard(now);
        }
        let low = self.config.limits.outbox_low;
        let drained = self.outbox.advance(n, low, resources);
        if self.outbox.is_empty() {
            self.pongs.waiting = 0;
            self.pongs.bytes = 0;
            if let Some(newest) = self.pongs.newest.take() {
                self.push_frame(OpCode::Pong, newest.payload(), resources);
            }
        }
        self.flushed_if_empty(now);
        drained && self.phase.is_open()
    }

    /// What to do with the transport once nothing is owed.
    pub fn transport(&self) -> Transport {
        match self.phase {
            Phase::Dead => Transport::Close,
            //= rfc6455#7.1.1  the server closes TCP first; the client waits for it.
            Phase::Ended { .. } if self.role == Role::Server => Transport::ShutdownWrite,
            _ => Transport::Open,
        }
    }

    /// The peer's Close has come: it will send no more (§5.5.1). A driver that has left nothing of it unread may close
    /// the transport at once where [`Connection::transport`] says [`Transport::ShutdownWrite`].
    pub fn peer_has_closed(&self) -> bool {
        matches!(self.phase, Phase::Ended { peer_closed, .. } if peer_closed)
    }

    /// Messages can be sent: neither side has begun to close.
    pub fn is_open(&self) -> bool {
        self.phase.is_open()
    }

    /// The application has heard how it ended.
    pub(crate) fn is_over(&self) -> bool {
        self.phase.is_over()
    }

    /// The peer was not read for a while: its silence, and the message it is in, count from now.
    pub(crate) fn resumed(&mut self, now: Time) {
        self.keepalive.heard(now);
        self.receiver.restart(now);
    }

    /// The outbox is above its high mark: reading on would only make it grow.
    pub fn is_high(&self) -> bool {
        self.outbox.is_high()
    }

    /// Octets that wait to be written.
    pub fn queued(&self) -> usize {
        self.outbox.len()
    }

    /// Handles a control frame; returns how the connection closed, if it did.
    fn control(
        &mut self,
        now: Time,
        control: Control,
        resources: &mut Resources,
    ) -> Option<Closed> {
        if control.opcode == OpCode::Close {
            return Some(self.peer_closed(now, control.payload(), resources));
        }
        if !self.budget.take(&self.config.limits, now) {
            return Some(self.fail(now, ProtocolError::ControlFlood, resources));
        }
        //= rfc6455#5.5.2  a Ping is answered with its payload, unless a Close was received or sent.
        if control.opcode == OpCode::Ping && self.phase.is_open() {
            self.pong(control, resources);
        } else if let (OpCode::Pong, Some(pings)) = (control.opcode, &mut self.pings) {
            pings.pong(control.payload());
        }
        None
    }

    /// Answers a ping, in order while few pongs wait, else only the newest (§5.5.3).
    fn pong(&mut self, ping: Control, resources: &mut Resources) {
        let len = ping.payload().len() as u16;
        let room = self.pongs.waiting < MAX_PONGS && self.pongs.bytes + len <= MAX_PONG_BYTES;
        if !room {
            self.pongs.newest = Some(Box::new(ping));
            return;
        }
        self.pongs.waiting += 1;
        self.pongs.bytes += len;
        self.push_frame(OpCode::Pong, ping.payload(), resources);
    }

    /// The peer's Close has come: the closing handshake is complete once ours is sent.
    fn peer_closed(&mut self, now: Time, body: &[u8], resources: &mut Resources) -> Closed {
        let frame = match CloseFrame::parse(body) {
            Ok(frame) => frame,
            Err(error) => return self.fail(now, error, resources),
        };
        let closed = match self.phase {
            Phase::CloseSent { code, .. } => Closed {
                code: Some(code),
                reason: String::new(),
                by: Side::Us,
                clean: true,
                cause: None,
            },
            _ => {
                //= rfc6455#5.5.1  a Close is answered with a Close that echoes the code received.
                self.push_close(frame.code, "", resources);
                Closed {
                    code: frame.code,
                    reason: frame.reason.to_owned(),
                    by: Side::Peer,
                    clean: true,
                    cause: None,
                }
            }
        };
        self.abandon(resources);
        self.phase = Phase::ended(now, &self.config.timeouts, true);
        self.flushed_if_empty(now);
        closed
    }

    /// The peer does not react: nothing more is sent.
    fn give_up(&mut self, cause: ProtocolError, resources: &mut Resources) -> Option<Closed> {
        self.handle_end(resources).map(|closed| Closed {
            cause: Some(cause),
            ..closed
        })
    }

    fn flushed_if_empty(&mut self, now: Time) {
        if self.outbox.is_empty() {
            self.phase.flushed(now, &self.config.timeouts);
        }
    }

    fn send_message(&mut self, opcode: OpCode, payload: &[u8], resources: &mut Resources) -> Level {
        if self.can_send_behind() {
            // It will not stay empty: alone a message is never refused.
            self.outbox.begin(payload.len(), resources);
            let level = match self.role {
                Role::Server => self.push_behind(opcode, payload, || None),
                Role::Client => self.push_behind(opcode, payload, || Some(resources.mask_key())),
            };
            if let Some(level) = level {
                return level;
            }
        }
        if self.extras.is_some() {
            return self.send_with_extras(opcode, payload, None, resources);
        }
        if let Some(refused) = self.refuses(payload.len() + MAX_HEADER) {
            return refused;
        }
        self.push_frame(opcode, payload, resources);
        self.level()
    }

    /// Why a message of `len` octets cannot be queued, if so. Alone it may exceed the limit.
    fn refuses(&self, len: usize) -> Option<Level> {
        if !self.phase.is_open() {
            return Some(Level::Gone);
        }
        let waiting = self.outbox.len() + self.deferred();
        let full = waiting + len > self.config.limits.outbox && waiting > 0;
        full.then_some(Level::Full)
    }

    fn level(&mut self) -> Level {
        if self.outbox.len() + self.deferred() > self.config.limits.outbox_high {
            self.outbox.mark_high();
            return Level::High;
        }
        Level::Low
    }

    fn push_close(&mut self, code: Option<CloseCode>, reason: &str, resources: &mut Resources) {
        //= rfc6455#5.5.2  a Ping that came before the Close is answered before it; nothing may follow a Close.
        if let Some(newest) = self.pongs.newest.take() {
            self.push_frame(OpCode::Pong, newest.payload(), resources);
        }
        let mut body = [0; MAX_CONTROL_PAYLOAD];
        let len = match code {
            None => 0,
            Some(code) => {
                let reason = truncate_reason(reason).as_bytes();
                body[..2].copy_from_slice(&code.get().to_be_bytes());
                body[2..2 + reason.len()].copy_from_slice(reason);
                2 + reason.len()
            }
        };
        self.push_frame(OpCode::Close, &body[..len], resources);
    }

    /// Queues a frame whatever the limits say.
    fn push_frame(&mut self, opcode: OpCode, payload: &[u8], resources: &mut Resources) {
        let header = FrameHeader::new(opcode, payload.len() as u64);
        sender::push(self.role, &mut self.outbox, header, payload, resources);
    }

    /// No message comes or goes any more: forgets unfinished ones, gives codecs and buffers back.
    fn abandon(&mut self, resources: &mut Resources) {
        self.receiver.abandon(resources);
        self.drop_outgoing(resources);
        if let Some(compression) = self.compression() {
            compression.close(resources);
        }
    }

    fn compression(&mut self) -> Option<&mut Compression> {
        self.extras.as_mut()?.compression.as_mut()
    }
}
