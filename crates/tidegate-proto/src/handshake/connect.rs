//! The opening handshake over HTTP/2 (RFC 8441): an extended CONNECT in the place of an upgrade. It translates
//! to and from the HTTP/1.1 form, so that nothing else of the core learns which HTTP carried a WebSocket; it
//! never sees an HTTP/2 frame.
//!
//! ```text
//!   server:  :method CONNECT, :protocol websocket ─► to_http1 ─► server::parse ─► 101 ─► Translated   200
//!   client:  ConnectHandshake::new ─► fields() ─► (the stream) ─► judge ─► Accepted | Refused | error
//! ```

use super::authority::Authority;
use super::client::{
    Accepted, Answer, ClientHandshake, ClientRequest, HandshakeError, Refused, RequestError,
    ResponseHead,
};
use super::fields::{Fields, is_field_value, is_token};
use super::http1::Request;
use super::key;
use super::server::{self, Head, Refusal};
use crate::config::HeadLimits;

/// The value of `:protocol`, and the SETTINGS parameter that allows it (RFC 8441 §3, §9).
pub const PROTOCOL: &str = "websocket";
/// SETTINGS_ENABLE_CONNECT_PROTOCOL.
pub const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;

/// The pseudo-header fields of an extended CONNECT whose `:protocol` is `websocket`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    /// `:scheme`: `https` for wss, `http` for ws.
    pub scheme: &'a str,
    /// `:authority`.
    pub authority: &'a str,
    /// `:path`, query included.
    pub path: &'a str,
}

/// A client's handshake over HTTP/2.
///
/// ```
/// use tidegate_proto::handshake::client::{Answer, ClientRequest};
/// use tidegate_proto::handshake::connect::ConnectHandshake;
///
/// let request = ClientRequest {
///     subprotocols: &["chat"],
///     ..ClientRequest::new("example.com", "/room", [0; 16])
/// };
/// let handshake = ConnectHandshake::new(&request).unwrap();
/// let fields: Vec<_> = handshake.fields().collect();
/// assert_eq!(fields, [("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")]);
///
/// let answer = handshake.judge(200, [("sec-websocket-protocol", &b"chat"[..])]);
/// assert!(matches!(answer, Ok(Answer::Accepted(accepted)) if accepted.subprotocol.as_deref() == Some("chat")));
/// ```
#[derive(Clone, Debug)]
pub struct ConnectHandshake {
    /// Knows what was offered; its key is not used.
    offered: ClientHandshake,
    fields: Vec<(String, String)>,
}

impl ConnectHandshake {
    /// Checks `request` and writes its fields down. Its key is not sent.
    ///
    /// # Errors
    /// [`RequestError`] when a part can't be sent as it is.
    pub fn new(request: &ClientRequest<'_>) -> Result<ConnectHandshake, RequestError> {
        let offered = ClientHandshake::new(request)?;
        let protocols = request.subprotocols.join(", ");
        let own = [
            ("sec-websocket-version", Some("13")),
            ("origin", request.origin),
            (
                "sec-websocket-protocol",
                (!protocols.is_empty()).then_some(&*protocols),
            ),
            ("sec-websocket-extensions", request.extensions),
        ];
        let own = own
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let mut fields = Vec::new();
        for (name, value) in own.chain(request.headers.iter().copied()) {
            //= rfc9113#8.2.2  connection-specific fields must not be sent; the others of them are reserved already.
            if name.eq_ignore_ascii_case("proxy-connection") {
                return Err(RequestError::Reserved(name.to_owned()));
            }
            //= rfc9113#8.2  names must be in lower case.
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Ok(ConnectHandshake { offered, fields })
    }

    /// The fields to send beside the pseudo-header fields, their names in lower case.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Judges the answer: its status and all its fields. `head_length` and `body_start` of the result mean
    /// nothing here and are 0.
    ///
    /// # Errors
    /// [`HandshakeError`] when it accepts what was not offered, or more than one subprotocol.
    pub fn judge<'a>(
        &self,
        status: u16,
        fields: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Answer, HandshakeError> {
        let fields = Fields::written(&format!("HTTP/2 {status}"), fields.into_iter())
            .ok_or(HandshakeError::NotHttp)?;
        //= rfc9110#9.3.6  2xx is what opens a tunnel; RFC 8441 changes nothing in that.
        if !(200..=299).contains(&status) {
            return Ok(Answer::Refused(Refused {
                status,
                reason: String::new(),
                headers: fields,
                body_start: 0,
            }));
        }
        //= rfc8441#5  Sec-WebSocket-Accept is not processed, subprotocol and extensions are.
        Ok(Answer::Accepted(Accepted {
            subprotocol: self.offered.subprotocol(&fields)?,
            extensions: self.offered.extensions(&fields)?,
            headers: fields,
            head_length: 0,
        }))
    }
}

/// The request in HTTP/1.1's form, for an endpoint or [`server::parse`] to judge: whatever RFC 6455 says of
/// headers, origins and subprotocols holds as ever.
///
/// # Errors
/// [`Refusal`] when the request is none that RFC 8441 and RFC 9113 allow. Its status fits HTTP/2.
pub fn to_http1<'a>(
    target: &Target<'_>,
    fields: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Vec<u8>, Refusal> {
    check_target(target)?;
    let mut head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {}\r\n",
        target.path,
        target.authority,
        // Nobody compares its accept value; the endpoint wants one that is well formed.
        std::str::from_utf8(&key::encode([0; 16])).expect("base64 is ASCII"),
    )
    .into_bytes();
    let mut cookies = Vec::new();
    for (name, value) in fields {
        if !is_token(name.as_bytes()) || !is_field_value(value) {
            return Err(refusal("a header field may not stand in a request"));
        }
        match Kind::of(name, value) {
            Kind::Forbidden => {
                return Err(refusal(
                    "a header field of HTTP/1.1 connections has no place in HTTP/2",
                ));
            }
            Kind::Host if !value.eq_ignore_ascii_case(target.authority.as_bytes()) => {
                return Err(refusal("Host and :authority differ"));
            }
            Kind::Host | Kind::Ignored => {}
            //= rfc9113#8.2.3  cookies may come in pieces, which are joined before they leave HTTP/2.
            Kind::Cookie if cookies.is_empty() => cookies.extend_from_slice(value),
            Kind::Cookie => cookies.extend([b"; ", value].concat()),
            Kind::Other => push(&mut head, name, value),
        }
    }
    if !cookies.is_empty() {
        push(&mut head, "cookie", &cookies);
    }
    head.extend_from_slice(b"\r\n");
    Ok(head)
}

