//! Where log lines go and how they look: stderr, text or JSON. It never decides what is logged.

use crate::cli::LogFormat;
use crate::error::Failure;
use std::io::{IsTerminal, Write};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Changes the filter of a running log.
#[derive(Clone)]
pub(crate) struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// From now on lines are written by this filter, which was [`check`]ed.
    pub(crate) fn set(&self, filter: &str) -> Result<(), Failure> {
        let filter = parse(filter)?;
        self.0
            .reload(filter)
            .map_err(|error| Failure::failed(format!("the log's filter stays: {error}")))
    }
}

/// Starts logging to stderr.
///
/// # Errors
/// A filter that cannot be read is a usage error.
pub(crate) fn start(format: LogFormat, filter: &str) -> Result<LogFilter, Failure> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let log = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => log.with(lines.with_ansi(colour())).init(),
        LogFormat::Json => log.with(lines.json().flatten_event(true)).init(),
    }
    Ok(LogFilter(handle))
}

/// Whether a filter can be read.
///
/// # Errors
/// A usage error that says what is wrong with it.
pub(crate) fn check(filter: &str) -> Result<(), Failure> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::builder().parse(filter).map_err(|error| {
        Failure::usage(format!(
            "--log {filter}: {error}; try info or warn,tidegate=debug"
        ))
    })
}

/// What was asked for; else text for people and JSON for machines.
pub(crate) fn format(asked: Option<LogFormat>) -> LogFormat {
    asked.unwrap_or(if std::io::stderr().is_terminal() {
        LogFormat::Text
    } else {
        LogFormat::Json
    })
}

/// Says `lines` on stderr whatever the filter is: a block of text, or one JSON object.
pub(crate) fn notice(format: LogFormat, lines: &[&str]) {
    let text = match format {
        LogFormat::Text => lines.join("\n"),
        LogFormat::Json => {
            let message: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
            serde_json::json!({ "level": "WARN", "message": message.join(" ") }).to_string()
        }
    };
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stderr().is_terminal()
}
