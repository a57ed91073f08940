//! The other end for programs that others wrote: echo servers behind each way to accept a WebSocket, and clients, all
//! on the async face. The interop tests and the conformance runs start it; it talks only to the addresses it is given.
//!
//! ```text
//! peer echo accept|hyper|axum [FOLDER]         an echo on a free port of 127.0.0.1, with the pair in FOLDER as wss
//! peer ask [FLAGS] URL                         puts questions to an echo, and says what was agreed on as JSON
//!      --root PEM --proxy URL --http 1.1|2 --deflate --subprotocol NAME
//! peer autobahn URL AGENT [--no-takeover] [ROOT.pem]   runs every case of a fuzzing server, with `connect()`
//! ```
//! A server prints where it listens, and ends when its standard input does.

#![forbid(unsafe_code)]

mod ask;
mod autobahn;
mod echo;
mod settings;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("peer: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(words: &[&str]) -> Result<()> {
    match *words {
        ["echo", door] => echo::run(door, None).await,
        ["echo", door, folder] => echo::run(door, Some(Path::new(folder))).await,
        ["ask", ref flags @ .., url] => ask::run(url, flags).await,
        ["autobahn", url, agent, "--no-takeover", ref root @ ..] => {
            autobahn::run(url, agent, true, root.first().map(Path::new)).await
        }
        ["autobahn", url, agent, ref root @ ..] => {
            autobahn::run(url, agent, false, root.first().map(Path::new)).await
        }
        _ => Err("usage: peer echo DOOR [FOLDER] | ask [FLAGS] URL | \
                  autobahn URL AGENT [--no-takeover] [ROOT]"
            .into()),
    }
}