/// The request as every handler and acceptor sees it.
///
/// # Errors
/// [`Refusal`]: answer with it; [`Translated::of_refusal`] has its fields.
pub fn request<'a>(
    target: &Target<'_>,
    fields: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    limits: &HeadLimits,
) -> Result<Request, Refusal> {
    let head = to_http1(target, fields)?;
    match server::parse(&head, target.scheme == "https", limits) {
        (Head::Upgrade(request), length) if length == head.len() => Ok(request),
        (Head::Bad(refusal), _) => Err(refusal),
        // A path cannot end the head early, nor can a field that was checked.
        _ => Err(refusal("the request is not well formed")),
    }
}

fn check_target(target: &Target<'_>) -> Result<(), Refusal> {
    //= rfc8441#5  the scheme is http for ws and https for wss.
    if !matches!(target.scheme, "http" | "https") {
        return Err(refusal(":scheme must be http or https"));
    }
    //= rfc8441#4  :scheme and :path must be included, and :authority says whom the request is for.
    if Authority::parse(target.authority).is_none() {
        return Err(refusal(":authority must be host or host:port"));
    }
    let visible = target.path.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || !target.path.starts_with('/') {
        return Err(refusal(":path must begin with '/' and be percent-encoded"));
    }
    Ok(())
}

fn push(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// What is done with a field on its way to HTTP/1.1.
enum Kind {
    Host,
    Cookie,
    /// It would mean something else there, or something at all.
    Forbidden,
    Ignored,
    Other,
}

impl Kind {
    fn of(name: &str, value: &[u8]) -> Kind {
        match name.to_ascii_lowercase().as_str() {
            "host" => Kind::Host,
            "cookie" => Kind::Cookie,
            //= rfc9113#8.2.2  a request with connection-specific fields is malformed.
            "connection" | "upgrade" | "keep-alive" | "proxy-connection" | "transfer-encoding" => {
                Kind::Forbidden
            }
            "te" if !value.eq_ignore_ascii_case(b"trailers") => Kind::Forbidden,
            //= rfc8441#5  key and accept are not processed.
            "sec-websocket-key" | "sec-websocket-accept" | "te" => Kind::Ignored,
            _ => Kind::Other,
        }
    }
}

fn refusal(message: &str) -> Refusal {
    Refusal::new(400, message)
}

/// An HTTP/1.1 answer to a request that came by [`to_http1`], in HTTP/2's form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Translated {
    /// 200 where HTTP/1.1 says 101.
    pub status: u16,
    /// How long the answer's head was; what follows are frames, or the body of a refusal.
    pub head_length: usize,
    fields: Fields,
}

