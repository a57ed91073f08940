//! The client's handshake over HTTP/2 (RFC 8441): one stream of a connection becomes the WebSocket. hyper speaks
//! HTTP/2; here is when to use it, and what is remembered of servers.

use super::Client;
use super::error::{ConnectError, Refused, Stage};
use super::http1::{BODY_TIME, MAX_BODY};
use super::open::{Established, HttpVersion, Opened};
use super::settings::{Verdicts, Watched};
use super::stream::ClientStream;
use super::url::Target;
#[cfg(feature = "tls")]
use crate::dial::tls::Alpn;
use crate::dial::{Deadline, Dialed, Link, Place, Timings, failed};
use bytes::Bytes;
use http::{Method, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tidegate_proto::handshake::ClientHandshake;
use tidegate_proto::handshake::client::{Answer, HandshakeError};
use tidegate_proto::handshake::connect::{ConnectHandshake, PROTOCOL};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

/// Which HTTP to ask for a WebSocket with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Http {
    /// For `wss://` both are offered and the server chooses (ALPN). One that chooses HTTP/2 and then does not
    /// take WebSockets over it is asked again over HTTP/1.1, and from then on only so. `ws://` is HTTP/1.1.
    #[default]
    Either,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only: by ALPN for `wss://`, by prior knowledge for `ws://`.
    Http2,
}

/// What is known of servers, shared by the clones of a [`Client`].
#[derive(Default)]
pub(super) struct Origins {
    share: bool,
    known: Mutex<HashMap<Origin, Known>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

enum Known {
    /// It speaks HTTP/2 and takes no WebSockets over it.
    Http1Only,
    /// There is a connection with room, maybe.
    Open(Shared),
}

/// Most servers remembered; when there are more, all are forgotten.
const MAX_KNOWN: usize = 1 << 10;
/// Most WebSockets on one connection. Each may hold back [`STREAM_WINDOW`] unread without stalling the others.
const MAX_STREAMS: usize = 64;
/// Octets that a server may send ahead on one stream.
const STREAM_WINDOW: u32 = 512 << 10;
/// Silence after which the connection is checked by an HTTP/2 ping, and how long that may take.
const PING_AFTER: Duration = Duration::from_secs(25);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// Largest answer's fields.
const MAX_FIELDS: u32 = 16 << 10;

/// An HTTP/2 connection.
#[derive(Clone)]
struct Shared {
    sender: SendRequest<Empty<Bytes>>,
    route: Arc<Route>,
    max_streams: usize,
}

/// Which way an HTTP/2 connection takes; each of its streams has a reference.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) secure: bool,
    proxy: Option<String>,
    tls: Option<String>,
}

impl Shared {
    /// Another stream can be opened.
    fn has_room(&self) -> bool {
        // One reference is ours.
        !self.sender.is_closed() && Arc::strong_count(&self.route) <= self.max_streams
    }
}

impl Origins {
    pub(super) fn new(share: bool) -> Origins {
        Origins {
            share,
            ..Origins::default()
        }
    }

    /// The same rule for sharing, and nothing known.
    pub(super) fn renewed(&self) -> Origins {
        Origins::new(self.share)
    }

    fn is_http1_only(&self, origin: &Origin) -> bool {
        matches!(self.lock().get(origin), Some(Known::Http1Only))
    }

    fn open(&self, origin: &Origin) -> Option<Shared> {
        match self.lock().get(origin) {
            Some(Known::Open(shared)) if shared.has_room() => Some(shared.clone()),
            _ => None,
        }
    }

