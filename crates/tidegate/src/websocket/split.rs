//! A WebSocket in two halves: any number of senders and one receiver, each for a task of its own. The lock
//! between them is held while one of them is polled, never across an await.

use super::core::Core;
use super::{PingError, TrySendError};
use crate::message::Message;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tidegate_proto::{CloseCode, Closed, Level};
use tokio::io::{AsyncRead, AsyncWrite};

struct Shared<S> {
    core: Mutex<Core<S>>,
    waiters: Arc<Waiters>,
}

/// The tasks that wait for this connection. Whatever the transport has to say wakes all of them.
#[derive(Default)]
struct Waiters(Mutex<List>);

#[derive(Default)]
struct List {
    next: u64,
    wakers: Vec<(u64, Waker)>,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn number(&self) -> u64 {
        let mut list = self.lock();
        list.next += 1;
        list.next
    }

    fn wait(&self, number: u64, waker: &Waker) {
        let mut list = self.lock();
        match list.wakers.iter_mut().find(|(n, _)| *n == number) {
            Some((_, old)) => old.clone_from(waker),
            None => list.wakers.push((number, waker.clone())),
        }
    }

    fn leave(&self, number: u64) {
        self.lock().wakers.retain(|(n, _)| *n != number);
    }

    /// Wakes all but `number`. They stay in the list until they leave it.
    fn wake_others(&self, number: u64) {
        let others = self.lock().wakers.clone();
        for (n, waker) in others {
            if n != number {
                waker.wake();
            }
        }
    }
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        self.wake_others(0); // numbers begin at 1
    }
}

/// One future's place among the waiters; it leaves when the future is dropped.
struct Place<'a>(&'a Waiters, u64);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Core<S>> {
        self.core
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Does something at once, and wakes who may wait for that.
    fn now<R>(&self, f: impl FnOnce(&mut Core<S>) -> R) -> R {
        let result = f(&mut self.lock());
        self.waiters.wake_others(0);
        result
    }

    /// Polls `f` on the core until it is ready.
    async fn poll<R>(&self, mut f: impl FnMut(&mut Core<S>, &mut Context<'_>) -> Poll<R>) -> R {
        let place = Place(&self.waiters, self.waiters.number());
        let waker = Waker::from(self.waiters.clone());
        poll_fn(|cx| {
            // Before the transport is asked: what it says from now on wakes this task.
            self.waiters.wait(place.1, cx.waker());
            let mut core = self.lock();
            let before = core.progress();
            let polled = f(&mut core, &mut Context::from_waker(&waker));
            let changed = core.progress() != before;
            drop(core);
            if changed {
                self.waiters.wake_others(place.1);
            }
            polled
        })
        .await
    }
}

/// The sending half; clones send on the same connection. See [`super::WebSocket`] for what each method does.
///
/// Whoever waits here also reads a little, as [`super::WebSocket::send`] does, but it is the [`Receiver`]
/// that keeps a connection alive while nothing is sent. When all halves are dropped the transport is.
pub struct Sender<S>(Arc<Shared<S>>);

/// The receiving half.
pub struct Receiver<S>(Arc<Shared<S>>);

pub(super) fn split<S>(core: Core<S>) -> (Sender<S>, Receiver<S>) {
    let shared = Arc::new(Shared {
        core: Mutex::new(core),
        waiters: Arc::default(),
    });
    (Sender(shared.clone()), Receiver(shared))
}

impl<S> Clone for Sender<S> {
    fn clone(&self) -> Sender<S> {
        Sender(self.0.clone())
    }
}

impl<S> Sender<S> {
    /// As [`super::WebSocket::try_send`]; a waiting half writes it at once.
    ///
    /// # Errors
    /// [`TrySendError`] gives the message back.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<Level, TrySendError> {
        let message = message.into();
        self.0
            .now(|core| core.enqueue(message))
            .map_err(TrySendError::from)
    }

    /// Octets that wait to be written.
    pub fn queued(&self) -> usize {
        self.0.lock().queued()
    }

    /// As [`super::WebSocket::abort`].
    pub fn abort(&self) {
        self.0.now(Core::abort);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    /// As [`super::WebSocket::send`]. Messages of several senders are never mixed; each is whole.
    ///
    /// # Errors
    /// [`Closed`] when the connection ended, or is closing, before all was handed over.
    ///
    /// # Cancel safety
    /// Safe: dropped before the message was queued, nothing of it is sent; later, all of it is.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Closed> {
        let mut message = Some(message.into());
        let mut mark = 0;
        self.0
            .poll(|core, cx| core.poll_send(cx, &mut message, &mut mark))
            .await
    }

    /// As [`super::WebSocket::flush`].
    ///
    /// # Errors
    /// [`Closed`] when the connection ended before.
    ///
    /// # Cancel safety
    /// Safe: what is queued stays queued.
    pub async fn flush(&self) -> Result<(), Closed> {
        let mut mark = None;
        self.0.poll(|core, cx| core.poll_flush(cx, &mut mark)).await
    }

    /// As [`super::WebSocket::writable`].
    ///
    /// # Errors
    /// [`Closed`] when the connection ended.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing that a later call would miss.
    pub async fn writable(&self) -> Result<(), Closed> {
        self.0.poll(Core::poll_writable).await
    }

    /// As [`super::WebSocket::ping`].
    ///
    /// # Errors
    /// [`PingError`].
    ///
    /// # Cancel safety
    /// Safe: once polled the ping is queued whole; its pong is then taken silently.
    pub async fn ping(&self) -> Result<Duration, PingError> {
        let mut number = None;
        let rtt = self
            .0
            .poll(|core, cx| core.poll_ping(cx, &mut number))
            .await;
        rtt.map_err(PingError::Closed)?.ok_or(PingError::Unread)
    }

    /// As [`super::WebSocket::close`].
    ///
    /// # Cancel safety
    /// Safe: once polled the Close is queued; call it again, or receive, to see it through.
    pub async fn close(&self, code: CloseCode, reason: &str) -> Closed {
        self.0.now(|core| core.start_close(code, reason));
        self.0.poll(Core::poll_finished).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    /// As [`super::WebSocket::recv`].
    ///
    /// # Errors
    /// [`Closed`] once the connection has ended; from then on always.
    ///
    /// # Cancel safety
    /// Safe: no message is lost and no octet skipped, wherever the future is dropped.
    pub async fn recv(&mut self) -> Result<Message, Closed> {
        self.0.poll(Core::poll_recv).await
    }
}

impl<S> fmt::Debug for Sender<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for Receiver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
