//! A report as SARIF 2.1.0, for the places where other scanners' findings are kept.

use super::report::{Evidence, Finding, Report};
use super::rules::{RULES, Rule, Severity};
use serde_json::{Value, json};

/// The document.
pub(crate) fn document(report: &Report) -> Value {
    let results = report
        .findings
        .iter()
        .flat_map(|finding| results(finding, &report.url));
    let unclear = report.unclear.iter().map(|unclear| {
        let text = format!("{}: {}", unclear.case, unclear.why);
        let mut result = result(unclear.rule, &text, &report.url);
        (result["kind"], result["level"]) = (json!("open"), json!("none"));
        result
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "tidegate check",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": RULES.iter().map(described).collect::<Vec<_>>(),
            }},
            "invocations": [{ "executionSuccessful": report.ended.is_none() }],
            "properties": { "grade": report.grade().map(String::from), "level": report.level.name() },
            "results": results.chain(unclear).collect::<Vec<_>>(),
        }],
    })
}

fn described(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.title },
        "fullDescription": { "text": format!("{} ({})", rule.title, rule.section) },
        "help": { "text": rule.mend },
        "defaultConfiguration": { "level": level(rule.severity) },
        "properties": {
            "tags": ["security", "websocket", format!("external/cwe/cwe-{}", rule.cwe)],
            // As CVSS counts, for those who sort by it.
            "security-severity": match rule.severity {
                Severity::Info => "0.0",
                Severity::Low => "3.0",
                Severity::Medium => "5.5",
                Severity::High => "8.0",
                Severity::Critical => "9.5",
            },
        },
    })
}

fn results<'a>(finding: &'a Finding, url: &'a str) -> impl Iterator<Item = Value> + 'a {
    finding.evidence.iter().map(move |evidence: &Evidence| {
        let text = format!(
            "{}. Case: {}. Sent: {}. Got: {}. Expected: {}.",
            finding.rule.title, evidence.case, evidence.sent, evidence.got, evidence.expected
        );
        let mut result = result(finding.rule, &text, url);
        result["partialFingerprints"] =
            json!({ "case/v1": format!("{}/{}", finding.rule.id, evidence.case) });
        result
    })
}

fn result(rule: &Rule, text: &str, url: &str) -> Value {
    json!({
        "ruleId": rule.id,
        "ruleIndex": RULES.iter().position(|other| other.id == rule.id),
        "kind": "fail",
        "level": level(rule.severity),
        "message": { "text": text },
        "locations": [{ "physicalLocation": { "artifactLocation": { "uri": url } } }],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "note",
        Severity::Low | Severity::Medium => "warning",
        Severity::High | Severity::Critical => "error",
    }
}
