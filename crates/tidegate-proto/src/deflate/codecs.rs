//! The codecs that the connections of a worker share; one that comes back is reset, so that nothing of a
//! peer is left in it.

use super::compress::{CodecKey, Compressor, compressor_bytes};
use super::inflate::{INFLATER_BYTES, Inflater};

/// Most compressors kept for reuse; one is in use at a time, for each parameter set.
const MAX_COMPRESSORS: usize = 8;
/// Most inflaters kept for reuse; one is in use for each compressed message that has come in part.
const MAX_INFLATERS: usize = 32;

/// Codecs for reuse, and the account of those that connections keep.
#[derive(Default)]
#[expect(
    clippy::vec_box,
    reason = "a codec goes to a connection and comes back as one pointer"
)]
pub(crate) struct Codecs {
    inflaters: Vec<Box<Inflater>>,
    compressors: Vec<Box<Compressor>>,
    /// Bytes in contexts that connections keep.
    kept_by_connections: usize,
    /// Messages deflated so far; a broadcast counts once for each form.
    pub(crate) deflated: u64,
}

impl Codecs {
    pub(crate) fn take_inflater(&mut self) -> Box<Inflater> {
        self.inflaters
            .pop()
            .unwrap_or_else(|| Box::new(Inflater::new()))
    }

    pub(crate) fn recycle_inflater(&mut self, mut inflater: Box<Inflater>) {
        if self.inflaters.len() < MAX_INFLATERS {
            inflater.reset();
            self.inflaters.push(inflater);
        }
    }

    pub(crate) fn take_compressor(&mut self, key: CodecKey) -> Box<Compressor> {
        match self.compressors.iter().rposition(|c| c.key() == key) {
            Some(at) => self.compressors.swap_remove(at),
            None => Box::new(Compressor::new(key)),
        }
    }

    pub(crate) fn recycle_compressor(&mut self, mut compressor: Box<Compressor>) {
        if self.compressors.len() == MAX_COMPRESSORS {
            self.compressors.remove(0);
        }
        compressor.reset();
        self.compressors.push(compressor);
    }

    /// Enters `bytes` that a connection wants to keep; false, and nothing entered, beyond `budget`.
    pub(crate) fn keep(&mut self, bytes: usize, budget: usize) -> bool {
        let fits = self.fits(bytes, budget);
        if fits {
            self.kept_by_connections += bytes;
        }
        fits
    }

    /// A connection could keep `bytes` more.
    pub(crate) fn fits(&self, bytes: usize, budget: usize) -> bool {
        self.kept_by_connections + bytes <= budget
    }

    /// Enters `bytes` that a connection has to keep, whatever the budget.
    pub(crate) fn must_keep(&mut self, bytes: usize) {
        self.kept_by_connections += bytes;
    }

    /// A connection keeps `bytes` no longer.
    pub(crate) fn let_go(&mut self, bytes: usize) {
        debug_assert!(
            bytes <= self.kept_by_connections,
            "let go of what was never kept"
        );
        self.kept_by_connections = self.kept_by_connections.saturating_sub(bytes);
    }

    /// Bytes in contexts that connections keep.
    pub(crate) fn kept_by_connections(&self) -> usize {
        self.kept_by_connections
    }

    /// Bytes in codecs that wait to be reused.
    pub(crate) fn pooled_bytes(&self) -> usize {
        let compressors = self.compressors.iter().map(|c| compressor_bytes(c.key()));
        compressors.sum::<usize>() + self.inflaters.len() * INFLATER_BYTES
    }
}

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use super::*;

    #[test]
    fn codecs_come_back_by_their_parameters_and_the_pool_is_bounded() {
        let key = |bits| CodecKey {
            level: 1,
            bits,
            mem_level: 8,
        };
        let mut codecs = Codecs::default();
        for _ in 0..3 {
            for bits in 9..=15 {
                let compressor = codecs.take_compressor(key(bits));
                assert_eq!(compressor.key(), key(bits));
                codecs.recycle_compressor(compressor);
            }
        }
        assert_eq!(codecs.compressors.len(), 7);
        let many: Vec<_> = (0..20).map(|_| codecs.take_compressor(key(15))).collect();
        many.into_iter().for_each(|c| codecs.recycle_compressor(c));
        assert_eq!(codecs.compressors.len(), MAX_COMPRESSORS);
        let many: Vec<_> = (0..50).map(|_| codecs.take_inflater()).collect();
        many.into_iter().for_each(|i| codecs.recycle_inflater(i));
        assert_eq!(codecs.inflaters.len(), MAX_INFLATERS);
        assert!(codecs.pooled_bytes() < 5 << 20);
    }

    #[test]
    fn the_budget_bounds_what_connections_keep() {
        let mut codecs = Codecs::default();
        assert!(codecs.keep(60, 100));
        assert!(!codecs.keep(41, 100));
        codecs.let_go(60);
        assert!(codecs.keep(100, 100));
        assert_eq!(codecs.kept_by_connections(), 100);
    }
}
