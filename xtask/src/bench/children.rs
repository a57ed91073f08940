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

/// Binds a process, and what it starts from now on, to these cores.
pub(crate) fn bind(pid: u32, cores: std::ops::Range<usize>) -> Result<()> {
    let list = format!("{}-{}", cores.start, cores.end.saturating_sub(1));
    sh::must(Command::new("taskset").args(["-cp", &list, &pid.to_string()])).map(drop)
}

/// CPU time that a process has used, all its threads together, in ns.
pub(crate) fn cpu_ns(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let file = thread?.path().join("schedstat");
        let text = fs::read_to_string(file)?;
        let ran = text.split_whitespace().next().unwrap_or_default();
        sum += ran.parse::<u64>()?;
    }
    Ok(sum)
}

/// CPU time that the whole machine has used, in ns; counted in hundredths of a second.
pub(crate) fn machine_ns() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .map_while(|word| word.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; a guest's time is in user's already.
    let idle = |at: &usize| !matches!(at, 3 | 4);
    let busy: u64 = (0..ticks.len().min(8))
        .filter(idle)
        .map(|at| ticks[at])
        .sum();
    Ok(busy * 10_000_000)
}
