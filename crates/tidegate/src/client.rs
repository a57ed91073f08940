//! The client's side: from a URL to an open WebSocket, or to an error that names the stage that failed. It
//! follows no redirect.
//!
//! ```text
//!   URL ─► name ─► TCP (RFC 8305) ─► [proxy] ─► [TLS] ─► handshake over HTTP/1.1 or HTTP/2 ─► WebSocket
//! ```

mod error;
mod http1;
#[cfg(feature = "http2")]
mod http2;
mod open;
mod request;
#[cfg(feature = "http2")]
mod settings;
mod stream;
mod url;

pub use crate::dial::{BadProxy, Timings};
pub use error::{ConnectError, Refused, Stage};
pub(crate) use http1::read_refusal;
#[cfg(feature = "http2")]
pub use http2::Http;
pub use open::{Established, HttpVersion};
pub use stream::ClientStream;
pub use url::BadUrl;

use crate::WebSocket;
#[cfg(feature = "tls")]
use crate::dial::Tls;
use crate::dial::{Dialer, Patience, Proxy, Resolve, Turns, basic};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tidegate_proto::deflate::DeflateConfig;
use tidegate_proto::{Config, HeadLimits, Limits};
use tokio::io::{AsyncRead, AsyncWrite};

/// Connects to a `ws://` or `wss://` URL with the defaults of [`Client`].
///
/// # Errors
/// [`ConnectError`] names the stage; a refusal carries the server's status, head and body.
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
    // One for all, so that what is learnt of a server is remembered.
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(Client::new).connect(url).await
}

/// How to connect: what to offer, what to send along, which way to go, how long to wait. One value serves many
/// connections; its clones share what they learn of servers.
///
/// ```no_run
/// # async fn f() -> Result<(), tidegate::ConnectError> {
/// use std::time::Duration;
/// use tidegate::Client;
/// use tidegate::tidegate_proto::Deflate;
///
/// let client = Client::new()
///     .bearer_auth("token")
///     .cookie("session", "42")
///     .subprotocols(["chat.v2", "chat.v1"])
///     .deflate(Deflate::Shared)
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
    patience: Patience,
    headers: Vec<(String, String)>,
    cookies: Vec<(String, String)>,
    authorization: Option<String>,
    origin: Option<String>,
    subprotocols: Vec<String>,
    dialer: Dialer,
    #[cfg(feature = "http2")]
    http: Http,
    #[cfg(feature = "http2")]
    origins: Arc<http2::Origins>,
}

impl Client {
    /// The defaults: [`Config::default`], 10 s for all stages together, nothing offered; the system's resolver,
    /// the environment's proxy ([`Proxy::environment`]); with the feature `tls` the system's root certificates;
    /// with the feature `http2` whichever HTTP the server chooses.
    pub fn new() -> Client {
        Client {
            config: Arc::default(),
            head: HeadLimits::default(),
            patience: Patience::new(Duration::from_secs(10)),
            headers: Vec::new(),
            cookies: Vec::new(),
            authorization: None,
            origin: None,
            subprotocols: Vec::new(),
            dialer: Dialer::new(),
            #[cfg(feature = "http2")]
            http: Http::default(),
            #[cfg(feature = "http2")]
            origins: Arc::default(),
        }
    }

    /// Limits, timeouts and compression of the open connection.
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Client {
        self.config = config.into();
        self
    }

