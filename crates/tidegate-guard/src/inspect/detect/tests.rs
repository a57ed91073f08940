//! Every rule finds its sample, through its needles; no rule weighs what it should not.

use super::*;
use std::collections::BTreeSet;

fn matched(text: &str) -> Vec<&'static str> {
    let engine = Engine::get();
    let mut scratch = Scratch::default();
    let mut set = Set::default();
    let mut budget = Budget(1 << 24);
    let octets = Octets::of(text.as_bytes());
    normal::plain(text.as_bytes(), octets, &mut scratch.plain);
    let all = engine.prefilters.of_text(Octets::ALL);
    let mut look = |text: &[u8], only: Option<Family>| {
        let candidates = all.candidates(text);
        let candidates = only.map_or(candidates, |family| {
            candidates.and(engine.by_family[family as usize])
        });
        assert!(
            engine
                .confirm(text, candidates, &mut set, &mut budget)
                .is_ok()
        );
    };
    look(&scratch.plain, None);
    for family in Family::ALL {
        if family.form(&scratch.plain, octets, &mut scratch.form) {
            look(&scratch.form, Some(family));
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

#[test]
fn a_pattern_never_matches_where_its_needles_do_not() {
    let engine = Engine::get();
    let mut plain = Vec::new();
    for (_, sample) in engine.rules() {
        let text = sample.sample.as_bytes();
        normal::plain(text, Octets::of(text), &mut plain);
        let all = engine.prefilters.of_text(Octets::ALL);
        let candidates: BTreeSet<usize> = all.candidates(&plain).each().collect();
        for (number, pattern) in engine.patterns.iter().enumerate() {
            if pattern.is_match(&plain) {
                let id = engine.rules[number].1.id;
                assert!(candidates.contains(&number), "{id} on {}", sample.sample);
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
