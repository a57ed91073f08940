//! An HTTP/1.1 request head that asks for a WebSocket, as its raw octets and offsets; it never decodes the
//! path and never judges who may connect.

use super::authority::Authority;
use super::extensions::{Extension, parse_offers};
use super::fields::{Fields, Span, list};
use std::borrow::Cow;
use std::sync::Arc;

/// A request for a WebSocket that follows RFC 6455 §4.2.1. Only [`super::server::parse`] makes one, so all
/// that this page says of it has been checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub(super) fields: Fields,
    pub(super) method: Span,
    pub(super) path: Span,
    pub(super) query: Option<Span>,
    pub(super) authority: Span,
    pub(super) key: Span,
    pub(super) secure: bool,
    pub(super) certificate: Option<Arc<[u8]>>,
}

impl Request {
    /// The whole head as it came, up to and with the empty line.
    pub fn head(&self) -> &[u8] {
        self.fields.head()
    }

    /// The method; `GET` over HTTP/1.1.
    pub fn method(&self) -> &str {
        self.fields.text(self.method)
    }

    /// The target's path **as sent**, without the query: it begins with `/`, is visible ASCII, and nothing
    /// is decoded. So `%2f`, `..`, `;` and `\` are still there for routes to refuse; a route that decodes
    /// must do so once, and forward what it matched.
    pub fn path(&self) -> &str {
        match self.path.is_empty() {
            //= rfc6455#3  an empty path is "/".
            true => "/",
            false => self.fields.text(self.path),
        }
    }

    /// The target's query as sent, without the `?`. It may hold secrets: keep it out of logs.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| self.fields.text(span))
    }

    /// The first query parameter of that name, decoded (`%xx` and `+`). One whose value is no UTF-8 or has
    /// a broken escape counts as absent.
    pub fn query_param(&self, name: &str) -> Option<Cow<'_, str>> {
        let pairs = self.query()?.split('&');
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(key, _)| decode(key).as_deref() == Some(name))
            .and_then(|(_, value)| decode(value))
    }

    /// The first field of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.fields.first(name)
    }

    /// The first field of that name, if it is UTF-8.
    pub fn header_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.header(name)?).ok()
    }

    /// All fields in the order they came.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter()
    }

    /// `host[:port]` as sent: of the target when it is in absolute-form, else of `Host`
    /// (RFC 9112 §3.2.2). It is well formed; whether it is a name of ours is not judged here.
    pub fn authority(&self) -> &str {
        self.fields.text(self.authority)
    }

    /// The authority's host, in lower case; IPv6 addresses in brackets and their canonical spelling.
    pub fn host(&self) -> Cow<'_, str> {
        self.parsed_authority().canonical_host()
    }

    /// The authority's port, if it names one.
    pub fn port(&self) -> Option<u16> {
        self.parsed_authority().port
    }

    pub(super) fn parsed_authority(&self) -> Authority<'_> {
        Authority::parse(self.authority()).expect("checked when the head was parsed")
    }

    /// The first `Origin` field, for people to read; `None` also when it is no UTF-8. To decide, use
    /// [`super::OriginPolicy`], which sees repeated and broken ones.
    pub fn origin(&self) -> Option<&str> {
        self.header_str("origin")
    }

    /// The subprotocols offered, in the client's order over all lines; tokens, none twice.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.fields
            .all("sec-websocket-protocol")
            .flat_map(list)
            .map(|name| {
                std::str::from_utf8(name).expect("a token, checked when the head was parsed")
            })
    }

    /// The values of the `Sec-WebSocket-Extensions` fields as they came; each follows the grammar.
    pub fn extensions(&self) -> impl Iterator<Item = &[u8]> {
        self.fields.all("sec-websocket-extensions")
    }

    /// The extensions offered, in the client's order over all lines.
    pub fn offers(&self) -> Vec<Extension<'_>> {
        self.extensions()
            .flat_map(|value| parse_offers(value).expect("checked when the head was parsed"))
            .collect()
    }

    /// The `Sec-WebSocket-Key`: the base64 form of 16 octets.
    pub fn key(&self) -> &[u8] {
        self.fields.octets(self.key)
    }

    /// Whether the connection is encrypted, as far as this process sees it.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// The certificate that the client has shown (X.509, DER), if its transport asked for one and has verified it; never
    /// what a field of the request says. What it means is not judged here.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    /// The same request of a client that has shown this certificate. Whoever holds the transport has verified it: the chain,
    /// and that the client has the key.
    #[must_use]
    pub fn with_certificate(self, certificate: Option<Arc<[u8]>>) -> Request {
        Request {
            certificate,
            ..self
        }
    }
}

