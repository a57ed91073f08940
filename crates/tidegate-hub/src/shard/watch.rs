//! When a shard must look at a client again, and what it finds then: a ping that is due, a pong that did
//! not come, a token that is dead, an outbox that does not move.

use super::{Out, Shard, TIMER_SESSION};
use crate::reply::{Disconnect, Unsubscribed};
use crate::session::{Awaits, Lag};
use std::time::Duration;
use tidegate_proto::{PeerId, Time, TimerId};

/// Pings leave on a beat, this many in an interval: those that leave together cost a client's machine and this one a
/// wake-up together, and that is most of a ping's cost. 98 ms apart at the default of 25 s.
const BEATS: u64 = 256;

/// The last beat up to `at`, of pings in this interval.
pub(super) fn beat(at: Time, interval: Duration) -> Time {
    let interval = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
    let apart = (interval / BEATS).max(1);
    Time::from_micros(at.as_micros() / apart * apart)
}

impl Shard {
    /// Sets a session's timer, if it must go off earlier than it will anyway.
    pub(super) fn watch(&mut self, peer: PeerId, out: Out<'_, '_>) {
        let (grace, patience) = (self.config.expired_grace, self.patience());
        if let Some(session) = self.sessions.get_mut(peer) {
            let due = session.deadline(grace, patience);
            if due < session.armed {
                session.armed = due;
                out.timer(TimerId(TIMER_SESSION | u64::from(peer.slot())), due);
            }
        }
    }

    /// A slow client is looked at this often.
    fn patience(&self) -> Duration {
        self.config.no_progress / 4
    }

    /// A session's timer went off.
    pub(super) fn check(&mut self, slot: u32, out: Out<'_, '_>) {
        let now = out.now();
        let (grace, patience) = (self.config.expired_grace, self.patience());
        let Some(session) = self.sessions.in_slot(slot).filter(|s| s.armed <= now) else {
            return; // stale: the session is another by now, or has been looked at
        };
        session.armed = Time::from_micros(u64::MAX);
        let peer = session.peer;
        // Every other time the timer was for a pong that has come long since.
        if session.deadline(grace, patience) <= now {
            self.check_tokens(peer, now, out);
            self.check_slow(peer, now, out);
            self.check_life(peer, now, out);
        }
        if self
            .sessions
            .get(peer)
            .is_some_and(|session| !session.closing)
        {
            self.watch(peer, out);
        }
    }

    fn check_life(&mut self, peer: PeerId, now: Time, out: Out<'_, '_>) {
        let (pong, patience) = (self.config.pong, self.config.no_progress);
        let Some(session) = self.sessions.get_mut(peer).filter(|s| s.due <= now) else {
            return;
        };
        match session.awaits {
            Awaits::Connect => self.disconnect(peer, &Disconnect::STALE, out),
            // Our ping may stand behind much that the client is still taking.
            Awaits::Pong { .. } if session.moves(now, patience) => session.due = now + pong,
            Awaits::Pong { .. } => self.disconnect(peer, &Disconnect::NO_PONG, out),
            Awaits::NextPing => {
                session.awaits = Awaits::Pong { sent: now };
                session.due = now + pong;
                let ping = self.pings[session.form as usize].clone();
                self.push(peer, &ping, out);
            }
        }
    }

    fn check_tokens(&mut self, peer: PeerId, now: Time, out: Out<'_, '_>) {
        let grace = self.config.expired_grace;
        let dead = |expires: Option<Time>| expires.is_some_and(|at| at + grace <= now);
        let Some(session) = self.sessions.get(peer) else {
            return;
        };
        if dead(session.expires()) {
            return self.disconnect(peer, &Disconnect::EXPIRED, out);
        }
        let over = session.subs.iter().filter(|sub| dead(sub.expires));
        let over: Vec<_> = over.map(|sub| sub.topic.clone()).collect();
        for topic in over {
            self.end(peer, &topic, Unsubscribed::EXPIRED, out);
        }
    }

    /// A frame of this length found a client's outbox above its high mark, and was queued.
    pub(super) fn lags(&mut self, peer: PeerId, added: usize, out: Out<'_, '_>) {
        let (now, queued) = (out.now(), out.queued(peer));
        let Some(session) = self.sessions.get_mut(peer) else {
            return;
        };
        let extra = session.extra();
        if let Some(lag) = &mut extra.slow {
            lag.see(queued, added, now);
        } else {
            extra.slow = Some(Lag::new(queued, now));
            self.watch(peer, out);
        }
    }

    fn check_slow(&mut self, peer: PeerId, now: Time, out: Out<'_, '_>) {
        let Some(lag) = self
            .sessions
            .get_mut(peer)
            .and_then(|session| session.slow())
        else {
            return;
        };
        lag.see(out.queued(peer), 0, now);
        lag.looked = now;
        if now.since(lag.moved) >= self.config.no_progress {
            self.disconnect(peer, &Disconnect::SLOW, out);
        }
    }
}
