//! The strict walk over JSON: one pass over a whole message, leaf by leaf. It builds no tree, never recurses, and
//! remembers no more than the path to where it is and the keys of the objects that are open.
//!
//! Strict means RFC 8259 and nothing else. What readers disagree about is told as a [`Fault`]: a key that stands
//! twice, half a surrogate pair, a number no double holds, a byte order mark.

use std::fmt::Write as _;
use std::ops::Range;

/// How large a message's JSON may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JsonLimits {
    /// Objects and arrays inside of each other. Default: 32.
    pub max_depth: usize,
    /// Values and keys of a message. Default: 10,000.
    pub max_nodes: usize,
    /// Bytes of a key, as decoded. Default: 256.
    pub max_key_length: usize,
    /// Keys of one object. Default: 1,000.
    pub max_keys: usize,
    /// Bytes of a number's spelling. Default: 40.
    pub max_number_length: usize,
}

impl Default for JsonLimits {
    fn default() -> JsonLimits {
        JsonLimits {
            max_depth: 32,
            max_nodes: 10_000,
            max_key_length: 256,
            max_keys: 1_000,
            max_number_length: 40,
        }
    }
}

/// What is wrong with a text that should be JSON. The first five end the walk; it goes on after the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fault {
    /// Not UTF-8.
    Utf8,
    /// Not RFC 8259, or something follows the value.
    Syntax,
    /// Deeper than [`JsonLimits::max_depth`].
    Depth,
    /// More than [`JsonLimits::max_nodes`].
    Nodes,
    /// More than [`JsonLimits::max_keys`] in one object.
    Keys,
    /// A key longer than [`JsonLimits::max_key_length`].
    KeyLength,
    /// A key that its object has already, whatever the spelling.
    DuplicateKey,
    /// Half a surrogate pair.
    Surrogate,
    /// Beyond what a double holds, or longer than [`JsonLimits::max_number_length`].
    Number,
    /// A byte order mark before the value.
    Bom,
}

/// What a leaf is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// A member's name.
    Key,
    /// A string.
    Text,
    /// A number, as it is spelt.
    Number,
    /// `true`, `false` or `null`.
    Word,
}

/// A key or a scalar.
pub(crate) struct Leaf<'a> {
    pub(crate) place: Place,
    /// Decoded.
    pub(crate) text: &'a [u8],
    /// Where it stands in the message, quotes included.
    pub(crate) span: Range<usize>,
    pub(crate) path: Path<'a>,
}

/// The way from the root to a leaf; of a key, to the member that it names.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    open: &'a [Open],
    keys: &'a [u8],
}

impl<'a> Path<'a> {
    /// The way to a text that is the whole message.
    pub(crate) const ROOT: Path<'static> = Path {
        open: &[],
        keys: &[],
    };

    pub(crate) fn is_root(&self) -> bool {
        self.open.is_empty()
    }

    /// The nearest member's name above or at the leaf.
    pub(crate) fn name(&self) -> Option<&'a [u8]> {
        let mut keys = self
            .open
            .iter()
            .rev()
            .filter_map(|open| open.key(self.keys));
        keys.next()
    }

    /// The names of the members, innermost first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let keys = self.keys;
        self.open
            .iter()
            .rev()
            .filter_map(move |open| open.key(keys))
    }

    /// RFC 6901. A key that is not the application's word but an attacker's may be long: it is cut at 64 bytes, and
    /// what is not plain in it is escaped, so that a log line stays one line.
    pub(crate) fn pointer(&self) -> String {
        let mut pointer = String::new();
        for open in self.open {
            pointer.push('/');
            match open.key(self.keys) {
                Some(key) => push_key(&mut pointer, key),
                None => _ = write!(pointer, "{}", open.index),
            }
        }
        pointer
    }

    /// Whether this is the place that a JSON pointer names.
    pub(crate) fn is(&self, pointer: &str) -> bool {
        let mut parts = pointer.split('/').skip(1);
        self.open.iter().all(|open| {
            parts.next().is_some_and(|part| match open.key(self.keys) {
                Some(key) => same_key(part, key),
                None => part.parse() == Ok(open.index),
            })
        }) && parts.next().is_none()
    }
}

fn same_key(part: &str, key: &[u8]) -> bool {
    if part.contains('~') {
        part.replace("~1", "/").replace("~0", "~").as_bytes() == key
    } else {
        part.as_bytes() == key
    }
}

fn push_key(pointer: &mut String, key: &[u8]) {
    let cut = &key[..key.len().min(64)];
    for symbol in String::from_utf8_lossy(cut).chars() {
        match symbol {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            symbol if symbol.is_control() => _ = write!(pointer, "\\u{:04x}", symbol as u32),
            symbol => pointer.push(symbol),
        }
    }
    if cut.len() < key.len() {
        pointer.push('…');
    }
}

