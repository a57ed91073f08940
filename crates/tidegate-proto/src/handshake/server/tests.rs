//! Requests and what becomes of them; each is fed whole, byte by byte and with a tail of following bytes.

use super::*;
use crate::handshake::fuzzing;
use crate::handshake::testing::{FIELDS, Numbers, request, upgrade};

/// What a request is, in a form that rows can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Is {
    Incomplete,
    Upgrade,
    Plain,
    Bad(u16),
}
use Is::{Bad, Incomplete, Plain};

fn is(head: &Head) -> Is {
    match head {
        Head::Incomplete => Is::Incomplete,
        Head::Upgrade(_) => Is::Upgrade,
        Head::Plain => Is::Plain,
        Head::Bad(refusal) => Is::Bad(refusal.status),
    }
}

/// Feeds `bytes` in steps until there is a decision.
fn feed(bytes: &[u8], step: usize, limits: &HeadLimits) -> (Head, usize, HeadScan) {
    let mut scan = HeadScan::default();
    let mut given = 0;
    loop {
        given = (given + step).min(bytes.len());
        let (head, length) = resume(&mut scan, &bytes[..given], false, limits);
        if head != Head::Incomplete || given == bytes.len() {
            return (head, length, scan);
        }
    }
}

/// Judges `bytes` in all ways of feeding them, which must agree.
fn judged(bytes: &[u8], limits: &HeadLimits) -> Head {
    let (whole, length) = parse(bytes, false, limits);
    for step in [1, 7, bytes.len().max(1)] {
        let (head, fed_length, _) = feed(bytes, step, limits);
        assert_eq!(
            (&head, fed_length),
            (&whole, length),
            "{} by {step}",
            bytes.escape_ascii()
        );
    }
    if whole != Head::Incomplete {
        for tail in [
            &b"\x81\x85\0\0\0\0Hello"[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"\r\n\r\n",
            b"\0",
        ] {
            let longer = [bytes, tail].concat();
            assert_eq!(
                parse(&longer, false, limits),
                (whole.clone(), length),
                "{}",
                longer.escape_ascii()
            );
        }
    }
    match &whole {
        Head::Upgrade(_) | Head::Plain => assert_eq!(length, bytes.len()),
        Head::Incomplete | Head::Bad(_) => assert_eq!(length, 0),
    }
    fuzzing::server_head(bytes);
    whole
}

/// The first octets of `bytes`, for a message.
fn excerpt(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(400)].escape_ascii().to_string()
}

fn row(bytes: &[u8], expected: Is) {
    let head = judged(bytes, &HeadLimits::default());
    assert_eq!(is(&head), expected, "{}\n{head:?}", excerpt(bytes));
}

/// A good request with `start` for its start line and one field of `FIELDS` replaced by `lines`.
fn with(start: &str, field: &str, lines: &str) -> Vec<u8> {
    let mut head = format!("{start}\r\n");
    for line in FIELDS.split_inclusive("\r\n") {
        let replaced = !field.is_empty() && line.starts_with(&format!("{field}:"));
        head += if replaced { "" } else { line };
    }
    if !lines.is_empty() {
        head += &format!("{lines}\r\n");
    }
    (head + "\r\n").into_bytes()
}

const GET: &str = "GET / HTTP/1.1";

