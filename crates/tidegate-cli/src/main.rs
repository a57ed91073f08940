//! The binary `tidegate`: reads the command line, runs one command and turns its result into an exit
//! code. It never does the work itself.

#![forbid(unsafe_code)]

mod admission;
mod assets;
mod bench;
mod check;
mod cli;
mod config;
mod connect;
mod control;
mod counts;
mod dev_cert;
mod error;
mod feeds;
mod guard;
mod hosts;
mod leaving;
mod logs;
mod reach;
mod routes;
mod serve;
mod service;
mod settings;
mod signals;
mod splitmix;
mod tls;
mod wire;

use crate::cli::{Cli, Command};
use crate::error::Failure;
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::answer_parse_error(&error),
    };
    let result = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Connect(args) => connect::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Guard(args) => guard::run(&args),
        Command::Check(args) => check::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

/// Says what went wrong. A closed stderr is no reason to panic.
fn report(failure: &Failure) -> ExitCode {
    if !failure.line.is_empty() {
        let _ = writeln!(std::io::stderr(), "{failure}");
    }
    ExitCode::from(failure.exit as u8)
}
