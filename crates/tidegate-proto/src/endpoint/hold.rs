//! Peers that wait for somebody else: a client whose request has no answer yet, and a peer that is not read
//! because another one cannot take what it says. What waits here is bounded, and so is the client's time.

use super::handler::{Accept, Rejection};
use super::peers::{PeerId, Stage};
use super::{Core, Direction, Endpoint, Handler, Outboxes, Post, Wire};
use crate::close::{Closed, Side};
use crate::handshake::Request;
use crate::handshake::server::BadResponse;
use crate::time::Time;

/// Most octets a client may send before it has its 101. RFC 6455 §4.1 allows it none.
pub const MAX_EARLY: usize = 4 << 10;

/// A request without an answer.
pub(super) struct Asked {
    pub(super) request: Request,
    /// What came behind it; it is read as frames after a 101, and dropped otherwise.
    early: Vec<u8>,
    pub(super) deadline: Time,
}

impl Asked {
    pub(super) fn new(request: Request, deadline: Time) -> Asked {
        Asked {
            request,
            early: Vec::new(),
            deadline,
        }
    }
}

/// Why a peer's octets wait, and those that do.
#[derive(Default)]
pub(super) struct Held {
    /// At most one read.
    pub(super) octets: Vec<u8>,
    /// The handler said so; else its own outbox is high.
    pub(super) by_handler: bool,
    /// It will send no more after these.
    ended: bool,
}

/// What is done once the handler has returned.
pub(super) enum Later {
    /// The client was told 101.
    Accepted(PeerId, Box<Asked>),
    /// The peer is read again.
    Released(PeerId),
}

impl Core {
    /// Answers a held client with 101.
    pub(super) fn accept_held(&mut self, peer: PeerId, accept: Accept) -> Result<(), BadResponse> {
        let Some(asked) = self.take_asked(peer) else {
            return Ok(());
        };
        let result = self.accept(peer, &asked.request, accept);
        match &result {
            Ok(()) => self.later.push_back(Later::Accepted(peer, asked)),
            Err(_) => {
                let refusal = Rejection::new(500, "the server could not answer this handshake");
                self.refuse(peer, &refusal);
            }
        }
        self.touch(peer);
        result
    }

    /// Answers a held client with a refusal.
    pub(super) fn reject_held(&mut self, peer: PeerId, refusal: &Rejection) {
        if self.take_asked(peer).is_some() {
            self.refuse(peer, refusal);
            self.touch(peer);
        }
    }

    fn take_asked(&mut self, peer: PeerId) -> Option<Box<Asked>> {
        let stage = &mut self.peers.get_mut(peer)?.stage;
        match std::mem::replace(stage, Stage::Dead) {
            Stage::Asked(asked) => Some(asked),
            other => {
                *stage = other;
                None
            }
        }
    }

    /// The peer is not read, and its events are not pulled, until it is released.
    pub(super) fn hold_peer(&mut self, peer: PeerId) {
        let open = self.peers.connection(peer).is_some_and(|c| c.is_open());
        if let Some(entry) = self.peers.get_mut(peer).filter(|_| open) {
            entry.held.get_or_insert_default().by_handler = true;
            self.holding = true;
        }
    }

    /// A peer that is not open any more is not read until its transport ends, which its deadline sees to.
    pub(super) fn mute_peer(&mut self, peer: PeerId) {
        let over = self.peers.connection(peer).is_some_and(|c| !c.is_open());
        if let Some(entry) = self.peers.get_mut(peer).filter(|_| over) {
            entry.held.get_or_insert_default().by_handler = true;
        }
    }

    /// The peer is read again, and its silence counts from now.
    pub(super) fn release_peer(&mut self, peer: PeerId) {
        let now = self.now;
        let Some(entry) = self.peers.get_mut(peer) else {
            return;
        };
        let Some(held) = entry.held.as_mut().filter(|held| held.by_handler) else {
            return;
        };
        held.by_handler = false;
        if let Stage::Open(connection) = &mut entry.stage {
            connection.resumed(now);
        }
        self.later.push_back(Later::Released(peer));
        self.mark_dirty(peer);
    }

