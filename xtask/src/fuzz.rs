//! `cargo xtask fuzz`: the fuzz targets, two at a time, each for its share of the time; installs cargo-fuzz below
//! `target/tools` when it is missing. It never runs as a part of `test`: that replays the corpora.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::bench::runs::date;
use crate::sh::{self, Result};
use crate::tree;

/// `cargo xtask fuzz [seed | minimise [target…] | [--minutes N] [--asan] [--record] [target…]]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    match words.split_first() {
        Some((&"seed", _)) => seed(),
        Some((&"minimise", targets)) => minimise(targets),
        _ => Session::read(words)?.run(),
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

/// How a target is built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Build {
    /// Without a sanitizer: the code is safe Rust but for the mask, whose safe twin is compared with it.
    Plain,
    /// With AddressSanitizer, on stable Rust: for the one place with `unsafe`, and for the inflate crate, which has its own.
    Asan,
}

impl Build {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Asan => "asan",
        }
    }

    fn sanitizer(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Asan => "address",
        }
    }

    fn folder(self) -> PathBuf {
        match self {
            Self::Plain => tree::target().join("fuzz/build"),
            Self::Asan => tree::target().join("fuzz/build-asan"),
        }
    }

    fn target_names(self, named: &[&str]) -> Result<Vec<String>> {
        match self {
            Self::Asan if named.is_empty() => targets(&WITH_ASAN),
            _ => targets(named),
        }
    }

    /// Builds the targets once. What runs is these programs, so that nobody's edit in the tree stops a long run.
    fn programs(self, targets: &[String]) -> Result<Vec<PathBuf>> {
        for target in targets {
            let mut command = cargo_fuzz("build", self, target)?;
            sh::must(&mut command)?;
        }
        let release = self.folder().join(tree::host()?).join("release");
        Ok(targets.iter().map(|target| release.join(target)).collect())
    }
}

/// One run over several targets.
struct Session {
    minutes: f64,
    build: Build,
    record: bool,
    targets: Vec<String>,
}

/// What one target did.
struct Outcome {
    target: String,
    executions: u64,
    took: Duration,
    inputs: usize,
    finding: Option<String>,
}

impl Session {
    fn read(words: &[&str]) -> Result<Self> {
        let (mut minutes, mut build, mut record, mut named) =
            (10.0, Build::Plain, false, Vec::new());
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--minutes" => minutes = words.next().ok_or("--minutes wants a number")?.parse()?,
                "--asan" => build = Build::Asan,
                "--record" => record = true,
                name => named.push(name),
            }
        }
        let targets = build.target_names(&named)?;
        Ok(Self {
            minutes,
            build,
            record,
            targets,
        })
    }

    /// Runs the targets; new finds go to a folder below `target`, not into the tree.
    fn run(&self) -> Result<()> {
        let programs = self.build.programs(&self.targets)?;
        let (begun, cpu) = (Instant::now(), children_cpu());
        let outcomes = self.all(&programs)?;
        let text = self.report(
            &outcomes,
            begun.elapsed(),
            cpu.zip(children_cpu()).map(|(a, b)| b - a),
        )?;
        println!("\n{text}");
        if self.record {
            keep(self.build, &text)?;
        }
        let faults: Vec<&str> = outcomes
            .iter()
            .filter(|o| o.finding.is_some())
            .map(|o| o.target.as_str())
            .collect();
        if faults.is_empty() {
            return Ok(());
        }
        Err(format!(
            "findings in {}; their inputs are in fuzz/artifacts",
            faults.join(", ")
        )
        .into())
    }

    /// As many at a time as there are lanes, in the order of the names.
    fn all(&self, programs: &[PathBuf]) -> Result<Vec<Outcome>> {
        let seconds =
            (self.minutes * 60.0 * LANES as f64 / self.targets.len() as f64).max(1.0) as u64;
        let next = Mutex::new(self.targets.iter().zip(programs));
        let lane = || -> std::result::Result<Vec<Outcome>, String> {
            let mut done = Vec::new();
            loop {
                let Some((target, program)) = next
                    .lock()
                    .expect("no lane panics while it takes a target")
                    .next()
                else {
                    return Ok(done);
                };
                println!("{target}: {seconds} s");
                done.push(
                    one(target, program, seconds, self.build).map_err(|error| error.to_string())?,
                );
            }
        };
        let lanes: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
            running
                .into_iter()
                .map(std::thread::ScopedJoinHandle::join)
                .collect()
        });
        let mut outcomes = Vec::new();
        for lane in lanes {
            outcomes.extend(lane.map_err(|_| "a lane of the fuzz run panicked")??);
        }
        outcomes.sort_by(|a, b| a.target.cmp(&b.target));
        Ok(outcomes)
    }

    fn report(
        &self,
        outcomes: &[Outcome],
        took: Duration,
        cpu: Option<Duration>,
    ) -> Result<String> {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "cargo xtask fuzz --minutes {}{}",
            self.minutes,
            if self.build == Build::Asan {
                " --asan"
            } else {
                ""
            }
        );
        let _ = writeln!(
            text,
            "commit {}, {LANES} targets at a time, {:.0} min of wall time",
            commit()?,
            took.as_secs_f64() / 60.0
        );
        if let Some(cpu) = cpu {
            let _ = writeln!(
                text,
                "processor time used by the targets: {:.0} min",
                cpu.as_secs_f64() / 60.0
            );
        }
        let _ = writeln!(
            text,
            "\n{:<20} {:>14} {:>8} {:>8}  finding",
            "target", "executions", "seconds", "inputs"
        );
        for outcome in outcomes {
            let Outcome {
                target,
                executions,
                took,
                inputs,
                finding,
            } = outcome;
            let finding = finding.as_deref().unwrap_or("none");
            let _ = writeln!(
                text,
                "{target:<20} {executions:>14} {:>8.0} {inputs:>8}  {finding}",
                took.as_secs_f64()
            );
        }
        let sum: u64 = outcomes.iter().map(|outcome| outcome.executions).sum();
        let _ = writeln!(text, "{:<20} {sum:>14}", "in all");
        Ok(text)
    }
}

