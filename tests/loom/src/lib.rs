//! The split's shared state in every order of its threads: the very file that the product is built from, with locks
//! that loom watches. A lost wake-up is a task that waits for ever, which loom reports.

#[cfg(test)]
mod orders;
#[allow(dead_code, reason = "a model needs less of it")]
#[path = "../../../crates/tidegate/src/websocket/shared.rs"]
mod shared;

/// In place of `crates/tidegate/src/websocket/sync.rs`.
mod sync {
    pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
    pub(crate) use std::sync::PoisonError;
}
