//! What a client sends, and what it makes of answers; each is fed whole, byte by byte and with a tail.

use super::*;
use crate::handshake::fuzzing;
use crate::handshake::server::{self, Head};
use crate::handshake::testing::Numbers;

const KEY: [u8; 16] = *b"the sample nonce";
const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn handshake() -> ClientHandshake {
    let request = ClientRequest {
        subprotocols: &["chat", "superchat"],
        extensions: Some("permessage-deflate; client_max_window_bits, x-other, permessage-deflate"),
        ..ClientRequest::new("example.com", "/", KEY)
    };
    ClientHandshake::new(&request).unwrap()
}

/// Reads an answer in all ways of feeding it, which must agree.
fn answered(bytes: &[u8], limits: &HeadLimits) -> Result<Answer, HandshakeError> {
    let whole = handshake().parse_response(bytes, limits);
    for step in [1, 5] {
        let mut handshake = handshake();
        let mut given = 0;
        let result = loop {
            given = (given + step).min(bytes.len());
            match handshake.parse_response(&bytes[..given], limits) {
                Ok(Answer::Incomplete) if given < bytes.len() => {}
                other => break other,
            }
        };
        assert_eq!(result, whole, "{} by {step}", bytes.escape_ascii());
    }
    if whole != Ok(Answer::Incomplete) {
        let longer = [bytes, b"\x81\x02hi\r\n\r\nHTTP/1.1"].concat();
        assert_eq!(handshake().parse_response(&longer, limits), whole);
    }
    fuzzing::client_response(bytes);
    whole
}

/// A good `101` with one of its fields replaced by `lines`.
fn with(field: &str, lines: &str) -> String {
    let mut head = String::from("HTTP/1.1 101 Switching Protocols\r\n");
    for line in ["Upgrade: websocket", "Connection: Upgrade", ACCEPT] {
        if field.is_empty() || !line.starts_with(&format!("{field}:")) {
            head += &format!("{line}\r\n");
        }
    }
    if !lines.is_empty() {
        head += &format!("{lines}\r\n");
    }
    head + "\r\n"
}

fn accepted(answer: &str) -> Result<Accepted, HandshakeError> {
    match answered(answer.as_bytes(), &HeadLimits::default())? {
        Answer::Accepted(accepted) => Ok(accepted),
        other => panic!("{answer}: {other:?}"),
    }
}

#[test]
fn a_request_is_written_as_peers_write_it() {
    let request = ClientRequest {
        origin: Some("https://example.com"),
        subprotocols: &["a", "b"],
        extensions: Some("permessage-deflate"),
        headers: &[("Authorization", "Bearer x"), ("Cookie", "c=d; e=f")],
        ..ClientRequest::new("example.com:8000", "/chat?room=1", KEY)
    };
    assert_eq!(
        String::from_utf8(ClientHandshake::new(&request).unwrap().request().to_vec()).unwrap(),
        "GET /chat?room=1 HTTP/1.1\r\nHost: example.com:8000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: https://example.com\r\n\
         Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
         Authorization: Bearer x\r\nCookie: c=d; e=f\r\n\r\n"
    );
}

