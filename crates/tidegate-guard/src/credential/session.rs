//! Who is behind each connection of a worker, and which connections one user has. Timers are set by whoever owns
//! them; this says which connections a revocation is about and which have come to their end.

use super::{Bearer, Revocation};
use std::collections::BTreeMap;
use tidegate_proto::{PeerId, Time};

/// The connections of one worker that have a credential.
#[derive(Default, Debug)]
pub struct Sessions {
    by_peer: BTreeMap<u32, (PeerId, Bearer)>,
    by_subject: BTreeMap<Box<str>, Vec<PeerId>>,
}

impl Sessions {
    /// A connection has this credential from now on; another one that it had is forgotten.
    pub fn enter(&mut self, peer: PeerId, bearer: Bearer) {
        self.leave(peer);
        let subject = bearer.subject.clone();
        self.by_subject.entry(subject).or_default().push(peer);
        self.by_peer.insert(peer.slot(), (peer, bearer));
    }

    /// A connection is gone.
    pub fn leave(&mut self, peer: PeerId) -> Option<Bearer> {
        self.get(peer)?;
        let (_, bearer) = self.by_peer.remove(&peer.slot())?;
        if let Some(peers) = self.by_subject.get_mut(&bearer.subject) {
            peers.retain(|other| *other != peer);
            if peers.is_empty() {
                self.by_subject.remove(&bearer.subject);
            }
        }
        Some(bearer)
    }

    /// Who is behind a connection.
    pub fn get(&self, peer: PeerId) -> Option<&Bearer> {
        let (holder, bearer) = self.by_peer.get(&peer.slot())?;
        (*holder == peer).then_some(bearer)
    }

    /// The connection in a slot, if its credential has ended by now. A timer of an earlier one finds none.
    pub fn ended(&self, slot: u32, now: Time) -> Option<PeerId> {
        let (peer, bearer) = self.by_peer.get(&slot)?;
        (bearer.ends <= now).then_some(*peer)
    }

    /// The connections that a revocation is about.
    pub fn hit_by(&self, revocation: &Revocation) -> Vec<PeerId> {
        let hit = |peer: &PeerId| {
            self.get(*peer)
                .is_some_and(|bearer| revocation.hits(bearer))
        };
        match revocation.by {
            super::RevokedBy::Subject => {
                let peers = self.by_subject.get(&revocation.value).into_iter().flatten();
                peers.copied().filter(hit).collect()
            }
            _ => self
                .by_peer
                .values()
                .map(|(peer, _)| *peer)
                .filter(hit)
                .collect(),
        }
    }

    /// A user's roles have changed: returns the connections whose bearer now has others.
    pub fn change_roles(&mut self, subject: &str, roles: &[Box<str>]) -> Vec<PeerId> {
        let peers = self.by_subject.get(subject).cloned().unwrap_or_default();
        for peer in &peers {
            if let Some((_, bearer)) = self.by_peer.get_mut(&peer.slot()) {
                bearer.roles = roles.to_vec();
            }
        }
        peers
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_peer.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_peer.is_empty()
    }
}
