//! The library as others build it: each feature alone, few crates by default, nothing that needs a newer compiler than
//! we say, and the model of the split in every order. Never changes a lock file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::setup;
use crate::sh::{self, Result};
use crate::steps::Count;
use crate::tree;

/// Crates that a program gets with the default features, ours included: fewer than this.
const MOST_CRATES: usize = 45;
/// What others build by themselves.
const LIBRARIES: [&str; 2] = ["tidegate-proto", "tidegate"];

/// Each feature alone, and none, compiles without a warning.
pub(crate) fn features() -> Result<Count> {
    let metadata = metadata()?;
    let mut count = Count::default();
    for library in LIBRARIES {
        let mut alone = vec![String::new()];
        alone.extend(features_of(&metadata, library)?);
        for feature in alone {
            println!("{library} --no-default-features --features \"{feature}\"");
            let mut command = Command::new(tree::cargo());
            command
                .args(["check", "--quiet", "--locked", "--no-default-features"])
                .args(["--package", library, "--features", &feature])
                .env("RUSTFLAGS", "-D warnings")
                // Other flags than usual: kept apart, so that nothing else is built anew.
                .env("CARGO_TARGET_DIR", tree::target().join("features"))
                .current_dir(tree::root());
            count += Count::one(sh::show(&mut command)?.ok);
        }
    }
    count += plain()?;
    Ok(count)
}

/// What a program without TLS is told. In the product's build the library's tests switch all features on.
fn plain() -> Result<Count> {
    let mut command = Command::new(tree::cargo());
    command
        .args(["test", "--quiet", "--locked", "--manifest-path"])
        .arg(tree::root().join("tests/plain/Cargo.toml"))
        .env("RUSTFLAGS", "-D warnings")
        .env("CARGO_TARGET_DIR", tree::target().join("features"));
    Ok(Count::read(&sh::show(&mut command)?))
}

/// The default tree is small, and all of it runs with the compiler that we promise.
pub(crate) fn dependencies() -> Result<Count> {
    let metadata = metadata()?;
    let needs = needed_compilers(&metadata);
    let mut count = Count::default();
    for library in LIBRARIES {
        let crates = tree_of(library, &[])?;
        println!(
            "{library}: {} crates with the default features",
            crates.len()
        );
        count += Count::one(crates.len() < MOST_CRATES);
        let ours = needs.get(library).copied().ok_or("no rust-version")?;
        for name in tree_of(library, &["--all-features"])? {
            let newer = needs.get(name.as_str()).filter(|needed| **needed > ours);
            if let Some((major, minor)) = newer {
                println!("{name} needs Rust {major}.{minor}, {library} promises {ours:?}");
                count += Count::one(false);
            }
        }
        count += Count::one(true);
    }
    Ok(count)
}

/// Debian's own compiler, the oldest we promise, builds both: by default and with all features.
pub(crate) fn debian() -> Result<Count> {
    let rustc = setup::ensure("rustc")?;
    let version = sh::must(Command::new(&rustc).arg("--version"))?;
    println!("{}", version.trim());
    let mut count = Count::default();
    for features in [&[][..], &["--all-features"]] {
        let mut command = Command::new(tree::cargo());
        command
            .args(["check", "--quiet", "--locked"])
            .args(LIBRARIES.iter().flat_map(|name| ["--package", name]))
            .args(features)
            .env("RUSTC", &rustc)
            .env("CARGO_TARGET_DIR", tree::target().join("debian"))
            .current_dir(tree::root());
        count += Count::one(sh::show(&mut command)?.ok);
    }
    Ok(count)
}

/// The split's shared state in every order of its threads.
pub(crate) fn orders() -> Result<Count> {
    let mut command = Command::new(tree::cargo());
    command
        .args(["test", "--quiet", "--locked", "--manifest-path"])
        .arg(tree::root().join("tests/loom/Cargo.toml"))
        .env("CARGO_TARGET_DIR", tree::target().join("loom"));
    Ok(Count::read(&sh::show(&mut command)?))
}

fn metadata() -> Result<Value> {
    let words = ["metadata", "--format-version", "1", "--locked"];
    let mut command = Command::new(tree::cargo());
    let text = sh::must(command.args(words).current_dir(tree::root()))?;
    Ok(serde_json::from_str(&text)?)
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn features_of(metadata: &Value, library: &str) -> Result<Vec<String>> {
    let package = packages(metadata).find(|package| package["name"] == library);
    let features = package.and_then(|package| package["features"].as_object());
    let names = features.ok_or("no such library")?.keys();
    Ok(names.filter(|name| *name != "default").cloned().collect())
}

/// Name, and the oldest compiler it says it needs. Of two versions of a crate the more demanding one counts.
fn needed_compilers(metadata: &Value) -> BTreeMap<&str, (u32, u32)> {
    let mut needed = BTreeMap::new();
    for package in packages(metadata) {
        let name = package["name"].as_str().unwrap_or_default();
        let version = package["rust_version"].as_str().and_then(parse);
        if let Some(version) = version {
            let entry = needed.entry(name).or_insert(version);
            *entry = version.max(*entry);
        }
    }
    needed
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The names of all crates below `library`, itself included.
fn tree_of(library: &str, more: &[&str]) -> Result<BTreeSet<String>> {
    let mut command = Command::new(tree::cargo());
    let words = ["tree", "--locked", "--edges", "normal", "--prefix", "none"];
    command.args(words).args(["--package", library]).args(more);
    let text = sh::must(command.current_dir(tree::root()))?;
    Ok(names(&text))
}

/// `name v1.2.3 (…)` on each line; a version counts as a crate of its own only once.
fn names(tree: &str) -> BTreeSet<String> {
    let lines = tree.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, _)| name.to_owned()).collect()
}

/// Debian's compiler, where it is installed.
pub(crate) fn debians_rustc() -> Option<&'static Path> {
    Some(Path::new("/usr/bin/rustc")).filter(|rustc| rustc.exists())
}

#[cfg(test)]
mod tests {
    use super::{names, parse};

    #[test]
    fn versions_and_trees_are_read() {
        assert_eq!(parse("1.85"), Some((1, 85)));
        assert_eq!(parse("1.85.1"), Some((1, 85)));
        assert_eq!(parse("nightly"), None);
        let tree = "tidegate v0.1.0 (/somewhere)\nbytes v1.12.1\nbytes v1.12.1 (*)\n\n";
        assert_eq!(names(tree).len(), 2);
    }
}
