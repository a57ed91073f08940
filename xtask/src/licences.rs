//! Licences, sources and banned crates of everything that is built, judged by `deny.toml` with nothing but
//! `cargo metadata`: on any machine, in a second. It knows no advisories; cargo-deny does (`cargo xtask test --full`).

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::sh::Result;
use crate::steps::Count;
use crate::tree;

/// A step of `cargo xtask test`.
pub(crate) fn run() -> Result<Count> {
    let rules = Rules::read(&fs::read_to_string(tree::root().join("deny.toml"))?);
    let output = Command::new(tree::cargo())
        .args(["metadata", "--format-version", "1", "--quiet", "--locked"])
        .args(["--all-features", "--filter-platform", &tree::host()?])
        .current_dir(tree::root())
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let faults = rules.faults(&metadata)?;
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

    /// What breaks the rules among the packages that are really built.
    fn faults(&self, metadata: &Value) -> Result<Vec<String>> {
        let nodes = metadata["resolve"]["nodes"].as_array();
        let nodes = nodes.ok_or("cargo metadata resolves nothing")?;
        let built: BTreeSet<&str> = nodes
            .iter()
            .filter_map(|node| node["id"].as_str())
            .collect();
        let packages = metadata["packages"].as_array().ok_or("no packages")?;
        let built = packages
            .iter()
            .filter(|package| package["id"].as_str().is_some_and(|id| built.contains(id)));
        Ok(built.filter_map(|package| self.fault(package)).collect())
    }

    fn fault(&self, package: &Value) -> Option<String> {
        let name = package["name"]
            .as_str()
            .unwrap_or("a package without a name");
        if self.banned.contains(name) {
            return Some(format!("{name} is banned by deny.toml"));
        }
        // A package of our own has no source.
        let source = package["source"].as_str().unwrap_or(CRATES_IO);
        if source != CRATES_IO {
            return Some(format!("{name} comes from {source}"));
        }
        let Some(licence) = package["license"].as_str() else {
            return Some(format!("{name} names no licence"));
        };
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

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[cfg(test)]
mod tests {
    use super::{Rules, satisfied};
    use serde_json::json;

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
    fn only_what_is_built_is_judged() {
        let package = |name: &str, licence: &str, source: &str| json!({ "id": name, "name": name, "license": licence, "source": source });
        let metadata = json!({
            "packages": [
                package("good", "MIT", super::CRATES_IO),
                package("bad", "MIT", super::CRATES_IO),
                package("strict", "GPL-3.0", super::CRATES_IO),
                package("far", "MIT", "git+https://example.com"),
                package("unused", "GPL-3.0", super::CRATES_IO),
            ],
            "resolve": { "nodes": [{ "id": "good" }, { "id": "bad" }, { "id": "strict" }, { "id": "far" }] },
        });
        let faults = Rules::read(DENY).faults(&metadata).unwrap();
        assert_eq!(faults.len(), 3, "{faults:?}");
    }
}
