//! Requests that ask for no WebSocket: they go to the same upstream as a reverse proxy sends them, or get 426.
//! Each has a connection of its own, so that no two requests can be mistaken for one another; no `Upgrade`
//! passes either way (security.md H5).

use super::plane::InForce;
use crate::control::answer::{self, Answers};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tidegate_guard::policy::PlainHttp;
use tidegate_guard::{RelaySettings, Seen, is_claim, is_end_to_end};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::debug;

/// Bodies that come from the upstream, or from us.
pub(super) struct Passing(BoxBody<Bytes, Error>);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The reverse proxy for the requests of one connection.
pub(super) struct Proxy {
    pub(super) in_force: Arc<InForce>,
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// The client.
    pub(super) remote: SocketAddr,
    pub(super) secure: bool,
    /// The certificate that it has shown.
    pub(super) certificate: Option<Box<[u8]>>,
}

impl Answers for Proxy {
    type Body = Passing;

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Passing> {
        let settings = self.in_force.get();
        let name = authority(&request).map(|authority| host_of(&authority));
        let mut response = match self.pass(&settings, request).await {
            Ok(response) => response,
            Err(Refused(status, why)) => answer::line(status, &why).map(Passing::from),
        };
        if self.secure && name.is_ok_and(|name| is_public(&name)) {
            // What the upstream says of it counts.
            let header = response
                .headers_mut()
                .entry(header::STRICT_TRANSPORT_SECURITY);
            header.or_insert(HeaderValue::from_static(ONLY_TLS));
        }
        response
    }
}

/// A status and a line.
struct Refused(StatusCode, String);

impl Refused {
    fn new(status: StatusCode, why: impl Into<String>) -> Refused {
        Refused(status, why.into())
    }
}

impl Proxy {
    async fn pass(
        &self,
        settings: &RelaySettings,
        request: Request<Incoming>,
    ) -> Result<Response<Passing>, Refused> {
        let request = self.rewritten(settings, request)?;
        let upstream = &settings.upstream;
        let away = || {
            Refused::new(
                StatusCode::BAD_GATEWAY,
                "the server behind this gateway is away",
            )
        };
        let address = *upstream.addresses.first().ok_or_else(away)?;
        let connecting = timeout(settings.patience, TcpStream::connect(address));
        let stream = match connecting.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                debug!(%error, "the upstream cannot be reached");
                return Err(away());
            }
            Err(_) => return Err(too_slow()),
        };
        let asking = async {
            match (&upstream.server_name, &self.tls) {
                (Some(name), Some(tls)) => {
                    let name = ServerName::try_from(name.to_string()).map_err(io::Error::other)?;
                    let tls = TlsConnector::from(Arc::clone(tls));
                    ask(tls.connect(name, stream).await?, request).await
                }
                (None, _) => ask(stream, request).await,
                (Some(_), None) => Err("no TLS settings for the upstream".into()),
            }
        };
        match timeout(ANSWER, asking).await {
            Ok(Ok(response)) => Ok(returned(response)),
            Ok(Err(error)) => {
                debug!(error, "the upstream gave no answer");
                let why = "the server behind this gateway gave no valid answer";
                Err(Refused::new(StatusCode::BAD_GATEWAY, why))
            }
            Err(_) => Err(too_slow()),
        }
    }

    /// The request as the upstream gets it: the path that was matched, and the fields that are for it.
    fn rewritten(
        &self,
        settings: &RelaySettings,
        request: Request<Incoming>,
    ) -> Result<Request<Incoming>, Refused> {
        let policy = &settings.policy;
        let authority = authority(&request)?;
        let host = host_of(&authority);
        let found = policy.route(&host, request.uri().path()).map_err(|no| {
            let no = no.rejection();
            let status = StatusCode::from_u16(no.status).unwrap_or(StatusCode::BAD_REQUEST);
            Refused(status, no.message)
        })?;
        if policy.plain_http == PlainHttp::Refuse {
            let why = "only WebSockets are served here";
            return Err(Refused::new(StatusCode::UPGRADE_REQUIRED, why));
        }
        let target = match request.uri().query() {
            Some(query) => format!("{}?{query}", found.path),
            None => found.path,
        };
        let target: Uri = target.parse().map_err(|_| {
            Refused::new(StatusCode::BAD_REQUEST, "the request target is malformed")
        })?;
        let proxies = &policy.trusted_proxies;
        let lines = request.headers().get_all(proxies.field().name());
        let lines = lines.iter().map(HeaderValue::as_bytes);
        let seen = Seen {
            from: proxies.client_by(self.remote.ip(), lines),
            secure: self.secure,
            authority: &authority,
            certificate: self.certificate.as_deref().filter(|_| policy.client_cert),
        };
        let (mut parts, body) = request.into_parts();
        parts.uri = target;
        parts.version = Version::HTTP_11;
        parts.headers = fields(&parts.headers, |name| !is_claim(name));
        for (name, value) in seen.fields() {
            if let Ok(value) = HeaderValue::from_str(&value) {
                let name = HeaderName::from_bytes(name.as_bytes()).expect("a name of ours");
                parts.headers.insert(name, value);
            }
        }
        let host = HeaderValue::from_str(&authority)
            .map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "Host is malformed"))?;
        parts.headers.insert(header::HOST, host);
        Ok(Request::from_parts(parts, body))
    }
}

