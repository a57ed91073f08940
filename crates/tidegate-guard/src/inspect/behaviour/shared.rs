//! [`Behaviours`]: the counters of each route, one table for all workers, so that a connection on another worker is no
//! new start. The lock is taken for a message only on routes that have such rules.

use super::{Behaviour, BehaviourRules};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The counters of all routes.
#[derive(Debug)]
pub struct Behaviours {
    keyed: Keyed,
    by_route: Mutex<BTreeMap<Box<str>, Counters>>,
}

/// A hash that no peer can foresee, of a key that no peer knows.
#[derive(Clone, Copy)]
pub struct Keyed(u128);

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u128(self.0);
        hasher
    }
}

/// The counters of one route.
#[derive(Clone, Debug)]
pub(crate) struct Counters(Arc<Mutex<Behaviour<Keyed>>>);

impl Counters {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Behaviour<Keyed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Behaviours {
    /// Nothing is counted yet. The key comes from the operating system's CSPRNG.
    pub fn new(key: u128) -> Behaviours {
        Behaviours {
            keyed: Keyed(key),
            by_route: Mutex::default(),
        }
    }

    /// These rules are in force, by the routes' names, and no others. What was counted counts on.
    pub(crate) fn adopt<'a>(&self, rules: impl Iterator<Item = (&'a str, &'a BehaviourRules)>) {
        let mut by_route = self.lock();
        let mut kept = BTreeMap::new();
        for (route, rules) in rules {
            let known = by_route.remove(route);
            let counters = known.unwrap_or_else(|| {
                let fresh = Behaviour::new(rules.clone(), self.keyed);
                Counters(Arc::new(Mutex::new(fresh)))
            });
            counters.lock().set_rules(rules);
            kept.insert(route.into(), counters);
        }
        *by_route = kept;
    }

    pub(crate) fn of(&self, route: &str) -> Option<Counters> {
        self.lock().get(route).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Counters>> {
        self.by_route.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_counts_on_under_other_rules_and_a_route_that_is_gone_is_forgotten() {
        let behaviours = Behaviours::new(7);
        let rules = BehaviourRules {
            entries: 4,
            ..BehaviourRules::default()
        };
        behaviours.adopt([("a", &rules), ("b", &rules)].into_iter());
        let before = behaviours.of("a").expect("it is there");
        behaviours.adopt([("a", &BehaviourRules::default())].into_iter());
        let after = behaviours.of("a").expect("it is there");
        assert!(Arc::ptr_eq(&before.0, &after.0));
        assert!(behaviours.of("b").is_none());
    }

    #[test]
    fn another_key_is_another_hash() {
        let hash = |key| Keyed(key).hash_one("login");
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }
}