    fn learn(&self, origin: &Origin, known: Known) {
        let mut all = self.lock();
        if all.len() >= MAX_KNOWN && !all.contains_key(origin) {
            all.clear();
        }
        all.insert(origin.clone(), known);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Origin, Known>> {
        // No code of ours panics under the lock; were it to, the map would still be a map.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream of an HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Stream {
    io: TokioIo<Upgraded>,
    route: Arc<Route>,
}

impl Stream {
    pub(super) fn route(&self) -> &Route {
        &self.route
    }
}

impl Client {
    /// Opens a WebSocket over the HTTP that the settings, the server and what is known of it lead to.
    pub(super) async fn reach_either(
        &self,
        target: &Target,
        handshake: ClientHandshake,
        deadline: &Deadline,
    ) -> Result<Opened<ClientStream>, ConnectError> {
        let origin = Origin {
            secure: target.secure,
            host: target.host.to_ascii_lowercase(),
            port: target.port,
        };
        let http1 = match self.http {
            Http::Http1 => true,
            Http::Http2 => false,
            Http::Either => !target.secure || self.origins.is_http1_only(&origin),
        };
        if http1 {
            return self.reach_http1(target, handshake, deadline).await;
        }
        if let Some(shared) = self.origins.open(&origin) {
            match self.ask(shared, target, Timings::default(), deadline).await {
                // The connection ended just now: another one may do.
                Err(ConnectError::Io { .. }) => {}
                answered => return answered,
            }
        }
        let mut dialed = self.dial_http2(target, deadline).await?;
        let spoken = !target.secure || dialed.link.speaks_http2();
        match (spoken, self.http) {
            (true, _) => {}
            (false, Http::Http2) => return Err(ConnectError::Http2Unsupported),
            (false, _) => {
                let upgrading = self.upgrade_dialed(dialed, target.secure, handshake, deadline);
                return upgrading.await;
            }
        }
        // Ours until the answer; another connection, where that is needed, waits for its own turn.
        let turn = dialed.turn.take();
        let (timings, started) = start(dialed, target.secure, deadline).await?;
        match started {
            Some(shared) => {
                if self.origins.share {
                    self.origins.learn(&origin, Known::Open(shared.clone()));
                }
                let answered = self.ask(shared, target, timings, deadline).await;
                drop(turn);
                match answered {
                    // It said that it takes WebSockets and then reset the stream.
                    Err(ConnectError::Io { .. }) if self.http == Http::Either => {
                        self.origins.learn(&origin, Known::Http1Only);
                        self.reach_http1(target, handshake, deadline).await
                    }
                    answered => answered,
                }
            }
            None if self.http == Http::Http2 => Err(ConnectError::Http2Unsupported),
            None => {
                drop(turn);
                self.origins.learn(&origin, Known::Http1Only);
                self.reach_http1(target, handshake, deadline).await
            }
        }
    }

    async fn dial_http2(
        &self,
        target: &Target,
        deadline: &Deadline,
    ) -> Result<Dialed, ConnectError> {
        let place = Place {
            host: &target.host,
            port: target.port,
            secure: target.secure,
            #[cfg(feature = "tls")]
            alpn: match self.http {
                Http::Http2 => Alpn::Http2,
                Http::Http1 | Http::Either => Alpn::Both,
            },
        };
        self.dialer.dial(place, &self.head, deadline).await
    }

    /// Asks for a WebSocket on a connection that takes them.
    async fn ask(
        &self,
        shared: Shared,
        target: &Target,
        timings: Timings,
        deadline: &Deadline,
    ) -> Result<Opened<ClientStream>, ConnectError> {
        let begin = Instant::now();
        let handshake = self.with_request(target, ConnectHandshake::new)?;
        let (request, sent) = request(target, &handshake)?;
        let Shared {
            mut sender, route, ..
        } = shared;
        let answering = async {
            sender.ready().await.map_err(broken)?;
            sender.send_request(request).await.map_err(broken)
        };
        let response = deadline.within(Stage::Http, answering).await??;
        let status = response.status().as_u16();
        let fields = response.headers().iter();
        let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let accepted = match handshake.judge(status, fields)? {
            Answer::Accepted(accepted) => accepted,
            Answer::Refused(refused) => {
                let until = deadline.of(Stage::Http).min(Instant::now() + BODY_TIME);
                let body = read_body(response, until).await;
                let refused = Refused::new(sent, refused, body);
                return Err(ConnectError::Refused(Box::new(refused)));
            }
            Answer::Incomplete => return Err(HandshakeError::NotHttp.into()),
        };
        let upgraded = deadline.within(Stage::Http, hyper::upgrade::on(response));
        let upgraded = upgraded.await?.map_err(broken)?;
        let stream = Stream {
            io: TokioIo::new(upgraded),
            route: route.clone(),
        };
        let io = ClientStream::http2(stream);
        let mut opened = self.opened(io, Vec::new(), HttpVersion::Http2, sent, accepted, begin)?;
        let http = opened.established.timings.http.map(|asked| {
            asked + timings.http.unwrap_or_default() // the wait for SETTINGS
        });
        opened.established = Established {
            remote: Some(route.peer),
            proxy: route.proxy.clone(),
            tls: route.tls.clone(),
            timings: Timings { http, ..timings },
            ..opened.established
        };
        Ok(opened)
    }
}

/// Opens HTTP/2 over a link and waits for the server's SETTINGS; `None` when they do not allow WebSockets.
async fn start(
    dialed: Dialed,
    secure: bool,
    deadline: &Deadline,
) -> Result<(Timings, Option<Shared>), ConnectError> {
    let Dialed {
        link,
        proxy,
        mut timings,
        turn: _,
    } = dialed;
    let begin = Instant::now();
    let failed = failed(Stage::Http);
    let route = Route {
        peer: link.tcp().peer_addr().map_err(&failed)?,
        local: link.tcp().local_addr().map_err(&failed)?,
        secure,
        proxy,
        tls: link.tls_text(),
    };
    let (io, verdicts) = Watched::new(link);
    let opening = async {
        let (sender, mut connection) = builder()
            .handshake(TokioIo::new(io))
            .await
            .map_err(broken)?;
        let enabled = settings(&mut connection, &verdicts).await?;
        Ok::<_, ConnectError>((sender, connection, enabled))
    };
    let (sender, connection, enabled) = deadline.within(Stage::Http, opening).await??;
    timings.http = Some(begin.elapsed());
    if !enabled {
        return Ok((timings, None));
    }
    let max_streams = connection.current_max_send_streams().min(MAX_STREAMS);
    // It ends with its last stream; how it ends shows in the streams.
    tokio::spawn(async move { drop(connection.await) });
    let shared = Shared {
        sender,
        route: Arc::new(route),
        max_streams,
    };
    Ok((timings, Some(shared)))
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * MAX_STREAMS as u32)
        .max_header_list_size(MAX_FIELDS)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_WITHIN);
    builder
}

