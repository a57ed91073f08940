//! A client's socket that counts the octets which pass; it changes none of them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Octets of all sockets together.
#[derive(Default)]
pub(super) struct Octets {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) connections: AtomicU64,
}

/// A socket.
pub(super) struct Counted {
    tcp: TcpStream,
    octets: Arc<Octets>,
}

impl Counted {
    /// A new connection.
    pub(super) async fn connect(
        address: std::net::SocketAddr,
        octets: &Arc<Octets>,
    ) -> io::Result<Counted> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        octets.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Counted {
            tcp,
            octets: Arc::clone(octets),
        })
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        let n = buffer.filled().len() - before;
        self.octets.received.fetch_add(n as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(cx, octets);
        if let Poll::Ready(Ok(n)) = &written {
            self.octets.sent.fetch_add(*n as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
