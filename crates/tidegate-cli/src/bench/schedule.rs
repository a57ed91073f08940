//! When messages of a fixed rate are due. It never forgives: what could not be sent at its time is still due.

/// A rate's times.
pub(crate) struct Schedule {
    /// Nanoseconds between two.
    every: f64,
    begun: u64,
    sent: u64,
}

impl Schedule {
    /// So many a second.
    pub(crate) fn new(rate: f64) -> Schedule {
        Schedule {
            every: 1e9 / rate,
            begun: 0,
            sent: 0,
        }
    }

    /// The first is due now.
    pub(crate) fn begin(&mut self, now: u64) {
        self.begun = now;
        self.sent = 0;
    }

    /// When the next one is due, or was.
    pub(crate) fn next(&self) -> u64 {
        self.begun + (self.sent as f64 * self.every) as u64
    }

    /// The time of the next one, if it has come.
    pub(crate) fn due(&self, now: u64) -> Option<u64> {
        Some(self.next()).filter(|next| *next <= now)
    }

    /// The next one was sent.
    pub(crate) fn advance(&mut self) {
        self.sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_still_due() {
        let mut schedule = Schedule::new(1_000.0);
        schedule.begin(5);
        assert_eq!(schedule.due(4), None);
        assert_eq!(schedule.due(5), Some(5));
        schedule.advance();
        assert_eq!(schedule.due(1_000_004), None);
        assert_eq!(schedule.due(3_000_000), Some(1_000_005));
        schedule.advance();
        assert_eq!(schedule.due(3_000_000), Some(2_000_005));
    }
}
