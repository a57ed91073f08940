//! The workshop of the project: `cargo xtask <job>` sets up, tests, measures. It is never shipped and never
//! touches anything outside `target/`, the system's packages and the files a job says it records.

#![forbid(unsafe_code)]

mod bench;
mod browser;
mod builds;
mod checks;
mod cleanroom;
mod conformance;
mod crowd;
mod deb;
mod detection;
mod fuzz;
mod interop;
mod licences;
mod matrix;
mod mutants;
mod server;
mod setup;
mod sh;
mod specs;
mod steps;
mod test;
mod tidy;
mod tree;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <job>

  setup [part…]           install what the tests need, below target/tools or with apt (root)
                          parts: python chromium node npm proxies valgrind strace wstest deny rustc peers
                          nats; default: the first seven
  test [--full] [filter]  everything CI runs; with a filter only the steps whose name contains it
  conformance [--full] [--role server|client|guard|…] [--plain|--tls] [--cases core|ci|full] [--only CASE]
              [--engine kosoku|wstest] [--shards N] [--url ws://…]
                          the Autobahn cases against `tidegate serve` and our client, judged strictly
  interop [--full]        other people's clients, Node and Python, ws and wss, 1 and 4 workers
  browser                 the page in a real Chromium
  storm [--clients N] [--workers N] [--rounds N] [--record]
                          10,000 raw clients cut at once and back at once, while publications go on
  histories [--clients N] [--workers N] [--seconds N] [--seed N] [--record]
                          what was acknowledged against what raw clients saw, over cuts, drains and restarts
  bench gate [--accept]   instructions, system calls and allocations against bench/budgets.toml
  bench echo|fanout|handshake|flood|deflate|memory
              [--rounds N] [--seconds S] [--peers a,b] [--only ROW] [--binary FILE]
              [--record | --disturbed]
                          ours beside the peers, in alternating rounds: the server's CPU time for each message
  bench guard [--rounds N] [--seconds S] [--only ROW] [--binary FILE] [--record | --disturbed]
                          the guard in the middle, beside nginx and haproxy as blind tunnels
  bench scale [--rounds N] [--seconds S] [--only SERIES] [--binary FILE] [--record]
                          ours as connections, subscribers, sizes and workers grow
  bench agree FOLDER [--rounds N] [--seconds S] [--binary FILE] [--record]
                          a load generator by others (a Cargo package) beside `tidegate bench`
  bench plot              redraws tables and picture from the newest kept runs
  idle-hub [--clients N] [--workers N] [--seconds N] [--record]
                          memory and processor time of silent clients with one subscription
  bench idle [--connections N] [--deflate] [--record]
                          memory of idle connections; with --deflate also of compressed ones, beside them
  bench async [--record]  echo servers on tokio beside the peers: idle memory, CPU time of a message
  bench micro [--record]  masking, UTF-8, parsing and echo turns in memory, beside bare loops and the peers
  fuzz [--minutes N] [--asan] [--record] [target…] | seed | minimise
                          the fuzz targets in turn; installs cargo-fuzz when it is missing
  detection [--record]    recall and false positives of the guard's content rules, beside the OWASP Core Rule Set
  guard-matrix            upgrade probes against the guard, nginx and haproxy, written into the guide's chapter
  guard-mutants [--again] [--minutes N] [--only ROW]
                          each check of the guard taken out, in a copy: the tests of its row must fail
  specs [--mutate [--again] [--minutes N]]
                          every MUST of the RFCs points to code and test, and bites
  deb [--binary FILE]     the Debian package of the program as it is shipped, or of this one, in target/deb
  tidy                    facts about the tree: layers, module docs, links and more
  cleanroom [serve|test]  both README commands in a bare Debian (root, debootstrap)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.split_first() {
        Some((&"setup", parts)) => setup::job(parts),
        Some((&"test", rest)) => test::job(rest),
        Some((&"conformance", rest)) => conformance::job(rest),
        Some((&"interop", rest)) => interop::job(rest),
        Some((&"browser", rest)) => browser::job(rest),
        Some((&"storm", rest)) => crowd::storm(rest),
        Some((&"histories", rest)) => crowd::histories(rest),
        Some((&"bench", rest)) => bench::job(rest),
        Some((&"idle-hub", rest)) => crowd::idle(rest),
        Some((&"deb", rest)) => deb::job(rest),
        Some((&"detection", rest)) => detection::job(rest),
        Some((&"tidy", _)) => tidy::job(),
        Some((&"fuzz", rest)) => fuzz::job(rest),
        Some((&"specs", rest)) => specs::job(rest),
        Some((&"guard-matrix", _)) => matrix::job(),
        Some((&"guard-mutants", rest)) => mutants::job(rest),
        Some((&"cleanroom", rest)) => cleanroom::job(rest),
        Some((&("help" | "--help" | "-h"), _)) => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
