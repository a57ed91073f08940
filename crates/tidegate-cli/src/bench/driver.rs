//! The event loop of the load: one thread, all connections, one read and one write for each that has something to say.
//! What is sent, and when, a [`Load`] decides; nothing is measured here.

use super::clock::{Clock, micros};
use super::dialect::Frame;
use super::link::Link;
use super::plan::Plan;
use super::target::not_connected;
use crate::error::{Exit, Failure};
use crate::splitmix::SplitMix64;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidegate::{CloseCode, Closed, Config, HeadLimits, OsRandom};
use tidegate_proto::deflate::{judge, offer};
use tidegate_proto::handshake::client::{Accepted, Answer};
use tidegate_proto::handshake::{ClientHandshake, ClientRequest, parse_offers};
use tidegate_proto::{Connection, Event, Message, Outbox, Random, Resources, Role};

/// Decides what a load sends.
pub(crate) trait Load {
    /// A connection is open.
    fn opened(&mut self, _id: usize, _out: &mut Out<'_>) {}

    /// A message came.
    ///
    /// # Errors
    /// What makes going on pointless.
    fn message(
        &mut self,
        id: usize,
        message: &Message<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), Failure>;

    /// A connection can take more, or what it was asked by a ping is answered.
    fn writable(&mut self, _id: usize, _out: &mut Out<'_>) {}

    /// A connection is gone, as we wanted.
    fn closed(&mut self, _id: usize) {}

    /// A connection is gone, and it was not us who wanted that.
    fn lost(&mut self, _id: usize) {}
}

/// One connection of the load, to send with.
pub(crate) struct Out<'a> {
    /// When what is being handled came, in nanoseconds of the clock.
    pub(crate) now: u64,
    connection: &'a mut Connection,
    resources: &'a mut Resources,
}

impl Out<'_> {
    /// Queues a message; it goes out with all others that are queued when what came has been handled. Nothing is
    /// queued on a connection that is closing.
    pub(crate) fn send(&mut self, binary: bool, payload: &str) {
        match binary {
            true => self.send_octets(payload.as_bytes()),
            false => {
                self.connection.send_text(payload, self.resources);
            }
        }
    }

    /// Queues a binary message.
    fn send_octets(&mut self, payload: &[u8]) {
        self.connection.send_binary(payload, self.resources);
    }

    /// Queues a message of a dialect.
    pub(crate) fn say(&mut self, frame: &Frame) {
        match frame {
            Frame::Text(text) => self.send(false, text),
            Frame::Binary(octets) => self.send_octets(octets),
        }
    }

    /// Queues a ping; its number.
    pub(crate) fn ping(&mut self) -> Option<u64> {
        self.connection.ping(self.resources)
    }

    /// The highest number of a ping that was answered.
    pub(crate) fn pings_answered(&self) -> u64 {
        self.connection.pings_answered()
    }

    /// Begins the closing handshake.
    pub(crate) fn close(&mut self) {
        let now = micros(self.now);
        self.connection
            .close(now, CloseCode::NORMAL, "", self.resources);
    }
}

/// Masking keys of a load: a server that is measured sends them no script whose octets an intermediary
/// could be made to see (RFC 6455 §10.3), and the operating system's would be a sixteenth of a small message's cost.
struct Keys(SplitMix64);

impl Random for Keys {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.0.next().to_ne_bytes()[..chunk.len()]);
        }
    }
}

struct Peer {
    link: Link,
    state: State,
    /// When the connection was begun.
    begun: u64,
}

enum State {
    Connecting,
    Handshake(Box<Opening>),
    Open(Box<Connection>),
}

struct Opening {
    handshake: ClientHandshake,
    written: usize,
    answer: Vec<u8>,
}

/// What became of a peer.
enum Fate {
    Stays,
    /// It is gone, as we wanted.
    Closed,
    /// It is gone all the same; why.
    Lost(String),
}

/// What was counted of all connections since the beginning.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    /// Octets written, as TCP carries them without TLS.
    pub(crate) sent: u64,
    /// Octets read.
    pub(crate) received: u64,
    /// Connections that are open.
    pub(crate) open: usize,
    /// Connections that were closed as we wanted.
    pub(crate) closed: u64,
    /// Connections that ended though we did not want it.
    pub(crate) lost: u64,
}