impl Translated {
    /// Reads the answer at the start of `bytes`; `None` while its head is incomplete.
    ///
    /// # Errors
    /// [`HandshakeError`] when that is no answer: a mistake of whoever wrote it.
    pub fn read(bytes: &[u8]) -> Result<Option<Translated>, HandshakeError> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head_length = end + 4;
        let head = ResponseHead::parse(&bytes[..head_length])?;
        let status = match head.status {
            101 => 200,
            //= rfc9110#15.5.22  a 426 must carry Upgrade, which HTTP/2 does not have.
            426 => 400,
            status => status,
        };
        Ok(Some(Translated {
            status,
            head_length,
            fields: head.fields,
        }))
    }

    /// A refusal's status, fields and body.
    pub fn of_refusal(refusal: &Refusal) -> (Translated, Vec<u8>) {
        let mut bytes = Vec::new();
        server::refuse(refusal, &mut bytes);
        let read = Translated::read(&bytes).ok().flatten();
        let translated = read.expect("a refusal is a whole answer");
        let body = bytes.split_off(translated.head_length);
        (translated, body)
    }

    /// Whether the WebSocket is open.
    pub fn is_open(&self) -> bool {
        self.status == 200
    }

    /// The fields to send, without those that only HTTP/1.1 has. Names are as they were written: HTTP/2 wants
    /// them in lower case.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        const HTTP1: [&str; 5] = [
            "connection",
            "upgrade",
            "keep-alive",
            "transfer-encoding",
            "sec-websocket-accept",
        ];
        let stays = |name: &str| !HTTP1.iter().any(|own| own.eq_ignore_ascii_case(name));
        self.fields.iter().filter(move |(name, _)| stays(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::origin::OriginPolicy;
    use crate::handshake::server::Response;

    const TARGET: Target<'_> = Target {
        scheme: "https",
        authority: "example.com",
        path: "/chat?x=1",
    };
    const VERSION: (&str, &[u8]) = ("sec-websocket-version", b"13");

    fn judged(target: &Target<'_>, fields: &[(&str, &[u8])]) -> Result<Request, Refusal> {
        request(target, fields.iter().copied(), &HeadLimits::default())
    }

    #[test]
    fn a_good_request_is_seen_as_any_other() {
        let fields: &[(&str, &[u8])] = &[
            VERSION,
            ("origin", b"https://example.com"),
            ("sec-websocket-protocol", b"a, b"),
            ("sec-websocket-extensions", b"permessage-deflate"),
            ("cookie", b"a=1"),
            ("x-own", b"\xe9"),
            ("cookie", b"b=2"),
            ("te", b"trailers"),
            ("host", b"Example.com"),
        ];
        let request = judged(&TARGET, fields).expect("it is good");
        assert_eq!((request.path(), request.query()), ("/chat", Some("x=1")));
        assert_eq!(
            (request.authority(), request.secure()),
            ("example.com", true)
        );
        assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(request.header("cookie"), Some(&b"a=1; b=2"[..]));
        assert_eq!(request.header("x-own"), Some(&b"\xe9"[..]));
        assert_eq!(request.header("te"), None);
        assert_eq!(request.offers().len(), 1);
    }

    #[test]
    fn what_http2_or_rfc_6455_forbids_is_refused() {
        let http = |scheme| Target { scheme, ..TARGET };
        let at = |authority| Target {
            authority,
            ..TARGET
        };
        let to = |path| Target { path, ..TARGET };
        type Fields = &'static [(&'static str, &'static [u8])];
        let rows: &[(Target<'_>, Fields, u16)] = &[
            (http("ftp"), &[VERSION], 400),
            (at(""), &[VERSION], 400),
            (at("a b"), &[VERSION], 400),
            (to("*"), &[VERSION], 400),
            (to("/a b"), &[VERSION], 400),
            (to("/ HTTP/1.1\r\nX: y"), &[VERSION], 400),
            (TARGET, &[VERSION, ("connection", b"keep-alive")], 400),
            (TARGET, &[VERSION, ("upgrade", b"websocket")], 400),
            (TARGET, &[VERSION, ("transfer-encoding", b"chunked")], 400),
            (TARGET, &[VERSION, ("te", b"gzip")], 400),
            (TARGET, &[VERSION, ("host", b"other.example")], 400),
            (TARGET, &[VERSION, ("x", b"1\r\ny: 2")], 400),
            (TARGET, &[VERSION, (":path", b"/")], 400),
            (TARGET, &[VERSION, ("content-length", b"1")], 400),
            (TARGET, &[], 426),
            (TARGET, &[("sec-websocket-version", b"8")], 426),
        ];
        for (target, fields, status) in rows {
            let refusal = judged(target, fields).expect_err("it must be refused");
            assert_eq!(refusal.status, *status, "{target:?} {fields:?}");
        }
    }

    #[test]
    fn a_foreign_origin_is_refused_as_over_http1() {
        let origin = |origin| judged(&TARGET, &[VERSION, ("origin", origin)]).expect("it is good");
        let same = OriginPolicy::SameOrigin;
        assert!(same.allows(&origin(b"https://example.com")));
        assert!(!same.allows(&origin(b"https://evil.example")));
    }

    #[test]
    fn a_key_is_neither_needed_nor_looked_at() {
        let fields: &[(&str, &[u8])] = &[VERSION, ("sec-websocket-key", b"nonsense")];
        assert!(judged(&TARGET, fields).is_ok());
    }

    #[test]
    fn a_101_becomes_a_200_without_what_only_http1_has() {
        let fields: &[(&str, &[u8])] = &[VERSION, ("sec-websocket-protocol", b"a")];
        let request = judged(&TARGET, fields).expect("it is good");
        let mut answer = Vec::new();
        let response = Response {
            subprotocol: Some("a"),
            headers: &[("Set-Cookie", "c=d")],
            ..Response::default()
        };
        response
            .write(&request, &mut answer)
            .expect("it is offered");
        let head_length = answer.len();
        for end in 0..head_length {
            assert_eq!(Translated::read(&answer[..end]), Ok(None));
        }
        answer.extend_from_slice(b"\x81\x02hi");
        let translated = Translated::read(&answer).expect("HTTP").expect("whole");
        assert!(translated.is_open());
        assert_eq!(
            (translated.status, translated.head_length),
            (200, head_length)
        );
        let fields: Vec<_> = translated.fields().map(|(name, _)| name).collect();
        assert_eq!(fields, ["Sec-WebSocket-Protocol", "Set-Cookie"]);
    }

    #[test]
    fn a_refusal_keeps_its_words_and_426_loses_its_upgrade() {
        let refusal = judged(&TARGET, &[]).expect_err("no version");
        let (translated, body) = Translated::of_refusal(&refusal);
        assert_eq!(translated.status, 400);
        let version = translated
            .fields()
            .find(|(name, _)| *name == "Sec-WebSocket-Version");
        assert_eq!(version.map(|(_, value)| value), Some(&b"13"[..]));
        assert!(
            translated
                .fields()
                .all(|(name, _)| name != "Upgrade" && name != "Connection")
        );
        assert!(body.starts_with(b"Sec-WebSocket-Version must"));
    }

    fn handshake() -> ConnectHandshake {
        let request = ClientRequest {
            origin: Some("https://a"),
            subprotocols: &["v2", "v1"],
            extensions: Some("permessage-deflate"),
            headers: &[("Authorization", "Bearer t")],
            ..ClientRequest::new("example.com", "/", [0; 16])
        };
        ConnectHandshake::new(&request).expect("a good request")
    }

    #[test]
    fn a_client_sends_no_key_and_names_in_lower_case() {
        let names: Vec<_> = handshake()
            .fields()
            .map(|(name, _)| name.to_owned())
            .collect();
        let expected = [
            "sec-websocket-version",
            "origin",
            "sec-websocket-protocol",
            "sec-websocket-extensions",
            "authorization",
        ];
        assert_eq!(names, expected);
        let request = ClientRequest {
            headers: &[("Proxy-Connection", "close")],
            ..ClientRequest::new("a", "/", [0; 16])
        };
        assert!(matches!(
            ConnectHandshake::new(&request),
            Err(RequestError::Reserved(_))
        ));
    }

    #[test]
    fn answers_are_judged_as_over_http1() {
        let protocol = |value: &'static [u8]| ("sec-websocket-protocol", value);
        let extension = |value: &'static [u8]| ("sec-websocket-extensions", value);
        let judge = |fields: &[(&'static str, &'static [u8])]| {
            handshake().judge(200, fields.iter().copied())
        };
        assert!(matches!(judge(&[]), Ok(Answer::Accepted(a)) if a.subprotocol.is_none()));
        assert!(
            matches!(judge(&[protocol(b"v1"), extension(b"permessage-deflate")]), Ok(Answer::Accepted(a))
                if a.subprotocol.as_deref() == Some("v1") && a.extensions.as_deref() == Some("permessage-deflate"))
        );
        let rows = [
            (
                judge(&[protocol(b"v3")]),
                HandshakeError::SubprotocolNotOffered("v3".into()),
            ),
            (
                judge(&[protocol(b"v1"), protocol(b"v2")]),
                HandshakeError::SubprotocolTwice,
            ),
            (
                judge(&[extension(b"bbf")]),
                HandshakeError::ExtensionNotOffered("bbf".into()),
            ),
        ];
        for (answer, expected) in rows {
            assert_eq!(answer, Err(expected));
        }
        let refused = handshake().judge(403, [("server", &b"x"[..])]);
        assert!(matches!(refused, Ok(Answer::Refused(r)) if r.status == 403));
        let switching = handshake().judge(101, []);
        assert!(matches!(switching, Ok(Answer::Refused(r)) if r.status == 101));
    }
}
