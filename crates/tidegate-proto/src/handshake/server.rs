//! The server's side of the opening handshake (RFC 6455 §4.2) over HTTP/1.1; it never judges who may
//! connect, which paths exist or what an extension means.

use super::authority::Authority;
use super::extensions::parse_offers;
use super::fields::{Fields, Span, is_token, list};
use super::http1::{Request, Target};
use super::key;
use super::scan::{HeadScan, Progress, ScanError};
use super::write::{BadField, HeadWriter, check_field};
use crate::config::HeadLimits;
use std::borrow::Cow;
use std::fmt;

/// What the bytes read so far are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Head {
    /// The head goes on; read more.
    Incomplete,
    /// A request for a WebSocket that follows the rules: answer with [`response`] or [`refuse`].
    Upgrade(Request),
    /// A complete HTTP/1 request that does not ask for a WebSocket (another `Upgrade`, say `h2c`, counts as
    /// none). Hand it, all bytes untouched, to an HTTP server. Its target and fields were not judged.
    Plain,
    /// Answer with [`refuse`] and close; the bytes that follow mean nothing.
    Bad(Refusal),
}

/// How a client that speaks HTTP/2 begins (RFC 9113 §3.4). [`parse`] takes it for [`Head::Plain`], so that
/// whoever serves ordinary HTTP gets it.
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest request target in bytes; a longer one is answered 414.
pub const MAX_TARGET: usize = 4 << 10;

/// Reads a request head from the start of `bytes`. Returns what it is and, for [`Head::Upgrade`] and
/// [`Head::Plain`], how many bytes the head takes; what follows it belongs to the connection.
///
/// `secure` is whether the connection is encrypted; it is kept in the [`Request`].
///
/// This looks at the bytes from their start each time. When a head may come in pieces, use [`resume`].
pub fn parse(bytes: &[u8], secure: bool, limits: &HeadLimits) -> (Head, usize) {
    resume(&mut HeadScan::default(), bytes, secure, limits)
}

/// Like [`parse`], for a buffer that grows: `scan` remembers how far it was looked at, so that each byte is
/// scanned once and parsed once, however slowly the bytes come.
///
/// Limits hold while the head is incomplete: a head, line or target that is too long, too many fields, a
/// control character or a start line that is none is refused at the byte that proves it.
pub fn resume(
    scan: &mut HeadScan,
    bytes: &[u8],
    secure: bool,
    limits: &HeadLimits,
) -> (Head, usize) {
    match head_end(scan, bytes, limits) {
        Ok(None) => (Head::Incomplete, 0),
        Ok(Some(end)) => match judge(&bytes[..end], secure) {
            Head::Bad(refusal) => (Head::Bad(refusal), 0),
            head => (head, end),
        },
        Err(refusal) => (Head::Bad(refusal), 0),
    }
}

/// Appends the `101 Switching Protocols` that accepts `request`, with `subprotocol` if one was chosen.
///
/// # Errors
/// [`BadResponse`] when `subprotocol` is none that the client offered; nothing is written then. That is a
/// mistake on this side: choose from [`Request::subprotocols`].
pub fn response(
    request: &Request,
    subprotocol: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<(), BadResponse> {
    let response = Response {
        subprotocol,
        ..Response::default()
    };
    response.write(request, out)
}

/// What a `101` says beside the accept value.
#[derive(Clone, Copy, Default, Debug)]
pub struct Response<'a> {
    /// One of [`Request::subprotocols`], or none.
    pub subprotocol: Option<&'a str>,
    /// The value of `Sec-WebSocket-Extensions`, if extensions were agreed.
    pub extensions: Option<&'a str>,
    /// Further fields, say `Set-Cookie`.
    pub headers: &'a [(&'a str, &'a str)],
}

