//! `bench flood`: as many messages as the server takes. A message counts once a ping behind it was answered, so what only
//! waits in buffers does not.

use super::driver::{Driver, Load, Out};
use super::measure::Measured;
use super::payload::Payloads;
use super::plan::Plan;
use crate::error::Failure;
use std::collections::VecDeque;
use tidegate_proto::Message;

/// The load.
pub(crate) struct Flood {
    binary: bool,
    payload: String,
    peers: Vec<Peer>,
    count: u64,
    idle: bool,
    stopped: bool,
    pub(crate) errors: u64,
}

#[derive(Default)]
struct Peer {
    sent: u64,
    confirmed: u64,
    /// Numbers of pings that are not answered, and how many messages went before each.
    pings: VecDeque<(u64, u64)>,
    pinged: u64,
    gone: bool,
}

impl Flood {
    /// As planned.
    pub(crate) fn new(plan: &Plan) -> Flood {
        let mut peers = Vec::new();
        peers.resize_with(plan.connections, Peer::default);
        Flood {
            binary: plan.binary,
            payload: Payloads::new(plan.size).make(0).to_owned(),
            peers,
            count: 0,
            idle: true,
            stopped: false,
            errors: 0,
        }
    }

    /// Messages that no answered ping confirms.
    pub(crate) fn unconfirmed(&self) -> u64 {
        self.peers
            .iter()
            .map(|peer| peer.sent - peer.confirmed)
            .sum()
    }
}

impl Peer {
    fn ping(&mut self, out: &mut Out<'_>) {
        self.pinged = out.now;
        let number = out.ping();
        self.pings.extend(number.map(|number| (number, self.sent)));
    }

    /// Messages that answered pings confirm anew.
    fn confirm(&mut self, answered: u64) -> u64 {
        let before = self.confirmed;
        while self
            .pings
            .front()
            .is_some_and(|(number, _)| *number <= answered)
        {
            self.confirmed = self.pings.pop_front().map_or(before, |(_, sent)| sent);
        }
        self.confirmed - before
    }
}

impl Load for Flood {
    fn message(
        &mut self,
        _id: usize,
        _message: &Message<'_>,
        _out: &mut Out<'_>,
    ) -> Result<(), Failure> {
        Ok(()) // an echo, if it is one, is not what is measured
    }

    fn writable(&mut self, id: usize, out: &mut Out<'_>) {
        self.count += self.peers[id].confirm(out.pings_answered());
    }

    fn lost(&mut self, id: usize) {
        self.errors += 1;
        self.peers[id].gone = true;
        self.peers[id].sent = self.peers[id].confirmed;
    }
}

impl Measured for Flood {
    fn between(&mut self, driver: &mut Driver<'_>) -> Result<(), Failure> {
        self.idle = true;
        let (binary, stopped) = (self.binary, self.stopped);
        for id in 0..self.peers.len() {
            if self.peers[id].gone || driver.queued(id) > LOW {
                continue;
            }
            let mut peer = std::mem::take(&mut self.peers[id]);
            let payload = std::mem::take(&mut self.payload);
            let result = driver.with(id, self, |out| {
                let mut octets = 0;
                while !stopped && octets < HIGH {
                    out.send(binary, &payload);
                    octets += payload.len() + 8;
                    peer.sent += 1;
                }
                let due = out.now > peer.pinged + EVERY && peer.pings.len() < MOST_PINGS;
                let last = stopped && peer.pings.back().map_or(peer.confirmed, |p| p.1) < peer.sent;
                if due && !stopped || last {
                    peer.ping(out);
                }
            });
            peer.gone = self.peers[id].gone;
            self.payload = payload;
            self.peers[id] = peer;
            result?;
            self.idle &= stopped || driver.queued(id) > LOW;
        }
        Ok(())
    }

    fn due(&self) -> Option<u64> {
        // Sockets that took all take more.
        (!self.idle).then_some(0)
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn awaiting(&self) -> bool {
        self.unconfirmed() > 0
    }

    fn begin_window(&mut self) {}

    fn stop(&mut self) {
        self.stopped = true;
    }
}

/// Below so many waiting octets a connection gets more.
const LOW: usize = 32 << 10;
/// So many at once.
const HIGH: usize = 128 << 10;
/// Nanoseconds between two pings of a connection: servers take a few hundred a second for an attack.
const EVERY: u64 = 20_000_000;
/// Most pings of a connection that wait for their answer.
const MOST_PINGS: usize = 64;
