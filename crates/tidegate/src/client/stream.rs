//! What `connect` hands out: TCP, with TLS around it or not, or a stream of an HTTP/2 connection; it adds no
//! buffer of its own.

use crate::dial::Link;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The transport of a client's WebSocket.
#[derive(Debug)]
pub struct ClientStream(Kind);

#[derive(Debug)]
enum Kind {
    Own {
        link: Link,
        secure: bool,
    },
    #[cfg(feature = "http2")]
    Http2(Box<super::http2::Stream>),
}

impl ClientStream {
    /// `secure`: it is encrypted to the server, not only to a proxy.
    pub(crate) fn own(link: Link, secure: bool) -> ClientStream {
        ClientStream(Kind::Own { link, secure })
    }

    #[cfg(feature = "http2")]
    pub(super) fn http2(stream: super::http2::Stream) -> ClientStream {
        ClientStream(Kind::Http2(Box::new(stream)))
    }

    /// The TCP connection, for socket options; `None` for a stream of an HTTP/2 connection, which has none of
    /// its own.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match &self.0 {
            Kind::Own { link, .. } => Some(link.tcp()),
            #[cfg(feature = "http2")]
            Kind::Http2(_) => None,
        }
    }

    /// The address of the server, or of the proxy.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Kind::Own { link, .. } => link.tcp().peer_addr(),
            #[cfg(feature = "http2")]
            Kind::Http2(stream) => Ok(stream.route().peer),
        }
    }

    /// Our own address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Kind::Own { link, .. } => link.tcp().local_addr(),
            #[cfg(feature = "http2")]
            Kind::Http2(stream) => Ok(stream.route().local),
        }
    }

    /// It is encrypted, all the way to the server.
    pub fn is_secure(&self) -> bool {
        match &self.0 {
            Kind::Own { secure, .. } => *secure,
            #[cfg(feature = "http2")]
            Kind::Http2(stream) => stream.route().secure,
        }
    }

    /// It is a stream of an HTTP/2 connection (RFC 8441).
    pub fn is_http2(&self) -> bool {
        !matches!(self.0, Kind::Own { .. })
    }
}

macro_rules! on {
    ($self:expr, $io:ident => $call:expr) => {
        match &mut $self.get_mut().0 {
            Kind::Own { link, .. } => {
                let $io = Pin::new(link);
                $call
            }
            #[cfg(feature = "http2")]
            Kind::Http2(stream) => {
                let $io = Pin::new(stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on!(self, io => io.poll_read(cx, buf))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on!(self, io => io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on!(self, io => io.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Own { link, .. } => link.is_write_vectored(),
            #[cfg(feature = "http2")]
            Kind::Http2(_) => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, io => io.poll_shutdown(cx))
    }
}
