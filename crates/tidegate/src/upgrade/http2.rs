//! WebSockets of one connection, whichever HTTP it speaks: an upgrade over HTTP/1.1, or any number of extended
//! CONNECTs over HTTP/2 (RFC 8441), told apart by the first octets. It answers nothing else but refusals.

use super::{UpgradedIo, refused};
use crate::WebSocket;
use crate::server::{AcceptError, Acceptor, Agreed, agree, not_a_websocket};
use bytes::Bytes;
use http::{Request as HttpRequest, Response};
use http_body_util::Full;
use hyper::body::Incoming as Body;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tidegate_proto::Request;
use tidegate_proto::handshake::Refusal;
use tidegate_proto::handshake::server::HTTP2_PREFACE;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

/// Most WebSockets on one connection; more wait for their turn.
const MAX_STREAMS: u32 = 100;
/// Octets that a client may send ahead on one stream; no stream can stall the others by not being read.
const STREAM_WINDOW: u32 = 256 << 10;
/// Silence after which the connection is checked by an HTTP/2 ping, and how long that may take.
const PING_AFTER: Duration = Duration::from_secs(25);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// A connection without a WebSocket for so long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// WebSockets that are open and that nobody has taken yet.
const MAX_WAITING: usize = 16;

type Verdict = Arc<dyn Fn(&Request) -> Result<(), Refusal> + Send + Sync>;
type Accepted<S> = Result<WebSocket<ServerStream<S>>, AcceptError>;

impl Acceptor {
    /// The WebSockets of one connection: one over HTTP/1.1, any number over HTTP/2. With TLS, offer both by ALPN
    /// ([`crate::tls::with_http2`]); without, a client that knows begins with HTTP/2 at once.
    ///
    /// ```no_run
    /// # async fn serve() -> std::io::Result<()> {
    /// use tidegate::Acceptor;
    ///
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:9001").await?;
    /// loop {
    ///     let (io, _peer) = listener.accept().await?;
    ///     let mut incoming = Acceptor::new().incoming(io);
    ///     tokio::spawn(async move {
    ///         while let Some(accepted) = incoming.next().await {
    ///             // One that came to nothing; over HTTP/2 others may follow it.
    ///             let Ok(mut ws) = accepted else { continue };
    ///             tokio::spawn(async move {
    ///                 while let Ok(message) = ws.recv().await {
    ///                     if ws.send(message).await.is_err() {
    ///                         break;
    ///                     }
    ///                 }
    ///             });
    ///         }
    ///     });
    /// }
    /// # }
    /// ```
    pub fn incoming<S>(&self, io: S) -> Incoming<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.incoming_if(io, |_| Ok(()))
    }

    /// As [`Acceptor::incoming`], and `verdict` has the last word on each request: its path, its token.
    pub fn incoming_if<S>(
        &self,
        io: S,
        verdict: impl Fn(&Request) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Incoming<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Incoming(State::Fresh {
            io,
            acceptor: self.clone(),
            verdict: Arc::new(verdict),
        })
    }
}

/// The WebSockets of one connection. Dropped, it takes no more of them; those that are open go on.
pub struct Incoming<S>(State<S>);

enum State<S> {
    Fresh {
        io: S,
        acceptor: Acceptor,
        verdict: Verdict,
    },
    Http2(mpsc::Receiver<Accepted<S>>),
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Incoming<S> {
    /// The next WebSocket; `None` when the connection will bring no more. An error concerns one request over
    /// HTTP/2, the whole connection over HTTP/1.1: ask on, whichever it is.
    ///
    /// HTTP/2 is driven by a task of tokio's, one for each connection.
    ///
    /// # Cancel safety
    /// Not to be resumed before the first WebSocket has come: the transport is dropped with the future. Safe
    /// afterwards.
    pub async fn next(&mut self) -> Option<Accepted<S>> {
        if let State::Fresh { .. } = self.0 {
            let State::Fresh {
                io,
                acceptor,
                verdict,
            } = std::mem::replace(&mut self.0, State::Over)
            else {
                unreachable!("it was fresh");
            };
            match sort(io, &acceptor).await {
                Err(error) => return Some(Err(error)),
                Ok((io, false)) => return Some(accept_one(io, &acceptor, &verdict).await),
                Ok((io, true)) => self.0 = State::Http2(serve(io, acceptor, verdict)),
            }
        }
        match &mut self.0 {
            State::Http2(accepted) => accepted.recv().await,
            State::Fresh { .. } | State::Over => None,
        }
    }
}

impl<S> fmt::Debug for Incoming<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

/// Reads until it is clear whether HTTP/2 is spoken; what was read comes again.
async fn sort<S: AsyncRead + Unpin>(
    mut io: S,
    acceptor: &Acceptor,
) -> Result<(Rewound<S>, bool), AcceptError> {
    let mut head = Vec::with_capacity(1 << 10);
    let reading = async {
        //= rfc9113#3.4  the connection preface is what tells HTTP/2 apart.
        while head.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&head) {
            if io.read_buf(&mut head).await? == 0 {
                return Err(AcceptError::Closed);
            }
        }
        Ok(())
    };
    let read = timeout(acceptor.head.timeout, reading).await;
    read.map_err(|_| AcceptError::Timeout)??;
    let is_http2 = head.starts_with(HTTP2_PREFACE);
    Ok((Rewound { io, head, at: 0 }, is_http2))
}

async fn accept_one<S: AsyncRead + AsyncWrite + Unpin>(
    io: Rewound<S>,
    acceptor: &Acceptor,
    verdict: &Verdict,
) -> Accepted<S> {
    let opening = acceptor.receive(ServerStream(Kind::Http1(io))).await?;
    match verdict(opening.request()) {
        Ok(()) => opening.accept().await,
        Err(refusal) => {
            opening.reject(&refusal).await;
            Err(AcceptError::Refused(refusal))
        }
    }
}

