//! A WebSocket in two halves: any number of senders and one receiver, each for a task of its own. The lock
//! between them is held while one of them is polled, never across an await.

use super::access::Access;
use super::core::Core;
use super::shared::{Place, Shared};
use super::{MessageReader, MessageWriter, Permit, PingError, TrySendError};
use crate::message::Message;
use futures_core::Stream;
use futures_core::stream::FusedStream;
use futures_sink::Sink;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tidegate_proto::{CloseCode, Closed, Level, MessageKind};
use tokio::io::{AsyncRead, AsyncWrite};

/// The sending half; clones send on the same connection. See [`super::WebSocket`] for what each method does.
///
/// Whoever waits here also reads a little, as [`super::WebSocket::send`] does, but it is the [`Receiver`]
/// that keeps a connection alive while nothing is sent. When all halves are dropped the transport is.
///
/// As a [`Sink`] each clone has one message of its own that waits for room.
pub struct Sender<S> {
    shared: Arc<Shared<Core<S>>>,
    place: Place,
    /// A message that the sink has taken and that found no room yet.
    parked: Option<Message>,
}

/// The receiving half; also a [`Stream`].
pub struct Receiver<S> {
    shared: Arc<Shared<Core<S>>>,
    place: Place,
}

pub(super) fn split<S>(core: Core<S>) -> (Sender<S>, Receiver<S>) {
    let shared = Shared::new(core);
    let sender = Sender {
        place: shared.join(),
        parked: None,
        shared: shared.clone(),
    };
    let receiver = Receiver {
        place: shared.join(),
        shared,
    };
    (sender, receiver)
}

impl<S> Clone for Sender<S> {
    fn clone(&self) -> Sender<S> {
        Sender {
            place: self.shared.join(),
            parked: None,
            shared: self.shared.clone(),
        }
    }
}

impl<S> Drop for Sender<S> {
    fn drop(&mut self) {
        self.shared.leave(self.place);
    }
}

impl<S> Drop for Receiver<S> {
    fn drop(&mut self) {
        self.shared.leave(self.place);
    }
}

