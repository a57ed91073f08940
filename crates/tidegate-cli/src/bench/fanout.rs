//! `bench fanout`: the first connection publishes, all receive. Each delivery is looked at, and what is missing is known
//! by subscriber, because a server keeps a channel's order.

use super::dialect::{Dialect, Heard};
use super::driver::{Driver, Load, Out, protocol, timeout};
use super::measure::{Latencies, Measured};
use super::payload::{Payloads, read_stamp};
use super::plan::Plan;
use super::schedule::Schedule;
use crate::error::Failure;
use std::collections::VecDeque;
use tidegate_proto::Message;

/// The load.
pub(crate) struct Fanout {
    dialect: Dialect,
    payloads: Payloads,
    depth: usize,
    schedule: Option<Schedule>,
    /// Publications that some subscriber has not received, in order.
    under_way: VecDeque<Publication>,
    /// The number of the first of them; publications count from 0.
    first: u64,
    /// For each subscriber the number of the publication it must receive next; `None`: it is gone.
    next: Vec<Option<u64>>,
    alive: usize,
    ready: usize,
    last_stamp: u64,
    started: bool,
    stopped: bool,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    /// Deliveries that did not come: a later one of the channel came, or the subscriber was lost.
    missed: u64,
    pub(crate) late: u64,
    pub(crate) errors: u64,
    pub(crate) latencies: Latencies,
}

struct Publication {
    stamp: u64,
    /// Subscribers that have not received it.
    missing: usize,
}

impl Fanout {
    /// As planned.
    pub(crate) fn new(plan: &Plan) -> Fanout {
        Fanout {
            dialect: Dialect::new(plan),
            payloads: Payloads::new(plan.size),
            depth: plan.depth,
            schedule: plan.rate.map(Schedule::new),
            under_way: VecDeque::new(),
            first: 0,
            next: vec![Some(0); plan.connections],
            alive: plan.connections,
            ready: 0,
            last_stamp: 0,
            started: false,
            stopped: false,
            published: 0,
            delivered: 0,
            missed: 0,
            late: 0,
            errors: 0,
            latencies: Latencies::new(),
        }
    }

    /// Deliveries that never came.
    pub(crate) fn lost(&self) -> u64 {
        let waiting: usize = self.under_way.iter().map(|p| p.missing).sum();
        self.missed + waiting as u64
    }

    /// Waits until all have subscribed.
    ///
    /// # Errors
    /// Exit code 124 when they are not by then.
    pub(crate) fn subscribe(
        &mut self,
        driver: &mut Driver<'_>,
        deadline: u64,
    ) -> Result<(), Failure> {
        while self.ready < self.next.len() {
            driver.turn(self, deadline, true)?;
            if driver.clock.now() > deadline {
                return Err(timeout(format!(
                    "{} of {} subscriptions stood in time",
                    self.ready,
                    self.next.len()
                )));
            }
        }
        Ok(())
    }

    /// Publishes once for each of `stamps`, in one write.
    fn publish(&mut self, stamps: &[u64], driver: &mut Driver<'_>) -> Result<(), Failure> {
        let mut messages = Vec::with_capacity(stamps.len());
        for stamp in stamps {
            // Stamps name publications, so no two are the same.
            let stamp = (*stamp).max(self.last_stamp + 1);
            self.last_stamp = stamp;
            self.under_way.push_back(Publication {
                stamp,
                missing: self.alive,
            });
            self.published += 1;
            let payload = self.payloads.make(stamp);
            messages.push(self.dialect.publish(payload));
        }
        let binary = self.dialect.binary();
        driver.with(PUBLISHER, self, |out| {
            for message in &messages {
                out.send(binary, message);
            }
        })
    }

    fn delivery(&mut self, id: usize, payload: &[u8], now: u64) {
        let Some(next) = self.next[id] else { return };
        let Some((number, stamp)) = self.which(next, payload) else {
            self.errors += 1;
            return;
        };
        self.missed += number - next;
        for number in next..=number {
            self.under_way[(number - self.first) as usize].missing -= 1;
        }
        self.next[id] = Some(number + 1);
        self.delivered += 1;
        self.latencies.record(now.saturating_sub(stamp));
        self.forget();
    }

