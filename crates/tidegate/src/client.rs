//! The client's side: from a URL to an open WebSocket, or to an error that names the stage that failed. It
//! follows no redirect and uses no proxy.

mod error;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod url;

pub use error::{ConnectError, Refused, Stage};
pub use stream::ClientStream;
pub use url::BadUrl;

use crate::{OsRandom, WebSocket};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::handshake::client::{Answer, ClientHandshake, ClientRequest};
use tidegate_proto::{Config, HeadLimits, Random, Role};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use url::Target;

/// Connects to a `ws://` or `wss://` URL with the defaults of [`Client`].
///
/// # Errors
/// [`ConnectError`] names the stage; a refusal carries the server's status and body.
///
/// # Cancel safety
/// Dropped, it leaves nothing behind but, maybe, a look-up that the system is still busy with.
///
/// ```no_run
/// # async fn f() -> Result<(), tidegate::ConnectError> {
/// let mut ws = tidegate::connect("ws://127.0.0.1:9001/chat").await?;
/// # let _ = ws.send("hello").await;
/// # Ok(())
/// # }
/// ```
pub async fn connect(url: &str) -> Result<WebSocket<ClientStream>, ConnectError> {
    Client::new().connect(url).await
}

/// How to connect: what to offer, what to send along, how long to wait. One value serves many connections.
///
/// ```no_run
/// # async fn f() -> Result<(), tidegate::ConnectError> {
/// use std::time::Duration;
/// use tidegate::Client;
///
/// let client = Client::new()
///     .header("Authorization", "Bearer …")
///     .subprotocols(["chat.v2", "chat.v1"])
///     .timeout(Duration::from_secs(3));
/// let ws = client.connect("ws://127.0.0.1:9001/chat").await?;
/// assert!(ws.subprotocol().is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    config: Arc<Config>,
    head: HeadLimits,
    timeout: Duration,
    headers: Vec<(String, String)>,
    origin: Option<String>,
    subprotocols: Vec<String>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Client {
    /// The defaults: [`Config::default`], 10 s for all stages together, nothing offered; with the feature
    /// `tls` the root certificates of the system.
    pub fn new() -> Client {
        Client {
            config: Arc::default(),
            head: HeadLimits::default(),
            timeout: Duration::from_secs(10),
            headers: Vec::new(),
            origin: None,
            subprotocols: Vec::new(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Limits and timeouts of the open connection.
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Client {
        self.config = config.into();
        self
    }

    /// How long all stages together may take: name, TCP, TLS, handshake. Default: 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Client {
        self.timeout = timeout;
        self
    }

    /// Limits of the answer's head. Its `timeout` is not used here: [`Client::timeout`] bounds all.
    #[must_use]
    pub fn head_limits(mut self, limits: HeadLimits) -> Client {
        self.head = limits;
        self
    }

    /// Adds a header field, say `Authorization` or `Cookie`. Those of the handshake itself are refused by
    /// [`Client::connect`].
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Client {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The `Origin` to send. Default: none, as it befits a program that is no browser.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Client {
        self.origin = Some(origin.into());
        self
    }

    /// Subprotocols to offer, the preferred one first; [`WebSocket::subprotocol`] tells which was chosen.
    #[must_use]
    pub fn subprotocols<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Client {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// TLS settings for `wss://`: own roots, client certificates. Default: the system's roots, without a
    /// client certificate. ALPN should be empty or `http/1.1`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: impl Into<Arc<rustls::ClientConfig>>) -> Client {
        self.tls = Some(config.into());
        self
    }

    /// Connects to a `ws://` or `wss://` URL. User information in it is sent as Basic authorization, unless
    /// an `Authorization` was given.
    ///
    /// # Errors
    /// [`ConnectError`] names the stage; a refusal carries the server's status and body.
    ///
    /// # Cancel safety
    /// Dropped, it leaves nothing behind but, maybe, a look-up that the system is still busy with.
    pub async fn connect(&self, url: &str) -> Result<WebSocket<ClientStream>, ConnectError> {
        let deadline = Instant::now() + self.timeout;
        let target = Target::parse(url)?;
        let handshake = self.handshake(&target)?;
        #[cfg(not(feature = "tls"))]
        if target.secure {
            return Err(ConnectError::TlsDisabled);
        }
        let tcp = open_tcp(&target, deadline).await?;
        #[cfg(feature = "tls")]
        if target.secure {
            let opening = tls::open(self.tls.clone(), &target.host, tcp);
            let io = within(deadline, Stage::Tls, opening).await??;
            return self
                .upgrade(ClientStream::tls(io), handshake, deadline)
                .await;
        }
        self.upgrade(ClientStream::plain(tcp), handshake, deadline)
            .await
    }

    /// The handshake over a transport of your own: a Unix socket, a tunnel, a pair in memory. The URL says
    /// what to ask for; nothing is looked up, and `wss` means that the transport is encrypted already.
    ///
    /// # Errors
    /// As [`Client::connect`].
    ///
    /// # Cancel safety
    /// Not to be resumed: the transport is dropped with the future.
    pub async fn connect_over<S>(&self, io: S, url: &str) -> Result<WebSocket<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = Instant::now() + self.timeout;
        let handshake = self.handshake(&Target::parse(url)?)?;
        self.upgrade(io, handshake, deadline).await
    }

    fn handshake(&self, target: &Target) -> Result<ClientHandshake, ConnectError> {
        let mut key = [0; 16];
        OsRandom::new().fill(&mut key);
        let mut headers: Vec<(&str, &str)> = Vec::with_capacity(self.headers.len() + 1);
        headers.extend(self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let own = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("authorization");
        if let (Some(value), false) = (&target.authorization, headers.iter().any(own)) {
            headers.push(("Authorization", value));
        }
        let subprotocols: Vec<&str> = self.subprotocols.iter().map(String::as_str).collect();
        Ok(ClientHandshake::new(&ClientRequest {
            origin: self.origin.as_deref(),
            subprotocols: &subprotocols,
            headers: &headers,
            ..ClientRequest::new(&target.authority, &target.path, key)
        })?)
    }

    async fn upgrade<S>(
        &self,
        mut io: S,
        handshake: ClientHandshake,
        deadline: Instant,
    ) -> Result<WebSocket<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let exchange = exchange(&mut io, handshake, &self.head, deadline);
        let (subprotocol, early) = within(deadline, Stage::Http, exchange).await??;
        let ws = WebSocket::from_upgraded(io, Role::Client, self.config.clone(), &early);
        Ok(ws.with_subprotocol(subprotocol))
    }
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

impl std::fmt::Debug for Client {
    /// Names of header fields only: their values may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Client")
            .field("timeout", &self.timeout)
            .field("headers", &names)
            .field("subprotocols", &self.subprotocols)
            .finish_non_exhaustive()
    }
}

async fn within<F: Future>(
    deadline: Instant,
    stage: Stage,
    work: F,
) -> Result<F::Output, ConnectError> {
    let done = timeout_at(deadline, work).await;
    done.map_err(|_| ConnectError::Timeout { stage })
}

fn failed(stage: Stage) -> impl Fn(io::Error) -> ConnectError {
    move |source| ConnectError::Io { stage, source }
}

/// Looks the name up and tries its addresses in turn; each gets its share of the time that is left.
async fn open_tcp(target: &Target, deadline: Instant) -> Result<TcpStream, ConnectError> {
    let look_up = lookup_host((target.host.as_str(), target.port));
    let found = within(deadline, Stage::Dns, look_up).await?;
    let addresses: Vec<SocketAddr> = found.map_err(failed(Stage::Dns))?.collect();
    let mut last = ConnectError::Io {
        stage: Stage::Dns,
        source: io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
    };
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - tried) as u32;
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                // Messages are whole when they are written: waiting for more only delays them.
                tcp.set_nodelay(true).map_err(failed(Stage::Tcp))?;
                return Ok(tcp);
            }
            Ok(Err(source)) => failed(Stage::Tcp)(source),
            Err(_) => ConnectError::Timeout { stage: Stage::Tcp },
        };
    }
    Err(last)
}

