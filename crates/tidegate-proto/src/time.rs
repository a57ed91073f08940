//! Time and randomness as values that the driver passes in; nothing here reads a clock or a random source.

use std::ops::Add;
use std::time::Duration;

/// A moment, in microseconds since the Unix epoch, on a clock that never goes back.
///
/// A driver anchors a monotonic clock to the wall clock once, when it starts. So one value serves both
/// for timers and for the dates an application shows; after months it may differ from the wall clock by
/// as much as that was corrected meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(u64);

impl Time {
    /// The Unix epoch; where tests start.
    pub const ZERO: Time = Time(0);

    /// The moment `micros` microseconds after the Unix epoch.
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Seconds since the Unix epoch.
    pub const fn unix_seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How long ago `earlier` was; zero if it has not come yet.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, span: Duration) -> Time {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(micros))
    }
}

/// A source of random octets, passed in by the driver.
///
/// Masking keys (RFC 6455 §5.3) and session identifiers come from it, so a driver that talks to the world
/// must back it with the operating system's CSPRNG; a simulator gives a seeded generator.
pub trait Random {
    /// Fills `bytes` with random octets.
    fn fill(&mut self, bytes: &mut [u8]);

    /// Eight random octets as a number.
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_ne_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_adds_and_never_underflows() {
        let start = Time::from_micros(5_000_000);
        let later = start + Duration::from_millis(1_500);
        assert_eq!(later.since(start), Duration::from_millis(1_500));
        assert_eq!(start.since(later), Duration::ZERO);
        assert_eq!((later.unix_seconds(), later.unix_millis()), (6, 6_500));
        assert_eq!((start + Duration::MAX).as_micros(), u64::MAX);
    }
}
