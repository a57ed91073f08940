//! WebSockets on connections that were kept alive after ordinary HTTP: they are what they would have been
//! on a connection of their own.

use crate::support::process::Server;
use crate::support::ws::{BINARY, CLOSE, TEXT, Ws};
use crate::support::{connect, http};
use crate::tls::dial;
use serde_json::json;
use std::io::{Cursor, Read, Write};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Asks for the page so many times, over one connection.
fn after_gets<S: Read + Write>(mut stream: S, gets: usize) -> S {
    for _ in 0..gets {
        assert_eq!(http::exchange(&mut stream, GET, false).status, 200);
    }
    stream
}

/// An upgrade's head and text messages behind it.
fn upgrade_and(path: &str, texts: &[&str]) -> Vec<u8> {
    let mut frames = Ws::after_handshake(Cursor::new(Vec::new()));
    for text in texts {
        frames.send(TEXT, text.as_bytes());
    }
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    [head.as_bytes(), &frames.wire.sent].concat()
}

/// Echo and hub work on streams that `dial` makes, after one GET and after several.
fn echo_and_hub_work<S: Read + Write>(dial: impl Fn() -> S, origin: &str) {
    let headers = format!("Host: localhost\r\nOrigin: {origin}\r\n");
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| (n >> 3) as u8).collect();
    for gets in [1, 5] {
        for path in ["/", "/echo"] {
            let mut echo = Ws::over(after_gets(dial(), gets), path, &headers).expect("accepted");
            echo.send(BINARY, &large);
            assert!(echo.expect().payload == large, "{path} after {gets}");
            echo.send(CLOSE, &1000_u16.to_be_bytes());
            assert_eq!(echo.expect().close_code(), 1000);
            assert_eq!(echo.next(), None);
        }
        let stream = after_gets(dial(), gets);
        let mut hub = Ws::over(stream, "/connection/websocket", &headers).expect("accepted");
        assert!(hub.ask(1, "connect", json!({}))["client"].is_string());
        hub.ask(2, "subscribe", json!({ "channel": "tea" }));
        hub.ask(3, "publish", json!({ "channel": "tea", "data": "green" }));
    }
}

#[test]
fn echo_and_hub_work_after_http() {
    let server = Server::start(&["--workers", "2"]);
    echo_and_hub_work(|| connect(server.address), "http://localhost");
}

#[test]
fn echo_and_hub_work_after_https() {
    let server = Server::start(&["--workers", "2", "--dev-cert"]);
    echo_and_hub_work(|| dial(&server, "localhost"), "https://localhost");
}

/// Sends pages' requests, an upgrade and its first frames at once; reads only when all is sent.
fn all_at_once<S: Read + Write>(mut stream: S, gets: usize) {
    after_gets(&mut stream, 1);
    let mut all = GET.repeat(gets);
    all.extend(upgrade_and("/echo", &["one", "two"]));
    stream.write_all(&all).expect("sent");
    for n in 0..gets {
        assert_eq!(http::read(&mut stream, false).status, 200, "number {n}");
    }
    assert_eq!(http::read(&mut stream, false).status, 101);
    let mut ws = Ws::after_handshake(stream);
    ws.send(TEXT, b"three");
    for text in ["one", "two", "three"] {
        assert_eq!(ws.expect().text(), text);
    }
}

#[test]
fn frames_behind_the_upgrade_and_requests_before_it_keep_their_order() {
    let server = Server::start(&[]);
    for gets in [0, 1, 3] {
        all_at_once(connect(server.address), gets);
    }
    let server = Server::start(&["--dev-cert"]);
    for gets in [0, 1, 3] {
        all_at_once(dial(&server, "localhost"), gets);
    }
}

#[test]
fn answers_that_wait_for_a_slow_client_come_before_the_101() {
    let server = Server::start(&[]);
    // More than the socket buffers of both sides hold.
    let gets = 16_000_000 / http::get(server.address, "/").body.len();
    all_at_once(connect(server.address), gets);
    let server = Server::start(&["--dev-cert"]);
    all_at_once(dial(&server, "localhost"), gets);
}

#[test]
fn an_upgrade_after_http_is_refused_as_a_fresh_one_is() {
    let server = Server::start(&[]);
    let host = "Host: localhost\r\n";
    let rows = [
        (
            "/connection/websocket",
            "Origin: http://evil.example\r\n",
            host,
            403,
        ),
        ("/echo", "Origin: null\r\n", host, 403),
        ("/connection/websocket", "", "Host: evil.example\r\n", 421),
        ("/echo", "", "Host: evil.example\r\n", 421),
        ("/nowhere", "", host, 404),
        ("/wire?key=short", "", host, 403),
        ("/echo", "Content-Length: 3\r\n", host, 400),
        ("/echo", "Sec-WebSocket-Key: x\r\n", host, 400),
        ("/echo", "Sec-WebSocket-Version: 8\r\n", host, 426),
        ("/echo", "", "Host: localhost\r\nHost: localhost\r\n", 400),
        ("/echo", "", "", 400),
    ];
    for (path, fields, host, status) in rows {
        let headers = format!("{host}{fields}");
        let open = |stream| match Ws::over(stream, path, &headers) {
            Ok(_) => panic!("{path} {headers:?} was accepted"),
            Err(answer) => answer,
        };
        let mut stream = connect(server.address);
        let later = open(after_gets(&mut stream, 2));
        let fresh = open(&mut connect(server.address));
        assert_eq!(later.status, status, "{path} {headers:?}: {}", later.text());
        assert_eq!((fresh.status, fresh.text()), (status, later.text()));
        assert_eq!(later.header("connection"), fresh.header("connection"));
        assert_eq!(stream.read(&mut [0]).expect("the end"), 0, "{path}");
    }
}

#[test]
fn another_upgrade_is_ordinary_http() {
    let server = Server::start(&[]);
    let mut stream = after_gets(connect(server.address), 1);
    let h2c = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    assert_eq!(http::exchange(&mut stream, h2c, false).status, 200);
    let mut ws = Ws::over(stream, "/echo", "Host: localhost\r\n").expect("accepted");
    ws.send(TEXT, b"still");
    assert_eq!(ws.expect().text(), "still");
}

#[test]
fn a_thousand_connections_that_change_leave_the_server_well() {
    let server = Server::start(&["--workers", "2"]);
    for n in 0..1_000 {
        let stream = after_gets(connect(server.address), 1);
        let mut ws = Ws::over(stream, "/echo", "Host: localhost\r\n").expect("accepted");
        if n % 2 == 0 {
            ws.send(TEXT, b"here");
            assert_eq!(ws.expect().text(), "here");
        }
    }
    assert_eq!(http::get(server.address, "/").status, 200);
}
