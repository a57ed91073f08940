//! The server behind the guard: where it is, and what of a client's request it is told. It connects nothing
//! and resolves no name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tidegate_proto::Request;
use tidegate_proto::handshake::Fields;

/// Where the server behind the guard is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    /// Its addresses; calls go to them in turn. While there is none, clients get 502.
    pub addresses: Vec<SocketAddr>,
    /// The name that its certificate must be for; `None` without TLS.
    pub server_name: Option<Arc<str>>,
}

/// A field of the request cannot be passed on. The client erred: answer 400.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadField(String);

impl fmt::Display for BadField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the header field {:?} is no text", self.0)
    }
}

impl std::error::Error for BadField {}

/// What the upstream is told beside the handshake's own fields: what the client said end to end, and who the
/// client is as far as we see it ourselves. What a client says about that is dropped (security.md H14).
///
/// # Errors
/// [`BadField`] for a value that is no UTF-8.
pub fn forwarded(request: &Request, seen: &Seen<'_>) -> Result<Vec<(String, String)>, BadField> {
    let named = named_by_connection(request);
    let mut fields = Vec::new();
    for (name, value) in request.headers() {
        let lower = name.to_ascii_lowercase();
        if !is_end_to_end(&lower) || is_claim(&lower) || named.contains(&lower) {
            continue;
        }
        let value = std::str::from_utf8(value).map_err(|_| BadField(name.to_owned()))?;
        fields.push((name.to_owned(), value.to_owned()));
    }
    fields.extend(seen.fields().map(|(name, value)| (name.to_owned(), value)));
    Ok(fields)
}

/// What we see of a client ourselves.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its address.
    pub from: IpAddr,
    /// It came over TLS.
    pub secure: bool,
    /// The host it asked for.
    pub authority: &'a str,
    /// The certificate that it has shown (DER), if the upstream is told.
    pub certificate: Option<&'a [u8]>,
}

impl Seen<'_> {
    /// The fields that say so.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let (from, authority) = (self.from.to_canonical(), self.authority);
        let scheme = if self.secure { "https" } else { "http" };
        //= rfc7239#6  an IPv6 address stands in brackets and quotation marks.
        let node = match from {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("\"[{v6}]\""),
        };
        //= rfc9440#2.2  the certificate's DER as a Byte Sequence, between colons.
        let certificate = self
            .certificate
            .map(|shown| ("Client-Cert", format!(":{}:", STANDARD.encode(shown))));
        let rest = [
            ("X-Forwarded-For", from.to_string()),
            ("X-Forwarded-Host", authority.to_owned()),
            ("X-Forwarded-Proto", scheme.to_owned()),
            ("X-Real-IP", from.to_string()),
            (
                "Forwarded",
                format!("for={node};host=\"{authority}\";proto={scheme}"),
            ),
        ];
        rest.into_iter().chain(certificate)
    }
}

/// Fields that a `Connection` field names are for us alone (RFC 9110 §7.6.1).
fn named_by_connection(request: &Request) -> Vec<String> {
    let connection = request
        .headers()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
    let names = connection.flat_map(|(_, value)| value.split(|octet| *octet == b','));
    names
        .map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase())
        .collect()
}

/// Whether a field, by its name in lower case, is for the server behind us and not for us (RFC 9110 §7.6.1).
pub fn is_end_to_end(name: &str) -> bool {
    const HOP_BY_HOP: [&str; 15] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "origin", // has a place of its own
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    !name.starts_with("sec-websocket-") && !HOP_BY_HOP.contains(&name)
}

/// Whether a field, by its name in lower case, says who somebody is or where they come from in a way that
/// servers believe from proxies: from a client it is a claim, and dropped.
pub fn is_claim(name: &str) -> bool {
    const CLAIMS: [&str; 20] = [
        "cf-connecting-ip",
        "client-cert", // RFC 9440 §4
        "client-cert-chain",
        "client-ip",
        "fastly-client-ip",
        "forwarded",
        "remote-user",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-url",
        "x-original-host",
        "x-real-ip",
        "x-remote-addr",
        "x-remote-user",
        "x-rewrite-url",
        "x-user",
        "x-user-id",
        "x-user-name",
        "x-user-roles",
    ];
    let families = [
        "ssl-client-",
        "x-client-cert",
        "x-client-dn",
        "x-client-verify",
        "x-forwarded-",
        "x-ssl-",
        "x-tidegate-",
        "x-auth-request-",
        "x-authenticated-",
    ];
    families.iter().any(|family| name.starts_with(family))
        || name == "x-forwarded"
        || name.contains('_') // CGI-like servers read X_Real_IP as X-Real-IP
        || CLAIMS.contains(&name)
}

