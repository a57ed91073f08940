//! Crowds of raw clients against the living server: `cargo xtask storm`, `histories` and `idle-hub`. The clients are
//! one process (`tests/crowd`), the server is another; what is judged is judged there.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::bench::runs::{date, folder};
use crate::server;
use crate::sh::{self, Result};
use crate::steps::{Count, Steps};
use crate::tree;

/// `cargo xtask storm [--clients N] [--workers N] [--rounds N] [--record]`
pub(crate) fn storm(words: &[&str]) -> Result<()> {
    let (words, record) = without_record(words);
    let summary = run(&server::build(true)?, true, "storm", &words)?;
    let rounds = summary["rounds"].as_array().cloned().unwrap_or_default();
    if record {
        keep("storm.jsonl", summary)?;
    }
    let slowest = rounds
        .iter()
        .filter_map(|round| round["all_recovered_s"].as_f64())
        .fold(0.0, f64::max);
    println!("all recovered {slowest:.3} s after the last close; at most {BAR} s are allowed");
    match slowest < BAR {
        true => Ok(()),
        false => Err("they came back too slowly".into()),
    }
}

/// `cargo xtask histories [--clients N] [--workers N] [--seconds N] [--seed N] [--record]`
pub(crate) fn histories(words: &[&str]) -> Result<()> {
    let (words, record) = without_record(words);
    let summary = run(&server::build(true)?, true, "histories", &words)?;
    match record {
        true => keep("histories.jsonl", summary),
        false => Ok(()),
    }
}

/// `cargo xtask idle-hub [--clients N] [--workers N] [--seconds N] [--record]`
pub(crate) fn idle(words: &[&str]) -> Result<()> {
    let (words, record) = without_record(words);
    let summary = run(&server::build(true)?, true, "idle", &words)?;
    let measured = |name: &str| summary[name].as_f64().ok_or(format!("no {name}"));
    let (bytes, micros) = (
        measured("bytes_per_client")?,
        measured("cpu_us_per_s_per_client")?,
    );
    if record {
        keep("idle-hub.jsonl", summary)?;
    }
    println!(
        "a silent client with one subscription: {bytes} B (at most {IDLE_BYTES}), {micros} µs/s (at most {IDLE_MICROS})"
    );
    match bytes <= IDLE_BYTES && micros <= IDLE_MICROS {
        true => Ok(()),
        false => Err("a silent client costs too much".into()),
    }
}

/// The short forms in every run, the long ones in a full one. The time it takes is told, not judged: what else the
/// machine does is not known here.
pub(crate) fn steps(steps: &mut Steps, binary: &Path, full: bool) {
    let step = |binary: &Path, release: bool, job: &str, words: &[&str]| {
        run(binary, release, job, words).map(|_| Count::one(true))
    };
    steps.run("1,000 clients cut at once", || {
        step(binary, false, "storm", &["--clients", "1000"])
    });
    for workers in ["1", "4"] {
        steps.run(&format!("histories, {workers} workers"), || {
            let words = ["--clients", "120", "--seconds", "12", "--workers", workers];
            step(binary, false, "histories", &words)
        });
    }
    if !full {
        return;
    }
    steps.run("10,000 clients cut at once", || {
        step(&server::build(true)?, true, "storm", &["--rounds", "3"])
    });
    for workers in ["1", "4"] {
        steps.run(&format!("histories for minutes, {workers} workers"), || {
            let words = ["--clients", "500", "--seconds", "180", "--workers", workers];
            step(&server::build(true)?, true, "histories", &words)
        });
    }
}

/// Runs a crowd against this server; its summary.
fn run(binary: &Path, release: bool, job: &str, words: &[&str]) -> Result<Value> {
    let crowd = build(release)?;
    let mut command = Command::new(crowd);
    command.arg(job).arg("--server").arg(binary).args(words);
    let finished = sh::show(&mut command)?;
    if !finished.ok {
        return Err(format!("{job}: a promise is broken, or somebody did not come back").into());
    }
    let last = finished.output.lines().last().unwrap_or_default();
    Ok(serde_json::from_str(last)?)
}

/// A development build is there already: it belongs to the workspace.
fn build(release: bool) -> Result<PathBuf> {
    if !release {
        return Ok(tree::target().join("debug/tidegate-crowd"));
    }
    let mut cargo = Command::new(tree::cargo());
    cargo.args(["build", "--quiet", "--release", "-p", "tidegate-crowd"]);
    sh::must(cargo.current_dir(tree::root()))?;
    Ok(tree::target().join("release/tidegate-crowd"))
}

fn without_record<'a>(words: &[&'a str]) -> (Vec<&'a str>, bool) {
    let rest: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| *word != "--record")
        .collect();
    let record = rest.len() < words.len();
    (rest, record)
}

/// Appends a summary to this day's and machine's runs.
fn keep(file: &str, mut summary: Value) -> Result<()> {
    let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
    let mut git = Command::new("git");
    let commit = sh::must(
        git.args(["rev-parse", "--short", "HEAD"])
            .current_dir(tree::root()),
    )?;
    summary["date"] = json!(date(days));
    summary["commit"] = json!(commit.trim());
    summary["cores"] = json!(std::thread::available_parallelism()?.get());
    summary["os"] = json!(std::env::consts::OS);
    summary["arch"] = json!(std::env::consts::ARCH);
    let folder = folder()?;
    let mut kept = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(file))?;
    writeln!(kept, "{summary}")?;
    println!("recorded in {}", folder.display());
    Ok(())
}

/// Resident memory beyond the kernel's, and processor time a second, of a silent client.
const IDLE_BYTES: f64 = 1_536.0;
const IDLE_MICROS: f64 = 1.1;
/// Seconds from the last close to the last recovered reply.
const BAR: f64 = 5.0;
