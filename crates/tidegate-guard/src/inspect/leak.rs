//! What should not leave a server: card numbers, keys and tokens, traces of its code. Each is found with its place in the
//! text, so that it can be masked and the rest can pass.

use super::needles::Needles;
use super::rules::RuleName;
use aho_corasick::packed::Searcher;
use regex_automata::Input;
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use std::ops::Range;
use std::sync::OnceLock;
use tidegate_proto::CloseCode;

/// A kind of thing that should not leave.
pub(crate) struct Leak {
    id: &'static str,
    why: &'static str,
    /// One of these stands in each; none where digits are looked for.
    needles: &'static [&'static str],
    pattern: &'static str,
    #[cfg(test)]
    sample: &'static str,
}

impl Leak {
    pub(crate) const FAMILY: &'static str = "leak";
    pub(crate) const ALL: &'static [Leak] = LEAKS;

    pub(crate) fn name(&self) -> RuleName {
        RuleName {
            id: self.id,
            family: Leak::FAMILY,
            why: self.why,
            close: CloseCode::POLICY,
            only_by_name: false,
        }
    }
}

const fn leak(
    id: &'static str,
    why: &'static str,
    needles: &'static [&'static str],
    pattern: &'static str,
    sample: &'static str,
) -> Leak {
    _ = sample;
    Leak {
        id,
        why,
        needles,
        pattern,
        #[cfg(test)]
        sample,
    }
}