type Driven = Connection<TokioIo<Watched<Link>>, Empty<Bytes>, TokioExecutor>;

/// Drives the connection until the server's SETTINGS have come; whether they allow WebSockets.
async fn settings(connection: &mut Driven, verdicts: &Verdicts) -> Result<bool, ConnectError> {
    tokio::select! {
        enabled = verdicts.enabled() => if !enabled {
            return Ok(false);
        },
        ended = &mut *connection => return Err(over(ended)),
    }
    // They were read just now; h2 may still be at taking them in, on a task of its own.
    //= rfc8441#3  a client may use extended CONNECT once it has received the parameter with the value 1.
    while !connection.is_extended_connect_protocol_enabled() {
        tokio::select! {
            biased;
            ended = &mut *connection => return Err(over(ended)),
            () = tokio::task::yield_now() => {}
        }
    }
    Ok(true)
}

fn over(ended: hyper::Result<()>) -> ConnectError {
    match ended {
        Ok(()) => failed(Stage::Http)(io::ErrorKind::UnexpectedEof.into()),
        Err(error) => broken(error),
    }
}

/// The request, and what is told of it.
fn request(
    target: &Target,
    handshake: &ConnectHandshake,
) -> Result<(Request<Empty<Bytes>>, Vec<u8>), ConnectError> {
    let scheme = if target.secure { "https" } else { "http" };
    let bad = |_| ConnectError::Request(tidegate_proto::handshake::client::RequestError::Target);
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(&*target.authority)
        .path_and_query(&*target.path)
        .build()
        .map_err(bad)?;
    let mut told = format!(
        ":method: CONNECT\r\n:protocol: {PROTOCOL}\r\n:scheme: {scheme}\r\n:authority: {}\r\n:path: {}\r\n",
        target.authority, target.path
    );
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri(uri)
        .extension(Protocol::from_static(PROTOCOL));
    for (name, value) in handshake.fields() {
        request = request.header(name, value);
        let _ = write!(told, "{name}: {value}\r\n"); // a String takes everything
    }
    told.push_str("\r\n");
    let request = request.body(Empty::new()).map_err(bad)?;
    Ok((request, told.into_bytes()))
}

/// The body of a refusal as far as it comes soon and is short.
async fn read_body(response: Response<Incoming>, until: Instant) -> Vec<u8> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            if bytes.len() >= MAX_BODY {
                return;
            }
        }
    };
    let _ = timeout_at(until, read).await; // what came until then is what there is
    bytes.truncate(MAX_BODY);
    bytes
}

fn broken(error: hyper::Error) -> ConnectError {
    ConnectError::Io {
        stage: Stage::Http,
        source: io::Error::other(error),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
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

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Proxy;

    fn origin(port: u16) -> Origin {
        Origin {
            secure: true,
            host: "a".to_owned(),
            port,
        }
    }

    #[test]
    fn what_is_learnt_is_shared_by_clones_until_the_way_changes() {
        let client = Client::new().share_http2(true);
        let clone = client.clone().timeout(Duration::from_secs(1));
        client.origins.learn(&origin(1), Known::Http1Only);
        assert!(clone.origins.is_http1_only(&origin(1)));
        assert!(!clone.origins.is_http1_only(&origin(2)));
        let other_way = clone.proxy(Proxy::none());
        assert!(!other_way.origins.is_http1_only(&origin(1)));
        assert!(other_way.origins.share, "the rule stays");
    }

    #[test]
    fn memory_of_servers_is_bounded() {
        let origins = Origins::new(false);
        for port in 0..=u16::MAX {
            origins.learn(&origin(port), Known::Http1Only);
            assert!(origins.lock().len() <= MAX_KNOWN);
        }
        assert!(origins.is_http1_only(&origin(u16::MAX)));
    }
}
