//! Octets for people: a hex dump, and text that cannot move the cursor.

use std::fmt::Write as _;

/// A hex dump: offset, 16 octets a line, what is visible of them. Each line is indented by two spaces.
pub(crate) fn dump(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len() * 5);
    for (line, row) in octets.chunks(16).enumerate() {
        let infallible = "writing to a String cannot fail";
        write!(out, "  {:08x} ", line * 16).expect(infallible);
        for at in 0..16 {
            let gap = if at == 8 { "  " } else { " " };
            match row.get(at) {
                Some(octet) => write!(out, "{gap}{octet:02x}"),
                None => write!(out, "{gap}  "),
            }
            .expect(infallible);
        }
        out.push_str("  |");
        let visible = |octet: &u8| match octet {
            b' '..=b'~' => char::from(*octet),
            _ => '.',
        };
        out.extend(row.iter().map(visible));
        out.push_str("|\n");
    }
    out.pop();
    out
}

/// Reads pairs of hexadecimal digits; white space between them is skipped.
pub(crate) fn parse(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    match digits.len() % 2 {
        0 => Some(
            digits
                .chunks(2)
                .map(|pair| (pair[0] << 4 | pair[1]) as u8)
                .collect(),
        ),
        _ => None,
    }
}

/// The server's text for a terminal: control characters, which could move the cursor, change colours or worse, are
/// shown as escapes; line feeds and tabs stay.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            // Bidirectional controls can make a line read as something else.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.extend(c.escape_unicode()),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// The beginning of a payload on one line, in quotes.
pub(crate) fn preview(octets: &[u8], most: usize) -> String {
    let cut = &octets[..octets.len().min(most)];
    let text = match std::str::from_utf8(cut) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&cut[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    let more = if octets.len() > most { "…" } else { "" };
    match text {
        Some(text) => {
            let line = harmless(text).replace('\n', "\\n").replace('\t', "\\t");
            format!("\"{line}\"{more}")
        }
        None => {
            let row = &cut[..cut.len().min(24)];
            let pairs: Vec<String> = row.iter().map(|octet| format!("{octet:02x}")).collect();
            let more = if octets.len() > row.len() { " …" } else { "" };
            format!("{}{more}", pairs.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_has_sixteen_octets_a_line() {
        let octets: Vec<u8> = (b'a'..=b'r').collect();
        let expected = "  00000000  61 62 63 64 65 66 67 68  69 6a 6b 6c 6d 6e 6f 70  |abcdefghijklmnop|\n  \
            00000010  71 72                                             |qr|";
        assert_eq!(dump(&octets), expected);
        assert_eq!(dump(b""), "");
        assert!(dump(b"\x1b\xff").ends_with("|..|"));
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        assert_eq!(parse("00 ff 7F"), Some(vec![0, 255, 127]));
        assert_eq!(parse(""), Some(vec![]));
        assert_eq!(parse("0"), None);
        assert_eq!(parse("zz"), None);
    }

    #[test]
    fn text_of_the_server_cannot_act_on_the_terminal() {
        assert_eq!(
            harmless("a\x1b[2Jb\u{9b}c\r\n\t\u{202e}é"),
            "a\\u{1b}[2Jb\\u{9b}c\\r\n\t\\u{202e}é"
        );
    }

    #[test]
    fn a_preview_is_one_short_line() {
        assert_eq!(preview(b"a\nb", 9), r#""a\nb""#);
        assert_eq!(preview("éé".as_bytes(), 3), "\"é\"…");
        assert_eq!(preview(b"\xff\x00", 9), "ff 00");
        assert_eq!(preview(b"", 9), "\"\"");
    }
}
