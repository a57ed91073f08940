//! Servers of other libraries and of ours, each in a process of its own, for `cargo xtask bench` to load. What those on
//! tokio cost is measured here too: `idle` in memory, `echo` in CPU time. It talks to nothing but its own children.

mod child;
mod echo;
mod engine;
mod idle;
mod peers;
mod room;
mod serve;
mod sockudo;
mod statistics;

use std::error::Error;
use std::process::ExitCode;

/// What everything here may fail with.
type Failure = Box<dyn Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

const USAGE: &str = "\
usage: tidegate-peers idle [--connections N] [--tls] [--json FILE]
       tidegate-peers echo [--rounds N] [--seconds S] [--json FILE]
       tidegate-peers serve PEER [PORT] [--tls] [--deflate]
                                 on 127.0.0.1; prints the port, and ends with its standard input when it chose it
peers: tidegate tokio-tungstenite fastwebsockets tokio-websockets yawc sockudo-ws, on tokio;
       engine, which is ours without tokio (no --tls)
paths: /broadcast sends each message to all of that path, /sink drops it, others send it back";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.split_first() {
        Some((&"idle", rest)) => idle::job(rest),
        Some((&"echo", rest)) => echo::job(rest),
        Some((&"serve", rest)) => serve::job(rest),
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

/// The value of `--name`, or what holds without.
fn option<T: std::str::FromStr>(words: &[&str], name: &str, otherwise: T) -> Result<T> {
    match words.iter().position(|word| *word == name) {
        None => Ok(otherwise),
        Some(at) => {
            let value = words.get(at + 1).and_then(|value| value.parse().ok());
            value.ok_or_else(|| format!("{name} wants a value").into())
        }
    }
}
