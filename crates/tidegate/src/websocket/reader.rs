//! One received message as a stream of octets; it never holds more of it than one read has brought.

use super::access::Access;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tidegate_proto::{Closed, MessageKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A message that is received as it arrives, from `next_message`. Its length is not limited: take
/// what you can use, say with [`tokio::io::AsyncReadExt::take`].
///
/// Reading ends at the end of the message. Text has been checked to be UTF-8 as far as it was handed out, but
/// a read may end inside a character. While it is read the connection answers pings and writes what waits.
///
/// Dropped half-way, the rest of the message is passed over by what is called next.
///
/// # Errors
/// A read fails when the connection ends inside the message: with [`io::ErrorKind::InvalidData`] if the peer
/// broke the protocol (text that is not UTF-8, say), else with [`io::ErrorKind::UnexpectedEof`]. The error
/// holds the [`Closed`].
///
/// # Cancel safety
/// A read that is dropped has taken nothing.
pub struct MessageReader<'a, S> {
    access: Access<'a, S>,
    kind: MessageKind,
    done: bool,
}

impl<'a, S> MessageReader<'a, S> {
    pub(super) fn new(access: Access<'a, S>, kind: MessageKind) -> MessageReader<'a, S> {
        MessageReader {
            access,
            kind,
            done: false,
        }
    }

    /// Text or binary.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// It is text.
    pub fn is_text(&self) -> bool {
        self.kind == MessageKind::Text
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for MessageReader<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.done || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let more = this.access.poll(cx, |core, cx| {
            let more = ready!(core.poll_part(cx))?;
            if more {
                core.take_part(buf);
            }
            Poll::Ready(Ok(more))
        });
        match ready!(more) {
            Ok(more) => {
                this.done = !more;
                Poll::Ready(Ok(()))
            }
            Err(closed) => Poll::Ready(Err(broken(closed))),
        }
    }
}

/// The connection ended inside a message.
pub(super) fn broken(closed: Closed) -> io::Error {
    let kind = match closed.cause {
        Some(_) => io::ErrorKind::InvalidData,
        None => io::ErrorKind::UnexpectedEof,
    };
    io::Error::new(kind, closed)
}

impl<S> Drop for MessageReader<'_, S> {
    fn drop(&mut self) {
        if !self.done {
            self.access.now(super::core::Core::stop_reading);
        }
    }
}

impl<S> fmt::Debug for MessageReader<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReader")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