/// What of an upstream's refusal the client is told too.
pub(crate) fn told(headers: &Fields) -> impl Iterator<Item = (&'static str, &str)> {
    const NAMES: [&str; 4] = [
        "Location",
        "Retry-After",
        "Sec-WebSocket-Version",
        "WWW-Authenticate",
    ];
    NAMES.into_iter().filter_map(|name| {
        let value = std::str::from_utf8(headers.first(name)?).ok()?;
        Some((name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_proto::HeadLimits;
    use tidegate_proto::handshake::server::{Head, parse};

    fn request(fields: &str) -> Request {
        let head = format!(
            "GET /a HTTP/1.1\r\nHost: app.example\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
        );
        match parse(head.as_bytes(), false, &HeadLimits::default()) {
            (Head::Upgrade(request), _) => request,
            other => panic!("{other:?}"),
        }
    }

    fn fields_of(request: &Request, from: &str) -> Vec<(String, String)> {
        forwarded(request, &seen(request, from)).expect("text")
    }

    fn seen<'a>(request: &'a Request, from: &str) -> Seen<'a> {
        Seen {
            from: from.parse().expect("an address"),
            secure: request.secure(),
            authority: request.authority(),
            certificate: request.certificate(),
        }
    }

    #[test]
    fn what_is_for_us_or_claimed_stays_here_and_the_rest_goes_on() {
        let request = request(
            "Connection: Upgrade, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
             Proxy-Authorization: x\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
             X-Real-IP: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nClient-Cert: :6666:\r\nClient-Cert-Chain: :6666:\r\n\
             X-SSL-Client-S-DN: CN=6.6.6.6\r\nX-Client-Cert: 6\r\nX-Forwarded-Client-Cert: 6\r\nX-User-Id: admin\r\nX-Tidegate-Sub: admin\r\n\
             Cookie: a=b\r\nAuthorization: Bearer t\r\nUser-Agent: me\r\nX-Own: kept\r\n",
        );
        let fields = fields_of(&request, "192.0.2.7");
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "Cookie",
                "Authorization",
                "User-Agent",
                "X-Own",
                "X-Forwarded-For",
                "X-Forwarded-Host",
                "X-Forwarded-Proto",
                "X-Real-IP",
                "Forwarded"
            ]
        );
        assert!(fields.iter().all(|(_, value)| !value.contains("6.6.6.6")));
    }

    #[test]
    fn who_the_client_is_is_said_as_the_rfc_wants_it() {
        let request = request("Connection: Upgrade\r\n");
        let said = |from: &str| fields_of(&request, from).pop().expect("Forwarded").1;
        let rest = "host=\"app.example\";proto=http";
        assert_eq!(said("192.0.2.7"), format!("for=192.0.2.7;{rest}"));
        assert_eq!(said("::ffff:192.0.2.7"), format!("for=192.0.2.7;{rest}"));
        assert_eq!(said("2001:db8::1"), format!("for=\"[2001:db8::1]\";{rest}"));
    }

    #[test]
    fn a_certificate_is_told_as_the_rfc_wants_it_and_never_as_the_client_does() {
        let request = request("Connection: Upgrade\r\nClient-Cert: :Zm9yZ2Vk:\r\n");
        let certs = |request: &Request| {
            let fields = fields_of(request, "192.0.2.7").into_iter();
            let certs = fields.filter(|(name, _)| name.eq_ignore_ascii_case("client-cert"));
            certs.map(|(_, value)| value).collect::<Vec<_>>()
        };
        assert!(certs(&request).is_empty());
        let shown = request.with_certificate(Some([1, 2, 3, 4].as_slice().into()));
        assert_eq!(certs(&shown), [":AQIDBA==:"]);
    }

    #[test]
    fn a_field_that_is_no_text_is_refused() {
        let head = b"GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nX-A: \xFF\r\n\r\n";
        let (head, _) = parse(head, false, &HeadLimits::default());
        let Head::Upgrade(request) = head else {
            panic!("{head:?}")
        };
        let error = forwarded(&request, &seen(&request, "127.0.0.1")).expect_err("it is no text");
        assert_eq!(error.to_string(), "the header field \"X-A\" is no text");
    }
}
