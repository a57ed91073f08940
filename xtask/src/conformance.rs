//! The Autobahn cases against `tidegate serve`, judged more strictly than the suite judges: where an error must be
//! answered, a bare TCP drop fails too. Never takes a case that did not run for a good one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::server::{self, Server};
use crate::setup;
use crate::sh::{self, Result};
use crate::steps::Count;
use crate::tree;

/// What to run, and against what.
pub(crate) struct Options {
    /// Also the cases of `FULL_GROUPS`.
    full: bool,
    engine: Engine,
    /// A server that runs already, instead of our own.
    url: Option<String>,
    /// Only the case with this id, or those that begin with it.
    only: Option<String>,
    /// Write the summary into the tree.
    record: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Engine {
    /// The same case files on Python 3, from a wheel: what any machine can run.
    Kosoku,
    /// Autobahn|Testsuite itself, on CPython 2.7: the reference.
    Wstest,
}

/// `cargo xtask conformance`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let count = run(&Options::read(words)?, None)?;
    println!("{} passed, {} failed", count.passed, count.failed);
    if count.failed == 0 {
        Ok(())
    } else {
        Err("conformance: not every case is good".into())
    }
}

/// The gate in `cargo xtask test`: the kept summary must be what this run says.
pub(crate) fn gate(binary: &Path, full: bool, wstest: bool) -> Result<Count> {
    let engine = if wstest {
        Engine::Wstest
    } else {
        Engine::Kosoku
    };
    run(
        &Options {
            full,
            engine,
            url: None,
            only: None,
            record: false,
        },
        Some(binary),
    )
}

impl Options {
    fn read(words: &[&str]) -> Result<Self> {
        let mut options = Self {
            full: false,
            engine: Engine::Kosoku,
            url: None,
            only: None,
            record: true,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            match *word {
                "--full" => options.full = true,
                "--url" => options.url = Some((*value()?).to_owned()),
                "--only" => options.only = Some((*value()?).to_owned()),
                "--engine" => options.engine = Engine::read(value()?)?,
                _ => return Err(format!("conformance: unknown word {word}").into()),
            }
        }
        options.record = options.url.is_none() && options.only.is_none();
        Ok(options)
    }

    fn cases(&self) -> Vec<String> {
        let groups = CORE_GROUPS
            .iter()
            .chain(if self.full { FULL_GROUPS } else { &[] });
        let all = groups.flat_map(|(group, n)| (1..=*n).map(move |i| format!("{group}.{i}")));
        let begins =
            |case: &String, only: &String| case == only || case.starts_with(&format!("{only}."));
        all.filter(|case| self.only.as_ref().is_none_or(|only| begins(case, only)))
            .collect()
    }
}

impl Engine {
    fn read(name: &str) -> Result<Self> {
        match name {
            "kosoku" => Ok(Self::Kosoku),
            "wstest" => Ok(Self::Wstest),
            _ => Err(format!("no engine {name}; there are kosoku and wstest").into()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kosoku => "kosoku 0.1.0",
            Self::Wstest => "Autobahn|Testsuite 25.10.1",
        }
    }

    /// Where the summary is kept in the tree.
    fn kept(self, full: bool) -> PathBuf {
        let engine = match self {
            Self::Kosoku => "autobahn",
            Self::Wstest => "autobahn-wstest",
        };
        let name = format!("{engine}{}.txt", if full { "-full" } else { "" });
        tree::root().join("tests/conformance").join(name)
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Kosoku => "kosoku",
            Self::Wstest => "wstest",
        }
    }

    /// The program that runs these cases against `url` and writes its report into `out`.
    fn command(self, url: &str, cases: &[String], out: &Path) -> Result<Command> {
        match self {
            Self::Kosoku => {
                let python = setup::ensure("python")?;
                let address = url
                    .strip_prefix("ws://")
                    .ok_or("kosoku speaks ws:// only")?;
                let mut command = Command::new(python.with_file_name("kosoku"));
                command
                    .args(["-m", "fuzzingclient", address])
                    .arg("-o")
                    .arg(out);
                command.args(cases.iter().map(|case| format!("--include={case}")));
                Ok(command)
            }
            Self::Wstest => {
                let python = setup::ensure("wstest")?;
                let spec = serde_json::json!({
                    "outdir": out, "cases": cases, "exclude-cases": [], "exclude-agent-cases": {},
                    "servers": [{ "agent": "tidegate", "url": url }],
                });
                let file = out.with_file_name("spec.json");
                fs::write(&file, spec.to_string())?;
                let mut command = Command::new(python.with_file_name("wstest"));
                command.args(["-m", "fuzzingclient", "-s"]).arg(file);
                Ok(command)
            }
        }
    }
}

