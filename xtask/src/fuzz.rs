//! `cargo xtask fuzz`: the fuzz targets in turn, each for its share of the time; installs cargo-fuzz below
//! `target/tools` when it is missing. It never runs as a part of `test`: that replays the corpora.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sh::{self, Result};
use crate::tree;

/// `cargo xtask fuzz [seed | minimise | [--minutes N] [target…]]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    match words.split_first() {
        Some((&"seed", _)) => seed(),
        Some((&"minimise", targets)) => minimise(targets),
        _ => run(words),
    }
}

/// Writes the case table's rows into the corpora.
fn seed() -> Result<()> {
    let corpus = tree::root().join("fuzz/corpus");
    let mut command = Command::new(tree::cargo());
    command.args([
        "run",
        "--quiet",
        "-p",
        "tidegate-cases",
        "--bin",
        "seeds",
        "--",
    ]);
    told(command.arg(corpus).current_dir(tree::root()))
}

/// Runs the targets, all of them or those named; new finds go to a folder below `target`, not into the tree.
fn run(words: &[&str]) -> Result<()> {
    let (minutes, named) = match words {
        ["--minutes", number, named @ ..] => (number.parse()?, named),
        named => (10.0, named),
    };
    let targets = targets(named)?;
    let seconds = (minutes * 60.0 / targets.len() as f64).max(1.0) as u64;
    let mut faults = Vec::new();
    for target in &targets {
        println!("{target}: {seconds} s");
        let finds = finds(target)?;
        let mut command = cargo_fuzz("run", target)?;
        command.args([&finds, &corpus(target)]);
        command.args([
            "--",
            "-max_len=4096",
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-print_final_stats=1",
        ]);
        command.arg(format!("-max_total_time={seconds}"));
        let finished = sh::quiet(&mut command)?;
        println!("{}", summary(&finished.output));
        if !finished.ok {
            println!("{}", sh::tail(&finished.output, 40));
            faults.push(target.as_str());
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!(
        "findings in {}; their inputs are in fuzz/artifacts",
        faults.join(", ")
    )
    .into())
}

/// Takes the finds into the tree's corpora and keeps the fewest inputs that reach as much.
fn minimise(named: &[&str]) -> Result<()> {
    for target in targets(named)? {
        let (tree, finds, kept) = (
            corpus(&target),
            finds(&target)?,
            finds(&format!("{target}-kept"))?,
        );
        fs::remove_dir_all(&kept)?;
        fs::create_dir_all(&kept)?;
        let mut command = cargo_fuzz("run", &target)?;
        command.args([&kept, &tree, &finds]);
        // Edges alone: with counters a corpus is ten times as large and reaches no other line.
        told(command.args([
            "--",
            "-set_cover_merge=1",
            "-use_counters=0",
            "-max_len=1024",
        ]))?;
        fs::remove_dir_all(&tree)?;
        fs::create_dir_all(&tree)?;
        for entry in fs::read_dir(&kept)? {
            let entry = entry?;
            fs::copy(entry.path(), tree.join(entry.file_name()))?;
        }
        println!("{target}: {} inputs", fs::read_dir(&tree)?.count());
    }
    Ok(())
}

/// The inputs kept in the tree.
fn corpus(target: &str) -> PathBuf {
    tree::root().join("fuzz/corpus").join(target)
}

/// Where a target's new inputs go.
fn finds(target: &str) -> Result<PathBuf> {
    let folder = tree::target().join("fuzz").join(target);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The targets named, or all there are.
fn targets(named: &[&str]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(tree::root().join("fuzz/fuzz_targets"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        all.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    all.sort();
    if let Some(unknown) = named
        .iter()
        .find(|name| !all.iter().any(|target| target == *name))
    {
        return Err(format!(
            "no fuzz target is called {unknown:?}; there are {}",
            all.join(", ")
        )
        .into());
    }
    all.retain(|target| named.is_empty() || named.contains(&target.as_str()));
    Ok(all)
}

/// `cargo fuzz <what> <target>`, without a sanitizer, so that stable Rust does. The code is safe Rust but for
/// the mask, whose safe twin is compared with it.
fn cargo_fuzz(what: &str, target: &str) -> Result<Command> {
    let mut command = Command::new(installed()?);
    command.args([what, "-s", "none", "--target-dir"]);
    command.arg(tree::target().join("fuzz/build")).arg(target);
    command.current_dir(tree::root());
    Ok(command)
}

/// The program, installed when it is missing.
fn installed() -> Result<PathBuf> {
    let program = tree::tools().join("bin/cargo-fuzz");
    if !program.exists() {
        install(&tree::tools())?;
    }
    Ok(program)
}

fn install(root: &Path) -> Result<()> {
    println!("installing cargo-fuzz below {}", root.display());
    let mut command = Command::new(tree::cargo());
    command.args([
        "install",
        "cargo-fuzz",
        "--version",
        "0.13.2",
        "--locked",
        "--quiet",
        "--root",
    ]);
    sh::must(command.arg(root)).map(drop)
}

fn told(command: &mut Command) -> Result<()> {
    let finished = sh::show(command)?;
    finished
        .ok
        .then_some(())
        .ok_or_else(|| "it failed; see above".into())
}

/// libFuzzer's own figures.
fn summary(output: &str) -> String {
    let telling = |line: &&str| {
        line.starts_with("stat::number_of_executed_units")
            || line.starts_with("stat::average_exec")
            || line.starts_with("Done ")
    };
    let lines: Vec<&str> = output.lines().filter(telling).collect();
    format!("  {}", lines.join("; "))
}
