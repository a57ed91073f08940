//! Why no connection came about: which stage failed, and whether another try may help.

use super::url::BadUrl;
use crate::dial::BadProxy;
use std::fmt;
use std::io;
use std::time::Duration;
use tidegate_proto::deflate::BadAnswer;
use tidegate_proto::handshake::Fields;
use tidegate_proto::handshake::client::{self, HandshakeError, RequestError};

/// What connecting was at, in the order in which the stages come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Stage {
    /// Looking the host's name up, or the proxy's.
    Dns,
    /// Opening the TCP connection.
    Tcp,
    /// The proxy: TLS with it, if it wants that, and its answer.
    Proxy,
    /// The TLS handshake with the server.
    Tls,
    /// The WebSocket handshake over HTTP.
    Http,
}

impl Stage {
    pub(crate) const COUNT: usize = Stage::Http as usize + 1;
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Dns => "looking the name up",
            Stage::Tcp => "the TCP connection",
            Stage::Proxy => "the proxy's tunnel",
            Stage::Tls => "the TLS handshake",
            Stage::Http => "the WebSocket handshake",
        })
    }
}

/// No WebSocket came about.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL can't be connected to.
    Url(BadUrl),
    /// The proxy's URL, maybe out of the environment, can't be used.
    Proxy(BadProxy),
    /// A header, a subprotocol or the like can't be sent.
    Request(RequestError),
    /// The URL is `wss://`, or the proxy's `https://`, and this build has no TLS: enable the feature `tls` of the
    /// crate `tidegate`.
    TlsDisabled,
    /// TLS can't be set up: this system has no root certificates.
    #[cfg(feature = "tls")]
    TlsSettings(crate::TlsError),
    /// A stage failed in the network.
    Io {
        /// Which one.
        stage: Stage,
        /// What the system says.
        source: io::Error,
    },
    /// The time for this stage, or for connecting at all, was over.
    Timeout {
        /// What it was at.
        stage: Stage,
    },
    /// TLS came to nothing: a certificate that is not trusted, not for this name or expired, or no version in
    /// common. The source holds the `rustls::Error`.
    Tls {
        /// What rustls says.
        source: io::Error,
    },
    /// The proxy's answer is no HTTP, or exceeds a limit.
    ProxyAnswer(HandshakeError),
    /// The proxy refused the tunnel: 407 wants credentials, see `Proxy::basic_auth`.
    ProxyRefused(Box<Refused>),
    /// The server's answer breaks the rules: a wrong `Sec-WebSocket-Accept`, an extension or a subprotocol that
    /// was not offered, or no HTTP at all.
    Handshake(HandshakeError),
    /// The server's answer to the offer of permessage-deflate breaks RFC 7692.
    Deflate(BadAnswer),
    /// The server answered something else than 101, or 200 over HTTP/2.
    Refused(Box<Refused>),
    /// The server speaks HTTP/2 but takes no WebSockets over it (RFC 8441), and nothing else was allowed.
    Http2Unsupported,
}

/// An answer that refuses.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// The head that was refused, as it was sent; over HTTP/2 its fields, one a line. It holds whatever secrets
    /// were given.
    pub request: Vec<u8>,
    /// The HTTP status.
    pub status: u16,
    /// The header fields, say `Location`, `Retry-After` or `WWW-Authenticate`; [`Fields::head`] is the whole head.
    pub headers: Fields,
    /// The first 4 KiB of the body, as far as it came within a second. The server wrote it: escape it when
    /// you show it.
    pub body: Vec<u8>,
}

impl fmt::Debug for Refused {
    /// Without the request, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl Refused {
    pub(crate) fn new(request: Vec<u8>, refused: client::Refused, body: Vec<u8>) -> Refused {
        Refused {
            request,
            status: refused.status,
            headers: refused.headers,
            body,
        }
    }

    /// The server's wish to be left alone for so long: `Retry-After` in seconds (RFC 9110 §10.2.3). Its other
    /// form, a date, is not read.
    pub fn retry_after(&self) -> Option<Duration> {
        let value = std::str::from_utf8(self.headers.first("retry-after")?).ok()?;
        let only_digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        only_digits.then(|| value.parse().ok().map(Duration::from_secs))?
    }

    /// Where a redirect leads; none is followed. Without the query, which may hold secrets.
    fn points_to(&self) -> Option<&[u8]> {
        let redirects = (300..400).contains(&self.status);
        let place = self.headers.first("location").filter(|_| redirects)?;
        place.split(|octet| *octet == b'?').next()
    }

    fn is_temporary(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
    }
}

impl ConnectError {
    /// The same attempt may succeed later: the network, the load or a timeout was in the way, not the
    /// request. Wait before you try, longer each time; [`crate::Reconnect`] does.
    pub fn is_retryable(&self) -> bool {
        match self {
            ConnectError::Timeout { .. } => true,
            ConnectError::Io { source, .. } => !matches!(
                source.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
            ),
            ConnectError::Refused(refused) | ConnectError::ProxyRefused(refused) => {
                refused.is_temporary()
            }
            _ => false,
        }
    }