#[test]
fn requests_that_would_say_something_else_are_refused() {
    let good = ClientRequest::new("example.com", "/", KEY);
    let refused = |request: ClientRequest<'_>| ClientHandshake::new(&request).unwrap_err();
    for authority in ["", "a b", "a\r\nb: c", "u@a", "a/", "a:x"] {
        assert_eq!(
            refused(ClientRequest { authority, ..good }),
            RequestError::Authority
        );
    }
    for target in ["", "a", "ws://a/", "/a b", "/\r\nA: b", "/a#b", "/é", "/\0"] {
        assert_eq!(
            refused(ClientRequest { target, ..good }),
            RequestError::Target
        );
    }
    for name in ["", "a b", "a,b", "a\r\nB: c", "é"] {
        let error = refused(ClientRequest {
            subprotocols: &["ok", name],
            ..good
        });
        assert_eq!(error, RequestError::Subprotocol(name.into()));
    }
    let error = refused(ClientRequest {
        subprotocols: &["a", "b", "a"],
        ..good
    });
    assert_eq!(error, RequestError::SubprotocolTwice("a".into()));
    for extensions in [Some(""), Some("a;"), Some("a\r\nB: c")] {
        assert!(matches!(
            refused(ClientRequest { extensions, ..good }),
            RequestError::Extensions(_)
        ));
    }
    for (name, value) in [
        ("A", "b\r\nC: d"),
        ("A", "b\n"),
        ("A\r\nB", "c"),
        ("A:", "b"),
        ("", "b"),
        ("A B", "c"),
        ("A", "\0"),
    ] {
        let error = refused(ClientRequest {
            headers: &[("X", "y"), (name, value)],
            ..good
        });
        assert_eq!(error, RequestError::Field(BadField { name: name.into() }));
    }
    for name in [
        "Host",
        "upgrade",
        "CONNECTION",
        "Origin",
        "Sec-WebSocket-Key",
        "sec-websocket-version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Accept",
        "Content-Length",
        "Transfer-Encoding",
        "Expect",
    ] {
        let error = refused(ClientRequest {
            headers: &[(name, "x")],
            ..good
        });
        assert_eq!(error, RequestError::Reserved(name.into()));
    }
    let error = refused(ClientRequest {
        origin: Some("https://a\r\nB: c"),
        ..good
    });
    assert_eq!(
        error,
        RequestError::Field(BadField {
            name: "Origin".into()
        })
    );
}

#[test]
fn answers_that_follow_the_rules_are_accepted() {
    let rows = [
        // lines added, subprotocol, extensions
        ("", None, None),
        ("Sec-WebSocket-Protocol: superchat", Some("superchat"), None),
        (
            "Sec-WebSocket-Extensions: permessage-deflate; a=b",
            None,
            Some("permessage-deflate; a=b"),
        ),
        (
            "Sec-WebSocket-Extensions: x-other\r\nsec-websocket-extensions: permessage-deflate",
            None,
            Some("x-other, permessage-deflate"),
        ),
        ("Server: x\r\nX: \u{e9}\r\nEmpty:", None, None),
    ];
    for (lines, subprotocol, extensions) in rows {
        let answer = with("", lines);
        let accepted = accepted(&answer).unwrap();
        assert_eq!(accepted.subprotocol.as_deref(), subprotocol);
        assert_eq!(accepted.extensions.as_deref(), extensions);
        assert_eq!(accepted.head_length, answer.len());
    }
    for (field, lines) in [
        ("Upgrade", "UPGRADE: WebSocket"),
        ("Connection", "connection: keep-alive, UPGRADE"),
        (
            "Connection",
            "Connection: keep-alive\r\nConnection: upgrade",
        ),
        (
            "Sec-WebSocket-Accept",
            "SEC-WEBSOCKET-ACCEPT:  s3pPLMBiTxaQ9kYGzzhZRbK+xOo= ",
        ),
    ] {
        assert!(accepted(&with(field, lines)).is_ok(), "{lines}");
    }
    assert!(accepted(&with("", "").replace(" Switching Protocols", "")).is_ok());
    assert!(accepted(&with("", "").replace("\r\n", "\n")).is_ok());
}

#[test]
fn interim_answers_are_skipped() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let answer = format!(
        "HTTP/1.1 100 Continue\r\n\r\n{hints}{hints}{}",
        with("", "")
    );
    assert_eq!(accepted(&answer).unwrap().head_length, answer.len());
    let endless = hints.repeat(1_000);
    assert_eq!(
        answered(endless.as_bytes(), &HeadLimits::default()),
        Err(HandshakeError::HeadTooLong)
    );
}

