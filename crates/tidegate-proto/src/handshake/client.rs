//! The client's side of the opening handshake (RFC 6455 §4.1) over HTTP/1.1; it never connects, draws no
//! random key and follows no redirect.

use super::authority::Authority;
use super::extensions::{BadHeader, parse_offers};
use super::fields::{Fields, is_token};
use super::key;
use super::scan::{HeadScan, Progress, ScanError};
use super::write::{BadField, HeadWriter, check_field};
use crate::config::HeadLimits;
use std::fmt;

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    /// `host` or `host:port`; leave out the port when it is the scheme's default.
    pub authority: &'a str,
    /// Path and query, percent-encoded, beginning with `/`; no fragment.
    pub target: &'a str,
    /// 16 octets from a CSPRNG, anew for each connection.
    pub key: [u8; 16],
    /// The page's origin; for programs that are no browser: none.
    pub origin: Option<&'a str>,
    /// Subprotocols in order of preference.
    pub subprotocols: &'a [&'a str],
    /// The value of `Sec-WebSocket-Extensions`, if any is offered.
    pub extensions: Option<&'a str>,
    /// Further fields: `Authorization`, `Cookie`, `User-Agent` and so on; none of the handshake's own.
    pub headers: &'a [(&'a str, &'a str)],
}

impl<'a> ClientRequest<'a> {
    /// A request that offers nothing.
    pub fn new(authority: &'a str, target: &'a str, key: [u8; 16]) -> ClientRequest<'a> {
        ClientRequest {
            authority,
            target,
            key,
            origin: None,
            subprotocols: &[],
            extensions: None,
            headers: &[],
        }
    }
}

/// The request can't be sent as asked for; a mistake of the calling program or of its user.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RequestError {
    /// The authority is no `host[:port]`.
    Authority,
    /// The target does not begin with `/`, has a fragment, or holds what must be percent-encoded.
    Target,
    /// A subprotocol is no token (RFC 6455 §4.1).
    Subprotocol(String),
    /// A subprotocol is offered twice (RFC 6455 §4.1).
    SubprotocolTwice(String),
    /// The extension offer is not of the form of RFC 6455 §9.1.
    Extensions(BadHeader),
    /// A further field is one that the handshake sets itself, or that announces a body.
    Reserved(String),
    /// A further field can't be sent.
    Field(BadField),
}

