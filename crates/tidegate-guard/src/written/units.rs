//! Durations, sizes and secrets as people write them in the configuration; it knows no key by name.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::time::Duration;

/// A duration: `"90s"`, `"1h30m"`, `"250ms"`, or a whole number of seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span(pub Duration);

/// A size: `"64KiB"`, `"1MiB"`, `"500kB"`, or a whole number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub usize);

/// Text that is never shown: not in logs, not in errors, not on the admin page.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret; blanks around it are not part of it.
    pub fn new(text: &str) -> Secret {
        Secret(text.trim().to_owned())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not tell how much of `other` was right.
    pub fn is(&self, other: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), other.as_bytes());
        if ours.len() != theirs.len() {
            return false;
        }
        let differing = ours
            .iter()
            .zip(theirs)
            .fold(0u8, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        let text = String::deserialize(from)?;
        if text.trim().is_empty() {
            return Err(D::Error::custom("a secret must not be empty"));
        }
        Ok(Secret::new(&text))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"90s\", \"10m\" or \"1h30m\", or whole seconds")
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Span, E> {
                let seconds = u64::try_from(seconds)
                    .map_err(|_| E::custom("a duration must not be negative"))?;
                within(Duration::from_secs(seconds)).map_err(E::custom)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
                let length = parse_duration(text).ok_or_else(|| {
                    E::custom(format!(
                        "{text:?} is no duration; write \"250ms\", \"90s\", \"10m\", \"1h30m\" or \"7d\""
                    ))
                })?;
                within(length).map_err(E::custom)
            }
        }
        from.deserialize_any(Reader)
    }
}

/// The engine counts microseconds in 64 bits; ten years are more than anyone means.
fn within(length: Duration) -> Result<Span, &'static str> {
    if length > Duration::from_secs(10 * 365 * 86_400) {
        return Err("a duration is at most ten years");
    }
    Ok(Span(length))
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Size, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64KiB\" or \"1MiB\", or whole bytes")
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Size, E> {
                usize::try_from(bytes)
                    .map(Size)
                    .map_err(|_| E::custom("a size must not be negative"))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                parse_size(text).map(Size).ok_or_else(|| {
                    E::custom(format!(
                        "{text:?} is no size; write \"64KiB\", \"1MiB\", \"500kB\" or whole bytes"
                    ))
                })
            }
        }
        from.deserialize_any(Reader)
    }
}

/// Numbers with units one after the other: `1h30m`. A bare `0` needs no unit.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let unit_end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let unit = match &after[..unit_end] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" | "min" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            "d" => Duration::from_secs(86_400),
            _ => return None,
        };
        sum = sum.checked_add(unit.checked_mul(u32::try_from(number).ok()?)?)?;
        rest = after[unit_end..].trim_start();
    }
    (!text.trim().is_empty()).then_some(sum)
}

fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split_number(text.trim())?;
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        _ => return None,
    };
    usize::try_from(number.checked_mul(factor)?).ok()
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let rows = [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("250ms", Some(250)),
            ("90s", Some(90_000)),
            ("10m", Some(600_000)),
            ("10min", Some(600_000)),
            ("1h30m", Some(5_400_000)),
            ("1h 30m", Some(5_400_000)),
            (" 7d ", Some(604_800_000)),
            ("", None),
            (" ", None),
            ("10", None),
            ("s", None),
            ("1.5h", None),
            ("-1s", None),
            ("10 m", None),
            ("1w", None),
            ("99999999999d", None),
        ];
        for (text, expected) in rows {
            assert_eq!(
                parse_duration(text),
                expected.map(Duration::from_millis),
                "{text:?}"
            );
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let rows = [
            ("0", Some(0)),
            ("512", Some(512)),
            ("64KiB", Some(65_536)),
            ("64 KiB", Some(65_536)),
            ("1M", Some(1 << 20)),
            ("500kB", Some(500_000)),
            ("2GiB", Some(2 << 30)),
            ("", None),
            ("KiB", None),
            ("64kib", None),
            ("-1", None),
            ("99999999999GiB", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_secret_is_never_shown_and_compares_whole() {
        let secret = Secret::new(" key\n");
        assert_eq!(format!("{secret:?}"), "***");
        assert!(secret.is("key"));
        for wrong in ["", "ke", "keys", "kez", "KEY"] {
            assert!(!secret.is(wrong), "{wrong}");
        }
    }
}