/// Sends the request and reads the answer; the subprotocol chosen, and what came behind the head.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    mut handshake: ClientHandshake,
    limits: &HeadLimits,
    deadline: Instant,
) -> Result<(Option<String>, Vec<u8>), ConnectError> {
    let failed = failed(Stage::Http);
    io.write_all(handshake.request()).await.map_err(&failed)?;
    io.flush().await.map_err(&failed)?;
    let mut bytes = Vec::with_capacity(1 << 10);
    loop {
        if io.read_buf(&mut bytes).await.map_err(&failed)? == 0 {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        match handshake.parse_response(&bytes, limits)? {
            Answer::Incomplete => {}
            Answer::Accepted(accepted) => {
                return Ok((accepted.subprotocol, bytes.split_off(accepted.head_length)));
            }
            Answer::Refused(refused) => {
                let body = bytes.split_off(refused.body_start);
                let refused = Refused {
                    status: refused.status,
                    body: read_body(io, body, &refused.headers, deadline).await,
                    headers: refused.headers,
                };
                return Err(ConnectError::Refused(Box::new(refused)));
            }
        }
    }
}

/// The body of a refusal as far as it comes soon and is short; a body that breaks off is better than none.
async fn read_body<S: AsyncRead + Unpin>(
    io: &mut S,
    mut body: Vec<u8>,
    headers: &tidegate_proto::handshake::Fields,
    deadline: Instant,
) -> Vec<u8> {
    let length = headers.only("content-length");
    let length = length.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    let most = length.unwrap_or(MAX_BODY).min(MAX_BODY);
    let until = deadline.min(Instant::now() + BODY_TIME);
    let read = async {
        while body.len() < most && matches!(io.read_buf(&mut body).await, Ok(n) if n > 0) {}
    };
    let _ = timeout_at(until, read).await; // what came until then is what there is
    body.truncate(most);
    body
}

/// Most bytes of a refusal's body that are kept.
const MAX_BODY: usize = 4 << 10;
/// Longest wait for it.
const BODY_TIME: Duration = Duration::from_secs(1);
