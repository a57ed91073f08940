//! The audit log: what a guard did, one JSON object a line, each line chained to the one before by SHA-256. It
//! opens no file and reads no clock; it never writes a payload, a query, a token or a user's name.
//!
//! ```text
//!   {"seq":7,"prev":"<hash of line 6>","time":"…","event":"verdict", … ,"hash":"<of this line up to here>"}
//! ```
//! [`verify`] names the first line that was changed, is missing or stands elsewhere. A chain proves the order of
//! what is there; that lines were cut off at the end shows only beside a hash kept elsewhere ([`Chain::head`]).

mod event;
mod verify;

pub use event::{Event, What};
pub use verify::{Break, Summary, verify};

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use tidegate_proto::Time;

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// Writes the lines of one file.
#[derive(Clone, Debug)]
pub struct Chain {
    seq: u64,
    head: Hash,
    salt: [u8; 16],
}

impl Chain {
    /// A new file's chain and its first line. `salt` comes from the operating system's random source: identities
    /// of two files cannot be compared.
    pub fn begin(salt: [u8; 16], at: Time, version: &str) -> (Chain, String) {
        let mut chain = Chain {
            seq: 0,
            head: [0; 32],
            salt,
        };
        let salt = hex(&salt);
        let line = chain.line(at, |line| {
            field(line, "event", "begin");
            field(line, "version", version);
            field(line, "salt", &salt);
        });
        (chain, line)
    }

    /// Goes on with a file that was verified.
    ///
    /// # Errors
    /// [`Break`]: the file is no unbroken chain. Keep it as it is and begin another one.
    pub fn resume<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Chain, Break> {
        let mut salt = None;
        let summary = verify(lines.inspect(|line| {
            salt.get_or_insert_with(|| salt_of(line));
        }))?;
        match salt.flatten() {
            Some(salt) => Ok(Chain {
                seq: summary.lines,
                head: summary.head,
                salt,
            }),
            None => Err(Break {
                line: 1,
                why: "it is no first line of an audit file",
            }),
        }
    }

    /// The next line, without its line feed.
    pub fn append(&mut self, event: &Event) -> String {
        let salt = self.salt;
        self.line(event.at, |line| {
            event.write(line, |identity| hashed(&salt, identity));
        })
    }

    /// The hash of the last line: keep it elsewhere, and nobody can cut lines off at the end unseen.
    pub fn head(&self) -> Hash {
        self.head
    }

    /// How many lines there are.
    pub fn lines(&self) -> u64 {
        self.seq
    }

    fn line(&mut self, at: Time, fill: impl FnOnce(&mut String)) -> String {
        let mut line = format!(
            "{{\"seq\":{},\"prev\":\"{}\"",
            self.seq + 1,
            hex(&self.head)
        );
        field(&mut line, "time", &stamp(at));
        fill(&mut line);
        self.head = Sha256::digest(line.as_bytes()).into();
        self.seq += 1;
        let _ = write!(line, "{HASH_KEY}{}\"}}", hex(&self.head));
        line
    }
}

const HASH_KEY: &str = ",\"hash\":\"";

/// Sixteen hex digits that stand for an identity in this file.
fn hashed(salt: &[u8; 16], identity: &str) -> String {
    let digest = Sha256::new_with_prefix(salt)
        .chain_update(identity)
        .finalize();
    hex(&digest[..8])
}

fn salt_of(line: &str) -> Option<[u8; 16]> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = value.get("salt")?.as_str()?;
    let mut salt = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (octet, digits) in salt.iter_mut().zip(text.as_bytes().chunks(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(salt)
}

/// Appends `,"key":"value"`. What a peer can choose is cut at 256 characters, and everything but visible ASCII is
/// escaped: no line can be forged, and no terminal is spoken to.
fn field(line: &mut String, key: &str, value: &str) {
    let _ = write!(line, ",\"{key}\":\"");
    for c in value.chars().take(MAX_VALUE) {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            ' '..='~' => line.push(c),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
        }
    }
    line.push('"');
}

fn number(line: &mut String, key: &str, value: u64) {
    let _ = write!(line, ",\"{key}\":{value}");
}

const MAX_VALUE: usize = 256;

/// Two lower-case digits an octet.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(
        String::with_capacity(octets.len() * 2),
        |mut text, octet| {
            let _ = write!(text, "{octet:02x}");
            text
        },
    )
}

/// RFC 3339 in UTC, to the microsecond. Days are turned into dates by the algorithm of H. Hinnant's
/// "chrono-compatible low-level date algorithms".
fn stamp(at: Time) -> String {
    let micros = at.as_micros();
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

#[cfg(test)]
mod tests;
