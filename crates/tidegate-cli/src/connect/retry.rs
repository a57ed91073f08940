//! How long to wait before the next attempt, by the library's [`Backoff`]. It waits for nothing itself.

use std::time::Duration;
use tidegate::reconnect::Backoff;
use tidegate::{ConnectError, OsRandom};
use tidegate_proto::Random;

/// The waits of one series of attempts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retry {
    backoff: Backoff,
    failures: u32,
}

impl Retry {
    /// The wait after a failed attempt: not shorter than the server asks for, within reason.
    pub(crate) fn after(&mut self, error: &ConnectError) -> Duration {
        let asked = error.refused().and_then(|refused| refused.retry_after());
        let most = self.backoff.cap * 10;
        self.failed().max(asked.unwrap_or_default().min(most))
    }

    /// The wait after a connection that was open for so long; a stable one begins a new series.
    pub(crate) fn after_being_open(&mut self, time: Duration) -> Duration {
        if time >= self.backoff.stable {
            self.failures = 0;
        }
        self.failed()
    }

    fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.wait(self.failures, OsRandom::new().next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stable_connection_ends_the_series() {
        let mut retry = Retry::default();
        for n in 1..=9 {
            assert!(retry.after_being_open(Duration::ZERO) <= retry.backoff.cap);
            assert_eq!(retry.failures, n);
        }
        assert!(retry.after_being_open(retry.backoff.stable) <= retry.backoff.base);
        assert_eq!(retry.failures, 1);
    }
}
