//! Where runs are kept: `bench/runs/DATE-MACHINE/WHAT.json`, one file a measurement and day. Never overwrites another day's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::sh::{self, Result};
use crate::tree;

/// Writes a run to its folder, with what one must know to read it later.
pub(crate) fn keep(what: &str, mut run: Value) -> Result<()> {
    for (key, value) in facts(what)? {
        run[key] = value;
    }
    let dir = folder()?;
    let text = serde_json::to_string_pretty(&run)? + "\n";
    fs::write(dir.join(format!("{what}.json")), text)?;
    println!("recorded in {}", dir.join(format!("{what}.json")).display());
    Ok(())
}

/// When, where and on what.
pub(crate) fn facts(what: &str) -> Result<[(&'static str, Value); 7]> {
    let commit = sh::must(
        Command::new("git")
            .args(["rev-parse", "--short", "HEAD"])
            .current_dir(tree::root()),
    )?;
    Ok([
        ("schema", json!(1)),
        ("what", json!(what)),
        ("date", json!(today()?)),
        ("commit", json!(commit.trim())),
        ("processor", json!(processor())),
        ("cores", json!(std::thread::available_parallelism()?.get())),
        ("kernel", json!(kernel())),
    ])
}

/// What was kept of that name earlier today on this machine.
pub(crate) fn earlier_today(what: &str) -> Result<Option<Value>> {
    let path = folder()?.join(format!("{what}.json"));
    path.is_file().then(|| read(&path)).transpose()
}

/// The newest kept run of that name, if there is one.
pub(crate) fn newest(what: &str) -> Result<Option<Value>> {
    let mut days: Vec<PathBuf> = fs::read_dir(tree::root().join("bench/runs"))?
        .map(|entry| Ok(entry?.path().join(format!("{what}.json"))))
        .collect::<Result<_>>()?;
    days.retain(|path| path.is_file());
    days.sort();
    days.last().map(|path| read(path)).transpose()
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path)?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// `bench/runs/DATE-MACHINE`, made when it is not there. The machine is its processor and cores, nothing else.
pub(crate) fn folder() -> Result<PathBuf> {
    let cores = std::thread::available_parallelism()?.get();
    let name = format!("{}-{}-{cores}-cores", today()?, slug(&processor()));
    let dir = tree::root().join("bench/runs").join(name);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn today() -> Result<String> {
    let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
    Ok(date(days))
}

fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// A day since the Unix epoch as YYYY-MM-DD (the civil calendar, by counting).
pub(crate) fn date(mut days: u64) -> String {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, days + 1)
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

#[cfg(test)]
mod tests {
    use super::{date, slug};

    #[test]
    fn a_day_becomes_a_date() {
        assert_eq!(
            [date(0), date(59), date(19_782), date(20_818)],
            ["1970-01-01", "1970-03-01", "2024-02-29", "2026-12-31"]
        );
    }

    #[test]
    fn a_processor_becomes_a_folder() {
        assert_eq!(slug("AMD EPYC"), "amd-epyc");
        assert_eq!(slug("Intel(R) Xeon(R) @ 2.10GHz"), "intel-r-xeon-r-2-10ghz");
    }
}
