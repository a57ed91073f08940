//! Keepalive: pings after silence, and the verdict that a peer is gone. Any byte is a sign of life.

use crate::config::Timeouts;
use crate::time::Time;

/// When the peer was last heard, and whether a ping waits for an answer.
#[derive(Debug)]
pub(super) struct Keepalive {
    last_heard: Time,
    pinged: Option<Time>,
}

/// What the silence of a peer asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    Nothing,
    Ping,
    Unresponsive,
}

impl Keepalive {
    pub(super) fn new(now: Time) -> Keepalive {
        Keepalive {
            last_heard: now,
            pinged: None,
        }
    }

    /// Bytes came from the peer.
    pub(super) fn heard(&mut self, now: Time) {
        self.last_heard = now;
        self.pinged = None;
    }

    /// What is due at `now`; a ping is taken as sent.
    pub(super) fn due(&mut self, now: Time, timeouts: &Timeouts) -> Due {
        match self.deadline(timeouts) {
            Some(deadline) if deadline <= now => {}
            _ => return Due::Nothing,
        }
        if self.pinged.is_some() {
            return Due::Unresponsive;
        }
        self.pinged = Some(now);
        Due::Ping
    }

    /// When [`Keepalive::due`] should be asked next.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Option<Time> {
        let interval = timeouts.ping_interval?;
        Some(match self.pinged {
            Some(pinged) => pinged + timeouts.pong,
            None => self.last_heard + interval,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn silence_brings_a_ping_and_then_the_verdict() {
        let timeouts = Timeouts::default();
        let mut keepalive = Keepalive::new(at(0));
        assert_eq!(keepalive.due(at(24), &timeouts), Due::Nothing);
        assert_eq!(keepalive.due(at(25), &timeouts), Due::Ping);
        assert_eq!(keepalive.deadline(&timeouts), Some(at(35)));
        assert_eq!(keepalive.due(at(34), &timeouts), Due::Nothing);
        assert_eq!(keepalive.due(at(35), &timeouts), Due::Unresponsive);
    }

    #[test]
    fn any_byte_starts_the_silence_anew() {
        let timeouts = Timeouts::default();
        let mut keepalive = Keepalive::new(at(0));
        assert_eq!(keepalive.due(at(25), &timeouts), Due::Ping);
        keepalive.heard(at(30));
        assert_eq!(keepalive.deadline(&timeouts), Some(at(55)));
        let off = Timeouts {
            ping_interval: None,
            ..timeouts
        };
        assert_eq!(keepalive.deadline(&off), None);
        assert_eq!(keepalive.due(at(1_000), &off), Due::Nothing);
        assert_eq!(keepalive.last_heard.since(at(0)), Duration::from_secs(30));
    }
}
