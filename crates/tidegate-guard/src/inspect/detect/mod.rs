//! The detectors: a prefilter over what the rules' patterns cannot match without, in one pass (aho-corasick), then each
//! rule that had something confirms with its regular expression (regex-automata). Both take time linear in the text,
//! and what they read is charged to the message's budget.
//!
//! A rule has two weights, one for a field that should hold an identifier, a number or a word, and one for prose, in
//! which people quote code. A family is found in a leaf when the weights of its rules reach [`ENOUGH`].

mod command;
mod literals;
mod log4shell;
pub(crate) mod normal;
mod nosql;
mod possible;
mod prototype;
mod sqli;
mod template;
mod traversal;
mod xss;
mod xxe;

pub(crate) use nosql::is_operator;

use super::needles::Needles;
use literals::required;
use normal::{Octets, has_any};
use possible::Possible;
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use regex_syntax::hir::Hir;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// What kind of attack a rule is about; the narrow ones first, so that a text that is several is named by them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Family {
    Log4shell,
    Xxe,
    Prototype,
    Nosql,
    Sqli,
    Xss,
    Command,
    Template,
    Traversal,
}

/// Writes a form of the first text into the second.
type Form = fn(&[u8], &mut Vec<u8>);

impl Family {
    pub(crate) const ALL: [Family; 9] = [
        Family::Log4shell,
        Family::Xxe,
        Family::Prototype,
        Family::Nosql,
        Family::Sqli,
        Family::Xss,
        Family::Command,
        Family::Template,
        Family::Traversal,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::Sqli => "sqli",
            Family::Xss => "xss",
            Family::Command => "command",
            Family::Traversal => "traversal",
            Family::Nosql => "nosql",
            Family::Prototype => "prototype",
            Family::Template => "template",
            Family::Xxe => "xxe",
            Family::Log4shell => "log4shell",
        }
    }

    /// What makes the family's own normal form out of the plain one, if it has one.
    fn normal_form(self) -> Option<Form> {
        Some(match self {
            Family::Sqli => normal::sql,
            Family::Xss => normal::markup,
            Family::Command => normal::shell,
            Family::Traversal => normal::path,
            Family::Log4shell => normal::lookups,
            _ => return None,
        })
    }

    /// Whether its form may be another than the plain one; `octets` are those of the text.
    fn may_differ(self, plain: &[u8], octets: Octets) -> bool {
        use normal::{BACKSLASH, COLON, CONTROL, DOLLAR, LESS, QUOTE, SLASH};
        match self {
            Family::Sqli => octets.has(SLASH | QUOTE) && has_any(plain, &[b"/*", b"`"]),
            Family::Xss => {
                octets.has(LESS | COLON | BACKSLASH)
                    && (octets.has(CONTROL | BACKSLASH) || has_any(plain, &[b"/*", b": ", b" :"]))
            }
            Family::Command => octets.has(QUOTE | BACKSLASH | DOLLAR),
            Family::Traversal => octets.has(SLASH) && has_any(plain, &[b".."]),
            Family::Log4shell => octets.has(DOLLAR) && has_any(plain, &[b"${"]),
            _ => false,
        }
    }

    /// The family's own normal form of a text, when it differs from the plain one.
    fn form(self, plain: &[u8], octets: Octets, into: &mut Vec<u8>) -> bool {
        let Some(form) = self
            .normal_form()
            .filter(|_| self.may_differ(plain, octets))
        else {
            return false;
        };
        form(plain, into);
        into != plain
    }
}

/// One rule of a detector.
pub(crate) struct Rule {
    pub(crate) id: &'static str,
    /// What it saw, for whoever reads the finding.
    pub(crate) why: &'static str,
    /// Weight in a field that is no prose, and in prose.
    pub(crate) weight: (i8, i8),
    /// On the normal form: lower case, one space for white space.
    pattern: &'static str,
    /// A text that the rule must find.
    #[cfg(test)]
    sample: &'static str,
}

/// The rules' table reads better without field names.
const fn rule(
    id: &'static str,
    why: &'static str,
    weight: (i8, i8),
    pattern: &'static str,
    sample: &'static str,
) -> Rule {
    _ = sample;
    Rule {
        id,
        why,
        weight,
        pattern,
        #[cfg(test)]
        sample,
    }
}

/// The sum at which a family is found.
pub(crate) const ENOUGH: i8 = 5;

/// Whether a text is one in which people write what they like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Identifiers, numbers, words, paths: code has no business here.
    Strict,
    /// Prose, in which code is quoted: only what is an attack in any context.
    #[default]
    Free,
}

/// Rules by their place in the table, as bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Set([u64; 4]);

impl Set {
    const ALL: Set = Set([u64::MAX; 4]);

