//! One run of `tidegate bench` against a server that runs, and what it said. Never believes a run that lost something.

use std::path::Path;

use serde_json::Value;

use super::contenders::on_core;
use crate::sh::{self, Result};

/// The load's own core, and its patience.
pub(crate) struct Load<'a> {
    pub(crate) tidegate: &'a Path,
    /// Seconds that are measured.
    pub(crate) seconds: f64,
    pub(crate) workers: u16,
}

/// What one run said.
#[derive(Clone, Debug)]
pub(crate) struct Said(pub(crate) Value);

impl Load<'_> {
    /// Runs it: `words` say which load, `url` where.
    pub(crate) fn run(&self, words: &[&str], pid: u32, url: &str) -> Result<Said> {
        let mut command = on_core(1, self.tidegate, self.workers);
        command
            .arg("bench")
            .args(words)
            .args(["--json", "--quiet", "--server-pid", &pid.to_string()])
            .args(["--duration", &self.seconds.to_string()])
            .args(["--warmup", &(self.seconds / 4.0).to_string()])
            .arg(url);
        let finished = sh::apart(&mut command)?;
        let said = serde_json::from_str(&finished.output).map_err(|_| {
            format!(
                "tidegate bench {}: {}",
                words.join(" "),
                finished.remarks.trim()
            )
        })?;
        let said = Said(said);
        match said.0["outcome"].as_str() {
            Some("done") => Ok(said),
            other => Err(format!("{}: {}", words.join(" "), other.unwrap_or("no outcome")).into()),
        }
    }
}

impl Said {
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.0[name].as_f64()
    }

    /// What one costs: CPU time for each message, delivery or handshake; bytes for each idle connection.
    pub(crate) fn cost(&self) -> Option<f64> {
        self.number("rss_per_connection")
            .or_else(|| self.number("server_cpu_ns_per_unit"))
    }

    /// Bytes on the wire from the server for each message or delivery: what compression made of them.
    pub(crate) fn bytes_back(&self) -> Option<f64> {
        let units = self
            .number("messages")
            .or_else(|| self.number("deliveries"))?;
        Some(self.number("bytes_received")? / units)
    }

    /// The cores that others than the server and the load kept busy meanwhile.
    pub(crate) fn disturbance(&self) -> Option<f64> {
        Some(self.number("other_cpu_ns")? / 1e9 / self.number("seconds")?)
    }
}