/// The first is the one that digits are checked for.
const LEAKS: &[Leak] = &[
    leak(
        "leak-card",
        "a payment card's number",
        &[],
        r"[3-6]\d(?:[ -]?\d){11,17}",
        "4111 1111 1111 1111",
    ),
    leak(
        "leak-private-key",
        "a private key",
        &["PRIVATE KEY"],
        r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s\\:,.-]*(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----)?",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ),
    leak(
        "leak-aws-key",
        "an AWS access key",
        &[
            "AKIA",
            "ASIA",
            "aws_secret_access_key",
            "AWS_SECRET_ACCESS_KEY",
            "SecretAccessKey",
        ],
        r#"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b|(?i:aws_secret_access_key|SecretAccessKey)["'\s:=]{1,6}[A-Za-z0-9/+]{40}\b"#,
        "AKIAIOSFODNN7EXAMPLE",
    ),
    leak(
        "leak-token",
        "a service's token",
        &[
            "ghp_",
            "gho_",
            "ghs_",
            "ghu_",
            "github_pat_",
            "glpat-",
            "xoxb-",
            "xoxp-",
            "xoxa-",
            "sk_live_",
            "rk_live_",
            "sk-",
            "AIza",
            "SG.",
            "npm_",
            "pypi-",
            "dop_v1_",
            "shpat_",
            "hf_",
        ],
        r"\b(?:gh[posu]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,}|xox[abp]-[A-Za-z0-9-]{10,}|[sr]k_live_[A-Za-z0-9]{16,}|sk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,}|AIza[A-Za-z0-9_-]{35}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}|dop_v1_[a-f0-9]{64}|shpat_[a-fA-F0-9]{32}|hf_[A-Za-z0-9]{30,})",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    ),
    leak(
        "leak-jwt",
        "a JSON Web Token",
        &["eyJ"],
        r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{16,}",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJlc2lnbmF0dXJl",
    ),
    leak(
        "leak-password",
        "a URL with a password, or a hashed password",
        &["://", "$2a$", "$2b$", "$2y$", "$argon2", "$6$"],
        r"\b(?:postgres(?:ql)?|mysql|mongodb(?:\+srv)?|redis|rediss|amqps?|mssql|ftp|smtp)://[^\s:/@]*:[^\s/@]+@[^\s]+|\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}|\$argon2(?:id|i|d)\$[^\s]{20,}|\$6\$[./A-Za-z0-9]{2,16}\$[./A-Za-z0-9]{86}",
        "postgres://app:secret@db/x",
    ),
    leak(
        "leak-trace",
        "a trace of the server's code",
        &[
            "Traceback (most",
            ".java:",
            ".kt:",
            ".scala:",
            ".js:",
            ".mjs:",
            ".ts:",
            ".cs:",
            ".go:",
            ".rs:",
            ".py:",
            ".php:",
            "Native Method",
            "Unknown Source",
            "native",
            "goroutine ",
            "stack backtrace",
            "Fatal error",
            "Stack trace:",
            "panicked at",
            ".rb:",
            "Exception in thread",
            "System.",
        ],
        r#"Traceback \(most recent call last\):(?:\s*File "[^"]*", line \d+[^\n]*(?:\n[^\n]*)?)*|(?:\n|^|\s)at [\w$.<>/ \[\]-]*\(?(?:[\w./\\:-]+\.(?:java|kt|scala|js|mjs|ts|cs|go|rs|py|rb|php):\d+(?::\d+)?|Native Method|Unknown Source|native)\)?(?:\s+at [^\n]*)*|goroutine \d+ \[[\w ,]+\]:[^\n]*|stack backtrace:\s+0:[^\n]*|(?:PHP )?(?:Fatal|Parse) error:\s.* in \S+\.php(?::| on line )\d+|Stack trace:\s+#0[^\n]*|thread '[^']*' (?:\(\d+\) )?panicked at [^\n]*|\S+\.rb:\d+:in [`'][^']*'|Exception in thread "[^"]*" [^\n]*|\bSystem\.\w+(?:\.\w+)*Exception:[^\n]*"#,
        "Traceback (most recent call last):\n  File \"/srv/app.py\", line 3, in f",
    ),
    leak(
        "leak-sql-error",
        "a database's error",
        &[
            "SQL syntax",
            "ORA-",
            "SQLSTATE",
            "PG::",
            "psycopg2",
            "sqlite3.",
            "SQLiteException",
            "Unclosed quotation",
            "PSQLException",
            "MySqlException",
            "pg_query",
            "mysqli",
        ],
        r"You have an error in your SQL syntax[^\n]*|\bORA-\d{5}\b[^\n]*|SQLSTATE\[\w+\][^\n]*|\bPG::\w+Error[^\n]*|psycopg2\.\w+[^\n]*|sqlite3\.\w*Error[^\n]*|\w*SQLiteException[^\n]*|Unclosed quotation mark[^\n]*|PSQLException[^\n]*|MySqlException[^\n]*|(?:pg_query|mysqli?_\w+)\(\):[^\n]*",
        "You have an error in your SQL syntax; check the manual",
    ),
];

/// All of it, compiled; made once in a process.
pub(crate) struct Leaks {
    needles: Needles,
    /// By the needle's number.
    by_needle: Vec<usize>,
    /// Whether any needle stands in a text, sooner than which: half of them each. None on a processor that can't.
    any: Option<[Searcher; 2]>,
    patterns: Vec<Regex>,
}

impl Leaks {
    pub(crate) fn get() -> &'static Leaks {
        static LEAKS: OnceLock<Leaks> = OnceLock::new();
        LEAKS.get_or_init(Leaks::new)
    }

    fn new() -> Leaks {
        let each = LEAKS.iter().enumerate();
        let needles = each.flat_map(|(place, leak)| leak.needles.iter().map(move |n| (place, n)));
        let (by_needle, needles): (Vec<usize>, Vec<&str>) = needles.unzip();
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let compile = |leak: &Leak| {
            let regex = Regex::builder().syntax(syntax).build(leak.pattern);
            regex.expect("the tables' patterns are valid")
        };
        Leaks {
            any: any_of(&needles),
            needles: Needles::new(&needles),
            by_needle,
            patterns: LEAKS.iter().map(compile).collect(),
        }
    }

    /// Which leaks a text may have, as bits; 0 for nearly every message.
    pub(crate) fn candidates(&self, text: &[u8]) -> u32 {
        let mut candidates = u32::from(has_digits(text));
        let has_none = |any: &[Searcher; 2]| any.iter().all(|some| some.find(text).is_none());
        if self.any.as_ref().is_some_and(has_none) {
            return candidates;
        }
        self.needles
            .each(text, |needle| candidates |= 1 << self.by_needle[needle]);
        candidates
    }

    /// Tells `found` of each leak among the candidates: which, and where.
    pub(crate) fn find(
        &self,
        text: &[u8],
        candidates: u32,
        mut found: impl FnMut(usize, Range<usize>),
    ) {
        for (place, pattern) in self.patterns.iter().enumerate() {
            if candidates & (1 << place) == 0 {
                continue;
            }
            for at in pattern.find_iter(Input::new(text)) {
                if place > 0 || is_card(text, &at.range()) {
                    found(place, at.range());
                }
            }
        }
    }
}

