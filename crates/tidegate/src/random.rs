//! Randomness from the operating system, a pool at a time; never from a generator of our own.

use tidegate_proto::Random;

/// The operating system's CSPRNG behind a small pool, so that a masking key costs no system call.
///
/// Octets leave the pool once and are wiped as they leave. Cost: 512 bytes.
pub struct OsRandom {
    pool: [u8; POOL],
    used: usize,
}

impl OsRandom {
    /// An empty pool; the first octets asked for fill it.
    pub fn new() -> OsRandom {
        OsRandom {
            pool: [0; POOL],
            used: POOL,
        }
    }
}

impl Default for OsRandom {
    fn default() -> OsRandom {
        OsRandom::new()
    }
}

impl std::fmt::Debug for OsRandom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OsRandom { .. }") // what is in the pool is nobody's business
    }
}

impl Random for OsRandom {
    /// # Panics
    /// If the operating system has no randomness to give, which no supported one does after boot.
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(POOL) {
            if POOL - self.used < chunk.len() {
                getrandom::fill(&mut self.pool).expect("the operating system gives random octets");
                self.used = 0;
            }
            let taken = &mut self.pool[self.used..self.used + chunk.len()];
            chunk.copy_from_slice(taken);
            taken.fill(0);
            self.used += chunk.len();
        }
    }
}

/// Octets fetched at once.
const POOL: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_octets_are_given_twice() {
        let mut random = OsRandom::new();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1_000 {
            assert!(seen.insert(random.next_u64()));
        }
    }

    #[test]
    fn more_than_the_pool_can_be_asked_for() {
        let mut bytes = [0; POOL * 2 + 7];
        OsRandom::new().fill(&mut bytes);
        // 16 zero octets in a row come by chance once in 2^128.
        assert!(!bytes.windows(16).any(|run| run.iter().all(|b| *b == 0)));
    }

    #[test]
    fn what_was_given_is_wiped_from_the_pool() {
        let mut random = OsRandom::new();
        random.fill(&mut [0; 32]);
        assert_eq!(random.pool[..32], [0; 32]);
    }
}
