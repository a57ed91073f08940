//! Every rule finds its sample, through what is looked for; no rule weighs what it should not.

use super::*;
use std::collections::BTreeSet;

fn matched(text: &str) -> Vec<&'static str> {
    let engine = Engine::get();
    let mut scratch = Scratch::default();
    let mut set = Set::default();
    let mut budget = Budget(1 << 24);
    let octets = Octets::of(text.as_bytes());
    normal::plain(text.as_bytes(), octets, &mut scratch.plain);
    let mut look = |text: &[u8], candidates: Set| {
        let confirmed = engine.confirm(text, candidates, &mut set, &mut budget);
        assert!(confirmed.is_ok());
    };
    let plain = engine.prefilters.of_text(octets);
    look(&scratch.plain, plain.candidates(&scratch.plain));
    for family in Family::ALL {
        if family.form(&scratch.plain, octets, &mut scratch.form) {
            let own = engine.of_families[family as usize].as_ref();
            let own = own.expect("it has a form").of_text(octets);
            look(&scratch.form, own.candidates(&scratch.form));
        }
    }
    set.each().map(|rule| engine.rules[rule].1.id).collect()
}

#[test]
fn every_rule_finds_its_sample() {
    for (_, rule) in Engine::get().rules() {
        let found = matched(rule.sample);
        assert!(
            found.contains(&rule.id),
            "{}: {} gave {found:?}",
            rule.id,
            rule.sample
        );
    }
}

#[test]
fn names_are_unique_and_begin_with_their_family() {
    let mut names = BTreeSet::new();
    for (family, rule) in Engine::get().rules() {
        assert!(names.insert(rule.id), "{}", rule.id);
        assert!(rule.id.starts_with(family.name()), "{}", rule.id);
    }
}

/// Whether it is looked at as words, as prose or as anything.
#[test]
fn a_pattern_never_matches_where_nothing_was_found_for_it() {
    let engine = Engine::get();
    let mut plain = Vec::new();
    for (_, sample) in engine.rules() {
        let text = sample.sample.as_bytes();
        normal::plain(text, Octets::of(text), &mut plain);
        for octets in [Octets::of(text), Octets::ALL] {
            let prefilter = engine.prefilters.of_text(octets);
            let candidates: BTreeSet<usize> = prefilter.candidates(&plain).each().collect();
            for (number, pattern) in engine.patterns.iter().enumerate() {
                let id = engine.rules[number].1.id;
                let is_seen = candidates.contains(&number) || !pattern.is_match(&plain);
                assert!(is_seen, "{id} on {}", sample.sample);
            }
        }
    }
}

/// With the forms, and whatever of its octets is turned into others there.
#[test]
fn a_rule_that_matches_is_possible_by_the_octets_of_the_text() {
    let engine = Engine::get();
    for (_, sample) in engine.rules() {
        let text = sample.sample.as_bytes();
        let possible = engine.possible.with(Octets::of(text));
        let possible: BTreeSet<usize> = possible.each().collect();
        for id in matched(sample.sample) {
            let number = engine.rules.iter().position(|(_, rule)| rule.id == id);
            let sample = sample.sample;
            assert!(
                possible.contains(&number.expect("a rule")),
                "{id}: {sample}"
            );
        }
    }
    let possible = |octets| engine.possible.with(octets).each().count();
    assert_eq!(possible(Octets::ALL), engine.rules.len());
    let few = [possible(Octets::OF_WORDS), possible(Octets::OF_PROSE)];
    assert!(
        few[0] * 2 < engine.rules.len() && few[1] * 4 < engine.rules.len() * 3,
        "{few:?}"
    );
}
