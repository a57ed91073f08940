//! A request as the protocol core knows it: written down as octets and judged like one that came so, for there is
//! one set of rules.

use http::{Extensions, HeaderMap, Method, Uri, Version};
#[cfg(feature = "http2")]
use tidegate_proto::handshake::connect;
use tidegate_proto::handshake::{Refusal, server};
use tidegate_proto::{HeadLimits, Request};

/// The parts of a request that matter here.
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) version: Version,
    pub(super) headers: &'a HeaderMap,
    #[cfg_attr(not(feature = "http2"), expect(dead_code))]
    pub(super) extensions: &'a Extensions,
}

impl Head<'_> {
    pub(super) fn read(&self, secure: bool, limits: &HeadLimits) -> Result<Request, Refusal> {
        #[cfg(feature = "http2")]
        if self.is_extended_connect() {
            return self.read_connect(limits);
        }
        match server::parse(&self.octets(), secure, limits).0 {
            server::Head::Upgrade(request) => Ok(request),
            server::Head::Plain => Err(crate::server::not_a_websocket()),
            server::Head::Bad(refusal) => Err(refusal),
            server::Head::Incomplete => unreachable!("it ends in an empty line"),
        }
    }

    /// The request came over HTTP/2 or later (RFC 8441).
    pub(super) fn is_extended_connect(&self) -> bool {
        #[cfg(feature = "http2")]
        if *self.method == http::Method::CONNECT {
            let protocol = self.extensions.get::<hyper::ext::Protocol>();
            return protocol.is_some_and(|name| name.as_str() == connect::PROTOCOL);
        }
        false
    }

    #[cfg(feature = "http2")]
    fn read_connect(&self, limits: &HeadLimits) -> Result<Request, Refusal> {
        let bad = || Refusal::new(400, "an extended CONNECT names scheme, authority and path");
        let target = connect::Target {
            scheme: self.uri.scheme_str().ok_or_else(bad)?,
            authority: self.uri.authority().ok_or_else(bad)?.as_str(),
            path: self.uri.path_and_query().ok_or_else(bad)?.as_str(),
        };
        let fields = self.headers.iter();
        let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
        connect::request(&target, fields, limits)
    }

    /// The head. Target and values are the client's; names are in lower case, and fields of one name stand
    /// together, as hyper keeps neither.
    fn octets(&self) -> Vec<u8> {
        let version = match self.version {
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        };
        let mut head = format!("{} {} {version}\r\n", self.method, self.uri).into_bytes();
        for (name, value) in self.headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(part);
            }
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}
