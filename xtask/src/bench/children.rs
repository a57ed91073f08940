//! Processes that are measured: how many sockets they may hold, on which core they run, what CPU time they have used.
//! Reads /proc; never ends a process that it did not start.

use std::fs;
use std::process::Command;

use crate::sh::{self, Result};

/// Lets this program hold as many sockets as it will open.
pub(crate) fn raise_open_files(wanted: usize) -> Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .ok_or("no limit of open files in /proc")?;
    let mut numbers = line["Max open files".len()..].split_whitespace();
    let (soft, hard) = (numbers.next().unwrap_or("0"), numbers.next().unwrap_or("0"));
    let enough =
        |text: &str| text == "unlimited" || text.parse::<usize>().is_ok_and(|n| n >= wanted);
    if enough(soft) {
        return Ok(());
    }
    if !enough(hard) {
        return Err(
            format!("{wanted} open files are needed, the hard limit here is {hard}").into(),
        );
    }
    let pid = std::process::id().to_string();
    sh::must(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={hard}:{hard}")]))
        .map(drop)
}