/// Shows method, path and authority: the query and the values of fields may be secret.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method())
            .field("path", &self.path())
            .field("authority", &self.authority())
            .field("secure", &self.secure)
            .finish_non_exhaustive()
    }
}

/// The parts of a request target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Target<'a> {
    /// Of the absolute-form only.
    pub(super) authority: Option<&'a str>,
    /// Begins with `/`, or is empty in the absolute-form.
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads an origin-form or an absolute-form (RFC 9112 §3.2). The error says what is wrong.
    pub(super) fn parse(target: &'a str) -> Result<Target<'a>, &'static str> {
        if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "the request target holds characters that are not visible ASCII: percent-encode them",
            );
        }
        //= rfc6455#3  fragment identifiers are meaningless here and must not be used.
        if target.contains('#') {
            return Err("the request target holds a fragment: leave out '#' and what follows");
        }
        let (authority, rest) = match target.starts_with('/') {
            true => (None, target),
            false => absolute(target).map(|(authority, rest)| (Some(authority), rest))?,
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        Ok(Target {
            authority,
            path,
            query,
        })
    }
}

/// The authority of an absolute-form and what follows it.
fn absolute(target: &str) -> Result<(&str, &str), &'static str> {
    let known = |scheme: &str| {
        ["ws", "wss", "http", "https"]
            .iter()
            .any(|s| s.eq_ignore_ascii_case(scheme))
    };
    let (_, rest) = target
        .split_once("://")
        .filter(|(scheme, _)| known(scheme))
        .ok_or("the request target must be a path that begins with '/', or an absolute ws, wss, http or https URL")?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if Authority::parse(authority).is_none() {
        return Err("the request target's authority must be host or host:port");
    }
    Ok((authority, rest))
}

/// Undoes percent-encoding and `+`; `None` for a broken escape or what is no UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        octets.push(match byte {
            b'+' => b' ',
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(octets).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::testing::upgrade;

    #[test]
    fn targets_are_split() {
        let rows = [
            ("/", None, "/", None),
            ("/a/b?x=1?y", None, "/a/b", Some("x=1?y")),
            ("/?", None, "/", Some("")),
            ("//evil.example/x", None, "//evil.example/x", None),
            ("/%2e%2e/;a\\b", None, "/%2e%2e/;a\\b", None),
            ("ws://h:81/p?q", Some("h:81"), "/p", Some("q")),
            ("WSS://h", Some("h"), "", None),
            ("http://[::1]?q=/", Some("[::1]"), "", Some("q=/")),
            ("https://h/", Some("h"), "/", None),
        ];
        for (target, authority, path, query) in rows {
            let expected = Target {
                authority,
                path,
                query,
            };
            assert_eq!(Target::parse(target), Ok(expected), "{target}");
        }
    }

    #[test]
    fn targets_of_another_form_are_refused() {
        for bad in [
            "",
            "*",
            "a",
            "h:80",
            "ftp://h/",
            "ws:/h/",
            "ws:h",
            "ws://",
            "ws:///p",
            "ws://u@h/",
            "ws://u:p@h/",
            "ws://h:x/",
            "/#",
            "/a#b",
            "ws://h/#f",
            "/é",
            "/\u{7f}",
            "/a b",
            "ws://a,b/",
            "://h/",
            "?q",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn query_parameters_are_decoded_once() {
        let request = upgrade(
            "/p?a=1&b=x%20y+z&a=2&empty=&flag&bad=%zz&cut=%2&raw=%ff&%61%62=c&t=%2541&u=%C3%A9",
        );
        let rows = [
            ("a", Some("1")),
            ("b", Some("x y z")),
            ("empty", Some("")),
            ("flag", Some("")),
            ("bad", None),
            ("cut", None),
            ("raw", None),
            ("ab", Some("c")),
            ("t", Some("%41")),
            ("u", Some("é")),
            ("none", None),
        ];
        for (name, value) in rows {
            assert_eq!(request.query_param(name).as_deref(), value, "{name}");
        }
        assert_eq!(upgrade("/p").query_param("a"), None);
    }

    #[test]
    fn logs_show_no_secret() {
        let request = upgrade("/p?token=hush");
        let shown = format!("{request:?} {:?}", request.fields);
        assert!(
            shown.contains("/p") && !shown.contains("hush") && !shown.contains("dGhl"),
            "{shown}"
        );
    }
}
