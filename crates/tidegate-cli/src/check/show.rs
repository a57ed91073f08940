//! A report for people: a verdict, a block for each finding, the limits, what could not be told; and two reports side by
//! side. It decides nothing about them.

use super::report::{Evidence, Finding, Report, Unclear};
use super::rules::Severity;
use std::fmt::Write as _;

/// How to write.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) colour: bool,
    /// Each case, not just the first.
    pub(crate) verbose: bool,
}

impl Look {
    fn paint(self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn severity(self, severity: Severity, text: &str) -> String {
        let code = match severity {
            Severity::Critical => "1;31",
            Severity::High => "31",
            Severity::Medium => "33",
            Severity::Low => "36",
            Severity::Info => "2",
        };
        self.paint(code, text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// One report.
pub(crate) fn table(report: &Report, look: Look) -> String {
    let mut out = String::new();
    line(&mut out, &look.bold(&report.url));
    line(&mut out, &verdict(report, look));
    for finding in &report.findings {
        out.push('\n');
        block(&mut out, finding, look);
    }
    limits(&mut out, report, look);
    unclear(&mut out, &report.unclear, look);
    if let Some(why) = &report.ended {
        line(
            &mut out,
            &format!("\n{}", look.paint("33", &format!("ended early: {why}"))),
        );
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

fn verdict(report: &Report, look: Look) -> String {
    let grade = match report.grade() {
        Some(grade) => look.bold(&format!("grade {grade}")),
        None => "no grade".to_owned(),
    };
    let found: Vec<String> = SEVERITIES
        .iter()
        .filter(|severity| report.count(**severity) > 0)
        .map(|severity| {
            look.severity(
                *severity,
                &format!("{} {severity}", report.count(*severity)),
            )
        })
        .collect();
    let found = if found.is_empty() {
        "no findings".to_owned()
    } else {
        found.join(", ")
    };
    let cost = format!(
        "level {}, {} passed, {} inconclusive; {} connections, {:.1} MiB sent, {:.1} s",
        report.level.name(),
        report.passed,
        report.unclear.len(),
        report.connections,
        report.octets as f64 / f64::from(1 << 20),
        report.took.as_secs_f64()
    );
    format!("{grade}: {found}\n{}", look.dim(&cost))
}

fn block(out: &mut String, finding: &Finding, look: Look) {
    let rule = finding.rule;
    let severity = look.severity(rule.severity, &format!("{:<9}", rule.severity));
    line(
        out,
        &format!("{severity} {:<26} {}", look.bold(rule.id), rule.title),
    );
    let shown = if look.verbose {
        finding.evidence.len()
    } else {
        1
    };
    for evidence in finding.evidence.iter().take(shown) {
        cases(out, evidence, look);
    }
    let more: Vec<&str> = finding
        .evidence
        .iter()
        .skip(shown)
        .map(|evidence| evidence.case.as_str())
        .collect();
    if !more.is_empty() {
        entry(out, look, "also", &more.join("; "));
    }
    let section = format!("{}, CWE-{}", rule.section, rule.cwe);
    entry(out, look, "mend", rule.mend);
    entry(out, look, "rule", &section);
}

fn cases(out: &mut String, evidence: &Evidence, look: Look) {
    let sent = if look.verbose {
        &evidence.sent
    } else {
        &evidence.gist
    };
    let got = match look.verbose {
        true => evidence.got.as_str(),
        false => evidence.got.lines().next().unwrap_or_default(),
    };
    entry(out, look, "case", &evidence.case);
    if *sent != evidence.case {
        entry(out, look, "sent", sent);
    }
    entry(out, look, "got", got);
    entry(out, look, "expected", &evidence.expected);
}

fn entry(out: &mut String, look: Look, name: &str, text: &str) {
    for (n, text) in text.lines().enumerate() {
        let name = if n == 0 { name } else { "" };
        line(
            out,
            &format!("{:10}{} {text}", "", look.dim(&format!("{name:<9}"))),
        );
    }
}

fn limits(out: &mut String, report: &Report, look: Look) {
    if report.limits.is_empty() {
        return;
    }
    line(out, &format!("\n{}", look.bold("limits")));
    for limit in &report.limits {
        line(out, &format!("  {:<28} {}", limit.name, limit.words));
    }
}

fn unclear(out: &mut String, unclear: &[Unclear], look: Look) {
    if unclear.is_empty() {
        return;
    }
    line(out, &format!("\n{}", look.bold("inconclusive")));
    for unclear in unclear {
        line(
            out,
            &format!(
                "  {:<28} {}: {}",
                unclear.rule.id,
                unclear.case,
                look.dim(&unclear.why)
            ),
        );
    }
}

/// Two reports, row by row.
pub(crate) fn side_by_side(one: &Report, other: &Report, look: Look) -> String {
    let mut out = String::new();
    let width = one.url.len().max(26);
    let mut row = |severity: Option<Severity>, name: &str, left: &str, right: &str| {
        let word = severity.map_or("", Severity::name);
        let word = format!("{word:<9}");
        let word = severity.map_or(word.clone(), |severity| look.severity(severity, &word));
        line(
            &mut out,
            &format!("{word} {name:<28} {left:<width$}  {right}"),
        );
    };
    row(None, "", &one.url, &other.url);
    let grade = |report: &Report| report.grade().map_or("none".to_owned(), String::from);
    row(None, "grade", &grade(one), &grade(other));
    for rule in super::rules::RULES {
        let (left, right) = (state(one, rule.id), state(other, rule.id));
        if left != "ok" || right != "ok" {
            row(Some(rule.severity), rule.id, &left, &right);
        }
    }
    for limit in &one.limits {
        let same = |report: &Report| {
            let found = report.limits.iter().find(|other| other.name == limit.name);
            found.map_or("not told".to_owned(), |limit| limit.words.clone())
        };
        row(None, limit.name, &limit.words, &same(other));
    }
    for report in [one, other] {
        if let Some(why) = &report.ended {
            row(None, "ended early", &report.url, why);
        }
    }
    out
}

fn state(report: &Report, id: &str) -> String {
    if let Some(finding) = report.findings.iter().find(|finding| finding.rule.id == id) {
        return match finding.evidence.len() {
            1 => "found".to_owned(),
            n => format!("found in {n} cases"),
        };
    }
    match report.unclear.iter().any(|unclear| unclear.rule.id == id) {
        true => "inconclusive".to_owned(),
        false => "ok".to_owned(),
    }
}

/// A line of stderr that says how far it is, where somebody looks.
pub(crate) fn progress(is_on: bool, text: &str) {
    if is_on {
        let mut line = String::new();
        let _ = write!(line, "\r\x1b[K{text}");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }
}

const SEVERITIES: [Severity; 5] = [
    Severity::Critical,
    Severity::High,
    Severity::Medium,
    Severity::Low,
    Severity::Info,
];
