//! The checks that cargo and its companions make. Never judges itself.

use std::process::Command;

use crate::setup;
use crate::sh::{self, Result};
use crate::steps::Count;
use crate::test::program;
use crate::tree;

pub(crate) fn format() -> Result<Count> {
    program(cargo().args(["fmt", "--all", "--check"]), tree::root())
}

pub(crate) fn clippy() -> Result<Count> {
    let words = [
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    program(cargo().args(words), tree::root())
}

/// Unit and integration tests: nextest where it is installed, plain cargo elsewhere; both must pass.
pub(crate) fn tests() -> Result<Count> {
    let mut command = cargo();
    if tree::which("cargo-nextest").is_some() {
        command.args([
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
            "--status-level",
            "fail",
            "--final-status-level",
            "fail",
        ]);
    } else {
        command.args([
            "test",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--no-fail-fast",
        ]);
    }
    Ok(Count::read(&sh::show(command.current_dir(tree::root()))?))
}

/// nextest does not run these.
pub(crate) fn doc_tests() -> Result<Count> {
    Ok(Count::read(&sh::show(
        cargo()
            .args(["test", "--quiet", "--workspace", "--doc", "--no-fail-fast"])
            .current_dir(tree::root()),
    )?))
}

/// What takes too long for every run: a message of 8 GiB through a real socket, on both faces.
pub(crate) fn giant() -> Result<Count> {
    let mut count = Count::default();
    for (package, test) in [("tidegate-cases", "memory"), ("tidegate", "long")] {
        let mut command = cargo();
        command
            .args(["test", "--quiet", "--package", package, "--test", test])
            .args(["--", "--ignored", "--nocapture", "8_gib"]);
        count += Count::read(&sh::show(command.current_dir(tree::root()))?);
    }
    Ok(count)
}

/// A million messages, wrapped in every way, through the guard in memory.
pub(crate) fn wrappings() -> Result<Count> {
    let mut command = cargo();
    command
        .args([
            "test",
            "--quiet",
            "--package",
            "tidegate-guard",
            "--test",
            "wrappings",
        ])
        .args(["--", "--ignored", "f12_a_million_wrappings"]);
    Ok(Count::read(&sh::show(command.current_dir(tree::root()))?))
}

/// The rows whose threats name large numbers, with those numbers: 10^6 fragments, 10,000 resets, 5,000 who come back at once.
pub(crate) fn large_rows() -> Result<Count> {
    let mut command = cargo();
    command
        .args(["test", "--quiet", "--package", "tidegate-cli"])
        .args(["--test", "guard", "--"])
        .args(["r3_r4_r5", "r10_", "r11_", "h11_many"])
        .env("TIDEGATE_FULL", "1");
    Ok(Count::read(&sh::show(command.current_dir(tree::root()))?))
}

pub(crate) fn deny() -> Result<Count> {
    program(
        Command::new(setup::ensure("deny")?).args(["--all-features", "check"]),
        tree::root(),
    )
}

fn cargo() -> Command {
    Command::new(tree::cargo())
}
