//! Licences, sources and banned crates of everything that is built, judged by `deny.toml` with nothing but `cargo tree`:
//! on any machine, in a second. It knows no advisories; cargo-deny does (`cargo xtask test --full`).

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::sh::{self, Result};
use crate::steps::Count;
use crate::tree;

/// A step of `cargo xtask test`.
pub(crate) fn run() -> Result<Count> {
    let rules = Rules::read(&fs::read_to_string(tree::root().join("deny.toml"))?);
    // Not `cargo metadata`: it also tells of optional crates that no feature has asked for.
    let built = sh::must(
        Command::new(tree::cargo())
            .args(["tree", "--workspace", "--all-features", "--edges", "all"])
            .args([
                "--locked", "--quiet", "--prefix", "none", "--format", "{p}|{l}",
            ])
            .current_dir(tree::root()),
    )?;
    let faults = rules.faults(&built);
    for fault in &faults {
        println!("{fault}");
    }
    Ok(Count::one(faults.is_empty()))
}

/// What of `deny.toml` is judged here.
struct Rules {
    /// Licences that may come in.
    allowed: BTreeSet<String>,
    /// Crates that may not.
    banned: BTreeSet<String>,
}

impl Rules {
    /// Reads the first `allow` list and the `crate` names of the `deny` list.
    fn read(text: &str) -> Rules {
        Rules {
            allowed: quoted(list(text, "allow = [")).collect(),
            banned: list(text, "deny = [")
                .lines()
                .filter_map(|line| quoted(line.split_once("crate = ")?.1).next())
                .collect(),
        }
    }

    /// What breaks the rules among these lines: name, version and perhaps source, a bar, the licence.
    fn faults(&self, built: &str) -> Vec<String> {
        let lines: BTreeSet<&str> = built
            .lines()
            .map(|line| line.trim_end_matches(" (*)"))
            .filter(|line| line.contains('|'))
            .collect();
        lines
            .into_iter()
            .filter_map(|line| self.fault(line))
            .collect()
    }

    fn fault(&self, line: &str) -> Option<String> {
        let (package, licence) = line.split_once('|')?;
        let name = package.split(' ').next().unwrap_or(package);
        let foreign = ["(http", "(git", "(ssh", "(registry"];
        if self.banned.contains(name) {
            return Some(format!("{name} is banned by deny.toml"));
        }
        if foreign.iter().any(|source| package.contains(source)) {
            return Some(format!("{package} comes from somewhere else"));
        }
        match satisfied(licence, &self.allowed) {
            Some(true) => None,
            Some(false) => Some(format!(
                "{name} is under {licence}, which deny.toml does not allow"
            )),
            None => Some(format!("{name}: {licence:?} is no licence expression")),
        }
    }
}

/// Whether an SPDX expression can be met with these licences; `None` when it is none. A slash is the old `OR`.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> Option<bool> {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader {
        words: &words,
        allowed,
    };
    let verdict = reader.either()?;
    reader.words.is_empty().then_some(verdict)
}

struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a BTreeSet<String>,
}

impl Reader<'_> {
    fn takes(&mut self, word: &str) -> bool {
        let takes = self.words.first() == Some(&word);
        if takes {
            self.words = &self.words[1..];
        }
        takes
    }

    fn either(&mut self) -> Option<bool> {
        let mut met = self.both()?;
        while self.takes("OR") {
            met |= self.both()?;
        }
        Some(met)
    }

    fn both(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.takes("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.takes("(") {
            let met = self.either()?;
            return self.takes(")").then_some(met);
        }
        let (name, rest) = self.words.split_first()?;
        if ["AND", "OR", "WITH", ")"].contains(name) {
            return None;
        }
        self.words = rest;
        let mut name = (*name).to_owned();
        if self.takes("WITH") {
            let (exception, rest) = self.words.split_first()?;
            self.words = rest;
            name = format!("{name} WITH {exception}");
        }
        Some(self.allowed.contains(&name))
    }
}

/// What stands between these words and the bracket that closes the list.
fn list<'t>(text: &'t str, begins: &str) -> &'t str {
    let rest = text.split_once(begins).map_or("", |(_, rest)| rest);
    rest.split_once("\n]").map_or("", |(inside, _)| inside)
}

/// The strings in a text.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{Rules, satisfied};

    const DENY: &str = "[licenses]\nallow = [\n    \"MIT\",\n    \"ISC\",\n    \"X WITH Y\",\n]\n[bans]\ndeny = [\n    { crate = \"bad\", reason = \"b\" },\n]\n";

    #[test]
    fn an_expression_is_met_or_not_or_none() {
        let allowed = Rules::read(DENY).allowed;
        let rows = [
            ("MIT", Some(true)),
            ("GPL-3.0", Some(false)),
            ("GPL-3.0 OR MIT", Some(true)),
            ("GPL-3.0/MIT", Some(true)),
            ("GPL-3.0 AND MIT", Some(false)),
            ("ISC AND (GPL-3.0 OR MIT)", Some(true)),
            ("GPL-3.0 OR ISC AND MIT", Some(true)),
            ("X", Some(false)),
            ("X WITH Y", Some(true)),
            ("(MIT", None),
            ("MIT MIT", None),
            ("OR", None),
            ("", None),
        ];
        for (expression, expected) in rows {
            assert_eq!(satisfied(expression, &allowed), expected, "{expression}");
        }
    }

    #[test]
    fn each_line_is_judged_by_name_source_and_licence() {
        let built = "own v0.1.0 (/somewhere/own)|MIT\ngood v1.0.0|MIT\nderive v1.0.0 (proc-macro)|ISC (*)\n\
            bad v1.0.0|MIT\nstrict v1.0.0|GPL-3.0\nfar v1.0.0 (https://example.com/far#0)|MIT\nnone v1.0.0|\n";
        let faults = Rules::read(DENY).faults(built);
        assert_eq!(faults.len(), 4, "{faults:?}");
    }
}
