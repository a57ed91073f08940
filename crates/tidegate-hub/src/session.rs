//! One client of this worker: who it is, what it is subscribed to, and when it must be looked at again. It
//! sends nothing.

use crate::codec::Form;
use crate::config::Rate;
use crate::mail::Departure;
use crate::publication::ClientInfo;
use crate::reply::Subscribed;
use crate::token::Stamp;
use crate::topic::TopicName;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::{Encoded, PeerId, Time};

/// A client, from the accepted handshake to its end.
pub(crate) struct Session {
    pub(crate) peer: PeerId,
    pub(crate) form: Form,
    /// It has been closed; what is left is to forget it.
    pub(crate) closing: bool,
    /// Who it is, once it has connected.
    pub(crate) info: Option<Arc<ClientInfo>>,
    /// Its subscriptions, also those that wait for their home's answer. There are few: they are searched.
    pub(crate) subs: Vec<Subscription>,
    /// When its timer goes off; one that goes off earlier is of somebody before it, or superseded.
    pub(crate) armed: Time,
    /// When `awaits` is over.
    pub(crate) due: Time,
    pub(crate) awaits: Awaits,
    /// When it connected.
    pub(crate) since: Time,
    /// Commands that wait for another worker.
    pub(crate) in_flight: u32,
    pub(crate) attempts: u32,
    pub(crate) commands: Meter,
    /// What few clients have.
    pub(crate) extra: Option<Box<Extra>>,
}

/// What few clients have, kept apart so that the others do not pay for it.
#[derive(Default)]
pub(crate) struct Extra {
    /// When its token stops to be good.
    pub(crate) expires: Option<Time>,
    pub(crate) stamp: Stamp,
    pub(crate) connecting: Option<Connecting>,
    pub(crate) slow: Option<Lag>,
    /// How often it has published, by namespace.
    pub(crate) publishes: Vec<(Box<str>, Meter)>,
}

/// A client whose connect command is answered when the homes of its channels have answered. What comes
/// for it and from it meanwhile waits.
#[derive(Default)]
pub(crate) struct Connecting {
    pub(crate) id: u32,
    pub(crate) waiting: usize,
    pub(crate) subs: Vec<(TopicName, Subscribed)>,
    pub(crate) pushes: Vec<Encoded>,
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) bytes: usize,
}

impl Connecting {
    /// Keeps commands for later.
    pub(crate) fn hold(&mut self, commands: &[u8]) {
        if !commands.trim_ascii().is_empty() {
            self.bytes += commands.len() + COST_OF_WAITING;
            self.messages.push(commands.to_vec());
        }
    }
}

/// What a message that waits costs beside its bytes.
const COST_OF_WAITING: usize = 64;

/// A client that does not take what it is sent as fast as it comes.
pub(crate) struct Lag {
    pub(crate) since: Time,
    /// When it was last seen to take something.
    pub(crate) moved: Time,
    /// When it was last looked at.
    pub(crate) looked: Time,
    /// Bytes that waited when they were last counted.
    queued: usize,
}

impl Lag {
    pub(crate) fn new(queued: usize, now: Time) -> Lag {
        Lag {
            since: now,
            moved: now,
            looked: now,
            queued,
        }
    }

    /// So much waits, of which so much is new: if that is less than it would be, the client took some. A
    /// frame that was compressed counts for more than it is, so that a client is rather kept.
    pub(crate) fn see(&mut self, queued: usize, added: usize, now: Time) {
        if queued < self.queued + added {
            self.moved = now;
        }
        self.queued = queued;
    }
}

/// What the hub waits for.
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
    /// Where it stands among the worker's members of the channel, once the home has answered.
    pub(crate) member: Option<Member>,
    pub(crate) wish: Wish,
    /// What others see of it in this channel, if that is more than elsewhere.
    pub(crate) info: Option<Arc<ClientInfo>>,
    /// When it ends unless it is renewed.
    pub(crate) expires: Option<Time>,
    /// For the client: data of a subscribe push, when the server has begun it.
    pub(crate) server_data: Option<crate::publication::RawJson>,
}

impl Subscription {
    /// What its home is told when it ends; `own` is who the client is elsewhere.
    pub(crate) fn departs(self, own: &Arc<ClientInfo>) -> Departure {
        Departure {
            topic: self.topic,
            info: self.info.unwrap_or_else(|| Arc::clone(own)),
            listens: self.wish.join_leave,
        }
    }
}

/// Where a subscription stands among the members of its channel on this worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Member {
    pub(crate) paced: bool,
    pub(crate) index: u32,
}

/// How a subscriber wants to be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Wish {
    /// Ticks a second; 0 for every publication.
    pub(crate) hz: u16,
    /// It asked for `latest`, which is `conflate` at the highest rate.
    pub(crate) latest: bool,
    pub(crate) join_leave: bool,
    /// The server has subscribed it.
    pub(crate) server: bool,
}

