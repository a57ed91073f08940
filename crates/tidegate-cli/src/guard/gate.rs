//! One worker of the guard: the caps and the counts around the relay, and how clients leave when it drains. It
//! never looks into a message.

use crate::admission::{Admission, AdmissionLimits};
use crate::leaving::{Leaving, Pace};
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidegate_guard::audit::{Event, What};
use tidegate_guard::door::Shared;
use tidegate_guard::{Policy, Relay, RelayCounts, RelayMail, RelaySettings, Witness};
use tidegate_proto::handshake::client::Accepted;
use tidegate_proto::{
    CloseCode, Closed, DialError, Handler, Incoming, Opening, Outboxes, PeerId, Request, TimerId,
};
use tracing::{debug, info};

/// What the gates of all workers share.
#[derive(Default)]
pub(super) struct Tally {
    /// Clients that were let in, and those that have gone.
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
    /// Requests refused for want of room.
    pub(super) crowded: AtomicU64,
    /// Ends by their code: 1000 and 1001, 1002 1003 1007, 1008 1009, 1012, 1013, 1014, without, others.
    pub(super) ends: [AtomicU64; END_NAMES.len()],
}

/// The names of [`Tally::ends`] in the metrics.
pub(super) const END_NAMES: [&str; 8] = [
    "normal", "protocol", "policy", "restart", "away", "gateway", "lost", "other",
];

fn end_of(code: Option<u16>) -> usize {
    match code {
        Some(1000 | 1001) => 0,
        Some(1002 | 1003 | 1007) => 1,
        Some(1008 | 1009) => 2,
        Some(1012) => 3,
        Some(1013) => 4,
        Some(1014) => 5,
        None => 6,
        Some(_) => 7,
    }
}

/// A worker of the guard.
pub(super) struct Gate {
    relay: Relay,
    witness: Witness,
    limits: AdmissionLimits,
    admission: Arc<Admission>,
    tally: Arc<Tally>,
    /// Clients, by slot.
    clients: Vec<Option<(PeerId, IpAddr)>>,
    open: usize,
    leaving: Leaving<PeerId>,
    /// This worker's share.
    pace: Pace,
}

type Out<'a> = Outboxes<'a, RelayMail>;

impl Gate {
    pub(super) fn new(
        settings: Arc<RelaySettings>,
        counts: Arc<RelayCounts>,
        admission: Arc<Admission>,
        tally: Arc<Tally>,
        pace: Pace,
        (shared, witness): (Shared, Witness),
    ) -> Gate {
        Gate {
            limits: limits(&settings.policy),
            relay: Relay::new(settings, counts, shared, Arc::clone(&witness)),
            witness,
            admission,
            tally,
            clients: Vec::new(),
            open: 0,
            leaving: Leaving::default(),
            pace,
        }
    }

    fn remember(&mut self, peer: PeerId, from: IpAddr) {
        let slot = peer.slot() as usize;
        if self.clients.len() <= slot {
            self.clients.resize(slot + 1, None);
        }
        self.clients[slot] = Some((peer, from));
        self.open += 1;
    }

    /// A client has gone: its place is free.
    fn forget(&mut self, peer: PeerId) -> bool {
        let place = self.clients.get_mut(peer.slot() as usize);
        let Some(place) = place.filter(|place| place.is_some_and(|(holder, _)| holder == peer))
        else {
            return false;
        };
        if let Some((_, from)) = place.take() {
            self.admission.leave(from);
            self.open -= 1;
        }
        true
    }

    fn send_those_due(&mut self, out: &mut Out<'_>) {
        while let Some(peer) = self.leaving.due(out.now()) {
            self.relay.drain(peer, out);
        }
        match self.leaving.next() {
            Some(next) => out.timer(LEAVING, next),
            None => {
                let (clients, over) = self.leaving.so_far(out.now());
                info!(
                    clients,
                    seconds = over.as_secs_f64(),
                    "all clients of this worker were asked to leave"
                );
            }
        }
    }
}

