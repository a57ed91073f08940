//! [`Clean`]: short texts in which nothing was found. Member names and words come again in every message, and what
//! comes again is not searched again. It forgets whatever stands in the way of the next, and costs a verdict nothing
//! but time: what a search would have been charged is charged.

use super::detect::Scope;

/// The last short texts that were clean, of one inspector.
#[derive(Default)]
pub(super) struct Clean(Vec<Entry>);

/// A text that was clean; none while its key is zeros.
#[derive(Clone, Copy, Default)]
struct Entry {
    key: Key,
    /// What its search was charged.
    cost: usize,
}

/// A text, its scope and its length.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Key([u64; 4]);

impl Clean {
    /// What the search of the text was charged, when it was clean.
    pub(super) fn cost(&self, key: Key) -> Option<usize> {
        let entry = self.0.get(key.place())?;
        (entry.key == key).then_some(entry.cost)
    }

    pub(super) fn remember(&mut self, key: Key, cost: usize) {
        if self.0.is_empty() {
            self.0.resize(PLACES, Entry::default());
        }
        self.0[key.place()] = Entry { key, cost };
    }
}

impl Key {
    /// None of a text that is too long to be kept.
    pub(super) fn of(text: &[u8], scope: Scope) -> Option<Key> {
        if text.len() > LONGEST {
            return None;
        }
        let mut octets = [0; 32];
        octets[..text.len()].copy_from_slice(text);
        octets[LONGEST] = scope as u8;
        octets[LONGEST + 1] = text.len() as u8;
        let mut words = octets.chunks_exact(8);
        Some(Key(std::array::from_fn(|_| {
            let word = words.next().expect("32 octets are four words");
            u64::from_le_bytes(word.try_into().expect("a word has eight"))
        })))
    }

    fn place(self) -> usize {
        let mix = |all: u64, word: u64| (all ^ word).wrapping_mul(ODD).rotate_left(32);
        self.0.into_iter().fold(0, mix) as usize % PLACES
    }
}

/// Octets of the longest text that is kept.
const LONGEST: usize = 30;

/// Texts that are kept: 10 KiB.
const PLACES: usize = 256;

/// The golden ratio's: a factor that moves every bit of a word.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_known_again_in_its_scope_alone() {
        let mut clean = Clean::default();
        let key = |text: &str, scope| Key::of(text.as_bytes(), scope).expect("short");
        assert_eq!(clean.cost(key("room", Scope::Strict)), None);
        clean.remember(key("room", Scope::Strict), 9);
        assert_eq!(clean.cost(key("room", Scope::Strict)), Some(9));
        for (other, scope) in [
            ("room", Scope::Free),
            ("room\0", Scope::Strict),
            ("rooms", Scope::Strict),
            ("roo", Scope::Strict),
        ] {
            assert_eq!(clean.cost(key(other, scope)), None, "{other:?}");
        }
        let long = "a".repeat(LONGEST + 1);
        assert!(Key::of(long.as_bytes(), Scope::Free).is_none());
    }

    #[test]
    fn as_many_as_there_are_places_is_all_that_it_keeps() {
        let mut clean = Clean::default();
        let key = |number: usize| Key::of(format!("m-{number:08x}").as_bytes(), Scope::Strict);
        for number in 0..10_000 {
            clean.remember(key(number).expect("short"), number);
        }
        let kept = (0..10_000).filter_map(|number| clean.cost(key(number)?).map(|c| (number, c)));
        let kept: Vec<_> = kept.collect();
        assert!(kept.iter().all(|(number, cost)| number == cost));
        assert!(
            (PLACES / 2..=PLACES).contains(&kept.len()),
            "{}",
            kept.len()
        );
    }
}