impl<S> Sender<S> {
    /// As [`super::WebSocket::try_send`]; a waiting half writes it at once.
    ///
    /// # Errors
    /// [`TrySendError`] gives the message back.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<Level, TrySendError> {
        let message = message.into();
        let queued = self.shared.now(|core| core.enqueue(message));
        queued.map_err(TrySendError::from)
    }

    /// Octets that wait to be written.
    pub fn queued(&self) -> usize {
        self.shared.look(Core::queued)
    }

    /// Neither side has begun to close.
    pub fn is_open(&self) -> bool {
        self.shared.look(Core::is_open)
    }

    /// How the connection ended, once that is known.
    pub fn closed(&self) -> Option<Closed> {
        self.shared.look(|core| core.closed().cloned())
    }

    /// As [`super::WebSocket::rtt`].
    pub fn rtt(&self) -> Option<Duration> {
        self.shared.look(Core::rtt)
    }

    /// As [`super::WebSocket::abort`].
    pub fn abort(&self) {
        self.shared.now(Core::abort);
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
        self.shared
            .poll(|core, cx| core.poll_send(cx, &mut message, &mut mark))
            .await
    }

    /// As [`super::WebSocket::feed`].
    ///
    /// # Errors
    /// [`Closed`] when the connection ended, or is closing.
    ///
    /// # Cancel safety
    /// Safe: dropped before the message was queued, nothing of it is sent.
    pub async fn feed(&self, message: impl Into<Message>) -> Result<(), Closed> {
        let mut message = Some(message.into());
        self.shared
            .poll(|core, cx| core.poll_feed(cx, &mut message))
            .await
    }

    /// As [`super::WebSocket::reserve`]. What is reserved is kept from the other senders.
    ///
    /// # Errors
    /// [`Closed`] when the connection ended, or is closing.
    ///
    /// # Cancel safety
    /// Safe: dropped before it is ready, nothing is reserved.
    pub async fn reserve(&self, bytes: usize) -> Result<Permit<'_, S>, Closed> {
        let access = Access::shared(&self.shared);
        self.shared
            .poll(|core, cx| core.poll_reserve(cx, bytes))
            .await?;
        Ok(Permit::new(access, bytes))
    }

    /// As [`super::WebSocket::message_writer`]. Messages of other senders wait until it is finished; their
    /// `try_send` says that the queue is full.
    ///
    /// # Errors
    /// [`Closed`] when the connection ended, or is closing.
    ///
    /// # Cancel safety
    /// Safe: dropped before it is ready, no message was begun.
    pub async fn message_writer(&self, kind: MessageKind) -> Result<MessageWriter<'_, S>, Closed> {
        let access = Access::shared(&self.shared);
        self.shared
            .poll(|core, cx| core.poll_begin(cx, kind))
            .await?;
        Ok(MessageWriter::new(access, kind))
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
        self.shared
            .poll(|core, cx| core.poll_flush(cx, &mut mark))
            .await
    }

    /// As [`super::WebSocket::writable`].
    ///
    /// # Errors
    /// [`Closed`] when the connection ended.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing that a later call would miss.
    pub async fn writable(&self) -> Result<(), Closed> {
        self.shared.poll(Core::poll_writable).await
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
            .shared
            .poll(|core, cx| core.poll_ping(cx, &mut number))
            .await;
        rtt.map_err(PingError::Closed)?.ok_or(PingError::Unread)
    }

    /// As [`super::WebSocket::close`].
    ///
    /// # Cancel safety
    /// Safe: once polled the Close is queued; call it again, or receive, to see it through.
    pub async fn close(&self, code: CloseCode, reason: &str) -> Closed {
        self.shared.now(|core| core.start_close(code, reason));
        self.shared.poll(Core::poll_finished).await
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
        std::future::poll_fn(|cx| self.shared.poll_at(self.place, cx, Core::poll_recv)).await
    }

    /// As [`super::WebSocket::next_message`].
    ///
    /// # Errors
    /// [`Closed`] once the connection has ended; from then on always.
    ///
    /// # Cancel safety
    /// Safe: dropped before it is ready, the message is still the next one.
    pub async fn next_message(&mut self) -> Result<MessageReader<'_, S>, Closed> {
        let kind = self.shared.poll(Core::poll_next_message).await?;
        Ok(MessageReader::new(Access::shared(&self.shared), kind))
    }
}

impl<S> Receiver<S> {
    /// How the connection ended, once that is known.
    pub fn closed(&self) -> Option<Closed> {
        self.shared.look(|core| core.closed().cloned())
    }
}

/// As the stream of a whole [`super::WebSocket`].
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Receiver<S> {
    type Item = Result<Message, Closed>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.shared.poll_at(self.place, cx, Core::poll_stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FusedStream for Receiver<S> {
    fn is_terminated(&self) -> bool {
        self.shared.look(|core| core.told)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    /// Queues the message that the sink has parked.
    fn poll_parked(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        if self.parked.is_none() {
            return Poll::Ready(Ok(()));
        }
        let parked = &mut self.parked;
        self.shared
            .poll_at(self.place, cx, |core, cx| core.poll_feed(cx, parked))
    }
}

/// Messages to send. Ready means that the queue is below its marks; `close` closes with 1000, for all halves.
impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for Sender<S> {
    type Error = Closed;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let this = self.get_mut();
        ready!(this.poll_parked(cx))?;
        this.shared.poll_at(this.place, cx, Core::poll_writable)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Closed> {
        let this = self.get_mut();
        match this.try_send(message) {
            Ok(_) => Ok(()),
            Err(TrySendError::Full(message)) if this.parked.is_none() => {
                this.parked = Some(message);
                Ok(())
            }
            Err(_) => Err(this.shared.look(Core::reason)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let this = self.get_mut();
        ready!(this.poll_parked(cx))?;
        this.shared
            .poll_at(this.place, cx, |core, cx| core.poll_flush(cx, &mut None))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let this = self.get_mut();
        if this.is_open() {
            ready!(this.poll_parked(cx))?;
            this.shared
                .now(|core| core.start_close(CloseCode::NORMAL, ""));
        }
        let closed = ready!(this.shared.poll_at(this.place, cx, Core::poll_finished));
        Poll::Ready(if closed.clean { Ok(()) } else { Err(closed) })
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
