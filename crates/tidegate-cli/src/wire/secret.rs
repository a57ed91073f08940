//! The secret that ties a recorded connection to its watcher; its owner makes it up. It is never logged.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tidegate_proto::WorkerId;

/// At least 128 bits that only the owner of a connection knows.
///
/// Nothing here compares two secrets octet by octet: they are keys of a hash map with a random seed, so the
/// time a lookup takes says nothing about how much of a guess was right.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Secret(Arc<[u8]>);

impl Secret {
    /// Reads 32 to 128 hexadecimal digits, an even number of them.
    pub(crate) fn parse(text: &str) -> Option<Secret> {
        if !(MIN_DIGITS..=MAX_DIGITS).contains(&text.len()) || text.len() % 2 != 0 {
            return None;
        }
        let octets: Option<Arc<[u8]>> = text
            .as_bytes()
            .chunks_exact(2)
            .map(|pair| Some((digit(pair[0])? << 4) | digit(pair[1])?))
            .collect();
        octets.map(Secret)
    }

    /// The worker where recorder and watcher meet; the same on every worker of a process.
    pub(crate) fn home(&self, workers: usize) -> WorkerId {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        WorkerId((hasher.finish() % workers.max(1) as u64) as u16)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

const MIN_DIGITS: usize = 32;
const MAX_DIGITS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_and_hexadecimal() {
        let good = "0123456789abcdefABCDEF0123456789";
        assert_eq!(Secret::parse(good), Secret::parse(&good.to_lowercase()));
        assert!(Secret::parse(&good[..30]).is_none(), "too short");
        assert!(
            Secret::parse(&format!("{good}0")).is_none(),
            "half an octet"
        );
        assert!(Secret::parse(&good.replace('f', "g")).is_none(), "no digit");
        assert!(Secret::parse(&"a".repeat(130)).is_none(), "too long");
        assert!(Secret::parse(&"é".repeat(16)).is_none(), "not ASCII");
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::parse(&"ab".repeat(16)).expect("valid");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn a_home_is_stable_and_within_range() {
        for n in 0..64u8 {
            let secret = Secret::parse(&format!("{n:02x}").repeat(16)).expect("valid");
            let home = secret.home(3);
            assert!(home.0 < 3);
            assert_eq!(home, secret.clone().home(3));
        }
    }
}