impl Wish {
    pub(crate) fn mode(self) -> &'static str {
        match (self.hz, self.latest) {
            (0, _) => "full",
            (_, true) => "latest",
            (_, false) => "conflate",
        }
    }
}

impl Session {
    pub(crate) fn new(peer: PeerId, form: Form, now: Time, due: Time) -> Session {
        Session {
            peer,
            form,
            closing: false,
            info: None,
            subs: Vec::new(),
            armed: Time::from_micros(u64::MAX),
            due,
            awaits: Awaits::Connect,
            since: now,
            in_flight: 0,
            attempts: 0,
            commands: Meter::default(),
            extra: None,
        }
    }

    pub(crate) fn sub(&self, topic: &TopicName) -> Option<&Subscription> {
        self.subs.iter().find(|sub| sub.topic == *topic)
    }

    pub(crate) fn sub_mut(&mut self, topic: &TopicName) -> Option<&mut Subscription> {
        self.subs.iter_mut().find(|sub| sub.topic == *topic)
    }

    /// Whether it is a member of the channel.
    pub(crate) fn is_in(&self, topic: &TopicName) -> bool {
        self.sub(topic).is_some_and(|sub| sub.member.is_some())
    }

    /// Adds a subscription that waits for its home's answer, and numbers it.
    pub(crate) fn begin(&mut self, topic: TopicName, wish: Wish) -> &mut Subscription {
        self.attempts = self.attempts.wrapping_add(1);
        if self.subs.is_empty() {
            self.subs.reserve_exact(1); // most have one; a vector by itself would make room for four
        }
        self.subs.push(Subscription {
            topic,
            attempt: self.attempts,
            member: None,
            wish,
            info: None,
            expires: None,
            server_data: None,
        });
        let last = self.subs.len() - 1;
        &mut self.subs[last]
    }

    pub(crate) fn remove(&mut self, topic: &TopicName) -> Option<Subscription> {
        let at = self.subs.iter().position(|sub| sub.topic == *topic)?;
        let sub = self.subs.swap_remove(at);
        if self.subs.is_empty() {
            self.subs = Vec::new(); // give the memory back
        }
        Some(sub)
    }

    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(crate) fn connecting(&mut self) -> Option<&mut Connecting> {
        self.extra.as_mut()?.connecting.as_mut()
    }

    pub(crate) fn slow(&mut self) -> Option<&mut Lag> {
        self.extra.as_mut()?.slow.as_mut()
    }

    /// Whether it is slow, but has taken something within this time.
    pub(crate) fn moves(&self, now: Time, within: Duration) -> bool {
        let lag = self.extra.as_ref().and_then(|extra| extra.slow.as_ref());
        lag.is_some_and(|lag| now.since(lag.moved) < within)
    }

    pub(crate) fn expires(&self) -> Option<Time> {
        self.extra.as_ref()?.expires
    }

    /// When it must be looked at again: a ping or pong is due, a token has been dead for `grace`, or a
    /// slow client is to be looked at after `patience`.
    pub(crate) fn deadline(&self, grace: Duration, patience: Duration) -> Time {
        let subs = self.subs.iter().filter_map(|sub| sub.expires);
        let tokens = subs.chain(self.expires()).map(|at| at + grace);
        let slow = self.extra.as_ref().and_then(|extra| extra.slow.as_ref());
        let slow = slow.map(|lag| lag.looked + patience);
        tokens.chain(slow).fold(self.due, Time::min)
    }
}

/// A rate that is counted with one moment: when the bucket will be full again.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Meter(Time);

impl Meter {
    /// Takes one, unless that is beyond the rate.
    pub(crate) fn take(&mut self, rate: Rate, now: Time) -> bool {
        let each = Duration::from_secs(1) / rate.per_second.max(1);
        let full = self.0.max(now) + each;
        let fits = full.since(now) <= each * rate.burst.max(1);
        if fits {
            self.0 = full;
        }
        fits
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.slots.iter().flatten().map(|session| &**session)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

fn slot(peer: PeerId) -> usize {
    peer.slot() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kept for every client, and for every subscription of one.
    #[test]
    fn what_an_idle_client_costs_is_known() {
        assert!(size_of::<Session>() <= 144, "{}", size_of::<Session>());
        assert!(
            size_of::<Subscription>() <= 96,
            "{}",
            size_of::<Subscription>()
        );
    }

    #[test]
    fn a_meter_lets_a_burst_through_and_then_the_rate() {
        let rate = Rate {
            per_second: 10,
            burst: 3,
        };
        let mut meter = Meter::default();
        let start = Time::from_micros(1_000_000_000);
        let taken = |meter: &mut Meter, now| (0..9).filter(|_| meter.take(rate, now)).count();
        assert_eq!(taken(&mut meter, start), 3);
        assert_eq!(taken(&mut meter, start + Duration::from_millis(99)), 0);
        assert_eq!(taken(&mut meter, start + Duration::from_millis(200)), 2);
        assert_eq!(taken(&mut meter, start + Duration::from_secs(60)), 3);
    }
}
