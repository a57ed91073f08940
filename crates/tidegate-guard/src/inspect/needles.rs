//! [`Needles`]: many short texts looked for in one pass. It tells nothing of the places: who asks looks closer then.

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind};

/// Some needles, compiled.
pub(super) struct Needles {
    dfa: DFA,
    start: StateID,
    /// Octets of the longest.
    longest: usize,
}

impl Needles {
    pub(super) fn new(needles: &[impl AsRef<[u8]>]) -> Needles {
        let mut builder = DFA::builder();
        // A start state with a prefilter would be special, and every step would look what it is.
        builder.match_kind(MatchKind::Standard).prefilter(false);
        let dfa = builder.build(needles);
        let dfa = dfa.expect("the needles are few");
        let start = dfa.start_state(Anchored::No);
        Needles {
            start: start.expect("it is built for searches that begin anywhere"),
            longest: needles
                .iter()
                .map(|needle| needle.as_ref().len())
                .max()
                .unwrap_or(0),
            dfa,
        }
    }

    /// Tells `found` the number of each needle that stands in the text, once or more for each time.
    ///
    /// A step waits for the one before it, so four parts of a text are read side by side; each begins so early in the one
    /// before that it sees the needles that lie across.
    pub(super) fn each(&self, text: &[u8], mut found: impl FnMut(usize)) {
        let [mut one, mut two, mut three, mut four] = [self.start; 4];
        if text.len() < 2 * self.longest {
            for octet in text {
                one = self.step(one, *octet, &mut found);
            }
            return;
        }
        let part = (text.len() + 3 * self.longest).div_ceil(4);
        let apart = part - self.longest;
        let at = |start: usize| &text[start.min(text.len() - part)..][..part];
        let parts = at(0).iter().zip(at(apart)).zip(at(2 * apart));
        for (((first, second), third), fourth) in parts.zip(at(text.len())) {
            one = self.step(one, *first, &mut found);
            two = self.step(two, *second, &mut found);
            three = self.step(three, *third, &mut found);
            four = self.step(four, *fourth, &mut found);
        }
    }

    #[inline(always)]
    fn step(&self, state: StateID, octet: u8, found: &mut impl FnMut(usize)) -> StateID {
        let state = self.dfa.next_state(Anchored::No, state, octet);
        if self.dfa.is_special(state) && self.dfa.is_match(state) {
            for index in 0..self.dfa.match_len(state) {
                found(self.dfa.match_pattern(state, index).as_usize());
            }
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_needle_is_told_wherever_it_stands() {
        let all = ["or", "order", "der", "x"];
        let needles = Needles::new(&all);
        let text = "border or not, x, and no border nor order to read";
        for end in 0..=text.len() {
            for start in 0..=end {
                let part = &text[start..end];
                let mut found = [false; 4];
                needles.each(part.as_bytes(), |needle| found[needle] = true);
                assert_eq!(found, all.map(|needle| part.contains(needle)), "{part}");
            }
        }
    }
}