    /// Which publication it is: the subscriber's `next`, or a later one. Anything else is wrong.
    fn which(&self, next: u64, payload: &[u8]) -> Option<(u64, u64)> {
        let stamp = read_stamp(payload)?;
        let expected = (next - self.first) as usize;
        let at = match self.under_way.get(expected) {
            Some(publication) if publication.stamp == stamp => expected,
            _ => self
                .under_way
                .binary_search_by_key(&stamp, |p| p.stamp)
                .ok()?,
        };
        (at >= expected && self.payloads.is(payload, stamp))
            .then_some((self.first + at as u64, stamp))
    }

    fn forget(&mut self) {
        while self.under_way.front().is_some_and(|p| p.missing == 0) {
            self.under_way.pop_front();
            self.first += 1;
        }
    }
}

impl Load for Fanout {
    fn opened(&mut self, _id: usize, out: &mut Out<'_>) {
        match self.dialect.hello() {
            None => self.ready += 1,
            Some(hello) => {
                out.send(self.dialect.binary(), &hello);
            }
        }
    }

    fn message(
        &mut self,
        id: usize,
        message: &Message<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), Failure> {
        if let Dialect::Raw { binary } = self.dialect {
            self.errors += u64::from(binary == message.is_text());
            self.delivery(id, message.as_bytes(), out.now);
            return Ok(());
        }
        let mut heard = Vec::with_capacity(1);
        self.dialect
            .hear(message.as_bytes(), |said| heard.push(said));
        for said in heard {
            match said {
                Heard::Payload(payload) => self.delivery(id, payload, out.now),
                Heard::Ready => self.ready += 1,
                Heard::Answer(answer) => {
                    out.send(self.dialect.binary(), answer);
                }
                Heard::Refused(why) => {
                    return Err(protocol(format!("the server refused: {why}")));
                }
            }
        }
        Ok(())
    }

    fn lost(&mut self, id: usize) {
        self.errors += 1;
        let Some(next) = self.next[id].take() else {
            return;
        };
        self.alive -= 1;
        let from = (next - self.first) as usize;
        for publication in self.under_way.range_mut(from..) {
            publication.missing -= 1;
            self.missed += 1;
        }
        self.forget();
    }
}

impl Measured for Fanout {
    fn between(&mut self, driver: &mut Driver<'_>) -> Result<(), Failure> {
        if self.next[PUBLISHER].is_none() {
            return Err(protocol("the publisher's connection is lost".into()));
        }
        if self.stopped {
            return Ok(());
        }
        let now = driver.clock.now();
        let Some(schedule) = &mut self.schedule else {
            let room = self.depth.saturating_sub(self.under_way.len());
            return match room {
                0 => Ok(()),
                room => self.publish(&vec![now; room], driver),
            };
        };
        if !self.started {
            self.started = true;
            schedule.begin(now);
        }
        let mut stamps = Vec::new();
        while let Some(due) = schedule.due(now) {
            if self.under_way.len() + stamps.len() >= MOST_UNDER_WAY {
                self.late += 1;
                break;
            }
            stamps.push(due);
            schedule.advance();
        }
        match stamps.is_empty() {
            true => Ok(()),
            false => self.publish(&stamps, driver),
        }
    }

    fn due(&self) -> Option<u64> {
        self.schedule.as_ref().map(Schedule::next)
    }

    fn count(&self) -> u64 {
        self.delivered
    }

    fn awaiting(&self) -> bool {
        !self.under_way.is_empty()
    }

    fn begin_window(&mut self) {
        self.latencies.reset();
        self.late = 0;
    }

    fn stop(&mut self) {
        self.stopped = true;
    }
}

/// The connection that publishes.
const PUBLISHER: usize = 0;
/// Most publications under way when they have their times.
const MOST_UNDER_WAY: usize = 65_536;