#[test]
fn the_start_line_decides() {
    let rows = [
        ("GET / HTTP/1.1", Is::Upgrade),
        ("GET /a/b%2f..;c\\d?e=f HTTP/1.1", Is::Upgrade),
        ("GET ws://example.com:81/ HTTP/1.1", Is::Upgrade),
        ("GET WSS://example.com HTTP/1.1", Is::Upgrade),
        ("GET http://example.com/a?b HTTP/1.1", Is::Upgrade),
        ("GET https://[::1]:443?b HTTP/1.1", Is::Upgrade),
        ("\r\n\r\nGET / HTTP/1.1", Is::Upgrade),
        ("GET / HTTP/1.0", Bad(400)),
        ("GET / HTTP/1.2", Bad(505)),
        ("GET / HTTP/2.0", Bad(505)),
        ("GET / HTTP/2", Bad(505)),
        ("GET / HTTP/3", Bad(505)),
        ("GET /", Bad(400)),
        ("GET / ", Bad(400)),
        ("GET / HTTP/", Bad(400)),
        ("GET / HTTP/1", Bad(505)),
        ("GET / http/1.1", Bad(400)),
        ("GET / HTTP/1.1 ", Bad(400)),
        ("GET  / HTTP/1.1", Bad(400)),
        ("GET / a HTTP/1.1", Bad(400)),
        (" GET / HTTP/1.1", Bad(400)),
        ("GET\t/ HTTP/1.1", Bad(400)),
        ("G(T / HTTP/1.1", Bad(400)),
        ("HELO example.com", Bad(400)),
        ("POST / HTTP/1.1", Bad(405)),
        ("get / HTTP/1.1", Bad(405)),
        ("HEAD / HTTP/1.1", Bad(405)),
        ("OPTIONS * HTTP/1.1", Bad(405)),
        ("CONNECT example.com:80 HTTP/1.1", Bad(405)),
        ("GET * HTTP/1.1", Bad(400)),
        ("GET example.com:80 HTTP/1.1", Bad(400)),
        ("GET a HTTP/1.1", Bad(400)),
        ("GET ftp://example.com/ HTTP/1.1", Bad(400)),
        ("GET ws://u:p@example.com/ HTTP/1.1", Bad(400)),
        ("GET ws:///a HTTP/1.1", Bad(400)),
        ("GET ws://a:b/ HTTP/1.1", Bad(400)),
        ("GET /a#b HTTP/1.1", Bad(400)),
        ("GET /# HTTP/1.1", Bad(400)),
        ("GET /é HTTP/1.1", Bad(400)),
        ("GET /\0 HTTP/1.1", Bad(400)),
        ("GET /\r HTTP/1.1", Bad(400)),
        ("GET /\x7f HTTP/1.1", Bad(400)),
    ];
    for (start, expected) in rows {
        row(&with(start, "", ""), expected);
    }
}

