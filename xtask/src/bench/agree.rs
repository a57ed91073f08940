//! `cargo xtask bench agree FOLDER`: a load generator by others beside `tidegate bench`, in turn against the same kind of
//! server. FOLDER is a Cargo package whose program knows `echo`, `broadcast` and `handshake`; it is not part of this
//! repository. Two instruments that share no code and agree are believed more than one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::contenders::{Contender, Programs, Speech, on_core};
use super::load::Load;
use super::stats::median;
use super::{children, runs, words};
use crate::sh::{self, Result};
use crate::tree;

/// A load in the words of both.
struct Pair {
    name: &'static str,
    server: Contender,
    path: &'static str,
    ours: &'static [&'static str],
    theirs: &'static [&'static str],
}

const PAIRS: [Pair; 5] = [
    Pair {
        name: "echo, 100 connections, 125 B",
        server: Contender::Tidegate,
        path: "/echo?deflate=off",
        ours: &["echo", "-c", "100", "-s", "125"],
        theirs: &["echo", "--conns", "100", "--size", "125"],
    },
    Pair {
        name: "the same, 64 deep",
        server: Contender::Tidegate,
        path: "/echo?deflate=off",
        ours: &["echo", "-c", "100", "-s", "125", "--depth", "64"],
        theirs: &["echo", "--conns", "100", "--size", "125", "--depth", "64"],
    },
    Pair {
        name: "echo, 10 connections, 16 KiB",
        server: Contender::Tidegate,
        path: "/echo?deflate=off",
        ours: &["echo", "-c", "10", "-s", "16384", "--binary"],
        theirs: &["echo", "--conns", "10", "--size", "16k", "--binary"],
    },
    Pair {
        name: "broadcast to 1,000, 64 B",
        server: Contender::Engine,
        path: "/broadcast",
        ours: &["fanout", "-c", "1000", "-s", "64"],
        theirs: &[
            "broadcast",
            "--conns",
            "1000",
            "--size",
            "64",
            "--window",
            "1",
        ],
    },
    Pair {
        name: "handshakes, 32 at once",
        server: Contender::Tidegate,
        path: "/echo?deflate=off",
        ours: &["handshake", "-c", "32"],
        theirs: &["handshake", "--concurrency", "32"],
    },
];

/// `cargo xtask bench agree FOLDER [--rounds N] [--seconds S] [--binary FILE] [--record]`
pub(crate) fn job(rest: &[&str]) -> Result<()> {
    let (folder, rest) = rest
        .split_first()
        .ok_or("bench agree: the folder of which generator?")?;
    words::only(rest, &["--rounds", "--seconds", "--binary"], &["--record"])?;
    let rounds: usize = words::number(rest, "--rounds", 5)?;
    let seconds: f64 = words::number(rest, "--seconds", 2.0)?;
    children::raise_open_files(2_000)?;
    let theirs = build(Path::new(folder))?;
    let programs = Programs::prepare(
        &[Contender::Tidegate, Contender::Engine],
        words::value(rest, "--binary")?,
    )?;
    let mut rows = Vec::new();
    println!(
        "server CPU of one, in ns: theirs, ours, ours over theirs (median of {rounds} pairs); then rates"
    );
    for pair in &PAIRS {
        let mut kept = Vec::new();
        for _ in 0..rounds {
            match both(pair, &programs, &theirs, seconds) {
                Ok(round) => kept.push(round),
                Err(why) => println!("{}: {why}", pair.name),
            }
        }
        rows.push(row(pair, &kept));
    }
    if rest.contains(&"--record") {
        runs::keep(
            "agree",
            json!({ "rounds": rounds, "seconds": seconds, "rows": rows }),
        )?;
    }
    Ok(())
}

/// Cost and rate as each of them saw it: theirs, then ours.
type Round = [(f64, f64); 2];

