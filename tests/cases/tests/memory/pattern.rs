//! The octets of an endless message: the same text again and again, longer than any window, so that it can be
//! made and checked as fast as memory is. It knows no frames.

/// No power of two, so that pieces of any usual length begin everywhere in it; prime.
pub(crate) const PERIOD: usize = 98_299;

/// A message of any length, and a place in it.
pub(crate) struct Pattern {
    ring: Vec<u8>,
    at: u64,
}

impl Pattern {
    /// From its beginning. `text`: words in characters of one to four octets, of which a whole number makes a
    /// period; else any octets.
    pub(crate) fn new(text: bool) -> Pattern {
        let ring = if text { words() } else { noise() };
        Pattern { ring, at: 0 }
    }

    /// How far it is.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The next octets, at most `most` of them and at least one.
    pub(crate) fn take(&mut self, most: usize) -> &[u8] {
        let start = (self.at % self.ring.len() as u64) as usize;
        let end = self.ring.len().min(start + most);
        self.at += (end - start) as u64;
        &self.ring[start..end]
    }

    /// These are the next octets.
    pub(crate) fn check(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let before = self.at;
            let expected = self.take(octets.len());
            let (now, rest) = octets.split_at(expected.len());
            assert!(now == expected, "other octets from {before} on");
            octets = rest;
        }
    }
}

fn noise() -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..PERIOD).map(|_| next()).collect()
}

fn words() -> Vec<u8> {
    const WORDS: [&str; 8] = [
        "tide ",
        "gate ",
        "Größe ",
        "κόσμε ",
        "水門 ",
        "🌊 ",
        "a ",
        "harbour ",
    ];
    let noise = noise();
    let mut text = String::new();
    let mut picks = noise.iter();
    while text.len() + 16 < PERIOD {
        let pick = picks.next().expect("a word has more than one octet");
        text.push_str(WORDS[usize::from(*pick) % WORDS.len()]);
    }
    text.extend(std::iter::repeat_n('.', PERIOD - text.len()));
    text.into_bytes()
}