    pub(crate) fn insert(&mut self, rule: usize) {
        self.0[rule / 64] |= 1 << (rule % 64);
    }

    fn and(self, other: Set) -> Set {
        let mut both = self;
        both.0.iter_mut().zip(other.0).for_each(|(a, b)| *a &= b);
        both
    }

    fn or(self, other: Set) -> Set {
        let mut any = self;
        any.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
        any
    }

    fn without(self, other: Set) -> Set {
        let mut rest = self;
        rest.0.iter_mut().zip(other.0).for_each(|(a, b)| *a &= !b);
        rest
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }

    pub(crate) fn each(self) -> impl Iterator<Item = usize> {
        (0..4).flat_map(move |word| {
            let mut bits = self.0[word];
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits.wrapping_sub(1);
                (bit < 64).then_some(word * 64 + bit)
            })
        })
    }
}

/// What a detection needs and the next one can use again.
#[derive(Default, Debug)]
pub(crate) struct Scratch {
    plain: Vec<u8>,
    form: Vec<u8>,
}

/// The budget of a message, in octets that automata may read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget(pub(crate) usize);

/// There is nothing left of it.
pub(crate) struct Spent;

impl Budget {
    /// Of one automaton that reads so many octets.
    fn charge(&mut self, octets: usize) -> Result<(), Spent> {
        self.take(octets + 1)
    }

    pub(crate) fn take(&mut self, cost: usize) -> Result<(), Spent> {
        self.0 = self.0.checked_sub(cost).ok_or(Spent)?;
        Ok(())
    }

    /// What was taken of it since, when this is left now.
    pub(crate) fn without(self, left: Budget) -> usize {
        self.0 - left.0
    }
}

/// All rules, compiled; made once in a process.
pub(crate) struct Engine {
    rules: Vec<(Family, &'static Rule)>,
    /// What is looked for in the plain form.
    prefilters: Prefilters,
    /// What is looked for in a family's own form, where it has one.
    of_families: [Option<Prefilters>; Family::ALL.len()],
    possible: Possible,
    by_family: [Set; Family::ALL.len()],
    patterns: Vec<Regex>,
}

impl Engine {
    pub(crate) fn get() -> &'static Engine {
        static ENGINE: OnceLock<Engine> = OnceLock::new();
        ENGINE.get_or_init(Engine::new)
    }

    fn new() -> Engine {
        let rules: Vec<(Family, &Rule)> = every().collect();
        assert!(rules.len() <= 256, "a set has 256 places");
        let mut by_family = [Set::default(); Family::ALL.len()];
        for (number, (family, _)) in rules.iter().enumerate() {
            by_family[*family as usize].insert(number);
        }
        let parsed: Vec<Hir> = rules.iter().map(|(_, rule)| parse(rule.pattern)).collect();
        let patterns = parsed.iter().map(compile).collect();
        let possible = Possible::of(&parsed);
        let prefilters = |of: Set| Prefilters::of(&parsed, &possible, of);
        let of_family = |family: Family| {
            let own = by_family[family as usize];
            family.normal_form().map(|_| prefilters(own))
        };
        Engine {
            prefilters: prefilters(Set::ALL),
            of_families: Family::ALL.map(of_family),
            possible,
            rules,
            by_family,
            patterns,
        }
    }

