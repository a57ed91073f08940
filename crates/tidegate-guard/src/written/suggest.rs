//! "Did you mean": the known name nearest to a mistyped one. It only words messages.

/// Turns serde's "unknown field `x`, expected one of `a`, `b`" into a message with the nearest name; other
/// messages pass unchanged.
pub(super) fn shorten(message: &str) -> String {
    let Some((said, expected)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let Some(given) = said
        .strip_prefix("unknown field ")
        .and_then(|name| name.strip_prefix('`')?.strip_suffix('`'))
    else {
        return message.to_owned();
    };
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    match nearest(given, &known) {
        Some(name) => format!("unknown key {given}; did you mean {name}?"),
        None => format!("unknown key {given}; there are {}", known.join(", ")),
    }
}

/// The name with the fewest edits, if those are few for its length.
fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let (edits, name) = known
        .iter()
        .map(|name| (distance(given, name), *name))
        .min()?;
    (edits <= 1 + name.len() / 4).then_some(name)
}

/// Insertions, deletions and replacements between two names (Levenshtein, one row kept).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_else_all_of_them() {
        let said = |given: &str| {
            shorten(&format!(
                "unknown field `{given}`, expected one of `history_size`, `history_ttl`, `presence`"
            ))
        };
        assert_eq!(
            said("histroy_size"),
            "unknown key histroy_size; did you mean history_size?"
        );
        assert_eq!(
            said("presense"),
            "unknown key presense; did you mean presence?"
        );
        assert_eq!(
            said("colour"),
            "unknown key colour; there are history_size, history_ttl, presence"
        );
        assert_eq!(
            shorten("invalid type: string \"a\", expected u16"),
            "invalid type: string \"a\", expected u16"
        );
    }

    #[test]
    fn distances_count_edits() {
        let rows = [
            ("", "", 0),
            ("abc", "", 3),
            ("abc", "abd", 1),
            ("kitten", "sitting", 3),
        ];
        for (a, b, expected) in rows {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected));
        }
    }
}
