//! A client that comes back: one connection after the other, with waits in between that grow and are drawn by
//! lot. It keeps no message: what was missed is for the protocol above to ask for, in the resume hook.
//!
//! ```text
//!   next() ─► wait ─► prepare ─► connect ─► resume ─► a WebSocket
//!              ▲          └─────────┴──────────┘
//!              └── failed, and may succeed later
//! ```

use crate::client::{Client, ClientStream, ConnectError};
use crate::{OsRandom, WebSocket};
use futures_core::Stream;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tidegate_proto::{Closed, Random};
use tokio::time::{Instant, Sleep, sleep};

/// How long to wait between two attempts: *full jitter*, a random time between nothing and a bound that doubles
/// with each failure. So the clients of a server that came back do not all come back in the same second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// The bound of the first wait. Default: 500 ms.
    pub base: Duration,
    /// The bound of all waits; also of what a server may ask for with `Retry-After`, ten times as long. Default:
    /// 20 s.
    pub cap: Duration,
    /// A connection that was in use for so long was a good one: after it the waits begin anew. Default: 5 s.
    pub stable: Duration,
    /// Failures in a row after which [`Reconnect`] gives up; `None`: never. Default: never.
    pub max_failures: Option<u32>,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff {
            base: Duration::from_millis(500),
            cap: Duration::from_secs(20),
            stable: Duration::from_secs(5),
            max_failures: None,
        }
    }
}

impl Backoff {
    /// The wait after so many failures in a row; `lot` is any random number. After none there is no wait.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidegate::reconnect::Backoff;
    ///
    /// let backoff = Backoff::default();
    /// assert_eq!(backoff.wait(0, u64::MAX), Duration::ZERO);
    /// assert_eq!(backoff.wait(3, u64::MAX), Duration::from_secs(2));
    /// assert_eq!(backoff.wait(3, 0), Duration::ZERO);
    /// ```
    pub fn wait(&self, failures: u32, lot: u64) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let bound = self.base.saturating_mul(factor).min(self.cap);
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        let share = u128::from(nanos) * u128::from(lot) / u128::from(u64::MAX);
        Duration::from_nanos(share as u64) // at most `nanos`
    }
}

/// One attempt to connect, before it is made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// Where to; change it to carry a position, or to try another server.
    pub url: String,
    /// With what; add headers, say a fresh token.
    pub client: Client,
    /// Connections that came about before this attempt.
    pub connections: u64,
    /// Failures in a row before this attempt.
    pub failures: u32,
}

/// A future of ours, or of a hook.
type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Prepare = Box<dyn FnMut(&mut Attempt) + Send>;
type Connect<S> = Box<dyn FnMut(Attempt) -> Pending<Result<WebSocket<S>, ConnectError>> + Send>;
type Resume<S> =
    Box<dyn FnMut(WebSocket<S>, Attempt) -> Pending<Result<WebSocket<S>, Closed>> + Send>;

/// Connections to one URL, each opened when the one before is over.
///
/// Call [`Reconnect::next`] for the first connection and again whenever one has ended; or use it as a `Stream`,
/// which ends after the first error.
///
/// ```no_run
/// # async fn f() -> Result<(), tidegate::ConnectError> {
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use tidegate::{Client, Reconnect};
///
/// let seen = Arc::new(AtomicU64::new(0)); // the last message we have had
/// let position = seen.clone();
/// let mut connections = Reconnect::new(Client::new(), "wss://feed.example/ticks")
///     .resume(move |mut ws, _attempt| {
///         let since = position.load(Ordering::Relaxed);
///         async move {
///             ws.send(format!("since {since}")).await?;
///             Ok(ws)
///         }
///     });
/// loop {
///     let mut ws = connections.next().await?; // waits as long as it must; an error is for good
///     while let Ok(_message) = ws.recv().await {
///         seen.fetch_add(1, Ordering::Relaxed);
///     }
/// }
/// # }
/// ```
pub struct Reconnect<S = ClientStream> {
    attempt: Attempt,
    backoff: Backoff,
    prepare: Option<Prepare>,
    connect: Connect<S>,
    resume: Option<Resume<S>>,
    random: Box<dyn Random + Send>,
    /// When the latest connection was handed out.
    since: Option<Instant>,
    /// What the server asked us to wait at least.
    asked: Duration,
    /// The stream has said why it ends.
    over: bool,
    state: State<S>,
}

enum State<S> {
    Idle,
    Waiting(Pin<Box<Sleep>>),
    Connecting(Box<Attempt>, Pending<Result<WebSocket<S>, ConnectError>>),
    /// The resume hook runs.
    Resuming(Pending<Result<WebSocket<S>, Closed>>),
}

impl Reconnect<ClientStream> {
    /// Connections of `client` to `url`.
    pub fn new(client: Client, url: impl Into<String>) -> Reconnect<ClientStream> {
        let connect = |attempt: Attempt| async move { attempt.client.connect(&attempt.url).await };
        Reconnect::over(client, url, connect)
    }
}

