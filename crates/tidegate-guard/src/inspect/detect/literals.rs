//! What a text must hold for a pattern to match: a few short texts, one of which stands in every match. Read off the
//! pattern, so the search for them only saves time: no match is lost by it.

use super::normal::Octets;
use super::possible::can_match;
use regex_syntax::hir::{Class, Hir, HirKind};

type Texts = Vec<Vec<u8>>;

/// Texts of which one stands wherever the pattern matches a text of these octets, the rarest that it has. None when it has
/// none, or too many.
pub(super) fn required(pattern: &Hir, octets: Octets) -> Option<Texts> {
    match can_match(pattern, octets) {
        true => required_of_possible(pattern, octets),
        false => Some(Vec::new()),
    }
}

/// The same of a pattern that can match such a text; then all its parts can.
fn required_of_possible(pattern: &Hir, octets: Octets) -> Option<Texts> {
    let required = |part: &Hir| required_of_possible(part, octets);
    match pattern.kind() {
        HirKind::Capture(group) => required(&group.sub),
        HirKind::Repetition(repeated) => {
            let once = (repeated.min > 0).then(|| required(&repeated.sub))?;
            let twice =
                (repeated.min > 1).then(|| [&*repeated.sub; 2].map(|sub| whole(sub, octets)));
            rarer(once, twice.and_then(|[one, other]| joined(&one?, &other?)))
        }
        HirKind::Alternation(ways) => {
            let ways = ways.iter().filter(|way| can_match(way, octets));
            let each = ways.map(required).collect::<Option<Vec<_>>>()?;
            Some(shortest(each.concat()))
        }
        HirKind::Concat(parts) => {
            let apart = parts.iter().map(required).fold(None, rarer);
            runs(parts, octets).into_iter().map(Some).fold(apart, rarer)
        }
        _ => whole(pattern, octets).filter(is_told).map(shortest),
    }
    .filter(|texts| texts.len() <= MOST)
}

/// All texts of these octets that the pattern matches, when they are few.
fn whole(pattern: &Hir, octets: Octets) -> Option<Texts> {
    let whole = |part: &Hir| whole(part, octets);
    let all = match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![Vec::new()],
        HirKind::Literal(literal) => vec![literal.0.to_vec()],
        HirKind::Class(class) => symbols(class)?,
        HirKind::Capture(group) => whole(&group.sub)?,
        HirKind::Repetition(repeated) => match (repeated.min, repeated.max) {
            (0, Some(1)) => [whole(&repeated.sub)?, vec![Vec::new()]].concat(),
            (1, Some(1)) => whole(&repeated.sub)?,
            (2, Some(2)) => joined(&whole(&repeated.sub)?, &whole(&repeated.sub)?)?,
            _ => return None,
        },
        HirKind::Alternation(ways) => {
            let ways = ways.iter().filter(|way| can_match(way, octets));
            ways.map(whole).collect::<Option<Vec<_>>>()?.concat()
        }
        HirKind::Concat(parts) => {
            let begun = Some(vec![Vec::new()]);
            parts
                .iter()
                .fold(begun, |all, part| joined(&all?, &whole(part)?))?
        }
    };
    let fits = |text: &Vec<u8>| octets.has_all(Octets::of(text).asked());
    let all: Texts = all.into_iter().filter(fits).collect();
    (all.len() <= MOST).then_some(all)
}

/// The symbols of a class that has few, and is not white space: that stands in most texts.
fn symbols(class: &Class) -> Option<Texts> {
    let all: Texts = match class {
        Class::Bytes(class) => {
            let all = class.iter().flat_map(|range| range.start()..=range.end());
            all.map(|octet| vec![octet]).collect()
        }
        Class::Unicode(class) => {
            let all = class.iter().flat_map(|range| range.start()..=range.end());
            all.map(|symbol| symbol.to_string().into_bytes()).collect()
        }
    };
    (all.len() <= MOST_OF_CLASS && !all.contains(&b"\t".to_vec())).then_some(all)
}