    /// The stage that failed; `None` when nothing was sent at all.
    pub fn stage(&self) -> Option<Stage> {
        match self {
            ConnectError::Io { stage, .. } | ConnectError::Timeout { stage } => Some(*stage),
            ConnectError::ProxyAnswer(_) | ConnectError::ProxyRefused(_) => Some(Stage::Proxy),
            ConnectError::Tls { .. } => Some(Stage::Tls),
            ConnectError::Handshake(_)
            | ConnectError::Deflate(_)
            | ConnectError::Refused(_)
            | ConnectError::Http2Unsupported => Some(Stage::Http),
            _ => None,
        }
    }

    /// The answer, if the server or the proxy refused with one.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            ConnectError::Refused(refused) | ConnectError::ProxyRefused(refused) => Some(refused),
            _ => None,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Url(error) => error.fmt(f),
            ConnectError::Proxy(error) => error.fmt(f),
            ConnectError::Request(error) => error.fmt(f),
            ConnectError::TlsDisabled => f.write_str(
                "wss:// needs the feature \"tls\" of the crate tidegate, which this build is without",
            ),
            #[cfg(feature = "tls")]
            ConnectError::TlsSettings(error) => error.fmt(f),
            ConnectError::Io { stage, source } => write!(f, "{stage} failed: {source}"),
            ConnectError::Timeout { stage } => write!(f, "{stage} took too long"),
            ConnectError::Tls { source } => match in_words(source) {
                Some(words) => write!(f, "the TLS handshake failed: {words}"),
                None => write!(f, "the TLS handshake failed: {source}"),
            },
            ConnectError::ProxyAnswer(error) => write!(f, "the proxy's tunnel failed: {error}"),
            ConnectError::ProxyRefused(refused) if refused.status == 407 => {
                f.write_str("the proxy wants credentials (status 407)")
            }
            ConnectError::ProxyRefused(refused) => {
                write!(f, "the proxy refused with status {}", refused.status)
            }
            ConnectError::Handshake(error) => error.fmt(f),
            ConnectError::Deflate(error) => error.fmt(f),
            ConnectError::Refused(refused) if (200..300).contains(&refused.status) => write!(
                f,
                "the server answered with an ordinary page (status {}): no WebSocket is served at this address",
                refused.status
            ),
            ConnectError::Refused(refused) => {
                write!(f, "the server refused with status {}", refused.status)?;
                match refused.points_to() {
                    Some(place) => write!(f, ", and points to {}", place.escape_ascii()),
                    None => Ok(()),
                }
            }
            ConnectError::Http2Unsupported => {
                f.write_str("the server takes no WebSockets over HTTP/2 (RFC 8441)")
            }
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConnectError::Url(error) => Some(error),
            ConnectError::Proxy(error) => Some(error),
            ConnectError::Request(error) => Some(error),
            #[cfg(feature = "tls")]
            ConnectError::TlsSettings(error) => Some(error),
            ConnectError::Io { source, .. } | ConnectError::Tls { source } => Some(source),
            ConnectError::ProxyAnswer(error) | ConnectError::Handshake(error) => Some(error),
            ConnectError::Deflate(error) => Some(error),
            _ => None,
        }
    }
}

/// The mistakes that rustls has only a variant's name for, and that people make first.
#[cfg(feature = "tls")]
fn in_words(source: &io::Error) -> Option<&'static str> {
    use rustls::{CertificateError, Error, InvalidMessage};
    match source.get_ref()?.downcast_ref()? {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            Some("the server does not speak TLS on this port")
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some("the server's certificate was issued by nobody who is trusted here")
        }
        // Two authorities of one name, such as a development root that was made anew.
        Error::InvalidCertificate(CertificateError::BadSignature) => Some(
            "the server's certificate was not signed by the authority of that name that is trusted here",
        ),
        // rustls does not show the type of this one.
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.0.to_string() == "CaUsedAsEndEntity" =>
        {
            Some(
                "the server's certificate is that of an authority, as `openssl req -x509` makes it; a server's own \
                 has basicConstraints=CA:FALSE",
            )
        }
        _ => None,
    }
}

#[cfg(not(feature = "tls"))]
fn in_words(_: &io::Error) -> Option<&'static str> {
    None
}

macro_rules! from {
    ($($variant:ident($error:ty)),*) => {$(
        impl From<$error> for ConnectError {
            fn from(error: $error) -> ConnectError {
                ConnectError::$variant(error)
            }
        }
    )*};
}

from!(
    Url(BadUrl),
    Proxy(BadProxy),
    Request(RequestError),
    Handshake(HandshakeError),
    Deflate(BadAnswer)
);