/// Serves a connection on a task of its own; the WebSockets come out at the other end.
fn serve<S>(io: Rewound<S>, acceptor: Acceptor, verdict: Verdict) -> mpsc::Receiver<Accepted<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    let alive = Arc::new(());
    let (weak, opened) = (Arc::downgrade(&alive), sender.clone());
    let service = service_fn(move |request| {
        let answer = answer(request, &acceptor, &verdict, &opened, &alive);
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = builder().serve_connection(TokioIo::new(io), service);
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        let mut idle = Idle {
            last: 0,
            ticks: interval(IDLE),
        };
        tokio::select! {
            // How it ended shows in the streams.
            _ = connection.as_mut() => return,
            () = sender.closed() => {}
            () = idle.over(|| weak.strong_count()) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    });
    receiver
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * MAX_STREAMS)
        .max_send_buf_size(STREAM_WINDOW as usize)
        .max_header_list_size(16 << 10)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_WITHIN);
    builder
}

/// Judges one request; a WebSocket follows once the answer is written.
fn answer<S>(
    mut request: HttpRequest<Body>,
    acceptor: &Acceptor,
    verdict: &Verdict,
    opened: &mpsc::Sender<Accepted<S>>,
    alive: &Arc<()>,
) -> Response<Full<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let is_connect = request.extensions().get::<hyper::ext::Protocol>().is_some();
    let judged = match is_connect {
        true => acceptor.upgrade(&mut request),
        false => Err(not_a_websocket()),
    };
    let judged = judged.and_then(|upgrade| {
        verdict(upgrade.request())?;
        let place = opened.clone().try_reserve_owned().map_err(|_| busy())?;
        Ok((upgrade, place))
    });
    let (upgrade, place) = match judged {
        Ok(judged) => judged,
        Err(refusal) => return refused(&over_http2(refusal)),
    };
    let agreed = agree(&upgrade.request, &upgrade.acceptor.config);
    let mut response = Response::new(Full::default());
    upgrade.say_yes(&mut response, agreed.as_ref().map(|a| a.header.as_str()));
    let agreed = Agreed {
        subprotocol: upgrade.subprotocol,
        deflate: agreed.map(|agreed| agreed.negotiated),
    };
    let (on, acceptor, alive) = (upgrade.on, upgrade.acceptor, alive.clone());
    tokio::spawn(async move {
        let upgraded = match timeout(acceptor.head.timeout, on).await {
            Err(_) => Err(AcceptError::Timeout),
            Ok(Err(error)) => Err(AcceptError::Io(io::Error::other(error))),
            Ok(Ok(upgraded)) => Ok(UpgradedIo::new(upgraded)),
        };
        place.send(upgraded.map(|io| {
            let io = ServerStream(Kind::Http2 { io, _alive: alive });
            agreed.open(io, acceptor.config, b"", acceptor.drain.as_ref())
        }));
    });
    response
}

fn busy() -> Refusal {
    Refusal::new(503, "too many WebSockets wait to be taken; try again later")
}

/// HTTP/2 has no `Upgrade`, which a 426 must carry.
fn over_http2(mut refusal: Refusal) -> Refusal {
    if refusal.status == 426 {
        refusal.status = 400;
    }
    refusal
}

/// Finds connections on which nothing has been open for a while.
struct Idle {
    /// Looks in a row that found nothing.
    last: u32,
    ticks: tokio::time::Interval,
}

impl Idle {
    /// Waits until nothing was open for between one and two intervals. The service holds one reference itself.
    async fn over(&mut self, references: impl Fn() -> usize) {
        while self.last < 3 {
            self.ticks.tick().await;
            self.last = match references() {
                0 | 1 => self.last + 1, // the first look is at once
                _ => 1,
            };
        }
    }
}

/// The transport of a WebSocket that came over either HTTP.
pub struct ServerStream<S>(Kind<S>);

enum Kind<S> {
    Http1(Rewound<S>),
    Http2 { io: UpgradedIo, _alive: Arc<()> },
}

impl<S> ServerStream<S> {
    /// It is a stream of an HTTP/2 connection.
    pub fn is_http2(&self) -> bool {
        matches!(self.0, Kind::Http2 { .. })
    }

    /// The connection itself; `None` for a stream of an HTTP/2 connection.
    pub fn get_ref(&self) -> Option<&S> {
        match &self.0 {
            Kind::Http1(io) => Some(&io.io),
            Kind::Http2 { .. } => None,
        }
    }
}

impl<S> fmt::Debug for ServerStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerStream")
            .field("http2", &self.is_http2())
            .finish_non_exhaustive()
    }
}

/// A transport that yields again what was read from it.
struct Rewound<S> {
    io: S,
    head: Vec<u8>,
    at: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.head[self.at..];
        if rest.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..n]);
        self.at += n;
        if self.at == self.head.len() {
            (self.head, self.at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
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

macro_rules! on {
    ($self:expr, $io:ident => $call:expr) => {
        match &mut $self.get_mut().0 {
            Kind::Http1(io) => {
                let $io = Pin::new(io);
                $call
            }
            Kind::Http2 { io, .. } => {
                let $io = Pin::new(io);
                $call
            }
        }
    };
}

impl<S: AsyncRead + Unpin> AsyncRead for ServerStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on!(self, io => io.poll_read(cx, buf))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ServerStream<S> {
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
            Kind::Http1(io) => io.is_write_vectored(),
            Kind::Http2 { io, .. } => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, io => io.poll_shutdown(cx))
    }
}
