//! Where in a TOML text something stands, in the lines and columns that editors count. It judges nothing.

use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Line and column of an octet, both from 1; columns count characters.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}

/// Where the value of a key stands; `None` if the text has no such key.
pub fn of_key(text: &str, path: &[&str]) -> Option<Range<usize>> {
    let parsed = DeTable::parse(text).ok()?;
    let mut table = parsed.get_ref();
    let (last, parents) = path.split_last()?;
    for name in parents {
        match table.get(*name)?.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return None,
        }
    }
    table.get(*last).map(|value| value.span())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_as_editors_do() {
        let text = "a = 1\nbé = 2\n\n";
        let rows = [
            (0, (1, 1)),
            (4, (1, 5)),
            (6, (2, 1)),
            (7, (2, 2)),
            (8, (2, 2)),
            (9, (2, 3)),
            (14, (3, 1)),
            (99, (4, 1)),
        ];
        for (at, expected) in rows {
            assert_eq!(line_and_column(text, at), expected, "{at}");
        }
    }

    #[test]
    fn a_keys_value_is_found_in_tables_and_dotted_keys() {
        let text = "[namespaces.chat]\nrecover = true\n[drain]\nwindow.x = 3\n";
        let found = |path: &[&str]| of_key(text, path).map(|range| text[range].to_owned());
        assert_eq!(
            found(&["namespaces", "chat", "recover"]).as_deref(),
            Some("true")
        );
        assert_eq!(found(&["drain", "window", "x"]).as_deref(), Some("3"));
        assert_eq!(found(&["drain", "x"]), None);
        assert_eq!(found(&["drain", "window", "x", "y"]), None);
    }
}
