//! The engine's clock: a monotonic one anchored to the Unix epoch once, when the server starts; never set again.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidegate_proto::Time;

/// All workers of a server carry a copy of one clock, so that their times can be compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    epoch: Time,
}

impl Clock {
    /// Reads the wall clock for the first and last time.
    pub(crate) fn start() -> Clock {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Clock {
            started: Instant::now(),
            epoch: Time::ZERO + since_epoch,
        }
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Time {
        self.at(Instant::now())
    }

    /// The moment of `instant`; the start if it lies before it.
    pub(crate) fn at(&self, instant: Instant) -> Time {
        self.epoch + instant.saturating_duration_since(self.started)
    }
}

/// How long to sleep from `now` until `then`; zero once it has come.
pub(crate) fn until(now: Time, then: Time) -> Duration {
    then.since(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_starts_at_the_wall_clock_and_only_grows() {
        let clock = Clock::start();
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("we live after 1970");
        assert!(wall.as_secs().abs_diff(clock.now().unix_seconds()) <= 1);
        assert_eq!(clock.at(clock.started), clock.epoch);
        let later = clock.started + Duration::from_millis(5);
        assert_eq!(clock.at(later).since(clock.epoch), Duration::from_millis(5));
        assert!(clock.now() <= clock.now());
    }

    #[test]
    fn a_moment_that_has_passed_is_not_waited_for() {
        let now = Time::from_micros(10);
        assert_eq!(until(now, Time::from_micros(5)), Duration::ZERO);
        assert_eq!(until(now, Time::from_micros(25)), Duration::from_micros(15));
    }
}