#[test]
fn each_field_is_judged() {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let rows = [
        // What asks for a WebSocket at all.
        ("Upgrade", "", Plain),
        ("Upgrade", "Upgrade: h2c", Plain),
        (
            "Upgrade",
            "Upgrade: websockets, web socket, websocket/13",
            Plain,
        ),
        ("Upgrade", "Upgrade:", Plain),
        ("Upgrade", "upGRADE: WebSocket", Is::Upgrade),
        ("Upgrade", "Upgrade: h2c, WEBSOCKET ,x", Is::Upgrade),
        (
            "Upgrade",
            "Upgrade: h2c\r\nUpgrade: ,\twebsocket",
            Is::Upgrade,
        ),
        // Connection
        ("Connection", "", Bad(400)),
        ("Connection", "Connection: keep-alive", Bad(400)),
        ("Connection", "Connection: upgraded", Bad(400)),
        ("Connection", "Connection: keep-alive, UPGRADE", Is::Upgrade),
        (
            "Connection",
            "connection: keep-alive\r\nCONNECTION:upgrade",
            Is::Upgrade,
        ),
        ("Connection", "Connection: ,,Upgrade,", Is::Upgrade),
        // Version
        ("Sec-WebSocket-Version", "", Bad(426)),
        (
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Version: 8",
            Bad(426),
        ),
        (
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Version: 0",
            Bad(426),
        ),
        (
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Version: 99",
            Bad(426),
        ),
        (
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Version: 013",
            Bad(426),
        ),
        (
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Version: 13.0",
            Bad(426),
        ),
        (
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Version: 13, 8",
            Bad(426),
        ),
        ("Sec-WebSocket-Version", "Sec-WebSocket-Version:", Bad(426)),
        ("", "Sec-WebSocket-Version: 13", Bad(426)),
        ("", "Sec-WebSocket-Version: 8", Bad(426)),
        (
            "Sec-WebSocket-Version",
            "SEC-WEBSOCKET-VERSION:\t 13 \t",
            Is::Upgrade,
        ),
        // Key
        ("Sec-WebSocket-Key", "", Bad(400)),
        ("", key, Bad(400)),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key:", Bad(400)),
        (
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j",
            Bad(400),
        ), // 15 octets
        (
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZUE=",
            Bad(400),
        ), // 17
        (
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ",
            Bad(400),
        ), // no padding
        (
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j-_==",
            Bad(400),
        ), // alphabet
        (
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Key: dGhlIHNhbXBs SBub25jZQ==",
            Bad(400),
        ),
        (
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==, x",
            Bad(400),
        ),
        (
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==",
            Is::Upgrade,
        ), // trailing bits
        (
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Key:   dGhlIHNhbXBsZSBub25jZQ==  ",
            Is::Upgrade,
        ),
        // Host
        ("Host", "", Bad(400)),
        ("Host", "Host:", Bad(400)),
        ("", "Host: example.com", Bad(400)),
        ("", "host: other.example", Bad(400)),
        ("Host", "Host: a, b", Bad(400)),
        ("Host", "Host: a b", Bad(400)),
        ("Host", "Host: user@a", Bad(400)),
        ("Host", "Host: a/b", Bad(400)),
        ("Host", "Host: a:b", Bad(400)),
        ("Host", "Host: a:99999", Bad(400)),
        ("Host", "Host: ::1", Bad(400)),
        ("Host", "Host: é", Bad(400)),
        ("Host", "Host: [::1]:8000", Is::Upgrade),
        ("Host", "Host: LOCALHOST:1", Is::Upgrade),
        // No body
        ("", "Content-Length: 0", Is::Upgrade),
        ("", "Content-Length: 00", Is::Upgrade),
        ("", "Content-Length: 1", Bad(400)),
        ("", "Content-Length: 0\r\nContent-Length: 5", Bad(400)),
        ("", "Content-Length:", Bad(400)),
        ("", "Content-Length: -0", Bad(400)),
        ("", "Content-Length: 0, 0", Bad(400)),
        ("", "Transfer-Encoding: chunked", Bad(400)),
        ("", "Transfer-Encoding: identity", Bad(400)),
        ("", "transfer-encoding:", Bad(400)),
        // Subprotocols
        ("", "Sec-WebSocket-Protocol: chat", Is::Upgrade),
        (
            "",
            "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c",
            Is::Upgrade,
        ),
        ("", "Sec-WebSocket-Protocol: a,, b,", Is::Upgrade),
        ("", "Sec-WebSocket-Protocol: a, A", Is::Upgrade),
        ("", "Sec-WebSocket-Protocol: a, b, a", Bad(400)),
        (
            "",
            "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a",
            Bad(400),
        ),
        ("", "Sec-WebSocket-Protocol:", Bad(400)),
        ("", "Sec-WebSocket-Protocol: ,", Bad(400)),
        ("", "Sec-WebSocket-Protocol: a b", Bad(400)),
        ("", "Sec-WebSocket-Protocol: a/b", Bad(400)),
        ("", "Sec-WebSocket-Protocol: \"a\"", Bad(400)),
        ("", "Sec-WebSocket-Protocol: é", Bad(400)),
        // Extensions
        (
            "",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
            Is::Upgrade,
        ),
        (
            "",
            "Sec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b;c=\"d\"",
            Is::Upgrade,
        ),
        (
            "",
            "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7",
            Is::Upgrade,
        ), // to be declined
        ("", "Sec-WebSocket-Extensions: a;", Bad(400)),
        ("", "Sec-WebSocket-Extensions:", Bad(400)),
        (
            "",
            "Sec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b c",
            Bad(400),
        ),
        // HTTP
        ("", "X: \u{e9}", Is::Upgrade),
        ("", "X:", Is::Upgrade),
        ("", "X : y", Bad(400)),
        ("", "X", Bad(400)),
        ("", ": y", Bad(400)),
        ("", " folded", Bad(400)),
        ("", "X: y\r\n folded", Bad(400)),
        ("", "X: y\rZ: 1", Bad(400)),
        ("", "X: y\0", Bad(400)),
        ("", "X: y\x1b[31m", Bad(400)),
        ("", "X: y\nZ: 1", Is::Upgrade), // a lone LF ends a line too
        ("", "Origin: https://a\r\nOrigin: https://b", Is::Upgrade), // OriginPolicy judges
    ];
    for (field, lines, expected) in rows {
        row(&with(GET, field, lines), expected);
    }
}