impl From<BadField> for RequestError {
    fn from(error: BadField) -> RequestError {
        RequestError::Field(error)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Authority => f.write_str("the authority must be host or host:port"),
            RequestError::Target => f.write_str(
                "the target must be a percent-encoded path with '/' first and without '#'",
            ),
            RequestError::Subprotocol(name) => write!(f, "the subprotocol {name:?} is no token"),
            RequestError::SubprotocolTwice(name) => {
                write!(f, "the subprotocol {name:?} is offered twice")
            }
            RequestError::Extensions(error) => {
                write!(f, "the extension offer is malformed: {error}")
            }
            RequestError::Reserved(name) => write!(
                f,
                "the header field {name:?} is set by the handshake itself"
            ),
            RequestError::Field(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RequestError {}

/// The server's answer breaks HTTP, RFC 6455 or a limit of ours. The server, or a proxy on the way, erred:
/// close the connection; nothing it sends may be read as frames.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The answer is not HTTP/1: probably another protocol is spoken at this port.
    NotHttp,
    /// The head is longer than [`HeadLimits::max_size`], interim answers included.
    HeadTooLong,
    /// A line is longer than [`HeadLimits::max_line`].
    LineTooLong,
    /// There are more fields than [`HeadLimits::max_fields`].
    TooManyFields,
    /// The `101` came over HTTP/1.0.
    OldHttp,
    /// `Upgrade` is not exactly `websocket`.
    Upgrade,
    /// `Connection` does not list `Upgrade`.
    Connection,
    /// `Sec-WebSocket-Accept` is missing: the server does not know WebSocket.
    AcceptMissing,
    /// `Sec-WebSocket-Accept` came twice.
    AcceptTwice,
    /// `Sec-WebSocket-Accept` is not made from our key: the answer is to someone else, say out of a cache.
    AcceptWrong,
    /// The subprotocol is none we offered.
    SubprotocolNotOffered(String),
    /// More than one subprotocol was chosen.
    SubprotocolTwice,
    /// An extension is none we offered.
    ExtensionNotOffered(String),
    /// An extension was accepted twice.
    ExtensionTwice(String),
    /// `Sec-WebSocket-Extensions` is not of the form of RFC 6455 §9.1.
    Extensions(BadHeader),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server's answer is wrong: ")?;
        match self {
            HandshakeError::NotHttp => f.write_str("it is not HTTP/1.1; check scheme and port"),
            HandshakeError::HeadTooLong => f.write_str("its head is longer than our limit"),
            HandshakeError::LineTooLong => f.write_str("a line of it is longer than our limit"),
            HandshakeError::TooManyFields => {
                f.write_str("it has more header fields than our limit")
            }
            HandshakeError::OldHttp => f.write_str("it switches protocols over HTTP/1.0"),
            HandshakeError::Upgrade => f.write_str("Upgrade is not \"websocket\""),
            HandshakeError::Connection => f.write_str("Connection does not list \"Upgrade\""),
            HandshakeError::AcceptMissing => f.write_str("Sec-WebSocket-Accept is missing"),
            HandshakeError::AcceptTwice => f.write_str("Sec-WebSocket-Accept came more than once"),
            HandshakeError::AcceptWrong => f.write_str("Sec-WebSocket-Accept does not fit our key"),
            HandshakeError::SubprotocolNotOffered(name) => {
                write!(f, "the subprotocol {name:?} was not offered")
            }
            HandshakeError::SubprotocolTwice => f.write_str("it chooses more than one subprotocol"),
            HandshakeError::ExtensionNotOffered(name) => {
                write!(f, "the extension {name:?} was not offered")
            }
            HandshakeError::ExtensionTwice(name) => {
                write!(f, "the extension {name:?} is accepted twice")
            }
            HandshakeError::Extensions(error) => write!(f, "Sec-WebSocket-Extensions: {error}"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// What the bytes read so far are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The head goes on; read more.
    Incomplete,
    /// The connection is a WebSocket.
    Accepted(Accepted),
    /// The server answered something else than `101`; it may send a body.
    Refused(Refused),
}

/// A `101` that follows the rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The subprotocol chosen, one of those offered. If you can't do without one, close when it is `None`.
    pub subprotocol: Option<String>,
    /// The extensions accepted, as one header value; all were offered. [`parse_offers`] reads it.
    pub extensions: Option<String>,
    /// All header fields.
    pub headers: Fields,
    /// Where the frames begin in the bytes given.
    pub head_length: usize,
}

/// An answer that is no `101`: a redirect, a demand to log in, an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The status, 200 to 999.
    pub status: u16,
    /// The reason phrase, maybe empty. The server wrote it: escape it when you show it.
    pub reason: String,
    /// All header fields.
    pub headers: Fields,
    /// Where the body begins in the bytes given. Its length is what the fields say; read no more of it than
    /// you care to show.
    pub body_start: usize,
}

/// A handshake under way: the request to send, then the answer as it comes.
///
/// ```
/// use tidegate_proto::HeadLimits;
/// use tidegate_proto::handshake::client::{Answer, ClientHandshake, ClientRequest};
///
/// let request = ClientRequest::new("example.com", "/chat", *b"the sample nonce");
/// let mut handshake = ClientHandshake::new(&request).unwrap();
/// assert!(handshake.request().starts_with(b"GET /chat HTTP/1.1\r\nHost: example.com\r\n"));
///
/// let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x02hi";
/// match handshake.parse_response(answer, &HeadLimits::default()) {
///     Ok(Answer::Accepted(accepted)) => assert_eq!(&answer[accepted.head_length..], b"\x81\x02hi"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone)]
pub struct ClientHandshake {
    request: Vec<u8>,
    accept: [u8; 28],
    subprotocols: Vec<String>,
    extensions: Vec<String>,
    scan: HeadScan,
}

impl ClientHandshake {
    /// Checks `request` and writes it down.
    ///
    /// # Errors
    /// [`RequestError`] when a part can't be sent as it is.
    pub fn new(request: &ClientRequest<'_>) -> Result<ClientHandshake, RequestError> {
        check_request(request)?;
        let offers = match request.extensions {
            Some(value) => parse_offers(value.as_bytes()).map_err(RequestError::Extensions)?,
            None => Vec::new(),
        };
        let key = key::encode(request.key);
        Ok(ClientHandshake {
            request: write_request(request, &key)?,
            accept: key::accept_for(&key),
            subprotocols: request
                .subprotocols
                .iter()
                .map(|&name| name.to_owned())
                .collect(),
            extensions: offers.iter().map(|offer| offer.name.to_owned()).collect(),
            scan: HeadScan::default(),
        })
    }

    /// The bytes to send.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Reads the answer. `bytes` is all that came since the request was sent; it may only grow from call to
    /// call, and each byte is scanned once. Interim answers (`100`, `103`) are skipped.
    ///
    /// # Errors
    /// [`HandshakeError`] when the answer breaks a rule or a limit; close the connection.
    pub fn parse_response(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Answer, HandshakeError> {
        loop {
            let start = self.scan.start();
            let Some(end) = head_end(&mut self.scan, bytes, limits)? else {
                return Ok(Answer::Incomplete);
            };
            let head = ResponseHead::parse(&bytes[start..end])?;
            match head.status {
                101 => return self.accept(head, end).map(Answer::Accepted),
                //= rfc9110#15.2  a client must be able to read interim answers, even unexpected ones.
                100..=199 => self.scan = HeadScan::starting_at(end),
                _ => return Ok(Answer::Refused(head.refused(end))),
            }
        }
    }

    /// The checks of RFC 6455 §4.1 on a `101`.
    fn accept(&self, head: ResponseHead, head_length: usize) -> Result<Accepted, HandshakeError> {
        let fields = &head.fields;
        ensure(head.version == 1, HandshakeError::OldHttp)?;
        //= rfc6455#4.1  if Upgrade is missing or not "websocket", the client must fail the connection.
        let upgrade = fields.only("upgrade").unwrap_or_default();
        ensure(
            upgrade.eq_ignore_ascii_case(b"websocket"),
            HandshakeError::Upgrade,
        )?;
        ensure(
            fields.list_has("connection", "upgrade"),
            HandshakeError::Connection,
        )?;
        self.check_accept(fields)?;
        Ok(Accepted {
            subprotocol: self.subprotocol(fields)?,
            extensions: self.extensions(fields)?,
            headers: head.fields,
            head_length,
        })
    }

    fn check_accept(&self, fields: &Fields) -> Result<(), HandshakeError> {
        let mut values = fields.all("sec-websocket-accept");
        let accept = values.next().ok_or(HandshakeError::AcceptMissing)?;
        ensure(values.next().is_none(), HandshakeError::AcceptTwice)?;
        ensure(accept == self.accept, HandshakeError::AcceptWrong)
    }

    pub(super) fn subprotocol(&self, fields: &Fields) -> Result<Option<String>, HandshakeError> {
        let mut values = fields.all("sec-websocket-protocol");
        let Some(value) = values.next() else {
            return Ok(None);
        };
        ensure(values.next().is_none(), HandshakeError::SubprotocolTwice)?;
        //= rfc6455#4.1  one that was not offered fails the connection; names compare byte for byte.
        match self
            .subprotocols
            .iter()
            .find(|name| name.as_bytes() == value)
        {
            Some(name) => Ok(Some(name.clone())),
            None if value.contains(&b',') => Err(HandshakeError::SubprotocolTwice),
            None => Err(HandshakeError::SubprotocolNotOffered(shown(value))),
        }
    }

    pub(super) fn extensions(&self, fields: &Fields) -> Result<Option<String>, HandshakeError> {
        let mut accepted = Vec::new();
        let mut whole: Option<String> = None;
        for value in fields.all("sec-websocket-extensions") {
            accepted.extend(parse_offers(value).map_err(HandshakeError::Extensions)?);
            let text = std::str::from_utf8(value).expect("the grammar is ASCII");
            match &mut whole {
                Some(whole) => *whole += &[", ", text].concat(),
                None => whole = Some(text.to_owned()),
            }
        }
        // Once each is known to be offered and seen once, there are no more than offers: linear.
        let mut open: Vec<&str> = self.extensions.iter().map(String::as_str).collect();
        open.sort_unstable();
        open.dedup();
        for extension in &accepted {
            //= rfc6455#9.1  an extension that was not offered fails the connection.
            match open.iter().position(|name| *name == extension.name) {
                Some(at) => drop(open.swap_remove(at)),
                None if self.extensions.iter().any(|name| name == extension.name) => {
                    return Err(HandshakeError::ExtensionTwice(extension.name.to_owned()));
                }
                None => {
                    return Err(HandshakeError::ExtensionNotOffered(
                        extension.name.to_owned(),
                    ));
                }
            }
        }
        Ok(whole)
    }
}

/// Shows neither the request's fields nor the key.
impl fmt::Debug for ClientHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandshake")
            .field("subprotocols", &self.subprotocols)
            .field("extensions", &self.extensions)
            .finish_non_exhaustive()
    }
}

fn check_request(request: &ClientRequest<'_>) -> Result<(), RequestError> {
    if Authority::parse(request.authority).is_none() {
        return Err(RequestError::Authority);
    }
    let visible = request.target.bytes().all(|byte| byte.is_ascii_graphic());
    //= rfc6455#3  fragment identifiers must not be used.
    if !visible || !request.target.starts_with('/') || request.target.contains('#') {
        return Err(RequestError::Target);
    }
    check_subprotocols(request.subprotocols)?;
    for (name, value) in request.headers {
        check_field(name, value)?;
        if is_reserved(name) {
            return Err(RequestError::Reserved((*name).to_owned()));
        }
    }
    Ok(())
}

fn check_subprotocols(names: &[&str]) -> Result<(), RequestError> {
    for (at, name) in names.iter().enumerate() {
        if !is_token(name.as_bytes()) {
            return Err(RequestError::Subprotocol((*name).to_owned()));
        }
        if names[..at].contains(name) {
            return Err(RequestError::SubprotocolTwice((*name).to_owned()));
        }
    }
    Ok(())
}

/// Fields that the handshake sets, or that would announce a body.
fn is_reserved(name: &str) -> bool {
    const RESERVED: [&str; 10] = [
        "host",
        "upgrade",
        "connection",
        "origin",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "expect",
        "keep-alive",
    ];
    let name = name.to_ascii_lowercase();
    name.starts_with("sec-websocket-") || RESERVED.contains(&name.as_str())
}

fn write_request(request: &ClientRequest<'_>, key: &[u8]) -> Result<Vec<u8>, RequestError> {
    let key = std::str::from_utf8(key).expect("base64 is ASCII");
    let mut bytes = Vec::with_capacity(256);
    let mut head = HeadWriter::new(&mut bytes, format_args!("GET {} HTTP/1.1", request.target));
    head.field("Host", request.authority)?;
    head.field("Upgrade", "websocket")?;
    head.field("Connection", "Upgrade")?;
    head.field("Sec-WebSocket-Key", key)?;
    head.field("Sec-WebSocket-Version", "13")?;
    if let Some(origin) = request.origin {
        head.field("Origin", origin)?;
    }
    if !request.subprotocols.is_empty() {
        head.field("Sec-WebSocket-Protocol", &request.subprotocols.join(", "))?;
    }
    if let Some(extensions) = request.extensions {
        head.field("Sec-WebSocket-Extensions", extensions)?;
    }
    for (name, value) in request.headers {
        head.field(name, value)?;
    }
    head.end();
    Ok(bytes)
}

pub(super) struct ResponseHead {
    version: u8,
    pub(super) status: u16,
    reason: String,
    pub(super) fields: Fields,
}

impl ResponseHead {
    pub(super) fn parse(head: &[u8]) -> Result<ResponseHead, HandshakeError> {
        let lines = head.iter().filter(|&&byte| byte == b'\n').count();
        let mut headers = vec![httparse::EMPTY_HEADER; lines];
        let mut parsed = httparse::Response::new(&mut headers);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            _ => return Err(HandshakeError::NotHttp),
        }
        let (Some(version), Some(status)) = (parsed.version, parsed.code) else {
            return Err(HandshakeError::NotHttp);
        };
        ensure(status >= 100, HandshakeError::NotHttp)?;
        Ok(ResponseHead {
            version,
            status,
            reason: parsed.reason.unwrap_or_default().to_owned(),
            fields: Fields::new(head, parsed.headers),
        })
    }

