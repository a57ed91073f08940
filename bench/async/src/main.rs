//! Echo servers on tokio, ours and the peers', each in a process of its own: what an idle connection costs in memory,
//! and what a message costs in CPU time. It talks to nothing but its own children on 127.0.0.1.

mod child;
mod echo;
mod idle;
mod serve;

use std::error::Error;
use std::process::ExitCode;

/// What everything here may fail with.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "\
usage: tidegate-async idle [--connections N] [--tls] [--json FILE]
       tidegate-async echo [--rounds N] [--seconds S] [--json FILE]
       tidegate-async serve PEER [PORT] [--tls]        prints the port
peers: tidegate tokio-tungstenite fastwebsockets tokio-websockets yawc";

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
