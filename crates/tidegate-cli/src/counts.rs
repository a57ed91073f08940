//! What each worker counts, for the metrics: one writer each, so that no message waits for a number. It never
//! counts by channel or user.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counts of all workers.
pub(crate) struct Counts(Vec<WorkerCounts>);

/// One worker's counts. Only that worker adds to them.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct WorkerCounts {
    /// WebSockets accepted.
    pub(crate) opened: ByRoute,
    /// WebSockets ended.
    pub(crate) closed: ByRoute,
    /// Messages that came.
    pub(crate) messages: ByRoute,
    /// Their payloads, in bytes.
    pub(crate) bytes: ByRoute,
    /// Handshakes refused: no such address or Host, Origin, a limit, the hub's own reasons.
    pub(crate) refused_address: Count,
    /// See above.
    pub(crate) refused_origin: Count,
    /// See above.
    pub(crate) refused_crowded: Count,
    /// See above.
    pub(crate) refused_other: Count,
    /// Ends by cause.
    pub(crate) ends: Ends,
}

/// A count for each kind of address.
#[derive(Default)]
pub(crate) struct ByRoute {
    pub(crate) echo: Count,
    pub(crate) hub: Count,
    pub(crate) wire: Count,
}

/// How connections ended, by what an operator would do about it.
#[derive(Default)]
pub(crate) struct Ends {
    /// By 1000 or 1001, or a hub client that left.
    pub(crate) normal: Count,
    /// Without a Close.
    pub(crate) lost: Count,
    /// 1013 and 3008: it did not read fast enough.
    pub(crate) slow: Count,
    /// 3012: it did not answer a ping.
    pub(crate) silent: Count,
    /// 1008 and 1009: a limit.
    pub(crate) limit: Count,
    /// 1002, 1003, 1007, 3501: it does not speak the protocol.
    pub(crate) protocol: Count,
    /// 3001: the drain.
    pub(crate) drain: Count,
    /// Any other code.
    pub(crate) other: Count,
}

impl Ends {
    /// The count for a close code.
    pub(crate) fn of(&self, code: Option<u16>) -> &Count {
        match code {
            None | Some(1006) => &self.lost,
            Some(1000 | 1001 | 1005) => &self.normal,
            Some(1013 | 3008) => &self.slow,
            Some(3012) => &self.silent,
            Some(1008 | 1009) => &self.limit,
            Some(1002 | 1003 | 1007 | 3501) => &self.protocol,
            Some(3001) => &self.drain,
            Some(_) => &self.other,
        }
    }
}

/// A number that one thread adds to and any may read.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds; only its one writer may call this. A plain store is enough then, and cheaper.
    pub(crate) fn add(&self, n: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(n);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// What it is now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counts {
    /// All zero.
    pub(crate) fn new(workers: usize) -> Counts {
        Counts((0..workers).map(|_| WorkerCounts::default()).collect())
    }

    /// One worker's.
    pub(crate) fn worker(&self, n: usize) -> &WorkerCounts {
        &self.0[n]
    }

    /// One number over all workers.
    pub(crate) fn sum(&self, pick: impl Fn(&WorkerCounts) -> &Count) -> u64 {
        self.0.iter().map(|worker| pick(worker).get()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_over_workers() {
        let counts = Counts::new(3);
        counts.worker(0).opened.hub.add(2);
        counts.worker(2).opened.hub.add(5);
        assert_eq!(counts.sum(|w| &w.opened.hub), 7);
    }

    #[test]
    fn every_close_code_has_one_cause() {
        let ends = Ends::default();
        for code in [
            None,
            Some(1000),
            Some(3008),
            Some(3012),
            Some(1009),
            Some(1002),
            Some(3001),
            Some(4000),
        ] {
            ends.of(code).add(1);
        }
        let all = [
            &ends.lost,
            &ends.normal,
            &ends.slow,
            &ends.silent,
            &ends.limit,
            &ends.protocol,
            &ends.drain,
            &ends.other,
        ];
        assert!(all.iter().all(|count| count.get() == 1));
    }
}
