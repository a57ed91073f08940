//! One message sent as a stream of octets; it never holds more of it than a frame.

use super::access::Access;
use super::core::WriteError;
use super::reader::broken;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tidegate_proto::MessageKind;
use tokio::io::{AsyncRead, AsyncWrite};

/// Writes shorter than this are gathered into one frame.
const GATHER: usize = 16 << 10;
/// Longest frame. What is larger keeps answers to pings waiting, and gains nothing.
const FRAME: usize = 64 << 10;

/// A message that is sent while it is made, from `message_writer`. Its length need not be known and
/// is not limited.
///
/// Short writes are gathered to frames of 16 KiB; [`tokio::io::AsyncWriteExt::flush`] sends what there is, so
/// that the peer can use it. [`MessageWriter::finish`] ends the message. Other messages wait until then; pings
/// are answered in between. When the queue is above its high mark, writing waits.
///
/// Dropped before it is finished, the message cannot be taken back: the connection is closed with 1011.
///
/// # Errors
/// A write fails when the connection has ended (the error holds the [`tidegate_proto::Closed`]), and with
/// [`io::ErrorKind::InvalidInput`] when a text turns out not to be UTF-8; a character may be cut between two
/// writes, not at the end.
///
/// # Cancel safety
/// A write that is dropped has taken nothing. `flush` and `finish` can be called again.
pub struct MessageWriter<'a, S> {
    access: Access<'a, S>,
    kind: MessageKind,
    gathered: Vec<u8>,
    /// Where the message ends in the octets written, once that is known.
    end: Option<u64>,
}

impl<'a, S> MessageWriter<'a, S> {
    pub(super) fn new(access: Access<'a, S>, kind: MessageKind) -> MessageWriter<'a, S> {
        MessageWriter {
            access,
            kind,
            gathered: Vec::new(),
            end: None,
        }
    }

    /// Text or binary.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> MessageWriter<'_, S> {
    /// Ends the message and waits until its last octet was handed to the transport. Called again, it does
    /// the latter. The same as [`tokio::io::AsyncWriteExt::shutdown`].
    ///
    /// # Errors
    /// As for writing; after a text that ends inside a character it can still be written to.
    ///
    /// # Cancel safety
    /// Safe: call it again. Without that the message is unfinished, or queued whole.
    pub async fn finish(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_finish(cx)).await
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end.is_none() {
            ready!(self.poll_gathered(cx))?;
            let end = self.access.now(|core| core.finish_writing());
            self.end = Some(end.map_err(refused)?);
        }
        let end = self.end.unwrap_or_default();
        let flushed = self.access.poll(cx, |core, cx| core.poll_mark(cx, end));
        flushed.map_err(broken)
    }

    /// Queues what was gathered.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let part = &self.gathered;
        let pushed = self
            .access
            .poll(cx, |core, cx| core.poll_write_part(cx, part));
        ready!(pushed).map_err(refused)?;
        self.gathered.clear();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MessageWriter<'_, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if this.gathered.len() + buf.len() > GATHER {
            ready!(this.poll_gathered(cx))?;
        }
        if buf.len() <= GATHER {
            this.gathered.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        let part = &buf[..buf.len().min(FRAME)];
        let pushed = this
            .access
            .poll(cx, |core, cx| core.poll_write_part(cx, part));
        ready!(pushed).map_err(refused)?;
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_gathered(cx))?;
        let flushed = this
            .access
            .poll(cx, |core, cx| core.poll_flush(cx, &mut None));
        flushed.map_err(broken)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_finish(cx)
    }
}

fn refused(error: WriteError) -> io::Error {
    match error {
        WriteError::Closed(closed) => broken(closed),
        WriteError::NotUtf8 => io::Error::new(
            io::ErrorKind::InvalidInput,
            "the text is not UTF-8: send it as binary",
        ),
    }
}

impl<S> Drop for MessageWriter<'_, S> {
    fn drop(&mut self) {
        if self.end.is_none() {
            self.access.now(super::core::Core::stop_writing);
        }
    }
}

impl<S> fmt::Debug for MessageWriter<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageWriter")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
