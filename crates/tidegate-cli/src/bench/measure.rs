//! A load run and measured: warm-up, window, and the wait for what is still under way. It decides nothing of the load.

use super::driver::{Driver, Load, SECOND, timeout};
use super::plan::Plan;
use super::progress::Progress;
use super::report::Report;
use super::usage::{self, Cpu};
use crate::error::Failure;
use hdrhistogram::Histogram;

/// A load that is measured over a window.
pub(crate) trait Measured: Load + Sized {
    /// Sends what is due; called before each wait for events.
    ///
    /// # Errors
    /// As [`Driver::turn`].
    fn between(&mut self, driver: &mut Driver<'_>) -> Result<(), Failure>;

    /// When [`Measured::between`] has something to send, if it knows.
    fn due(&self) -> Option<u64> {
        None
    }

    /// Units counted since the beginning.
    fn count(&self) -> u64;

    /// The server owes us something.
    fn awaiting(&self) -> bool;

    /// From now on latencies count.
    fn begin_window(&mut self);

    /// Nothing new is begun; what is under way is awaited.
    fn stop(&mut self);
}

/// Runs `load` and writes what the window showed into `report`, also when it ends early.
///
/// # Errors
/// Why it ended early.
pub(crate) fn measure(
    driver: &mut Driver<'_>,
    load: &mut impl Measured,
    plan: &Plan,
    progress: &mut Progress,
    report: &mut Report,
) -> Result<(), Failure> {
    let begin = driver.clock.now() + plan.warmup;
    progress.stage("warming up", plan.warmup);
    pump(driver, load, begin, progress)?;
    load.begin_window();
    progress.stage("measuring", plan.duration);
    let window = Window::begin(driver, plan, load.count());
    let result = pump(driver, load, window.began + plan.duration, progress);
    window.end(driver, load.count(), report);
    result?;
    load.stop();
    drain(driver, load, plan)
}

fn pump(
    driver: &mut Driver<'_>,
    load: &mut impl Measured,
    until: u64,
    progress: &mut Progress,
) -> Result<(), Failure> {
    loop {
        let now = driver.clock.now();
        progress.at(now, || load.count());
        if now >= until {
            return Ok(());
        }
        load.between(driver)?;
        let due = load.due().map_or(until, |due| due.min(until));
        let awaiting = load.awaiting();
        driver.turn(load, due, awaiting)?;
    }
}

/// Waits for what is under way.
fn drain(driver: &mut Driver<'_>, load: &mut impl Measured, plan: &Plan) -> Result<(), Failure> {
    let deadline = driver.clock.now() + plan.timeout;
    while load.awaiting() {
        load.between(driver)?;
        driver.turn(load, deadline, true)?;
        if driver.clock.now() > deadline {
            return Err(timeout(format!(
                "what was under way has not come within {} s (--timeout)",
                plan.timeout as f64 / SECOND as f64
            )));
        }
    }
    Ok(())
}

/// What the world had used when the window began.
pub(crate) struct Window<'p> {
    plan: &'p Plan,
    began: u64,
    count: u64,
    bytes: (u64, u64),
    server: Option<Cpu>,
    load: Option<Cpu>,
    machine: Option<u64>,
}

impl<'p> Window<'p> {
    /// It begins now.
    pub(crate) fn begin(driver: &Driver<'_>, plan: &'p Plan, count: u64) -> Window<'p> {
        Window {
            plan,
            began: driver.clock.now(),
            count,
            bytes: (driver.tally.sent, driver.tally.received),
            server: Cpu::of(&plan.pids),
            load: Cpu::of(&[std::process::id()]),
            machine: usage::machine(),
        }
    }

    /// It ends now.
    pub(crate) fn end(self, driver: &Driver<'_>, count: u64, report: &mut Report) {
        let nanos = driver.clock.now() - self.began;
        let server = Cpu::of(&self.plan.pids);
        let load = Cpu::of(&[std::process::id()]);
        let since = |earlier: Option<Cpu>, now: Option<Cpu>| Some(now?.since(earlier?));
        let units = count - self.count;
        report.window(nanos, units);
        report.bytes_sent = Some(driver.tally.sent - self.bytes.0);
        report.bytes_received = Some(driver.tally.received - self.bytes.1);
        report.server_cpu(since(self.server, server));
        report.load_cpu_ns = since(self.load, load);
        let machine = self.machine.zip(usage::machine());
        report.other_cpu_ns = machine.map(|(before, after)| {
            let ours = report.server_cpu_ns.unwrap_or(0) + report.load_cpu_ns.unwrap_or(0);
            (after - before).saturating_sub(ours)
        });
    }
}

/// Latencies, in nanoseconds, up to a minute, to three digits.
pub(crate) struct Latencies {
    told: Histogram<u64>,
    /// Messages that went and came together have one latency, so that the last one is counted before it is told.
    last: u64,
    times: u64,
}

impl Latencies {
    /// None yet.
    pub(crate) fn new() -> Latencies {
        Latencies {
            told: Histogram::new_with_bounds(1, 60 * SECOND, 3).expect("the bounds are right"),
            last: 0,
            times: 0,
        }
    }

    /// One more; what is longer than a minute counts as a minute.
    pub(crate) fn record(&mut self, nanos: u64) {
        if nanos != self.last {
            self.tell();
            self.last = nanos;
        }
        self.times += 1;
    }

    /// Forgets all.
    pub(crate) fn reset(&mut self) {
        self.told.reset();
        self.times = 0;
    }

    /// As they are told.
    pub(crate) fn histogram(&mut self) -> &Histogram<u64> {
        self.tell();
        &self.told
    }

    fn tell(&mut self) {
        let times = std::mem::take(&mut self.times);
        if times > 0 {
            self.told.saturating_record_n(self.last.max(1), times);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_latency_is_told_as_often_as_it_came() {
        let mut latencies = Latencies::new();
        for nanos in [5, 5, 0, 7, 5, 61 * SECOND, 61 * SECOND] {
            latencies.record(nanos);
        }
        let told = latencies.histogram();
        let counts = [1, 5, 7].map(|nanos| told.count_at(nanos));
        assert_eq!((told.len(), counts), (7, [1, 3, 1]));
        assert!(told.max() >= 60 * SECOND);
        latencies.record(5);
        latencies.reset();
        assert_eq!(latencies.histogram().len(), 0);
    }
}
