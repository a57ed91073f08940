//! What the tests of compression share: text that compresses like real text, a strict inflater, a bomb.

use zlib_rs::{Inflate, InflateFlush};

/// A deterministic generator (xorshift64*); never for anything but tests.
pub(crate) struct Words(u64);

impl Words {
    pub(crate) fn new(seed: u64) -> Words {
        Words(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// `len` octets: words that repeat, with numbers between them.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = self.text(len).into_bytes();
        bytes.truncate(len);
        bytes.resize(len, b'.');
        bytes
    }

    /// At least `len` octets of text, with characters of one to four octets.
    pub(crate) fn text(&mut self, len: usize) -> String {
        const WORDS: [&str; 8] = [
            "price", "\"bid\":", "ebb", "flut", "größe", "潮", "🌊", "tide",
        ];
        let mut text = String::new();
        while text.len() < len {
            text.push_str(WORDS[self.below(WORDS.len())]);
            if self.below(4) == 0 {
                text.push_str(&(self.next() % 100_000).to_string());
            }
        }
        text
    }

    /// `len` octets that do not compress.
    pub(crate) fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 40) as u8).collect()
    }
}

/// Inflates a whole stream with a window of `bits`, a few octets at a time, so that no reference can reach
/// further back than the window.
pub(crate) fn inflate_strictly(stream: &[u8], bits: u8) -> Vec<u8> {
    let mut inflate = Inflate::new(false, bits);
    let mut out = Vec::new();
    loop {
        let mut piece = [0; 64];
        let before = inflate.total_out();
        let rest = &stream[inflate.total_in() as usize..];
        inflate
            .decompress(rest, &mut piece, InflateFlush::NoFlush)
            .expect("a valid stream");
        let n = (inflate.total_out() - before) as usize;
        out.extend_from_slice(&piece[..n]);
        if n == 0 && inflate.total_in() as usize == stream.len() {
            return out;
        }
    }
}

/// The payload of a message of `len` zeros.
pub(crate) fn bomb(len: usize) -> Vec<u8> {
    let key = super::CodecKey {
        level: 9,
        bits: 15,
        mem_level: 8,
    };
    let mut payload = Vec::new();
    super::Compressor::new(key).message(&vec![0; len], &mut payload);
    payload
}
