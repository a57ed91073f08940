//! A WebSocket as an async value on tokio: one connection in the hand, for clients and ordinary servers. It
//! never spawns a task, and an idle one owns no buffer.
//!
//! Each method drives the whole connection while it is polled: it answers pings, sends keepalives and
//! writes what waits. A connection that nobody polls does none of that, and a peer that pings it will take
//! it for dead.

mod access;
mod core;
mod error;
mod permit;
mod pool;
mod reader;
mod shared;
mod sink;
mod split;
mod sync;
mod writer;

pub use error::{PingError, TrySendError};
pub use permit::Permit;
pub use reader::MessageReader;
pub use split::{Receiver, Sender};
pub use writer::MessageWriter;

use crate::message::Message;
use access::Access;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tidegate_proto::{CloseCode, Closed, Config, Level, MessageKind, Negotiated, Role};
use tokio::io::{AsyncRead, AsyncWrite};

/// A WebSocket after its handshake, over any transport.
///
/// It ends once, with a [`Closed`]; what is asked of it afterwards gets the same answer. To end it politely
/// call [`WebSocket::close`]; when it is dropped, the transport is, and the peer sees that as 1006.
///
/// It needs a tokio runtime whose time is enabled, and is `Send` where the transport is.
///
/// ```
/// use std::sync::Arc;
/// use tidegate::tidegate_proto::Role;
/// use tidegate::{CloseCode, Config, Message, WebSocket};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (here, there) = tokio::io::duplex(64);
/// let mut client = WebSocket::from_upgraded(here, Role::Client, Arc::new(Config::default()), b"");
/// let mut server = WebSocket::from_upgraded(there, Role::Server, Arc::new(Config::default()), b"");
///
/// client.send("hello").await.unwrap();
/// assert_eq!(server.recv().await.unwrap(), Message::from("hello"));
///
/// let (closed, seen) = tokio::join!(client.close(CloseCode::NORMAL, "bye"), server.recv());
/// assert!(closed.clean);
/// assert_eq!(seen.unwrap_err().reason, "bye");
/// # Ok(())
/// # }
/// ```
pub struct WebSocket<S> {
    /// By itself on the heap: a task keeps room for each place that a value passes through.
    core: Box<core::Core<S>>,
    subprotocol: Option<Box<str>>,
}

impl<S> WebSocket<S> {
    /// A WebSocket over a transport whose handshake somebody else has done. `early` is what was already
    /// read behind the handshake's head; nothing of it may be lost.
    pub fn from_upgraded(io: S, role: Role, config: Arc<Config>, early: &[u8]) -> WebSocket<S> {
        WebSocket {
            core: Box::new(core::Core::new(io, role, config, early)),
            subprotocol: None,
        }
    }

    /// What the handshake agreed on.
    pub(crate) fn with_subprotocol(self, name: Option<String>) -> WebSocket<S> {
        WebSocket {
            subprotocol: name.map(String::into_boxed_str),
            ..self
        }
    }

