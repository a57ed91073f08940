//! `tidegate bench`: loads a server and tells how fast, how late and how dear it is.
//!
//! ```text
//!   args ─► plan ─► Driver (one thread, mio) ─► Connection ─► Link ─► the server
//!                     ▲  what to send, when         │                    │ /proc: CPU, memory
//!               echo · fanout · handshake ◄─────────┘                    ▼
//!                  idle · flood ──────────────────────────► measure ─► report ─► table, JSON, page
//! ```
//! `vs-http` stands beside it, with a server of its own. It uses the protocol crate as a client and shares nothing with the engine it measures but that.

mod args;
mod clock;
mod deliveries;
mod dialect;
mod driver;
mod echo;
mod fanout;
mod flood;
mod handshake;
mod html;
mod idle;
mod link;
mod measure;
mod payload;
mod plan;
mod progress;
mod report;
mod schedule;
mod target;
mod usage;
mod vs_http;

pub(crate) use args::{BenchArgs, EXAMPLES};

use crate::error::Failure;
use args::Mode;
use clock::Clock;
use driver::Driver;
use plan::Plan;
use progress::Progress;
use report::{Report, Unit};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Runs one load and shows what it showed.
///
/// # Errors
/// What went wrong, with the exit code for it.
pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    match &args.mode {
        Mode::VsHttp(args) => vs_http::run(args),
        Mode::VsHttpServer { every, size } => vs_http::serve(*every, *size as usize),
        Mode::Echo { common, messages } => {
            run_load(&Plan::check("echo", common, 100)?.with_messages(messages)?)
        }
        Mode::Fanout {
            common,
            messages,
            dialect,
            channel,
        } => {
            let plan = Plan::check("fanout", common, 1_000)?.with_messages(messages)?;
            run_load(&plan.with_dialect(*dialect, channel.clone())?)
        }
        Mode::Handshake { common } => run_load(&Plan::check("handshake", common, 32)?),
        Mode::Idle {
            common,
            size,
            binary,
        } => run_load(&Plan::check("idle", common, 1_000)?.with_size(*size, *binary)?),
        Mode::Flood {
            common,
            size,
            binary,
        } => run_load(&Plan::check("flood", common, 8)?.with_size(*size, *binary)?),
    }
}

fn run_load(plan: &Plan) -> Result<(), Failure> {
    let unit = match plan.mode {
        "fanout" => Unit::Delivery,
        "handshake" => Unit::Handshake,
        "idle" => Unit::Connection,
        _ => Unit::Message,
    };
    let clock = Clock::new();
    let mut driver = Driver::new(plan, clock, interrupts()?)?;
    let mut progress = Progress::new(plan, clock);
    let mut report = Report::new(plan, unit);
    let result = load(plan, &mut driver, &mut progress, &mut report);
    driver.reset();
    progress.end();
    let result = report.conclude(result);
    if report.is_measured() {
        show(plan, &report)?;
    }
    result
}

/// Runs the load; what it measured is in the report, also when it ends early.
fn load(
    plan: &Plan,
    driver: &mut Driver<'_>,
    progress: &mut Progress,
    report: &mut Report,
) -> Result<(), Failure> {
    let begun = driver.clock.now();
    progress.stage("opening", plan.connections as u64);
    match plan.mode {
        "echo" => {
            let mut load = echo::Echo::new(plan);
            driver.open(plan.connections, &mut load, |open| progress.opened(open))?;
            report.open_seconds = Some((driver.clock.now() - begun) as f64 / 1e9);
            let result = measure::measure(driver, &mut load, plan, progress, report);
            report.latencies(&mut load.latencies);
            (report.errors, report.lost) = (load.errors, load.unanswered());
            report.late = plan.rate.map(|_| load.late);
            result
        }
        "fanout" => {
            let mut load = fanout::Fanout::new(plan);
            driver.open(plan.connections, &mut load, |open| progress.opened(open))?;
            let deadline = driver.clock.now() + plan.connect_timeout;
            load.subscribe(driver, deadline)?;
            report.open_seconds = Some((driver.clock.now() - begun) as f64 / 1e9);
            let result = measure::measure(driver, &mut load, plan, progress, report);
            report.latencies(&mut load.latencies);
            (report.errors, report.lost) = (load.errors(), load.deliveries.lost());
            report.published = Some(load.deliveries.published);
            report.delivered = Some(load.deliveries.delivered);
            report.late = plan.rate.map(|_| load.late);
            result
        }
        "handshake" => {
            let mut load = handshake::Handshake::new(plan);
            let result = measure::measure(driver, &mut load, plan, progress, report);
            report.latencies(&mut load.latencies);
            report.errors = load.errors;
            result
        }
        "flood" => {
            let mut load = flood::Flood::new(plan);
            driver.open(plan.connections, &mut load, |open| progress.opened(open))?;
            let result = measure::measure(driver, &mut load, plan, progress, report);
            (report.errors, report.lost) = (load.errors, load.unconfirmed());
            result
        }
        _ => idle::run(driver, plan, progress, report),
    }
}

/// Writes the result where it is wanted.
fn show(plan: &Plan, report: &Report) -> Result<(), Failure> {
    let text = match plan.json {
        true => report.json() + "\n",
        false => report.table(),
    };
    if let Some(file) = &plan.html {
        let page = page(plan, report);
        std::fs::write(file, page).map_err(|error| {
            Failure::failed(format!(
                "--html: {} cannot be written: {error}",
                file.display()
            ))
        })?;
    }
    print(&text)
}

/// Writes on stdout.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever has closed our stdout knows why.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(
            format!("stdout cannot be written: {error}"),
        )),
        _ => Ok(()),
    }
}

fn page(plan: &Plan, report: &Report) -> String {
    let series: Vec<html::Series<'_>> = report
        .histogram
        .iter()
        .map(|latencies| html::Series {
            name: plan.mode,
            latencies,
        })
        .collect();
    let rows = report.rows().into_iter();
    let table = html::Table {
        head: &[],
        rows: rows
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect(),
    };
    let title = format!("{} at {}", plan.mode, plan.url);
    html::page(&title, &table, &series, &report.json())
}

/// Set once SIGINT came. A second one ends the process at once.
fn interrupts() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    {
        use signal_hook::consts::SIGINT;
        let failed = |error: std::io::Error| Failure::failed(format!("no signal handler: {error}"));
        signal_hook::flag::register_conditional_shutdown(SIGINT, 130, flag.clone())
            .map_err(failed)?;
        signal_hook::flag::register(SIGINT, flag.clone()).map_err(failed)?;
    }
    Ok(flag)
}
