//! Connections that ask for ordinary HTTP, on their way to an async HTTP server; speaks no HTTP itself.

use rustls::ServerConnection;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tidegate_proto::handshake::server::HTTP2_PREFACE;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection whose first request asks for no WebSocket. It has left its worker; whoever takes it serves
/// it, and dropping it closes the socket.
#[derive(Debug)]
pub struct PlainHttp {
    /// The connection, as if nothing had been read from it yet.
    pub io: PlainIo,
    /// What was read so far, at least the whole request head. [`PlainHttp::io`] yields it again.
    pub head: Vec<u8>,
    /// The client's address.
    pub remote: SocketAddr,
    /// The connection is TLS.
    pub secure: bool,
}

impl PlainHttp {
    /// Its first octets are those of HTTP/2 (RFC 9113 §3.4).
    pub fn is_http2(&self) -> bool {
        let length = self.head.len().min(HTTP2_PREFACE.len());
        length > 0 && self.head[..length] == HTTP2_PREFACE[..length]
    }
}

/// A connection for tokio: what was read already comes first, then the socket, through TLS where there is TLS.
///
/// It may be made anywhere, and is tied to the runtime on which it is first polled, which must have I/O
/// enabled.
pub struct PlainIo {
    replay: Vec<u8>,
    replayed: usize,
    socket: Socket,
    tls: Option<Box<TlsIo>>,
}

/// A connection that nobody drives.
pub(super) struct Parts {
    /// Non-blocking.
    pub(super) socket: std::net::TcpStream,
    pub(super) session: Option<ServerConnection>,
    /// The TLS client has said that no more will come.
    pub(super) ended: bool,
}

/// A socket before and after it is known to a runtime.
enum Socket {
    Detached(std::net::TcpStream),
    Attached(TcpStream),
    /// It could not be attached, and is closed.
    Lost,
}

/// The TLS of a connection under tokio.
struct TlsIo {
    session: ServerConnection,
    said_goodbye: bool,
}

impl PlainIo {
    /// `socket` must be non-blocking.
    pub(crate) fn new(
        socket: std::net::TcpStream,
        session: Option<ServerConnection>,
        replay: Vec<u8>,
    ) -> PlainIo {
        let tls = session.map(|session| {
            Box::new(TlsIo {
                session,
                said_goodbye: false,
            })
        });
        PlainIo {
            replay,
            replayed: 0,
            socket: Socket::Detached(socket),
            tls,
        }
    }

    /// Frees the socket from its runtime, if it is tied to one.
    ///
    /// # Errors
    /// When the runtime does not let go of it; the socket is closed then.
    pub(super) fn detach(&mut self) -> io::Result<()> {
        self.socket = match std::mem::replace(&mut self.socket, Socket::Lost) {
            Socket::Attached(socket) => Socket::Detached(socket.into_std()?),
            detached @ Socket::Detached(_) => detached,
            Socket::Lost => return Err(io::ErrorKind::NotConnected.into()),
        };
        Ok(())
    }

    /// What a detached connection is made of; `None` for any other. What it has not yielded yet is appended
    /// to `rest`.
    pub(super) fn take_apart(mut self, rest: &mut Vec<u8>) -> Option<Parts> {
        let Socket::Detached(socket) = std::mem::replace(&mut self.socket, Socket::Lost) else {
            return None;
        };
        rest.extend_from_slice(&self.replay[self.replayed..]);
        let mut session = self.tls.take().map(|tls| tls.session);
        let ended = session.as_mut().is_some_and(|tls| {
            let read = tls.reader().read_to_end(rest);
            !read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        });
        Some(Parts {
            socket,
            session,
            ended,
        })
    }

