//! From a host and a port to an octet stream: names, addresses tried side by side, proxies, TLS. It knows nothing
//! of WebSockets.
//!
//! ```text
//!   host ─► Resolve ─► addresses ─► race (RFC 8305) ─► TCP ─► [proxy: TLS? ─► CONNECT] ─► [TLS] ─► Link
//! ```

mod deadline;
mod dns;
mod eyeballs;
mod link;
mod proxy;
#[cfg(feature = "tls")]
pub(crate) mod tls;
mod tunnel;
mod turns;

pub(crate) use deadline::{Deadline, Patience};
pub use dns::{Resolve, Resolving, SystemResolver};
pub(crate) use link::Link;
pub(crate) use proxy::{Address, basic, credentials};
pub use proxy::{BadProxy, Proxy};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsBuilder};
pub(crate) use turns::Turns;
use turns::{Server, Turn};

use crate::client::{ConnectError, Stage};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::HeadLimits;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How to reach servers.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) proxy: Proxy,
    /// `None`: the platform's.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
    /// `None`: connections to one server are opened side by side.
    pub(crate) turns: Option<Arc<Turns>>,
}

/// Whom to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// Without brackets.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) secure: bool,
    #[cfg(feature = "tls")]
    pub(crate) alpn: tls::Alpn,
}

/// How long the stages took; those that were not gone through are `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Timings {
    /// Looking the name up; of the proxy's, where there is one.
    pub dns: Option<Duration>,
    /// The TCP connection, from the first attempt to the one that won.
    pub tcp: Option<Duration>,
    /// TLS with the proxy, and its answer.
    pub proxy: Option<Duration>,
    /// TLS with the server.
    pub tls: Option<Duration>,
    /// The WebSocket handshake; over HTTP/2 also the wait for the server's SETTINGS.
    pub http: Option<Duration>,
}

/// A link and how it came about.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) link: Link,
    pub(crate) proxy: Option<String>,
    pub(crate) timings: Timings,
    /// To be held until the handshake is over.
    pub(crate) turn: Option<Turn>,
}

impl Dialer {
    pub(crate) fn new() -> Dialer {
        Dialer {
            resolver: Arc::new(SystemResolver),
            proxy: Proxy::environment(),
            #[cfg(feature = "tls")]
            tls: None,
            turns: None,
        }
    }

    /// Opens the way to `place`.
    ///
    /// # Errors
    /// [`ConnectError`] with the stage that failed or was too slow.
    pub(crate) async fn dial(
        &self,
        place: Place<'_>,
        limits: &HeadLimits,
        deadline: &Deadline,
    ) -> Result<Dialed, ConnectError> {
        let Place {
            host, port, secure, ..
        } = place;
        let proxy = self.proxy.choose(secure, host, port)?;
        let mut timings = Timings::default();
        let (link, turn) = match &proxy {
            None => {
                let turns = self.turns.as_deref();
                self.tcp(host, port, turns, deadline, &mut timings).await?
            }
            Some(proxy) => {
                let turn = self.turn_by_name(host, port, deadline).await?;
                let tcp = self.tcp(&proxy.host, proxy.port, None, deadline, &mut timings);
                let (link, _) = tcp.await.map_err(of_the_proxy)?;
                let start = Instant::now();
                let mut link = self.to_proxy(proxy, link, deadline).await?;
                tunnel::open(&mut link, proxy, host, port, limits, deadline).await?;
                timings.proxy = Some(start.elapsed());
                (link, turn)
            }
        };
        let link = self.secured(place, link, deadline, &mut timings).await?;
        Ok(Dialed {
            link,
            proxy: proxy.map(|proxy| proxy.shown()),
            timings,
            turn,
        })
    }

    /// Our turn at a server whose address only the proxy knows.
    async fn turn_by_name(
        &self,
        host: &str,
        port: u16,
        deadline: &Deadline,
    ) -> Result<Option<Turn>, ConnectError> {
        let Some(turns) = &self.turns else {
            return Ok(None);
        };
        let server = Server::Named(host.to_ascii_lowercase(), port);
        let turn = deadline.within(Stage::Tcp, turns.wait(server)).await?;
        Ok(Some(turn))
    }