/// Runs one target's program for so many seconds.
fn one(target: &str, program: &Path, seconds: u64, build: Build) -> Result<Outcome> {
    let artifacts = tree::root().join("fuzz/artifacts").join(target);
    fs::create_dir_all(&artifacts)?;
    let finds = finds(target)?;
    let mut command = Command::new(program);
    command.args([&finds, &corpus(target)]).args([
        "-max_len=4096",
        "-timeout=10",
        "-print_final_stats=1",
    ]);
    // AddressSanitizer keeps what was freed for a while and shadows the rest.
    command.arg(if build == Build::Asan {
        "-rss_limit_mb=2560"
    } else {
        "-rss_limit_mb=1024"
    });
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let begun = Instant::now();
    let finished = sh::quiet(command.current_dir(tree::root()))?;
    let outcome = Outcome {
        target: target.to_owned(),
        executions: executions(&finished.output),
        took: begun.elapsed(),
        inputs: fs::read_dir(&finds)?.count() + fs::read_dir(corpus(target))?.count(),
        finding: (!finished.ok).then(|| finding(&finished.output)),
    };
    println!("{target}: {} executions", outcome.executions);
    if !finished.ok {
        println!("{}", sh::tail(&finished.output, 40));
    }
    Ok(outcome)
}

/// Adds a run's table to those of the day in the tree.
fn keep(build: Build, text: &str) -> Result<()> {
    let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
    let dir = tree::root().join("fuzz/runs");
    fs::create_dir_all(&dir)?;
    let file = dir.join(format!("{}-{}.txt", date(days), build.name()));
    let before = fs::read_to_string(&file).map_or(String::new(), |text| text + "\n");
    fs::write(&file, before + text)?;
    println!("recorded in {}", file.display());
    Ok(())
}

fn commit() -> Result<String> {
    let commit = sh::must(
        Command::new("git")
            .args(["rev-parse", "--short", "HEAD"])
            .current_dir(tree::root()),
    )?;
    Ok(commit.trim().to_owned())
}

/// Processor time of the programs that this one has started and seen end; none where there is no `/proc`.
fn children_cpu() -> Option<Duration> {
    children_ticks(&fs::read_to_string("/proc/self/stat").ok()?)
        .map(|ticks| Duration::from_millis(10 * ticks))
}

/// User and system time of ended children, in hundredths of a second: fields 16 and 17 of `/proc/self/stat`.
fn children_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(13);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
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
        let mut command = cargo_fuzz("run", Build::Plain, &target)?;
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

/// `cargo fuzz <what> <target>`, on stable Rust.
fn cargo_fuzz(what: &str, build: Build, target: &str) -> Result<Command> {
    let mut command = Command::new(installed()?);
    command.args([what, "-s", build.sanitizer(), "--target-dir"]);
    command.arg(build.folder()).arg(target);
    if build == Build::Asan {
        // A sanitizer is an unstable flag; the second word makes cargo ask the compiler anew what it can do.
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_CACHE_RUSTC_INFO", "0");
    }
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

/// How many inputs libFuzzer says it ran.
fn executions(output: &str) -> u64 {
    let line = output
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    line.and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

/// What stopped a target, in a line.
fn finding(output: &str) -> String {
    let telling = |line: &&str| {
        line.contains("panicked at") || line.contains("SUMMARY:") || line.contains("ERROR:")
    };
    output
        .lines()
        .find(telling)
        .unwrap_or("it failed without a word")
        .trim()
        .to_owned()
}

/// How many targets run at a time.
const LANES: usize = 2;
/// The targets that reach `unsafe`: the mask's own, and zlib-rs's.
const WITH_ASAN: [&str; 3] = ["connection", "deflate", "mask"];

#[cfg(test)]
mod tests {
    use super::{children_ticks, executions, finding};

    #[test]
    fn libfuzzers_count_is_read() {
        assert_eq!(
            executions("#2 x\nstat::number_of_executed_units: 1234\nstat::x: 5\n"),
            1234
        );
        assert_eq!(executions("nothing"), 0);
    }

    #[test]
    fn a_panic_is_the_finding() {
        let output = "INFO: x\nthread '<unnamed>' panicked at frame.rs:1:2:\nSUMMARY: libFuzzer: deadly signal\n";
        assert_eq!(
            finding(output),
            "thread '<unnamed>' panicked at frame.rs:1:2:"
        );
    }

    #[test]
    fn a_name_with_spaces_does_not_shift_the_fields() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4 0 0 0 0 11 12 300 45 20 0 1 0 9 0 0";
        assert_eq!(children_ticks(stat), Some(345));
    }
}