/// The caps of a policy.
fn limits(policy: &Policy) -> AdmissionLimits {
    let connections = &policy.connections;
    let rate = connections.handshakes;
    let pair = NonZero::new(rate.per_second()).zip(NonZero::new(rate.burst()));
    AdmissionLimits {
        connections: Some(connections.total),
        per_ip: Some(connections.per_ip),
        handshakes: pair,
    }
}

impl Handler for Gate {
    type Mail = RelayMail;

    fn open(&mut self, peer: PeerId, request: &Request, out: &mut Out<'_>) -> Opening {
        let from = self.relay.origin_of(peer, request, out);
        if let Err(crowded) = self.admission.enter(&self.limits, from, out.now()) {
            self.tally.crowded.fetch_add(1, Ordering::Relaxed);
            debug!(limit = crowded.name(), %from, "client refused");
            let rejection = crowded.rejection(out.random());
            (self.witness)(Event {
                at: out.now(),
                connection: 0,
                what: What::Refused {
                    route: None,
                    remote: from,
                    status: rejection.sent_status(),
                    rule: crowded.name().into(),
                },
            });
            return Opening::Reject(rejection);
        }
        let opening = self.relay.open(peer, request, out);
        match &opening {
            Opening::Reject(no) => {
                self.admission.leave(from);
                debug!(
                    status = no.status,
                    why = no.message,
                    path = request.path(),
                    "client refused"
                );
            }
            _ => self.remember(peer, from),
        }
        opening
    }

    fn opened(&mut self, peer: PeerId, out: &mut Out<'_>) {
        self.tally.opened.fetch_add(1, Ordering::Relaxed);
        debug!(remote = ?out.remote(peer), "client paired with the upstream");
        self.relay.opened(peer, out);
    }

    fn dialed(&mut self, peer: PeerId, answer: Result<&Accepted, &DialError>, out: &mut Out<'_>) {
        let client = self.relay.other(peer);
        if let Err(error) = answer {
            debug!(%error, "no upstream for a client");
        }
        self.relay.dialed(peer, answer, out);
        // A client without its upstream is answered, and nothing more is said of it.
        if let Some(client) = client.filter(|client| self.relay.other(*client).is_none()) {
            self.forget(client);
        }
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Out<'_>) {
        self.relay.message(peer, message, out);
    }

    fn mail(&mut self, mail: RelayMail, out: &mut Out<'_>) {
        if let RelayMail::Settings(settings) = &mail {
            self.limits = limits(&settings.policy);
        }
        self.relay.mail(mail, out);
    }

    fn timeout(&mut self, timer: TimerId, out: &mut Out<'_>) {
        match timer {
            LEAVING => self.send_those_due(out),
            other => self.relay.timeout(other, out),
        }
    }

    fn drained(&mut self, peer: PeerId, out: &mut Out<'_>) {
        self.relay.drained(peer, out);
    }

    fn drain(&mut self, peer: PeerId, out: &mut Out<'_>) {
        if self.relay.is_upstream(peer) {
            return; // it goes with its client
        }
        let (now, random, first) = (out.now(), out.random(), self.leaving.next().is_none());
        match self.leaving.place(peer, self.open, self.pace, now, random) {
            None => self.relay.drain(peer, out),
            Some(at) if first => out.timer(LEAVING, at),
            Some(_) => {}
        }
    }

    fn closed(&mut self, peer: PeerId, why: &Closed, out: &mut Out<'_>) {
        let code = why.code.map(CloseCode::get);
        let side = match self.forget(peer) {
            true => {
                self.tally.closed.fetch_add(1, Ordering::Relaxed);
                self.tally.ends[end_of(code)].fetch_add(1, Ordering::Relaxed);
                "client"
            }
            false => "upstream",
        };
        debug!(side, code, by = ?why.by, cause = ?why.cause, "ended");
        self.relay.closed(peer, why, out);
    }
}

/// The next client leaves.
const LEAVING: TimerId = TimerId(2 << 56);

#[cfg(test)]
mod tests;
