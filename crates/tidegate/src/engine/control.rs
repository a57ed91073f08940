//! What all workers of a server share: its settings, and word of its end. Never anything of a connection.

use super::adopt::Adoptions;
use super::bridge::Bridges;
use super::plain::PlainHttp;
use rustls::{ClientConfig, ServerConfig};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tidegate_proto::WorkerId;

/// Takes connections that ask for ordinary HTTP.
pub(super) type GivePlainHttp = Box<dyn Fn(PlainHttp) + Send + Sync>;

/// Settings and word of the end, one for all workers.
pub(super) struct Shared {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) upstream_tls: Option<Arc<ClientConfig>>,
    pub(super) plain_http: Option<GivePlainHttp>,
    pub(super) adoptions: Arc<Adoptions>,
    pub(super) bridges: Arc<Bridges>,
    pub(super) control: Control,
}

/// Word of the end, and who has reached it.
pub(super) struct Control {
    draining: AtomicBool,
    deadline: Mutex<Option<Instant>>,
    drained: Box<[AtomicBool]>,
    /// Wakes all workers.
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Control {
    pub(super) fn new(workers: usize, wake: Box<dyn Fn() + Send + Sync>) -> Control {
        Control {
            draining: AtomicBool::new(false),
            deadline: Mutex::new(None),
            drained: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            wake,
        }
    }

    /// Asks all workers to drain until `deadline`. Asked again, the earlier deadline holds.
    pub(super) fn drain(&self, deadline: Instant) {
        let mut held = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(held.map_or(deadline, |earlier| earlier.min(deadline)));
        drop(held);
        self.draining.store(true, Ordering::SeqCst);
        (self.wake)();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// When draining ends in any case; `None` while nobody has asked for it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if !self.is_draining() {
            return None;
        }
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This worker has no peer left, or is itself gone. The last one wakes all.
    pub(super) fn drained(&self, worker: WorkerId) {
        let was = self.drained[usize::from(worker.0)].swap(true, Ordering::SeqCst);
        if !was && self.all_drained() {
            (self.wake)();
        }
    }

    pub(super) fn all_drained(&self) -> bool {
        self.drained
            .iter()
            .all(|drained| drained.load(Ordering::SeqCst))
    }
}
