//! `cargo xtask guard-mutants`: shows that the guard's rows bite. Each check that `tests/guard/checks.toml` names is taken out
//! by one small change, in a copy of the guard, and the tests of its row must fail. The tree itself is never touched; what came
//! of it is kept in `tests/guard/mutants.txt`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::sh::{self, Result};
use crate::specs::mutate::{copy, small_workspace};
use crate::steps::Count;
use crate::tree;

/// The whole table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    check: Vec<Check>,
}

/// A check, and how to take it out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    row: String,
    /// Below the guard's `src`.
    file: String,
    /// Stands there once.
    was: String,
    now: String,
    /// A target (`lib`, or the name of an integration test) and a filter.
    test: String,
    /// Every row of the test's table must fail.
    #[serde(default)]
    whole: bool,
}

/// What a run of a row's tests showed.
#[derive(Clone, PartialEq, Eq)]
enum Ran {
    Passed,
    /// With what the failing test said of its rows, if it counts them.
    Failed(Option<String>),
    Unbuilt(String),
}

/// `cargo xtask guard-mutants [--again] [--minutes N] [--only TEXT]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let count = run(words)?;
    match count.failed {
        0 => Ok(()),
        some => Err(format!("{some} checks can go and no row fails").into()),
    }
}

/// The step of `cargo xtask test --full`: all of them anew.
pub(crate) fn step() -> Result<Count> {
    run(&["--again", "--minutes", "45"])
}

fn run(words: &[&str]) -> Result<Count> {
    let value = |name: &str| words.iter().skip_while(|word| **word != name).nth(1);
    let minutes: u64 = value("--minutes").map_or(Ok(30), |text| text.parse())?;
    let only = value("--only").copied().unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(60 * minutes);
    let text = fs::read_to_string(tree::root().join("tests/guard/checks.toml"))?;
    let table: Table = toml::from_str(&text)?;
    let kept = tree::root().join("tests/guard/mutants.txt");
    let before = match words.contains(&"--again") {
        true => String::new(),
        false => fs::read_to_string(&kept).unwrap_or_default(),
    };
    let mut lines: BTreeMap<&str, String> = BTreeMap::new();
    for check in &table.check {
        // What bit before need not be asked again, unless it was asked otherwise.
        let line = check.line("bites");
        if before.lines().any(|known| known.starts_with(&line)) {
            let known = before.lines().find(|known| known.starts_with(&line));
            lines.insert(&check.row, known.unwrap_or_default().to_owned());
        }
    }
    let bench = Bench::set_up()?;
    for check in table.check.iter().filter(|check| check.row.contains(only)) {
        if lines.contains_key(check.row.as_str()) || Instant::now() > deadline {
            continue;
        }
        let line = bench.judge(check)?;
        println!("{line}");
        lines.insert(&check.row, line);
        fs::write(&kept, report(&table.check, &lines))?;
    }
    let report = report(&table.check, &lines);
    println!("{}", report.lines().nth(2).unwrap_or_default());
    fs::write(&kept, &report)?;
    let bites = lines
        .values()
        .filter(|line| line.starts_with("bites"))
        .count();
    Ok(Count {
        passed: bites,
        failed: lines.len() - bites,
    })
}

impl Check {
    /// The beginning of its line in the report.
    fn line(&self, word: &str) -> String {
        format!("{word:<7} {} [{}: {}]", self.row, self.file, self.sign())
    }

    /// Tells one change from another.
    fn sign(&self) -> String {
        let octets = self
            .was
            .bytes()
            .chain(self.now.bytes())
            .chain(self.test.bytes());
        let hash = octets.fold(0x811c_9dc5_u32, |hash, octet| {
            (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193)
        });
        format!("{hash:08x}")
    }
}

fn report(checks: &[Check], lines: &BTreeMap<&str, String>) -> String {
    let count = |word: &str| lines.values().filter(|line| line.starts_with(word)).count();
    let mut text = format!(
        "# Written by `cargo xtask guard-mutants`: for each check of tests/guard/checks.toml whether the tests of its row fail\n\
         # without it. One change at a time, in a copy of the tree.\n\
         {} of {} checks bite, {} do not, {} were not asked\n\n",
        count("bites"),
        checks.len(),
        lines.len() - count("bites"),
        checks.len() - lines.len()
    );
    for check in checks {
        let asked = lines.get(check.row.as_str());
        let line = asked.map_or_else(|| check.line("unasked"), String::clone);
        let _ = writeln!(text, "{line}");
    }
    text
}

/// A copy of the guard and of what it stands on, and where it is built.
struct Bench {
    root: PathBuf,
}

const COPIED: [&str; 2] = ["crates/tidegate-proto", "crates/tidegate-guard"];

