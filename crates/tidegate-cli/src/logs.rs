//! Where log lines go and how they look: stderr, text or JSON. It never decides what is logged.

use crate::cli::LogFormat;
use crate::error::Failure;
use std::io::{IsTerminal, Write};
use tracing_subscriber::EnvFilter;

/// Starts logging to stderr.
///
/// # Errors
/// A filter that cannot be read is a usage error.
pub(crate) fn start(format: LogFormat, filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::builder().parse(filter).map_err(|error| {
        Failure::usage(format!(
            "--log {filter}: {error}; try info or warn,tidegate=debug"
        ))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(colour()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
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
