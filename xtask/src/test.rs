//! `cargo xtask test`: set-up, then every check there is, one after another. Never stops at a failure and never
//! leaves a check out without saying so.

use std::path::Path;
use std::process::Command;

use crate::sh::{self, Result};
use crate::steps::{Count, Steps};
use crate::{
    bench, browser, builds, checks, cleanroom, conformance, crowd, deb, interop, licences, matrix,
    mutants, server, specs, tidy, tree,
};

/// `cargo xtask test [--full] [filter]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let full = words.contains(&"--full");
    let filter = words
        .iter()
        .find(|word| !word.starts_with('-'))
        .map(|word| (*word).to_owned());
    let mut steps = Steps::new(filter);

    steps.run("tidy", tidy::run);
    steps.run("specs", || specs::job(&[]).map(|()| Count::one(true)));
    steps.run("licences and sources", licences::run);
    steps.run("format", checks::format);
    steps.run("clippy", checks::clippy);
    steps.run("unit and integration tests", checks::tests);
    steps.run("examples in the documentation", checks::doc_tests);
    steps.run("each feature alone", builds::features);
    steps.run("few dependencies, no newer compiler", builds::dependencies);
    steps.run("the split in every order", builds::orders);
    bench::step(&mut steps);
    live(&mut steps, full);
    if full {
        interop::step(&mut steps, "Debian's compiler", &["rustc"], builds::debian);
        steps.run("release build", || {
            server::build(true).map(|_| Count::one(true))
        });
        steps.run("8 GiB each way", checks::giant);
        steps.run("a million wrappings", checks::wrappings);
        steps.run(
            "the guard's rows with their large numbers",
            checks::large_rows,
        );
        steps.run("each check of the guard bites", mutants::step);
        steps.run("1,000 schedules in the simulator", || {
            let mut schedules = Command::new(tree::cargo());
            schedules.args(["run", "--quiet", "-p", "tidegate-sim", "--", "1000"]);
            program(&mut schedules, tree::root())
        });
        interop::step(
            &mut steps,
            "advisories and licences",
            &["deny"],
            checks::deny,
        );
        cleanroom::step(&mut steps);
    }
    print!("{}", steps.table());
    steps.verdict()
}

/// Everything that runs against the living server.
fn live(steps: &mut Steps, full: bool) {
    let mut binary = None;
    steps.run("build of the server", || {
        binary = Some(server::build(false)?);
        Ok(Count::one(true))
    });
    // With a filter the build has not been asked for by name, but its user may have been.
    let Some(binary) = binary.or_else(|| server::build(false).ok()) else {
        return;
    };
    conformance::steps(steps, &binary, full);
    interop::run(steps, &binary, full);
    browser::run(steps, &binary);
    crowd::steps(steps, &binary, full);
    matrix::step(steps, &binary);
    deb::step(steps, &binary);
}

/// What a step that is a program in itself counts.
pub(crate) fn program(command: &mut Command, root: &Path) -> Result<Count> {
    let finished = sh::show(command.current_dir(root))?;
    Ok(Count::one(finished.ok))
}
