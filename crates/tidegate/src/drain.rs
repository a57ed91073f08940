//! A polite end for all WebSockets of a program: each is closed at a moment of its own within a window, so that
//! the clients do not come back all at once. It never touches a connection itself; whoever polls one does.

use crate::OsRandom;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tidegate_proto::{CloseCode, Random};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Knows the WebSockets that were registered with it ([`crate::Acceptor::drain`], or
/// [`crate::WebSocket::watch`]) and ends them when the program is to stop. A clone is the same `Drain`.
///
/// Each connection is closed with a code of your choice at its own moment: the window is cut into as many parts
/// as there are connections, and each takes a random moment of its part. So clients come back evenly spread.
///
/// ```
/// use std::time::Duration;
/// use tidegate::testing::pair;
/// use tidegate::{CloseCode, Config, Drain, Farewell};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let drain = Drain::new();
/// let (mut client, server) = pair(Config::default());
/// let mut server = server.watch(&drain);
///
/// let serve = async { server.recv().await.unwrap_err() }; // the code that serves needs no change
/// let talk = async { client.recv().await.unwrap_err() };
/// let farewell = Farewell { window: Duration::from_millis(1), ..Farewell::restart() };
/// let (left, seen, _) = tokio::join!(drain.close(farewell), talk, serve);
/// assert_eq!(left, 0);
/// assert_eq!(seen.code, Some(CloseCode::RESTART));
/// # }
/// ```
#[derive(Clone)]
pub struct Drain(Arc<Shared>);

struct Shared {
    stage: watch::Sender<Stage>,
    /// Connections that are there.
    present: watch::Sender<usize>,
    /// Turns that were given away in this drain.
    turns: AtomicU32,
}

#[derive(Clone, Debug)]
enum Stage {
    Open,
    Closing {
        farewell: Arc<Farewell>,
        since: Instant,
        /// How many there were when it began.
        count: usize,
    },
    Cut,
}

/// How to say goodbye.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Farewell {
    /// The code of the Close.
    pub code: CloseCode,
    /// Its reason, at most 123 bytes. Default: empty.
    pub reason: String,
    /// Over how long the Closes are spread. Default: 10 s.
    pub window: Duration,
    /// After how long, from the beginning, transports that are still open are dropped. Default: 30 s.
    pub deadline: Duration,
}

impl Farewell {
    /// 1012: the server comes back; clients should reconnect after a random wait.
    pub fn restart() -> Farewell {
        Farewell::with(CloseCode::RESTART)
    }

    /// 1001: the server goes away.
    pub fn going_away() -> Farewell {
        Farewell::with(CloseCode::GOING_AWAY)
    }

    fn with(code: CloseCode) -> Farewell {
        Farewell {
            code,
            reason: String::new(),
            window: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
        }
    }
}

impl Drain {
    /// Nobody is registered yet.
    pub fn new() -> Drain {
        Drain(Arc::new(Shared {
            stage: watch::Sender::new(Stage::Open),
            present: watch::Sender::new(0),
            turns: AtomicU32::new(0),
        }))
    }

    /// Connections that are registered and not over.
    pub fn present(&self) -> usize {
        *self.0.present.borrow()
    }

    /// [`Drain::close`] was called: new handshakes are refused with 503.
    pub fn is_closing(&self) -> bool {
        !matches!(*self.0.stage.borrow(), Stage::Open)
    }

