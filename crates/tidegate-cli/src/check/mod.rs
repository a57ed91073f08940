//! `tidegate check`: what a WebSocket endpoint lets through that it should not, told by asking it. It attacks nothing: each
//! connection asks one thing, and all of it is bounded in count, octets and time.
//!
//! ```text
//!   passive ──► handshake ──► protocol, limits ─► report ─► show, sarif, JSON
//!      one good    │  rows of the     │                        │
//!      handshake   └─ case table ─────┘                        └─ exit code
//!                     slow: waits beside them
//! ```

mod args;
mod audit;
mod cases;
mod frames;
mod handshake;
mod head;
mod limits;
mod line;
mod passive;
mod prober;
mod protocol;
mod report;
mod rules;
mod sarif;
mod show;
mod slow;
mod target;

pub(crate) use args::{CheckArgs, EXAMPLES};

use crate::error::{Exit, Failure};
use crate::reach;
use args::Level;
use audit::Audit;
use head::Usual;
use line::Spent;
use prober::Prober;
use report::Report;
use show::Look;
use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use target::Target;
use tokio::time::Instant;

/// Checks an endpoint, or two, and says what was found.
///
/// # Errors
/// Findings are one (exit code 1, and no line); the others say what went wrong.
pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    refuse_unknown(&args.only)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no event loop: {error}")))?;
    let deadline = std::time::Instant::now() + Duration::from_secs(args.timeout.into());
    let ending = runtime.block_on(check_all(args, deadline.into()))?;
    show::progress(is_watched(), "");
    write_all(args, &ending.reports)?;
    match (ending.exit, args.fail_on.least()) {
        (Some(exit), _) => Err(silent(exit)),
        (None, Some(least))
            if ending
                .reports
                .iter()
                .any(|report| report.worst() >= Some(least)) =>
        {
            Err(silent(Exit::Failed))
        }
        _ => Ok(()),
    }
}

/// The reports say it all.
fn silent(exit: Exit) -> Failure {
    let line = match exit {
        Exit::Timeout => "--timeout has passed before all was asked".to_owned(),
        _ => String::new(),
    };
    Failure { exit, line }
}

/// How it went.
struct Ending {
    reports: Vec<Report>,
    /// It did not come to its end.
    exit: Option<Exit>,
}

async fn check_all(args: &CheckArgs, deadline: Instant) -> Result<Ending, Failure> {
    let urls: Vec<&String> = std::iter::once(&args.url).chain(&args.diff).collect();
    let mut audits = Vec::new();
    for url in urls {
        audits.push(prepare(args, url).await?);
    }
    let mut ending = Ending {
        reports: Vec::new(),
        exit: None,
    };
    for audit in audits {
        let start = Instant::now();
        let exit = match ending.exit {
            None => audit_within(args.level, &audit, deadline).await?,
            exit => exit,
        };
        let mut report = audit.report.into_inner();
        report.took = start.elapsed();
        report.connections = audit.prober.spent.connections.get();
        report.octets = audit.prober.spent.octets.get();
        ending.exit = exit;
        ending.reports.push(report);
    }
    Ok(ending)
}

/// Runs one check until it is done, or time or the user ends it.
async fn audit_within(
    level: Level,
    audit: &Audit,
    deadline: Instant,
) -> Result<Option<Exit>, Failure> {
    let (exit, why) = tokio::select! {
        done = levels(level, audit) => {
            audit.report.borrow_mut().ended = done?;
            return Ok(None);
        }
        () = tokio::time::sleep_until(deadline) => (Exit::Timeout, "--timeout"),
        _ = tokio::signal::ctrl_c() => (Exit::Interrupted, "interrupted"),
    };
    audit.report.borrow_mut().ended = Some(why.to_owned());
    Ok(Some(exit))
}

/// All levels up to this one; why it ended before its end, if it did.
async fn levels(level: Level, audit: &Audit) -> Result<Option<String>, Failure> {
    say(audit, "a good handshake");
    passive::run(audit).await?;
    if level == Level::Passive {
        return Ok(None);
    }
    let quick = async {
        say(audit, "bad handshakes");
        handshake::run(audit).await;
        if let Err(why) = still_alive(audit).await {
            return Some(why);
        }
        if level < Level::Protocol {
            return None;
        }
        say(audit, "bad frames");
        protocol::run(audit).await;
        if let Err(why) = still_alive(audit).await {
            return Some(why);
        }
        say(audit, "limits");
        limits::run(audit).await;
        say(audit, "waiting for time limits");
        still_alive(audit).await.err()
    };
    let ((), ended) = tokio::join!(slow::run(audit, level), quick);
    Ok(ended)
}

/// A server that takes no good handshake any more would seem to refuse everything.
async fn still_alive(audit: &Audit) -> Result<(), String> {
    let Err(why) = audit.is_alive().await else {
        return Ok(());
    };
    let refused = tokio::net::TcpStream::connect(audit.prober.target.addr).await;
    if refused.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
        let text = |text: &str| text.to_owned();
        audit.find(
            "A0.gone",
            report::Evidence {
                case: text("a good handshake after the bad ones"),
                gist: text("a good handshake after the bad ones"),
                sent: text("a good handshake"),
                got: text("nobody listens there any more"),
                expected: text("101, as before"),
            },
        );
    }
    Err(format!(
        "the server no longer takes good handshakes ({why}), so what it refuses tells nothing"
    ))
}

