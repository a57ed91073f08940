//! A request for a WebSocket on a connection that hyper serves: it is noticed and its head written down again,
//! never answered here.

use hyper::header::UPGRADE;
use hyper::{Request, Version};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tidegate_proto::HeadLimits;
use tidegate_proto::handshake::server::{Head, parse};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What one connection's service, its stream and its driver tell each other.
#[derive(Clone, Default)]
pub(super) struct Wish(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The head of the request for a WebSocket.
    head: OnceLock<Vec<u8>>,
    /// Octets were written to the stream since it was last flushed, or were refused by it.
    unflushed: AtomicBool,
}

impl Wish {
    /// Remembers `request` if it asks for a WebSocket, and says whether it does. Such a request must not be
    /// answered.
    pub(super) fn notice<B>(&self, request: &Request<B>) -> bool {
        if !request.headers().contains_key(UPGRADE) {
            return false;
        }
        let head = write_head(request);
        // The worker judges by the same rule, so it never sends such a connection here again.
        let ordinary = matches!(
            parse(&head, false, &HeadLimits::default()),
            (Head::Plain, _)
        );
        !ordinary && self.0.head.set(head).is_ok()
    }

    /// The head, once it is there and all answers before it are on their way.
    pub(super) fn granted(&self) -> Option<&[u8]> {
        if self.0.unflushed.load(Ordering::Relaxed) {
            return None;
        }
        self.0.head.get().map(Vec::as_slice)
    }

    /// Wraps the connection's stream, to know when answers are on their way.
    pub(super) fn watch<S>(&self, stream: S) -> Watched<S> {
        Watched {
            stream,
            wish: self.clone(),
        }
    }
}

/// The request's head as octets. The target and the values are the client's; names are in lower case, and
/// fields of one name stand together, as hyper keeps neither.
fn write_head<B>(request: &Request<B>) -> Vec<u8> {
    let version = match request.version() {
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    let (method, target) = (request.method(), request.uri());
    let mut head = format!("{method} {target} {version}\r\n").into_bytes();
    for (name, value) in request.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// A stream that remembers whether all that was written is flushed.
///
/// hyper flushes its stream only when its own buffer is empty, and tries to at the end of each poll.
pub(super) struct Watched<S> {
    stream: S,
    wish: Wish,
}

impl<S> Watched<S> {
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    fn written(&self) {
        self.wish.0.unflushed.store(true, Ordering::Relaxed); // all on one task
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written();
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written();
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.wish.0.unflushed.store(false, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri("/echo?a=b");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    #[test]
    fn a_head_is_written_as_the_client_meant_it() {
        let mut request = request(&[
            ("Host", "a.example"),
            ("Upgrade", "websocket"),
            ("X-Twice", "one"),
            ("Sec-WebSocket-Key", "  "),
            ("X-Twice", "two"),
        ]);
        let expected = "GET /echo?a=b HTTP/1.1\r\nhost: a.example\r\nupgrade: websocket\r\n\
            x-twice: one\r\nx-twice: two\r\nsec-websocket-key:   \r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&write_head(&request)), expected);
        *request.uri_mut() = "ws://b.example:81/c".parse().expect("a target");
        *request.version_mut() = Version::HTTP_10;
        assert!(write_head(&request).starts_with(b"GET ws://b.example:81/c HTTP/1.0\r\n"));
    }

    #[test]
    fn only_requests_for_a_websocket_are_noticed_bad_ones_too() {
        let rows: [(&[(&str, &str)], bool); 6] = [
            (&[("Host", "a")], false),
            (&[("Host", "a"), ("Upgrade", "h2c")], false),
            (&[("Host", "a"), ("Upgrade", "xwebsocket")], false),
            (&[("Host", "a"), ("Upgrade", "WebSocket")], true),
            (&[("Host", "a"), ("Upgrade", "h2c, websocket")], true),
            (&[("Upgrade", "h2c"), ("Upgrade", "websocket")], true),
        ];
        for (fields, noticed) in rows {
            let wish = Wish::default();
            assert_eq!(wish.notice(&request(fields)), noticed, "{fields:?}");
            assert_eq!(wish.granted().is_some(), noticed, "{fields:?}");
        }
    }

    #[test]
    fn a_wish_is_not_granted_before_what_was_written_is_flushed() {
        let wish = Wish::default();
        let mut stream = wish.watch(tokio::io::sink());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut stream).poll_write(&mut cx, b"200").is_ready());
        assert!(wish.notice(&request(&[("Upgrade", "websocket")])));
        assert_eq!(wish.granted(), None);
        assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_ready());
        assert!(wish.granted().is_some());
    }
}