fn any_of(needles: &[&str]) -> Option<[Searcher; 2]> {
    let (some, others) = needles.split_at(needles.len() / 2);
    Some([Searcher::new(some)?, Searcher::new(others)?])
}

/// Whether there are thirteen digits with at most one space or hyphen between them, the first of them one that a card's
/// number begins with. A time in milliseconds has thirteen too.
///
/// So many octets without another between them have one at a place that is looked at, so most are not looked at.
fn has_digits(text: &[u8]) -> bool {
    let is_other = |octet: &u8| !matches!(octet, b'0'..=b'9' | b' ' | b'-');
    let mut at = DIGITS - 1;
    while at < text.len() {
        if is_other(&text[at]) {
            at += DIGITS;
            continue;
        }
        let start = text[..at].iter().rposition(is_other);
        let start = start.map_or(0, |other| other + 1);
        let end = text[at..].iter().position(is_other);
        let end = end.map_or(text.len(), |other| at + other);
        if end - start >= DIGITS && are_enough(&text[start..end]) {
            return true;
        }
        at = end + DIGITS;
    }
    false
}

/// Of digits, spaces and hyphens.
fn are_enough(octets: &[u8]) -> bool {
    let (mut digits, mut gap) = (0, false);
    for octet in octets {
        (digits, gap) = match octet {
            b'3'..=b'6' => (digits + 1, false),
            b'0'..=b'9' if digits > 0 => (digits + 1, false),
            b' ' | b'-' if digits > 0 && !gap => (digits, true),
            _ => (0, false),
        };
        if digits >= DIGITS {
            return true;
        }
    }
    false
}

/// Of the shortest card's number.
const DIGITS: usize = 13;

/// Whether digits are a card's: by themselves, of a length and a prefix that cards have, with Luhn's sum.
fn is_card(text: &[u8], at: &Range<usize>) -> bool {
    let joins = |octet: Option<&u8>| {
        octet.is_some_and(|o| o.is_ascii_alphanumeric() || matches!(o, b'.' | b'_'))
    };
    if joins(text.get(at.end)) || (at.start > 0 && joins(text.get(at.start - 1))) {
        return false;
    }
    let digits: Vec<u8> = text[at.clone()]
        .iter()
        .filter(|octet| octet.is_ascii_digit())
        .map(|digit| digit - b'0')
        .collect();
    has_prefix(&digits) && digits.iter().any(|digit| *digit != digits[0]) && luhn(&digits)
}

/// Visa, Mastercard, American Express, Discover, Diners, JCB, Maestro, UnionPay: with the lengths that they have.
fn has_prefix(digits: &[u8]) -> bool {
    let start = digits[..4]
        .iter()
        .fold(0u32, |value, digit| value * 10 + u32::from(*digit));
    match start {
        4000..=4999 => matches!(digits.len(), 13 | 16 | 19),
        5100..=5599 | 2221..=2720 => digits.len() == 16,
        3400..=3499 | 3700..=3799 => digits.len() == 15,
        3000..=3059 | 3600..=3699 | 3800..=3999 => matches!(digits.len(), 14 | 16),
        3528..=3589 => digits.len() == 16,
        6011 | 6440..=6599 | 6200..=6299 => matches!(digits.len(), 16..=19),
        5000..=5099 | 5600..=5899 => matches!(digits.len(), 13..=19),
        _ => false,
    }
}

