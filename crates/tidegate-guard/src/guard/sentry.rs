//! [`Sentry`]: a policy before a handler that is no relay: its door, and its content rules about what clients say. What the
//! handler says itself it does not judge, and the credential is the handler's own affair.

use crate::audit::{Event, What};
use crate::crowd::Place;
use crate::door::{self, Door};
use crate::guard::Budget;
use crate::inspect::inspector::{Direction, Finding, Kind, Verdict};
use crate::judges::Judges;
use crate::policy::{Policy, Route};
use crate::relay::Witness;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tidegate_proto::{CloseCode, Closed, Incoming, Outboxes, PeerId, Rejection, Request};

pub(super) struct Sentry {
    door: Door,
    judges: Judges,
    witness: Witness,
    /// Each line of a text is a message of its own to the handler.
    lines: bool,
    /// How many clients there have been.
    serial: u64,
    /// By slot.
    peers: BTreeMap<u32, Inside>,
}

/// A client that was let in.
struct Inside {
    route: Arc<Route>,
    /// Its number in the audit log.
    serial: u64,
    /// The rule by which we end it.
    ended_by: Option<&'static str>,
    /// Free again when it is gone.
    _places: Vec<Place>,
}

impl Sentry {
    pub(super) fn new(
        policy: Arc<Policy>,
        shared: door::Shared,
        witness: Witness,
        lines: bool,
    ) -> Sentry {
        Sentry {
            door: Door::new(policy, shared),
            judges: Judges::default(),
            witness,
            lines,
            serial: 0,
            peers: BTreeMap::new(),
        }
    }

    pub(super) fn set_policy(&mut self, policy: Arc<Policy>) {
        self.door.set_policy(policy);
        self.judges.forget_unused();
    }

    /// Judges a request; the client is inside from then on, until it is forgotten.
    pub(super) fn open<M>(
        &mut self,
        peer: PeerId,
        request: &Request,
        out: &Outboxes<'_, M>,
    ) -> Result<(), Rejection> {
        let remote = out.remote(peer);
        let remote = remote.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |remote| remote.ip());
        let pass = match self.door.judge(request, remote, out.now()) {
            Ok(pass) => pass,
            Err(refused) => {
                let what = What::Refused {
                    route: refused.route,
                    remote,
                    status: refused.rejection.sent_status(),
                    rule: refused.rule.into(),
                };
                self.tell(out, 0, what);
                return Err(*refused.rejection);
            }
        };
        self.serial += 1;
        let what = What::Open {
            route: pass.route.name.clone(),
            remote,
            identity: None,
        };
        self.tell(out, self.serial, what);
        let inside = Inside {
            route: pass.route,
            serial: self.serial,
            ended_by: None,
            _places: pass.places,
        };
        self.peers.insert(peer.slot(), inside);
        Ok(())
    }

    /// What a client may send, by its route.
    pub(super) fn budget(&self, peer: PeerId) -> Option<Budget> {
        Some(self.peers.get(&peer.slot())?.route.budget)
    }

    /// A client sent more than its budget.
    pub(super) fn flooded<M>(&mut self, peer: PeerId, out: &Outboxes<'_, M>) {
        let Some(inside) = self.peers.get_mut(&peer.slot()) else {
            return;
        };
        inside.ended_by = Some("budget");
        let (serial, what) = (inside.serial, What::flood(&inside.route));
        self.tell(out, serial, what);
    }

    /// Whether a message goes on; the client is closed when not.
    pub(super) fn admits<M>(
        &mut self,
        peer: PeerId,
        message: &Incoming<'_>,
        out: &mut Outboxes<'_, M>,
    ) -> bool {
        let Some(inside) = self.peers.get_mut(&peer.slot()) else {
            return true;
        };
        let judge = self.judges.of(&inside.route, self.door.behaviours());
        let mut watched = Vec::new();
        let mut blocked = None;
        match message {
            Incoming::Text(text) if self.lines => {
                let lines = text.as_bytes().split(|octet| *octet == b'\n');
                for line in lines.filter(|line| !line.is_empty()) {
                    match judge.judge_octets(Direction::ToServer, Kind::Text, line) {
                        Verdict::Block(finding) => {
                            blocked = Some(finding);
                            break;
                        }
                        verdict => watched.extend(findings(verdict)),
                    }
                }
            }
            whole => match judge.judge(Direction::ToServer, whole) {
                Verdict::Block(finding) => blocked = Some(finding),
                verdict => watched.extend(findings(verdict)),
            },
        }
        if watched.is_empty() && blocked.is_none() {
            return true;
        }
        let (route, serial) = (Arc::clone(&inside.route), inside.serial);
        inside.ended_by = blocked
            .as_ref()
            .map(|finding| finding.rule)
            .or(inside.ended_by);
        for finding in watched.iter().chain(&blocked) {
            self.tell(out, serial, What::verdict(&route, finding, true));
        }
        match blocked {
            Some(finding) => {
                out.close(peer, finding.close, finding.rule);
                false
            }
            None => true,
        }
    }

    /// The handler did not want it.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.peers.remove(&peer.slot());
    }

    pub(super) fn closed<M>(&mut self, peer: PeerId, why: &Closed, out: &Outboxes<'_, M>) {
        let Some(inside) = self.peers.remove(&peer.slot()) else {
            return;
        };
        let what = What::Close {
            route: inside.route.name.clone(),
            code: why.code.map(CloseCode::get),
            rule: inside.ended_by.map(Into::into),
        };
        self.tell(out, inside.serial, what);
    }

    fn tell<M>(&self, out: &Outboxes<'_, M>, serial: u64, what: What) {
        (self.witness)(Event {
            at: out.now(),
            connection: Event::number(out.worker(), serial),
            what,
        });
    }
}

fn findings(verdict: Verdict) -> Vec<Finding> {
    match verdict {
        Verdict::Pass | Verdict::Block(_) => Vec::new(),
        Verdict::Monitor(findings) | Verdict::Replace(_, findings) => findings,
    }
}
