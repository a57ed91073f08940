//! The steps of a test run: each counted and timed, all of them run, one table at the end. Never stops at a failure.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::sh::{Finished, Result};
use crate::tree;

/// How many tests a step ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl Count {
    /// A step that is one check by itself.
    pub(crate) fn one(ok: bool) -> Self {
        Self {
            passed: usize::from(ok),
            failed: usize::from(!ok),
        }
    }

    /// Reads the totals that nextest, cargo test, `node --test` and Python's unittest print. A program that
    /// failed, or from whose output no test can be counted, is one failure.
    pub(crate) fn read(finished: &Finished) -> Self {
        let mut count = Self::default();
        let lines: Vec<String> = finished.output.lines().map(plain).collect();
        // nextest shows what a failed test printed, the harness's own total included: that was counted already.
        let nextest = lines.iter().any(|line| line.trim().starts_with(NEXTEST));
        for line in &lines {
            if !(nextest && line.trim().starts_with(HARNESS)) {
                count.add_line(line);
            }
        }
        if (!finished.ok || count.passed == 0) && count.failed == 0 {
            count.failed = 1;
        }
        count
    }

    fn add_line(&mut self, line: &str) {
        let line = line.trim();
        if line.starts_with(NEXTEST) || line.starts_with(HARNESS) {
            self.passed += before(line, " passed");
            self.failed += before(line, " failed") + before(line, " timed out");
        } else if let Some(n) = line
            .strip_prefix("ℹ pass ")
            .or(line.strip_prefix("# pass "))
        {
            self.passed += n.parse().unwrap_or(0);
        } else if let Some(n) = NODE_BAD.iter().find_map(|word| line.strip_prefix(word)) {
            self.failed += n.parse().unwrap_or(0);
        } else if let Some(rest) = line
            .strip_prefix("Ran ")
            .filter(|rest| rest.contains(" test"))
        {
            self.passed += number(rest);
        } else if line.starts_with("FAILED (") || line.starts_with("OK (") {
            self.move_python(line);
        }
    }

    /// unittest counts every test it ran; what went wrong, or was skipped, is taken off again.
    fn move_python(&mut self, line: &str) {
        let bad: usize = ["failures=", "errors=", "skipped=", "unexpected successes="]
            .iter()
            .filter_map(|word| line.split_once(word))
            .map(|(_, rest)| number(rest))
            .sum();
        self.passed = self.passed.saturating_sub(bad);
        self.failed += bad;
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

enum Outcome {
    Ran(Count),
    NotRun(String),
}

/// The steps run so far.
pub(crate) struct Steps {
    filter: Option<String>,
    done: Vec<(String, Outcome, Duration)>,
}

impl Steps {
    pub(crate) fn new(filter: Option<String>) -> Self {
        Self {
            filter,
            done: Vec::new(),
        }
    }

    /// True when the person asked for steps of such a name, or for all.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
    }

    /// Runs one step. An error in it is one failed test.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<Count>) {
        if !self.wants(name) {
            return;
        }
        println!("\n━━ {name}");
        let start = Instant::now();
        let count = step().unwrap_or_else(|why| {
            println!("{name}: {why}");
            Count::one(false)
        });
        self.done
            .push((name.to_owned(), Outcome::Ran(count), start.elapsed()));
    }

    /// Notes a step that this machine can't run and why. Under CI that is a failure.
    pub(crate) fn cannot(&mut self, name: &str, why: &str) {
        if !self.wants(name) {
            return;
        }
        println!("\n━━ {name}\nNOT RUN: {why}");
        self.done.push((
            name.to_owned(),
            Outcome::NotRun(why.to_owned()),
            Duration::ZERO,
        ));
    }

    /// The table for people. Its last line is `N passed, N failed`.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from("\n");
        for (name, outcome, took) in &self.done {
            match outcome {
                Outcome::Ran(count) => {
                    let mark = if count.failed == 0 { "ok  " } else { "FAIL" };
                    let Count { passed, failed } = count;
                    let _ = writeln!(
                        text,
                        "{mark} {name:<34} {passed:>5} passed {failed:>4} failed {:>7.1} s",
                        took.as_secs_f64()
                    );
                }
                Outcome::NotRun(why) => {
                    let first = why.lines().next().unwrap_or_default();
                    let _ = writeln!(text, "NOT RUN {name:<31} {first}");
                }
            }
        }
        let total = self.total();
        let _ = writeln!(text, "{} passed, {} failed", total.passed, total.failed);
        text
    }

    /// An error when any test failed, when none ran, or, under CI, when a step could not run.
    pub(crate) fn verdict(&self) -> Result<()> {
        let total = self.total();
        match (total.failed, total.passed) {
            (0, 0) => Err("no test ran".into()),
            (0, _) => Ok(()),
            _ => Err("some tests failed".into()),
        }
    }

    fn total(&self) -> Count {
        let mut total = Count::default();
        for (_, outcome, _) in &self.done {
            match outcome {
                Outcome::Ran(count) => total += *count,
                Outcome::NotRun(_) if tree::is_ci() => total.failed += 1,
                Outcome::NotRun(_) => {}
            }
        }
        total
    }
}

