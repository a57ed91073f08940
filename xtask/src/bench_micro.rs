//! `cargo xtask bench micro`: builds `bench/micro`, has it time itself in alternating rounds, and counts instructions
//! with callgrind where valgrind is installed. Times on a shared machine are judged as ratios, never alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::idle::date;
use crate::sh::{self, Result};
use crate::tree;

/// `cargo xtask bench micro [--record]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let record = match words {
        [] => false,
        ["--record"] => true,
        _ => return Err("usage: cargo xtask bench micro [--record]".into()),
    };
    let program = build()?;
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
        keep(run)?;
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    let target = tree::target().join("micro");
    sh::must(
        Command::new(tree::cargo())
            .args(["build", "--release", "--locked", "--manifest-path"])
            .arg(tree::root().join("bench/micro/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target),
    )?;
    Ok(target.join("release/tidegate-micro"))
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
        // What it takes to begin is the same in both runs and falls out of the difference.
        let (some, more) = (
            count(program, group, contender, SOME)?,
            count(program, group, contender, 3 * SOME)?,
        );
        let each = (more.instructions - some.instructions) / (more.operations - some.operations);
        counts.insert(format!("{group}, {contender}"), each);
    }
    Ok(counts)
}

struct Counted {
    operations: u64,
    instructions: u64,
}

fn count(program: &Path, group: &str, contender: &str, operations: u64) -> Result<Counted> {
    let output = sh::must(
        Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(program)
            .args(["count", group, contender, &operations.to_string()]),
    )?;
    let number = |line: Option<&str>| {
        let number = line.and_then(|line| line.split_whitespace().last()?.parse().ok());
        number.ok_or_else(|| format!("callgrind said something else:\n{output}"))
    };
    let is_number = |line: &&str| !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit());
    Ok(Counted {
        operations: number(output.lines().find(is_number))?,
        instructions: number(output.lines().find(|line| line.contains("Collected :")))?,
    })
}

/// `bench/runs/DATE-MACHINE`, made when it is not there. The machine is its processor and cores, nothing else.
pub(crate) fn run_folder() -> Result<PathBuf> {
    let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
    let cores = std::thread::available_parallelism()?.get();
    let name = format!("{}-{}-{cores}-cores", date(days), slug(&processor()));
    let dir = tree::root().join("bench/runs").join(name);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// Writes the run to `micro.json` in its folder.
fn keep(mut run: Value) -> Result<()> {
    let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
    let commit = sh::must(
        Command::new("git")
            .args(["rev-parse", "--short", "HEAD"])
            .current_dir(tree::root()),
    )?;
    run["schema"] = json!(1);
    run["what"] = json!("micro");
    run["date"] = json!(date(days));
    run["commit"] = json!(commit.trim());
    run["processor"] = json!(processor());
    run["cores"] = json!(std::thread::available_parallelism()?.get());
    let dir = run_folder()?;
    let text = serde_json::to_string_pretty(&run)? + "\n";
    fs::write(dir.join("micro.json"), text)?;
    println!("recorded in {}", dir.display());
    Ok(())
}

/// The processor's name, or its architecture where the system does not say.
fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// A name as a part of a path: small letters and digits, a hyphen between words.
fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    words.join("-")
}

const SOME: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn a_processor_becomes_a_folder() {
        assert_eq!(slug("AMD EPYC"), "amd-epyc");
        assert_eq!(slug("Intel(R) Xeon(R) @ 2.10GHz"), "intel-r-xeon-r-2-10ghz");
    }
}
