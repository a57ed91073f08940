//! What the gate counts. `count` does one thing in memory so often, for callgrind to count; `drive` talks to a
//! `serve` in a process of its own, whose system calls strace counts and who counts its own allocations.
//! It measures no time: what it counts is the same on a machine that is busy with other things.

#![forbid(unsafe_code)]

mod cases;
mod drive;
mod rig;
mod rooms;
mod serve;
mod source;

use std::error::Error;
use std::process::ExitCode;

/// What everything here may fail with.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Every allocation of this process passes it.
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

const USAGE: &str = "\
usage: tidegate-gate list                       the cases of `count`, each with a fitting number of operations
       tidegate-gate count CASE OPERATIONS      does it at least so often; prints how often it did
       tidegate-gate scenarios                  the scenarios of `drive`
       tidegate-gate drive SCENARIO ROUNDS COMMAND…
                                                COMMAND starts `serve`; prints its messages and allocations
       tidegate-gate serve                      a server on a free port of 127.0.0.1, which it prints; ends with its
                                                last client";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["list"] => cases::list(),
        ["count", case, operations] => cases::count(case, operations),
        ["scenarios"] => drive::list(),
        ["drive", scenario, rounds, ref command @ ..] => drive::job(scenario, rounds, command),
        ["serve"] => serve::job(),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
