//! The load's clock: nanoseconds since it began.

use std::time::Instant;
use tidegate::Time;

/// A monotonic clock.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// It begins now.
    pub(crate) fn new() -> Clock {
        Clock(Instant::now())
    }

    /// Nanoseconds since then.
    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// As the protocol counts.
pub(crate) fn micros(nanos: u64) -> Time {
    Time::from_micros(nanos / 1_000)
}
