//! Which updates came to whom, and how late; what is missing is counted, because updates have numbers.

use super::updates::{Updates, now};
use crate::bench::measure::Latencies;
use crate::bench::payload::{Payloads, read_stamp};

/// The accounts of one way.
pub(super) struct Book {
    updates: Updates,
    payloads: Payloads,
    /// For each client the number of the update it needs next; `None` before its first.
    next: Vec<Option<u64>>,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) errors: u64,
    pub(super) requests: u64,
    pub(super) latencies: Latencies,
}

impl Book {
    /// Nothing has come.
    pub(super) fn new(updates: Updates, clients: usize) -> Book {
        Book {
            updates,
            payloads: Payloads::new(updates.size),
            next: vec![None; clients],
            received: 0,
            lost: 0,
            errors: 0,
            requests: 0,
            latencies: Latencies::new(),
        }
    }

    /// A client asked for something.
    pub(super) fn requested(&mut self) {
        self.requests += 1;
    }

    /// The number of the update that a client needs next.
    pub(super) fn next(&self, id: usize) -> Option<u64> {
        self.next[id]
    }

    /// An update came to a client.
    pub(super) fn update(&mut self, id: usize, payload: &[u8]) {
        let stamp = read_stamp(payload).filter(|stamp| self.payloads.is(payload, *stamp));
        let numbered = stamp.and_then(|stamp| Some((stamp, self.updates.number(stamp)?)));
        let Some((stamp, number)) = numbered else {
            self.errors += 1;
            return;
        };
        match self.next[id] {
            Some(next) if number < next => {
                self.errors += 1;
                return;
            }
            Some(next) => self.lost += number - next,
            None => {}
        }
        self.next[id] = Some(number + 1);
        self.received += 1;
        self.latencies.record(now().saturating_sub(stamp));
    }

    /// Every client has had an update.
    pub(super) fn all_began(&self) -> bool {
        self.next.iter().all(Option::is_some)
    }

    /// From now on it counts.
    pub(super) fn begin(&mut self) {
        (self.received, self.lost, self.errors, self.requests) = (0, 0, 0, 0);
        self.latencies.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_doubles_and_wrong_texts_are_counted() {
        let updates = Updates {
            began: 1_000,
            every: 10,
            size: 20,
        };
        let mut payloads = Payloads::new(20);
        let mut book = Book::new(updates, 2);
        for number in [3, 4, 7, 7, 8] {
            book.update(0, updates.text(&mut payloads, number).as_bytes());
        }
        assert_eq!((book.received, book.lost, book.errors), (4, 2, 1));
        assert!(!book.all_began());
        book.update(1, updates.text(&mut payloads, 8).as_bytes());
        book.update(1, b"something else");
        assert_eq!((book.received, book.lost, book.errors), (5, 2, 2));
        assert!(book.all_began());
        assert_eq!(book.next(0), Some(9));
        book.begin();
        assert_eq!((book.received, book.lost, book.errors), (0, 0, 0));
    }
}
