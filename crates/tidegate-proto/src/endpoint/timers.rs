//! A hierarchical timer wheel on passed-in time: insert and expire cost a few operations, whatever the count.
//!
//! Three levels of 256 slots: 8 ms, 2 s and 9 min wide, 38 hours in all; later deadlines are re-inserted.
//! There is no cancellation: owners ignore a timer that is stale.

use crate::time::Time;

/// log2 of a tick in microseconds: 8.192 ms.
const TICK_BITS: u32 = 13;
const SLOTS: u64 = 256;
const SLOT_BITS: u32 = 8;
const LEVELS: usize = 3;
/// The farthest a timer can be put; beyond it waits here and is put again.
const HORIZON: u64 = SLOTS * SLOTS * SLOTS - 1;

/// Timers that carry a `T` each.
pub(super) struct Wheel<T> {
    /// The last tick that has been expired.
    current: u64,
    levels: [Level<T>; LEVELS],
}

struct Level<T> {
    slots: Vec<Vec<(u64, T)>>,
    occupied: [u64; (SLOTS / 64) as usize],
}

impl<T: Copy> Wheel<T> {
    pub(super) fn new(now: Time) -> Wheel<T> {
        let level = || Level {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            occupied: [0; 4],
        };
        Wheel {
            current: now.as_micros() >> TICK_BITS,
            levels: [level(), level(), level()],
        }
    }

    /// Arms a timer that expires at `at`, rounded up to the next tick, never at once.
    pub(super) fn insert(&mut self, at: Time, item: T) {
        let tick = at.as_micros().div_ceil(1 << TICK_BITS);
        self.put(tick.max(self.current + 1), item);
    }

    fn put(&mut self, tick: u64, item: T) {
        let near = tick.min(self.current + HORIZON);
        let level = match near - self.current {
            0..=0xFF => 0,
            0x100..=0xFFFF => 1,
            _ => 2,
        };
        let slot = (near >> (SLOT_BITS * level as u32)) % SLOTS;
        self.levels[level].put(slot, (tick, item));
    }

    /// Moves every timer due at `now` to `due`, in order of their ticks.
    pub(super) fn expire(&mut self, now: Time, due: &mut Vec<T>) {
        let now = now.as_micros() >> TICK_BITS;
        while let Some(tick) = self.next_tick().filter(|tick| *tick <= now) {
            self.current = tick;
            for level in (1..LEVELS).rev() {
                let bits = SLOT_BITS * level as u32;
                if tick % (1 << bits) == 0 {
                    self.cascade(level, (tick >> bits) % SLOTS, due);
                }
            }
            for (_, item) in self.levels[0].take(tick % SLOTS) {
                due.push(item);
            }
        }
        self.current = self.current.max(now);
    }

    /// When [`Wheel::expire`] should be called next; maybe early, never late.
    pub(super) fn next(&self) -> Option<Time> {
        self.next_tick()
            .map(|tick| Time::from_micros(tick << TICK_BITS))
    }

    /// The next tick at which a slot expires or cascades.
    fn next_tick(&self) -> Option<u64> {
        (0..LEVELS)
            .filter_map(|level| {
                let bits = SLOT_BITS * level as u32;
                let first = (self.current >> bits) + 1;
                let ahead = self.levels[level].next_occupied(first % SLOTS)?;
                Some((first + ahead) << bits)
            })
            .min()
    }

    /// Spreads a coarse slot over the finer levels.
    fn cascade(&mut self, level: usize, slot: u64, due: &mut Vec<T>) {
        for (tick, item) in self.levels[level].take(slot) {
            if tick <= self.current {
                due.push(item);
            } else {
                self.put(tick, item);
            }
        }
    }
}

impl<T> Level<T> {
    fn put(&mut self, slot: u64, entry: (u64, T)) {
        self.slots[slot as usize].push(entry);
        self.occupied[(slot / 64) as usize] |= 1 << (slot % 64);
    }

    fn take(&mut self, slot: u64) -> Vec<(u64, T)> {
        self.occupied[(slot / 64) as usize] &= !(1 << (slot % 64));
        std::mem::take(&mut self.slots[slot as usize])
    }

    /// How many slots after `from`, going round, the first occupied one is.
    fn next_occupied(&self, from: u64) -> Option<u64> {
        let mut ahead = 0;
        while ahead < SLOTS {
            let slot = (from + ahead) % SLOTS;
            let word = self.occupied[(slot / 64) as usize] >> (slot % 64);
            if word != 0 {
                return Some(ahead + u64::from(word.trailing_zeros()));
            }
            ahead += 64 - slot % 64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(ticks: u64) -> Time {
        Time::from_micros(ticks << TICK_BITS)
    }

    #[test]
    fn every_timer_expires_once_never_early_and_at_its_tick() {
        let start = 1_763_000_000_000_000u64 >> TICK_BITS;
        let mut wheel = Wheel::new(micros(start));
        let spans = [
            1, 2, 63, 64, 65, 127, 128, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000,
            16_000_000, 16_777_215, 16_777_216, 40_000_000,
        ];
        for span in spans {
            wheel.insert(micros(start + span), span);
        }
        let mut expired = Vec::new();
        while let Some(next) = wheel.next() {
            let mut due = Vec::new();
            wheel.expire(next, &mut due);
            let tick = next.as_micros() >> TICK_BITS;
            for span in due {
                assert_eq!(tick, start + span);
                expired.push(span);
            }
        }
        assert_eq!(expired, spans);
    }

    #[test]
    fn random_timers_agree_with_a_sorted_list_under_random_jumps() {
        let mut seed = 7u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let mut now = 1 << 30;
        let mut wheel = Wheel::new(micros(now));
        let mut list: Vec<(u64, u64)> = Vec::new();
        for id in 0..20_000 {
            let at = now + 1 + random([3, 300, 70_000, 20_000_000][id as usize % 4]);
            wheel.insert(micros(at), id);
            list.push((at, id));
            if id % 3 == 0 {
                now += random([2, 400, 90_000][id as usize % 9 / 3]);
                let mut due = Vec::new();
                wheel.expire(micros(now), &mut due);
                let mut expected: Vec<u64> = list
                    .iter()
                    .filter(|(at, _)| *at <= now)
                    .map(|(_, id)| *id)
                    .collect();
                list.retain(|(at, _)| *at > now);
                due.sort_unstable();
                expected.sort_unstable();
                assert_eq!(due, expected);
            }
        }
    }

    #[test]
    fn a_timer_in_the_past_expires_at_the_next_tick() {
        let mut wheel = Wheel::new(micros(1_000));
        wheel.insert(micros(3), 'x');
        assert_eq!(wheel.next(), Some(micros(1_001)));
        let mut due = Vec::new();
        wheel.expire(micros(1_001), &mut due);
        assert_eq!(due, ['x']);
        assert_eq!(wheel.next(), None);
    }
}
