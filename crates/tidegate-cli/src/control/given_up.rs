//! How many streams of one HTTP/2 connection its client has given up lately: what rapid reset (CVE-2023-44487) spends, and an
//! honest client hardly touches. It closes nothing itself.

use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// A budget of resets for one connection.
#[derive(Default)]
pub(super) struct GivenUp {
    recent: Mutex<Recent>,
    too_often: Notify,
}

/// How full the bucket was, and when.
#[derive(Default)]
struct Recent {
    level: f64,
    since: Option<Instant>,
}

impl GivenUp {
    /// A stream that counts as given up when this is dropped, unless it was kept.
    pub(super) fn unless_kept(&self) -> Stream<'_> {
        Stream(Some(self))
    }

    /// Waits until the budget is spent.
    pub(super) async fn too_often(&self) {
        self.too_often.notified().await;
    }

    fn one_more(&self, now: Instant) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = recent.since.map_or(0.0, |at| (now - at).as_secs_f64());
        recent.level = (recent.level - passed * PER_SECOND).max(0.0) + 1.0;
        recent.since = Some(now);
        if recent.level > AT_ONCE {
            self.too_often.notify_one();
        }
    }
}

/// A stream that is open.
pub(super) struct Stream<'a>(Option<&'a GivenUp>);

impl Stream<'_> {
    /// It was answered, or ended as it should.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        if let Some(given_up) = self.0 {
            given_up.one_more(Instant::now());
        }
    }
}

/// As many as may be open at once: all that one connection holds may go in the same moment.
const AT_ONCE: f64 = 100.0;
/// And from then on. A proxy with a hundred clients behind one connection loses fewer.
const PER_SECOND: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::{advance, timeout};

    async fn is_over(given_up: &GivenUp) -> bool {
        let wait = given_up.too_often();
        timeout(Duration::ZERO, wait).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_may_go_at_once_and_twenty_a_second_for_ever() {
        let given_up = GivenUp::default();
        for _ in 0..100 {
            drop(given_up.unless_kept());
            given_up.unless_kept().keep();
        }
        assert!(!is_over(&given_up).await);
        for _ in 0..1_000 {
            advance(Duration::from_millis(50)).await;
            drop(given_up.unless_kept());
        }
        assert!(!is_over(&given_up).await);
        drop(given_up.unless_kept());
        assert!(is_over(&given_up).await);
    }

    #[tokio::test(start_paused = true)]
    async fn two_hundred_in_a_second_are_too_many() {
        let given_up = GivenUp::default();
        for _ in 0..200 {
            advance(Duration::from_millis(5)).await;
            drop(given_up.unless_kept());
        }
        assert!(is_over(&given_up).await);
    }
}
