//! An octet stream to a server or a proxy: TCP, TLS over it, or TLS over that; it adds no buffer of its own.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The way to a server.
#[derive(Debug)]
pub(crate) enum Link {
    Tcp(TcpStream),
    /// The inner one is TLS itself where the proxy is spoken to in TLS.
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<Link>>),
}

impl Link {
    /// The TCP connection at the bottom.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Link::Tcp(tcp) => tcp,
            #[cfg(feature = "tls")]
            Link::Tls(tls) => tls.get_ref().0.tcp(),
        }
    }

    /// What ALPN chose.
    #[cfg(feature = "http2")]
    pub(crate) fn speaks_http2(&self) -> bool {
        match self {
            Link::Tcp(_) => false,
            #[cfg(feature = "tls")]
            Link::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Version and cipher suite, where it is TLS.
    pub(crate) fn tls_text(&self) -> Option<String> {
        match self {
            Link::Tcp(_) => None,
            #[cfg(feature = "tls")]
            Link::Tls(tls) => {
                let session = tls.get_ref().1;
                let version = session.protocol_version()?;
                let suite = session.negotiated_cipher_suite()?;
                let (version, suite) = (version.as_str()?, suite.suite());
                Some(format!("{version}, {}", suite.as_str()?))
            }
        }
    }
}

macro_rules! on {
    ($self:expr, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Link::Tcp(tcp) => {
                let $io = Pin::new(tcp);
                $call
            }
            #[cfg(feature = "tls")]
            Link::Tls(tls) => {
                let $io = Pin::new(tls.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on!(self, io => io.poll_read(cx, buf))
    }
}

impl AsyncWrite for Link {
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
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, io => io.poll_shutdown(cx))
    }
}