    /// A TCP connection; with `turns`, none is begun to an address at which it is another's turn.
    async fn tcp(
        &self,
        host: &str,
        port: u16,
        turns: Option<&Turns>,
        deadline: &Deadline,
        timings: &mut Timings,
    ) -> Result<(Link, Option<Turn>), ConnectError> {
        let start = Instant::now();
        let look_up = dns::look_up(&*self.resolver, host, port);
        let found = deadline.within(Stage::Dns, look_up).await?;
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{host}: {error}"));
        let addresses = found.map_err(named).map_err(failed(Stage::Dns))?;
        timings.dns = Some(start.elapsed());
        let start = Instant::now();
        let race = eyeballs::race(addresses, |address| attempt(turns, address));
        let won = deadline.within(Stage::Tcp, race).await?;
        let (tcp, turn) = won.map_err(failed(Stage::Tcp))?;
        // Messages are whole when they are written: waiting for more only delays them.
        tcp.set_nodelay(true).map_err(failed(Stage::Tcp))?;
        timings.tcp = Some(start.elapsed());
        Ok((Link::Tcp(tcp), turn))
    }

    /// The way to the proxy, encrypted if it is to be.
    #[cfg(feature = "tls")]
    async fn to_proxy(
        &self,
        proxy: &Address,
        link: Link,
        deadline: &Deadline,
    ) -> Result<Link, ConnectError> {
        if !proxy.secure {
            return Ok(link);
        }
        let tls = self.tls()?;
        let opening = tls::open(&tls, tls::Alpn::Http1, &proxy.host, link);
        deadline.within(Stage::Proxy, opening).await?
    }

    #[cfg(not(feature = "tls"))]
    async fn to_proxy(
        &self,
        proxy: &Address,
        link: Link,
        _: &Deadline,
    ) -> Result<Link, ConnectError> {
        match proxy.secure {
            true => Err(ConnectError::TlsDisabled),
            false => Ok(link),
        }
    }

    #[cfg(feature = "tls")]
    async fn secured(
        &self,
        place: Place<'_>,
        link: Link,
        deadline: &Deadline,
        timings: &mut Timings,
    ) -> Result<Link, ConnectError> {
        if !place.secure {
            return Ok(link);
        }
        let start = Instant::now();
        let tls = self.tls()?;
        let opening = tls::open(&tls, place.alpn, place.host, link);
        let link = deadline.within(Stage::Tls, opening).await??;
        timings.tls = Some(start.elapsed());
        Ok(link)
    }

    #[cfg(not(feature = "tls"))]
    async fn secured(
        &self,
        _: Place<'_>,
        link: Link,
        _: &Deadline,
        _: &mut Timings,
    ) -> Result<Link, ConnectError> {
        Ok(link) // who wants TLS without the feature was told before anything was opened
    }

    #[cfg(feature = "tls")]
    fn tls(&self) -> Result<Tls, ConnectError> {
        match &self.tls {
            Some(tls) => Ok(tls.clone()),
            None => Tls::platform().map_err(ConnectError::TlsSettings),
        }
    }
}

/// A TCP connection, once it is our turn.
async fn attempt(
    turns: Option<&Turns>,
    address: SocketAddr,
) -> io::Result<(TcpStream, Option<Turn>)> {
    let turn = match turns {
        Some(turns) => Some(turns.wait(Server::At(address)).await),
        None => None,
    };
    Ok((TcpStream::connect(address).await?, turn))
}

/// What befell us on the way to the proxy; whoever only knows the server's address could look for long.
fn of_the_proxy(error: ConnectError) -> ConnectError {
    match error {
        ConnectError::Io { stage, source } => ConnectError::Io {
            stage,
            source: io::Error::new(source.kind(), format!("the proxy at {source}")),
        },
        error => error,
    }
}

pub(crate) fn failed(stage: Stage) -> impl Fn(io::Error) -> ConnectError {
    move |source| ConnectError::Io { stage, source }
}
