//! What the tests need: the binary as a process, and its document.

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

/// Runs `tidegate check` with these words, without settings from the environment of whoever runs the tests.
pub(crate) fn check(words: &[&str]) -> Output {
    let mut command = command();
    command.arg("check").args(words).stdin(Stdio::null());
    command.output().expect("the binary starts")
}

/// The binary.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDEGATE_") {
            command.env_remove(name);
        }
    }
    command
}

/// The report as a document, with patience for a busy machine.
pub(crate) fn report(url: &str, words: &[&str]) -> Value {
    let bounds = ["--json", "--fail-on", "never", "--patience", "3000"];
    let output = check(&[&[url], &bounds[..], words].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{:?}: {said}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// The findings' names.
pub(crate) fn found(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().expect("findings");
    findings
        .iter()
        .map(|finding| finding["id"].as_str().expect("a name").to_owned())
        .collect()
}
