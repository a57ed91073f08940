//! [`Guard`]: a handler around a handler. It refuses what the policy refuses and changes nothing else.

use crate::inspect::rate::{Meter, Rate};
use tidegate_proto::handshake::client::Accepted;
use tidegate_proto::{
    CloseCode, Closed, DialError, Handler, Incoming, Opening, Outboxes, Part, PeerId, Request,
    TimerId, Wire,
};

/// What a peer may send. A value of it is valid: its parts cannot be made otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Messages a peer may send; beyond it we close with 1008. Default: 1,000 a second, 2,000 at once.
    pub messages: Rate,
    /// Payload bytes a peer may send; beyond it we close with 1008. Default: 8 MiB a second, 16 MiB at once.
    pub bytes: Rate,
}

impl Default for Budget {
    fn default() -> Budget {
        let rate = |per_second, burst| Rate::new(per_second, burst).expect("neither is 0");
        Budget {
            messages: rate(1_000, 2_000),
            bytes: rate(8 << 20, 16 << 20),
        }
    }
}

/// `H` behind a [`Budget`] for each peer.
pub struct Guard<H> {
    inner: H,
    budget: Budget,
    /// By the peer's slot; taken anew when a peer opens.
    meters: Vec<Meters>,
}

#[derive(Clone, Copy, Default)]
struct Meters {
    messages: Meter,
    bytes: Meter,
}

impl<H> Guard<H> {
    /// Guards `inner`.
    pub fn new(inner: H, budget: Budget) -> Guard<H> {
        Guard {
            inner,
            budget,
            meters: Vec::new(),
        }
    }

    /// Puts another budget in force. What peers have used of the old one counts on.
    pub fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
    }

    /// The guarded handler.
    pub fn inner(&self) -> &H {
        &self.inner
    }

    fn meters(&mut self, peer: PeerId) -> &mut Meters {
        let slot = peer.slot() as usize;
        if slot >= self.meters.len() {
            self.meters.resize(slot + 1, Meters::default());
        }
        &mut self.meters[slot]
    }

    /// Charges a peer for what it sent; closes it when that is beyond its budget.
    fn admits<M>(
        &mut self,
        peer: PeerId,
        messages: u64,
        bytes: usize,
        out: &mut Outboxes<'_, M>,
    ) -> bool {
        let (now, budget) = (out.now(), self.budget);
        let meters = self.meters(peer);
        if !meters.messages.take(budget.messages, messages, now) {
            out.close(peer, CloseCode::POLICY, "too many messages");
            return false;
        }
        if !meters.bytes.take(budget.bytes, bytes as u64, now) {
            out.close(peer, CloseCode::POLICY, "too many bytes");
            return false;
        }
        true
    }
}

impl<H: Handler> Handler for Guard<H> {
    type Mail = H::Mail;

    fn open(
        &mut self,
        peer: PeerId,
        request: &Request,
        out: &mut Outboxes<'_, H::Mail>,
    ) -> Opening {
        *self.meters(peer) = Meters::default();
        self.inner.open(peer, request, out)
    }

    fn opened(&mut self, peer: PeerId, out: &mut Outboxes<'_, H::Mail>) {
        self.inner.opened(peer, out);
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, H::Mail>) {
        if self.admits(peer, 1, message.as_bytes().len(), out) {
            self.inner.message(peer, message, out);
        }
    }

    fn part(&mut self, peer: PeerId, part: Part<'_>, out: &mut Outboxes<'_, H::Mail>) {
        if self.admits(peer, u64::from(part.first), part.bytes.len(), out) {
            self.inner.part(peer, part, out);
        }
    }

    fn dialed(
        &mut self,
        peer: PeerId,
        answer: Result<&Accepted, &DialError>,
        out: &mut Outboxes<'_, H::Mail>,
    ) {
        *self.meters(peer) = Meters::default();
        self.inner.dialed(peer, answer, out);
    }

    fn mail(&mut self, mail: H::Mail, out: &mut Outboxes<'_, H::Mail>) {
        self.inner.mail(mail, out);
    }

    fn timeout(&mut self, timer: TimerId, out: &mut Outboxes<'_, H::Mail>) {
        self.inner.timeout(timer, out);
    }

    fn drained(&mut self, peer: PeerId, out: &mut Outboxes<'_, H::Mail>) {
        self.inner.drained(peer, out);
    }

    fn observed(&mut self, peer: PeerId, wire: Wire<'_>, out: &mut Outboxes<'_, H::Mail>) {
        self.inner.observed(peer, wire, out);
    }

    fn drain(&mut self, peer: PeerId, out: &mut Outboxes<'_, H::Mail>) {
        self.inner.drain(peer, out);
    }

    fn closed(&mut self, peer: PeerId, why: &Closed, out: &mut Outboxes<'_, H::Mail>) {
        self.inner.closed(peer, why, out);
    }
}

#[cfg(test)]
mod tests;
