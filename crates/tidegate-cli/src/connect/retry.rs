//! How long to wait before the next attempt: a random part of a bound that doubles each time ("full jitter"), so that
//! clients that lost the same server do not come back all at once. It waits for nothing itself.

use std::time::Duration;
use tidegate::{ConnectError, OsRandom};
use tidegate_proto::Random;

/// The waits of one series of attempts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    failed: u32,
}

impl Backoff {
    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let mut octets = [0; 4];
        OsRandom::new().fill(&mut octets);
        self.wait(u32::from_ne_bytes(octets))
    }

    /// The wait after a failed attempt: not shorter than the server asks for, within reason.
    pub(crate) fn after(&mut self, error: &ConnectError) -> Duration {
        let asked = error.refused().and_then(|refused| refused.retry_after());
        self.next()
            .max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }

    /// A connection was open for so long; a stable one ends the series.
    pub(crate) fn was_open_for(&mut self, time: Duration) {
        if time >= STABLE {
            self.failed = 0;
        }
    }

    fn wait(&mut self, random: u32) -> Duration {
        let bound = FIRST * 2u32.pow(self.failed.min(DOUBLINGS));
        self.failed = self.failed.saturating_add(1);
        bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

const FIRST: Duration = Duration::from_millis(500);
/// 32 seconds at most.
const DOUBLINGS: u32 = 6;
const STABLE: Duration = Duration::from_secs(10);
const LONGEST_ASKED: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_a_limit_and_begin_anew_after_a_stable_connection() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..9).map(|_| backoff.wait(u32::MAX).as_millis()).collect();
        assert_eq!(
            waits,
            [
                500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 32_000, 32_000
            ]
        );
        backoff.was_open_for(STABLE / 2);
        assert_eq!(backoff.wait(0), Duration::ZERO, "any part of the bound");
        backoff.was_open_for(STABLE);
        assert_eq!(backoff.wait(u32::MAX), FIRST);
    }
}
