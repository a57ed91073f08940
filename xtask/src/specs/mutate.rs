//! Shows that rows bite: changes the code a row points to, one small change at a time, in a copy of the tree, and
//! runs the tests the row names. It never touches the tree itself; the result is kept in `specs/mutation.txt`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::place;
use super::rows::Row;
use crate::sh::{self, Result};
use crate::tree;

/// Changes tried for one item before its rows are said not to bite.
const MOST_CHANGES: usize = 8;

/// What a row's tests said to the changes.
enum Verdict {
    /// This change makes a named test fail.
    Bites(String),
    /// So many changes that compile were made, and the named tests passed.
    Silent(usize),
    /// Time was up.
    Unasked,
}

pub(super) fn job(rows: &[Row], words: &[&str]) -> Result<()> {
    let minutes = words.iter().skip_while(|word| **word != "--minutes").nth(1);
    let minutes: u64 = minutes.map_or(Ok(15), |text| text.parse())?;
    let deadline = Instant::now() + Duration::from_secs(60 * minutes);
    let bench = Bench::set_up()?;
    // Rows of one item are asked together, and those that say how they break, each with its likes.
    let mut items: BTreeMap<Item<'_>, Vec<&Row>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.exception.is_none()) {
        if let Some(code) = row.code.as_deref().filter(|code| code.starts_with(PROTO)) {
            items
                .entry((code, row.change.as_ref()))
                .or_default()
                .push(row);
        }
    }
    let kept = tree::root().join("specs/mutation.txt");
    let before = match words.contains(&"--again") {
        true => String::new(),
        false => fs::read_to_string(&kept).unwrap_or_default(),
    };
    let mut verdicts = known(rows, &before);
    for rows in items.values_mut() {
        rows.retain(|row| !verdicts.contains_key(row.place.as_str()));
    }
    items.retain(|_, rows| !rows.is_empty());
    // In an order that has nothing to do with where things stand: when time is up, it was a sample.
    let mut items: Vec<_> = items.into_iter().collect();
    items.sort_by_key(|((code, _), _)| {
        code.bytes()
            .fold(7u32, |hash, byte| hash.wrapping_mul(31) ^ u32::from(byte))
    });
    for (item, rows_of_it) in &items {
        bench.judge(*item, rows_of_it, deadline, &mut verdicts)?;
        fs::write(&kept, report(rows, &verdicts, minutes))?;
    }
    bench.restore()?;
    let report = report(rows, &verdicts, minutes);
    println!("{}", report.lines().take(6).collect::<Vec<_>>().join("\n"));
    Ok(())
}

/// The code that rows point to, and the change they ask for.
type Item<'r> = (&'r str, Option<&'r (String, String)>);

const PROTO: &str = "crates/tidegate-proto/";

/// What bit in an earlier run need not be asked again.
fn known<'r>(rows: &'r [Row], before: &str) -> BTreeMap<&'r str, Verdict> {
    let lines: Vec<&str> = before.lines().collect();
    let mut known = BTreeMap::new();
    for pair in lines.windows(2) {
        let row = rows
            .iter()
            .find(|row| pair[0] == format!("bites  {}", title(row)));
        let same = |row: &&Row| {
            let asked = row.change.as_ref().map(told);
            asked.is_none_or(|asked| asked == pair[1].trim())
        };
        if let Some(row) = row.filter(same) {
            known.insert(
                row.place.as_str(),
                Verdict::Bites(pair[1].trim().to_owned()),
            );
        }
    }
    known
}

fn title(row: &Row) -> String {
    format!("{} §{} {} {}", row.rfc, row.section, row.level, row.says)
}

/// How a change fared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ran {
    Passed,
    Failed,
    Unbuilt,
}

/// What the copy consists of.
const COPIED: [&str; 3] = [
    "crates/tidegate-proto",
    "tests/cases/src",
    "tests/conformance/cases",
];

