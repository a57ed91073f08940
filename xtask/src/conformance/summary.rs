//! The text kept in the tree of what a run has shown: no times, no machine, the same from run to run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::cases;
use super::verdict::{Case, Verdict};

/// The text, headed by `title`.
pub(super) fn text(verdict: &Verdict, title: &str) -> String {
    let mut text = format!("{title}\n\n");
    faults(&mut text, verdict);
    classes(&mut text, verdict);
    not_ok(&mut text, verdict);
    errors(&mut text, verdict);
    compression(&mut text, verdict);
    let _ = writeln!(
        text,
        "\n{} passed, {} failed",
        verdict.good(),
        verdict.bad()
    );
    text
}

fn faults(text: &mut String, verdict: &Verdict) {
    for id in verdict.asked {
        if let Some(fault) = verdict.fault(id) {
            let _ = writeln!(text, "BAD {id:<8} {fault}");
        }
    }
}

/// A row for each class of cases: what the suite says of messages and of the close.
fn classes(text: &mut String, verdict: &Verdict) {
    let mut rows: BTreeMap<u32, Vec<&Case>> = BTreeMap::new();
    for (id, case) in verdict.cases() {
        let class = id.split('.').next().and_then(|class| class.parse().ok());
        rows.entry(class.unwrap_or(0)).or_default().push(case);
    }
    let _ = writeln!(text, "class  cases  behaviour; close");
    for (class, rows) in &rows {
        let _ = writeln!(text, "{class:>5}  {:>5}  {}", rows.len(), words(rows));
    }
    let all: Vec<&Case> = rows.into_values().flatten().collect();
    let _ = writeln!(text, "  all  {:>5}  {}", all.len(), words(&all));
}

fn words(rows: &[&Case]) -> String {
    let behaviour = tally(rows.iter().map(|case| case.behavior.clone()));
    let close = tally(rows.iter().map(|case| case.close.clone()));
    format!("{behaviour}; {close}")
}

fn not_ok(text: &mut String, verdict: &Verdict) {
    let _ = writeln!(
        text,
        "\nnot OK (INFORMATIONAL: the suite judges nothing there)"
    );
    for (id, case) in verdict.cases() {
        if case.behavior != "OK" || case.close != "OK" {
            let _ = writeln!(text, "{id:<8} {}; {}", case.behavior, case.close);
        }
    }
}

/// The code really sent, for each case in which the connection must be failed.
fn errors(text: &mut String, verdict: &Verdict) {
    let mut codes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (id, case) in verdict.cases() {
        if case.must_send_code(id) {
            codes.entry(case.code_text()).or_default().push(id);
        }
    }
    let count: usize = codes.values().map(Vec::len).sum();
    let _ = writeln!(
        text,
        "\nerrors to answer: {count}, and the close code really sent"
    );
    for (code, ids) in &codes {
        list(text, &format!("{code:<5}{:>3}", ids.len()), ids);
    }
}

fn compression(text: &mut String, verdict: &Verdict) {
    let of = |shrank: bool| {
        let rows = verdict.cases().filter(|(id, _)| cases::is_compression(id));
        rows.filter(move |(_, case)| (case.shrank == Some(true)) == shrank)
            .map(|(id, _)| id)
            .collect::<Vec<_>>()
    };
    let (small, not) = (of(true), of(false));
    let all = small.len() + not.len();
    if all > 0 {
        let _ = writeln!(
            text,
            "\ncompression: in {} of {all} cases our messages were shorter than their payload",
            small.len()
        );
        if !not.is_empty() {
            list(text, &format!("not {:>4}", not.len()), &not);
        }
    }
}

/// Words behind a label, in lines of a readable length.
fn list(text: &mut String, label: &str, words: &[&str]) {
    let mut line = format!("{label} ");
    for word in words {
        if line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = " ".repeat(label.len() + 1);
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(text, "{line}");
}

fn tally(words: impl Iterator<Item = String>) -> String {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_insert(0) += 1;
    }
    let rows = counts.iter().rev().map(|(word, n)| format!("{word} {n}"));
    rows.collect::<Vec<_>>().join(", ")
}

const WIDTH: usize = 110;

#[cfg(test)]
mod tests {
    use super::super::verdict::{Case, Verdict};
    use super::text;

    #[test]
    fn the_summary_says_what_was_sent_and_what_is_missing() {
        let asked = ["3.1", "7.1.6", "12.1.1", "12.1.2"].map(str::to_owned);
        let case = |words: &str, code, error, shrank| Case {
            behavior: words.to_owned(),
            close: words.to_owned(),
            code,
            error,
            expected: vec![1000, 1002],
            shrank,
        };
        let mut verdict = Verdict::new(&asked);
        for (id, case) in [
            ("3.1", case("OK", Some(1002), true, None)),
            ("7.1.6", case("INFORMATIONAL", None, false, None)),
            ("12.1.1", case("OK", Some(1000), false, Some(false))),
        ] {
            verdict.got.insert(id.to_owned(), case);
        }
        let expected = "title

BAD 12.1.2   missing from the report
class  cases  behaviour; close
    3      1  OK 1; OK 1
    7      1  INFORMATIONAL 1; INFORMATIONAL 1
   12      1  OK 1; OK 1
  all      3  OK 2, INFORMATIONAL 1; OK 2, INFORMATIONAL 1

not OK (INFORMATIONAL: the suite judges nothing there)
7.1.6    INFORMATIONAL; INFORMATIONAL

errors to answer: 1, and the close code really sent
1002   1  3.1

compression: in 0 of 1 cases our messages were shorter than their payload
not    1  12.1.1

3 passed, 1 failed
";
        assert_eq!(text(&verdict, "title"), expected);
    }
}
