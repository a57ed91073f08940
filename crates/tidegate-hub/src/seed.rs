//! A keyed hash for maps whose keys strangers choose. The key is passed in, so a simulation repeats.

use std::hash::{BuildHasher, DefaultHasher, Hasher};

/// Builds hashers that differ from those of another key, so that nobody can aim names at one bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seed(u64, u64);

impl Seed {
    pub(crate) fn new(high: u64, low: u64) -> Seed {
        Seed(high, low)
    }
}

impl BuildHasher for Seed {
    type Hasher = DefaultHasher;

    /// The standard library's SipHash takes no key of ours; a secret first block serves as one.
    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher.write_u64(self.1);
        hasher
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_decides() {
        let hash = |seed: Seed| seed.hash_one("chat:tea");
        assert_eq!(hash(Seed::new(1, 2)), hash(Seed::new(1, 2)));
        assert_ne!(hash(Seed::new(1, 2)), hash(Seed::new(1, 3)));
        assert_ne!(hash(Seed::new(1, 2)), hash(Seed::new(2, 2)));
    }
}
