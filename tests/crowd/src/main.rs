//! Many raw clients on real sockets against a real `tidegate serve`, which is another process. `storm` cuts all at once
//! and lets all come back at once; `histories` cuts at random octets and restarts the server, and checks what was
//! acknowledged against what everybody saw. `idle` measures what a silent client costs.

#![forbid(unsafe_code)]

mod crowd;
mod histories;
mod idle;
mod server;
mod storm;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: tidegate-crowd storm     --server FILE [--clients N] [--workers N] [--rounds N]
       tidegate-crowd histories --server FILE [--clients N] [--workers N] [--seconds N] [--seed N]
       tidegate-crowd idle      --server FILE [--clients N] [--workers N] [--seconds N]

The last line of stdout is a summary in JSON. A promise that is broken is an error, with the seed to have it again.
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((job, asked)) = words
        .split_first()
        .and_then(|(job, rest)| Some((*job, Asked::read(rest)?)))
    else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    raise_open_files();
    let done = match job {
        "storm" => storm::run(&storm::Plan {
            clients: asked.clients.unwrap_or(10_000),
            workers: asked.workers.unwrap_or(2),
            rounds: asked.rounds.unwrap_or(1),
            binary: asked.server,
        }),
        "histories" => histories::run(&histories::Plan {
            clients: asked.clients.unwrap_or(200),
            workers: asked.workers.unwrap_or(2),
            span: Duration::from_secs(asked.seconds.unwrap_or(10)),
            seed: asked.seed.unwrap_or_else(seed),
            binary: asked.server,
        }),
        "idle" => idle::run(&idle::Plan {
            clients: asked.clients.unwrap_or(10_000),
            workers: asked.workers.unwrap_or(1),
            span: Duration::from_secs(asked.seconds.unwrap_or(50)),
            binary: asked.server,
        }),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("FAILED: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The words of the command line.
#[derive(Default)]
struct Asked {
    server: PathBuf,
    clients: Option<usize>,
    workers: Option<usize>,
    rounds: Option<usize>,
    seconds: Option<u64>,
    seed: Option<u64>,
}

impl Asked {
    fn read(words: &[&str]) -> Option<Asked> {
        let mut asked = Asked::default();
        for pair in words.chunks(2) {
            let [name, value] = pair else { return None };
            match *name {
                "--server" => asked.server = PathBuf::from(value),
                "--clients" => asked.clients = Some(value.parse().ok().filter(|n| *n > 0)?),
                "--workers" => asked.workers = Some(value.parse().ok().filter(|n| *n > 0)?),
                "--rounds" => asked.rounds = Some(value.parse().ok().filter(|n| *n > 0)?),
                "--seconds" => asked.seconds = Some(value.parse().ok()?),
                "--seed" => asked.seed = Some(value.parse().ok()?),
                _ => return None,
            }
        }
        (!asked.server.as_os_str().is_empty()).then_some(asked)
    }
}

/// Another one each time; it is printed.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.as_millis() as u64)
}

/// Each client is a file.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
}
