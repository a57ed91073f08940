//! Virtual time for tests: it stands still until it is moved. It is tokio's, so all that waits on it moves along.

use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::Instant;

/// Longest jump, so that what is due in between happens in between.
const STEP: Duration = Duration::from_millis(100);
/// How often the others may run after each.
const TURNS: usize = 4;

/// The runtime's time, in your hand.
///
/// Keepalive, close and handshake timeouts of a WebSocket, and all timers of your program that are tokio's,
/// follow it. It needs a runtime of one thread (`#[tokio::test]` makes one). While time stands still and
/// nothing but timers is left to wait for, tokio jumps to the next one by itself; so a test that only awaits
/// needs no [`Clock::advance`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
/// use tidegate::testing::{Clock, pair};
///
/// let clock = Clock::pause();
/// let (mut client, mut server) = pair(tidegate::Config::default());
/// let silent = tokio::spawn(async move { client.recv().await });
/// clock.advance(Duration::from_secs(24)).await;
/// assert!(!silent.is_finished());
/// clock.advance(Duration::from_secs(12)).await; // a ping after 25 s, and 10 s for its pong
/// assert!(!silent.await.unwrap().unwrap_err().clean);
/// # drop(server);
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Stops the time of the current runtime.
    ///
    /// # Panics
    /// On a runtime with more than one thread, or when its time stands still already (`start_paused`).
    pub fn pause() -> Clock {
        tokio::time::pause();
        Clock::here()
    }

    /// The clock of a runtime whose time stands still already, as with
    /// `#[tokio::test(start_paused = true)]`.
    pub fn here() -> Clock {
        Clock {
            started: Instant::now(),
        }
    }

    /// Moves time on, in steps of at most 100 ms, and lets the other tasks run after each.
    ///
    /// # Panics
    /// When time does not stand still.
    ///
    /// # Cancel safety
    /// Dropped, it leaves time where it has come to.
    pub async fn advance(&self, by: Duration) {
        let mut left = by;
        while !left.is_zero() {
            let step = left.min(STEP);
            tokio::time::advance(step).await;
            for _ in 0..TURNS {
                yield_now().await;
            }
            left -= step;
        }
    }

    /// How much virtual time has passed since this clock was made.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::task::Poll;

    #[tokio::test]
    async fn what_is_due_in_between_happens_in_between() {
        let clock = Clock::pause();
        let task = tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                seen.push(clock.elapsed().as_secs());
            }
            seen
        });
        clock.advance(Duration::from_secs(10)).await;
        assert_eq!(task.await.unwrap(), [1, 2, 3]);
        assert_eq!(clock.elapsed().as_secs(), 10);
    }

    #[tokio::test]
    async fn an_advance_that_is_dropped_leaves_time_where_it_has_come_to() {
        let clock = Clock::pause();
        for polls in 1..9_u32 {
            let before = clock.elapsed();
            let mut left = polls;
            let mut advance = std::pin::pin!(clock.advance(STEP * 3));
            std::future::poll_fn(|cx| {
                left -= 1;
                match advance.as_mut().poll(cx) {
                    Poll::Pending if left > 0 => Poll::Pending,
                    _ => Poll::Ready(()),
                }
            })
            .await;
            let passed = clock.elapsed() - before;
            assert!(passed <= STEP * 3 && passed.as_millis() % STEP.as_millis() == 0);
            clock.advance(STEP).await;
            assert_eq!(clock.elapsed() - before, passed + STEP);
        }
    }
}
