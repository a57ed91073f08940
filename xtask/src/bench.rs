//! `cargo xtask bench …`: what is measured, each job in a file of its own. Only the gate judges by itself, for it counts;
//! times and memory are compared within a run and kept.

mod agree;
mod callgrind;
mod children;
mod contenders;
mod gate;
mod guard;
mod idle;
mod load;
mod micro;
mod on_tokio;
mod plot;
pub(crate) mod runs;
mod scale;
mod scenarios;
mod stats;
mod versus;
mod words;

use std::path::PathBuf;
use std::process::Command;

use crate::sh::{self, Result};
use crate::tree;

pub(crate) use gate::step;

/// `cargo xtask bench WHAT …`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    match words {
        ["gate", rest @ ..] => gate::job(rest),
        ["guard", rest @ ..] => guard::job(rest),
        ["micro", rest @ ..] => micro::job(rest),
        ["async", rest @ ..] => on_tokio::job(rest),
        ["idle", rest @ ..] => idle::job(rest),
        ["scale", rest @ ..] => scale::job(rest),
        ["agree", rest @ ..] => agree::job(rest),
        ["plot"] => plot::job(),
        [name, rest @ ..] if versus::JOBS.contains(name) => versus::job(name, rest),
        _ => Err("bench: which one? see cargo xtask help".into()),
    }
}

/// Builds the program of `bench/NAME`, a workspace of its own, as it would be shipped.
fn build(name: &str) -> Result<PathBuf> {
    let target = tree::target().join(name);
    sh::must(
        Command::new(tree::cargo())
            .args(["build", "--release", "--locked", "--manifest-path"])
            .arg(tree::root().join("bench").join(name).join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target),
    )?;
    Ok(target.join(format!("release/tidegate-{name}")))
}
