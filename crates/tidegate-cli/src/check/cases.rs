//! Rows of the project's case table, embedded: what to send and what must come of it. It sends nothing.

use super::rules::{Rule, rule};
use std::sync::OnceLock;

/// A row of the table, for one finding.
#[derive(Debug)]
pub(crate) struct Case {
    /// What is found when it is accepted.
    pub(crate) rule: &'static Rule,
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// A request, or frames after a good one.
    pub(crate) octets: Vec<u8>,
    /// The status or the close code that it deserves; 0 where any refusal will do.
    pub(crate) expected: u16,
}

impl Case {
    /// It is a request, and no frames.
    pub(crate) fn is_request(&self) -> bool {
        self.rule.id.starts_with('H')
    }
}

/// All rows, in order.
pub(crate) fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        let rows = include_str!("cases.txt").lines();
        let rows = rows.filter(|line| !line.is_empty() && !line.starts_with('#'));
        rows.map(|line| read(line).expect("a test reads all rows"))
            .collect()
    })
}

fn read(line: &'static str) -> Option<Case> {
    let parts: Vec<&str> = line.split(" | ").collect();
    let [finding, name, octets, expected] = parts[..] else {
        return None;
    };
    let octets = match finding.starts_with('H') {
        true => unescaped(octets)?,
        false => crate::connect::hex::parse(octets)?,
    };
    Some(Case {
        rule: rule(finding),
        name,
        octets,
        expected: expected.parse().ok()?,
    })
}

/// What `escape_ascii` has written.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        out.push(match (octet, octet == b'\\') {
            (octet, false) => octet,
            (_, true) => match rest.next()? {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                escaped => escaped,
            },
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_can_be_read() {
        assert!(cases().len() > 80);
        for case in cases() {
            assert_eq!(
                case.is_request(),
                case.octets.ends_with(b"\r\n\r\n") || case.name == "Content-Length above 0"
            );
            assert!(
                case.expected == 0 || (400..5000).contains(&case.expected),
                "{}",
                case.name
            );
        }
    }

    #[test]
    fn escapes_are_read_back() {
        let octets: Vec<u8> = (0..=255).collect();
        assert_eq!(unescaped(&octets.escape_ascii().to_string()), Some(octets));
        assert_eq!(unescaped("\\x0"), None);
    }
}
