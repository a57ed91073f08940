//! The locks of the split; a model of them is built with others in their place.

pub(super) use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