#[test]
fn a_101_that_breaks_a_rule_fails() {
    use HandshakeError as E;
    let rows = [
        ("Upgrade", "", E::Upgrade),
        ("Upgrade", "Upgrade: h2c", E::Upgrade),
        ("Upgrade", "Upgrade: websocket, h2c", E::Upgrade),
        ("", "Upgrade: websocket", E::Upgrade),
        ("Connection", "", E::Connection),
        ("Connection", "Connection: close", E::Connection),
        ("Sec-WebSocket-Accept", "", E::AcceptMissing),
        ("", ACCEPT, E::AcceptTwice),
        (
            "Sec-WebSocket-Accept",
            "Sec-WebSocket-Accept:",
            E::AcceptWrong,
        ),
        (
            "Sec-WebSocket-Accept",
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo",
            E::AcceptWrong,
        ),
        (
            "Sec-WebSocket-Accept",
            "Sec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO=",
            E::AcceptWrong,
        ),
        (
            "Sec-WebSocket-Accept",
            "Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==",
            E::AcceptWrong,
        ),
        (
            "",
            "Sec-WebSocket-Protocol: other",
            E::SubprotocolNotOffered("other".into()),
        ),
        (
            "",
            "Sec-WebSocket-Protocol: Chat",
            E::SubprotocolNotOffered("Chat".into()),
        ),
        (
            "",
            "Sec-WebSocket-Protocol:",
            E::SubprotocolNotOffered(String::new()),
        ),
        (
            "",
            "Sec-WebSocket-Protocol: chat, superchat",
            E::SubprotocolTwice,
        ),
        (
            "",
            "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat",
            E::SubprotocolTwice,
        ),
        (
            "",
            "Sec-WebSocket-Extensions: y",
            E::ExtensionNotOffered("y".into()),
        ),
        (
            "",
            "Sec-WebSocket-Extensions: x-other, x-other",
            E::ExtensionTwice("x-other".into()),
        ),
        // Offered twice, as a choice; accepted twice it would use RSV1 twice.
        (
            "",
            "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Extensions: permessage-deflate",
            E::ExtensionTwice("permessage-deflate".into()),
        ),
        (
            "",
            "Sec-WebSocket-Extensions: a b",
            E::Extensions(BadHeader {
                at: 2,
                expected: "a comma, a semicolon or the end",
            }),
        ),
        ("", "X: \0", E::NotHttp),
        ("", "X: a\rb", E::NotHttp),
        ("", "X", E::NotHttp),
        ("", "X: a\r\n folded", E::NotHttp),
    ];
    for (field, lines, error) in rows {
        assert_eq!(accepted(&with(field, lines)), Err(error), "{lines}");
    }
    let old = with("", "").replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(accepted(&old), Err(HandshakeError::OldHttp));
}