fn say(audit: &Audit, what: &str) {
    show::progress(
        is_watched(),
        &format!("checking {}: {what} …", audit.prober.target.shown),
    );
}

fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// A check that can begin.
async fn prepare(args: &CheckArgs, url: &str) -> Result<Audit, Failure> {
    let target = Target::find(url).await?;
    if !target.is_here() && !args.i_am_authorized {
        return Err(Failure::usage(format!(
            "{} is not on this machine: to check it you need its owner's leave; if you have it, add --i-am-authorized",
            target.shown
        )));
    }
    let pause = args.pause.unwrap_or(if target.is_here() { 0 } else { 100 });
    let most = args
        .max_bytes
        .unwrap_or(if target.is_here() { 512 } else { 64 });
    let report = Report::new(&target.shown, args.level, !args.only.is_empty());
    let prober = Prober {
        usual: usual(args, &target)?,
        tls: tls(args, &target)?,
        target,
        patience: Duration::from_millis(args.patience.into()),
        pause: Duration::from_millis(pause.into()),
        max_octets: u64::from(most) << 20,
        spent: Rc::new(Spent::default()),
    };
    Ok(Audit {
        prober,
        only: args.only.clone(),
        wait: Duration::from_secs(args.wait.into()),
        max_message: usize::from(args.max_message) << 20,
        max_connections: args.max_conns.into(),
        report: RefCell::new(report),
    })
}

/// What every request carries.
fn usual(args: &CheckArgs, target: &Target) -> Result<Usual, Failure> {
    let mut fields = Vec::new();
    for given in &args.header {
        let (name, value) = reach::field(given)?;
        let ours = ["host", "upgrade", "connection", "origin"]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own))
            || name.to_ascii_lowercase().starts_with("sec-websocket-");
        if ours {
            return Err(Failure::usage(format!(
                "--header {name}: check sets this field itself; see --origin and --protocol"
            )));
        }
        if value.contains(['\r', '\n', '\0'])
            || name.is_empty()
            || !name.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(Failure::usage("--header: this cannot stand in a request"));
        }
        fields.push((name.to_owned(), value));
    }
    if let Some(authorization) = &target.authorization {
        fields.push(("Authorization".into(), authorization.clone()));
    }
    Ok(Usual {
        fields,
        origin: args.origin.clone(),
        protocols: args.protocol.clone(),
    })
}

fn tls(args: &CheckArgs, target: &Target) -> Result<Option<Arc<rustls::ClientConfig>>, Failure> {
    if !target.secure {
        return Ok(None);
    }
    let tls = reach::tls(args.cacert.as_deref(), args.insecure)?.build();
    Ok(Some(tls.map_err(reach::tls_failed)?.client_config()))
}

/// `--only` names findings.
fn refuse_unknown(only: &[String]) -> Result<(), Failure> {
    let known = |name: &str| {
        rules::RULES
            .iter()
            .any(|rule| rule.id == name || rule.id.split('.').next() == Some(name))
    };
    match only.iter().find(|name| !known(name)) {
        Some(name) => Err(Failure::usage(format!(
            "--only {name}: no finding is called so, such as F1 or H6.bad-key"
        ))),
        None => Ok(()),
    }
}

fn write_all(args: &CheckArgs, reports: &[Report]) -> Result<(), Failure> {
    let mut out = String::new();
    if let (Some(file), [report]) = (&args.sarif, reports) {
        let text = format!("{:#}\n", sarif::document(report));
        if file == Path::new("-") {
            return put(&text);
        }
        std::fs::write(file, text).map_err(|error| {
            Failure::failed(format!(
                "--sarif: {} cannot be written: {error}",
                file.display()
            ))
        })?;
    }
    let look = Look {
        colour: args.color.is_on(std::io::stdout().is_terminal()),
        verbose: args.verbose,
    };
    match (reports, args.json) {
        ([one, other], true) => {
            let document = serde_json::json!({ "schema": 1, "diff": [one.json(), other.json()] });
            out.push_str(&format!("{document:#}\n"));
        }
        ([one, other], false) => out.push_str(&show::side_by_side(one, other, look)),
        ([report, ..], true) => out.push_str(&format!("{:#}\n", report.json())),
        ([report, ..], false) => out.push_str(&show::table(report, look)),
        ([], _) => {}
    }
    put(&out)
}

/// Whoever closed stdout has seen enough.
fn put(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(
            format!("stdout cannot be written: {error}"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_findings_that_there_are_can_be_asked_for() {
        let only = |names: &[&str]| {
            refuse_unknown(
                &names
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(only(&["F1", "H6.bad-key"]), Ok(()));
        assert_eq!(
            only(&["F99"]).map_err(|failure| failure.exit),
            Err(Exit::Usage)
        );
    }

    #[test]
    fn the_probes_find_what_is_in_the_table_of_rules() {
        let named: Vec<&str> = cases::cases().iter().map(|case| case.rule.id).collect();
        let text = [
            include_str!("handshake.rs"),
            include_str!("protocol.rs"),
            include_str!("limits.rs"),
            include_str!("slow.rs"),
            include_str!("passive.rs"),
            include_str!("audit.rs"),
            include_str!("mod.rs"),
        ]
        .concat();
        for rule in rules::RULES {
            let asked = named.contains(&rule.id) || text.contains(&format!("\"{}\"", rule.id));
            assert!(asked, "nothing finds {}", rule.id);
        }
    }
}