fn both(pair: &Pair, programs: &Programs, generator: &Path, seconds: f64) -> Result<Round> {
    let server = programs.start(pair.server, 1, Speech::Plain)?;
    let url = format!("ws://127.0.0.1:{}{}", server.port, pair.path);
    let theirs = sh::must(
        on_core(1, generator, 1)
            .args(pair.theirs)
            .args(["--url", &url, "--pid", &server.pid().to_string(), "--json"])
            .args([
                "--duration",
                &seconds.to_string(),
                "--warmup",
                &(seconds / 4.0).to_string(),
            ]),
    )?;
    let theirs: Value = serde_json::from_str(&theirs)?;
    drop(server);
    let server = programs.start(pair.server, 1, Speech::Plain)?;
    let url = format!("ws://127.0.0.1:{}{}", server.port, pair.path);
    let load = Load {
        tidegate: &programs.tidegate,
        seconds,
        workers: 1,
    };
    let ours = load.run(pair.ours, server.pid(), &url)?;
    Ok([
        (
            named(&theirs, "server_cpu_ns_per_")?,
            named(&theirs, "s_per_s")?,
        ),
        (
            ours.number("server_cpu_ns_per_unit")
                .ok_or("ours tells no CPU time")?,
            ours.number("per_second").ok_or("ours tells no rate")?,
        ),
    ])
}

/// The number in the first field with this in its name; units differ from load to load.
fn named(said: &Value, part: &str) -> Result<f64> {
    let fields = said.as_object().ok_or("theirs is no object")?;
    let mut found = fields
        .iter()
        .filter(|(name, _)| name.contains(part) && !name.starts_with("low_"));
    let number = found.find_map(|(_, value)| value.as_f64());
    number.ok_or_else(|| format!("theirs has no field like {part}").into())
}

fn row(pair: &Pair, rounds: &[Round]) -> Value {
    let middle = |of: &dyn Fn(&Round) -> f64| {
        let values: Vec<f64> = rounds.iter().map(of).collect();
        median(&values)
    };
    let cost = [middle(&|round| round[0].0), middle(&|round| round[1].0)];
    let rate = [middle(&|round| round[0].1), middle(&|round| round[1].1)];
    let ratio = middle(&|round| round[1].0 / round[0].0);
    let text = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
    let judged = ratio.map_or("", |ratio| {
        if (ratio - 1.0).abs() <= MOST_APART {
            "agree"
        } else {
            "DISAGREE"
        }
    });
    println!(
        "{:<32}{:>9}{:>9}{:>8}  {judged:<9}{:>10}{:>10}",
        pair.name,
        text(cost[0]),
        text(cost[1]),
        ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}")),
        text(rate[0]),
        text(rate[1]),
    );
    json!({
        "what": pair.name, "theirs_ns": cost[0], "ours_ns": cost[1], "ours_over_theirs": ratio,
        "theirs_per_second": rate[0], "ours_per_second": rate[1], "rounds": rounds.len(),
    })
}

/// Builds a copy, so that nothing is written where it came from.
fn build(folder: &Path) -> Result<PathBuf> {
    let copy = tree::target().join("agree");
    fs::create_dir_all(copy.join("src"))?;
    for (from, to) in [
        (folder.to_owned(), copy.clone()),
        (folder.join("src"), copy.join("src")),
    ] {
        for entry in fs::read_dir(&from).map_err(|error| format!("{}: {error}", from.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::write(to.join(entry.file_name()), fs::read(entry.path())?)?;
            }
        }
    }
    sh::must(
        Command::new(tree::cargo())
            .args(["build", "--release", "--target-dir"])
            .arg(copy.join("target"))
            .current_dir(&copy),
    )?;
    let release = copy.join("target/release");
    let program = fs::read_dir(&release)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            // The program beside what cargo keeps there.
            path.is_file()
                && path.extension().is_none()
                && path
                    .file_name()
                    .is_some_and(|name| !name.to_string_lossy().starts_with('.'))
        });
    program.ok_or_else(|| format!("{} has no program", release.display()).into())
}

/// The instruments may differ by so much.
const MOST_APART: f64 = 0.10;
