//! What was found, and what it comes to. It asks nothing and prints nothing.

use super::args::Level;
use super::rules::{Rule, Severity, rule};
use serde_json::{Value, json};
use std::time::Duration;

/// One request and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// Which of the finding's cases.
    pub(crate) case: String,
    /// What of the request matters, in a line.
    pub(crate) gist: String,
    /// All of what was sent, without secrets.
    pub(crate) sent: String,
    pub(crate) got: String,
    pub(crate) expected: String,
}

/// A rule that is broken.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) rule: &'static Rule,
    pub(crate) evidence: Vec<Evidence>,
}

/// A case that could not be told.
#[derive(Debug)]
pub(crate) struct Unclear {
    pub(crate) rule: &'static Rule,
    pub(crate) case: String,
    pub(crate) why: String,
}

/// A limit that was looked for.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) name: &'static str,
    /// In words: "1 MiB, then 1009".
    pub(crate) words: String,
    /// The most that passed.
    pub(crate) passed: Option<u64>,
    /// The least that did not.
    pub(crate) refused: Option<u64>,
}

/// All that is known of an endpoint.
#[derive(Debug)]
pub(crate) struct Report {
    /// Without secrets.
    pub(crate) url: String,
    pub(crate) level: Level,
    /// Only some findings were looked for.
    pub(crate) partial: bool,
    pub(crate) findings: Vec<Finding>,
    pub(crate) passed: usize,
    pub(crate) unclear: Vec<Unclear>,
    pub(crate) limits: Vec<Limit>,
    /// What a good handshake showed.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// Why it ended before its end.
    pub(crate) ended: Option<String>,
    pub(crate) connections: u64,
    pub(crate) octets: u64,
    pub(crate) took: Duration,
}

impl Report {
    pub(crate) fn new(url: &str, level: Level, partial: bool) -> Report {
        Report {
            url: url.to_owned(),
            level,
            partial,
            findings: Vec::new(),
            passed: 0,
            unclear: Vec::new(),
            limits: Vec::new(),
            facts: Vec::new(),
            ended: None,
            connections: 0,
            octets: 0,
            took: Duration::ZERO,
        }
    }

    /// Adds to a finding; the worst ones stay first.
    pub(crate) fn find(&mut self, id: &str, evidence: Evidence) {
        let rule = rule(id);
        if let Some(finding) = self.findings.iter_mut().find(|f| f.rule.id == rule.id) {
            return finding.evidence.push(evidence);
        }
        let evidence = vec![evidence];
        self.findings.push(Finding { rule, evidence });
        self.findings
            .sort_by_key(|f| (std::cmp::Reverse(f.rule.severity), place(f.rule)));
    }

    /// The worst there is.
    pub(crate) fn worst(&self) -> Option<Severity> {
        self.findings
            .iter()
            .map(|finding| finding.rule.severity)
            .max()
    }

    /// How many weigh so much.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        let of_it = |finding: &&Finding| finding.rule.severity == severity;
        self.findings.iter().filter(of_it).count()
    }

    /// A to F by what `--help` says; none where too little is known to give one.
    pub(crate) fn grade(&self) -> Option<char> {
        let asked = self.passed + self.unclear.len() + self.findings.len();
        let unknown = self.partial || self.ended.is_some() || self.unclear.len() * 2 > asked;
        // One handshake shows too little of a server to praise it.
        let unknown = unknown || self.level == Level::Passive;
        match self.worst() {
            Some(Severity::Critical) => Some('F'),
            _ if unknown => None,
            Some(Severity::High) if self.count(Severity::High) > 2 => Some('E'),
            Some(Severity::High) => Some('D'),
            Some(Severity::Medium) => Some('C'),
            Some(Severity::Low) => Some('B'),
            _ => Some('A'),
        }
    }

    /// The document for programs.
    pub(crate) fn json(&self) -> Value {
        let findings: Vec<Value> = self.findings.iter().map(Finding::json).collect();
        let unclear = |unclear: &Unclear| json!({ "id": unclear.rule.id, "case": unclear.case, "why": unclear.why });
        let limit = |limit: &Limit| json!({ "name": limit.name, "passed": limit.passed, "refused": limit.refused, "text": limit.words });
        let facts: serde_json::Map<String, Value> = self
            .facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        json!({
            "schema": 1,
            "tool": concat!("tidegate ", env!("CARGO_PKG_VERSION")),
            "url": self.url,
            "level": self.level.name(),
            "grade": self.grade().map(String::from),
            "findings": findings,
            "passed": self.passed,
            "inconclusive": self.unclear.iter().map(unclear).collect::<Vec<_>>(),
            "limits": self.limits.iter().map(limit).collect::<Vec<_>>(),
            "handshake": facts,
            "ended": self.ended,
            "connections": self.connections,
            "bytes_sent": self.octets,
            "duration_ms": self.took.as_millis() as u64,
        })
    }
}

