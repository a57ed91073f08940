//! The codecs that connections share, and the account of those that they keep; one that comes back is
//! reset, so that nothing of a peer is left in it.

use super::compress::{CodecKey, Compressor, compressor_bytes};
use super::inflate::{INFLATER_BYTES, Inflater};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most compressors kept for reuse; one is in use at a time, for each parameter set and thread.
const MAX_COMPRESSORS: usize = 8;
/// Most inflaters kept for reuse; one is in use for each compressed message that has come in part.
const MAX_INFLATERS: usize = 32;

/// Codecs for reuse, and the budget of the contexts that connections keep.
///
/// Clones are the same pool. Each [`crate::Resources`] has one of its own; where connections move between
/// threads, say on an async runtime, all threads have the same ([`crate::Resources::sharing`]). Its lock is
/// held to take a codec or to give one back, never while one works.
#[derive(Clone, Default)]
pub struct CodecPool(Arc<Mutex<Pool>>);

#[derive(Default)]
#[expect(
    clippy::vec_box,
    reason = "a codec goes to a connection and comes back as one pointer"
)]
struct Pool {
    inflaters: Vec<Box<Inflater>>,
    compressors: Vec<Box<Compressor>>,
    /// Bytes in contexts that connections keep.
    kept_by_connections: usize,
}

impl CodecPool {
    fn lock(&self) -> MutexGuard<'_, Pool> {
        // Nothing in here is ever half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes in contexts that connections keep.
    pub fn kept_by_connections(&self) -> usize {
        self.lock().kept_by_connections
    }

    /// Bytes in codecs that wait to be reused.
    pub fn pooled_bytes(&self) -> usize {
        let pool = self.lock();
        let compressors = pool.compressors.iter().map(|c| compressor_bytes(c.key()));
        compressors.sum::<usize>() + pool.inflaters.len() * INFLATER_BYTES
    }
}

impl fmt::Debug for CodecPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodecPool")
            .field("kept_by_connections", &self.kept_by_connections())
            .field("pooled_bytes", &self.pooled_bytes())
            .finish()
    }
}

/// The pool as the connections of one thread use it.
#[derive(Default)]
pub(crate) struct Codecs {
    pool: CodecPool,
    /// Messages deflated so far; a broadcast counts once for each form.
    pub(crate) deflated: u64,
}

impl Codecs {
    pub(crate) fn sharing(pool: &CodecPool) -> Codecs {
        Codecs {
            pool: pool.clone(),
            deflated: 0,
        }
    }

    pub(crate) fn take_inflater(&mut self) -> Box<Inflater> {
        let pooled = self.pool.lock().inflaters.pop();
        pooled.unwrap_or_else(|| Box::new(Inflater::new()))
    }

    pub(crate) fn recycle_inflater(&mut self, mut inflater: Box<Inflater>) {
        inflater.reset();
        let mut pool = self.pool.lock();
        if pool.inflaters.len() < MAX_INFLATERS {
            pool.inflaters.push(inflater);
        }
    }

    pub(crate) fn take_compressor(&mut self, key: CodecKey) -> Box<Compressor> {
        let mut pool = self.pool.lock();
        let pooled = pool.compressors.iter().rposition(|c| c.key() == key);
        let pooled = pooled.map(|at| pool.compressors.swap_remove(at));
        drop(pool);
        pooled.unwrap_or_else(|| Box::new(Compressor::new(key)))
    }

    pub(crate) fn recycle_compressor(&mut self, mut compressor: Box<Compressor>) {
        compressor.reset();
        let mut pool = self.pool.lock();
        let full = pool.compressors.len() == MAX_COMPRESSORS;
        let oldest = full.then(|| pool.compressors.remove(0));
        pool.compressors.push(compressor);
        drop(pool);
        drop(oldest); // its memory is given back without the lock
    }

    /// Enters `bytes` that a connection wants to keep; false, and nothing entered, beyond `budget`.
    pub(crate) fn keep(&mut self, bytes: usize, budget: usize) -> bool {
        let mut pool = self.pool.lock();
        let fits = pool.kept_by_connections + bytes <= budget;
        if fits {
            pool.kept_by_connections += bytes;
        }
        fits
    }

    /// A connection could keep `bytes` more.
    pub(crate) fn fits(&self, bytes: usize, budget: usize) -> bool {
        self.pool.lock().kept_by_connections + bytes <= budget
    }

    /// Enters `bytes` that a connection has to keep, whatever the budget.
    pub(crate) fn must_keep(&mut self, bytes: usize) {
        self.pool.lock().kept_by_connections += bytes;
    }

    /// A connection keeps `bytes` no longer.
    pub(crate) fn let_go(&mut self, bytes: usize) {
        let mut pool = self.pool.lock();
        debug_assert!(
            bytes <= pool.kept_by_connections,
            "let go of what was never kept"
        );
        pool.kept_by_connections = pool.kept_by_connections.saturating_sub(bytes);
    }

    /// Bytes in contexts that connections keep.
    pub(crate) fn kept_by_connections(&self) -> usize {
        self.pool.kept_by_connections()
    }

    /// Bytes in codecs that wait to be reused.
    pub(crate) fn pooled_bytes(&self) -> usize {
        self.pool.pooled_bytes()
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
        assert_eq!(codecs.pool.lock().compressors.len(), 7);
        let many: Vec<_> = (0..20).map(|_| codecs.take_compressor(key(15))).collect();
        many.into_iter().for_each(|c| codecs.recycle_compressor(c));
        assert_eq!(codecs.pool.lock().compressors.len(), MAX_COMPRESSORS);
        let many: Vec<_> = (0..50).map(|_| codecs.take_inflater()).collect();
        many.into_iter().for_each(|i| codecs.recycle_inflater(i));
        assert_eq!(codecs.pool.lock().inflaters.len(), MAX_INFLATERS);
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

    #[test]
    fn threads_that_share_a_pool_share_its_codecs_and_its_budget() {
        let pool = CodecPool::default();
        let key = CodecKey {
            level: 1,
            bits: 12,
            mem_level: 5,
        };
        let mut here = Codecs::sharing(&pool);
        assert!(here.keep(60, 100));
        let compressor = here.take_compressor(key);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut there = Codecs::sharing(&pool);
                assert!(!there.keep(41, 100));
                there.let_go(60);
                there.recycle_compressor(compressor);
            });
        });
        assert_eq!(pool.kept_by_connections(), 0);
        assert_eq!(pool.pooled_bytes(), compressor_bytes(key));
        let taken = here.take_compressor(key);
        assert_eq!((taken.key(), pool.pooled_bytes()), (key, 0));
    }
}
