//! WebSockets out of requests that an HTTP server has read: hyper, and what stands on it. The rules are those of
//! [`crate::Acceptor`], all of them; nothing here listens or reads a request by itself.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper::{Request, Response, body::Incoming};
//! use tidegate::{Acceptor, upgrade};
//!
//! /// A service of hyper; serve its connections with upgrades.
//! async fn echo(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
//!     match Acceptor::new().upgrade(&mut request) {
//!         Ok(upgrade) => upgrade.on_upgrade(|mut ws| async move {
//!             while let Ok(message) = ws.recv().await {
//!                 if ws.send(message).await.is_err() {
//!                     break;
//!                 }
//!             }
//!         }),
//!         Err(refusal) => upgrade::refused(&refusal),
//!     }
//! }
//! # let _ = echo;
//! ```

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "engine")]
mod hand_over;
mod head;
#[cfg(feature = "http2")]
mod http2;
mod io;

#[cfg(feature = "axum")]
pub use axum::Refused;
#[cfg(feature = "http2")]
pub use http2::{Incoming, ServerStream};
pub use io::UpgradedIo;

use crate::server::{AcceptError, Acceptor, Agreed, agree, check_header};
use crate::{Config, WebSocket};
use ::hyper::upgrade::OnUpgrade;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Extensions, Response, StatusCode};
use http_body_util::Full;
use std::fmt;
use std::future::Future;
use std::io::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tidegate_proto::Request;
use tidegate_proto::handshake::{BadField, Refusal, key};
use tokio::time::timeout;

impl Acceptor {
    /// Judges a request that an HTTP server has read: over HTTP/1.1, or, with the feature `http2`, an extended
    /// CONNECT over HTTP/2 (RFC 8441). Answer a refusal with [`refused`].
    ///
    /// The server must serve its connections with upgrades (`with_upgrades` in hyper; axum does).
    ///
    /// # Errors
    /// [`Refusal`]: the request breaks the rules, comes from a foreign origin, or the server drains.
    pub fn upgrade<B>(&self, request: &mut http::Request<B>) -> Result<Upgrade, Refusal> {
        let head = head::Head {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        };
        let read = self.read(&head)?;
        self.opening(read, request.extensions_mut())
    }

    fn read(&self, head: &head::Head<'_>) -> Result<Read, Refusal> {
        Ok(Read {
            request: head.read(self.secure, &self.head)?,
            connect: head.is_extended_connect(),
        })
    }

    fn opening(&self, read: Read, extensions: &mut Extensions) -> Result<Upgrade, Refusal> {
        let Read { request, connect } = read;
        let subprotocol = self.judge(&request)?;
        let on = extensions.remove::<OnUpgrade>().ok_or_else(|| {
            Refusal::new(500, "this server does not serve connections with upgrades")
        })?;
        Ok(Upgrade {
            acceptor: self.clone(),
            request,
            subprotocol,
            headers: Vec::new(),
            connect,
            on,
        })
    }
}

/// A request that was read.
struct Read {
    request: Request,
    /// It is an extended CONNECT.
    connect: bool,
}

/// A request for a WebSocket that follows the rules and waits for its answer; with axum an extractor.
pub struct Upgrade {
    acceptor: Acceptor,
    request: Request,
    subprotocol: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    connect: bool,
    on: OnUpgrade,
}

impl Upgrade {
    /// What the client asks for: path, query, headers, subprotocols.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The subprotocol that will be answered.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Limits, timeouts and compression of this connection, instead of the acceptor's.
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Upgrade {
        self.acceptor.config = config.into();
        self
    }

    /// Chooses the subprotocol by other rules than the acceptor's; one that was not offered counts as none.
    #[must_use]
    pub fn choose(mut self, subprotocol: Option<&str>) -> Upgrade {
        let offered = |name: &&str| self.request.subprotocols().any(|offer| offer == *name);
        self.subprotocol = subprotocol.filter(offered).map(str::to_owned);
        self
    }

    /// Adds a header field to the answer, say `Set-Cookie`.
    ///
    /// # Errors
    /// [`BadField`] when it can't be sent: a value with CR or LF in it, or a field of the handshake itself.
    pub fn header(mut self, name: &str, value: &str) -> Result<Upgrade, BadField> {
        check_header(name, value)?;
        let bad = || BadField {
            name: name.to_owned(),
        };
        let field = HeaderName::try_from(name).map_err(|_| bad())?;
        let value = HeaderValue::try_from(value).map_err(|_| bad())?;
        self.headers.push((field, value));
        Ok(self)
    }

