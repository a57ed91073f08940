//! One `Connection` driven by a script: octets come in pieces, all that is owed is written at once.

use super::{Seen, start};
use crate::bytes::Step;
use crate::inflate;
use crate::random::{Cuts, Numbers};
use crate::settings::Settings;
use crate::wire;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::deflate::Negotiated;
use tidegate_proto::{
    CloseCode, Closed, Config, Connection, Event, Level, Outbox, Resources, Role, Time, Transport,
};

pub(super) fn run(
    role: Role,
    settings: &Settings,
    steps: &[Step],
    cuts: Cuts,
) -> Result<Seen, String> {
    let mut peer = Peer::new(role, settings.config(), settings.negotiated());
    for step in steps {
        peer.step(step, cuts);
    }
    peer.finish()
}

/// A connection, its clock, and what was seen of it.
pub struct Peer {
    role: Role,
    now: Time,
    negotiated: Option<Negotiated>,
    connection: Connection,
    resources: Resources,
    seen: Seen,
    written: Vec<u8>,
    fed: usize,
    pieces: usize,
}

impl Peer {
    /// A connection whose handshake is done.
    pub fn new(role: Role, config: Config, negotiated: Option<Negotiated>) -> Peer {
        let now = start();
        let mut resources = Resources::new(Box::new(Numbers(7)));
        let mut connection = Connection::new(role, Arc::new(config), Outbox::default(), now);
        if let Some(negotiated) = negotiated {
            connection.set_deflate(negotiated, &mut resources);
        }
        Peer {
            role,
            now,
            negotiated,
            connection,
            resources,
            seen: Seen::default(),
            written: Vec::new(),
            fed: 0,
            pieces: 0,
        }
    }

    /// Does one step; octets are cut by `cuts`.
    pub fn step(&mut self, step: &Step, cuts: Cuts) {
        match step {
            Step::Bytes(bytes) => cuts
                .pieces(bytes)
                .into_iter()
                .for_each(|piece| self.feed(piece)),
            Step::Wait(span) => self.wait(*span),
            Step::Close(code, reason) => {
                let code = CloseCode::new(*code).expect("the table closes with codes that exist");
                self.connection
                    .close(self.now, code, reason, &mut self.resources);
            }
            Step::Send(text) => {
                let level = self.connection.send_text(text, &mut self.resources);
                assert!(matches!(level, Level::Low | Level::High | Level::Gone));
            }
            Step::Eof => {
                let closed = self.connection.handle_eof(self.now, &mut self.resources);
                self.seen.closed.extend(closed);
            }
        }
        self.flush();
    }

    /// Octets come, in this one piece; what is owed is written after it. In every other piece those that belong to a
    /// message come to where it is put together.
    pub fn feed(&mut self, mut piece: Vec<u8>) {
        self.fed += piece.len();
        self.pieces += 1;
        let mut seen = Fresh::default();
        let mut input = &mut piece[..];
        while self.pieces % 2 == 0 {
            let Some(room) = self.connection.room(1, input.len()) else {
                break;
            };
            let (fit, rest) = std::mem::take(&mut input).split_at_mut(room.len());
            room.copy_from_slice(fit);
            input = rest;
            let event = self
                .connection
                .filled(self.now, fit.len(), &mut self.resources);
            event.into_iter().for_each(|event| seen.see(event));
        }
        while let Some(event) = self
            .connection
            .receive(self.now, &mut input, &mut self.resources)
        {
            seen.see(event);
        }
        assert!(input.is_empty(), "all octets are taken");
        if !seen.closed.is_empty() {
            self.seen.ended_at = Some(self.fed);
        }
        self.seen.messages.extend(seen.messages);
        self.seen.closed.extend(seen.closed);
        self.flush();
    }

    /// Time passes; each deadline is kept on the way.
    pub fn wait(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(due) = self.connection.poll_timeout().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            let closed = self
                .connection
                .handle_timeout(self.now, &mut self.resources);
            self.seen.closed.extend(closed);
            self.flush();
        }
        self.now = until;
    }

    /// Writes all that is owed.
    fn flush(&mut self) {
        loop {
            let mut slices = [IoSlice::new(&[]); 4];
            let filled = self.connection.poll_transmit(&mut slices);
            let octets: Vec<u8> = slices[..filled]
                .iter()
                .flat_map(|s| s.iter().copied())
                .collect();
            if octets.is_empty() {
                return;
            }
            self.written.extend_from_slice(&octets);
            self.connection
                .handle_sent(self.now, octets.len(), &mut self.resources);
        }
    }

    /// What was written so far.
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// What was seen, after the transport has been seen to its end where the connection ended.
    ///
    /// # Errors
    /// When what was written is no row of good frames, or the transport is never let go.
    pub fn finish(mut self) -> Result<Seen, String> {
        self.seen.frames = wire::read_frames(&self.written, self.role == Role::Client)?;
        let negotiated = self.negotiated.as_ref();
        self.seen.compressed = inflate::frames(&mut self.seen.frames, negotiated, self.role)?;
        if self.seen.closed.is_empty() {
            return Ok(self.seen);
        }
        let transport = self.connection.transport();
        // RFC 6455 §7.1.1: the server ends TCP, and the client gives it time to.
        if self.role == Role::Server && transport == Transport::Open {
            return Err("the server keeps its side of the transport open".into());
        }
        self.wait(Duration::from_secs(5));
        if self.connection.transport() != Transport::Close {
            return Err("the transport is still there 5 s after the end".into());
        }
        Ok(self.seen)
    }
}

/// What one piece has brought.
#[derive(Default)]
struct Fresh {
    messages: Vec<(bool, Vec<u8>)>,
    closed: Vec<Closed>,
}

impl Fresh {
    fn see(&mut self, event: Event<'_>) {
        match event {
            Event::Message(message) => {
                assert!(self.closed.is_empty(), "a message after the end");
                if message.is_text() {
                    std::str::from_utf8(message.as_bytes()).expect("text is UTF-8");
                }
                let row = (message.is_text(), message.as_bytes().to_vec());
                self.messages.push(row);
            }
            Event::Part(_) => unreachable!("nobody asked for parts"),
            Event::Closed(end) => self.closed.push(end),
        }
    }
}
