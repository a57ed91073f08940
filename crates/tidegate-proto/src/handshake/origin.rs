//! Who may open a WebSocket from a web page: the `Origin` header (RFC 6454, RFC 6455 §10.2) against a
//! policy; it never looks at cookies or tokens, and a client that is no browser can send what it likes.

use super::authority::Authority;
use super::http1::Request;
use super::server::Refusal;
use std::fmt;
use std::str::FromStr;

/// A web origin: scheme, host and port, as a browser writes it. `null` is none.
///
/// Two are equal when scheme, host and port are; the scheme's default port may be written or left out.
/// Hosts compare as bytes apart from ASCII case: an international name must be given in its `xn--` form.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

/// The text is no origin: `scheme://host` or `scheme://host:port`, without path, user or trailing slash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadOrigin;

impl fmt::Display for BadOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an origin is scheme://host or scheme://host:port, without a path or a trailing slash",
        )
    }
}

impl std::error::Error for BadOrigin {}

impl Origin {
    /// Reads the serialization of RFC 6454 §6.1.
    ///
    /// # Errors
    /// [`BadOrigin`] for all else: `null`, paths, user information, escapes, spaces, lists.
    pub fn parse(text: &str) -> Result<Origin, BadOrigin> {
        let (scheme, authority) = text.split_once("://").ok_or(BadOrigin)?;
        // A browser writes no empty port, no leading zero and no escape; others mean to confuse.
        let odd_port = |port: &str| port.is_empty() || (port.len() > 1 && port.starts_with('0'));
        let after_host = authority.rsplit(']').next().unwrap_or_default();
        if !is_scheme(scheme)
            || authority.contains('%')
            || after_host
                .split_once(':')
                .is_some_and(|(_, port)| odd_port(port))
        {
            return Err(BadOrigin);
        }
        let authority = Authority::parse(authority).ok_or(BadOrigin)?;
        let scheme = scheme.to_ascii_lowercase();
        Ok(Origin {
            host: authority.canonical_host().into_owned(),
            port: authority.port.or(default_port(&scheme)),
            scheme,
        })
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The host, in lower case; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; for a scheme with a default the default where none was written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether a page of this origin came from the host and port that `request` addresses.
    fn is_same_as(&self, request: &Request) -> bool {
        let http = match self.scheme.as_str() {
            // The page was not encrypted, so anyone on its way may have written it.
            "http" => !request.secure(),
            "https" => true,
            _ => false,
        };
        let addressed = request.parsed_authority();
        // Behind a proxy that ends TLS, Host names no port and we see no TLS: the page's scheme tells it.
        let port = addressed.port.or(default_port(&self.scheme));
        http && self.host == addressed.canonical_host() && self.port == port
    }
}

impl FromStr for Origin {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Origin, BadOrigin> {
        Origin::parse(text)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) if Some(port) != default_port(&self.scheme) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

fn is_scheme(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(rest)
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// From which web pages a WebSocket may be opened. Default: the same origin only.
///
/// A request without `Origin` comes from no browser and is allowed: what protects there is authentication.
/// Several `Origin` fields are refused by every policy. This does not protect against DNS rebinding, where
/// `Origin` and `Host` agree on a foreign name: check [`Request::host`] against the names you serve.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum OriginPolicy {
    /// Pages of the host and port that the request addresses, over `http` or `https`; over `https` only
    /// when the connection is encrypted.
    #[default]
    SameOrigin,
    /// Those, and pages of exactly these origins.
    Listed(Vec<Origin>),
    /// Every page on the web, `null` too. Whoever visits one lets it speak with their cookies and from
    /// inside their network.
    Any,
}

impl OriginPolicy {
    /// Whether `request` may go on.
    pub fn allows(&self, request: &Request) -> bool {
        let mut origins = request.fields.all("origin");
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(_), Some(_)) => false,
            (Some(origin), None) => {
                *self == OriginPolicy::Any || self.allows_origin(origin, request)
            }
        }
    }

    /// The `403` for a request that is not allowed.
    pub fn check(&self, request: &Request) -> Result<(), Refusal> {
        match self.allows(request) {
            true => Ok(()),
            false => Err(Refusal::new(
                403,
                "pages of this Origin may not open a WebSocket here: allow the origin in the server's configuration",
            )),
        }
    }

    fn allows_origin(&self, value: &[u8], request: &Request) -> bool {
        let Some(origin) = std::str::from_utf8(value)
            .ok()
            .and_then(|text| Origin::parse(text).ok())
        else {
            return false;
        };
        let listed = matches!(self, OriginPolicy::Listed(origins) if origins.contains(&origin));
        listed || origin.is_same_as(request)
    }
}

#[cfg(test)]
mod tests;
