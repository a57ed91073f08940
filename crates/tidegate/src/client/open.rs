//! One attempt to open a WebSocket, from the URL to the judged answer; it never tries twice, but for the HTTP
//! that a server turns out not to take WebSockets over.

use super::Client;
use super::error::ConnectError;
use super::http1;
use super::stream::ClientStream;
use super::url::Target;
use crate::WebSocket;
#[cfg(feature = "tls")]
use crate::dial::tls::Alpn;
use crate::dial::{Deadline, Dialed, Place, Timings};
use std::fmt;
use std::net::SocketAddr;
use tidegate_proto::handshake::client::Accepted;
use tidegate_proto::handshake::{ClientHandshake, Fields};
use tidegate_proto::{Negotiated, Role};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// How a WebSocket came about.
#[derive(Clone)]
#[non_exhaustive]
pub struct Established {
    /// Which HTTP carried the handshake.
    pub version: HttpVersion,
    /// The request's head as it was sent; over HTTP/2 its fields, one a line. It holds whatever secrets were given.
    pub request: Vec<u8>,
    /// The answer's status: 101, or 200 over HTTP/2.
    pub status: u16,
    /// The answer's fields; [`Fields::head`] is the whole head.
    pub headers: Fields,
    /// The server's address, or the proxy's; `None` over a transport of the caller's own.
    pub remote: Option<SocketAddr>,
    /// The proxy gone through, without credentials.
    pub proxy: Option<String>,
    /// TLS version and cipher suite.
    pub tls: Option<String>,
    /// How long the stages took.
    pub timings: Timings,
}

impl fmt::Debug for Established {
    /// Without the request, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established")
            .field("version", &self.version)
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("remote", &self.remote)
            .field("proxy", &self.proxy)
            .field("tls", &self.tls)
            .field("timings", &self.timings)
            .finish_non_exhaustive()
    }
}

/// An HTTP that carries WebSockets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum HttpVersion {
    /// HTTP/1.1: an upgrade (RFC 6455).
    Http1,
    /// HTTP/2: an extended CONNECT (RFC 8441).
    Http2,
}

/// A transport whose handshake is done.
pub(super) struct Opened<S> {
    pub(super) io: S,
    pub(super) early: Vec<u8>,
    pub(super) subprotocol: Option<String>,
    pub(super) deflate: Option<Negotiated>,
    pub(super) established: Established,
}

impl<S> Opened<S> {
    pub(super) fn map<T>(self, wrap: impl FnOnce(S, &[u8]) -> T) -> Opened<T> {
        Opened {
            io: wrap(self.io, &self.early),
            early: self.early,
            subprotocol: self.subprotocol,
            deflate: self.deflate,
            established: self.established,
        }
    }
}

impl Client {
    /// A WebSocket out of what was agreed on.
    pub(super) fn finish<S>(&self, opened: Opened<S>) -> (WebSocket<S>, Established) {
        let (config, early) = (self.config.clone(), &opened.early);
        let mut ws = WebSocket::from_upgraded(opened.io, Role::Client, config, early);
        if let Some(deflate) = opened.deflate {
            ws = ws.with_deflate(deflate);
        }
        (ws.with_subprotocol(opened.subprotocol), opened.established)
    }

    /// The way to the server and the handshake over it.
    pub(super) async fn reach(&self, url: &str) -> Result<Opened<ClientStream>, ConnectError> {
        let deadline = self.patience.start();
        let target = Target::parse(url)?;
        // What cannot be asked for is said before anything is opened.
        let handshake = self.with_request(&target, ClientHandshake::new)?;
        #[cfg(not(feature = "tls"))]
        if target.secure {
            return Err(ConnectError::TlsDisabled);
        }
        #[cfg(feature = "http2")]
        return self.reach_either(&target, handshake, &deadline).await;
        #[cfg(not(feature = "http2"))]
        return self.reach_http1(&target, handshake, &deadline).await;
    }

    /// Opens the way and speaks HTTP/1.1 over it.
    pub(super) async fn reach_http1(
        &self,
        target: &Target,
        handshake: ClientHandshake,
        deadline: &Deadline,
    ) -> Result<Opened<ClientStream>, ConnectError> {
        let place = Place {
            host: &target.host,
            port: target.port,
            secure: target.secure,
            #[cfg(feature = "tls")]
            alpn: Alpn::Http1,
        };
        let dialed = self.dialer.dial(place, &self.head, deadline).await?;
        self.upgrade_dialed(dialed, target.secure, handshake, deadline)
            .await
    }

    /// The handshake over HTTP/1.1 on a way that is open.
    pub(super) async fn upgrade_dialed(
        &self,
        dialed: Dialed,
        secure: bool,
        handshake: ClientHandshake,
        deadline: &Deadline,
    ) -> Result<Opened<ClientStream>, ConnectError> {
        let Dialed {
            link,
            proxy,
            timings,
            turn: _turn, // until the handshake is over, however it ends
        } = dialed;
        let (remote, tls) = (link.tcp().peer_addr().ok(), link.tls_text());
        let mut opened = self
            .upgrade(ClientStream::own(link, secure), handshake, deadline)
            .await?;
        let http = opened.established.timings.http;
        opened.established = Established {
            remote,
            proxy,
            tls,
            timings: Timings { http, ..timings },
            ..opened.established
        };
        Ok(opened)
    }

    /// The handshake over HTTP/1.1 on the caller's own transport.
    pub(super) async fn reach_over<S>(&self, io: S, url: &str) -> Result<Opened<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = self.patience.start();
        let target = Target::parse(url)?;
        let handshake = self.with_request(&target, ClientHandshake::new)?;
        self.upgrade(io, handshake, &deadline).await
    }

    async fn upgrade<S>(
        &self,
        mut io: S,
        handshake: ClientHandshake,
        deadline: &Deadline,
    ) -> Result<Opened<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = Instant::now();
        let request = handshake.request().to_vec();
        let exchange = http1::exchange(&mut io, handshake, &self.head, deadline);
        let (accepted, early) = exchange.await?;
        self.opened(io, early, HttpVersion::Http1, request, accepted, start)
    }

    /// Judges what only we can: the parameters of the compression.
    pub(super) fn opened<S>(
        &self,
        io: S,
        early: Vec<u8>,
        version: HttpVersion,
        request: Vec<u8>,
        accepted: Accepted,
        start: Instant,
    ) -> Result<Opened<S>, ConnectError> {
        Ok(Opened {
            io,
            early,
            deflate: self.judge_deflate(accepted.extensions.as_deref())?,
            subprotocol: accepted.subprotocol,
            established: Established {
                version,
                request,
                status: match version {
                    HttpVersion::Http1 => 101,
                    HttpVersion::Http2 => 200,
                },
                headers: accepted.headers,
                remote: None,
                proxy: None,
                tls: None,
                timings: Timings {
                    http: Some(start.elapsed()),
                    ..Timings::default()
                },
            },
        })
    }
}