impl Response<'_> {
    /// Appends the `101`.
    ///
    /// # Errors
    /// [`BadResponse`] when the subprotocol or an extension was not offered, or a field can't be sent;
    /// nothing is written then.
    pub fn write(&self, request: &Request, out: &mut Vec<u8>) -> Result<(), BadResponse> {
        self.check(request)?;
        let accept = key::accept_for(request.key());
        let accept = std::str::from_utf8(&accept).expect("base64 is ASCII");
        let mut head = HeadWriter::new(out, format_args!("HTTP/1.1 101 Switching Protocols"));
        head.known("Upgrade", "websocket");
        head.known("Connection", "Upgrade");
        head.known("Sec-WebSocket-Accept", accept);
        if let Some(name) = self.subprotocol {
            head.field("Sec-WebSocket-Protocol", name)?;
        }
        if let Some(value) = self.extensions {
            head.field("Sec-WebSocket-Extensions", value)?;
        }
        for (name, value) in self.headers {
            head.field(name, value)?;
        }
        head.end();
        Ok(())
    }

    fn check(&self, request: &Request) -> Result<(), BadResponse> {
        //= rfc6455#4.2.2  the subprotocol must be one of those the client offered.
        if let Some(name) = self.subprotocol {
            let offered = request.subprotocols().any(|offer| offer == name);
            offered
                .then_some(())
                .ok_or(BadResponse::SubprotocolNotOffered)?;
        }
        //= rfc6455#9.1  a server must not accept an extension that was not offered.
        if let Some(value) = self.extensions {
            let offers = request.offers();
            let accepted =
                parse_offers(value.as_bytes()).map_err(|_| BadResponse::ExtensionNotOffered)?;
            let known = |name| offers.iter().any(|offer| offer.name == name);
            let all = accepted.iter().all(|extension| known(extension.name));
            all.then_some(()).ok_or(BadResponse::ExtensionNotOffered)?;
        }
        Ok(())
    }
}

/// The `101` we were asked to send would break the protocol; a mistake on this side. Answer 500.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BadResponse {
    /// The subprotocol is none of those the client offered (RFC 6455 §4.2.2).
    SubprotocolNotOffered,
    /// An extension is none of those the client offered, or the value is malformed (RFC 6455 §9.1).
    ExtensionNotOffered,
    /// A field can't be sent.
    Field(BadField),
}

impl From<BadField> for BadResponse {
    fn from(error: BadField) -> BadResponse {
        BadResponse::Field(error)
    }
}

