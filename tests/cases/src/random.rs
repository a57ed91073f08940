//! Seeded numbers, the same on every run; never a source of secrets.

use tidegate_proto::Random;

/// splitmix64. Every failure prints the seed that brings it back.
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next 64 bits.
    pub fn next_word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_word() % bound as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// `len` octets.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next_word() as u8).collect()
    }

    /// One of `items`, which must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

impl Random for Numbers {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.next_word() as u8);
    }
}

/// How octets are cut into pieces on their way in.
#[derive(Clone, Copy, Debug)]
pub enum Cuts {
    /// Not at all.
    Whole,
    /// After every octet.
    Each,
    /// After every so many octets.
    Every(usize),
    /// Anywhere; the seed says where.
    Random(u64),
}

impl Cuts {
    /// `bytes` in pieces, in order; none is empty.
    pub fn pieces(self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut numbers = Numbers(match self {
            Cuts::Random(seed) => seed,
            _ => 0,
        });
        let mut rest = bytes;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let len = match self {
                Cuts::Whole => rest.len(),
                Cuts::Each => 1,
                Cuts::Every(n) => n.clamp(1, rest.len()),
                // Short pieces cut headers, long ones hold many frames.
                Cuts::Random(_) if numbers.one_in(2) => 1 + numbers.below(rest.len().min(8)),
                Cuts::Random(_) => 1 + numbers.below(rest.len()),
            };
            let (piece, after) = rest.split_at(len);
            pieces.push(piece.to_vec());
            rest = after;
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_what_was_cut() {
        let bytes: Vec<u8> = (0..=255).collect();
        for cuts in [Cuts::Whole, Cuts::Each, Cuts::Every(7), Cuts::Random(5)] {
            let pieces = cuts.pieces(&bytes);
            assert_eq!(pieces.concat(), bytes, "{cuts:?}");
            assert!(pieces.iter().all(|piece| !piece.is_empty()), "{cuts:?}");
        }
        assert!(Cuts::Whole.pieces(&[]).is_empty());
    }
}