    pub(crate) fn rules(&self) -> &[(Family, &'static Rule)] {
        &self.rules
    }

    /// Of each family that is in the text the rule that weighed most; of equals the first. `octets` are those of the text.
    pub(crate) fn detect(
        &self,
        text: &[u8],
        octets: Octets,
        enabled: Set,
        scope: Scope,
        budget: &mut Budget,
        scratch: &mut Scratch,
    ) -> Result<Set, Spent> {
        let enabled = enabled.and(self.possible.with(octets));
        if enabled.is_empty() {
            return Ok(enabled);
        }
        budget.charge(text.len() * 2)?;
        normal::plain(text, octets, &mut scratch.plain);
        let mut matched = Set::default();
        let candidates = self.prefilters.of_text(octets).candidates(&scratch.plain);
        self.confirm(
            &scratch.plain,
            candidates.and(enabled),
            &mut matched,
            budget,
        )?;
        if !octets.is_of_one_form() {
            self.forms(octets, enabled, &mut matched, budget, scratch)?;
        }
        Ok(match matched.is_empty() {
            true => matched,
            false => self.heaviest(matched, scope),
        })
    }

    /// Asks the families that read the text in a form of their own.
    fn forms(
        &self,
        octets: Octets,
        enabled: Set,
        matched: &mut Set,
        budget: &mut Budget,
        scratch: &mut Scratch,
    ) -> Result<(), Spent> {
        let Scratch { plain, form } = scratch;
        for family in Family::ALL {
            let own = enabled.and(self.by_family[family as usize]);
            let Some(prefilters) = &self.of_families[family as usize] else {
                continue;
            };
            if !own.is_empty() && family.form(plain, octets, form) {
                budget.charge(form.len() * 2)?;
                let candidates = prefilters.of_text(octets).candidates(form);
                self.confirm(form, candidates.and(own).without(*matched), matched, budget)?;
            }
        }
        Ok(())
    }

    fn confirm(
        &self,
        text: &[u8],
        candidates: Set,
        matched: &mut Set,
        budget: &mut Budget,
    ) -> Result<(), Spent> {
        for rule in candidates.each() {
            budget.charge(text.len())?;
            if self.patterns[rule].is_match(text) {
                matched.insert(rule);
            }
        }
        Ok(())
    }

    fn heaviest(&self, matched: Set, scope: Scope) -> Set {
        let weight = |rule: usize| {
            let (strict, free) = self.rules[rule].1.weight;
            if scope == Scope::Strict { strict } else { free }
        };
        let mut found = Set::default();
        for family in self.by_family {
            let own = matched.and(family);
            let sum: i32 = own.each().map(|rule| i32::from(weight(rule))).sum();
            if sum >= i32::from(ENOUGH) {
                let heaviest = own
                    .each()
                    .max_by_key(|rule| (weight(*rule), Reverse(*rule)));
                found.insert(heaviest.expect("it weighs"));
            }
        }
        found
    }
}

fn parse(pattern: &str) -> Hir {
    let syntax = syntax::Config::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true);
    syntax::parse_with(pattern, &syntax).unwrap_or_else(|fault| panic!("{fault}"))
}

fn compile(pattern: &Hir) -> Regex {
    Regex::builder()
        .build_from_hir(pattern)
        .expect("a pattern is small")
}

/// What some rules look for in words, in sentences, and in everything.
struct Prefilters([(Octets, Prefilter); 3]);

impl Prefilters {
    fn of(patterns: &[Hir], possible: &Possible, some: Set) -> Prefilters {
        let each = [Octets::OF_WORDS, Octets::OF_PROSE, Octets::ALL];
        Prefilters(each.map(|octets| {
            let asked = possible.with(octets).and(some).each();
            let needles = asked.map(|rule| (rule, required(&patterns[rule], octets)));
            (octets, Prefilter::of(needles))
        }))
    }

    /// The first that has all the octets of the text.
    fn of_text(&self, octets: Octets) -> &Prefilter {
        let octets = octets.in_any_form();
        let mut each = self.0.iter();
        let fitting = each.find(|(all, _)| all.has_all(octets));
        &fitting.expect("the last is for all").1
    }
}

/// Needles and the rules that they belong to.
struct Prefilter {
    needles: Needles,
    /// By the needle's number.
    rules: Vec<Set>,
    /// Those that have no needles.
    always: Set,
}

impl Prefilter {
    fn of(needles_of: impl Iterator<Item = (usize, Option<Vec<Vec<u8>>>)>) -> Prefilter {
        let mut by_needle: BTreeMap<Vec<u8>, Set> = BTreeMap::new();
        let mut always = Set::default();
        for (rule, needles) in needles_of {
            match needles {
                None => always.insert(rule),
                Some(needles) => needles
                    .into_iter()
                    .for_each(|needle| by_needle.entry(needle).or_default().insert(rule)),
            }
        }
        let (needles, rules): (Vec<_>, Vec<_>) = by_needle.into_iter().unzip();
        Prefilter {
            needles: Needles::new(&needles),
            rules,
            always,
        }
    }

    /// Rules that may match the text.
    fn candidates(&self, text: &[u8]) -> Set {
        let mut candidates = self.always;
        self.needles.each(text, |needle| {
            candidates = candidates.or(self.rules[needle])
        });
        candidates
    }
}

/// All rules, by families.
pub(crate) fn every() -> impl Iterator<Item = (Family, &'static Rule)> {
    let tables = Family::ALL.iter().map(|family| (*family, table(*family)));
    tables.flat_map(|(family, table)| table.iter().map(move |rule| (family, rule)))
}

fn table(family: Family) -> &'static [Rule] {
    match family {
        Family::Sqli => sqli::RULES,
        Family::Xss => xss::RULES,
        Family::Command => command::RULES,
        Family::Traversal => traversal::RULES,
        Family::Nosql => nosql::RULES,
        Family::Prototype => prototype::RULES,
        Family::Template => template::RULES,
        Family::Xxe => xxe::RULES,
        Family::Log4shell => log4shell::RULES,
    }
}

#[cfg(test)]
mod tests;