#[test]
fn requests_for_no_websocket_are_left_to_an_http_server() {
    let rows: &[(&str, Is)] = &[
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Plain),
        ("GET / HTTP/1.1\r\n\r\n", Plain), // without Host: the HTTP server answers that
        ("GET / HTTP/1.0\r\n\r\n", Plain),
        (
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
            Plain,
        ),
        (
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            Plain,
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Plain),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Plain),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
            Plain,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
            Plain,
        ),
        ("GET / HTTP/1.1\nHost: a\n\n", Plain),
        // The preface's first lines look like a head; its end, "SM", is for whoever takes the connection.
        ("PRI * HTTP/2.0\r\n\r\n", Plain),
        ("PRI * HTTP/2.0\r\nHost: a\r\n\r\n", Bad(400)),
        ("\x16\x03\x01\x02", Bad(400)),
        ("\0", Bad(400)),
        ("", Incomplete),
        ("\r\n\r\n", Incomplete),
        ("GET", Incomplete),
        ("GET / HTTP/1.1\r\n", Incomplete),
        ("GET / HTTP/1.1\r\nHost: a\r\n", Incomplete),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r", Incomplete),
    ];
    for (text, expected) in rows {
        row(text.as_bytes(), *expected);
    }
}

#[test]
fn every_part_of_a_good_head_is_incomplete() {
    let bytes = with(GET, "", "");
    for end in 0..bytes.len() {
        assert_eq!(
            parse(&bytes[..end], false, &HeadLimits::default()),
            (Head::Incomplete, 0)
        );
    }
}

#[test]
fn limits_hold_to_the_byte_and_before_the_head_is_complete() {
    let limits = HeadLimits::default();
    let line = |length: usize| format!("X: {}", "x".repeat(length - 3));
    let target = |length: usize| format!("GET /{} HTTP/1.1", "x".repeat(length - 1));
    row(&with(&target(MAX_TARGET), "", ""), Is::Upgrade);
    row(&with(&target(MAX_TARGET + 1), "", ""), Bad(414));
    row(
        format!("GET /{}", "x".repeat(MAX_TARGET + 64)).as_bytes(),
        Bad(414),
    );
    row(&with(GET, "", &line(limits.max_line)), Is::Upgrade);
    row(&with(GET, "", &line(limits.max_line + 1)), Bad(431));
    row(
        format!("{GET}\r\n{}", line(limits.max_line + 1)).as_bytes(),
        Bad(431),
    );

    let fields = |count: usize| vec!["X: y"; count - 5].join("\r\n");
    row(&with(GET, "", &fields(limits.max_fields)), Is::Upgrade);
    row(&with(GET, "", &fields(limits.max_fields + 1)), Bad(431));
    row(
        format!("{GET}\r\n{}", "X: y\r\n".repeat(limits.max_fields + 1)).as_bytes(),
        Bad(431),
    );

    // Exactly the longest head, then one byte more.
    let standing = with(GET, "", "").len() + line(limits.max_line).len() + 2 + 2;
    let two = |last: usize| [line(limits.max_line), line(last)].join("\r\n");
    row(
        &with(GET, "", &two(limits.max_size - standing)),
        Is::Upgrade,
    );
    row(
        &with(GET, "", &two(limits.max_size - standing + 1)),
        Bad(431),
    );
    row("\r\n".repeat(limits.max_size).as_bytes(), Bad(431));

    let small = HeadLimits {
        max_fields: 5,
        max_line: 50,
        max_size: 200,
        ..limits
    };
    assert_eq!(is(&judged(&with(GET, "", ""), &small)), Is::Upgrade);
    assert_eq!(is(&judged(&with(GET, "", "X: y"), &small)), Bad(431));
    let many = HeadLimits {
        max_fields: 1_000,
        max_size: usize::MAX,
        ..limits
    };
    assert_eq!(
        is(&judged(&with(GET, "", &fields(1_000)), &many)),
        Is::Upgrade
    );
}