fn run(options: &Options, binary: Option<&Path>) -> Result<Count> {
    let cases = options.cases();
    if cases.is_empty() {
        return Err("no such case".into());
    }
    let out = tree::target()
        .join("conformance")
        .join(options.engine.folder());
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out)?;
    let report = out.join("report");
    let (own, url) = match &options.url {
        Some(url) => (None, url.clone()),
        None => {
            let built;
            let binary = match binary {
                Some(binary) => binary,
                None => {
                    built = server::build(false)?;
                    &built
                }
            };
            let server = Server::start(binary, &[])?;
            let url = format!("ws://127.0.0.1:{}/echo", server.port());
            (Some(server), url)
        }
    };
    // The engines exit with 0 or 1 as they see it; what counts is their report, judged by us.
    let finished = sh::quiet(&mut options.engine.command(&url, &cases, &report)?)?;
    fs::write(out.join("log.txt"), &finished.output)?;
    if let Some(server) = own {
        server.stop()?;
    }
    let verdict = Verdict::read(&report, &cases)
        .map_err(|why| format!("{why}\n{}", sh::tail(&finished.output, 20)))?;
    let summary = verdict.summary(options.engine);
    print!("{summary}");
    fs::write(out.join("summary.txt"), &summary)?;
    let kept = options.engine.kept(options.full);
    if options.record {
        fs::write(&kept, &summary)?;
    } else if options.url.is_none()
        && options.only.is_none()
        && fs::read_to_string(&kept).ok().as_ref() != Some(&summary)
    {
        println!(
            "{} is not what this run says; `cargo xtask conformance` writes it anew",
            kept.display()
        );
        return Ok(Count {
            passed: verdict.good(),
            failed: verdict.bad().max(1),
        });
    }
    Ok(Count {
        passed: verdict.good(),
        failed: verdict.bad(),
    })
}

/// What a report says of one case.
struct Case {
    behavior: String,
    close: String,
    /// The status code of the peer's Close, when it sent one.
    code: Option<u64>,
    /// The peer must fail the connection here, and the suite would take a bare TCP drop for an answer.
    error: bool,
    /// Codes the case expects in a Close.
    expected: Vec<u64>,
}

impl Case {
    /// What is wrong with it, in our stricter sense.
    fn fault(&self, id: &str) -> Option<String> {
        let fine = |word: &str| word == "OK" || word == "INFORMATIONAL";
        if !fine(&self.behavior) || !fine(&self.close) {
            return Some(format!(
                "behaviour {}, close {}, the server's close code {}",
                self.behavior,
                self.close,
                self.code_text()
            ));
        }
        if !self.must_send_code(id) {
            return None;
        }
        match self.code {
            None => Some("the server dropped the connection without a Close frame".to_owned()),
            Some(code) if !self.expected.is_empty() && !self.expected.contains(&code) => {
                Some(format!(
                    "the server closed with {code}, expected {:?}",
                    self.expected
                ))
            }
            Some(_) => None,
        }
    }

    fn must_send_code(&self, id: &str) -> bool {
        self.error && !UNSPECIFIED.contains(&id)
    }

    fn code_text(&self) -> String {
        self.code
            .map_or_else(|| "none".to_owned(), |code| code.to_string())
    }
}

/// All cases of a run, each good, bad or missing.
struct Verdict<'a> {
    asked: &'a [String],
    got: BTreeMap<String, Case>,
}

impl<'a> Verdict<'a> {
    fn read(report: &Path, asked: &'a [String]) -> Result<Self> {
        let index: Value = read_json(&report.join("index.json"))?;
        let agents = index.as_object().ok_or("the report's index is no object")?;
        let mut got = BTreeMap::new();
        for (id, row) in agents.values().filter_map(Value::as_object).flatten() {
            let file = row["reportfile"]
                .as_str()
                .ok_or_else(|| format!("{id} has no report file"))?;
            let detail = read_json(&report.join(file))?;
            got.insert(id.clone(), Case::read(row, &detail));
        }
        Ok(Self { asked, got })
    }

