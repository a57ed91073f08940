//! Why no connection came about: which stage failed, and whether another try may help.

use super::url::BadUrl;
use std::fmt;
use std::io;
use tidegate_proto::handshake::Fields;
use tidegate_proto::handshake::client::{HandshakeError, RequestError};

/// What connecting was at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Stage {
    /// Looking the host's name up.
    Dns,
    /// Opening the TCP connection.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// The WebSocket handshake over HTTP.
    Http,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Dns => "looking the name up",
            Stage::Tcp => "the TCP connection",
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
    /// A header, a subprotocol or the like can't be sent.
    Request(RequestError),
    /// The URL is `wss://`, and this build has no TLS: enable the feature `tls` of the crate `tidegate`.
    TlsDisabled,
    /// TLS can't be used with the settings given, or this system has no root certificates.
    TlsSettings(String),
    /// A stage failed in the network.
    Io {
        /// Which one.
        stage: Stage,
        /// What the system says.
        source: io::Error,
    },
    /// The time for connecting was over.
    Timeout {
        /// What it was at.
        stage: Stage,
    },
    /// The server's answer breaks the rules.
    Handshake(HandshakeError),
    /// The server answered something else than 101.
    Refused(Box<Refused>),
}

/// An answer that is no 101.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The header fields, say `Location`, `Retry-After` or `WWW-Authenticate`.
    pub headers: Fields,
    /// The first 4 KiB of the body, as far as it came within a second. The server wrote it: escape it when
    /// you show it.
    pub body: Vec<u8>,
}

impl ConnectError {
    /// The same attempt may succeed later: the network, the load or a timeout was in the way, not the
    /// request. Wait before you try, longer each time.
    pub fn is_retryable(&self) -> bool {
        match self {
            ConnectError::Timeout { .. } => true,
            ConnectError::Io { stage, source } => {
                // A certificate that is not trusted will not be trusted in a minute.
                *stage != Stage::Tls || source.kind() != io::ErrorKind::InvalidData
            }
            ConnectError::Refused(refused) => {
                matches!(refused.status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    /// The stage that failed; `None` when nothing was sent at all.
    pub fn stage(&self) -> Option<Stage> {
        match self {
            ConnectError::Io { stage, .. } | ConnectError::Timeout { stage } => Some(*stage),
            ConnectError::Handshake(_) | ConnectError::Refused(_) => Some(Stage::Http),
            _ => None,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Url(error) => error.fmt(f),
            ConnectError::Request(error) => error.fmt(f),
            ConnectError::TlsDisabled => f.write_str(
                "wss:// needs the feature \"tls\" of the crate tidegate, which this build is without",
            ),
            ConnectError::TlsSettings(detail) => write!(f, "TLS can't be used: {detail}"),
            ConnectError::Io { stage, source } => write!(f, "{stage} failed: {source}"),
            ConnectError::Timeout { stage } => write!(f, "{stage} took too long"),
            ConnectError::Handshake(error) => error.fmt(f),
            ConnectError::Refused(refused) => {
                write!(f, "the server refused with status {}", refused.status)
            }
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConnectError::Url(error) => Some(error),
            ConnectError::Request(error) => Some(error),
            ConnectError::Io { source, .. } => Some(source),
            ConnectError::Handshake(error) => Some(error),
            _ => None,
        }
    }
}

impl From<BadUrl> for ConnectError {
    fn from(error: BadUrl) -> ConnectError {
        ConnectError::Url(error)
    }
}

impl From<RequestError> for ConnectError {
    fn from(error: RequestError) -> ConnectError {
        ConnectError::Request(error)
    }
}

impl From<HandshakeError> for ConnectError {
    fn from(error: HandshakeError) -> ConnectError {
        ConnectError::Handshake(error)
    }
}