impl Bench {
    fn set_up() -> Result<Bench> {
        let bench = Bench {
            root: tree::target().join("guard-mutants"),
        };
        for part in COPIED {
            copy(&tree::root().join(part), &bench.root.join(part))?;
        }
        let manifest = fs::read_to_string(tree::root().join("Cargo.toml"))?;
        // As quick as usual, for the floods' sake.
        let manifest = small_workspace(&manifest, &["crates/*"]);
        let manifest = manifest.replace("opt-level = 0", "opt-level = 1");
        fs::write(bench.root.join("Cargo.toml"), manifest)?;
        for file in ["Cargo.lock", "guard.example.toml"] {
            fs::copy(tree::root().join(file), bench.root.join(file))?;
        }
        for target in ["lib", "content", "gateway"] {
            match bench.test(target)? {
                Ran::Passed => {}
                Ran::Failed(_) => return Err(format!("{target} fails before any change").into()),
                Ran::Unbuilt(why) => return Err(format!("the copy does not build: {why}").into()),
            }
        }
        Ok(bench)
    }

    /// Takes a check out and asks its tests; its line in the report.
    fn judge(&self, check: &Check) -> Result<String> {
        let path = format!("crates/tidegate-guard/src/{}", check.file);
        let original = fs::read_to_string(tree::root().join(&path))?;
        if original.matches(&check.was).count() != 1 {
            let why = "what is to be changed does not stand there, or more than once";
            return Err(format!("{}: {}: {why}", check.row, check.file).into());
        }
        let copy = self.root.join(&path);
        fs::write(&copy, original.replacen(&check.was, &check.now, 1))?;
        let ran = self.test(&check.test);
        fs::write(&copy, original)?;
        Ok(match ran? {
            Ran::Failed(None) if !check.whole => check.line("bites"),
            Ran::Failed(Some(rows)) if !check.whole || all(&rows) => {
                format!("{} {rows}", check.line("bites"))
            }
            Ran::Failed(rows) => {
                format!(
                    "{} not all: {}",
                    check.line("SILENT"),
                    rows.unwrap_or_default()
                )
            }
            Ran::Passed => check.line("SILENT"),
            Ran::Unbuilt(why) => format!("{} {why}", check.line("UNBUILT")),
        })
    }

    /// Of the copy, in a folder of its own: one that others build in would keep it waiting.
    fn asking<'a>(&self, command: &'a mut Command, target: &str) -> &'a mut Command {
        command.args(["test", "--quiet", "-p", "tidegate-guard"]);
        match target {
            "lib" => command.arg("--lib"),
            other => command.args(["--test", other]),
        };
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", self.root.join("target"))
            .env("RUST_BACKTRACE", "0")
    }

    fn test(&self, which: &str) -> Result<Ran> {
        let mut words = which.split_whitespace();
        let target = words.next().unwrap_or_default();
        // How long it builds is no verdict. Only running has an end: a change may make a loop endless.
        let mut command = Command::new(tree::cargo());
        let built = sh::quiet(self.asking(&mut command, target).arg("--no-run"))?;
        let mut command = Command::new("timeout");
        command.arg("300").arg(tree::cargo());
        let finished = match built.ok {
            true => sh::quiet(self.asking(&mut command, target).args(words))?,
            false => built,
        };
        let line = |of: &str| {
            let lines = finished.output.lines();
            let found = lines.filter_map(|line| line.split_once(of));
            found.map(|(_, rest)| rest.trim().to_owned()).next()
        };
        Ok(match finished.ok {
            true if line("test result: ok. 0 passed").is_some() => {
                return Err(format!("no test is called {which}").into());
            }
            true => Ran::Passed,
            false if finished.output.contains("could not compile") => {
                Ran::Unbuilt(line("error").unwrap_or_default())
            }
            false => Ran::Failed(line("rows that fail: ")),
        })
    }
}

/// `N of N`.
fn all(rows: &str) -> bool {
    let mut numbers = rows.split(" of ").map(|word| {
        let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<usize>().ok()
    });
    let (failed, there) = (numbers.next().flatten(), numbers.next().flatten());
    failed.is_some() && failed == there
}

#[cfg(test)]
mod tests {
    use super::{Table, all};
    use crate::tree;
    use std::fs;

    #[test]
    fn every_change_has_its_place() {
        let text =
            fs::read_to_string(tree::root().join("tests/guard/checks.toml")).expect("a file");
        let table: Table = toml::from_str(&text).expect("a table");
        let mut rows: Vec<&str> = Vec::new();
        for check in &table.check {
            let file = tree::root()
                .join("crates/tidegate-guard/src")
                .join(&check.file);
            let text = fs::read_to_string(&file).expect("a file");
            assert_eq!(text.matches(&check.was).count(), 1, "{}", check.row);
            assert_ne!(check.was, check.now);
            assert!(!rows.contains(&check.row.as_str()), "{}", check.row);
            rows.push(&check.row);
        }
    }

    #[test]
    fn all_rows_are_all_rows() {
        assert!(all("3 of 3: a, b, c"));
        assert!(!all("2 of 3: a, b") && !all("") && !all("three"));
    }
}