    fn fault(&self, id: &str) -> Option<String> {
        self.got.get(id).map_or_else(
            || Some("missing from the report".to_owned()),
            |case| case.fault(id),
        )
    }

    fn bad(&self) -> usize {
        self.asked
            .iter()
            .filter(|id| self.fault(id).is_some())
            .count()
    }

    fn good(&self) -> usize {
        self.asked.len() - self.bad()
    }

    /// The text kept in the tree: no times, no machine, the same from run to run.
    fn summary(&self, engine: Engine) -> String {
        let mut text = format!(
            "Autobahn cases against `tidegate serve`, /echo over ws, by {}\n\n",
            engine.name()
        );
        for id in self.asked {
            if let Some(fault) = self.fault(id) {
                let _ = writeln!(text, "BAD {id:<8} {fault}");
            }
        }
        let cases = || {
            self.asked
                .iter()
                .filter_map(|id| Some((id, self.got.get(id)?)))
        };
        let informational: Vec<&str> = cases()
            .filter(|(_, case)| case.behavior == "INFORMATIONAL")
            .map(|(id, _)| id.as_str())
            .collect();
        let errors = || cases().filter(|(id, case)| case.must_send_code(id));
        let _ = writeln!(
            text,
            "cases          {} asked, {} in the report",
            self.asked.len(),
            cases().count()
        );
        let _ = writeln!(
            text,
            "behaviour      {}",
            tally(cases().map(|(_, case)| case.behavior.clone()))
        );
        let _ = writeln!(
            text,
            "close          {}",
            tally(cases().map(|(_, case)| case.close.clone()))
        );
        let _ = writeln!(
            text,
            "informational  {} (the suite judges nothing there)",
            informational.join(" ")
        );
        let _ = writeln!(
            text,
            "errors         {}, answered with {}",
            errors().count(),
            tally(errors().map(|(_, case)| case.code_text()))
        );
        let _ = writeln!(text, "\n{} passed, {} failed", self.good(), self.bad());
        text
    }
}

impl Case {
    fn read(row: &Value, detail: &Value) -> Self {
        let text = |key: &str| row[key].as_str().unwrap_or("ABSENT").to_owned();
        let expected = &detail["expectedClose"];
        Self {
            behavior: text("behavior"),
            close: text("behaviorClose"),
            code: row["remoteCloseCode"].as_u64(),
            error: expected["requireClean"] == Value::Bool(false),
            expected: expected["closeCode"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_u64)
                .collect(),
        }
    }
}

fn tally(words: impl Iterator<Item = String>) -> String {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_insert(0) += 1;
    }
    counts
        .iter()
        .map(|(word, n)| format!("{word} {n}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn read_json(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("no report {}: {error}", file.display()))?;
    Ok(serde_json::from_str(&without_surrogates(&text))?)
}

/// wstest writes what a peer sent as it came, half pairs of UTF-16 too, which no JSON text may hold.
fn without_surrogates(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let end = at
            + rest[at..]
                .chars()
                .take(2)
                .map(char::len_utf8)
                .sum::<usize>();
        let bytes = &rest.as_bytes()[at..];
        let half =
            matches!(bytes, [b'\\', b'u', b'd' | b'D', c, ..] if b"89abcdefABCDEF".contains(c));
        clean.push_str(&rest[..if half { at } else { end }]);
        rest = if half {
            rest.get(at + 6..).unwrap_or_default()
        } else {
            &rest[end..]
        };
    }
    clean + rest
}