    /// The TLS session and the runtime's socket, which is attached now if it was not.
    fn parts(&mut self) -> io::Result<(&mut TcpStream, Option<&mut TlsIo>)> {
        if let Socket::Detached(_) = self.socket {
            tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
            let Socket::Detached(socket) = std::mem::replace(&mut self.socket, Socket::Lost) else {
                unreachable!("it was detached a line ago");
            };
            self.socket = Socket::Attached(TcpStream::from_std(socket)?);
        }
        match &mut self.socket {
            Socket::Attached(socket) => Ok((socket, self.tls.as_deref_mut())),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Gives back octets that were read before; false when there are none left.
    fn replay(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = &self.replay[self.replayed..];
        if rest.is_empty() {
            return false;
        }
        let n = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..n]);
        self.replayed += n;
        if self.replayed == self.replay.len() {
            self.replay = Vec::new();
            self.replayed = 0;
        }
        true
    }
}

impl AsyncRead for PlainIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.replay(buf) {
            return Poll::Ready(Ok(()));
        }
        match self.parts()? {
            (socket, None) => Pin::new(socket).poll_read(cx, buf),
            (socket, Some(tls)) => tls.poll_read(socket, cx, buf),
        }
    }
}

impl AsyncWrite for PlainIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.parts()? {
            (socket, None) => Pin::new(socket).poll_write_vectored(cx, bufs),
            (socket, Some(tls)) => tls.poll_write(socket, cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.parts()? {
            (_, None) => Poll::Ready(Ok(())),
            (socket, Some(tls)) => tls.poll_flush(socket, cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (socket, tls) = self.parts()?;
        if let Some(tls) = tls {
            if !tls.said_goodbye {
                tls.said_goodbye = true;
                tls.session.send_close_notify();
            }
            ready!(tls.poll_flush(socket, cx))?;
        }
        Pin::new(socket).poll_shutdown(cx)
    }
}

impl TlsIo {
    fn poll_read(
        &mut self,
        socket: &mut TcpStream,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.session.reader().read(buf.initialize_unfilled()) {
                Ok(n) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            match self.session.read_tls(&mut Sync { socket, cx }) {
                Ok(_) => {} // at the end of the stream too: the next turn says how clean that end was
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            if let Err(error) = self.session.process_new_packets() {
                let _ = self.poll_flush(socket, cx); // the alert, if it goes
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
            if self.session.wants_write() {
                // Answers of TLS itself, say to a key update. What does not go now goes with the next write.
                if let Poll::Ready(Err(error)) = self.poll_flush(socket, cx) {
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn poll_write(
        &mut self,
        socket: &mut TcpStream,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        loop {
            let n = self.session.writer().write_vectored(bufs)?;
            let flushed = self.poll_flush(socket, cx);
            if n > 0 {
                // Taken by the session; an error of the socket shows at the next call.
                return Poll::Ready(Ok(n));
            }
            ready!(flushed)?;
        }
    }

    fn poll_flush(&mut self, socket: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Sync { socket, cx }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The async socket as rustls wants it: `Pending` is `WouldBlock`, and the task is woken all the same.
struct Sync<'a, 'c> {
    socket: &'a mut TcpStream,
    cx: &'a mut Context<'c>,
}

impl Read for Sync<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *self.socket).poll_read(self.cx, &mut buf) {
            Poll::Ready(result) => result.map(|()| buf.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Sync<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.socket).poll_write_vectored(self.cx, bufs) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PlainIo {
    /// A TLS client is told that this is the end, if the socket takes it at once.
    fn drop(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        if tls.said_goodbye {
            return;
        }
        tls.session.send_close_notify();
        let _ = match &self.socket {
            Socket::Attached(socket) => tls.session.write_tls(&mut TryWrite(socket)).map(drop),
            Socket::Detached(socket) => tls.session.write_tls(&mut &*socket).map(drop),
            Socket::Lost => Ok(()),
        };
    }
}

/// Writes to an attached socket without a task to wake.
struct TryWrite<'a>(&'a TcpStream);

impl Write for TryWrite<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for PlainIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let to_replay = self.replay.len() - self.replayed;
        f.debug_struct("PlainIo")
            .field("tls", &self.tls.is_some())
            .field("to_replay", &to_replay)
            .finish_non_exhaustive()
    }
}