/// A copy of the core and of the case table, and where it is built.
struct Bench {
    root: PathBuf,
}

impl Bench {
    fn set_up() -> Result<Bench> {
        let root = tree::target().join("mutants");
        for part in COPIED {
            copy(&tree::root().join(part), &root.join(part))?;
        }
        let manifest = fs::read_to_string(tree::root().join("Cargo.toml"))?;
        fs::write(
            root.join("Cargo.toml"),
            small_workspace(&manifest, &["crates/*", "tests/cases"]),
        )?;
        thin_out(&root.join("tests/cases"))?;
        fs::create_dir_all(root.join("tests/cases/tests"))?;
        let table = "tests/cases/tests/table.rs";
        fs::copy(tree::root().join(table), root.join(table))?;
        let bench = Bench { root };
        let started = bench.cargo(&["test", "--no-run", "-p", "tidegate-proto", "--lib"], "")?;
        let table = ["test", "-p", "tidegate-cases", "--test", "table"];
        let table = bench.cargo(&table, "=text")?;
        if started != Ran::Passed || table != Ran::Passed {
            return Err("the copy does not pass its tests before any change".into());
        }
        Ok(bench)
    }

    /// Changes `code` until a test of each of `rows` has failed.
    fn judge<'r>(
        &self,
        (code, asked): Item<'_>,
        rows: &[&'r Row],
        deadline: Instant,
        verdicts: &mut BTreeMap<&'r str, Verdict>,
    ) -> Result<()> {
        let (path, _) = place::split(code)?;
        let original = fs::read_to_string(tree::root().join(path))?;
        let all = match asked {
            Some(asked) => vec![own_change(&original, code, asked)?],
            None => changes(&original, place::code(tree::root(), code)?, rows),
        };
        let mut open: Vec<&Row> = rows.to_vec();
        let mut tried = 0;
        for change in all {
            if open.is_empty() || tried == MOST_CHANGES || Instant::now() > deadline {
                break;
            }
            fs::write(self.root.join(path), &change.text)?;
            let mut still = Vec::new();
            let mut builds = true;
            for row in open {
                let ran = if builds {
                    self.tests_of(row)?
                } else {
                    Ran::Unbuilt
                };
                builds = ran != Ran::Unbuilt;
                match ran {
                    Ran::Failed => {
                        verdicts.insert(&row.place, Verdict::Bites(change.says.clone()));
                    }
                    Ran::Passed | Ran::Unbuilt => still.push(row),
                }
            }
            tried += usize::from(builds);
            open = still;
        }
        fs::write(self.root.join(path), original)?;
        for row in open {
            let late = Instant::now() > deadline;
            let verdict = if late {
                Verdict::Unasked
            } else {
                Verdict::Silent(tried)
            };
            verdicts.insert(&row.place, verdict);
        }
        println!("{code}: {tried} changes, {} rows", rows.len());
        Ok(())
    }

    /// Runs a row's tests until one fails.
    fn tests_of(&self, row: &Row) -> Result<Ran> {
        for test in &row.tests {
            let ran = match place::case(test) {
                Some((_, name)) => {
                    let case = format!("={name}");
                    self.cargo(&["test", "-p", "tidegate-cases", "--test", "table"], &case)?
                }
                None if test.starts_with(PROTO) => {
                    let (_, name) = place::split(test)?;
                    self.cargo(&["test", "-p", "tidegate-proto", "--lib", name], "")?
                }
                None => Ran::Passed,
            };
            if ran != Ran::Passed {
                return Ok(ran);
            }
        }
        Ok(Ran::Passed)
    }