/// The groups of cases 1 to 7 and 10, and how many each has: 247 in all.
#[rustfmt::skip]
const CORE_GROUPS: &[(&str, u32)] = &[
    ("1.1", 8), ("1.2", 8), ("2", 11), ("3", 7), ("4.1", 5), ("4.2", 5), ("5", 20),
    ("6.1", 3), ("6.2", 4), ("6.3", 2), ("6.4", 4), ("6.5", 5), ("6.6", 11), ("6.7", 4), ("6.8", 2), ("6.9", 4),
    ("6.10", 3), ("6.11", 5), ("6.12", 8), ("6.13", 5), ("6.14", 10), ("6.15", 1), ("6.16", 3), ("6.17", 5),
    ("6.18", 5), ("6.19", 5), ("6.20", 7), ("6.21", 8), ("6.22", 34), ("6.23", 7),
    ("7.1", 6), ("7.3", 6), ("7.5", 1), ("7.7", 13), ("7.9", 9), ("7.13", 2), ("10.1", 1),
];

/// With `--full` also large messages and floods of small ones.
const FULL_GROUPS: &[(&str, u32)] = &[
    ("9.1", 6),
    ("9.2", 6),
    ("9.3", 9),
    ("9.4", 9),
    ("9.5", 6),
    ("9.6", 6),
    ("9.7", 6),
    ("9.8", 6),
];

/// Close codes past 4999, which RFC 6455 says nothing of: any answer is an answer.
const UNSPECIFIED: [&str; 2] = ["7.13.1", "7.13.2"];

#[cfg(test)]
mod tests {
    use super::{CORE_GROUPS, Case, FULL_GROUPS, Options, Verdict, without_surrogates};
    use std::collections::BTreeMap;

    fn case(behavior: &str, close: &str, code: Option<u64>, error: bool) -> Case {
        Case {
            behavior: behavior.to_owned(),
            close: close.to_owned(),
            code,
            error,
            expected: vec![1002],
        }
    }

    #[test]
    fn the_core_has_247_cases_and_all_of_1_to_10_has_301() {
        let count = |groups: &[(&str, u32)]| groups.iter().map(|(_, n)| n).sum::<u32>();
        assert_eq!((count(CORE_GROUPS), count(FULL_GROUPS)), (247, 54));
    }

    #[test]
    fn a_case_is_chosen_by_its_id_or_by_what_it_begins_with() {
        let chosen = |only| Options::read(&["--only", only]).unwrap().cases().len();
        assert_eq!(
            (chosen("7.1"), chosen("7.1.5"), chosen("1"), chosen("99")),
            (6, 1, 16, 0)
        );
    }

    #[test]
    fn only_a_case_that_is_good_in_every_respect_has_no_fault() {
        let table = [
            (
                "an ordinary case",
                "1.1.1",
                case("OK", "OK", Some(1000), false),
                true,
            ),
            (
                "an error that was answered",
                "3.1",
                case("OK", "OK", Some(1002), true),
                true,
            ),
            ("a bare drop", "3.1", case("OK", "OK", None, true), false),
            (
                "another code",
                "3.1",
                case("OK", "OK", Some(1007), true),
                false,
            ),
            (
                "a code past 4999",
                "7.13.1",
                case("INFORMATIONAL", "INFORMATIONAL", None, true),
                true,
            ),
            (
                "late",
                "6.4.3",
                case("NON-STRICT", "OK", Some(1002), true),
                false,
            ),
            (
                "unclean",
                "7.1.5",
                case("OK", "UNCLEAN", None, false),
                false,
            ),
            (
                "failed by the client",
                "7.3.6",
                case("OK", "FAILED BY CLIENT", Some(1002), true),
                false,
            ),
            (
                "unknown word",
                "7.3.6",
                case("OK", "ABSENT", None, false),
                false,
            ),
        ];
        for (name, id, case, good) in table {
            assert_eq!(
                case.fault(id).is_none(),
                good,
                "{name}: {:?}",
                case.fault(id)
            );
        }
    }

    #[test]
    fn half_pairs_are_taken_out_and_all_else_stays() {
        let text = r#"{"a": "x\ud83cy\uDC00 \\ud83c \n \u00fc"}"#;
        assert_eq!(without_surrogates(text), r#"{"a": "xy \\ud83c \n \u00fc"}"#);
    }

    #[test]
    fn a_case_that_is_not_in_the_report_is_bad() {
        let asked = ["1.1.1".to_owned(), "1.1.2".to_owned()];
        let got = BTreeMap::from([("1.1.1".to_owned(), case("OK", "OK", Some(1000), false))]);
        let verdict = Verdict { asked: &asked, got };
        assert_eq!((verdict.good(), verdict.bad()), (1, 1));
    }
}