#[test]
fn a_flood_is_refused_within_the_limit_and_each_byte_is_looked_at_once() {
    let limits = HeadLimits::default();
    let long_lines = format!(
        "{GET}\r\n{}",
        format!("X: {}\r\n", "y".repeat(8_000)).repeat(5)
    );
    let short_lines = format!("{GET}\r\n{}", "X: y\r\n".repeat(5_000));
    let one_line = format!("{GET}\r\nX: {}", "y".repeat(100_000));
    for flood in [long_lines, short_lines, one_line] {
        let (head, _, scan) = feed(flood.as_bytes(), 1, &limits);
        assert_eq!(is(&head), Bad(431));
        assert!(scan.scanned() <= limits.max_size);
        // One more look where the decision fell, which is where the scan stands.
        assert_eq!(scan.looks, scan.scanned() + 1);
    }
    let drip = with(GET, "", &format!("X: {}", "y".repeat(8_000)));
    let (head, _, scan) = feed(&drip, 1, &limits);
    assert_eq!((is(&head), scan.looks), (Is::Upgrade, drip.len()));
}

#[test]
fn lists_of_thousands_of_elements_are_judged() {
    // 4,000 different names; a comparison of each with each would be eight million.
    let names: Vec<_> = (0..1_300).map(|n| format!("{n:x}")).collect();
    row(
        &with(
            GET,
            "",
            &format!("Sec-WebSocket-Protocol: {}", names.join(",")),
        ),
        Is::Upgrade,
    );
    row(
        &with(
            GET,
            "",
            &format!("Sec-WebSocket-Protocol: {},0", names.join(",")),
        ),
        Bad(400),
    );
    row(
        &with(
            GET,
            "",
            &format!("Sec-WebSocket-Extensions: {}", "a;b,".repeat(2_000)),
        ),
        Is::Upgrade,
    );
    row(
        &with(
            GET,
            "Connection",
            &format!("Connection: {}upgrade", ",".repeat(8_000)),
        ),
        Is::Upgrade,
    );
}

#[test]
fn a_request_with_an_absolute_form_target_is_answered_byte_for_byte() {
    let bytes = b"GET ws://websocketexample.com:8181/ HTTP/1.1\r\n\
        Host: localhost:8181\r\n\
        Connection: Upgrade\r\n\
        Pragma: no-cache\r\n\
        Cache-Control: no-cache\r\n\
        Upgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: b6gjhT32u488lpuRwKaOWs==\r\n\r\n";
    row(bytes, Is::Upgrade);
    let request = request(bytes, false);
    assert_eq!(request.authority(), "websocketexample.com:8181");
    assert_eq!(
        (&*request.host(), request.port()),
        ("websocketexample.com", Some(8181))
    );
    assert_eq!((request.path(), request.query()), ("/", None));
    let mut answer = Vec::new();
    response(&request, None, &mut answer).unwrap();
    assert_eq!(
        answer.escape_ascii().to_string(),
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: 5ve17g5QZPLmIlvOfHgI1HwZ4iI=\r\n\r\n"
            .escape_ascii()
            .to_string()
    );
}