    fn cargo(&self, words: &[&str], case: &str) -> Result<Ran> {
        // A change may make a loop endless.
        let mut command = Command::new("timeout");
        command
            .arg("300")
            .arg(tree::cargo())
            .args(words)
            .current_dir(&self.root);
        command
            .env("CARGO_TARGET_DIR", self.root.join("target"))
            .env("RUST_BACKTRACE", "0");
        if !case.is_empty() {
            command.env("TIDEGATE_CASE", case);
        }
        let finished = sh::quiet(&mut command)?;
        Ok(match finished.ok {
            true => Ran::Passed,
            false if finished.output.contains("could not compile") => {
                let why = finished
                    .output
                    .lines()
                    .find(|line| line.starts_with("error"));
                println!("  does not build: {}", why.unwrap_or_default());
                Ran::Unbuilt
            }
            false => Ran::Failed,
        })
    }

    fn restore(&self) -> Result<()> {
        copy(
            &tree::root().join("crates/tidegate-proto"),
            &self.root.join("crates/tidegate-proto"),
        )
    }
}

/// The workspace's manifest with few members and quick builds.
pub(crate) fn small_workspace(manifest: &str, members: &[&str]) -> String {
    let members = format!("members = {members:?}");
    let keep = |line: &&str| !line.starts_with("default-members");
    let line = |line: &str| match line {
        _ if line.starts_with("members = ") => members.clone(),
        "opt-level = 1" => "opt-level = 0".to_owned(),
        "debug = \"line-tables-only\"" => "debug = false".to_owned(),
        _ => line.to_owned(),
    };
    manifest
        .lines()
        .filter(keep)
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Takes from the case table's crate what its tests do not need: the fuzz targets, and with them the hub.
fn thin_out(cases: &Path) -> Result<()> {
    let manifest = fs::read_to_string(tree::root().join("tests/cases/Cargo.toml"))?;
    let own = manifest.split("[dev-dependencies]").next();
    let own = own.unwrap_or_default().lines();
    let own: Vec<&str> = own
        .filter(|line| !line.starts_with("tidegate-hub"))
        .collect();
    let manifest = format!("{}\n[lints]\nworkspace = true\n", own.join("\n"));
    fs::write(cases.join("Cargo.toml"), manifest)?;
    let library = fs::read_to_string(cases.join("src/lib.rs"))?;
    let gone = ["pub mod targets;", "pub mod seeds;"];
    let kept: Vec<&str> = library
        .lines()
        .filter(|line| !gone.contains(line))
        .collect();
    fs::write(cases.join("src/lib.rs"), kept.join("\n") + "\n")?;
    Ok(fs::remove_dir_all(cases.join("src/bin"))?)
}

/// Copies a folder; files that are the same already keep their time, so that little is built anew.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if fs::read(entry.path())? != fs::read(&target).unwrap_or_default() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// One small change.
struct Change {
    says: String,
    text: String,
}

/// How a change is told in the report.
fn told((was, becomes): &(String, String)) -> String {
    let becomes = match becomes.is_empty() {
        true => "// gone",
        false => becomes,
    };
    format!("`{}` becomes `{}`", flat(was), flat(becomes))
}

/// The change that a row asks for.
fn own_change(original: &str, code: &str, asked: &(String, String)) -> Result<Change> {
    let at = place::line(tree::root(), code, &asked.0)?;
    let mut lines: Vec<String> = original.lines().map(str::to_owned).collect();
    lines[at] = lines[at].replacen(&asked.0, &asked.1, 1);
    Ok(Change {
        says: told(asked),
        text: lines.join("\n") + "\n",
    })
}

/// Changes within `range`. First those that take something out, and of all those that stand just below a citation
/// of one of the rows' sections.
fn changes(original: &str, range: std::ops::Range<usize>, rows: &[&Row]) -> Vec<Change> {
    let lines: Vec<&str> = original.lines().collect();
    let cited = |at: usize| {
        let above = lines[at.saturating_sub(6)..=at].iter();
        let cites =
            |row: &Row, line: &str| line.contains(&format!("//= {}#{}", row.rfc, row.section));
        above
            .into_iter()
            .any(|line| rows.iter().any(|row| cites(row, line)))
    };
    let mut found: Vec<((bool, bool), Change)> = Vec::new();
    for at in range {
        for (was, becomes) in line_changes(&lines, at) {
            let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            for line in &mut changed[at..at + was.lines().count()] {
                line.clear();
            }
            changed[at].clone_from(&becomes);
            let says = format!("`{}` becomes `{}`", flat(&was), flat(&becomes));
            let text = changed.join("\n") + "\n";
            let rank = (!takes_out(&becomes), !cited(at));
            found.push((rank, Change { says, text }));
        }
    }
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, change)| change).collect()
}

