//! Checks an audit file's chain, line by line. It repairs nothing.

use super::{HASH_KEY, Hash, hex};
use sha2::{Digest, Sha256};
use std::fmt;

/// What an unbroken file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// How many lines.
    pub lines: u64,
    /// The last line's hash; compare it with one kept elsewhere.
    pub head: Hash,
    /// Events that the file says were lost.
    pub lost: u64,
}

/// The first line that does not follow from the ones before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Break {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for Break {}

/// Checks lines, given without their line feeds.
///
/// # Errors
/// The first [`Break`].
pub fn verify<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Summary, Break> {
    let mut summary = Summary {
        lines: 0,
        head: [0; 32],
        lost: 0,
    };
    for line in lines {
        let seq = summary.lines + 1;
        let fault = |why| Break { line: seq, why };
        let (covered, hash) = parts(line).ok_or(fault("it is no whole line of an audit file"))?;
        let digest: Hash = Sha256::digest(covered.as_bytes()).into();
        if hex(&digest) != hash {
            return Err(fault("it was changed"));
        }
        let said: Said = serde_json::from_str(line).map_err(|_| fault("it is no JSON"))?;
        if said.seq != seq {
            return Err(fault(match said.seq > seq {
                true => "lines before it are missing or stand elsewhere",
                false => "it stands in another place, or twice",
            }));
        }
        if said.prev != hex(&summary.head) {
            return Err(fault(
                "it does not follow from the line before, which was replaced",
            ));
        }
        if said.event == "lost" {
            summary.lost += said.count;
        }
        summary.lines = seq;
        summary.head = digest;
    }
    Ok(summary)
}

/// What the hash is of, and the hash.
fn parts(line: &str) -> Option<(&str, &str)> {
    let at = line.rfind(HASH_KEY)?;
    let hash = line[at + HASH_KEY.len()..].strip_suffix("\"}")?;
    Some((&line[..at], hash))
}

#[derive(serde::Deserialize)]
struct Said {
    seq: u64,
    prev: String,
    event: String,
    #[serde(default)]
    count: u64,
}