impl Finding {
    fn json(&self) -> Value {
        let evidence = |evidence: &Evidence| {
            json!({
                "case": evidence.case,
                "sent": evidence.sent,
                "got": evidence.got,
                "expected": evidence.expected,
            })
        };
        json!({
            "id": self.rule.id,
            "severity": self.rule.severity.name(),
            "title": self.rule.title,
            "cwe": format!("CWE-{}", self.rule.cwe),
            "section": self.rule.section,
            "mend": self.rule.mend,
            "evidence": self.evidence.iter().map(evidence).collect::<Vec<_>>(),
        })
    }
}

/// The order of the table of rules.
fn place(rule: &Rule) -> usize {
    let rules = super::rules::RULES;
    rules
        .iter()
        .position(|other| other.id == rule.id)
        .unwrap_or(rules.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ids: &[&str]) -> Report {
        let mut report = Report::new("ws://a/", Level::Protocol, false);
        report.passed = 100;
        for id in ids {
            let text = String::new;
            let (case, gist, sent, got, expected) = (text(), text(), text(), text(), text());
            report.find(
                id,
                Evidence {
                    case,
                    gist,
                    sent,
                    got,
                    expected,
                },
            );
        }
        report
    }

    #[test]
    fn grades_are_given_by_the_stated_rules() {
        let rows: [(&[&str], Option<char>); 8] = [
            (&[], Some('A')),
            (&["F0.close-code", "P2.banner"], Some('A')),
            (&["F5.size", "P2.banner"], Some('B')),
            (&["F5.size", "F2.reserved-bits"], Some('C')),
            (&["F1.unmasked"], Some('D')),
            (&["F1.unmasked", "H1.foreign-origin"], Some('D')),
            (
                &["F1.unmasked", "H1.foreign-origin", "H1.null-origin"],
                Some('E'),
            ),
            (&["H17.reflected"], Some('F')),
        ];
        for (ids, expected) in rows {
            assert_eq!(report(ids).grade(), expected, "{ids:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_praised() {
        let mut report = report(&[]);
        report.partial = true;
        assert_eq!(report.grade(), None);
        report.partial = false;
        report.ended = Some("timeout".into());
        assert_eq!(report.grade(), None);
        report.ended = None;
        report.level = Level::Passive;
        assert_eq!(report.grade(), None);
        report.level = Level::Handshake;
        for _ in 0..101 {
            let (rule, case, why) = (rule("F5.size"), String::new(), String::new());
            report.unclear.push(Unclear { rule, case, why });
        }
        assert_eq!(report.grade(), None);
    }

    #[test]
    fn the_worst_stands_first_and_cases_of_one_finding_together() {
        let report = report(&[
            "F5.size",
            "F2.reserved-bits",
            "F1.unmasked",
            "F2.reserved-bits",
        ]);
        let ids: Vec<&str> = report
            .findings
            .iter()
            .map(|finding| finding.rule.id)
            .collect();
        assert_eq!(ids, ["F1.unmasked", "F2.reserved-bits", "F5.size"]);
        assert_eq!(report.findings[1].evidence.len(), 2);
    }
}
