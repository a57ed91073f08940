//! Entry points for fuzzers and random tests: each takes any bytes, and panics when a promise of the
//! handshake is broken; it is no part of the API.

use super::client::{Answer, ClientHandshake, ClientRequest};
use super::extensions::parse_offers;
use super::origin::{Origin, OriginPolicy};
use super::scan::HeadScan;
use super::server::{self, Head};
use crate::config::HeadLimits;

/// A request head: the same result whole and in two pieces, and what is accepted can be answered.
pub fn server_head(data: &[u8]) {
    let limits = HeadLimits::default();
    let (head, length) = server::parse(data, true, &limits);
    assert!(length <= data.len());
    let mut scan = HeadScan::default();
    let first = server::resume(&mut scan, &data[..data.len() / 2], true, &limits);
    let pieces = match first.0 {
        Head::Incomplete => server::resume(&mut scan, data, true, &limits),
        _ => first,
    };
    assert_eq!(
        (&head, length),
        (&pieces.0, pieces.1),
        "the result depends on the pieces"
    );
    match head {
        Head::Upgrade(request) => accepted(&request, &data[..length]),
        Head::Bad(refusal) => {
            let mut answer = Vec::new();
            server::refuse(&refusal, &mut answer);
            assert_one_head(&answer);
        }
        Head::Incomplete => assert!(
            data.len() <= limits.max_size,
            "an endless head is waited for"
        ),
        Head::Plain => {}
    }
}

fn accepted(request: &super::Request, head: &[u8]) {
    assert_eq!(request.head(), head);
    assert!(request.path().starts_with('/') && request.path().is_ascii());
    assert!(!request.host().is_empty() && request.authority().is_ascii());
    assert!(
        request
            .headers()
            .all(|(_, value)| !value.iter().any(|b| b"\r\n\0".contains(b)))
    );
    let _ = (
        request.query_param("key"),
        request.port(),
        request.offers(),
        request.origin(),
    );
    let _ = OriginPolicy::SameOrigin.check(request);
    let last = request.subprotocols().last();
    let mut answer = Vec::new();
    server::response(request, last, &mut answer).expect("it was offered");
    assert_one_head(&answer);
}

/// An answer to a client: the same result whole and in two pieces.
pub fn client_response(data: &[u8]) {
    let limits = HeadLimits::default();
    let request = ClientRequest {
        subprotocols: &["chat", "superchat"],
        extensions: Some("permessage-deflate"),
        ..ClientRequest::new("example.com", "/", *b"the sample nonce")
    };
    let mut whole = ClientHandshake::new(&request).expect("a good request");
    let mut pieces = whole.clone();
    let expected = whole.parse_response(data, &limits);
    let first = pieces.parse_response(&data[..data.len() / 2], &limits);
    let result = match first {
        Ok(Answer::Incomplete) => pieces.parse_response(data, &limits),
        other => other,
    };
    assert_eq!(expected, result, "the result depends on the pieces");
    match expected {
        Ok(Answer::Accepted(accepted)) => assert!(accepted.head_length <= data.len()),
        Ok(Answer::Refused(refused)) => {
            assert!(refused.body_start <= data.len() && refused.status >= 200)
        }
        Ok(Answer::Incomplete) | Err(_) => {}
    }
}

/// Any text as target, authority, subprotocol, header and so on of a client's request: refused, or sent as
/// one head that our own server reads back.
pub fn client_request(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\u{1}');
    let mut next = |default: &'static str| parts.next().map_or(default.to_owned(), str::to_owned);
    let (authority, target, origin) = (next("a"), next("/"), next("b"));
    let (subprotocol, extensions, name, value) = (next("c"), next("d"), next("e"), next("f"));
    let built = ClientHandshake::new(&ClientRequest {
        origin: Some(&origin),
        subprotocols: &[&subprotocol],
        extensions: Some(&extensions),
        headers: &[(&name, &value)],
        ..ClientRequest::new(&authority, &target, [7; 16])
    });
    if let Ok(handshake) = built {
        assert_one_head(handshake.request());
        let wide = HeadLimits {
            max_line: usize::MAX,
            max_size: usize::MAX,
            ..HeadLimits::default()
        };
        let (head, _) = server::parse(handshake.request(), false, &wide);
        let long = target.len() > server::MAX_TARGET;
        assert!(matches!(head, Head::Upgrade(_)) || long, "{head:?}");
    }
}

/// A `Sec-WebSocket-Extensions` value: read or refused; what is read holds tokens only.
pub fn extension_offers(data: &[u8]) {
    match parse_offers(data) {
        Ok(extensions) => {
            assert!(!extensions.is_empty());
            let values = extensions
                .iter()
                .flat_map(|e| &e.params)
                .filter_map(|(_, value)| value.as_deref());
            let names = extensions.iter().map(|e| e.name);
            assert!(
                values
                    .chain(names)
                    .all(|text| super::fields::is_token(text.as_bytes()))
            );
        }
        Err(error) => assert!(error.at <= data.len()),
    }
}

/// An `Origin` value: refused, or read into one that reads back the same.
pub fn origin(data: &[u8]) {
    if let Some(origin) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| Origin::parse(text).ok())
    {
        assert_eq!(Origin::parse(&origin.to_string()).as_ref(), Ok(&origin));
    }
}

/// One head and no more: one empty line, no control character but the line ends.
fn assert_one_head(bytes: &[u8]) {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head ends");
    let lines = bytes[..end]
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let clean = |line: &[u8]| {
        line.iter()
            .all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
    };
    assert!(lines.into_iter().all(clean), "{}", bytes.escape_ascii());
}