/// Who is told.
pub(crate) trait Sink {
    /// A leaf; false ends the walk.
    fn leaf(&mut self, leaf: Leaf<'_>) -> bool;

    /// A fault, and where; false ends the walk.
    fn fault(&mut self, fault: Fault, path: Path<'_>) -> bool;
}

/// What a walk needs and the next one can use again.
#[derive(Default, Debug)]
pub(crate) struct Scratch {
    open: Vec<Open>,
    /// The keys of the open objects, decoded, one after another.
    keys: Vec<u8>,
    /// Where each of them stands in `keys`.
    spans: Vec<Range<usize>>,
    text: Vec<u8>,
}

/// An object or array that is not closed yet.
#[derive(Clone, Debug)]
struct Open {
    object: bool,
    /// Of an array: which element it is at.
    index: usize,
    /// Of an object: the key it is at, in `Scratch::keys`.
    key: Range<usize>,
    /// Where its keys begin in `Scratch::spans`.
    spans: usize,
    /// And in `Scratch::keys`.
    keys: usize,
}

impl Open {
    fn key<'a>(&self, keys: &'a [u8]) -> Option<&'a [u8]> {
        self.object.then(|| &keys[self.key.clone()])
    }
}

/// Tells the sink every leaf and fault of `message`; true when the walk came to the end of one valid value.
pub(crate) fn walk(
    message: &[u8],
    limits: &JsonLimits,
    scratch: &mut Scratch,
    sink: &mut impl Sink,
) -> bool {
    scratch.open.clear();
    scratch.keys.clear();
    scratch.spans.clear();
    let mut walk = Walk {
        message,
        at: 0,
        nodes: 0,
        limits,
        scratch,
        sink,
    };
    walk.whole().is_ok()
}

/// Whether a text may be JSON that is worth a walk: it begins as an object, an array or a string does.
pub(crate) fn looks_like_json(text: &[u8]) -> bool {
    let text = text.strip_prefix(BOM).unwrap_or(text).trim_ascii();
    matches!(
        (text.first(), text.last()),
        (Some(b'{'), _) | (Some(b'['), Some(b']')) | (Some(b'"'), Some(b'"'))
    )
}

/// The walk has ended before the message has.
struct Ended;

struct Walk<'a, S> {
    message: &'a [u8],
    at: usize,
    nodes: usize,
    limits: &'a JsonLimits,
    scratch: &'a mut Scratch,
    sink: &'a mut S,
}

