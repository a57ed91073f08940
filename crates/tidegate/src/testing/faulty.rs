//! A transport that misbehaves on purpose; it wraps another one and adds no octet of its own.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a [`Faulty`] transport does wrong. Default: nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Most bytes that one read or one write takes.
    pub chunk: Option<usize>,
    /// Each read, write, flush and shutdown is pending once before it is done.
    pub hesitant: bool,
    /// What was written stays here until it is flushed, as with TLS.
    pub holds_until_flush: bool,
    /// Flush never ends.
    pub stuck_flush: bool,
    /// After so many bytes were read, reading says that the peer is done.
    pub cut_after: Option<u64>,
    /// After so many bytes were written, writing and reading fail with a reset.
    pub reset_after: Option<u64>,
}

/// A transport that misbehaves as its [`Faults`] say.
pub struct Faulty<S> {
    inner: S,
    faults: Faults,
    hesitated: [bool; 4],
    held: Vec<u8>,
    read: u64,
    written: u64,
}

impl<S> Faulty<S> {
    /// Wraps `inner`.
    pub fn new(inner: S, faults: Faults) -> Faulty<S> {
        Faulty {
            inner,
            faults,
            hesitated: [false; 4],
            held: Vec::new(),
            read: 0,
            written: 0,
        }
    }

    /// True when operation `which` is to be pending this time.
    fn hesitates(&mut self, which: usize, cx: &Context<'_>) -> bool {
        if self.faults.hesitant {
            self.hesitated[which] = !self.hesitated[which];
            if self.hesitated[which] {
                cx.waker().wake_by_ref();
            }
        }
        self.hesitated[which]
    }

    fn is_reset(&self) -> bool {
        self.faults.reset_after.is_some_and(|n| self.written >= n)
    }

    fn take(&self, len: usize) -> usize {
        let left = self.faults.reset_after.map(|n| n - self.written);
        let len = len.min(self.faults.chunk.unwrap_or(usize::MAX));
        len.min(left.map_or(usize::MAX, |left| left as usize))
    }
}

impl<S: AsyncWrite + Unpin> Faulty<S> {
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            match Pin::new(&mut self.inner).poll_write(cx, &self.held)? {
                Poll::Ready(n) => drop(self.held.drain(..n)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Faulty<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_reset() {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        if this.hesitates(READ, cx) {
            return Poll::Pending;
        }
        let left = this.faults.cut_after.map_or(u64::MAX, |n| n - this.read);
        let chunk = this.faults.chunk.unwrap_or(usize::MAX);
        let most = chunk.min(buf.remaining()).min(left.min(1 << 20) as usize);
        let mut bytes = vec![0; most];
        let mut part = ReadBuf::new(&mut bytes);
        if most > 0 {
            match Pin::new(&mut this.inner).poll_read(cx, &mut part)? {
                Poll::Ready(()) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        this.read += part.filled().len() as u64;
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Faulty<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_reset() {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        if this.hesitates(WRITE, cx) {
            return Poll::Pending;
        }
        let bytes = &buf[..this.take(buf.len())];
        let n = if this.faults.holds_until_flush {
            this.held.extend_from_slice(bytes);
            bytes.len()
        } else {
            match Pin::new(&mut this.inner).poll_write(cx, bytes)? {
                Poll::Ready(n) => n,
                Poll::Pending => return Poll::Pending,
            }
        };
        this.written += n as u64;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.faults.stuck_flush || this.hesitates(FLUSH, cx) {
            return Poll::Pending;
        }
        match this.poll_release(cx)? {
            Poll::Ready(()) => Pin::new(&mut this.inner).poll_flush(cx),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.faults.stuck_flush || this.hesitates(SHUTDOWN, cx) {
            return Poll::Pending;
        }
        match this.poll_release(cx)? {
            Poll::Ready(()) => Pin::new(&mut this.inner).poll_shutdown(cx),
            Poll::Pending => Poll::Pending,
        }
    }
}

const READ: usize = 0;
const WRITE: usize = 1;
const FLUSH: usize = 2;
const SHUTDOWN: usize = 3;
