//! Which rules can find anything in a text, by the kinds of octets that it has: a rule whose pattern cannot match without a
//! quote is not asked of a text without one. Read off the patterns, not written beside them.

use super::Set;
use super::normal::{Kinds, kinds_of};
use regex_syntax::hir::{Class, Hir, HirKind};

/// For each combination of kinds, the rules that can match a text that has no others.
pub(super) struct Possible(Vec<Set>);

impl Possible {
    /// Of the rules' patterns, in the rules' order.
    pub(super) fn of(patterns: &[Hir]) -> Possible {
        let sets = Kinds::all_combinations().map(|kinds| {
            let mut set = Set::default();
            for (rule, pattern) in patterns.iter().enumerate() {
                if can_match(pattern, kinds) {
                    set.insert(rule);
                }
            }
            set
        });
        Possible(sets.collect())
    }

    pub(super) fn with(&self, kinds: Kinds) -> Set {
        self.0[kinds.index()]
    }
}

/// Whether some text of octets of these kinds, and of those of no kind, could match, as far as its octets go: where in
/// the text an assertion holds is not looked at.
fn can_match(pattern: &Hir, kinds: Kinds) -> bool {
    let is_there = |octet: u8| kinds.has_all(kinds_of(octet));
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => literal.0.iter().all(|octet| is_there(*octet)),
        HirKind::Class(Class::Bytes(class)) => {
            let mut octets = class.iter().flat_map(|range| range.start()..=range.end());
            octets.any(is_there)
        }
        HirKind::Class(Class::Unicode(class)) => {
            let mut symbols = class.iter().flat_map(|range| range.start()..=range.end());
            symbols.any(|symbol| u8::try_from(symbol).map_or(true, is_there))
        }
        HirKind::Repetition(repeated) => repeated.min == 0 || can_match(&repeated.sub, kinds),
        HirKind::Capture(group) => can_match(&group.sub, kinds),
        HirKind::Concat(parts) => parts.iter().all(|part| can_match(part, kinds)),
        HirKind::Alternation(ways) => ways.iter().any(|way| can_match(way, kinds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::detect::parse;

    fn possible(pattern: &str, text: &str) -> bool {
        let kinds = text.bytes().map(kinds_of).fold(Kinds::NONE, Kinds::and);
        can_match(&parse(pattern), kinds)
    }

    #[test]
    fn a_pattern_that_needs_a_kind_of_octet_is_not_possible_without_it() {
        let rows = [
            (r"a", "b", true),
            (r"a'", "b", false),
            (r"a'?", "b", true),
            (r"'|\d", "5", true),
            (r"'|\d", "x", false),
            (r"[a']", "x", true),
            (r"[^a]", "x", true),
            (r"(?:'|\()+x{2}", "x(", true),
            (r"(?:'|\()+x{2}", "x;", false),
            (r"^\bx$", "", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(possible(pattern, text), expected, "{pattern} in {text:?}");
        }
    }
}
