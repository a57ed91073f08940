//! The `Stream` and `Sink` faces of a WebSocket; they add no buffer and no behaviour of their own.

use super::WebSocket;
use crate::message::Message;
use futures_core::Stream;
use futures_core::stream::FusedStream;
use futures_sink::Sink;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tidegate_proto::{CloseCode, Closed};
use tokio::io::{AsyncRead, AsyncWrite};

/// The messages. After a clean close the stream ends; after any other end it yields that [`Closed`] once
/// and ends then. [`WebSocket::closed`] tells both apart.
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = Result<Message, Closed>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().core.poll_stream(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FusedStream for WebSocket<S> {
    fn is_terminated(&self) -> bool {
        self.core.told
    }
}

/// Messages to send. Ready means that the queue is below its marks; `close` closes with 1000.
impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for WebSocket<S> {
    type Error = Closed;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.get_mut().core.poll_writable(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Closed> {
        self.get_mut().core.park(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.get_mut().core.poll_flush(cx, &mut None)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let core = &mut self.get_mut().core;
        core.start_close(CloseCode::NORMAL, "");
        let closed = ready!(core.poll_finished(cx));
        Poll::Ready(if closed.clean { Ok(()) } else { Err(closed) })
    }
}