/// The number in front of a word: 12 in `12 passed`.
fn before(line: &str, word: &str) -> usize {
    line.split_once(word)
        .and_then(|(left, _)| left.rsplit(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// The number a text begins with.
fn number(text: &str) -> usize {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().unwrap_or(0)
}

/// A line without terminal colours.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut parts = line.split('\u{1b}');
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        text.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    text
}

/// How nextest's total begins, and that of the harness of each test program.
const NEXTEST: &str = "Summary [";
const HARNESS: &str = "test result:";

/// What node's runner calls tests that did not pass; one that was skipped or cancelled proves nothing.
const NODE_BAD: [&str; 8] = [
    "ℹ fail ",
    "ℹ cancelled ",
    "ℹ skipped ",
    "ℹ todo ",
    "# fail ",
    "# cancelled ",
    "# skipped ",
    "# todo ",
];

#[cfg(test)]
mod tests {
    use super::{Count, Steps};
    use crate::sh::Finished;

    fn read(ok: bool, output: &str) -> (usize, usize) {
        let count = Count::read(&Finished {
            ok,
            output: output.to_owned(),
        });
        (count.passed, count.failed)
    }

    #[test]
    fn the_totals_of_every_runner_are_read() {
        let table = [
            (
                "nextest",
                true,
                "     Summary [   0.2s] 12 tests run: 12 passed, 3 skipped",
                (12, 0),
            ),
            (
                "nextest",
                false,
                "     Summary [   0.2s] 12 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 0 skipped",
                (9, 3),
            ),
            (
                "nextest, with what a failed test printed",
                false,
                "    test result: FAILED. 0 passed; 1 failed;\n  Summary [ 0.2s] 3 tests run: 2 passed, 1 failed",
                (2, 1),
            ),
            (
                "coloured",
                true,
                "\u{1b}[32m     Summary\u{1b}[0m [   0.2s] 2 tests run: \u{1b}[1m2\u{1b}[0m passed",
                (2, 0),
            ),
            (
                "cargo test",
                true,
                "test result: ok. 5 passed; 0 failed; 0 ignored\ntest result: ok. 2 passed; 0 failed;",
                (7, 0),
            ),
            (
                "cargo test",
                false,
                "test result: FAILED. 4 passed; 1 failed; 0 ignored",
                (4, 1),
            ),
            (
                "node",
                true,
                "ℹ tests 3\nℹ pass 3\nℹ fail 0\nℹ cancelled 0\nℹ skipped 0\nℹ todo 0",
                (3, 0),
            ),
            ("node", true, "ℹ pass 2\nℹ fail 0\nℹ skipped 1", (2, 1)),
            ("unittest", true, "Ran 4 tests in 1.0s\n\nOK", (4, 0)),
            (
                "unittest",
                false,
                "Ran 4 tests in 1.0s\n\nFAILED (failures=1, errors=2)",
                (1, 3),
            ),
            (
                "unittest",
                true,
                "Ran 4 tests in 1.0s\n\nOK (skipped=1)",
                (3, 1),
            ),
            ("did not build", false, "error: could not compile", (0, 1)),
            (
                "crashed late",
                false,
                "test result: ok. 5 passed; 0 failed",
                (5, 1),
            ),
            ("nothing ran", true, "Ran 0 tests in 0.0s\n\nOK", (0, 1)),
        ];
        for (name, ok, output, expected) in table {
            assert_eq!(read(ok, output), expected, "{name}: {output}");
        }
    }

    #[test]
    fn the_last_line_of_the_table_is_the_total() {
        let mut steps = Steps::new(None);
        steps.run("a", || {
            Ok(Count {
                passed: 3,
                failed: 0,
            })
        });
        steps.run("b", || Err("broke".into()));
        assert_eq!(steps.table().lines().last(), Some("3 passed, 1 failed"));
        assert!(steps.verdict().is_err());
    }

    #[test]
    fn a_filter_leaves_other_steps_out() {
        let mut steps = Steps::new(Some("tid".to_owned()));
        steps.run("unit", || panic!("not asked for"));
        assert!(
            steps.verdict().is_err(),
            "a run without a test is no success"
        );
        steps.run("tidy", || Ok(Count::one(true)));
        assert!(steps.verdict().is_ok());
    }
}
