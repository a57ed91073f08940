//! How a worker's clients leave when the server drains: one after the other over a window, so that they do not
//! all come back in the same instant. It closes nobody itself.

use std::collections::VecDeque;
use std::time::Duration;
use tidegate_proto::Time;

/// How fast clients are asked to leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pace {
    /// All have been asked after this time.
    pub(crate) window: Duration,
    /// So many a second while that fits the window; zero counts as 1.
    pub(crate) per_second: u32,
}

impl Pace {
    /// The usual one, of all workers together: 1,000 a second, within 10 s and half of the whole `drain`.
    pub(crate) fn usual(drain: Duration) -> Pace {
        Pace {
            window: Duration::from_secs(10).min(drain / 2),
            per_second: 1_000,
        }
    }

    /// One worker's share: all of them begin at once.
    pub(crate) fn share(self, workers: u32) -> Pace {
        Pace {
            per_second: self.per_second.div_ceil(workers),
            ..self
        }
    }

    /// How long it takes to ask so many.
    fn span(self, peers: usize) -> Duration {
        let micros = peers as u64 * 1_000_000 / u64::from(self.per_second.max(1));
        Duration::from_micros(micros).min(self.window)
    }
}

/// Those who have not been asked yet, in their order.
pub(crate) struct Leaving<P> {
    queue: VecDeque<(Time, P)>,
    begun: Option<Time>,
    /// How many there were, and how many were put into the queue.
    all: usize,
    placed: usize,
}

impl<P> Default for Leaving<P> {
    fn default() -> Leaving<P> {
        Leaving {
            queue: VecDeque::new(),
            begun: None,
            all: 0,
            placed: 0,
        }
    }
}

impl<P> Leaving<P> {
    /// When `peer` is to be asked, one of `all` peers; `None` for at once. `random` moves it within its
    /// place, so that neighbours do not leave at fixed distances.
    pub(crate) fn place(
        &mut self,
        peer: P,
        all: usize,
        pace: Pace,
        now: Time,
        random: u64,
    ) -> Option<Time> {
        if self.begun.is_none() {
            (self.begun, self.all) = (Some(now), all.max(1));
        }
        let span = pace.span(self.all);
        if span < SHORT {
            return None;
        }
        let each = span / self.all as u32;
        let within = each.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64);
        let at = self.begun.unwrap_or(now) + each * (self.placed as u32) + within;
        self.placed += 1;
        self.queue.push_back((at, peer));
        Some(at)
    }

    /// Who is due at `now`.
    pub(crate) fn due(&mut self, now: Time) -> Option<P> {
        match self.queue.front() {
            Some((at, _)) if *at <= now => self.queue.pop_front().map(|(_, peer)| peer),
            _ => None,
        }
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Time> {
        self.queue.front().map(|(at, _)| *at)
    }

    /// How many were given a time, and how long ago that began.
    pub(crate) fn so_far(&self, now: Time) -> (usize, Duration) {
        let over = self.begun.map_or(Duration::ZERO, |begun| now.since(begun));
        (self.placed, over)
    }
}

/// Below this a window is not worth a timer.
const SHORT: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn leave(all: u32, pace: Pace) -> (Leaving<u32>, Vec<Option<Time>>) {
        let mut leaving = Leaving::default();
        let at = (0..all)
            .map(|n| {
                let random = u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                leaving.place(n, all as usize, pace, Time::ZERO, random)
            })
            .collect();
        (leaving, at)
    }

    #[test]
    fn few_leave_at_once() {
        let pace = Pace {
            window: Duration::from_secs(10),
            per_second: 1_000,
        };
        let (leaving, at) = leave(40, pace);
        assert!(at.iter().all(Option::is_none));
        assert_eq!(leaving.next(), None);
    }

    #[test]
    fn many_leave_evenly_at_the_rate_and_within_the_window() {
        let window = Duration::from_secs(10);
        for (all, rate, seconds) in [(2_000, 1_000, 2.0), (50_000, 1_000, 10.0), (500, 50, 10.0)] {
            let (mut leaving, at) = leave(
                all,
                Pace {
                    window,
                    per_second: rate,
                },
            );
            let at: Vec<f64> = at
                .iter()
                .map(|at| at.expect("placed").as_micros() as f64 / 1e6)
                .collect();
            assert!(at.is_sorted());
            assert!(at[at.len() - 1] <= seconds, "{all}");
            for tenth in 0..10 {
                let from = seconds * f64::from(tenth) / 10.0;
                let here = at
                    .iter()
                    .filter(|at| (from..from + seconds / 10.0).contains(*at))
                    .count();
                let share = here as f64 / f64::from(all);
                assert!(
                    (0.09..0.11).contains(&share),
                    "{all}: {share} in tenth {tenth}"
                );
            }
            let half = Time::from_micros((seconds * 5e5) as u64);
            let asked = std::iter::from_fn(|| leaving.due(half)).count();
            assert!((0.49..0.51).contains(&(asked as f64 / f64::from(all))));
            assert!(leaving.next().is_some_and(|next| next > half));
        }
    }
}
