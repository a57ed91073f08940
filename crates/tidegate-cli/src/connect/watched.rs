//! A transport that shows the inspector what passes; it changes nothing and holds nothing back.

use super::inspect::{From, Inspector};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Draws lines.
pub(crate) type Say = Box<dyn FnMut(String) + Send>;

/// A transport, and who looks at it.
pub(crate) struct Watched<S> {
    io: S,
    eye: Option<SharedEye>,
}

/// Who looks, also from elsewhere.
pub(crate) type SharedEye = Arc<Mutex<Eye>>;

/// Who looks.
pub(crate) struct Eye {
    inspector: Inspector,
    say: Say,
}

impl Eye {
    /// Frames are drawn with `say`.
    pub(crate) fn new(say: Say) -> SharedEye {
        Arc::new(Mutex::new(Eye {
            inspector: Inspector::default(),
            say,
        }))
    }

    /// Looks at octets.
    pub(crate) fn look(&mut self, from: From, octets: &[u8]) {
        self.inspector.look(from, octets, &mut self.say);
    }
}

impl<S> Watched<S> {
    /// `eye` looks at all that passes.
    pub(crate) fn new(io: S, eye: Option<SharedEye>) -> Watched<S> {
        Watched { io, eye }
    }

    fn look(&self, from: From, octets: &[u8]) {
        if let Some(eye) = &self.eye {
            let mut eye = eye.lock().unwrap_or_else(PoisonError::into_inner);
            eye.look(from, octets);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.look(From::Server, &buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.look(From::Us, &buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
        let mut left = n;
        for slice in slices {
            let taken = slice.len().min(left);
            self.look(From::Us, &slice[..taken]);
            left -= taken;
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