    /// Limits of the open connection alone; see [`Client::config`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Client {
        Arc::make_mut(&mut self.config).limits = limits;
        self
    }

    /// Offers permessage-deflate (RFC 7692), as a mode or with all settings. Default: not offered.
    /// [`WebSocket::deflate`] tells what was agreed on; a server may decline.
    #[must_use]
    pub fn deflate(mut self, deflate: impl Into<DeflateConfig>) -> Client {
        Arc::make_mut(&mut self.config).deflate = deflate.into();
        self
    }

    /// How long all stages together may take. Default: 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Client {
        self.patience.set_total(timeout);
        self
    }

    /// How long one stage may take; [`Client::timeout`] bounds it too. Default: no bound of its own.
    #[must_use]
    pub fn stage_timeout(mut self, stage: Stage, timeout: Duration) -> Client {
        self.patience.set_stage(stage, timeout);
        self
    }

    /// Limits of the answer's head, and of a proxy's. Its `timeout` is not used here: [`Client::timeout`] bounds
    /// all.
    #[must_use]
    pub fn head_limits(mut self, limits: HeadLimits) -> Client {
        self.head = limits;
        self
    }

    /// Adds a header field, say `User-Agent`. Those of the handshake itself are refused by [`Client::connect`].
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Client {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a cookie; all of them go in one `Cookie` field (RFC 6265 §5.4).
    #[must_use]
    pub fn cookie(mut self, name: impl Into<String>, value: impl Into<String>) -> Client {
        self.cookies.push((name.into(), value.into()));
        self
    }

    /// `Authorization: Basic` (RFC 7617). It goes before what the URL says; a header `Authorization` goes before
    /// both.
    #[must_use]
    pub fn basic_auth(mut self, user: &str, password: &str) -> Client {
        self.authorization = Some(basic(user.as_bytes(), password.as_bytes()));
        self
    }

    /// `Authorization: Bearer` (RFC 6750), in the place of [`Client::basic_auth`].
    #[must_use]
    pub fn bearer_auth(mut self, token: &str) -> Client {
        self.authorization = Some(format!("Bearer {token}"));
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

    /// Who looks names up. Default: [`crate::dial::SystemResolver`].
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolve) -> Client {
        self.dialer.resolver = Arc::new(resolver);
        self.forget();
        self
    }

    /// Which proxy to go through. Default: [`Proxy::environment`]; [`Proxy::none`] to go directly.
    #[must_use]
    pub fn proxy(mut self, proxy: Proxy) -> Client {
        self.dialer.proxy = proxy;
        self.forget();
        self
    }

    /// Has no more than one connection to one server in its handshake, over all clones of this value, as RFC 6455
    /// §4.1 asks; further calls wait for their turn in the order of their coming, and that wait counts as
    /// [`Stage::Tcp`] against their time. A server is an address and a port; behind a proxy, which alone knows the
    /// address, a name and a port. Default: no, whoever calls several times at once gets several handshakes at once.
    #[must_use]
    pub fn one_at_a_time(mut self, one: bool) -> Client {
        self.dialer.turns = one.then(Arc::<Turns>::default);
        self
    }

    /// TLS settings for `wss://`: own roots, a client certificate ([`Tls`]), or a `rustls::ClientConfig`, whose
    /// ALPN is replaced. Default: [`Tls::platform`].
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: impl Into<Tls>) -> Client {
        self.dialer.tls = Some(tls.into());
        self.forget();
        self
    }

    /// Which HTTP to ask for a WebSocket with. Default: [`Http::Either`].
    #[cfg(feature = "http2")]
    #[must_use]
    pub fn http(mut self, http: Http) -> Client {
        self.http = http;
        self
    }

    /// Opens WebSockets of the same origin as streams of one HTTP/2 connection, where the server speaks it, up to
    /// 64 on each. Default: no, each has a connection of its own. Sharing saves TCP and TLS handshakes; a lost
    /// packet then delays all, and the connection's end is the end of all.
    #[cfg(feature = "http2")]
    #[must_use]
    pub fn share_http2(mut self, share: bool) -> Client {
        self.origins = Arc::new(http2::Origins::new(share));
        self
    }

    /// What was learnt with other settings does not hold, and connections made with them must not be shared.
    fn forget(&mut self) {
        #[cfg(feature = "http2")]
        {
            self.origins = Arc::new(self.origins.renewed());
        }
    }

    /// Connects to a `ws://` or `wss://` URL. User information in it is sent as Basic authorization, unless
    /// another was given.
    ///
    /// # Errors
    /// [`ConnectError`] names the stage; a refusal carries the server's status, head and body.
    ///
    /// # Cancel safety
    /// Dropped, it leaves nothing behind but, maybe, a look-up that the system is still busy with.
    pub async fn connect(&self, url: &str) -> Result<WebSocket<ClientStream>, ConnectError> {
        Ok(self.open(url).await?.0)
    }

    /// As [`Client::connect`], and tells how it went: both heads, the way taken, the time each stage took.
    ///
    /// # Errors
    /// As [`Client::connect`].
    ///
    /// # Cancel safety
    /// As [`Client::connect`].
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), tidegate::ConnectError> {
    /// let (ws, how) = tidegate::Client::new().open("ws://127.0.0.1:9001/chat").await?;
    /// println!("{:?} to {:?} in {:?}", how.version, how.remote, how.timings);
    /// # let _ = ws;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(
        &self,
        url: &str,
    ) -> Result<(WebSocket<ClientStream>, Established), ConnectError> {
        let opened = self.reach(url).await?;
        Ok(self.finish(opened))
    }

    /// As [`Client::open`], with a transport of your own around ours, say one that looks at what passes. `wrap`
    /// also gets the octets of frames that came with the answer; they are not read from the transport again.
    ///
    /// # Errors
    /// As [`Client::connect`].
    ///
    /// # Cancel safety
    /// As [`Client::connect`].
    pub async fn open_with<S>(
        &self,
        url: &str,
        wrap: impl FnOnce(ClientStream, &[u8]) -> S,
    ) -> Result<(WebSocket<S>, Established), ConnectError> {
        let opened = self.reach(url).await?;
        let wrapped = opened.map(wrap);
        Ok(self.finish(wrapped))
    }

    /// The handshake over a transport of your own: a Unix socket, a tunnel, a pair in memory. The URL says
    /// what to ask for; nothing is looked up, and `wss` means that the transport is encrypted already. It speaks
    /// HTTP/1.1.
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
        let opened = self.reach_over(io, url).await?;
        Ok(self.finish(opened).0)
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
            .field("timeout", &self.patience.total())
            .field("headers", &names)
            .field("subprotocols", &self.subprotocols)
            .field("proxy", &self.dialer.proxy)
            .finish_non_exhaustive()
    }
}
