//! `cargo xtask bench async`: builds `bench/async` and has it measure echo servers on tokio, ours beside the peers'. Times
//! on a shared machine are judged as ratios, never alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench_micro::run_folder;
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
    let target = tree::target().join("async");
    sh::must(
        Command::new(tree::cargo())
            .args(["build", "--release", "--locked", "--manifest-path"])
            .arg(tree::root().join("bench/async/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target),
    )?;
    let program = target.join("release/tidegate-async");
    let mut run = json!({ "schema": 1, "what": "async", "load_average": load() });
    for (name, words) in PARTS {
        run[name] = part(&program, words)?;
    }
    if record {
        let commit = Command::new("git")
            .args(["rev-parse", "--short", "HEAD"])
            .current_dir(tree::root())
            .output()?;
        run["commit"] = json!(String::from_utf8_lossy(&commit.stdout).trim());
        let dir = run_folder()?;
        fs::write(
            dir.join("async.json"),
            serde_json::to_string_pretty(&run)? + "\n",
        )?;
        println!("recorded in {}", dir.display());
    }
    Ok(())
}

fn part(program: &Path, words: &[&str]) -> Result<Value> {
    let file = tree::target().join("async.json");
    let ran = sh::show(Command::new(program).args(words).arg("--json").arg(&file))?;
    if !ran.ok {
        return Err("bench/async failed".into());
    }
    Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
}

/// How busy the machine was with other things: above its cores, times mean little and ratios something.
fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}
