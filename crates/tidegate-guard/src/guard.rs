//! [`Guard`]: a handler around a handler. It refuses what the policy refuses and changes nothing else.

mod sentry;

use crate::door;
use crate::inspect::rate::{Meter, Rate};
use crate::policy::Policy;
use crate::relay::Witness;
use sentry::Sentry;
use std::sync::Arc;
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
    /// Payload bytes a peer may send; beyond it we close with 1008. Default: 8 MiB a second, 16 MiB at once; a policy's
    /// is [`Budget::of_messages`].
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

impl Budget {
    /// The default where a message has at most `longest` bytes: at once 1 MiB, or four such messages if that is more. A burst
    /// delays all others of the worker, so it is no larger than a few honest messages need.
    pub fn of_messages(longest: usize) -> Budget {
        let least = 1 << 20;
        let burst =
            u32::try_from(longest.saturating_mul(4)).map_or(u32::MAX, |four| four.max(least));
        let usual = Budget::default();
        Budget {
            bytes: Rate::new(usual.bytes.per_second(), burst).expect("neither is 0"),
            ..usual
        }
    }
}

/// `H` behind a [`Budget`] for each peer, and behind a [`Policy`] if there is one.
pub struct Guard<H> {
    inner: H,
    budget: Budget,
    sentry: Option<Box<Sentry>>,
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
            sentry: None,
            meters: Vec::new(),
        }
    }

    /// With a policy before it: its door judges who comes, its content rules what clients say, and a route's budget stands
    /// in the place of the general one. With `lines`, each line of a text is judged as a message of its own. What `inner`
    /// says is not judged. `shared` is the door's part that all workers share; `witness` hears of what was done.
    #[must_use]
    pub fn with_policy(
        mut self,
        policy: Arc<Policy>,
        shared: door::Shared,
        witness: Witness,
        lines: bool,
    ) -> Guard<H> {
        let sentry = Sentry::new(policy, shared, witness, lines);
        self.sentry = Some(Box::new(sentry));
        self
    }

    /// Another policy holds for who comes from now on, where there is one.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        if let Some(sentry) = &mut self.sentry {
            sentry.set_policy(policy);
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
        let now = out.now();
        let of_route = self.sentry.as_ref().and_then(|sentry| sentry.budget(peer));
        let budget = of_route.unwrap_or(self.budget);
        let meters = self.meters(peer);
        let why = if !meters.messages.take(budget.messages, messages, now) {
            "too many messages"
        } else if !meters.bytes.take(budget.bytes, bytes as u64, now) {
            "too many bytes"
        } else {
            return true;
        };
        if let Some(sentry) = &mut self.sentry {
            sentry.flooded(peer, out);
        }
        out.close(peer, CloseCode::POLICY, why);
        false
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
        let Some(sentry) = &mut self.sentry else {
            return self.inner.open(peer, request, out);
        };
        if let Err(rejection) = sentry.open(peer, request, out) {
            return Opening::Reject(rejection);
        }
        let opening = self.inner.open(peer, request, out);
        if matches!(opening, Opening::Reject(_)) {
            sentry.forget(peer);
        }
        opening
    }

    fn opened(&mut self, peer: PeerId, out: &mut Outboxes<'_, H::Mail>) {
        self.inner.opened(peer, out);
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, H::Mail>) {
        if !self.admits(peer, 1, message.as_bytes().len(), out) {
            return;
        }
        if let Some(sentry) = &mut self.sentry {
            if !sentry.admits(peer, &message, out) {
                return;
            }
        }
        self.inner.message(peer, message, out);
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
        if let Some(sentry) = &mut self.sentry {
            sentry.closed(peer, why, out);
        }
        self.inner.closed(peer, why, out);
    }
}

#[cfg(test)]
mod tests;