    /// Accepts: the answer to give to the HTTP server, and a task of tokio's that runs `serve` once it has been
    /// written. When that fails, `serve` is not called.
    pub fn on_upgrade<F, Fut>(self, serve: F) -> Response<Full<Bytes>>
    where
        F: FnOnce(WebSocket<UpgradedIo>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (response, pending) = self.accept();
        tokio::spawn(async move {
            if let Ok(ws) = pending.await {
                serve(ws).await;
            }
        });
        response
    }

    /// Accepts: the answer to give to the HTTP server, and the WebSocket that there is once it has been written.
    /// Don't await it before the answer is given: it waits for that.
    pub fn accept(self) -> (Response<Full<Bytes>>, Pending) {
        let agreed = agree(&self.request, &self.acceptor.config);
        let mut response = Response::new(Full::default());
        self.say_yes(&mut response, agreed.as_ref().map(|a| a.header.as_str()));
        let agreed = Agreed {
            subprotocol: self.subprotocol,
            deflate: agreed.map(|agreed| agreed.negotiated),
        };
        let (on, acceptor) = (self.on, self.acceptor);
        let opening = async move {
            let upgraded = timeout(acceptor.head.timeout, on)
                .await
                .map_err(|_| AcceptError::Timeout)?
                .map_err(|error| AcceptError::Io(Error::other(error)))?;
            let io = UpgradedIo::new(upgraded);
            Ok(agreed.open(io, acceptor.config, b"", acceptor.drain.as_ref()))
        };
        (response, Pending(Box::pin(opening)))
    }

    /// Writes what accepts into `response`.
    fn say_yes(&self, response: &mut Response<Full<Bytes>>, extensions: Option<&str>) {
        let value = |text: &str| HeaderValue::try_from(text).expect("checked before it came here");
        if self.connect {
            //= rfc8441#5  a 2xx accepts; there is no Upgrade and no Sec-WebSocket-Accept.
            *response.status_mut() = StatusCode::OK;
        } else {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let accept = key::accept_for(self.request.key());
            let accept = HeaderValue::from_bytes(&accept).expect("base64 is ASCII");
            let fields = response.headers_mut();
            fields.insert(http::header::UPGRADE, HeaderValue::from_static("websocket"));
            fields.insert(
                http::header::CONNECTION,
                HeaderValue::from_static("Upgrade"),
            );
            fields.insert(http::header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        let fields = response.headers_mut();
        if let Some(name) = &self.subprotocol {
            fields.insert(http::header::SEC_WEBSOCKET_PROTOCOL, value(name));
        }
        if let Some(extensions) = extensions {
            fields.insert(http::header::SEC_WEBSOCKET_EXTENSIONS, value(extensions));
        }
        for (name, value) in &self.headers {
            fields.append(name, value.clone());
        }
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade")
            .field("request", &self.request)
            .field("subprotocol", &self.subprotocol)
            .finish_non_exhaustive()
    }
}

/// The WebSocket, once the HTTP server has written the answer and let go of the connection.
///
/// # Errors
/// [`AcceptError::Timeout`] after [`tidegate_proto::HeadLimits::timeout`]; [`AcceptError::Io`] when the server
/// dropped the answer or the connection broke.
///
/// # Cancel safety
/// Not to be resumed: the connection is dropped with it, right behind the answer.
#[must_use = "it does nothing unless awaited"]
pub struct Pending(Opening);

type Opening = Pin<Box<dyn Future<Output = Result<WebSocket<UpgradedIo>, AcceptError>> + Send>>;

impl Future for Pending {
    type Output = Result<WebSocket<UpgradedIo>, AcceptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

/// The answer that refuses.
pub fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let (content_type, body) = refusal.body();
    let content_type = HeaderValue::try_from(content_type).expect("checked when it was given");
    let mut response = Response::new(Full::new(Bytes::from(body.into_owned())));
    *response.status_mut() =
        StatusCode::from_u16(refusal.sent_status()).expect("it is within 300 to 599");
    let fields = response.headers_mut();
    fields.insert(http::header::CONTENT_TYPE, content_type);
    for (name, value) in refusal.headers() {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
        else {
            continue; // a field that HTTP/1.1 could say and this HTTP server can't
        };
        fields.append(name, value);
    }
    response
}
