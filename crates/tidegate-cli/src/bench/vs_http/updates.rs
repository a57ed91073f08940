//! The updates that every way carries: when each is due, and its text. Server and clients reckon them alike.

use crate::bench::payload::Payloads;
use std::time::{SystemTime, UNIX_EPOCH};

/// One update after the other, at fixed times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Updates {
    /// When the first is due, in nanoseconds since the Unix epoch.
    pub(crate) began: u64,
    /// Nanoseconds between two.
    pub(crate) every: u64,
    /// Bytes of each.
    pub(crate) size: usize,
}

impl Updates {
    /// When update `number` is due. That is its stamp too.
    pub(crate) fn due(&self, number: u64) -> u64 {
        self.began + number * self.every
    }

    /// Which update a stamp belongs to.
    pub(crate) fn number(&self, stamp: u64) -> Option<u64> {
        let since = stamp.checked_sub(self.began)?;
        (since % self.every == 0).then_some(since / self.every)
    }

    /// The text of update `number`.
    pub(crate) fn text(&self, payloads: &mut Payloads, number: u64) -> String {
        payloads.make(self.due(number)).to_owned()
    }
}

/// Nanoseconds since the Unix epoch: a clock that two processes of a machine share.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_names_its_update() {
        let updates = Updates {
            began: 1_000,
            every: 50,
            size: 20,
        };
        assert_eq!(updates.number(updates.due(7)), Some(7));
        assert_eq!(updates.number(1_001), None);
        assert_eq!(updates.number(999), None);
        assert_eq!(updates.text(&mut Payloads::new(20), 0).len(), 20);
    }
}
