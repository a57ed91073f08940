//! One HTTP/2 connection (TLS with ALPN, or prior knowledge): its ordinary requests are the site's to answer, and
//! each extended CONNECT (RFC 8441) is a bridged peer of a worker. It decides nothing about WebSockets itself.
//! A client that gives up streams again and again (rapid reset) is sent GOAWAY and closed.

use super::answer::{self, Answer};
use super::connection::{LAST_ANSWER, MAX_HEAD, answer as answer_page};
use super::given_up::GivenUp;
use super::site::Site;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tidegate::engine::{Bridge, Bridged, PlainHttp, PlainIo};
use tidegate_proto::handshake::Refusal;
use tidegate_proto::handshake::connect::{PROTOCOL, Target, Translated, to_http1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink, split};
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tracing::debug;

/// Serves one connection until its client leaves, or it has been without a WebSocket for long.
pub(super) async fn serve(
    plain: PlainHttp,
    site: Arc<Site>,
    bridge: Bridge,
    mut stopped: watch::Receiver<bool>,
) {
    let alive = Arc::new(());
    let open = Arc::downgrade(&alive);
    let given_up = Arc::new(GivenUp::default());
    let client = Client {
        remote: plain.remote,
        secure: plain.secure,
        site,
        bridge,
        alive,
        given_up: Arc::clone(&given_up),
    };
    let client = Arc::new(client);
    let service = service_fn(move |request| {
        let client = Arc::clone(&client);
        async move {
            // Dropped before there is an answer: the client has reset the stream.
            let stream = client.given_up.unless_kept();
            let answer = client.answer(request).await;
            stream.keep();
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = pin!(builder().serve_connection(TokioIo::new(plain.io), service));
    let end = tokio::select! {
        result = connection.as_mut() => End::Over(result),
        _ = stopped.wait_for(|stop| *stop) => End::Wanted,
        () = idle(&open) => End::Wanted,
        () = given_up.too_often() => End::Deserved,
    };
    let ended = match end {
        End::Over(ended) => ended,
        End::Wanted => {
            // Streams that are open go on: the workers end their WebSockets.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        End::Deserved => {
            debug!(remote = %plain.remote, "too many streams were reset; HTTP/2 connection closed");
            connection.as_mut().graceful_shutdown();
            // GOAWAY goes out; what is still open goes with the connection.
            timeout(GOODBYE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "HTTP/2 connection ended");
    }
}

/// Why a connection ends.
enum End {
    Over(hyper::Result<()>),
    /// The server stops, or nothing is open any more.
    Wanted,
    /// Its client resets too many streams.
    Deserved,
}

/// Tells a client that spoke HTTP/2 unasked that this listener has HTTP/1.1 only (RFC 9113 §7, HTTP_1_1_REQUIRED), and
/// closes.
pub(crate) async fn refuse(mut io: PlainIo) {
    let told = async {
        io.write_all(&ONLY_HTTP1).await?;
        io.shutdown().await?;
        // What it has sent meanwhile is read, lest a reset overtakes the answer.
        copy(&mut io.take(MAX_HEAD as u64), &mut sink()).await
    };
    let _ = timeout(LAST_ANSWER, told).await; // a client that does not take it has gone
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
        .max_header_list_size(MAX_HEAD as u32)
        .max_local_error_reset_streams(MAX_STREAMS as usize)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_WITHIN);
    builder
}

/// Waits until no WebSocket was open at two looks in a row.
async fn idle(open: &Weak<()>) {
    let mut looks = interval(IDLE);
    looks.tick().await; // the first is at once
    let mut empty = 0;
    while empty < 2 {
        looks.tick().await;
        // The connection itself holds one.
        empty = if open.strong_count() > 1 {
            0
        } else {
            empty + 1
        };
    }
}

/// Who is at the other end of a connection, and what there is for them.
struct Client {
    remote: SocketAddr,
    secure: bool,
    site: Arc<Site>,
    bridge: Bridge,
    /// One reference for each WebSocket.
    alive: Arc<()>,
    given_up: Arc<GivenUp>,
}

impl Client {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let protocol = request.extensions().get::<Protocol>();
        match protocol.map(|name| name.as_str() == PROTOCOL) {
            Some(true) => self.open(request).await.unwrap_or_else(|refusal| {
                let (translated, body) = Translated::of_refusal(&refusal);
                response(&translated, body)
            }),
            Some(false) => answer::line(StatusCode::NOT_IMPLEMENTED, "only websocket is spoken"),
            None if *request.method() == Method::CONNECT => {
                answer::line(StatusCode::METHOD_NOT_ALLOWED, "this is no proxy")
            }
            None => answer_page(&self.site, with_host(request)).await,
        }
    }

    /// Lets a worker judge the request; where it accepts, octets pass to and fro from now on.
    async fn open(&self, mut request: Request<Incoming>) -> Result<Answer, Refusal> {
        let head = {
            let missing = || Refusal::new(400, "scheme, authority and path must be given");
            let uri = request.uri();
            let target = Target {
                scheme: uri.scheme_str().ok_or_else(missing)?,
                authority: uri.authority().ok_or_else(missing)?.as_str(),
                path: uri.path_and_query().ok_or_else(missing)?.as_str(),
            };
            let fields = request.headers().iter();
            to_http1(
                &target,
                fields.map(|(name, value)| (name.as_str(), value.as_bytes())),
            )?
        };
        let busy = || Refusal::new(503, "no room for a WebSocket now; try again later");
        let bridged = self.bridge.open(self.remote, self.secure, head);
        let mut io = bridged.map_err(|_| busy())?;
        let failed = |_| Refusal::new(500, "the server could not answer this handshake");
        let answering = timeout(HEAD_TIMEOUT, read_answer(&mut io));
        let (answer, rest) = answering.await.map_err(|_| busy())?.map_err(failed)?;
        if !answer.is_open() {
            let body = timeout(LAST_ANSWER, read_rest(io, rest)).await;
            return Ok(response(&answer, body.unwrap_or_default()));
        }
        let (upgrading, alive) = (hyper::upgrade::on(&mut request), Arc::clone(&self.alive));
        let given_up = Arc::clone(&self.given_up);
        tokio::spawn(async move {
            let _alive = alive;
            let stream = given_up.unless_kept();
            // A client that goes before it has read the answer is a connection that was lost.
            if let Ok(upgraded) = upgrading.await {
                match relay(TokioIo::new(upgraded), io, rest).await {
                    LeftFirst::Worker => stream.keep(),
                    LeftFirst::Client => {}
                }
            }
        });
        debug!(remote = %self.remote, "a WebSocket over HTTP/2");
        Ok(response(&answer, Vec::new()))
    }
}

/// The worker's answer, and what came behind its head.
async fn read_answer(io: &mut Bridged) -> io::Result<(Translated, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(1 << 9);
    loop {
        if io.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(answer) = Translated::read(&bytes).map_err(io::Error::other)? {
            let rest = bytes.split_off(answer.head_length);
            return Ok((answer, rest));
        }
    }
}

/// The body of a refusal.
async fn read_rest(mut io: Bridged, mut body: Vec<u8>) -> Vec<u8> {
    // It is a worker's, and short; what cannot be read is not sent.
    let _ = io.read_to_end(&mut body).await;
    body
}

/// Who ended a WebSocket. In a closing handshake that is the server's part (RFC 6455 §7.1.1).
enum LeftFirst {
    Client,
    Worker,
}

/// Octets both ways until the worker lets go, or the client's stream is reset.
async fn relay<S: AsyncRead + AsyncWrite>(client: S, worker: Bridged, early: Vec<u8>) -> LeftFirst {
    let (mut from_client, mut to_client) = split(client);
    let (mut from_worker, mut to_worker) = split(worker);
    let mut up = pin!(async {
        copy(&mut from_client, &mut to_worker).await?;
        to_worker.shutdown().await
    });
    let mut down = pin!(async {
        to_client.write_all(&early).await?;
        copy(&mut from_worker, &mut to_client).await?;
        to_client.shutdown().await
    });
    // How it ended is for the ends to say: both see what became of the other.
    tokio::select! {
        // What has come is passed on before anybody is said to have left.
        biased;
        // The worker waits no longer than this for a client's end either.
        _ = down.as_mut() => {
            drop(timeout(LAST_ANSWER, up).await);
            LeftFirst::Worker
        }
        ended = up.as_mut() => match ended {
            Ok(()) => {
                drop(down.await);
                LeftFirst::Client
            }
            // The worker has let go: what it said last is still to be passed on.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                drop(timeout(LAST_ANSWER, down).await);
                LeftFirst::Worker
            }
            Err(_) => LeftFirst::Client,
        },
    }
}

fn response(answer: &Translated, body: Vec<u8>) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
    for (name, value) in answer.fields() {
        let field = (HeaderName::try_from(name), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = field {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// A request as the site knows them: it names the host in a field.
fn with_host(mut request: Request<Incoming>) -> Request<Incoming> {
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let host = authority.and_then(|authority| HeaderValue::from_str(authority).ok());
    if let (Some(host), false) = (host, request.headers().contains_key(header::HOST)) {
        request.headers_mut().insert(header::HOST, host);
    }
    request
}

/// Requests and WebSockets at once on one connection; more wait.
const MAX_STREAMS: u32 = 100;
/// Octets that a client may send ahead on one stream; no stream can stall the others by not being read.
const STREAM_WINDOW: u32 = 256 << 10;
const PING_AFTER: Duration = Duration::from_secs(25);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// Twice this without a WebSocket, and the connection is closed in order.
const IDLE: Duration = Duration::from_secs(60);
/// How long a worker may take to answer a handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long GOAWAY may take to a client that misbehaves.
const GOODBYE: Duration = Duration::from_secs(1);
/// An empty SETTINGS, with which a server begins, and a GOAWAY of HTTP_1_1_REQUIRED (0xd) before the first stream.
const ONLY_HTTP1: [u8; 26] = [
    0, 0, 0, 4, 0, 0, 0, 0, 0, // SETTINGS
    0, 0, 8, 7, 0, 0, 0, 0, 0, // GOAWAY
    0, 0, 0, 0, 0, 0, 0, 0xD,
];
