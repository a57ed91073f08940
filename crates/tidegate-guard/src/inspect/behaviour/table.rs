//! A table of a fixed size, four places to a bucket. A full bucket gives up what was used longest ago.

use tidegate_proto::Time;

/// Values by hash.
#[derive(Debug)]
pub(super) struct Table<V> {
    buckets: Vec<[Option<Slot<V>>; WAYS]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot<V> {
    key: u64,
    used: Time,
    value: V,
}

impl<V: Copy> Table<V> {
    /// With at least so many places.
    pub(super) fn new(entries: usize) -> Table<V> {
        let buckets = entries.div_ceil(WAYS).max(1).next_power_of_two();
        Table {
            buckets: vec![[None; WAYS]; buckets],
        }
    }

    fn bucket(&mut self, key: u64) -> &mut [Option<Slot<V>>; WAYS] {
        let place = (key >> 32) as usize & (self.buckets.len() - 1);
        &mut self.buckets[place]
    }

    fn slot(&mut self, key: u64) -> Option<&mut Slot<V>> {
        let mut slots = self.bucket(key).iter_mut().flatten();
        slots.find(|slot| slot.key == key)
    }

    pub(super) fn get(&mut self, key: u64) -> Option<&V> {
        self.slot(key).map(|slot| &slot.value)
    }

    /// When the value was used last.
    pub(super) fn last_used(&mut self, key: u64) -> Option<Time> {
        self.slot(key).map(|slot| slot.used)
    }

    /// The value, which is `fresh` when there was none.
    pub(super) fn entry(&mut self, key: u64, now: Time, fresh: V) -> &mut V {
        let bucket = self.bucket(key);
        let is_it = |slot: &Option<Slot<V>>| slot.as_ref().is_some_and(|slot| slot.key == key);
        let place = bucket.iter().position(is_it);
        let place = place.unwrap_or_else(|| {
            let age = |slot: &Option<Slot<V>>| slot.as_ref().map(|slot| slot.used.as_micros());
            let oldest = (0..WAYS).min_by_key(|place| age(&bucket[*place]));
            let oldest = oldest.expect("a bucket has places");
            bucket[oldest] = None;
            oldest
        });
        let slot = bucket[place].get_or_insert(Slot {
            key,
            used: now,
            value: fresh,
        });
        slot.used = now;
        &mut slot.value
    }
}

const WAYS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_gives_up_what_was_used_longest_ago() {
        let mut table = Table::new(4);
        let at = Time::from_micros;
        for key in 0..4 {
            *table.entry(key, at(key), 0) = key;
        }
        table.entry(0, at(10), 9);
        table.entry(7, at(11), 7);
        assert_eq!(table.get(1), None);
        assert_eq!(
            [0, 2, 3, 7].map(|key| table.get(key).copied()),
            [0, 2, 3, 7].map(Some)
        );
    }
}