/// The event loop.
pub(crate) struct Driver<'p> {
    plan: &'p Plan,
    poll: Poll,
    events: Events,
    pub(crate) clock: Clock,
    config: Arc<Config>,
    extensions: Option<String>,
    resources: Resources,
    peers: Vec<Option<Peer>>,
    buffer: Vec<u8>,
    pub(crate) tally: Tally,
    /// How long each opening took, from connect to the end of the handshake; whoever wants them takes them.
    pub(crate) openings: Vec<u64>,
    last_heard: u64,
    why_lost: String,
    connects: usize,
    interrupted: Arc<AtomicBool>,
}

impl<'p> Driver<'p> {
    /// Without connections yet.
    ///
    /// # Errors
    /// When the system has no event queue for us.
    pub(crate) fn new(
        plan: &'p Plan,
        clock: Clock,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Driver<'p>, Failure> {
        let poll =
            Poll::new().map_err(|error| Failure::failed(format!("no event loop: {error}")))?;
        let config = plan.config();
        Ok(Driver {
            extensions: offer(&config.deflate),
            config: Arc::new(config),
            plan,
            poll,
            events: Events::with_capacity(EVENTS),
            clock,
            resources: Resources::new(Box::new(Keys(SplitMix64(OsRandom::new().next_u64())))),
            peers: Vec::new(),
            buffer: vec![0; BUFFER],
            tally: Tally::default(),
            openings: Vec::new(),
            last_heard: clock.now(),
            why_lost: String::new(),
            connects: 0,
            interrupted,
        })
    }

    /// Opens `n` more connections, a few at a time; returns when all are open.
    ///
    /// # Errors
    /// Exit code 3 when the server refuses one, 4 when it breaks the protocol, 124 when it takes too long.
    pub(crate) fn open(
        &mut self,
        n: usize,
        load: &mut impl Load,
        mut tell: impl FnMut(usize),
    ) -> Result<(), Failure> {
        let before = self.tally.open;
        let (all, lost) = (before + n, self.tally.lost);
        let mut started = 0;
        let deadline = self.clock.now() + self.plan.connect_timeout;
        self.last_heard = self.clock.now();
        while self.tally.open < all {
            while started < n && before + started < self.tally.open + AT_ONCE {
                self.start(self.peers.len())?;
                started += 1;
            }
            let soon = self.clock.now() + TURN;
            self.turn(load, soon, true)?;
            tell(self.tally.open);
            if self.tally.lost > lost {
                return Err(not_connected(format!(
                    "{} of {all} connections opened, then: {}",
                    self.tally.open, self.why_lost
                )));
            }
            if self.clock.now() > deadline {
                return Err(timeout(format!(
                    "{} of {all} connections were open after {} s (--connect-timeout)",
                    self.tally.open,
                    self.plan.connect_timeout / SECOND
                )));
            }
        }
        Ok(())
    }

    /// Begins one connection in this place.
    ///
    /// # Errors
    /// Exit code 3 when the system lets us not.
    pub(crate) fn start(&mut self, id: usize) -> Result<(), Failure> {
        let number = self.connects;
        self.connects += 1;
        let mut link = Link::connect(&self.plan.target, number)
            .map_err(|error| not_connected(format!("connection {number}: {error}")))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(link.tcp(), Token(id), interest)
            .map_err(|error| Failure::failed(format!("connection {number}: {error}")))?;
        let peer = Peer {
            link,
            state: State::Connecting,
            begun: self.clock.now(),
        };
        if self.peers.len() <= id {
            self.peers.resize_with(id + 1, || None);
        }
        self.peers[id] = Some(peer);
        Ok(())
    }

    /// Octets that wait to be written on the connection in this place.
    pub(crate) fn queued(&self, id: usize) -> usize {
        match self.peers.get(id) {
            Some(Some(Peer {
                state: State::Open(connection),
                ..
            })) => connection.queued(),
            _ => 0,
        }
    }

    /// Why the last connection was lost.
    pub(crate) fn why_lost(&self) -> &str {
        &self.why_lost
    }

    /// There is a connection in this place, open or opening.
    pub(crate) fn has(&self, id: usize) -> bool {
        self.peers.get(id).is_some_and(Option::is_some)
    }