impl<S: Sink> Walk<'_, S> {
    fn whole(&mut self) -> Result<(), Ended> {
        if std::str::from_utf8(self.message).is_err() {
            return self.end(Fault::Utf8);
        }
        if self.message.starts_with(BOM) {
            self.at = BOM.len();
            self.tell(Fault::Bom)?;
        }
        self.value()?;
        while let Some(open) = self.scratch.open.last() {
            if open.object {
                self.member()?;
            } else {
                self.element()?;
            }
        }
        match self.peek() {
            None => Ok(()),
            Some(_) => self.end(Fault::Syntax),
        }
    }

    /// A scalar, or the beginning of an object or array.
    fn value(&mut self) -> Result<(), Ended> {
        self.count()?;
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{') => self.enter(true),
            Some(b'[') => self.enter(false),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => self.end(Fault::Syntax),
        }
    }

    fn enter(&mut self, object: bool) -> Result<(), Ended> {
        if self.scratch.open.len() >= self.limits.max_depth {
            return self.end(Fault::Depth);
        }
        self.at += 1;
        let keys = self.scratch.keys.len();
        self.scratch.open.push(Open {
            object,
            index: usize::MAX,
            key: keys..keys,
            spans: self.scratch.spans.len(),
            keys,
        });
        Ok(())
    }

    /// The next element of the innermost array, or its end.
    fn element(&mut self) -> Result<(), Ended> {
        let first = self.innermost().index == usize::MAX;
        match self.peek() {
            Some(b']') => {
                self.at += 1;
                self.scratch.open.pop();
                return Ok(());
            }
            Some(b',') if !first => {
                self.at += 1;
                if self.peek() == Some(b']') {
                    return self.end(Fault::Syntax);
                }
            }
            Some(_) if first => {}
            _ => return self.end(Fault::Syntax),
        }
        let open = self.innermost();
        open.index = open.index.wrapping_add(1);
        self.value()
    }

    /// The next member of the innermost object, or its end.
    fn member(&mut self) -> Result<(), Ended> {
        let first = self.innermost().index == usize::MAX;
        match self.peek() {
            Some(b'}') => return self.leave(),
            Some(b',') if !first => {
                self.at += 1;
                self.peek();
            }
            Some(b'"') if first => {}
            _ => return self.end(Fault::Syntax),
        }
        if self.peek() != Some(b'"') {
            return self.end(Fault::Syntax);
        }
        self.key()?;
        if self.peek() != Some(b':') {
            return self.end(Fault::Syntax);
        }
        self.at += 1;
        self.value()
    }

    fn key(&mut self) -> Result<(), Ended> {
        self.count()?;
        let from = self.at;
        let start = self.scratch.keys.len();
        let (plain, lone) = self.text()?;
        let Scratch { keys, text, .. } = &mut *self.scratch;
        match plain {
            Some(length) => keys.extend_from_slice(&self.message[from + 1..from + 1 + length]),
            None => keys.extend_from_slice(text),
        }
        let key = start..self.scratch.keys.len();
        let open = self.innermost();
        open.index = 0;
        open.key = key.clone();
        let first = open.spans;
        self.scratch.spans.push(key.clone());
        if lone {
            self.tell(Fault::Surrogate)?;
        }
        if key.len() > self.limits.max_key_length {
            self.tell(Fault::KeyLength)?;
        }
        if self.scratch.spans.len() - first > self.limits.max_keys {
            return self.end(Fault::Keys);
        }
        let Scratch { open, keys, .. } = &*self.scratch;
        let leaf = Leaf {
            place: Place::Key,
            text: &keys[key],
            span: from..self.at,
            path: Path { open, keys },
        };
        self.sink.leaf(leaf).then_some(()).ok_or(Ended)
    }

    /// The end of the innermost object: its keys are compared and forgotten.
    fn leave(&mut self) -> Result<(), Ended> {
        self.at += 1;
        let (spans, start) = (self.innermost().spans, self.innermost().keys);
        if let Some(twice) = twice(&self.scratch.keys, &mut self.scratch.spans[spans..]) {
            self.innermost().key = twice;
            self.tell(Fault::DuplicateKey)?;
        }
        self.scratch.open.pop();
        self.scratch.spans.truncate(spans);
        self.scratch.keys.truncate(start);
        Ok(())
    }

    fn string(&mut self) -> Result<(), Ended> {
        let from = self.at;
        let (plain, lone) = self.text()?;
        if lone {
            self.tell(Fault::Surrogate)?;
        }
        let Scratch {
            open, keys, text, ..
        } = &*self.scratch;
        let text = match plain {
            Some(length) => &self.message[from + 1..from + 1 + length],
            None => text,
        };
        let leaf = Leaf {
            place: Place::Text,
            text,
            span: from..self.at,
            path: Path { open, keys },
        };
        self.sink.leaf(leaf).then_some(()).ok_or(Ended)
    }

    /// Reads the string at `at`: its length when it stands there as it is, else it is decoded into the scratch's text. True
    /// when it has half a surrogate pair.
    fn text(&mut self) -> Result<(Option<usize>, bool), Ended> {
        if let Some(length) = plain_string(&self.message[self.at + 1..]) {
            self.at += length + 2;
            return Ok((Some(length), false));
        }
        let mut text = std::mem::take(&mut self.scratch.text);
        text.clear();
        let lone = self.decode(&mut text);
        self.scratch.text = text;
        Ok((None, lone?))
    }

    /// Appends the string at `at`, decoded; true when it has half a surrogate pair, for which U+FFFD stands.
    fn decode(&mut self, into: &mut Vec<u8>) -> Result<bool, Ended> {
        let mut lone = false;
        self.at += 1;
        loop {
            let rest = &self.message[self.at..];
            let run = rest
                .iter()
                .position(|&octet| octet == b'"' || octet == b'\\' || octet < 0x20);
            let Some(run) = run else {
                return self.end(Fault::Syntax).map(|()| lone);
            };
            into.extend_from_slice(&rest[..run]);
            self.at += run + 1;
            match rest[run] {
                b'"' => return Ok(lone),
                b'\\' => match self.escape() {
                    Some(Escape::Symbol(symbol)) => {
                        into.extend_from_slice(symbol.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                    Some(Escape::Lone) => {
                        lone = true;
                        into.extend_from_slice("\u{fffd}".as_bytes());
                    }
                    None => return self.end(Fault::Syntax).map(|()| lone),
                },
                _ => return self.end(Fault::Syntax).map(|()| lone),
            }
        }
    }

    /// What follows a backslash; none when it is no escape.
    fn escape(&mut self) -> Option<Escape> {
        let letter = *self.message.get(self.at)?;
        self.at += 1;
        let symbol = match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return None,
        };
        Some(Escape::Symbol(symbol))
    }

    fn unicode(&mut self) -> Option<Escape> {
        let high = self.four_digits()?;
        if !(0xd800..0xdc00).contains(&high) {
            return Some(char::from_u32(high).map_or(Escape::Lone, Escape::Symbol));
        }
        let before = self.at;
        if self.message[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let low = self.four_digits()?;
            if (0xdc00..0xe000).contains(&low) {
                let both = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return char::from_u32(both).map(Escape::Symbol);
            }
            self.at = before;
        }
        Some(Escape::Lone)
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.message.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |value, &digit| {
            Some(value << 4 | char::from(digit).to_digit(16)?)
        })
    }

    fn number(&mut self) -> Result<(), Ended> {
        let from = self.at;
        let Some(length) = number(&self.message[from..]) else {
            return self.end(Fault::Syntax);
        };
        self.at += length;
        let text = &self.message[from..self.at];
        let digits = std::str::from_utf8(text).unwrap_or_default();
        let finite = digits.parse::<f64>().is_ok_and(f64::is_finite);
        if length > self.limits.max_number_length || !finite {
            self.tell(Fault::Number)?;
        }
        let Scratch { open, keys, .. } = &*self.scratch;
        let leaf = Leaf {
            place: Place::Number,
            text,
            span: from..self.at,
            path: Path { open, keys },
        };
        self.sink.leaf(leaf).then_some(()).ok_or(Ended)
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Ended> {
        if !self.message[self.at..].starts_with(word) {
            return self.end(Fault::Syntax);
        }
        let from = self.at;
        self.at += word.len();
        let Scratch { open, keys, .. } = &*self.scratch;
        let leaf = Leaf {
            place: Place::Word,
            text: &self.message[from..self.at],
            span: from..self.at,
            path: Path { open, keys },
        };
        self.sink.leaf(leaf).then_some(()).ok_or(Ended)
    }

    /// The next octet that is no white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.message.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn innermost(&mut self) -> &mut Open {
        self.scratch.open.last_mut().expect("asked inside of one")
    }

    fn count(&mut self) -> Result<(), Ended> {
        self.nodes += 1;
        if self.nodes > self.limits.max_nodes {
            return self.end(Fault::Nodes);
        }
        Ok(())
    }

    /// A fault after which the walk goes on, if the sink wants it to.
    fn tell(&mut self, fault: Fault) -> Result<(), Ended> {
        let Scratch { open, keys, .. } = &*self.scratch;
        let path = Path { open, keys };
        self.sink.fault(fault, path).then_some(()).ok_or(Ended)
    }

    /// A fault after which nothing can be read.
    fn end(&mut self, fault: Fault) -> Result<(), Ended> {
        _ = self.tell(fault);
        Err(Ended)
    }
}

