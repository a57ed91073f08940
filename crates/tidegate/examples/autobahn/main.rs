//! The peer that a conformance run needs beside the suite: an echoing client on the protocol core, and TLS for
//! suites that have none. It talks only to the addresses it is given, and judges nothing.
//!
//! ```text
//! autobahn client URL AGENT [ROOT.pem]        runs every case of a fuzzing server, as the suite's clients do
//! autobahn certificate FOLDER                 writes cert.pem and key.pem for 127.0.0.1 and localhost
//! autobahn unwrap ADDRESS FOLDER              takes TLS and passes plain octets on to ADDRESS
//! autobahn wrap ADDRESS ROOT.pem              takes plain octets and passes them on to ADDRESS through TLS
//! ```
//! The tunnels listen on a free port of 127.0.0.1 and print it; they end when their standard input does.

#![forbid(unsafe_code)]

mod client;
mod connect;
mod tls;
mod tunnel;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("autobahn: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<(), Box<dyn Error>> {
    match *words {
        ["client", url, agent] => client::run(url, agent, None),
        ["client", url, agent, root] => client::run(url, agent, Some(Path::new(root))),
        ["certificate", folder] => tls::write_certificate(Path::new(folder)),
        ["unwrap", to, folder] => tunnel::unwrap(to.parse()?, Path::new(folder)),
        ["wrap", to, root] => tunnel::wrap(to.parse()?, Path::new(root)),
        _ => Err("usage: autobahn client URL AGENT [ROOT] | certificate FOLDER | unwrap ADDRESS FOLDER | wrap ADDRESS ROOT".into()),
    }
}
