//! Who has received what: publications under way, and for each subscriber the one it must receive next. A server keeps a
//! channel's order, so one that comes later than expected says that those before it will never come.

use super::payload::{Payloads, read_stamp};
use std::collections::VecDeque;

/// The accounts of a fan-out.
pub(crate) struct Deliveries {
    payloads: Payloads,
    /// Publications that some subscriber has not received, in order.
    under_way: VecDeque<Publication>,
    /// The number of the first of them; publications count from 0.
    first: u64,
    /// For each subscriber the number of the publication it must receive next; `None`: it is gone.
    next: Vec<Option<u64>>,
    alive: usize,
    last_stamp: u64,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    /// Deliveries that will not come.
    missed: u64,
    /// Deliveries of what was never published, or twice.
    pub(crate) wrong: u64,
}

struct Publication {
    stamp: u64,
    /// Subscribers that have not received it.
    missing: usize,
}

impl Deliveries {
    /// Nothing was published yet.
    pub(crate) fn new(subscribers: usize, size: usize) -> Deliveries {
        Deliveries {
            payloads: Payloads::new(size),
            under_way: VecDeque::new(),
            first: 0,
            next: vec![Some(0); subscribers],
            alive: subscribers,
            last_stamp: 0,
            published: 0,
            delivered: 0,
            missed: 0,
            wrong: 0,
        }
    }

    /// Publications that some subscriber has not received.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Deliveries that did not come.
    pub(crate) fn lost(&self) -> u64 {
        let waiting: usize = self.under_way.iter().map(|p| p.missing).sum();
        self.missed + waiting as u64
    }

    /// The subscriber is there.
    pub(crate) fn is_alive(&self, id: usize) -> bool {
        self.next[id].is_some()
    }

    /// One more; its payload. Stamps name publications, so a stamp that was used is moved.
    pub(crate) fn publish(&mut self, stamp: u64) -> &str {
        let stamp = stamp.max(self.last_stamp + 1);
        self.last_stamp = stamp;
        self.published += 1;
        self.under_way.push_back(Publication {
            stamp,
            missing: self.alive,
        });
        self.payloads.make(stamp)
    }

    /// A payload came to a subscriber; the stamp, if it is right.
    pub(crate) fn deliver(&mut self, id: usize, payload: &[u8]) -> Option<u64> {
        let next = self.next[id]?;
        let Some((number, stamp)) = self.which(next, payload) else {
            self.wrong += 1;
            return None;
        };
        self.missed += number - next;
        for passed in next..=number {
            self.under_way[(passed - self.first) as usize].missing -= 1;
        }
        self.next[id] = Some(number + 1);
        self.delivered += 1;
        self.forget();
        Some(stamp)
    }

    /// A subscriber is gone: what it has not received never comes.
    pub(crate) fn lose(&mut self, id: usize) {
        let Some(next) = self.next[id].take() else {
            return;
        };
        self.alive -= 1;
        for publication in self.under_way.range_mut((next - self.first) as usize..) {
            publication.missing -= 1;
            self.missed += 1;
        }
        self.forget();
    }

    /// Which publication it is: the subscriber's `next`, or a later one. Anything else is wrong.
    fn which(&mut self, next: u64, payload: &[u8]) -> Option<(u64, u64)> {
        let stamp = read_stamp(payload)?;
        let expected = (next - self.first) as usize;
        let at = match self.under_way.get(expected) {
            Some(publication) if publication.stamp == stamp => expected,
            _ => self
                .under_way
                .binary_search_by_key(&stamp, |p| p.stamp)
                .ok()?,
        };
        let right = at >= expected && self.payloads.is(payload, stamp);
        right.then_some((self.first + at as u64, stamp))
    }

    fn forget(&mut self) {
        while self.under_way.front().is_some_and(|p| p.missing == 0) {
            self.under_way.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(deliveries: &mut Deliveries, stamps: &[u64]) -> Vec<String> {
        stamps
            .iter()
            .map(|stamp| deliveries.publish(*stamp).to_owned())
            .collect()
    }

    #[test]
    fn what_a_later_one_passes_is_lost() {
        let mut deliveries = Deliveries::new(2, 20);
        let sent = published(&mut deliveries, &[5, 5, 9]);
        assert_eq!(deliveries.deliver(0, sent[0].as_bytes()), Some(5));
        assert_eq!(
            deliveries.deliver(0, sent[1].as_bytes()),
            Some(6),
            "no two have one stamp"
        );
        assert_eq!(deliveries.under_way(), 3, "the other one has none");
        assert_eq!(deliveries.deliver(1, sent[1].as_bytes()), Some(6));
        assert_eq!(deliveries.under_way(), 1);
        assert_eq!(deliveries.lost(), 1 + 2);
        for id in [0, 1] {
            assert_eq!(deliveries.deliver(id, sent[2].as_bytes()), Some(9));
        }
        assert_eq!(
            (deliveries.lost(), deliveries.delivered, deliveries.wrong),
            (1, 5, 0)
        );
        assert_eq!(
            deliveries.published * 2,
            deliveries.delivered + deliveries.lost()
        );
    }

    #[test]
    fn doubled_unknown_and_changed_ones_are_wrong() {
        let mut deliveries = Deliveries::new(2, 20);
        let sent = published(&mut deliveries, &[1, 2]);
        assert!(deliveries.deliver(0, sent[0].as_bytes()).is_some());
        assert!(deliveries.deliver(0, sent[0].as_bytes()).is_none());
        assert!(deliveries.deliver(0, b"0000000000000007abcd").is_none());
        let mut changed = sent[1].clone().into_bytes();
        changed[19] ^= 1;
        assert!(deliveries.deliver(0, &changed).is_none());
        assert_eq!(
            (deliveries.wrong, deliveries.delivered, deliveries.lost()),
            (3, 1, 3)
        );
    }

    #[test]
    fn a_subscriber_that_is_gone_is_not_waited_for() {
        let mut deliveries = Deliveries::new(2, 20);
        let sent = published(&mut deliveries, &[1, 2]);
        assert!(deliveries.deliver(0, sent[0].as_bytes()).is_some());
        deliveries.lose(1);
        deliveries.lose(1);
        assert!(!deliveries.is_alive(1));
        assert_eq!((deliveries.under_way(), deliveries.lost()), (1, 3));
        assert!(deliveries.deliver(0, sent[1].as_bytes()).is_some());
        assert_eq!((deliveries.under_way(), deliveries.lost()), (0, 2));
        assert!(deliveries.deliver(1, sent[1].as_bytes()).is_none());
    }
}