#[test]
fn what_is_no_http_fails_at_once() {
    for bytes in [
        &b"\x15\x03\x03\0\x02"[..],
        b"SSH-2.0-x\r\n",
        b"220 mail ready\r\n",
        b"HTTP/2 101\r\n",
        b"HTTP/1.1 ok\r\n",
        b"HTTP/1.1 099 x\r\n\r\n",
        b"\x81\x02hi\r\n\0",
    ] {
        let result = answered(bytes, &HeadLimits::default());
        assert_eq!(
            result,
            Err(HandshakeError::NotHttp),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn another_status_is_a_refusal_with_all_there_is_to_read() {
    let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 5\r\n\r\n";
    let bytes = format!("{head}sorry");
    match handshake().parse_response(bytes.as_bytes(), &HeadLimits::default()) {
        Ok(Answer::Refused(refused)) => {
            assert_eq!((refused.status, &*refused.reason), (401, "Unauthorized"));
            assert_eq!(&bytes[refused.body_start..], "sorry");
            assert_eq!(
                refused.headers.first("www-authenticate"),
                Some(&b"Basic"[..])
            );
            assert_eq!(refused.headers.head(), head.as_bytes());
        }
        other => panic!("{other:?}"),
    }
    for line in [
        "HTTP/1.0 404 Not Found",
        "HTTP/1.1 200",
        "HTTP/1.1 999 ",
        "HTTP/1.1 302 Found",
    ] {
        let answer = answered(format!("{line}\r\n\r\n").as_bytes(), &HeadLimits::default());
        assert!(
            matches!(answer, Ok(Answer::Refused(_))),
            "{line}: {answer:?}"
        );
    }
    for part in ["", "HTTP", "HTTP/1.1 101 Switching\r\n", "\r\n"] {
        assert_eq!(
            answered(part.as_bytes(), &HeadLimits::default()),
            Ok(Answer::Incomplete)
        );
    }
}

#[test]
fn limits_hold_before_the_head_is_complete() {
    let limits = HeadLimits::default();
    let start = "HTTP/1.1 101 x\r\n";
    let line = format!("X: {}\r\n", "y".repeat(6_000));
    let rows = [
        (
            format!("{start}X: {}", "y".repeat(limits.max_line)),
            HandshakeError::LineTooLong,
        ),
        (
            format!("HTTP/1.1 200 {}", "y".repeat(limits.max_line)),
            HandshakeError::LineTooLong,
        ),
        (
            format!("{start}{}", line.repeat(3)),
            HandshakeError::HeadTooLong,
        ),
        (
            format!("{start}{}", "X: y\r\n".repeat(limits.max_fields + 1)),
            HandshakeError::TooManyFields,
        ),
    ];
    for (bytes, error) in rows {
        assert_eq!(answered(bytes.as_bytes(), &limits), Err(error));
    }
    let full = format!(
        "{}\r\n{}",
        with("", "").trim_end(),
        "X: y\r\n".repeat(limits.max_fields - 3)
    );
    assert!(accepted(&format!("{full}\r\n")).is_ok());
}

#[test]
fn a_slow_answer_is_looked_at_once() {
    let answer = with("", &format!("X: {}", "y".repeat(8_000)));
    let mut handshake = handshake();
    for end in 0..=answer.len() {
        handshake
            .parse_response(&answer.as_bytes()[..end], &HeadLimits::default())
            .unwrap();
    }
    assert_eq!(handshake.scan.looks, answer.len());
}

#[test]
fn our_server_understands_our_client_and_the_other_way_round() {
    let mut client = handshake();
    let (head, length) = server::parse(client.request(), false, &HeadLimits::default());
    let Head::Upgrade(request) = head else {
        panic!("{head:?}")
    };
    assert_eq!(length, client.request().len());
    let mut answer = Vec::new();
    let chosen = server::Response {
        subprotocol: request.subprotocols().last(),
        extensions: Some("permessage-deflate"),
        headers: &[],
    };
    chosen.write(&request, &mut answer).unwrap();
    match client.parse_response(&answer, &HeadLimits::default()) {
        Ok(Answer::Accepted(accepted)) => {
            assert_eq!(accepted.subprotocol.as_deref(), Some("superchat"));
            assert_eq!(accepted.extensions.as_deref(), Some("permessage-deflate"));
        }
        other => panic!("{other:?}"),
    }
    answer.clear();
    server::refuse(&server::Refusal::new(403, "not from here"), &mut answer);
    match handshake().parse_response(&answer, &HeadLimits::default()) {
        Ok(Answer::Refused(refused)) => {
            assert_eq!(&answer[refused.body_start..], b"not from here\n")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn random_changes_break_no_promise() {
    let seeds = [
        with(
            "",
            "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate; a=\"b\"",
        ),
        format!("HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n{}", with("", "")),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno".to_owned(),
    ];
    let mut numbers = Numbers(0x636c_6965_6e74);
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].clone().into_bytes();
        numbers.mutate(&mut bytes);
        fuzzing::client_response(&bytes);
        let parts = "example.com:81\u{1}/path?q=1\u{1}https://o.example\u{1}chat\u{1}a; b=\"c\"\u{1}X-Name\u{1}a value";
        let mut bytes = parts.as_bytes().to_vec();
        numbers.mutate(&mut bytes);
        fuzzing::client_request(&bytes);
    }
}
