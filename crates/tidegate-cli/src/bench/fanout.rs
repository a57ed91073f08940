//! `bench fanout`: the first connection publishes, all receive. Each delivery is looked at.

use super::deliveries::Deliveries;
use super::dialect::{Dialect, Heard};
use super::driver::{Driver, Load, Out, protocol, timeout};
use super::measure::{Latencies, Measured};
use super::plan::Plan;
use super::schedule::Schedule;
use crate::error::Failure;
use tidegate_proto::Message;

/// The load.
pub(crate) struct Fanout {
    dialect: Dialect,
    pub(crate) deliveries: Deliveries,
    subscribers: usize,
    depth: usize,
    schedule: Option<Schedule>,
    ready: usize,
    started: bool,
    stopped: bool,
    pub(crate) late: u64,
    /// Beside what the deliveries say.
    errors: u64,
    pub(crate) latencies: Latencies,
}

impl Fanout {
    /// As planned.
    pub(crate) fn new(plan: &Plan) -> Fanout {
        Fanout {
            dialect: Dialect::new(plan),
            deliveries: Deliveries::new(plan.connections, plan.size),
            subscribers: plan.connections,
            depth: plan.depth,
            schedule: plan.rate.map(Schedule::new),
            ready: 0,
            started: false,
            stopped: false,
            late: 0,
            errors: 0,
            latencies: Latencies::new(),
        }
    }

    /// Everything wrong.
    pub(crate) fn errors(&self) -> u64 {
        self.errors + self.deliveries.wrong
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
        while self.ready < self.subscribers {
            driver.turn(self, deadline, true)?;
            if driver.clock.now() > deadline {
                return Err(timeout(format!(
                    "{} of {} subscriptions stood in time",
                    self.ready, self.subscribers
                )));
            }
        }
        Ok(())
    }

    /// Publishes once for each of `stamps`, in one write.
    fn publish(&mut self, stamps: &[u64], driver: &mut Driver<'_>) -> Result<(), Failure> {
        let mut frames = Vec::with_capacity(stamps.len());
        for stamp in stamps {
            frames.push(self.dialect.publish(self.deliveries.publish(*stamp)));
        }
        driver.with(PUBLISHER, self, |out| {
            for frame in &frames {
                out.say(frame);
            }
        })
    }
}

impl Load for Fanout {
    fn opened(&mut self, _id: usize, out: &mut Out<'_>) {
        self.ready += usize::from(self.dialect.needs_no_word());
        if let Some(hello) = self.dialect.hello() {
            out.say(&hello);
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
        }
        let mut refused = None;
        self.dialect
            .hear(id, message.as_bytes(), |said| match said {
                Heard::Payload(payload) => {
                    if let Some(stamp) = self.deliveries.deliver(id, payload) {
                        self.latencies.record(out.now.saturating_sub(stamp));
                    }
                }
                Heard::Ready => self.ready += 1,
                Heard::Answer(answer) => out.say(&answer),
                Heard::Refused(why) => refused = Some(why),
            });
        match refused {
            None => Ok(()),
            Some(why) => Err(protocol(format!(
                "the server refused: {}",
                why.escape_debug()
            ))),
        }
    }

    fn lost(&mut self, id: usize) {
        self.errors += 1;
        self.deliveries.lose(id);
    }
}

impl Measured for Fanout {
    fn between(&mut self, driver: &mut Driver<'_>) -> Result<(), Failure> {
        if !self.deliveries.is_alive(PUBLISHER) {
            let why = driver.why_lost();
            return Err(protocol(format!(
                "the publisher's connection is lost: {why}"
            )));
        }
        if self.stopped {
            return Ok(());
        }
        let now = driver.clock.now();
        let Some(schedule) = &mut self.schedule else {
            let room = self.depth.saturating_sub(self.deliveries.under_way());
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
            if self.deliveries.under_way() + stamps.len() >= MOST_UNDER_WAY {
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
        self.deliveries.delivered
    }

    fn awaiting(&self) -> bool {
        self.deliveries.under_way() > 0
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