/// A check is gone or never strikes, rather than turned round, which would break all else too.
fn takes_out(line: &str) -> bool {
    let signs = [
        "// gone",
        "if false",
        "_ => true",
        "Ok(ProtocolError",
        "::SlowConsumer",
    ];
    signs.iter().any(|sign| line.contains(sign))
}

fn flat(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('`', "'")
}

/// Words that are turned round.
const SWAPS: &[(&str, &str)] = &[
    (" == ", " != "),
    (" != ", " == "),
    (" < ", " >= "),
    (" <= ", " > "),
    (" > ", " <= "),
    (" >= ", " < "),
    (" && ", " || "),
    (" || ", " && "),
    ("!", ""),
    ("true", "false"),
    ("false", "true"),
    (" + ", " - "),
    (".any(", ".all("),
    (".all(", ".any("),
    ("is_none()", "is_some()"),
    ("is_some()", "is_none()"),
    ("..=", ".."),
    ("Err(", "Ok("),
];

/// What can be changed at one line: the lines that go and what comes instead.
fn line_changes(lines: &[&str], at: usize) -> Vec<(String, String)> {
    let line = lines[at];
    let trimmed = line.trim();
    if trimmed.starts_with("//")
        || trimmed.starts_with('#')
        || trimmed.is_empty()
        || trimmed.contains("fn ")
    {
        return Vec::new();
    }
    let mut found = Vec::new();
    if let Some((before, condition)) = line
        .split_once("if ")
        .filter(|(_, rest)| rest.ends_with(" {"))
    {
        let condition = condition.trim_end_matches(" {");
        if !condition.starts_with("let ") {
            found.push((line.into(), format!("{before}if false && ({condition}) {{")));
            found.push((line.into(), format!("{before}if true || ({condition}) {{")));
        }
    }
    if let Some(whole) = statement(lines, at) {
        found.push((whole, "// gone".into()));
    }
    for (was, becomes) in SWAPS {
        let part_of_more = *was == "!" && (line.contains("!=") || line.contains("assert"));
        if line.contains(was) && !part_of_more {
            found.push((line.into(), line.replacen(was, becomes, 1)));
        }
    }
    found.extend(other_error(line).map(|other| (line.to_owned(), other)));
    found.extend(arm(line).map(|gone| (line.to_owned(), gone)));
    found.extend(number(line).map(|other| (line.to_owned(), other)));
    found.extend(string(line).map(|other| (line.to_owned(), other)));
    found
}

/// A whole statement that can be left out: it begins here, binds nothing and ends with `;`.
fn statement(lines: &[&str], at: usize) -> Option<String> {
    let first = lines[at].trim();
    let before = lines[..at]
        .iter()
        .rev()
        .map(|line| line.trim())
        .find(|line| !line.starts_with("//"))?;
    let begins = before.is_empty() || before.ends_with([';', '{', '}']);
    let control = [
        "let ", "if ", "match ", "for ", "while ", "loop ", "return ", "pub ", "const ", "}",
        "break", "continue", "use ",
    ];
    if !begins || control.iter().any(|word| first.starts_with(word)) {
        return None;
    }
    let indent = lines[at].len() - lines[at].trim_start().len();
    let end = lines[at..]
        .iter()
        .take(12)
        .position(|line| line.ends_with(';'))?;
    let last = lines[at + end];
    let same_depth =
        last.len() - last.trim_start().len() == indent || last.trim_start().starts_with('.');
    same_depth.then(|| lines[at..=at + end].join("\n"))
}

