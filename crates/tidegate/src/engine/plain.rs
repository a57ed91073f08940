//! Connections that ask for ordinary HTTP, on their way to an async HTTP server; speaks no HTTP itself.

use super::session::{Decrypted, Session};
use std::io::{self, ErrorKind, IoSlice, Write};
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
    pub(super) tls: Option<Box<Session>>,
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
    session: Box<Session>,
    /// Plaintext that nobody has taken yet.
    decrypted: Vec<u8>,
    taken: usize,
}

/// Octets read, or gathered, at once; on the stack.
const PIECE: usize = 8 << 10;

impl PlainIo {
    /// `socket` must be non-blocking.
    pub(crate) fn new(
        socket: std::net::TcpStream,
        session: Option<Box<Session>>,
        replay: Vec<u8>,
    ) -> PlainIo {
        let tls = session.map(|session| {
            Box::new(TlsIo {
                session,
                decrypted: Vec::new(),
                taken: 0,
            })
        });
        PlainIo {
            replay,
            replayed: 0,
            socket: Socket::Detached(socket),
            tls,
        }
    }

    /// The certificate that the client has shown (X.509, DER); verified, as the settings of TLS want it.
    pub fn client_certificate(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.session.client_certificate()
    }

    /// Frees the socket from its runtime, if it is tied to one.
    ///
    /// # Errors
    /// When the runtime does not let go of it; the socket is closed then.
    pub(super) fn detach(&mut self) -> io::Result<()> {
        self.socket = match std::mem::replace(&mut self.socket, Socket::Lost) {
            Socket::Attached(socket) => Socket::Detached(socket.into_std()?),
            detached @ Socket::Detached(_) => detached,
            Socket::Lost => return Err(ErrorKind::NotConnected.into()),
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
        let tls = self.tls.take().map(|tls| {
            rest.extend_from_slice(&tls.decrypted[tls.taken..]);
            tls.session
        });
        let ended = tls.as_ref().is_some_and(|tls| tls.ended());
        Some(Parts { socket, tls, ended })
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
            _ => Err(ErrorKind::NotConnected.into()),
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
            tls.session.say_goodbye();
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
            let waiting = &self.decrypted[self.taken..];
            if !waiting.is_empty() {
                let n = waiting.len().min(buf.remaining());
                buf.put_slice(&waiting[..n]);
                self.taken += n;
                return Poll::Ready(Ok(()));
            }
            (self.decrypted, self.taken) = (Vec::new(), 0);
            if self.session.ended() {
                return Poll::Ready(Ok(()));
            }
            let (mut records, mut plain) = ([0; PIECE], [0; PIECE]);
            let mut read = ReadBuf::new(&mut records);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                // Without close_notify it may be an attacker's cut (RFC 8446 §6.1).
                return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
            }
            let decrypted = &mut self.decrypted;
            let outcome = self
                .session
                .decrypt(read.filled_mut(), &mut plain, |plain| {
                    decrypted.extend_from_slice(plain);
                });
            // Answers of TLS itself, an alert or one to a key update. What does not go now goes with the next write.
            let flushed = self.poll_flush(socket, cx);
            if let Decrypted::Broken(error) = outcome {
                return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, error)));
            }
            if let Poll::Ready(Err(error)) = flushed {
                return Poll::Ready(Err(error));
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
        ready!(self.poll_flush(socket, cx))?;
        let written =
            self.session
                .write(bufs, &mut [0; PIECE], &mut Vec::new(), Sync { socket, cx })?;
        match written {
            0 => Poll::Ready(Err(ErrorKind::NotConnected.into())), // the handshake was done before
            n => Poll::Ready(Ok(n)),
        }
    }

    fn poll_flush(&mut self, socket: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.session.flush(Sync { socket, cx })? {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}

/// The async socket as the session wants it: `Pending` is `WouldBlock`, and the task is woken all the same.
struct Sync<'a, 'c> {
    socket: &'a mut TcpStream,
    cx: &'a mut Context<'c>,
}

impl Write for Sync<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.socket).poll_write(self.cx, buf) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
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
        tls.session.say_goodbye();
        let _ = match &self.socket {
            Socket::Attached(socket) => tls.session.flush(TryWrite(socket)),
            Socket::Detached(socket) => tls.session.flush(socket),
            Socket::Lost => Ok(true),
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
