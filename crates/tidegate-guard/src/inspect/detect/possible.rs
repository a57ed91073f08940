//! Which rules can find anything in a text, by the kinds of octets that it has: a rule whose pattern cannot match without a
//! quote is not asked of a text without one. Read off the patterns, not written beside them.

use super::Set;
use super::normal::Octets;
use regex_syntax::hir::{Class, Hir, HirKind};

/// For each combination of kinds, the rules that can match a text that has no others.
pub(super) struct Possible(Vec<Set>);

impl Possible {
    /// Of rules by their patterns, in the rules' order.
    pub(super) fn of(patterns: &[Hir]) -> Possible {
        let needs: Vec<Vec<Octets>> = patterns.iter().map(needs).collect();
        let possible = |place| {
            let octets = Octets::at_place(place);
            let mut set = Set::default();
            for (rule, ways) in needs.iter().enumerate() {
                if ways.iter().any(|way| octets.has_all(*way)) {
                    set.insert(rule);
                }
            }
            set
        };
        Possible((0..Octets::PLACES).map(possible).collect())
    }

    /// The rules that a text of these octets can match, in any of its forms.
    pub(super) fn with(&self, octets: Octets) -> Set {
        self.0[octets.in_any_form().place()]
    }
}

/// Whether it can match a text of these octets.
pub(super) fn can_match(pattern: &Hir, octets: Octets) -> bool {
    needs(pattern).iter().any(|way| octets.has_all(*way))
}

/// The least that a text must have for the pattern to match: all the kinds of one of these. It looks at the octets
/// alone: where in the text an assertion holds is not asked.
fn needs(pattern: &Hir) -> Vec<Octets> {
    let of = |octets: &[u8]| Octets::of(octets).asked();
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![Octets::NONE],
        HirKind::Literal(literal) => vec![of(&literal.0)],
        HirKind::Class(Class::Bytes(class)) => {
            let octets = class.iter().flat_map(|range| range.start()..=range.end());
            least(octets.map(|octet| of(&[octet])).collect())
        }
        HirKind::Class(Class::Unicode(class)) => {
            let symbols = class.iter().flat_map(|range| range.start()..=range.end());
            least(
                symbols
                    .map(|symbol| of(symbol.encode_utf8(&mut [0; 4]).as_bytes()))
                    .collect(),
            )
        }
        HirKind::Repetition(repeated) if repeated.min == 0 => vec![Octets::NONE],
        HirKind::Repetition(repeated) => needs(&repeated.sub),
        HirKind::Capture(group) => needs(&group.sub),
        HirKind::Concat(parts) => parts.iter().fold(vec![Octets::NONE], |before, part| {
            both(&before, &needs(part))
        }),
        HirKind::Alternation(ways) => least(ways.iter().flat_map(needs).collect()),
    }
}

/// What satisfies the one and the other.
fn both(one: &[Octets], other: &[Octets]) -> Vec<Octets> {
    let pairs = one
        .iter()
        .flat_map(|one| other.iter().map(|other| one.or(*other)));
    least(pairs.collect())
}

/// Without the ways that ask for all that another does, and for more.
fn least(mut ways: Vec<Octets>) -> Vec<Octets> {
    ways.sort_unstable();
    ways.dedup();
    let all = ways.clone();
    ways.retain(|way| !all.iter().any(|other| other != way && way.has_all(*other)));
    ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::detect::parse;

    fn possible(pattern: &str, text: &str) -> bool {
        let octets = Octets::of(text.as_bytes());
        can_match(&parse(pattern), octets)
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
            (r"a\s+b", "a b", true),
            (r"a\s+b", "a-b", false),
            (r"^\bx$", "", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(possible(pattern, text), expected, "{pattern} in {text:?}");
        }
    }
}