enum Escape {
    Symbol(char),
    Lone,
}

/// The length of a string that needs no decoding, up to its closing quote.
fn plain_string(rest: &[u8]) -> Option<usize> {
    let stop = memchr::memchr2(b'"', b'\\', rest)?;
    let is_plain = rest[stop] == b'"' && rest[..stop].iter().all(|&octet| octet >= 0x20);
    is_plain.then_some(stop)
}

/// The length of the number at the start of `rest`. RFC 8259 §6
fn number(rest: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let rest = rest.get(from..).unwrap_or_default();
        rest.iter()
            .take_while(|octet| octet.is_ascii_digit())
            .count()
    };
    let mut at = usize::from(rest.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && rest[at] == b'0') {
        return None;
    }
    at += whole;
    if rest.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        at += (fraction > 0).then_some(fraction + 1)?;
    }
    if matches!(rest.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        at += (exponent > 0).then_some(exponent + 1 + sign)?;
    }
    Some(at)
}

/// A key that stands twice. Few keys are compared each with each; many are sorted first, so that the time stays
/// n log n whatever they are.
fn twice(keys: &[u8], spans: &mut [Range<usize>]) -> Option<Range<usize>> {
    let text = |span: &Range<usize>| &keys[span.clone()];
    if spans.len() <= FEW {
        let mut each = spans.iter().enumerate();
        return each
            .find(|(i, span)| spans[..*i].iter().any(|other| text(other) == text(span)))
            .map(|(_, span)| span.clone());
    }
    spans.sort_unstable_by(|one, other| {
        let length = one.len().cmp(&other.len());
        length.then_with(|| text(one).cmp(text(other)))
    });
    let mut pairs = spans.windows(2);
    pairs
        .find(|pair| text(&pair[0]) == text(&pair[1]))
        .map(|pair| pair[1].clone())
}

const BOM: &[u8] = "\u{feff}".as_bytes();

/// So many keys are sooner compared than sorted.
const FEW: usize = 12;

#[cfg(test)]
mod tests;