#[test]
fn a_request_shows_its_parts() {
    let bytes = with(
        "GET /a%2Fb/../c?x=1&y=%20 HTTP/1.1",
        "Host",
        "HOST: Example.COM:8000\r\nOrigin: https://o\r\nX-A:  one two \r\nx-a: 2\r\nX-Raw: \u{e9}\r\n\
         Sec-WebSocket-Protocol: b, a\r\nsec-websocket-protocol: c\r\nSec-WebSocket-Extensions: e; f=1\r\nSec-WebSocket-Extensions: g",
    );
    let request = request(&bytes, true);
    assert_eq!(request.head(), bytes);
    assert_eq!(
        (request.method(), request.path(), request.query()),
        ("GET", "/a%2Fb/../c", Some("x=1&y=%20"))
    );
    assert_eq!(request.query_param("y").as_deref(), Some(" "));
    assert_eq!(
        (request.authority(), &*request.host(), request.port()),
        ("Example.COM:8000", "example.com", Some(8000))
    );
    assert_eq!(
        (request.header("x-A"), request.header_str("X-RAW")),
        (Some(&b"one two"[..]), Some("\u{e9}"))
    );
    assert_eq!(
        (request.header("y"), request.origin()),
        (None, Some("https://o"))
    );
    assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["b", "a", "c"]);
    assert_eq!(
        request.extensions().collect::<Vec<_>>(),
        [&b"e; f=1"[..], b"g"]
    );
    assert_eq!(
        request.offers().iter().map(|e| e.name).collect::<Vec<_>>(),
        ["e", "g"]
    );
    assert_eq!(request.key(), b"dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(request.headers().count(), 13);
    assert!(request.secure() && !upgrade("/").secure());
    assert_eq!(upgrade("http://example.com?x=1").path(), "/");
}

#[test]
fn a_101_holds_what_was_agreed_and_nothing_else() {
    let lines = "Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: permessage-deflate, x";
    let request = request(&with(GET, "", lines), false);
    let cookie = [("Set-Cookie", "a=b")];
    let full = Response {
        subprotocol: Some("superchat"),
        extensions: Some("permessage-deflate"),
        headers: &cookie,
    };
    let mut answer = b"before".to_vec();
    full.write(&request, &mut answer).unwrap();
    assert_eq!(
        String::from_utf8(answer).unwrap(),
        "beforeHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: superchat\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\nSet-Cookie: a=b\r\n\r\n"
    );

    let none = Response::default();
    let split = [("A", "b\r\nC: d")];
    let rows = [
        (
            Response {
                subprotocol: Some("Chat"),
                ..none
            },
            BadResponse::SubprotocolNotOffered,
        ),
        (
            Response {
                subprotocol: Some(""),
                ..none
            },
            BadResponse::SubprotocolNotOffered,
        ),
        (
            Response {
                subprotocol: Some("chat\r\nA: b"),
                ..none
            },
            BadResponse::SubprotocolNotOffered,
        ),
        (
            Response {
                extensions: Some("y"),
                ..none
            },
            BadResponse::ExtensionNotOffered,
        ),
        (
            Response {
                extensions: Some("x, y"),
                ..none
            },
            BadResponse::ExtensionNotOffered,
        ),
        (
            Response {
                extensions: Some("x\r\nA: b"),
                ..none
            },
            BadResponse::ExtensionNotOffered,
        ),
        (
            Response {
                headers: &split,
                ..none
            },
            BadResponse::Field(BadField { name: "A".into() }),
        ),
    ];
    for (response, error) in rows {
        let mut answer = b"before".to_vec();
        assert_eq!(
            response.write(&request, &mut answer),
            Err(error),
            "{response:?}"
        );
        assert_eq!(answer, b"before");
    }
}

#[test]
fn a_refusal_says_status_and_reason_and_ends_the_connection() {
    let mut out = Vec::new();
    refuse(
        &Refusal::new(404, "there is no such path: try /echo"),
        &mut out,
    );
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: 33\r\n\r\nthere is no such path: try /echo\n"
    );
}

