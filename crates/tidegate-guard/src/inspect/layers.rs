//! Layers: what a text says once more when it is read as URL-encoded, as HTML with entities, with `\u` and `\x`
//! escapes, or as base64. For detection only: what is forwarded is what came. One pass and one result a layer, so
//! that three layers cost at most three times the text.

use super::detect::normal::{IN_LAYERS, Octets};

/// Whether a text of these octets can be read once more, as JSON or by [`decode`].
pub(crate) fn may_be(text: &[u8], octets: Octets) -> bool {
    text.len() >= SHORTEST_BASE64 || octets.has(IN_LAYERS)
}

/// The text with one layer taken off; none when it has no layer that this module knows.
pub(crate) fn decode(text: &[u8], into: &mut Vec<u8>) -> bool {
    into.clear();
    if base64(text, into) {
        return true;
    }
    into.clear();
    escapes(text, into)
}

/// Everything that stands for one symbol, each replaced; true when there was any.
fn escapes(text: &[u8], into: &mut Vec<u8>) -> bool {
    let mut rest = text;
    let mut found = false;
    while let Some(run) = memchr::memchr3(b'%', b'&', b'\\', rest) {
        into.extend_from_slice(&rest[..run]);
        rest = &rest[run..];
        let taken = match rest[0] {
            b'%' => percent(rest, into),
            b'&' => entity(rest, into),
            _ => backslash(rest, into),
        };
        found |= taken > 0;
        if taken == 0 {
            into.push(rest[0]);
        }
        rest = &rest[taken.max(1)..];
    }
    if found {
        into.extend_from_slice(rest);
        plus_for_space(text, into);
    }
    found
}

/// A form spells a space as `+`; only where the text has no spaces itself.
fn plus_for_space(text: &[u8], into: &mut [u8]) {
    if text.contains(&b'%') && !text.contains(&b' ') {
        into.iter_mut()
            .filter(|octet| **octet == b'+')
            .for_each(|octet| *octet = b' ');
    }
}

/// `%41`, `%u0041`, and the overlong `%c0%ae`; how many octets it took.
fn percent(rest: &[u8], into: &mut Vec<u8>) -> usize {
    if matches!(rest.get(1), Some(b'u' | b'U')) {
        return symbol(hex(rest, 2, 4), 6, into);
    }
    let Some(octet) = hex(rest, 1, 2) else {
        return 0;
    };
    let second = (rest.get(3) == Some(&b'%'))
        .then(|| hex(rest, 4, 2))
        .flatten();
    match second {
        Some(second) if matches!(octet, 0xc0 | 0xc1) => {
            into.push((((octet & 1) << 6) | (second & 0x3f)) as u8);
            6
        }
        _ => {
            into.push(octet as u8);
            3
        }
    }
}

/// `\u0041`, `\u{41}`, `\x41`, `\41` of CSS with at least two digits is left alone: paths look like it.
fn backslash(rest: &[u8], into: &mut Vec<u8>) -> usize {
    match rest.get(1) {
        Some(b'u') if rest.get(2) == Some(&b'{') => {
            let digits = run(&rest[3..], 8, |octet| octet.is_ascii_hexdigit());
            if rest.get(3 + digits) != Some(&b'}') {
                return 0;
            }
            symbol(hex(rest, 3, digits), digits + 4, into)
        }
        Some(b'u' | b'U') => symbol(hex(rest, 2, 4), 6, into),
        Some(b'x' | b'X') => symbol(hex(rest, 2, 2), 4, into),
        _ => 0,
    }
}

/// `&#65;`, `&#x41;` and the names that matter, with or without the semicolon.
fn entity(rest: &[u8], into: &mut Vec<u8>) -> usize {
    if rest.get(1) != Some(&b'#') {
        let named = NAMES.iter().find(|(name, _)| rest[1..].starts_with(name));
        return named.map_or(0, |(name, octet)| {
            into.extend_from_slice(octet);
            1 + name.len()
        });
    }
    let base = if matches!(rest.get(2), Some(b'x' | b'X')) {
        16
    } else {
        10
    };
    let from = if base == 16 { 3 } else { 2 };
    let is_digit = |octet: u8| char::from(octet).is_digit(base);
    let digits = run(rest.get(from..).unwrap_or_default(), 10, is_digit);
    let value = std::str::from_utf8(&rest[from.min(rest.len())..][..digits]).unwrap_or_default();
    let end = from + digits + usize::from(rest.get(from + digits) == Some(&b';'));
    symbol(u32::from_str_radix(value, base).ok(), end, into)
}