impl fmt::Display for BadResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadResponse::SubprotocolNotOffered => {
                f.write_str("the subprotocol was not offered: choose one of Request::subprotocols")
            }
            BadResponse::ExtensionNotOffered => {
                f.write_str("the extension was not offered: choose from Request::offers")
            }
            BadResponse::Field(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BadResponse {}

/// A handshake refused: a status and one line for the person who reads it at the other end, or a body of the
/// program's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The HTTP status. One outside 300–599 is sent as 500: it would not refuse.
    pub status: u16,
    /// What was wrong and what to do, one line of plain text. Control characters are sent as spaces.
    pub message: String,
    headers: Vec<(&'static str, String)>,
    body: Option<(String, Vec<u8>)>,
}

impl Refusal {
    /// A refusal with no further headers.
    pub fn new(status: u16, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            message: message.into(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Sends `body` instead of the message: a page, JSON, a problem report (RFC 9457).
    ///
    /// # Errors
    /// [`BadField`] when `content_type` can't be a field's value.
    pub fn with_body(
        mut self,
        content_type: impl Into<String>,
        body: impl Into<Vec<u8>>,
    ) -> Result<Refusal, BadField> {
        let content_type = content_type.into();
        check_field("Content-Type", &content_type)?;
        self.body = Some((content_type, body.into()));
        Ok(self)
    }

    /// The body that is sent, and its media type.
    pub fn body(&self) -> (&str, Cow<'_, [u8]>) {
        match &self.body {
            Some((content_type, body)) => (content_type, Cow::Borrowed(body)),
            None => (
                "text/plain; charset=utf-8",
                Cow::Owned(one_line(&self.message).into_bytes()),
            ),
        }
    }

    /// The status that is sent: one that refuses.
    pub fn sent_status(&self) -> u16 {
        match self.status {
            300..=599 => self.status,
            _ => 500,
        }
    }

    /// Adds a header field, say `Retry-After` or `WWW-Authenticate`.
    ///
    /// # Errors
    /// [`BadField`] when it may not be sent, above all a value with CR or LF in it.
    pub fn with_header(
        mut self,
        name: &'static str,
        value: impl Into<String>,
    ) -> Result<Refusal, BadField> {
        let value = value.into();
        check_field(name, &value)?;
        self.headers.push((name, value));
        Ok(self)
    }

    /// The header fields added.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }

    fn bad(message: &str) -> Refusal {
        Refusal::new(400, message)
    }

    fn with_own_header(mut self, name: &'static str, value: &str) -> Refusal {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// `426`: the client speaks another version of the protocol than ours.
fn wrong_version() -> Refusal {
    //= rfc6455#4.4  the answer lists the versions the server is willing to use.
    Refusal::new(
        426,
        "Sec-WebSocket-Version must be given once and be 13, the version of RFC 6455",
    )
    .with_own_header("Upgrade", "websocket")
    .with_own_header("Sec-WebSocket-Version", "13")
}

/// Appends the answer that refuses: status line, `Connection: close`, a body of one line.
pub fn refuse(refusal: &Refusal, out: &mut Vec<u8>) {
    let status = refusal.sent_status();
    let (content_type, body) = refusal.body();
    let upgrade = refusal
        .headers()
        .any(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
    //= rfc9110#7.8  a sender of Upgrade must list it in Connection too.
    let connection = if upgrade { "close, Upgrade" } else { "close" };
    let length = body.len().to_string();
    let standing = [
        ("Connection", connection),
        ("Content-Type", content_type),
        ("Content-Length", &length),
    ];
    let mut head = HeadWriter::new(out, format_args!("HTTP/1.1 {status} {}", reason(status)));
    for (name, value) in standing.into_iter().chain(refusal.headers()) {
        head.field(name, value)
            .expect("fields were checked when they were added");
    }
    head.end();
    out.extend_from_slice(&body);
}

/// `message` on one line, with a line feed after it.
fn one_line(message: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    message.chars().map(visible).chain(['\n']).collect()
}

fn reason(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        //= rfc9112#4  the reason phrase may be empty.
        _ => "",
    }
}

/// Where the head ends, once its end is there.
fn head_end(
    scan: &mut HeadScan,
    bytes: &[u8],
    limits: &HeadLimits,
) -> Result<Option<usize>, Refusal> {
    // A start line longer than this has a target beyond MAX_TARGET, or a method nobody uses.
    let max_start_line = MAX_TARGET + 64;
    loop {
        match scan
            .advance(bytes, limits, max_start_line)
            .map_err(scan_refusal)?
        {
            Progress::NeedMore => return Ok(None),
            Progress::StartLine(end) => check_start_line(&bytes[..end])?,
            Progress::End(end) => return Ok(Some(end)),
        }
    }
}

fn scan_refusal(error: ScanError) -> Refusal {
    match error {
        ScanError::HeadTooLong => Refusal::new(
            431,
            "the request head is too long: send fewer or shorter headers",
        ),
        ScanError::StartLineTooLong => {
            Refusal::new(414, "the request target is too long: shorten the URL")
        }
        ScanError::LineTooLong => Refusal::new(431, "a header line is too long: send less in it"),
        ScanError::TooManyFields => {
            Refusal::new(431, "the request has too many header fields: send fewer")
        }
        ScanError::Control { byte: 0x16, at: 0 } => Refusal::bad(
            "this looks like TLS, but the port speaks plain HTTP: use ws:// or http://",
        ),
        ScanError::Control { .. } => {
            Refusal::bad("the request head holds a control character: only HTTP/1.1 is spoken here")
        }
    }
}

/// Judges the start line as soon as it is there, so that what is no HTTP is not waited for.
fn check_start_line(line: &[u8]) -> Result<(), Refusal> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse(line) {
        Ok(_) if request.path.is_some_and(|target| target.len() > MAX_TARGET) => {
            Err(scan_refusal(ScanError::StartLineTooLong))
        }
        Ok(_) => Ok(()),
        Err(httparse::Error::Version) if HTTP2_PREFACE.starts_with(line) => Ok(()),
        Err(httparse::Error::Version) if names_another_http(line) => Err(Refusal::new(
            505,
            "only HTTP/1.1 is spoken here: connect with HTTP/1.1 to open a WebSocket",
        )),
        Err(_) => Err(malformed()),
    }
}

/// Whether the line ends in the name of another HTTP version, as HTTP/2's preface does.
fn names_another_http(line: &[u8]) -> bool {
    let last = line.trim_ascii_end().rsplit(|&byte| byte == b' ').next();
    match last.and_then(|word| word.strip_prefix(b"HTTP/")) {
        None | Some(b"" | b"1.0" | b"1.1") => false,
        Some(version) => version.iter().all(|b| b.is_ascii_digit() || *b == b'.'),
    }
}

fn malformed() -> Refusal {
    Refusal::bad("the request is not well-formed HTTP/1.1: see RFC 9112")
}

/// Judges a complete head.
fn judge(head: &[u8], secure: bool) -> Head {
    if HTTP2_PREFACE.starts_with(head) {
        return Head::Plain;
    }
    // The scan has counted the lines; one place more than lines is always enough.
    let lines = head.iter().filter(|&&byte| byte == b'\n').count();
    let mut headers = vec![httparse::EMPTY_HEADER; lines];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        _ => return Head::Bad(malformed()),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Head::Bad(malformed());
    };
    if !asks_for_websocket(parsed.headers) {
        return Head::Plain;
    }
    let start = Start {
        method,
        target,
        version,
    };
    match upgrade(&start, head, parsed.headers, secure) {
        Ok(request) => Head::Upgrade(request),
        Err(refusal) => Head::Bad(refusal),
    }
}

/// `Upgrade` lists `websocket`, in any case and on any of its lines.
fn asks_for_websocket(headers: &[httparse::Header<'_>]) -> bool {
    headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("upgrade"))
        .flat_map(|field| list(field.value))
        .any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
}

struct Start<'a> {
    method: &'a str,
    target: &'a str,
    version: u8,
}

/// The rules of RFC 6455 §4.2.1 and RFC 9112, for a request that asks for a WebSocket.
fn upgrade(
    start: &Start<'_>,
    head: &[u8],
    headers: &[httparse::Header<'_>],
    secure: bool,
) -> Result<Request, Refusal> {
    let fields = Fields::new(head, headers);
    //= rfc6455#4.2.1  an HTTP/1.1 or higher GET request.
    ensure(start.version == 1, || {
        Refusal::bad(
            "an upgrade needs HTTP/1.1; this request, or a proxy on its way, uses HTTP/1.0",
        )
    })?;
    ensure(start.method == "GET", || {
        Refusal::new(405, "a WebSocket is opened with GET").with_own_header("Allow", "GET")
    })?;
    check_no_body(&fields)?;
    let host = host(&fields)?;
    let target = Target::parse(start.target).map_err(Refusal::bad)?;
    ensure(fields.list_has("connection", "upgrade"), || {
        Refusal::bad(
            "Connection must list \"Upgrade\"; a proxy that does not pass it on must be told to",
        )
    })?;
    ensure(
        fields.only("sec-websocket-version") == Some(b"13"),
        wrong_version,
    )?;
    let key = key_field(&fields)?;
    check_subprotocols(&fields)?;
    check_extensions(&fields)?;

    // The parts are slices of `head`; `fields` has its own copy of it, with the same offsets.
    Ok(Request {
        method: Span::of(head, start.method.as_bytes()),
        path: Span::of(head, target.path.as_bytes()),
        query: target.query.map(|query| Span::of(head, query.as_bytes())),
        //= rfc9112#3.2.2  with an absolute-form target, Host is ignored.
        authority: match target.authority {
            Some(authority) => Span::of(head, authority.as_bytes()),
            None => Span::of(fields.head(), host.as_bytes()),
        },
        key: Span::of(fields.head(), key),
        secure,
        certificate: None,
        fields,
    })
}

fn ensure(holds: bool, refusal: impl FnOnce() -> Refusal) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(refusal()) }
}

/// A body would be taken for frames, or frames for a body: none may be announced.
fn check_no_body(fields: &Fields) -> Result<(), Refusal> {
    let zero = |value: &[u8]| !value.is_empty() && value.iter().all(|&byte| byte == b'0');
    let none =
        fields.all("content-length").all(zero) && fields.first("transfer-encoding").is_none();
    ensure(none, || {
        Refusal::bad(
            "a request for a WebSocket has no body: leave out Content-Length and Transfer-Encoding",
        )
    })
}

fn host(fields: &Fields) -> Result<&str, Refusal> {
    //= rfc9112#3.2  no Host, several, or one with an invalid value: 400.
    let value = fields
        .only("host")
        .ok_or_else(|| Refusal::bad("Host must be given exactly once"))?;
    std::str::from_utf8(value)
        .ok()
        .filter(|text| Authority::parse(text).is_some())
        .ok_or_else(|| Refusal::bad("Host must be a host name or address, with an optional :port"))
}

fn key_field(fields: &Fields) -> Result<&[u8], Refusal> {
    let key = fields
        .only("sec-websocket-key")
        .ok_or_else(|| Refusal::bad("Sec-WebSocket-Key must be given exactly once"))?;
    ensure(key::is_valid(key), || {
        Refusal::bad("Sec-WebSocket-Key must be the base64 form of 16 random octets")
    })?;
    Ok(key)
}

fn check_subprotocols(fields: &Fields) -> Result<(), Refusal> {
    const NAME: &str = "sec-websocket-protocol";
    let mut offers: Vec<_> = fields.all(NAME).flat_map(list).collect();
    let well_formed = offers.iter().all(|name| is_token(name));
    ensure(
        well_formed && offers.is_empty() == fields.first(NAME).is_none(),
        || Refusal::bad("Sec-WebSocket-Protocol must be a list of names made of token characters"),
    )?;
    //= rfc6455#4.1  the elements must be unique.
    offers.sort_unstable();
    ensure(offers.windows(2).all(|pair| pair[0] != pair[1]), || {
        Refusal::bad("Sec-WebSocket-Protocol offers a name twice: offer each once")
    })
}

fn check_extensions(fields: &Fields) -> Result<(), Refusal> {
    for value in fields.all("sec-websocket-extensions") {
        parse_offers(value)
            .map_err(|error| Refusal::new(400, format!("Sec-WebSocket-Extensions: {error}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