    /// The handler holds the peer.
    pub(super) fn is_held(&self, peer: PeerId) -> bool {
        self.peers.get(peer).is_some_and(|p| p.is_held())
    }

    /// Keeps `rest` for later.
    pub(super) fn keep(&mut self, peer: PeerId, rest: &[u8]) {
        if let Some(entry) = self.peers.get_mut(peer).filter(|_| !rest.is_empty()) {
            let held = entry.held.get_or_insert_default();
            held.octets.extend_from_slice(rest);
        }
    }
}

impl<H: Handler> Endpoint<H> {
    /// Octets came from a client that should wait.
    pub(super) fn early(&mut self, peer: PeerId, input: &[u8], mail: &mut dyn Post<H::Mail>) {
        let Some(Stage::Asked(asked)) = self.core.peers.get_mut(peer).map(|p| &mut p.stage) else {
            return;
        };
        if asked.early.len() + input.len() > MAX_EARLY {
            //= rfc6455#4.1  the client must wait for the answer before it sends further data.
            let refusal = Rejection::new(400, "wait for the 101 before you send frames");
            return self.turn_away(peer, Some(&refusal), Side::Peer, mail);
        }
        asked.early.extend_from_slice(input);
    }

    /// A held client gets no 101: the handler, which has not said so, is told.
    pub(super) fn turn_away(
        &mut self,
        peer: PeerId,
        refusal: Option<&Rejection>,
        by: Side,
        mail: &mut dyn Post<H::Mail>,
    ) {
        if self.core.take_asked(peer).is_none() {
            return;
        }
        let mut reason = String::new();
        if let Some(refusal) = refusal {
            reason.clone_from(&refusal.message);
            self.core.refuse(peer, refusal);
        }
        let closed = Closed {
            code: None,
            reason,
            by,
            clean: false,
            cause: None,
        };
        self.over(peer, Some(closed), mail);
    }

    /// Does what was left for when the handler had returned.
    #[inline]
    pub(super) fn follow_up(&mut self, mail: &mut dyn Post<H::Mail>) {
        if !self.core.later.is_empty() {
            self.do_later(mail);
        }
    }

    fn do_later(&mut self, mail: &mut dyn Post<H::Mail>) {
        while let Some(later) = self.core.later.pop_front() {
            match later {
                Later::Accepted(peer, asked) => self.accepted_late(peer, *asked, mail),
                Later::Released(peer) => {
                    if !self.core.is_held(peer) && !self.core.is_high(peer) {
                        self.resume(peer, mail);
                        self.core.touch(peer);
                    }
                }
            }
            self.settle(mail);
        }
    }

    /// A held client has its 101: tells the handler, and reads what came early.
    fn accepted_late(&mut self, peer: PeerId, mut asked: Asked, mail: &mut dyn Post<H::Mail>) {
        let mut out = Outboxes::new(&mut self.core, mail);
        if out.core_observes(peer) {
            let wire = Wire {
                direction: Direction::Received,
                bytes: asked.request.head(),
            };
            self.handler.observed(peer, wire, &mut out);
        }
        self.handler.opened(peer, &mut out);
        self.settle(mail);
        if !asked.early.is_empty() {
            self.frames(peer, &mut asked.early, mail);
        }
        self.core.touch(peer);
    }

    /// The peer may be read again: goes on with what was held back, then with its end if that has come.
    pub(super) fn resume(&mut self, peer: PeerId, mail: &mut dyn Post<H::Mail>) {
        let held = self.core.peers.get_mut(peer).and_then(|p| p.held.take());
        let Some(mut held) = held else {
            return;
        };
        self.pull(peer, &mut held.octets, true, mail);
        if !held.ended {
            return;
        }
        match self.core.peers.get_mut(peer).map(|p| &mut p.held) {
            Some(Some(again)) => again.ended = true,
            _ => self.ended(peer, mail),
        }
    }

    /// Whether the end of a peer has to wait until it is released.
    pub(super) fn ends_later(&mut self, peer: PeerId) -> bool {
        let entry = self.core.peers.get_mut(peer);
        let held = entry.and_then(|p| p.held.as_mut());
        match held.filter(|held| held.by_handler && !held.octets.is_empty()) {
            Some(held) => {
                held.ended = true;
                true
            }
            None => false,
        }
    }
}