/// The verdict becomes another one, with another close code.
fn other_error(line: &str) -> Option<String> {
    const VERDICT: &str = "ProtocolError::";
    let start = line.find(VERDICT)? + VERDICT.len();
    let name = line[start..].split(|c: char| !c.is_alphanumeric()).next()?;
    let plain = !line[start + name.len()..].starts_with(" {");
    plain.then(|| line.replacen(name, "SlowConsumer", 1))
}

/// A match arm on one line, left out.
fn arm(line: &str) -> Option<String> {
    let trimmed = line.trim();
    (trimmed.contains(" => ") && trimmed.ends_with(',')).then(|| "// gone".to_owned())
}

/// The first number on the line, one more.
fn number(line: &str) -> Option<String> {
    let start = line.char_indices().find(|(at, c)| {
        c.is_ascii_digit()
            && !line[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.')
    })?;
    let digits: String = line[start.0..]
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    let plain = digits.replace('_', "");
    let value = match plain.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => plain.parse().ok()?,
    };
    Some(line.replacen(&digits, &(value + 1).to_string(), 1))
}

/// The first text on the line, another one.
fn string(line: &str) -> Option<String> {
    let start = line.find('"')? + 1;
    let len = line[start..].find('"')?;
    (len > 0 && !line.contains("expect("))
        .then(|| format!("{}zz{}", &line[..start], &line[start + len..]))
}

fn report(rows: &[Row], verdicts: &BTreeMap<&str, Verdict>, minutes: u64) -> String {
    let of = |row: &Row| verdicts.get(row.place.as_str());
    let count = |test: fn(&Verdict) -> bool| verdicts.values().filter(|v| test(v)).count();
    let bites = count(|v| matches!(v, Verdict::Bites(_)));
    let silent = count(|v| matches!(v, Verdict::Silent(_)));
    let unasked = count(|v| matches!(v, Verdict::Unasked));
    let mut text = format!(
        "# Written by `cargo xtask specs --mutate --minutes {minutes}`: for each requirement, a change to the code it\n\
         # points to that makes a test it names fail. One change at a time, in a copy of the tree.\n\
         {bites} requirements bite, {silent} do not with the changes tried, {unasked} were not asked for lack of time;\n\
         those outside the core (transport, engine) and exceptions are not asked.\n\n"
    );
    for row in rows {
        let Some(verdict) = of(row) else { continue };
        let (sign, note) = match verdict {
            Verdict::Bites(change) => ("bites ", change.clone()),
            Verdict::Silent(tried) => ("SILENT", format!("{tried} changes passed its tests")),
            Verdict::Unasked => ("unasked", String::new()),
        };
        let _ = writeln!(text, "{sign} {}\n       {note}", title(row));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_taken_out_and_turned_round() {
        let lines = [
            "fn f() {",
            "    if a < 5 {",
            "        return Err(x);",
            "    }",
            "    ensure(",
            "        b,",
            "    )?;",
            "    Ok(())",
            "}",
        ];
        let all: Vec<String> = (0..lines.len())
            .flat_map(|at| line_changes(&lines, at))
            .map(|(_, becomes)| becomes)
            .collect();
        for wanted in [
            "    if false && (a < 5) {",
            "    if a >= 5 {",
            "    if a < 6 {",
            "// gone",
        ] {
            assert!(
                all.iter().any(|change| change == wanted),
                "{wanted}: {all:?}"
            );
        }
        assert_eq!(
            statement(&lines, 4).as_deref(),
            Some("    ensure(\n        b,\n    )?;")
        );
        assert_eq!(statement(&lines, 5), None, "not the middle of a statement");
        assert_eq!(number("x = 0x30;").as_deref(), Some("x = 49;"));
    }
}
