//! `bench echo`: each connection keeps so many messages under way to a server that sends them back, and looks at each
//! that comes back.

use super::driver::{Driver, Load, Out};
use super::measure::{Latencies, Measured};
use super::payload::Payloads;
use super::plan::Plan;
use super::schedule::Schedule;
use crate::error::Failure;
use std::collections::VecDeque;
use tidegate_proto::Message;

/// The load.
pub(crate) struct Echo {
    payloads: Payloads,
    binary: bool,
    depth: usize,
    /// What is under way on each connection, by stamp: an echo keeps the order.
    under_way: Vec<VecDeque<u64>>,
    total: usize,
    schedule: Option<Schedule>,
    /// Whose turn it is when messages have their times.
    next: usize,
    started: bool,
    stopped: bool,
    count: u64,
    pub(crate) late: u64,
    pub(crate) errors: u64,
    pub(crate) latencies: Latencies,
}

impl Echo {
    /// As planned.
    pub(crate) fn new(plan: &Plan) -> Echo {
        Echo {
            payloads: Payloads::new(plan.size),
            binary: plan.binary,
            depth: plan.depth,
            under_way: vec![VecDeque::new(); plan.connections],
            total: 0,
            schedule: plan.rate.map(Schedule::new),
            next: 0,
            started: false,
            stopped: false,
            count: 0,
            late: 0,
            errors: 0,
            latencies: Latencies::new(),
        }
    }

    /// Messages that were sent and did not come back.
    pub(crate) fn unanswered(&self) -> u64 {
        self.total as u64
    }

    fn send(&mut self, id: usize, stamp: u64, out: &mut Out<'_>) {
        self.under_way[id].push_back(stamp);
        self.total += 1;
        out.send(self.binary, self.payloads.make(stamp));
    }

    /// Sends what is due at its time, in turn on the connections that have room.
    fn send_due(&mut self, driver: &mut Driver<'_>) -> Result<(), Failure> {
        let now = driver.clock.now();
        while let Some(due) = self.schedule.as_ref().and_then(|s| s.due(now)) {
            let Some(id) = self.room(driver) else {
                self.late += 1;
                return Ok(());
            };
            self.schedule
                .as_mut()
                .expect("it said what is due")
                .advance();
            self.under_way[id].push_back(due);
            self.total += 1;
            let (binary, payload) = (self.binary, self.payloads.make(due).to_owned());
            driver.with(id, self, |out| {
                out.send(binary, &payload);
            })?;
        }
        Ok(())
    }

    fn room(&mut self, driver: &Driver<'_>) -> Option<usize> {
        let n = self.under_way.len();
        let has_room = |id: &usize| self.under_way[*id].len() < self.depth && driver.has(*id);
        let id = (0..n).map(|step| (self.next + step) % n).find(has_room)?;
        self.next = (id + 1) % n;
        Some(id)
    }
}

impl Load for Echo {
    fn message(
        &mut self,
        id: usize,
        message: &Message<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), Failure> {
        let Some(stamp) = self.under_way[id].pop_front() else {
            // It was never sent. A server may greet before the load begins.
            self.errors += u64::from(self.started);
            return Ok(());
        };
        self.total -= 1;
        self.count += 1;
        let right = message.is_text() != self.binary && self.payloads.is(message.as_bytes(), stamp);
        self.errors += u64::from(!right);
        self.latencies.record(out.now.saturating_sub(stamp));
        if !self.stopped && self.schedule.is_none() {
            self.send(id, out.now, out);
        }
        Ok(())
    }

    fn lost(&mut self, id: usize) {
        self.errors += 1;
        self.total -= self.under_way[id].len();
        self.under_way[id].clear();
    }
}

impl Measured for Echo {
    fn between(&mut self, driver: &mut Driver<'_>) -> Result<(), Failure> {
        if self.stopped {
            return Ok(());
        }
        if self.schedule.is_some() {
            if !self.started {
                self.started = true;
                self.schedule
                    .iter_mut()
                    .for_each(|s| s.begin(driver.clock.now()));
            }
            return self.send_due(driver);
        }
        if self.started {
            return Ok(());
        }
        self.started = true;
        for id in 0..self.under_way.len() {
            let stamp = driver.clock.now();
            let payload = self.payloads.make(stamp).to_owned();
            let (binary, depth) = (self.binary, self.depth);
            self.under_way[id].extend(std::iter::repeat_n(stamp, depth));
            self.total += depth;
            driver.with(id, self, |out| {
                for _ in 0..depth {
                    out.send(binary, &payload);
                }
            })?;
        }
        Ok(())
    }

    fn due(&self) -> Option<u64> {
        self.schedule.as_ref().map(Schedule::next)
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn awaiting(&self) -> bool {
        self.total > 0
    }

    fn begin_window(&mut self) {
        self.latencies.reset();
        self.late = 0;
    }

    fn stop(&mut self) {
        self.stopped = true;
    }
}
