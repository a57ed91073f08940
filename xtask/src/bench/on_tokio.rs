//! `cargo xtask bench async`: builds `bench/peers` and has it measure echo servers on tokio, ours beside the peers'. Times
//! on a shared machine are judged as ratios, never alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::runs;
use crate::sh::{self, Result};
use crate::tree;

/// What is measured: a name in the kept run, and the program's words.
const PARTS: [(&str, &[&str]); 3] = [
    ("idle", &["idle"]),
    ("idle_tls", &["idle", "--tls"]),
    ("echo", &["echo"]),
];

/// `cargo xtask bench async [--record]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let record = match words {
        [] => false,
        ["--record"] => true,
        _ => return Err("usage: cargo xtask bench async [--record]".into()),
    };
    let program = super::build("peers")?;
    let mut run = json!({ "load_average": load() });
    for (name, words) in PARTS {
        run[name] = part(&program, words)?;
    }
    if record {
        runs::keep("async", run)?;
    }
    Ok(())
}

fn part(program: &Path, words: &[&str]) -> Result<Value> {
    let file = tree::target().join("async.json");
    let ran = sh::show(Command::new(program).args(words).arg("--json").arg(&file))?;
    if !ran.ok {
        return Err("bench/peers failed".into());
    }
    Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
}

/// How busy the machine was with other things: above its cores, times mean little and ratios something.
fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}
