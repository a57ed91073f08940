//! What the tests of compression share: text that compresses like real text, an inflater by the letter, a
//! bomb.

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

/// Inflates a whole raw stream by the letter of RFC 1951, slowly and independently of any library; panics
/// at what is no stream, and at a reference further back than a window of `bits`.
pub(crate) fn inflate_strictly(stream: &[u8], bits: u8) -> Vec<u8> {
    let mut reader = Bits { stream, at: 0 };
    let mut out = Vec::new();
    while reader.at.div_ceil(8) < stream.len() {
        let last = reader.take(1) == 1;
        match reader.take(2) {
            0 => {
                reader.at = reader.at.next_multiple_of(8);
                let (len, check) = (reader.take(16), reader.take(16));
                assert_eq!(len ^ check, 0xFFFF, "the lengths of a stored block");
                out.extend((0..len).map(|_| reader.take(8) as u8));
            }
            1 => {
                let lengths: Vec<u8> = [(8, 144), (9, 112), (7, 24), (8, 8)]
                    .into_iter()
                    .flat_map(|(length, n)| std::iter::repeat_n(length, n))
                    .collect();
                let (literals, distances) = (Code::new(&lengths), Code::new(&[5; 30]));
                block(&mut reader, &literals, &distances, 1 << bits, &mut out);
            }
            2 => {
                let (literals, distances) = codes(&mut reader);
                block(&mut reader, &literals, &distances, 1 << bits, &mut out);
            }
            _ => panic!("a reserved block type"),
        }
        if last {
            break;
        }
    }
    out
}

struct Bits<'a> {
    stream: &'a [u8],
    /// In bits.
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, n: usize) -> usize {
        let bit = |at: usize| usize::from(self.stream[at / 8] >> (at % 8) & 1);
        let value = (0..n).map(|i| bit(self.at + i) << i).sum();
        self.at += n;
        value
    }
}

/// A canonical Huffman code: how many codes of each length, and the symbols in order of their codes.
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[u8]) -> Code {
        let mut counts = [0; 16];
        let used = |symbol: &usize| lengths[*symbol] > 0;
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(used).collect();
        symbols.sort_by_key(|symbol| lengths[*symbol]);
        symbols
            .iter()
            .for_each(|s| counts[usize::from(lengths[*s])] += 1);
        Code { counts, symbols }
    }

    fn symbol(&self, reader: &mut Bits<'_>) -> usize {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= reader.take(1);
            if code < first + count {
                return self.symbols[index + code - first];
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        panic!("no such code");
    }
}

/// The two codes that a dynamic block brings along.
fn codes(reader: &mut Bits<'_>) -> (Code, Code) {
    const ORDER: [usize; 19] = [
        16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
    ];
    let (literals, distances) = (257 + reader.take(5), 1 + reader.take(5));
    let mut own = [0; 19];
    let n = 4 + reader.take(4);
    ORDER[..n]
        .iter()
        .for_each(|at| own[*at] = reader.take(3) as u8);
    let code = Code::new(&own);
    let mut lengths: Vec<u8> = Vec::new();
    while lengths.len() < literals + distances {
        let (length, times) = match code.symbol(reader) {
            16 => (
                *lengths.last().expect("a length before"),
                3 + reader.take(2),
            ),
            17 => (0, 3 + reader.take(3)),
            18 => (0, 11 + reader.take(7)),
            length => (length as u8, 1),
        };
        lengths.extend(std::iter::repeat_n(length, times));
    }
    let (literals, distances) = lengths.split_at(literals);
    (Code::new(literals), Code::new(distances))
}

fn block(
    reader: &mut Bits<'_>,
    literals: &Code,
    distances: &Code,
    window: usize,
    out: &mut Vec<u8>,
) {
    loop {
        let symbol = literals.symbol(reader);
        match symbol {
            0..=255 => out.push(symbol as u8),
            256 => return,
            _ => {
                let len = match symbol - 257 {
                    28 => 258,
                    n @ 0..8 => 3 + n,
                    n => 3 + ((4 + n % 4) << (n / 4 - 1)) + reader.take(n / 4 - 1),
                };
                let distance = match distances.symbol(reader) {
                    n @ 0..4 => 1 + n,
                    n => 1 + ((2 + n % 2) << (n / 2 - 1)) + reader.take(n / 2 - 1),
                };
                assert!(distance <= out.len(), "a reference to before the start");
                assert!(distance <= window, "a reference beyond the window");
                (0..len).for_each(|_| out.push(out[out.len() - distance]));
            }
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
