//! `cargo xtask bench gate`: instructions, system calls and allocations, held against `bench/budgets.toml`. None of them
//! depends on what else the machine does, so it may fail a build; time never does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::callgrind;
use crate::setup;
use crate::sh::{self, Result};
use crate::steps::{Count, Steps};
use crate::tree;

/// `cargo xtask bench gate [--accept]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let accept = match words {
        [] => false,
        ["--accept"] => true,
        _ => return Err("usage: cargo xtask bench gate [--accept]".into()),
    };
    if accept {
        return fs::write(path(), file(&measure()?)).map_err(Into::into);
    }
    match run()?.failed {
        0 => Ok(()),
        failed => Err(format!("{failed} over budget; {HOW_TO_RAISE}").into()),
    }
}

/// The gate as a step of `cargo xtask test`.
pub(crate) fn step(steps: &mut Steps) {
    const NAME: &str = "instructions, calls, allocations";
    if !steps.wants(NAME) {
        return;
    }
    match able() {
        Ok(()) => steps.run(NAME, run),
        Err(why) => steps.cannot(NAME, &why.to_string()),
    }
}

/// The budgets are those of a 64-bit x86 with AVX2, which is what callgrind shows on any machine that has it.
fn able() -> Result<()> {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if std::env::consts::ARCH != "x86_64" || !info.contains(" avx2 ") {
        return Err("the budgets are for x86-64 processors with AVX2".into());
    }
    ["valgrind", "strace"]
        .into_iter()
        .try_for_each(|part| setup::ensure(part).map(drop))
}

fn run() -> Result<Count> {
    let text = fs::read_to_string(path())?;
    let budgets: Budgets =
        toml::from_str(&text).map_err(|error| format!("{}: {error}", path().display()))?;
    let measured = measure()?;
    let (mut count, mut table) = (Count::default(), String::new());
    for (kind, found) in &measured {
        for (name, found) in found {
            let budget = budgets.budgets.get(*kind).and_then(|table| table.get(name));
            let most = budgets.at_most.get(*kind).and_then(|table| table.get(name));
            let verdict = judge(*found, budget.copied(), most.copied());
            count += Count::one(verdict == Verdict::Within || verdict == Verdict::Spare);
            let _ = writeln!(
                table,
                "{:<11} {kind:<13}{name:<24}{found:>11.3}  budget {}{}",
                verdict.word(),
                budget.map_or("none".to_owned(), |budget| format!("{budget:.3}")),
                most.map_or(String::new(), |most| format!(", at most {most}")),
            );
        }
    }
    let known = |kind: &str, name: &String| {
        measured
            .iter()
            .any(|(k, m)| *k == kind && m.contains_key(name))
    };
    for (kind, table) in budgets.budgets.iter().chain(&budgets.at_most) {
        for name in table.keys().filter(|name| !known(kind, name)) {
            println!("GONE        {kind} {name}: a budget of what is no longer counted");
            count += Count::one(false);
        }
    }
    print!("{table}");
    Ok(count)
}