/// Appends a code point; how many octets its spelling took.
fn symbol(value: Option<u32>, taken: usize, into: &mut Vec<u8>) -> usize {
    let Some(symbol) = value.and_then(char::from_u32) else {
        return 0;
    };
    into.extend_from_slice(symbol.encode_utf8(&mut [0; 4]).as_bytes());
    taken
}

fn hex(rest: &[u8], from: usize, digits: usize) -> Option<u32> {
    let digits = rest.get(from..from + digits)?;
    digits.iter().try_fold(0u32, |value, &digit| {
        Some(value.checked_mul(16)? | char::from(digit).to_digit(16)?)
    })
}

fn run(rest: &[u8], most: usize, is: impl Fn(u8) -> bool) -> usize {
    rest.iter()
        .take(most)
        .take_while(|octet| is(**octet))
        .count()
}

/// The whole text as base64 of either alphabet, when what comes out is text.
fn base64(text: &[u8], into: &mut Vec<u8>) -> bool {
    let text = text.trim_ascii();
    if text.len() < SHORTEST_BASE64 || text.len() % 4 == 1 {
        return false;
    }
    let padding = text
        .iter()
        .rev()
        .take_while(|octet| **octet == b'=')
        .count();
    if padding > 2 {
        return false;
    }
    let (mut bits, mut held) = (0u32, 0u32);
    for &octet in &text[..text.len() - padding] {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return false,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            let octet = (bits >> held) as u8;
            if octet < 0x20 && !octet.is_ascii_whitespace() && octet != 0 {
                return false;
            }
            into.push(octet);
        }
    }
    std::str::from_utf8(into).is_ok()
}

/// Shorter ones are words.
const SHORTEST_BASE64: usize = 12;

/// With their semicolons first, so that the longest wins.
const NAMES: &[(&[u8], &[u8])] = &[
    (b"lt;", b"<"),
    (b"gt;", b">"),
    (b"quot;", b"\""),
    (b"apos;", b"'"),
    (b"amp;", b"&"),
    (b"colon;", b":"),
    (b"lpar;", b"("),
    (b"rpar;", b")"),
    (b"grave;", b"`"),
    (b"DiacriticalGrave;", b"`"),
    (b"Tab;", b"\t"),
    (b"NewLine;", b"\n"),
    (b"nbsp;", b" "),
    (b"sol;", b"/"),
    (b"bsol;", b"\\"),
    (b"semi;", b";"),
    (b"equals;", b"="),
    (b"excl;", b"!"),
    (b"lbrace;", b"{"),
    (b"rbrace;", b"}"),
    (b"lbrack;", b"["),
    (b"rbrack;", b"]"),
    (b"dollar;", b"$"),
    (b"period;", b"."),
    (b"comma;", b","),
    (b"lowbar;", b"_"),
    (b"num;", b"#"),
    (b"percnt;", b"%"),
    (b"plus;", b"+"),
    (b"lt", b"<"),
    (b"gt", b">"),
    (b"quot", b"\""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Option<String> {
        let mut into = Vec::new();
        decode(text.as_bytes(), &mut into).then(|| String::from_utf8_lossy(&into).into_owned())
    }

    #[test]
    fn each_spelling_is_read() {
        for (spelt, meant) in [
            ("%3Cb%3e", "<b>"),
            ("%u003cb", "<b"),
            ("..%c0%af..", "../.."),
            ("%253C", "%3C"),
            ("a%20b+c", "a b c"),
            ("&lt;b&gt", "<b>"),
            ("&#60;&#x3c;&#0060", "<<<"),
            ("java&Tab;script&colon;", "java\tscript:"),
            (r"\u003cb\x3e\u{3c}", "<b><"),
            (
                "PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
                "<script>alert(1)</script>",
            ),
            ("eyIkZ3QiOiIifQ-_", ""),
        ] {
            match decoded(spelt) {
                Some(text) => assert_eq!(text, meant, "{spelt}"),
                None => assert_eq!(meant, "", "{spelt}"),
            }
        }
    }

    #[test]
    fn what_has_no_layer_has_none() {
        for text in [
            "",
            "100 %",
            "AT&T",
            r"C:\new\users",
            "5 & 6",
            "hello",
            "%zz &# \\x",
        ] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }

    #[test]
    fn no_text_grows() {
        for text in [
            "&#1114111;",
            "%u0800",
            "&nbsp;",
            "&lt",
            r"\u0800",
            r"\u{10ffff}",
        ] {
            let mut into = Vec::new();
            decode(text.as_bytes(), &mut into);
            assert!(into.len() <= text.len(), "{text}");
        }
    }
}