    /// Closes all connections, also those that are registered from now on, and waits until they are over or the
    /// deadline is reached; the transports that are left then are dropped. Returns how many those were.
    ///
    /// Only what somebody polls can be closed: a program that has stopped receiving on a connection is cut off at
    /// the deadline, at its next poll. A second call waits with the first one's farewell.
    ///
    /// # Cancel safety
    /// Safe: the drain goes on, without the cut at the deadline; call it again to wait for the end.
    pub async fn close(&self, farewell: Farewell) -> usize {
        let farewell = Arc::new(farewell);
        self.0.stage.send_if_modified(|stage| {
            let begins = matches!(stage, Stage::Open);
            if begins {
                *stage = Stage::Closing {
                    farewell,
                    since: Instant::now(),
                    count: self.present(),
                };
            }
            begins
        });
        let deadline = match &*self.0.stage.borrow() {
            Stage::Closing {
                farewell, since, ..
            } => *since + farewell.deadline,
            _ => Instant::now(),
        };
        let mut present = self.0.present.subscribe();
        let gone = present.wait_for(|present| *present == 0);
        if timeout_at(deadline, gone).await.is_ok() {
            return 0;
        }
        let left = self.present();
        self.0.stage.send_replace(Stage::Cut);
        left
    }

    /// Registers a connection.
    pub(crate) fn watch(&self) -> Watch {
        self.0.present.send_modify(|present| *present += 1);
        let drain = self.clone();
        Watch {
            place: Place(self.clone()),
            next: Box::pin(async move { drain.farewell().await }),
        }
    }

    /// Waits for this connection's turn.
    async fn farewell(self) -> Order {
        let mut stages = self.0.stage.subscribe();
        let open = |stage: &Stage| matches!(stage, Stage::Open);
        let stage = match stages.wait_for(|stage| !open(stage)).await {
            Ok(stage) => stage.clone(),
            Err(_) => unreachable!("this future holds the sender"),
        };
        let Stage::Closing {
            farewell,
            since,
            count,
        } = stage
        else {
            return Order::Abort;
        };
        let turn = self.0.turns.fetch_add(1, Ordering::Relaxed);
        sleep_until(since + moment(turn, count, random(), farewell.window)).await;
        Order::Close(farewell)
    }

    /// Waits for the deadline.
    async fn cut(self) -> Order {
        let mut stages = self.0.stage.subscribe();
        let cut = stages.wait_for(|stage| matches!(stage, Stage::Cut)).await;
        debug_assert!(cut.is_ok(), "this future holds the sender");
        Order::Abort
    }
}

impl Default for Drain {
    fn default() -> Drain {
        Drain::new()
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("present", &self.present())
            .field("closing", &self.is_closing())
            .finish()
    }
}

/// A random moment of the `turn`th of `count` parts of `window`; who comes late goes at the end.
fn moment(turn: u32, count: usize, random: u32, window: Duration) -> Duration {
    let count = count.max(1) as f64;
    let part = (f64::from(turn) + f64::from(random) / (f64::from(u32::MAX) + 1.0)) / count;
    window.mul_f64(part.min(1.0))
}

fn random() -> u32 {
    let mut octets = [0; 4];
    OsRandom::new().fill(&mut octets);
    u32::from_ne_bytes(octets)
}

/// What a connection is told.
pub(crate) enum Order {
    Close(Arc<Farewell>),
    Abort,
}

/// A connection's place in a [`Drain`]; it is gone when this is dropped.
pub(crate) struct Watch {
    next: Pin<Box<dyn Future<Output = Order> + Send + Sync>>,
    place: Place,
}

impl Watch {
    /// The next order; at most two come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Order> {
        let order = self.next.as_mut().poll(cx);
        if let Poll::Ready(order) = &order {
            let drain = self.place.0.clone();
            self.next = match order {
                Order::Close(_) => Box::pin(drain.cut()),
                Order::Abort => Box::pin(std::future::pending()),
            };
        }
        order
    }
}

struct Place(Drain);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.present.send_modify(|present| *present -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_spread_evenly_and_never_late() {
        let window = Duration::from_secs(10);
        for turn in 0..100 {
            for random in [0, 1 << 31, u32::MAX] {
                let at = moment(turn, 100, random, window);
                let part = Duration::from_millis(100);
                assert!(
                    at >= part * turn && at <= part * (turn + 1),
                    "{turn}: {at:?}"
                );
            }
        }
        assert_eq!(moment(7, 3, 9, window), window, "one that came late");
        assert_eq!(moment(0, 0, 0, window), Duration::ZERO);
    }
}
