//! `bench idle`: connections that say nothing, and what the server's memory says of each. Before that each may echo one
//! message, so that buffers which a server makes when they are first needed are seen.

use super::driver::{Driver, Load, Out, SECOND, timeout};
use super::measure::Window;
use super::payload::Payloads;
use super::plan::Plan;
use super::progress::Progress;
use super::report::Report;
use super::usage;
use crate::error::Failure;
use tidegate_proto::Message;

/// The load.
struct Idle {
    payloads: Payloads,
    binary: bool,
    answered: usize,
    errors: u64,
    closed: usize,
}

impl Load for Idle {
    fn message(
        &mut self,
        _id: usize,
        message: &Message<'_>,
        _out: &mut Out<'_>,
    ) -> Result<(), Failure> {
        self.answered += 1;
        let right = message.is_text() != self.binary && self.payloads.is(message.as_bytes(), 0);
        self.errors += u64::from(!right);
        Ok(())
    }

    fn closed(&mut self, _id: usize) {
        self.closed += 1;
    }

    fn lost(&mut self, _id: usize) {
        self.errors += 1;
    }
}

/// Runs it.
///
/// # Errors
/// Why it ended early.
pub(crate) fn run(
    driver: &mut Driver<'_>,
    plan: &Plan,
    progress: &mut Progress,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut load = Idle {
        payloads: Payloads::new(plan.size),
        binary: plan.binary,
        answered: 0,
        errors: 0,
        closed: 0,
    };
    first(driver, &mut load, plan)?;
    report.rss_before = usage::memory(&plan.pids);
    let begun = driver.clock.now();
    progress.stage("opening", plan.connections as u64);
    driver.open(plan.connections, &mut load, |open| progress.opened(open))?;
    report.open_seconds = Some((driver.clock.now() - begun) as f64 / 1e9);
    report.rss_open = usage::memory(&plan.pids);
    progress.stage("touching", plan.connections as u64);
    touch(driver, &mut load, plan, FIRST..FIRST + plan.connections)?;
    progress.stage("holding", plan.duration);
    let window = Window::begin(driver, plan, 0);
    let held = hold(driver, &mut load, plan.duration, progress);
    report.rss_held = usage::memory(&plan.pids);
    window.end(driver, plan.connections as u64, report);
    report.errors = load.errors;
    report.rss_per_connection = report
        .rss_before
        .zip(report.rss_held)
        .map(|(before, held)| (held as f64 - before as f64) / plan.connections as f64);
    held
}

/// One connection comes and goes before memory is looked at, so that what a server makes once is not counted.
fn first(driver: &mut Driver<'_>, load: &mut Idle, plan: &Plan) -> Result<(), Failure> {
    driver.open(FIRST, load, |_| ())?;
    touch(driver, load, plan, 0..FIRST)?;
    driver.with(0, load, |out| out.close())?;
    let deadline = driver.clock.now() + plan.timeout;
    while load.closed < FIRST && load.errors == 0 {
        driver.turn(load, deadline, true)?;
        if driver.clock.now() > deadline {
            return Err(timeout("the server does not close a connection".into()));
        }
    }
    pause(driver, load, SECOND / 5)
}

/// One message and its echo on each, some at once.
fn touch(
    driver: &mut Driver<'_>,
    load: &mut Idle,
    plan: &Plan,
    ids: std::ops::Range<usize>,
) -> Result<(), Failure> {
    if plan.size == 0 {
        return Ok(());
    }
    let payload = load.payloads.make(0).to_owned();
    for some in ids.collect::<Vec<_>>().chunks(AT_ONCE) {
        let wanted = load.answered + some.len();
        for id in some {
            driver.with(*id, load, |out| {
                out.send(plan.binary, &payload);
            })?;
        }
        while load.answered < wanted && load.errors == 0 {
            let soon = driver.clock.now() + SECOND;
            driver.turn(load, soon, true)?;
        }
    }
    Ok(())
}

fn hold(
    driver: &mut Driver<'_>,
    load: &mut Idle,
    nanos: u64,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let until = driver.clock.now() + nanos;
    while driver.clock.now() < until {
        driver.turn(load, until, false)?;
        progress.at(driver.clock.now(), || 0);
    }
    Ok(())
}

fn pause(driver: &mut Driver<'_>, load: &mut Idle, nanos: u64) -> Result<(), Failure> {
    let until = driver.clock.now() + nanos;
    while driver.clock.now() < until {
        driver.turn(load, until, false)?;
    }
    Ok(())
}

/// Connections before those that count.
const FIRST: usize = 1;
/// Messages under way at once.
const AT_ONCE: usize = 64;