/// ISO/IEC 7812-1, annex B.
fn luhn(digits: &[u8]) -> bool {
    let double = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            u32::from(if place % 2 == 1 {
                double(*digit)
            } else {
                *digit
            })
        })
        .sum();
    sum % 10 == 0
}

/// Puts asterisks where leaks are; of a card the last four digits stay.
pub(crate) fn mask(text: &[u8], leaks: &[(usize, Range<usize>)]) -> Vec<u8> {
    let mut masked = text.to_vec();
    for (place, at) in leaks {
        let mut keep = if *place == 0 { 4 } else { 0 };
        for octet in masked[at.clone()].iter_mut().rev() {
            if *place == 0 && !octet.is_ascii_digit() {
                continue;
            }
            if keep > 0 {
                keep -= 1;
            } else {
                *octet = b'*';
            }
        }
    }
    masked
}

/// Writes a text as a JSON string. RFC 8259 §7
pub(crate) fn push_string(text: &[u8], into: &mut Vec<u8>) {
    into.push(b'"');
    for &octet in text {
        match octet {
            b'"' | b'\\' => into.extend_from_slice(&[b'\\', octet]),
            b'\n' => into.extend_from_slice(b"\\n"),
            b'\r' => into.extend_from_slice(b"\\r"),
            b'\t' => into.extend_from_slice(b"\\t"),
            0..0x20 => into.extend_from_slice(format!("\\u{octet:04x}").as_bytes()),
            _ => into.push(octet),
        }
    }
    into.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&'static str> {
        let leaks = Leaks::get();
        let mut found = Vec::new();
        let candidates = leaks.candidates(text.as_bytes());
        leaks.find(text.as_bytes(), candidates, |place, _| {
            found.push(LEAKS[place].id)
        });
        found
    }

    #[test]
    fn every_leak_is_found_in_its_sample() {
        for leak in LEAKS {
            let text = format!("so: {} and on", leak.sample);
            assert!(found(&text).contains(&leak.id), "{}", leak.id);
        }
    }

    #[test]
    fn what_only_looks_like_a_card_is_none() {
        for text in [
            "4111111111111112",
            "1700000000123",
            "order 0000000000000000",
            "4111111111111111.5",
            "id4111111111111111",
            "2026-11-28 17:44:10 1234567890123",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
        for text in ["378282246310005", "5555-5555-5555-4444", "6011111111111117"] {
            assert_eq!(found(text), ["leak-card"], "{text}");
        }
    }

    #[test]
    fn digits_are_seen_wherever_they_stand() {
        let rows = [
            ("4111111111111", true),
            ("411111111111", false),
            ("4 1-1 1-1 1-1 1-1 1-1 1-1", true),
            ("4 1  1 1 1 1 1 1 1 1 1 1 1", false),
            ("1764374400000", false),
            ("  -4111111111111", true),
            ("12345 41111 11111111", true),
        ];
        for before in 0..40 {
            for after in [0, 1, 12, 13, 14, 40] {
                for (number, expected) in rows {
                    let text = format!("{}{number}{}", "x".repeat(before), "y".repeat(after));
                    assert_eq!(has_digits(text.as_bytes()), expected, "{text}");
                }
            }
        }
    }

    #[test]
    fn a_masked_text_shows_four_digits_and_no_key() {
        let text = b"card 4111 1111 1111 1111 key AKIAIOSFODNN7EXAMPLE!";
        let mut at = Vec::new();
        let leaks = Leaks::get();
        leaks.find(text, u32::MAX, |place, range| at.push((place, range)));
        let masked = String::from_utf8(mask(text, &at)).unwrap();
        assert_eq!(masked, "card **** **** **** 1111 key ********************!");
    }
}