    /// Lets `act` send on one connection, if it is open, and writes what it queued.
    ///
    /// # Errors
    /// As [`Driver::turn`].
    pub(crate) fn with(
        &mut self,
        id: usize,
        load: &mut impl Load,
        act: impl FnOnce(&mut Out<'_>),
    ) -> Result<(), Failure> {
        let now = self.clock.now();
        let Some(peer) = self.peers.get_mut(id).and_then(Option::as_mut) else {
            return Ok(());
        };
        let State::Open(connection) = &mut peer.state else {
            return Ok(());
        };
        act(&mut Out {
            now,
            connection,
            resources: &mut self.resources,
        });
        let fate = self.flush(id, load);
        self.judge(id, fate, load)
    }

    /// Ends all connections at once.
    pub(crate) fn reset(&mut self) {
        for peer in self.peers.drain(..).flatten() {
            peer.link.reset();
        }
        self.tally.open = 0;
    }

    /// Waits for something to come until `until`, and handles it. While `awaiting`, silence counts against the server.
    ///
    /// # Errors
    /// Exit code 4 when the server breaks the protocol or all connections are lost, 124 when it is silent for too long,
    /// 130 when we are asked to stop.
    pub(crate) fn turn(
        &mut self,
        load: &mut impl Load,
        until: u64,
        awaiting: bool,
    ) -> Result<(), Failure> {
        let now = self.clock.now();
        match self.poll.poll(&mut self.events, Some(wait(now, until))) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::failed(format!("the event loop broke: {error}"))),
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            self.ready(event.token().0, load)?;
        }
        self.events = events;
        self.bounds(awaiting)
    }

    fn bounds(&mut self, awaiting: bool) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure {
                exit: Exit::Interrupted,
                line: "interrupted".into(),
            });
        }
        if self.tally.sent + self.tally.received > self.plan.max_bytes {
            return Err(Failure::failed("stopped: --max-gib is reached"));
        }
        let now = self.clock.now();
        if !awaiting {
            self.last_heard = now;
        } else if now.saturating_sub(self.last_heard) > self.plan.timeout {
            return Err(timeout(format!(
                "the server has been silent for {} s (--timeout); {} connections are open",
                self.plan.timeout as f64 / SECOND as f64,
                self.tally.open
            )));
        }
        Ok(())
    }

    /// A socket has something to say.
    fn ready(&mut self, id: usize, load: &mut impl Load) -> Result<(), Failure> {
        let fate = self.handle(id, load)?;
        self.judge(id, fate, load)
    }

    fn handle(&mut self, id: usize, load: &mut impl Load) -> Result<Fate, Failure> {
        let Some(peer) = self.peers.get_mut(id).and_then(Option::as_mut) else {
            return Ok(Fate::Stays);
        };
        if matches!(peer.state, State::Connecting) {
            match connected(&mut peer.link) {
                Ok(false) => return Ok(Fate::Stays),
                Ok(true) => self.begin_handshake(id)?,
                Err(error) => return Ok(Fate::Lost(error.to_string())),
            }
        }
        match self.read(id, load)? {
            Fate::Stays => Ok(self.flush(id, load)),
            gone => Ok(gone),
        }
    }

    fn judge(&mut self, id: usize, fate: Fate, load: &mut impl Load) -> Result<(), Failure> {
        let why = match fate {
            Fate::Stays => return Ok(()),
            Fate::Closed => None,
            Fate::Lost(why) => Some(why),
        };
        let Some(peer) = self.peers[id].take() else {
            return Ok(());
        };
        if matches!(peer.state, State::Open(_)) {
            self.tally.open -= 1;
        }
        let Some(why) = why else {
            self.tally.closed += 1;
            load.closed(id);
            return Ok(());
        };
        self.tally.lost += 1;
        self.why_lost = why;
        load.lost(id);
        // While connections are being opened, who opens them says more.
        match matches!(peer.state, State::Open(_)) && self.tally.open == 0 {
            true => Err(protocol(format!(
                "all connections are lost; the last one: {}",
                self.why_lost
            ))),
            false => Ok(()),
        }
    }

    fn begin_handshake(&mut self, id: usize) -> Result<(), Failure> {
        let opening = self.opening()?;
        if let Some(peer) = &mut self.peers[id] {
            peer.state = State::Handshake(Box::new(opening));
        }
        Ok(())
    }

    fn opening(&mut self) -> Result<Opening, Failure> {
        let mut key = [0; 16];
        self.resources.random().fill(&mut key);
        let target = &self.plan.target;
        let headers: Vec<(&str, &str)> = self
            .plan
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let request = ClientRequest {
            extensions: self.extensions.as_deref(),
            subprotocols: self.plan.subprotocols,
            headers: &headers,
            ..ClientRequest::new(&target.authority, &target.path, key)
        };
        let handshake = ClientHandshake::new(&request)
            .map_err(|error| Failure::usage(format!("the handshake cannot be sent: {error}")))?;
        Ok(Opening {
            handshake,
            written: 0,
            answer: Vec::new(),
        })
    }

    /// Reads until nothing is there.
    fn read(&mut self, id: usize, load: &mut impl Load) -> Result<Fate, Failure> {
        loop {
            let Some(peer) = &mut self.peers[id] else {
                return Ok(Fate::Stays);
            };
            let n = match peer.link.read(&mut self.buffer) {
                Ok(0) => return Ok(self.end(id)),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Fate::Stays),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(self.broken(id, &error)),
            };
            let whole = n < self.buffer.len() && peer.link.short_read_is_all();
            self.tally.received += n as u64;
            self.last_heard = self.clock.now();
            let fate = match peer.state {
                State::Open(_) => self.messages(id, n, load)?,
                _ => self.answer(id, n, load)?,
            };
            if whole || !matches!(fate, Fate::Stays) {
                return Ok(fate);
            }
        }
    }

    /// `n` octets of the handshake's answer are in the buffer, and maybe the first frames behind it.
    fn answer(&mut self, id: usize, n: usize, load: &mut impl Load) -> Result<Fate, Failure> {
        let now = self.last_heard;
        let Some(Peer { state, begun, .. }) = &mut self.peers[id] else {
            return Ok(Fate::Stays);
        };
        let State::Handshake(opening) = state else {
            return Ok(Fate::Stays);
        };
        opening.answer.extend_from_slice(&self.buffer[..n]);
        let limits = HeadLimits::default();
        let accepted = match opening.handshake.parse_response(&opening.answer, &limits) {
            Ok(Answer::Incomplete) => return Ok(Fate::Stays),
            Ok(Answer::Accepted(accepted)) => accepted,
            Ok(Answer::Refused(refused)) => {
                let reason = refused.reason.escape_debug();
                return Err(not_connected(format!(
                    "the server answered with status {} {reason} instead of a WebSocket",
                    refused.status
                )));
            }
            Err(error) => return Err(protocol(error.to_string())),
        };
        let rest = opening.answer.split_off(accepted.head_length);
        let outbox = Outbox::default();
        let mut connection =
            Connection::new(Role::Client, self.config.clone(), outbox, micros(now));
        agree(
            &accepted,
            &self.config,
            &mut connection,
            &mut self.resources,
        )?;
        load.opened(
            id,
            &mut Out {
                now,
                connection: &mut connection,
                resources: &mut self.resources,
            },
        );
        *state = State::Open(Box::new(connection));
        self.openings.push(now - *begun);
        self.tally.open += 1;
        if rest.is_empty() {
            return Ok(Fate::Stays);
        }
        self.buffer[..rest.len()].copy_from_slice(&rest);
        self.messages(id, rest.len(), load)
    }

    /// `n` octets of frames are in the buffer.
    fn messages(&mut self, id: usize, n: usize, load: &mut impl Load) -> Result<Fate, Failure> {
        let now = self.last_heard;
        let Some(peer) = &mut self.peers[id] else {
            return Ok(Fate::Stays);
        };
        let State::Open(connection) = &mut peer.state else {
            return Ok(Fate::Stays);
        };
        let answered = connection.pings_answered();
        let mut input = &mut self.buffer[..n];
        let mut hand_out =
            |message: &Message<'_>, connection: &mut Connection, resources: &mut Resources| {
                let mut out = Out {
                    now,
                    connection,
                    resources,
                };
                load.message(id, message, &mut out)
            };
        loop {
            // Most messages lie whole in what was read.
            while let Some(message) = connection.receive_whole(&mut input) {
                match message {
                    Ok(message) => hand_out(&message, connection, &mut self.resources)?,
                    Err(error) => {
                        let closed = connection.fail(micros(now), error, &mut self.resources);
                        return closed_by_peer(closed);
                    }
                }
            }
            match connection.receive(micros(now), &mut input, &mut self.resources) {
                None => break,
                Some(Event::Message(message)) => {
                    hand_out(&message, connection, &mut self.resources)?;
                    self.resources.recycle_message(message);
                }
                Some(Event::Part(piece)) => self.resources.recycle_piece(piece),
                Some(Event::Closed(closed)) => return closed_by_peer(closed),
            }
        }
        connection.heard(micros(now));
        if connection.pings_answered() > answered {
            load.writable(
                id,
                &mut Out {
                    now,
                    connection,
                    resources: &mut self.resources,
                },
            );
        }
        Ok(Fate::Stays)
    }

    /// The peer sends no more.
    fn end(&mut self, id: usize) -> Fate {
        let now = micros(self.clock.now());
        match &mut self.peers[id] {
            Some(Peer {
                state: State::Open(connection),
                ..
            }) => match connection.handle_eof(now, &mut self.resources) {
                // We wanted to close: a server that leaves without a Close is rude, not lost.
                Some(closed) if closed.by == tidegate_proto::Side::Us => Fate::Closed,
                _ => Fate::Lost("the server ended the connection without a Close".into()),
            },
            _ => Fate::Lost("the server ended the connection during the handshake".into()),
        }
    }

    fn broken(&mut self, id: usize, error: &io::Error) -> Fate {
        match &self.peers[id] {
            Some(Peer {
                state: State::Open(connection),
                ..
            }) if !connection.is_open() => Fate::Closed,
            _ => Fate::Lost(error.to_string()),
        }
    }

    /// Writes what is owed, as far as the socket takes it.
    fn flush(&mut self, id: usize, load: &mut impl Load) -> Fate {
        match self.write(id, load) {
            Ok(()) => Fate::Stays,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Fate::Stays,
            Err(error) => self.broken(id, &error),
        }
    }

    fn write(&mut self, id: usize, load: &mut impl Load) -> io::Result<()> {
        let Some(Peer { link, state, .. }) = &mut self.peers[id] else {
            return Ok(());
        };
        match state {
            State::Connecting => return Ok(()),
            State::Handshake(opening) => {
                while opening.written < opening.handshake.request().len() {
                    let rest = &opening.handshake.request()[opening.written..];
                    let n = link.write(&[IoSlice::new(rest)])?;
                    opening.written += n;
                    self.tally.sent += n as u64;
                }
            }
            State::Open(connection) => loop {
                let n = {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    let filled = connection.poll_transmit(&mut slices);
                    match filled {
                        0 => break,
                        filled => link.write(&slices[..filled])?,
                    }
                };
                self.tally.sent += n as u64;
                let now = self.last_heard;
                if connection.handle_sent(micros(now), n, &mut self.resources) {
                    let resources = &mut self.resources;
                    load.writable(
                        id,
                        &mut Out {
                            now,
                            connection,
                            resources,
                        },
                    );
                }
            },
        }
        link.flush()
    }
}