/// What was counted, by kind and name.
type Measured = [(&'static str, BTreeMap<String, f64>); 3];

fn measure() -> Result<Measured> {
    able()?;
    let program = super::build("gate")?;
    let mut instructions = BTreeMap::new();
    for line in sh::must(Command::new(&program).arg("list"))?.lines() {
        let (name, operations) = line.split_once(' ').ok_or("no number of operations")?;
        let each = callgrind::each(operations.parse()?, |operations| {
            let mut command = callgrind::of(&program);
            command.args(["count", name, &operations.to_string()]);
            command
        })?;
        instructions.insert(name.to_owned(), each);
    }
    let (mut calls, mut allocations) = (BTreeMap::new(), BTreeMap::new());
    for name in sh::must(Command::new(&program).arg("scenarios"))?.lines() {
        let (some, more) = (
            drive(&program, name, ROUNDS)?,
            drive(&program, name, 3 * ROUNDS)?,
        );
        let messages = (more.messages - some.messages) as f64;
        let each = |some: u64, more: u64| (more as f64 - some as f64) / messages;
        calls.insert(name.to_owned(), each(some.calls, more.calls));
        allocations.insert(name.to_owned(), each(some.allocations, more.allocations));
    }
    Ok([
        ("instructions", instructions),
        ("syscalls", calls),
        ("allocations", allocations),
    ])
}

/// What a server did in its whole life.
struct Driven {
    messages: u64,
    allocations: u64,
    calls: u64,
}

fn drive(program: &Path, scenario: &str, rounds: u64) -> Result<Driven> {
    let table = tree::target().join("gate/strace.txt");
    let answer = sh::must(
        Command::new(program)
            .args(["drive", scenario, &rounds.to_string()])
            .args(["strace", "-f", "-c", "-o"])
            .arg(&table)
            .arg(program)
            .arg("serve"),
    )?;
    let (messages, allocations) = answer
        .trim()
        .split_once(' ')
        .ok_or("two numbers are expected")?;
    Ok(Driven {
        messages: messages.parse()?,
        allocations: allocations.parse()?,
        calls: total(&fs::read_to_string(&table)?).ok_or("strace has no total")?,
    })
}

/// The calls in the last line of strace's table: `100.00 0.001234 2 5678 12 total`.
fn total(table: &str) -> Option<u64> {
    let line = table.lines().rfind(|line| line.ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// `bench/budgets.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Budgets {
    /// What each cost when it was last accepted.
    budgets: BTreeMap<String, BTreeMap<String, f64>>,
    /// What must be reached whatever was accepted.
    at_most: BTreeMap<String, BTreeMap<String, f64>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Within,
    /// Much less than the budget: take it, so that it can't be lost again unseen.
    Spare,
    Over,
    /// It has no budget yet.
    New,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Within => "ok",
            Verdict::Spare => "ok, less",
            Verdict::Over => "OVER",
            Verdict::New => "NO BUDGET",
        }
    }
}

fn judge(found: f64, budget: Option<f64>, most: Option<f64>) -> Verdict {
    let Some(budget) = budget else {
        return Verdict::New;
    };
    if found > budget * (1.0 + TOLERANCE) + GRAIN || most.is_some_and(|most| found > most) {
        Verdict::Over
    } else if found < budget * (1.0 - TOLERANCE) - GRAIN {
        Verdict::Spare
    } else {
        Verdict::Within
    }
}

/// The file that accepts what was measured.
fn file(measured: &Measured) -> String {
    let mut text = HEADER.to_owned();
    for (kind, found) in measured {
        let _ = writeln!(text, "\n[budgets.{kind}]");
        for (name, found) in found {
            let _ = writeln!(text, "{name:?} = {:?}", (found * 1_000.0).round() / 1_000.0);
        }
    }
    text
}

fn path() -> PathBuf {
    tree::root().join("bench/budgets.toml")
}

/// By how much a budget may be exceeded.
const TOLERANCE: f64 = 0.05;
/// What cannot be told apart from nothing: half a hundredth of a call or an allocation, or of an instruction.
const GRAIN: f64 = 0.005;
const ROUNDS: u64 = 20;
const HOW_TO_RAISE: &str = "`cargo xtask bench gate --accept` writes what is measured now to bench/budgets.toml, and the \
commit has to say why";
const HEADER: &str = "\
# What an operation may cost: `cargo xtask bench gate` fails when one costs 5 % more. `--accept` writes this file anew.
# Instructions are counted by callgrind for the release build; of system calls and allocations, both of the whole
# server, this is the share of a message (echo) or of a delivery (fanout), between a short run and a longer one.
# The server of an echo is held while the client writes to all its 100 connections, which costs four calls a round.

[at_most.syscalls]
\"echo/1/125\" = 2.1
\"echo/64/125\" = 0.05
";

#[cfg(test)]
mod tests {
    use super::{Budgets, Verdict, file, judge, total};
    use std::collections::BTreeMap;

    #[test]
    fn five_in_a_hundred_are_tolerated() {
        let table = [
            (104.9, Some(100.0), None, Verdict::Within),
            (105.1, Some(100.0), None, Verdict::Over),
            (94.0, Some(100.0), None, Verdict::Spare),
            (0.004, Some(0.0), None, Verdict::Within),
            (1.0, Some(0.0), None, Verdict::Over),
            (2.11, Some(2.1), Some(2.1), Verdict::Over),
            (1.0, None, None, Verdict::New),
        ];
        for (found, budget, most, expected) in table {
            assert_eq!(
                judge(found, budget, most),
                expected,
                "{found} of {budget:?}, {most:?}"
            );
        }
    }

    #[test]
    fn what_is_accepted_can_be_read_again() {
        let some = |name: &str, value| BTreeMap::from([(name.to_owned(), value)]);
        let measured = [
            ("instructions", some("echo/1/125", 812.0)),
            ("syscalls", some("echo/1/125", 2.0504)),
            ("allocations", some("echo/1/125", 0.0)),
        ];
        let read: Budgets = toml::from_str(&file(&measured)).expect("it is TOML");
        assert_eq!(read.budgets["instructions"]["echo/1/125"], 812.0);
        assert_eq!(read.budgets["syscalls"]["echo/1/125"], 2.05);
        assert_eq!(read.at_most["syscalls"]["echo/64/125"], 0.05);
    }

    #[test]
    fn the_total_of_a_table_of_calls_is_read() {
        let with_errors = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.001234           2      5678        12 total\n";
        let without = "100.00    0.001234           2      5678           total\n";
        assert_eq!(
            [total(with_errors), total(without)],
            [Some(5678), Some(5678)]
        );
        assert_eq!(total("strace: nothing"), None);
    }
}
