//! `cargo xtask bench micro`: builds `bench/micro`, has it time itself in alternating rounds, and counts instructions
//! with callgrind where valgrind is installed. Times on a shared machine are judged as ratios, never alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::{callgrind, runs};
use crate::sh::{self, Result};
use crate::tree;

/// `cargo xtask bench micro [--record]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let record = match words {
        [] => false,
        ["--record"] => true,
        _ => return Err("usage: cargo xtask bench micro [--record]".into()),
    };
    let program = super::build("micro")?;
    let file = tree::target().join("micro.json");
    let timed = sh::show(Command::new(&program).arg("time").arg("--json").arg(&file))?;
    if !timed.ok {
        return Err("bench/micro failed".into());
    }
    let mut run: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    let counts = instructions(&program)?;
    for (what, count) in &counts {
        println!("{count:>8} instructions  {what}");
    }
    run["instructions"] = json!(counts);
    if record {
        runs::keep("micro", run)?;
    }
    Ok(())
}

/// Instructions an operation; callgrind counts each octet of a long memcpy as one, so a stream's include the copy out of
/// the source. Nobody's company on the machine changes them: they show what a change really did.
fn instructions(program: &Path) -> Result<BTreeMap<String, u64>> {
    if tree::which("valgrind").is_none() {
        println!("no valgrind: instructions are not counted");
        return Ok(BTreeMap::new());
    }
    let peers = ["tokio-websockets", "fastwebsockets", "tungstenite"];
    let ours = ["tidegate Connection", "tidegate Endpoint"];
    let all = ours.into_iter().chain(peers);
    let mut counted: Vec<(&str, &str)> = vec![
        ("mask/payload/125", "tidegate"),
        ("mask/payload/1024", "tidegate"),
        ("mask/payload/1024", "bare loop, AVX2"),
        ("echo/1/125", ours[1]),
        ("echo/64/125", ours[1]),
    ];
    for group in ["stream/ascii/125", "stream/binary/125"] {
        counted.extend(all.clone().map(|contender| (group, contender)));
    }
    let mut counts = BTreeMap::new();
    for (group, contender) in counted {
        let each = callgrind::each(SOME, |operations| {
            let mut command = callgrind::of(program);
            command.args(["count", group, contender, &operations.to_string()]);
            command
        })?;
        counts.insert(format!("{group}, {contender}"), each.round() as u64);
    }
    Ok(counts)
}

const SOME: u64 = 20_000;