/// Sets up what the handshake agreed on.
fn agree(
    accepted: &Accepted,
    config: &Config,
    connection: &mut Connection,
    resources: &mut Resources,
) -> Result<(), Failure> {
    let Some(extensions) = &accepted.extensions else {
        return Ok(());
    };
    let elements =
        parse_offers(extensions.as_bytes()).map_err(|error| protocol(error.to_string()))?;
    let agreed = judge(&elements, &config.deflate).map_err(|error| protocol(error.to_string()))?;
    if let Some(negotiated) = agreed {
        connection.set_deflate(negotiated, resources);
    }
    Ok(())
}

/// The peer's Close, or its fault.
fn closed_by_peer(closed: Closed) -> Result<Fate, Failure> {
    match closed {
        Closed {
            cause: Some(error), ..
        } => Err(protocol(format!("the server broke the protocol: {error}"))),
        Closed {
            by: tidegate_proto::Side::Us,
            ..
        } => Ok(Fate::Closed),
        Closed { code, reason, .. } => Ok(Fate::Lost(match code {
            None => "the server closed".into(),
            Some(code) => format!("the server closed with {code} {}", reason.escape_debug()),
        })),
    }
}

/// The TCP connection has come about; false while it has not yet.
fn connected(link: &mut Link) -> io::Result<bool> {
    if let Some(error) = link.tcp().take_error()? {
        return Err(error);
    }
    match link.tcp().peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// How long to wait for events. The system counts in milliseconds and rounds up, so the last one is spent looking.
fn wait(now: u64, until: u64) -> Duration {
    let left = until.saturating_sub(now).min(TURN);
    Duration::from_millis((left / MILLI).saturating_sub(1))
}

/// Exit code 4.
pub(crate) fn protocol(line: String) -> Failure {
    Failure {
        exit: Exit::Protocol,
        line,
    }
}

/// Exit code 124.
pub(crate) fn timeout(line: String) -> Failure {
    Failure {
        exit: Exit::Timeout,
        line,
    }
}

/// Nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;
/// Longest wait of a turn, so that interrupts and bounds are seen.
const TURN: u64 = 100 * MILLI;
/// Connections being opened at once: fewer than what servers let wait.
const AT_ONCE: usize = 100;
/// Octets read at once.
const BUFFER: usize = 256 << 10;
const EVENTS: usize = 1_024;
const SLICES: usize = 16;