/// What neighbouring parts match together, for all those whose texts are few.
fn runs(parts: &[Hir], octets: Octets) -> Vec<Texts> {
    let mut runs = Vec::new();
    let mut run: Option<Texts> = None;
    for part in parts {
        // Of what is repeated as often as one likes, the first ends a run, and the last begins one.
        let repeated = match part.kind() {
            HirKind::Repetition(repeated) if repeated.min > 0 => Some(&*repeated.sub),
            _ => None,
        };
        let exact = whole(part, octets);
        let is_open = exact.is_none() && repeated.is_some();
        let part = exact.or_else(|| whole(repeated?, octets));
        let longer = run.as_ref().zip(part.as_ref());
        let longer = longer.and_then(|(run, part)| joined(run, part));
        run = match longer {
            Some(longer) if is_open => {
                runs.push(longer);
                part
            }
            Some(longer) => Some(longer),
            None => {
                runs.extend(run);
                part
            }
        };
    }
    runs.extend(run);
    runs.retain(is_told);
    runs.into_iter().map(shortest).collect()
}

/// Each of the one before each of the other.
fn joined(before: &Texts, after: &Texts) -> Option<Texts> {
    if before.len() * after.len() > MOST {
        return None;
    }
    let pairs = before.iter().flat_map(|before| {
        let join = |after: &Vec<u8>| [before.as_slice(), after].concat();
        after.iter().map(join)
    });
    Some(pairs.collect())
}

/// Their beginnings, without those that hold another.
fn shortest(mut texts: Texts) -> Texts {
    texts.iter_mut().for_each(|text| text.truncate(LONGEST));
    texts.sort_unstable();
    texts.dedup();
    let all = texts.clone();
    texts.retain(|text| {
        let holds = |other: &Vec<u8>| memchr::memmem::find(text, other).is_some();
        !all.iter().any(|other| other != text && holds(other))
    });
    texts
}

/// Nothing stands in every text, and no text would be in none.
fn is_told(texts: &Texts) -> bool {
    !texts.is_empty() && texts.iter().all(|text| !text.is_empty())
}

/// Those that stand in fewer texts.
fn rarer(one: Option<Texts>, other: Option<Texts>) -> Option<Texts> {
    match (one, other) {
        (Some(one), Some(other)) => {
            let is_rarer = rarity(&other) > rarity(&one);
            Some(if is_rarer { other } else { one })
        }
        (one, other) => one.or(other),
    }
}

/// Of the most frequent one, and of two sets alike the smaller.
fn rarity(texts: &Texts) -> (u32, usize) {
    let of_octet = |octet: &u8| match octet {
        b' ' => 1,
        b'a'..=b'z' | b'0'..=b'9' | b'\'' | b'"' | b'.' | b',' | b':' => 2,
        _ => 5,
    };
    let each = texts.iter().map(|text| text.iter().map(of_octet).sum());
    (each.min().unwrap_or(u32::MAX), usize::MAX - texts.len())
}

/// More texts than that save no time.
const MOST: usize = 128;

/// Octets of the longest text: more are seldom needed to tell, and those who look for it step over fewer.
const LONGEST: usize = 8;

/// More symbols than that stand in most texts.
const MOST_OF_CLASS: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn every_match_holds_one_of_the_texts() {
        let rows = [
            (r"abc", Some("abc")),
            (r"\bor\b|\bxor\b", Some("or")),
            (r"\b(?:or|xor)\s+[0-9]", Some("or")),
            (r"system_user|user", Some("system_u user")),
            (r"system_user|user\s*\(", Some("system_u")),
            (r"if\s*\(|case\s+when", Some("case")),
            (r"x\s*(?:one|three)", Some("one three")),
            (r"__define[sg]etter__", Some("__define")),
            (r"n?char[a-z]+tail", Some("char")),
            (r"a+[bc]", Some("ab ac")),
            (r"(?:\.\.:+x)+", Some("..:")),
            (r"a*[bc]d?", Some("b c")),
            (r"[ab]{2,}c?", Some("aa ab ba bb")),
            (r"\.{2}x*", Some("..")),
            (r"a?b*", None),
            (r"a|b*", None),
            (r"\w+", None),
            (r"^$", None),
            (r"\(", Some("")),
        ];
        for (pattern, expected) in rows {
            let texts = required(&parse(pattern), Octets::OF_PROSE);
            let texts = texts.map(|texts| texts.join(&b' '));
            let texts = texts.map(|texts| String::from_utf8(texts).expect("ASCII"));
            assert_eq!(texts.as_deref(), expected, "{pattern}");
        }
    }
}