    pub(super) fn refused(self, body_start: usize) -> Refused {
        Refused {
            status: self.status,
            reason: self.reason,
            headers: self.fields,
            body_start,
        }
    }
}

/// Where the head ends, once its end is there; what is no HTTP fails at its first line.
pub(super) fn head_end(
    scan: &mut HeadScan,
    bytes: &[u8],
    limits: &HeadLimits,
) -> Result<Option<usize>, HandshakeError> {
    loop {
        let start = scan.start();
        match scan
            .advance(bytes, limits, limits.max_line)
            .map_err(scan_error)?
        {
            Progress::NeedMore => return Ok(None),
            Progress::StartLine(end) => {
                let line = httparse::Response::new(&mut []).parse(&bytes[start..end]);
                line.map_err(|_| HandshakeError::NotHttp)?;
            }
            Progress::End(end) => return Ok(Some(end)),
        }
    }
}

fn scan_error(error: ScanError) -> HandshakeError {
    match error {
        ScanError::HeadTooLong => HandshakeError::HeadTooLong,
        ScanError::StartLineTooLong | ScanError::LineTooLong => HandshakeError::LineTooLong,
        ScanError::TooManyFields => HandshakeError::TooManyFields,
        ScanError::Control { .. } => HandshakeError::NotHttp,
    }
}

fn ensure(holds: bool, error: HandshakeError) -> Result<(), HandshakeError> {
    if holds { Ok(()) } else { Err(error) }
}

/// The start of what the server wrote, for an error message.
fn shown(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(64)]).into_owned()
}

#[cfg(test)]
mod tests;