    /// The handshake agreed on permessage-deflate, with these parameters; modes and limits are those of
    /// [`Config::deflate`]. Call it before anything is sent or received.
    ///
    /// Codecs come from a pool of the whole process, and so does [`tidegate_proto::DeflateConfig::context_budget`]:
    /// a connection may be polled by any thread.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn with_deflate(mut self, negotiated: Negotiated) -> WebSocket<S> {
        self.core.set_deflate(negotiated);
        self
    }

    /// Without the feature nothing is ever agreed on.
    #[cfg(not(feature = "deflate"))]
    pub(crate) fn with_deflate(self, _: Negotiated) -> WebSocket<S> {
        self
    }

    /// What the handshake agreed on compression; `None` when messages are not compressed.
    pub fn deflate(&self) -> Option<Negotiated> {
        self.core.deflate()
    }

    /// The subprotocol that the handshake agreed on (RFC 6455 §1.9).
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Registers the connection with `drain`: when the program is to stop, it closes by itself while it is
    /// polled, and [`WebSocket::recv`] tells so as for any other end. Cost: some 300 bytes.
    #[must_use]
    pub fn watch(mut self, drain: &crate::Drain) -> WebSocket<S> {
        self.core.watch(drain.watch());
        self
    }

    /// Queues a message without writing it: the next `send`, `flush`, `recv` or other awaited method
    /// writes it. Made for batches: several `try_send`, then one [`WebSocket::flush`].
    ///
    /// [`Level::High`] means that it was queued and that a polite sender now waits for
    /// [`WebSocket::writable`].
    ///
    /// # Errors
    /// [`TrySendError`] gives the message back: the queue is at its limit
    /// ([`tidegate_proto::Limits::outbox`]), or the connection is closing.
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<Level, TrySendError> {
        let queued = self.core.enqueue(message.into());
        queued.map_err(TrySendError::from)
    }

    /// Two halves for two tasks: senders that can be cloned, and one receiver. What the handshake agreed on
    /// is asked for before.
    pub fn split(self) -> (Sender<S>, Receiver<S>) {
        split::split(*self.core)
    }

    /// Octets that wait to be written, frame headers included.
    pub fn queued(&self) -> usize {
        self.core.queued()
    }

    /// Neither side has begun to close.
    pub fn is_open(&self) -> bool {
        self.core.is_open()
    }

    /// How the connection ended, once that is known.
    pub fn closed(&self) -> Option<&Closed> {
        self.core.closed()
    }

    /// The round trip of the latest answered [`WebSocket::ping`].
    pub fn rtt(&self) -> Option<Duration> {
        self.core.rtt()
    }

    /// The transport; `None` once it was closed.
    pub fn transport(&self) -> Option<&S> {
        self.core.io()
    }

    /// Drops the transport at once. The peer sees no Close (1006); what was queued may be lost.
    pub fn abort(&mut self) {
        self.core.abort();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// The next message, whole; one that is longer than [`tidegate_proto::Limits::max_message_size`] fails the
    /// connection with 1009, unless [`WebSocket::next_message`] takes it.
    ///
    /// A message that is here already is handed out at once. Only when it has to wait for one, what was queued
    /// is written first: a program that receives, [`WebSocket::feed`]s and receives again writes its answers
    /// to many messages at once. Pings are answered without delay.
    ///
    /// # Errors
    /// [`Closed`] once the connection has ended and the transport is closed; from then on always. After the
    /// peer's Close that takes at most [`tidegate_proto::Timeouts::linger`] longer than writing the answer.
    ///
    /// # Cancel safety
    /// Safe: no message is lost and no octet skipped when the future is dropped, at whatever point.
    pub fn recv(&mut self) -> impl Future<Output = Result<Message, Closed>> {
        // No `async fn`: its frame would be all that this one adds, and small messages notice.
        poll_fn(|cx| self.core.poll_recv(cx))
    }

    /// Sends a message: waits until the queue is below its marks, queues the message whole, and waits until
    /// its last octet was handed to the transport.
    ///
    /// While it waits it also reads, so that two sides that send much do not block each other at once; up
    /// to 16 messages, or as many octets as one message may have, are kept for [`WebSocket::recv`].
    ///
    /// # Errors
    /// [`Closed`] when the connection ended, or is closing, before all was handed over.
    ///
    /// # Cancel safety
    /// Safe: dropped before the message was queued, nothing of it is sent; dropped later, the message is
    /// queued whole, and the next awaited method sends it. There is no third state.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Closed> {
        let message = message.into();
        if self.core.offer(&message) {
            drop(message);
            let mark = self.core.mark_of_last();
            return poll_fn(|cx| self.core.poll_mark(cx, mark)).await;
        }
        let (mut message, mut mark) = (Some(message), 0);
        poll_fn(|cx| self.core.poll_send(cx, &mut message, &mut mark)).await
    }

    /// Sends a message later: waits until the queue is below its marks and queues the message whole. It is
    /// written by the next method that has to wait ([`WebSocket::recv`] too), by [`WebSocket::send`] and
    /// [`WebSocket::flush`], or when the queue is above its high mark.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tidegate::Closed> {
    /// # let (mut client, mut ws) = tidegate::testing::pair(tidegate::Config::default());
    /// # client.send("hello").await?;
    /// # let (serve, _) = tokio::join!(async {
    /// // An echo that answers a burst of messages with one write:
    /// while let Ok(message) = ws.recv().await {
    ///     ws.feed(message).await?;
    /// }
    /// # Ok(())
    /// # }, async {
    /// #     assert_eq!(client.recv().await.unwrap().as_text(), Some("hello"));
    /// #     client.close(tidegate::CloseCode::NORMAL, "").await
    /// # });
    /// # serve
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Closed`] when the connection ended, or is closing.
    ///
    /// # Cancel safety
    /// Safe: dropped before the message was queued, nothing of it is sent.
    pub fn feed(
        &mut self,
        message: impl Into<Message>,
    ) -> impl Future<Output = Result<(), Closed>> {
        let mut message = Some(message.into());
        poll_fn(move |cx| {
            if message.as_ref().is_some_and(|m| self.core.offer(m)) {
                message = None;
                return Poll::Ready(Ok(()));
            }
            self.core.poll_feed(cx, &mut message)
        })
    }

    /// Waits until a message of up to `bytes` bytes finds room, and keeps that room: what is sent with the
    /// [`Permit`] is queued without waiting. For messages that are made, or taken from elsewhere, only when
    /// they can be sent.
    ///
    /// # Errors
    /// [`Closed`] when the connection ended, or is closing.
    ///
    /// # Cancel safety
    /// Safe: dropped before it is ready, nothing is reserved.
    pub async fn reserve(&mut self, bytes: usize) -> Result<Permit<'_, S>, Closed> {
        poll_fn(|cx| self.core.poll_reserve(cx, bytes)).await?;
        Ok(Permit::new(Access::own(&mut self.core), bytes))
    }

    /// Waits for the next message and hands it out as it arrives, however long it is.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::io::AsyncReadExt;
    /// # let (mut client, mut ws) = tidegate::testing::pair(tidegate::Config::default());
    /// # client.try_send(vec![7; 5000])?;
    /// # client.flush().await?;
    ///
    /// let mut message = ws.next_message().await?;
    /// let mut first = [0; 1000];
    /// message.read_exact(&mut first).await?;
    /// // Dropped here: `recv` would pass over the other 4,000 bytes.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Closed`] once the connection has ended; from then on always.
    ///
    /// # Cancel safety
    /// Safe: dropped before it is ready, the message is still the next one. What becomes of a reader that is
    /// dropped, [`MessageReader`] says.
    pub async fn next_message(&mut self) -> Result<MessageReader<'_, S>, Closed> {
        let kind = poll_fn(|cx| self.core.poll_next_message(cx)).await?;
        Ok(MessageReader::new(Access::own(&mut self.core), kind))
    }

    /// Begins a message that is sent while it is made, once the queue is below its marks.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate::tidegate_proto::MessageKind;
    /// use tokio::io::AsyncWriteExt;
    /// # let (mut ws, mut server) = tidegate::testing::pair(tidegate::Config::default());
    ///
    /// let mut message = ws.message_writer(MessageKind::Text).await?;
    /// message.write_all(b"rows: ").await?;
    /// message.write_all(b"1, 2, 3").await?;
    /// message.finish().await?;
    /// # drop(message);
    /// # assert_eq!(server.recv().await?.as_text(), Some("rows: 1, 2, 3"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Closed`] when the connection ended, or is closing.
    ///
    /// # Cancel safety
    /// Safe: dropped before it is ready, no message was begun. What becomes of a writer that is dropped,
    /// [`MessageWriter`] says.
    pub async fn message_writer(
        &mut self,
        kind: MessageKind,
    ) -> Result<MessageWriter<'_, S>, Closed> {
        poll_fn(|cx| self.core.poll_begin(cx, kind)).await?;
        Ok(MessageWriter::new(Access::own(&mut self.core), kind))
    }

    /// Waits until all that is queued was handed to the transport.
    ///
    /// # Errors
    /// [`Closed`] when the connection ended before.
    ///
    /// # Cancel safety
    /// Safe: what is queued stays queued.
    pub async fn flush(&mut self) -> Result<(), Closed> {
        let mut mark = None;
        poll_fn(|cx| self.core.poll_flush(cx, &mut mark)).await
    }

    /// Waits until the queue is no longer above its high mark
    /// ([`tidegate_proto::Limits::outbox_high`], then `outbox_low`).
    ///
    /// # Errors
    /// [`Closed`] when the connection ended.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing that a later call would miss.
    pub async fn writable(&mut self) -> Result<(), Closed> {
        poll_fn(|cx| self.core.poll_writable(cx)).await
    }

    /// Sends a ping (RFC 6455 §5.5.2), waits for its pong and tells the round trip, waiting in our queue
    /// included. A peer that never answers makes it wait until the keepalive finds the peer silent; put a
    /// timeout of your own around it where that is too long.
    ///
    /// # Errors
    /// [`PingError::Closed`] when the connection ended; [`PingError::Unread`] when so many unread messages
    /// came first that the pong could not be reached: call [`WebSocket::recv`].
    ///
    /// # Cancel safety
    /// Safe: once polled the ping is queued whole; its pong is then taken silently.
    pub async fn ping(&mut self) -> Result<Duration, PingError> {
        let mut number = None;
        poll_fn(|cx| {
            self.core
                .poll_ping(cx, &mut number)
                .map(|rtt| rtt.map_err(PingError::Closed)?.ok_or(PingError::Unread))
        })
        .await
    }

    /// Closes: what is queued goes first, then a Close with `code` and `reason` (cut to 123 bytes); then
    /// waits for the peer's Close and the end of the transport. Messages that still come are dropped; those
    /// that had come can still be received. If the connection is closing already, waits for that end.
    ///
    /// It takes at most [`tidegate_proto::Timeouts::close`] plus [`tidegate_proto::Timeouts::linger`] (6 s
    /// by default), whatever the peer does.
    ///
    /// # Cancel safety
    /// Safe: once polled the Close is queued; call it again, or [`WebSocket::recv`], to see it through.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Closed {
        self.core.start_close(code, reason);
        poll_fn(|cx| self.core.poll_finished(cx)).await
    }
}

impl<S> fmt::Debug for WebSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("open", &self.is_open())
            .field("queued", &self.queued())
            .finish_non_exhaustive()
    }
}