impl<S: Send + 'static> Reconnect<S> {
    /// Connections that `connect` makes, over whatever transport.
    pub fn over<F, C>(client: Client, url: impl Into<String>, mut connect: C) -> Reconnect<S>
    where
        C: FnMut(Attempt) -> F + Send + 'static,
        F: Future<Output = Result<WebSocket<S>, ConnectError>> + Send + 'static,
    {
        Reconnect {
            attempt: Attempt {
                url: url.into(),
                client,
                connections: 0,
                failures: 0,
            },
            backoff: Backoff::default(),
            prepare: None,
            connect: Box::new(move |attempt| Box::pin(connect(attempt))),
            resume: None,
            random: Box::new(OsRandom::new()),
            since: None,
            asked: Duration::ZERO,
            over: false,
            state: State::Idle,
        }
    }

    /// How long to wait between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Reconnect<S> {
        self.backoff = backoff;
        self
    }

    /// Where the lots are drawn. Default: the system's random source; give a fixed one in tests.
    #[must_use]
    pub fn random(mut self, random: impl Random + Send + 'static) -> Reconnect<S> {
        self.random = Box::new(random);
        self
    }

    /// Called before each attempt, to change its URL or its client: a fresh token, a position to go on from,
    /// another server. What it changes is gone after the attempt.
    #[must_use]
    pub fn prepare(mut self, prepare: impl FnMut(&mut Attempt) + Send + 'static) -> Reconnect<S> {
        self.prepare = Some(Box::new(prepare));
        self
    }

    /// Called with each new connection before it is handed out: subscribe again, ask for what was missed. When
    /// the connection ends within, that counts as a failed attempt. It is not bounded in time: put a timeout
    /// around what it waits for.
    #[must_use]
    pub fn resume<F, R>(mut self, mut resume: R) -> Reconnect<S>
    where
        R: FnMut(WebSocket<S>, Attempt) -> F + Send + 'static,
        F: Future<Output = Result<WebSocket<S>, Closed>> + Send + 'static,
    {
        self.resume = Some(Box::new(move |ws, attempt| Box::pin(resume(ws, attempt))));
        self
    }

    /// The next connection: the first at once, later ones after a wait.
    ///
    /// # Errors
    /// The [`ConnectError`] of an attempt that would fail again ([`ConnectError::is_retryable`]), or of the last
    /// one that [`Backoff::max_failures`] allows. Called again, it tries again.
    ///
    /// # Cancel safety
    /// Safe: the wait and the attempt under way go on with the next call.
    pub async fn next(&mut self) -> Result<WebSocket<S>, ConnectError> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Failures in a row so far.
    pub fn failures(&self) -> u32 {
        self.attempt.failures
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<WebSocket<S>, ConnectError>> {
        loop {
            match &mut self.state {
                State::Idle => {
                    let wait = self.wait();
                    self.state = State::Waiting(Box::pin(sleep(wait)));
                }
                State::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.state = self.begin();
                }
                State::Connecting(attempt, connecting) => {
                    let connected = ready!(connecting.as_mut().poll(cx));
                    let attempt = Attempt::clone(attempt);
                    self.state = State::Idle;
                    match (connected, &mut self.resume) {
                        (Ok(ws), None) => return self.opened(ws),
                        (Ok(ws), Some(resume)) => {
                            self.state = State::Resuming(resume(ws, attempt));
                        }
                        (Err(error), _) => {
                            if let Some(error) = self.failed(error) {
                                return Poll::Ready(Err(error));
                            }
                        }
                    }
                }
                State::Resuming(resuming) => {
                    let resumed = ready!(resuming.as_mut().poll(cx));
                    self.state = State::Idle;
                    match resumed {
                        Ok(ws) => return self.opened(ws),
                        Err(_) => self.attempt.failures = self.attempt.failures.saturating_add(1),
                    }
                }
            }
        }
    }

    /// How long to wait now. A connection that lasted clears the count; one that did not counts as a failure.
    fn wait(&mut self) -> Duration {
        if let Some(since) = self.since.take() {
            self.attempt.failures = match since.elapsed() >= self.backoff.stable {
                true => 1,
                false => self.attempt.failures.saturating_add(1),
            };
        }
        let lot = self.random.next_u64();
        let wait = self.backoff.wait(self.attempt.failures, lot);
        let most = self.backoff.cap.saturating_mul(10);
        wait.max(std::mem::take(&mut self.asked).min(most))
    }

    fn begin(&mut self) -> State<S> {
        let mut attempt = self.attempt.clone();
        if let Some(prepare) = &mut self.prepare {
            prepare(&mut attempt);
        }
        let connecting = (self.connect)(attempt.clone());
        State::Connecting(Box::new(attempt), connecting)
    }

    /// A connection is there, its resume hook done.
    fn opened(&mut self, ws: WebSocket<S>) -> Poll<Result<WebSocket<S>, ConnectError>> {
        self.attempt.connections += 1;
        self.since = Some(Instant::now());
        Poll::Ready(Ok(ws))
    }

    /// An attempt has failed: the error, if that is for good.
    fn failed(&mut self, error: ConnectError) -> Option<ConnectError> {
        let failures = self.attempt.failures.saturating_add(1);
        self.attempt.failures = failures;
        self.asked = error
            .refused()
            .and_then(|refused| refused.retry_after())
            .unwrap_or_default();
        let enough = self
            .backoff
            .max_failures
            .is_some_and(|most| failures >= most);
        (enough || !error.is_retryable()).then_some(error)
    }
}

impl<S: Send + 'static> Stream for Reconnect<S> {
    type Item = Result<WebSocket<S>, ConnectError>;

    /// Ends after the first error.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let next = ready!(this.poll(cx));
        this.over = next.is_err();
        Poll::Ready(Some(next))
    }
}

impl<S> fmt::Debug for Reconnect<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnect")
            .field("connections", &self.attempt.connections)
            .field("failures", &self.attempt.failures)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
