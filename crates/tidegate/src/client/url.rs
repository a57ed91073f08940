//! `ws:` and `wss:` URLs (RFC 6455 §3), taken apart as the handshake needs them; it resolves no name.

use crate::dial::credentials;
use std::fmt;

/// The parts of a URL.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) secure: bool,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// For `Host`: without a default port.
    pub(super) authority: String,
    /// Path and query, `/` first.
    pub(super) path: String,
    /// `Basic …`, from user information.
    pub(super) authorization: Option<String>,
}

/// The text is no URL that can be connected to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BadUrl {
    /// The scheme is not `ws` or `wss`.
    Scheme,
    /// There is no host, or it is malformed.
    Host,
    /// The port is no number from 1 to 65535.
    Port,
    /// There is a fragment (`#…`), which RFC 6455 §3 forbids.
    Fragment,
    /// User name or password has a broken escape.
    UserInfo,
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadUrl::Scheme => "the URL must begin with ws:// or wss://",
            BadUrl::Host => "the URL has no host, or a malformed one",
            BadUrl::Port => "the URL's port must be a number from 1 to 65535",
            BadUrl::Fragment => "the URL must not have a fragment: leave out '#' and what follows",
            BadUrl::UserInfo => "the URL's user information has a broken %-escape",
        })
    }
}

impl std::error::Error for BadUrl {}

impl fmt::Debug for Target {
    /// Without credentials and query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.authority, self.secure)
    }
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Target, BadUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(BadUrl::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            _ => return Err(BadUrl::Scheme),
        };
        //= rfc6455#3  fragment identifiers must not be used on these URIs.
        if rest.contains('#') {
            return Err(BadUrl::Fragment);
        }
        let (place, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (user, place) = match place.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, place),
        };
        let (host, port) = split_port(place)?;
        let default = if secure { 443 } else { 80 };
        let port = port.unwrap_or(default);
        Ok(Target {
            secure,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority: match port == default {
                true => host.to_owned(),
                false => format!("{host}:{port}"),
            },
            path: match path.starts_with('/') {
                true => path.to_owned(),
                false => format!("/{path}"),
            },
            authorization: user
                .map(|user| credentials(user).ok_or(BadUrl::UserInfo))
                .transpose()?,
        })
    }
}

fn split_port(place: &str) -> Result<(&str, Option<u16>), BadUrl> {
    let end = match place.starts_with('[') {
        true => place.find(']').ok_or(BadUrl::Host)? + 1,
        false => place.find(':').unwrap_or(place.len()),
    };
    let (host, rest) = place.split_at(end);
    if host.is_empty() || host == "[]" {
        return Err(BadUrl::Host);
    }
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok((host, None)),
        None => Err(BadUrl::Host),
        Some("") => Ok((host, None)),
        Some(digits) => match digits.parse() {
            Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                Ok((host, Some(port)))
            }
            _ => Err(BadUrl::Port),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let rows = [
            ("ws://a", false, "a", 80, "a", "/"),
            ("WS://A.b/c?d=e", false, "A.b", 80, "A.b", "/c?d=e"),
            ("wss://a:443/x", true, "a", 443, "a", "/x"),
            ("wss://a:80?q", true, "a", 80, "a:80", "/?q"),
            ("ws://[::1]:9001/@", false, "::1", 9001, "[::1]:9001", "/@"),
            ("ws://u:p@h:/", false, "h", 80, "h", "/"),
        ];
        for (url, secure, host, port, authority, path) in rows {
            let got = Target::parse(url).expect(url);
            assert_eq!((got.secure, got.port), (secure, port), "{url}");
            assert_eq!((&*got.host, &*got.authority), (host, authority), "{url}");
            assert_eq!(got.path, path, "{url}");
        }
    }

    #[test]
    fn user_information_becomes_basic_authorization() {
        let rows = [
            (
                "ws://Aladdin:open%20sesame@h/",
                Ok("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ),
            ("ws://a@h", Ok("Basic YTo=")),
            ("ws://a%2@h", Err(BadUrl::UserInfo)),
            ("ws://a%é1@h", Err(BadUrl::UserInfo)),
            ("ws://a%+1@h", Err(BadUrl::UserInfo)),
        ];
        for (url, expected) in rows {
            let got = Target::parse(url).map(|target| target.authorization.unwrap());
            assert_eq!(got.as_deref().map_err(|e| *e), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_named() {
        let rows = [
            ("http://a", BadUrl::Scheme),
            ("a.b/c", BadUrl::Scheme),
            ("ws:///x", BadUrl::Host),
            ("ws://u@/x", BadUrl::Host),
            ("ws://[::1", BadUrl::Host),
            ("ws://[::1]x", BadUrl::Host),
            ("ws://a:0", BadUrl::Port),
            ("ws://a:+80", BadUrl::Port),
            ("ws://a:65536", BadUrl::Port),
            ("ws://a/#b", BadUrl::Fragment),
        ];
        for (url, expected) in rows {
            assert_eq!(Target::parse(url), Err(expected), "{url}");
        }
    }
}
