//! Rates as a generic cell rate algorithm: sixteen bytes a peer, no timer, time passed in.

use std::fmt;
use tidegate_proto::Time;

/// So many units a second for ever, and so many at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    per_second: u32,
    burst: u32,
}

/// A rate of nothing would refuse everything; say what you mean and close the route instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRate;

impl fmt::Display for BadRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rate and its burst must be at least 1")
    }
}

impl std::error::Error for BadRate {}

impl Rate {
    /// `per_second` units a second, `burst` at once.
    ///
    /// # Errors
    /// [`BadRate`] if either is 0.
    pub const fn new(per_second: u32, burst: u32) -> Result<Rate, BadRate> {
        if per_second == 0 || burst == 0 {
            return Err(BadRate);
        }
        Ok(Rate { per_second, burst })
    }

    /// Units a second, for ever.
    pub fn per_second(self) -> u32 {
        self.per_second
    }

    /// Units at once.
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// Nanoseconds that one unit takes at the steady rate.
    fn unit(self) -> u64 {
        1_000_000_000 / u64::from(self.per_second)
    }
}

/// What a peer has used of a [`Rate`]: the moment, in nanoseconds, at which it will have paid for it.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Meter(u128);

impl Meter {
    /// Takes `units`; false, and nothing taken, when the rate does not allow them now. What is larger
    /// than the burst passes only when nothing was used.
    pub(crate) fn take(&mut self, rate: Rate, units: u64, now: Time) -> bool {
        let now = u128::from(now.as_micros()) * 1_000;
        let unit = u128::from(rate.unit());
        let start = self.0.max(now);
        let used = start - now;
        let room = u128::from(rate.burst) * unit;
        let cost = u128::from(units) * unit;
        if used > 0 && used + cost > room {
            return false;
        }
        self.0 = start + cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1_000)
    }

    #[test]
    fn a_burst_passes_and_then_the_steady_rate() {
        let rate = Rate::new(10, 5).unwrap();
        let mut meter = Meter::default();
        let passed = (0..8).filter(|_| meter.take(rate, 1, at(0))).count();
        assert_eq!(passed, 5);
        assert!(!meter.take(rate, 1, at(99)));
        assert!(meter.take(rate, 1, at(100)));
        assert!(!meter.take(rate, 1, at(101)));
        let steady = (1..=100)
            .filter(|i| meter.take(rate, 1, at(200 + i * 100)))
            .count();
        assert_eq!(steady, 100);
    }

    #[test]
    fn a_refusal_costs_nothing_and_a_large_unit_passes_alone() {
        let rate = Rate::new(1_000, 1_000).unwrap();
        let mut meter = Meter::default();
        assert!(meter.take(rate, 5_000, at(0)), "nothing was used before");
        for i in 1..4_000 {
            assert!(!meter.take(rate, 1, at(i)), "{i}");
        }
        assert!(meter.take(rate, 1, at(4_001)));
    }

    #[test]
    fn a_rate_of_nothing_cannot_be_made() {
        assert_eq!(Rate::new(0, 1), Err(BadRate));
        assert_eq!(Rate::new(1, 0), Err(BadRate));
    }
}
