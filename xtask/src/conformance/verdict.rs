//! A run's reports, judged more strictly than the suite judges: where an error must be answered, a bare TCP drop
//! fails, and so does compression that was agreed on and not used. A case that did not run is never a good one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::cases;
use crate::sh::Result;

/// What a report says of one case.
pub(super) struct Case {
    pub(super) behavior: String,
    pub(super) close: String,
    /// The status code of our Close, when we sent one.
    pub(super) code: Option<u64>,
    /// We must fail the connection here, and the suite would take a bare TCP drop for an answer.
    pub(super) error: bool,
    /// Codes the case expects in a Close.
    pub(super) expected: Vec<u64>,
    /// Our messages were shorter than their payloads; `None` where nobody measured.
    pub(super) shrank: Option<bool>,
}

impl Case {
    /// What is wrong with it, in our stricter sense.
    fn fault(&self, id: &str) -> Option<String> {
        if !is_fine(&self.behavior) || !is_fine(&self.close) {
            return Some(format!(
                "behaviour {}, close {}, close code sent {}",
                self.behavior,
                self.close,
                self.code_text()
            ));
        }
        if cases::must_shrink(id) && self.shrank != Some(true) {
            return Some("compression was agreed on, and the messages went as they are".to_owned());
        }
        if !self.must_send_code(id) {
            return None;
        }
        match self.code {
            None => Some("the connection was dropped without a Close frame".to_owned()),
            Some(code) if !self.expected.is_empty() && !self.expected.contains(&code) => {
                Some(format!("closed with {code}, expected {:?}", self.expected))
            }
            Some(_) => None,
        }
    }

    pub(super) fn must_send_code(&self, id: &str) -> bool {
        self.error && !UNSPECIFIED.contains(&id)
    }

    pub(super) fn code_text(&self) -> String {
        self.code
            .map_or_else(|| "none".to_owned(), |code| code.to_string())
    }

    fn read(row: &Value, detail: &Value) -> Self {
        let text = |key: &str| row[key].as_str().unwrap_or("ABSENT").to_owned();
        let expected = &detail["expectedClose"];
        let traffic = &detail["trafficStats"];
        let octets = |level: &str| traffic[level].as_u64();
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
            shrank: octets("incomingOctetsWebSocketLevel")
                .zip(octets("incomingOctetsAppLevel"))
                .map(|(wire, payload)| wire < payload),
        }
    }
}

pub(super) fn is_fine(word: &str) -> bool {
    word == "OK" || word == "INFORMATIONAL"
}

/// All cases of a run, each good, bad or missing.
pub(super) struct Verdict<'a> {
    pub(super) asked: &'a [String],
    pub(super) got: BTreeMap<String, Case>,
}

impl<'a> Verdict<'a> {
    pub(super) fn new(asked: &'a [String]) -> Self {
        Self {
            asked,
            got: BTreeMap::new(),
        }
    }

    /// Adds what the report in this folder says.
    pub(super) fn add(&mut self, report: &Path) -> Result<()> {
        let index: Value = read_json(&report.join("index.json"))?;
        let agents = index.as_object().ok_or("the report's index is no object")?;
        for (id, row) in agents.values().filter_map(Value::as_object).flatten() {
            let file = row["reportfile"]
                .as_str()
                .ok_or_else(|| format!("{id} has no report file"))?;
            let detail = read_json(&report.join(file))?;
            self.got.insert(id.clone(), Case::read(row, &detail));
        }
        Ok(())
    }

    pub(super) fn fault(&self, id: &str) -> Option<String> {
        self.got.get(id).map_or_else(
            || Some("missing from the report".to_owned()),
            |case| case.fault(id),
        )
    }

    pub(super) fn bad(&self) -> usize {
        self.asked
            .iter()
            .filter(|id| self.fault(id).is_some())
            .count()
    }

    pub(super) fn good(&self) -> usize {
        self.asked.len() - self.bad()
    }

    /// The cases asked for that the report has.
    pub(super) fn cases(&self) -> impl Iterator<Item = (&str, &Case)> {
        self.asked
            .iter()
            .filter_map(|id| Some((id.as_str(), self.got.get(id)?)))
    }
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

/// Close codes past 4999, which RFC 6455 says nothing of: any answer is an answer.
const UNSPECIFIED: [&str; 2] = ["7.13.1", "7.13.2"];

#[cfg(test)]
mod tests {
    use super::{Case, Verdict, without_surrogates};

    fn case(behavior: &str, close: &str, code: Option<u64>, error: bool) -> Case {
        Case {
            behavior: behavior.to_owned(),
            close: close.to_owned(),
            code,
            error,
            expected: vec![1002],
            shrank: None,
        }
    }

    #[test]
    #[rustfmt::skip]
    fn only_a_case_that_is_good_in_every_respect_has_no_fault() {
        let small = |shrank| Case { shrank, ..case("OK", "OK", Some(1000), false) };
        let table = [
            ("an ordinary case", "1.1.1", case("OK", "OK", Some(1000), false), true),
            ("an error that was answered", "3.1", case("OK", "OK", Some(1002), true), true),
            ("a bare drop", "3.1", case("OK", "OK", None, true), false),
            ("another code", "3.1", case("OK", "OK", Some(1007), true), false),
            ("a code past 4999", "7.13.1", case("INFORMATIONAL", "INFORMATIONAL", None, true), true),
            ("late", "6.4.3", case("NON-STRICT", "OK", Some(1002), true), false),
            ("unclean", "7.1.5", case("OK", "UNCLEAN", None, false), false),
            ("failed by the client", "7.3.6", case("OK", "FAILED BY CLIENT", Some(1002), true), false),
            ("unknown word", "7.3.6", case("OK", "ABSENT", None, false), false),
            ("compressed", "12.1.3", small(Some(true)), true),
            ("not compressed", "12.1.3", small(Some(false)), false),
            ("not measured", "13.1.3", small(None), false),
            ("short", "12.1.1", small(Some(false)), true),
        ];
        for (name, id, case, good) in table {
            assert_eq!(case.fault(id).is_none(), good, "{name}: {:?}", case.fault(id));
        }
    }

    #[test]
    fn half_pairs_are_taken_out_and_all_else_stays() {
        let text = r#"{"a": "x\ud83cy \\ud83c \n \u00fc"}"#;
        assert_eq!(without_surrogates(text), r#"{"a": "xy \\ud83c \n \u00fc"}"#);
    }

    #[test]
    fn a_case_that_is_not_in_the_report_is_bad() {
        let asked = ["1.1.1".to_owned(), "1.1.2".to_owned()];
        let mut verdict = Verdict::new(&asked);
        let good = case("OK", "OK", Some(1000), false);
        verdict.got.insert("1.1.1".to_owned(), good);
        assert_eq!((verdict.good(), verdict.bad()), (1, 1));
    }
}
