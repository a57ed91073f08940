//! One client of this worker: what it is subscribed to and when it must be heard from. It sends nothing.

use crate::publication::ClientInfo;
use crate::topic::TopicName;
use std::sync::Arc;
use tidegate_proto::{PeerId, Time};

/// A client, from the accepted handshake to its end.
pub(crate) struct Session {
    pub(crate) peer: PeerId,
    /// Who it is, once it has connected.
    pub(crate) info: Option<Arc<ClientInfo>>,
    /// Its subscriptions, also those that wait for their home's answer. There are few: they are searched.
    pub(crate) subs: Vec<Subscription>,
    /// When its timer goes off; one that goes off earlier is of somebody before it, or superseded.
    pub(crate) due: Time,
    pub(crate) awaits: Awaits,
    /// Commands that wait for another worker.
    pub(crate) in_flight: u32,
    pub(crate) attempts: u32,
}

/// What the hub waits for when the session's timer goes off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Awaits {
    /// The connect command.
    Connect,
    /// The time of the next ping.
    NextPing,
    /// The pong to the ping that was sent then.
    Pong { sent: Time },
}

/// A channel that a session wants.
pub(crate) struct Subscription {
    pub(crate) topic: TopicName,
    /// Tells this subscription from an earlier one of the same session to the same channel, whose answer
    /// may still be under way.
    pub(crate) attempt: u32,
    /// The index among the worker's members of the channel, once the home has answered.
    pub(crate) member: Option<usize>,
}

impl Session {
    pub(crate) fn new(peer: PeerId, due: Time) -> Session {
        Session {
            peer,
            info: None,
            subs: Vec::new(),
            due,
            awaits: Awaits::Connect,
            in_flight: 0,
            attempts: 0,
        }
    }

    pub(crate) fn sub(&self, topic: &TopicName) -> Option<&Subscription> {
        self.subs.iter().find(|sub| sub.topic == *topic)
    }

    pub(crate) fn sub_mut(&mut self, topic: &TopicName) -> Option<&mut Subscription> {
        self.subs.iter_mut().find(|sub| sub.topic == *topic)
    }

    /// Adds a subscription that waits for its home's answer, and numbers it.
    pub(crate) fn begin(&mut self, topic: TopicName) -> u32 {
        self.attempts = self.attempts.wrapping_add(1);
        let attempt = self.attempts;
        self.subs.push(Subscription {
            topic,
            attempt,
            member: None,
        });
        attempt
    }

    pub(crate) fn remove(&mut self, topic: &TopicName) -> Option<Subscription> {
        let at = self.subs.iter().position(|sub| sub.topic == *topic)?;
        Some(self.subs.swap_remove(at))
    }
}

/// The sessions of a worker by the slot of their peer.
#[derive(Default)]
pub(crate) struct Sessions {
    slots: Vec<Option<Box<Session>>>,
    count: usize,
}

impl Sessions {
    pub(crate) fn insert(&mut self, session: Session) {
        let slot = slot(session.peer);
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        let before = self.slots[slot].replace(Box::new(session));
        self.count += usize::from(before.is_none());
    }

    pub(crate) fn get(&self, peer: PeerId) -> Option<&Session> {
        let session = self.slots.get(slot(peer))?.as_deref()?;
        (session.peer == peer).then_some(session)
    }

    pub(crate) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Session> {
        let session = self.slots.get_mut(slot(peer))?.as_deref_mut()?;
        (session.peer == peer).then_some(session)
    }

    /// Whoever has this slot now.
    pub(crate) fn in_slot(&mut self, slot: u32) -> Option<&mut Session> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    pub(crate) fn remove(&mut self, peer: PeerId) -> Option<Box<Session>> {
        self.get(peer)?;
        self.count -= 1;
        self.slots.get_mut(slot(peer))?.take()
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

fn slot(peer: PeerId) -> usize {
    peer.slot() as usize
}