fn too_slow() -> Refused {
    let why = "the server behind this gateway did not answer in time";
    Refused::new(StatusCode::GATEWAY_TIMEOUT, why)
}

/// Sends one request and gives the answer's head; the body follows as it comes.
async fn ask<S>(stream: S, request: Request<Incoming>) -> Result<Response<Incoming>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "a connection to the upstream ended");
        }
    });
    let response = sender.send_request(request).await?;
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => Err("it switched to a protocol nobody asked for".into()),
        _ => Ok(response),
    }
}

/// The answer as the client gets it.
fn returned(response: Response<Incoming>) -> Response<Passing> {
    let (mut parts, body) = response.into_parts();
    parts.headers = fields(&parts.headers, |_| true);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let body = body.map_err(|error| Box::new(error) as Error);
    Response::from_parts(parts, Passing(BoxBody::new(body)))
}

/// The fields that are for the other end, and pass `keep`. `Origin` is for it, too; lengths are told anew.
fn fields(all: &HeaderMap, keep: impl Fn(&str) -> bool) -> HeaderMap {
    let connection = all.get_all(header::CONNECTION).iter();
    let named: Vec<String> = connection
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut kept = HeaderMap::with_capacity(all.len());
    for (name, value) in all {
        let text = name.as_str();
        let passes = (is_end_to_end(text) || text == "origin") && !named.iter().any(|n| n == text);
        if passes && keep(text) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// `host[:port]` of the target in absolute-form, else of the one `Host` (RFC 9112 §3.2).
fn authority<B>(request: &Request<B>) -> Result<String, Refused> {
    let bad = |why: &str| Refused::new(StatusCode::BAD_REQUEST, why);
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    if hosts.next().is_some() {
        return Err(bad("a request has exactly one Host"));
    }
    match (request.uri().authority(), host) {
        (Some(authority), Some(host)) if !authority.as_str().eq_ignore_ascii_case(host) => {
            Err(bad("the request target and Host name two hosts"))
        }
        (Some(authority), _) => Ok(authority.as_str().to_owned()),
        (None, Some(host)) => Ok(host.to_owned()),
        (None, None) => Err(bad("a request has exactly one Host")),
    }
}

/// The host without its port, as the policy compares it.
fn host_of(authority: &str) -> String {
    let host = match authority.strip_prefix('[') {
        Some(inner) => &authority[..inner.find(']').map_or(authority.len(), |end| end + 2)],
        None => authority.split(':').next().unwrap_or(authority),
    };
    host.to_ascii_lowercase()
}

/// A name of which RFC 6797 can speak, and which is not shared by all that runs on this machine.
fn is_public(host: &str) -> bool {
    let local = host == "localhost" || host.ends_with(".localhost");
    !local && !host.starts_with('[') && host.parse::<Ipv4Addr>().is_err()
}

impl From<Full<Bytes>> for Passing {
    fn from(body: Full<Bytes>) -> Passing {
        Passing(BoxBody::new(body.map_err(|never| match never {})))
    }
}

impl hyper::body::Body for Passing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Error>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.0.size_hint()
    }
}

/// From the connection to the head of the answer.
const ANSWER: Duration = Duration::from_secs(60);
/// For a day: long enough to matter to who comes back, and over soon where somebody thinks again.
const ONLY_TLS: &str = "max-age=86400";
