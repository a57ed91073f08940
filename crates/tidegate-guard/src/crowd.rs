//! How many connections a route and an identity have, over all workers. The lock is taken when a connection opens
//! and when it ends, never for a message; who has no connection leaves no trace.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

/// What is counted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Counted {
    /// Connections of a route.
    Route(Box<str>),
    /// Connections of a user.
    Identity(Box<str>),
}

/// The counts; all workers share them.
#[derive(Default, Debug)]
pub struct Crowd {
    counts: Mutex<BTreeMap<Counted, u32>>,
}

/// A place that is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    counted: Counted,
}

impl Crowd {
    /// Takes a place; `None` when `most` are taken.
    pub fn enter(self: &Arc<Crowd>, counted: Counted, most: Option<NonZero<u32>>) -> Option<Place> {
        let mut counts = self.lock();
        let count = counts.entry(counted.clone()).or_default();
        if most.is_some_and(|most| *count >= most.get()) {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Place {
            crowd: Arc::clone(self),
            counted,
        })
    }

    /// How many there are.
    pub fn count(&self, counted: &Counted) -> u32 {
        self.lock().get(counted).copied().unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Counted, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.lock();
        if let Some(count) = counts.get_mut(&self.counted) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.counted);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_holder_is_gone() {
        let crowd = Arc::new(Crowd::default());
        let alice = || Counted::Identity("alice".into());
        let two = NonZero::new(2);
        let first = crowd.enter(alice(), two).expect("free");
        let _second = crowd.enter(alice(), two).expect("free");
        assert!(crowd.enter(alice(), two).is_none());
        assert!(
            crowd.enter(Counted::Route("alice".into()), two).is_some(),
            "a route is no user"
        );
        assert!(crowd.enter(Counted::Identity("bob".into()), two).is_some());
        drop(first);
        assert_eq!(crowd.count(&alice()), 1);
        assert!(crowd.enter(alice(), two).is_some());
        assert_eq!(crowd.lock().len(), 1, "who has left leaves no trace");
    }
}