fn refused(bytes: &[u8]) -> String {
    let (Head::Bad(refusal), _) = parse(bytes, false, &HeadLimits::default()) else {
        panic!("{}", bytes.escape_ascii());
    };
    let mut out = Vec::new();
    refuse(&refusal, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn refusals_carry_the_headers_their_status_asks_for() {
    let wrong_version = refused(&with(
        GET,
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Version: 8",
    ));
    assert!(
        wrong_version.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
        "{wrong_version}"
    );
    assert!(wrong_version.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    assert!(wrong_version.contains("\r\nUpgrade: websocket\r\n"));
    assert!(wrong_version.contains("\r\nConnection: close, Upgrade\r\n"));
    let wrong_method = refused(&with("POST / HTTP/1.1", "", ""));
    assert!(
        wrong_method.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
        "{wrong_method}"
    );
    assert!(wrong_method.contains("\r\nAllow: GET\r\n"));
    assert!(refused(b"\x16\x03\x01").contains("TLS"));
}

#[test]
fn nothing_said_in_a_refusal_can_split_it() {
    let refusal = Refusal::new(400, "one\r\nSet-Cookie: a=b\r\n\r\n<two>\0");
    for value in ["a\r\nb: c", "a\nb", "\0", "a\r"] {
        assert!(
            refusal.clone().with_header("Retry-After", value).is_err(),
            "{value:?}"
        );
    }
    assert!(refusal.clone().with_header("Retry After", "1").is_err());
    let refusal = refusal.with_header("Retry-After", "1").unwrap();
    let mut out = Vec::new();
    refuse(&refusal, &mut out);
    let text = String::from_utf8(out).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "one  Set-Cookie: a=b    <two> \n");
    assert!(head.ends_with("\r\nRetry-After: 1"));
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
}

#[test]
fn a_status_that_refuses_nothing_becomes_500() {
    for (status, line) in [
        (101, "500 Internal"),
        (200, "500 "),
        (0, "500 "),
        (600, "500 "),
        (503, "503 Service"),
        (418, "418 \r\n"),
    ] {
        let mut out = Vec::new();
        refuse(&Refusal::new(status, "no"), &mut out);
        assert!(
            out.starts_with(format!("HTTP/1.1 {line}").as_bytes()),
            "{status}"
        );
    }
}

#[test]
fn random_changes_break_no_promise() {
    let seeds = [
        with(
            "GET ws://a.example:81/x?y=z HTTP/1.1",
            "",
            "Origin: https://a.example\r\nSec-WebSocket-Protocol: a, b\r\nCookie: c=d",
        ),
        with(
            GET,
            "Host",
            "Host: [::1]:80\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=\"1\\5\", x",
        ),
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
    ];
    let mut numbers = Numbers(0x7469_6465_6761_7465);
    let mut seen = [0; 4];
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        numbers.mutate(&mut bytes);
        fuzzing::server_head(&bytes);
        seen[match is(&parse(&bytes, true, &HeadLimits::default()).0) {
            Is::Incomplete => 0,
            Is::Upgrade => 1,
            Is::Plain => 2,
            Is::Bad(_) => 3,
        }] += 1;
    }
    assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
}

#[test]
fn random_changes_to_lists_and_origins_break_no_promise() {
    let mut numbers = Numbers(0x6761_7465);
    for _ in 0..20_000 {
        let mut offers =
            b"permessage-deflate; client_max_window_bits; a=\"b\\c\", other; d=1".to_vec();
        numbers.mutate(&mut offers);
        fuzzing::extension_offers(&offers);
        let mut origin = b"https://[2001:db8::1]:8443".to_vec();
        numbers.mutate(&mut origin);
        fuzzing::origin(&origin);
        let mut origin = b"https://a.example:443".to_vec();
        numbers.mutate(&mut origin);
        fuzzing::origin(&origin);
    }
}
