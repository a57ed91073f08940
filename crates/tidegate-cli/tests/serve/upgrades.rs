//! Which upgrades are accepted, by path, Host and Origin, and that an echo echoes.

use crate::support::connect;
use crate::support::http;
use crate::support::process::Server;
use crate::support::ws::{BINARY, PING, PONG, TEXT, Ws};

#[test]
fn the_request_of_issue_a_is_answered_with_its_accept_and_echoes() {
    let server = Server::start(&[]);
    let port = server.address.port();
    let request = format!(
        "GET ws://websocketexample.com:{port}/ HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: Upgrade\r\n\
         Pragma: no-cache\r\nCache-Control: no-cache\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: b6gjhT32u488lpuRwKaOWs==\r\n\r\n"
    );
    let mut stream = connect(server.address);
    let answer = http::exchange(&mut stream, request.as_bytes(), false);
    assert_eq!(answer.status, 101);
    assert_eq!(
        answer.header("sec-websocket-accept"),
        Some("5ve17g5QZPLmIlvOfHgI1HwZ4iI=")
    );
    let mut ws = Ws::after_handshake(stream);
    ws.send(TEXT, "Grüße".as_bytes());
    let frame = ws.expect();
    assert_eq!((frame.opcode, frame.text()), (TEXT, "Grüße"));
}

#[test]
fn the_echo_echoes_at_both_its_paths_also_what_is_large() {
    let server = Server::start(&["--workers", "2"]);
    for path in ["/", "/echo", "/echo?with=query"] {
        let mut ws = Ws::open(server.address, path);
        let large: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        ws.send(BINARY, &large);
        let frame = ws.expect();
        assert!(frame.opcode == BINARY && frame.payload == large, "{path}");
        ws.send(PING, b"are you there");
        let frame = ws.expect();
        assert_eq!(
            (frame.opcode, &frame.payload[..]),
            (PONG, &b"are you there"[..]),
            "{path}"
        );
    }
}

#[test]
fn an_upgrade_elsewhere_is_404_in_one_line() {
    let server = Server::start(&[]);
    for path in [
        "/nowhere",
        "/connection",
        "/connection/websocket/",
        "/echo/",
        "/channels/a/latest",
    ] {
        let Err(answer) = Ws::try_open(server.address, path, "Host: localhost\r\n") else {
            panic!("{path} was accepted")
        };
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.is_one_line(), "{path}: {}", answer.text());
    }
}

#[test]
fn a_rebound_host_gets_the_root_s_echo_and_nothing_else() {
    let server = Server::start(&["--host", "app.example"]);
    let key = "0123456789abcdef".repeat(2);
    let wire = format!("/wire?key={key}");
    let status = |path: &str, host: &str| {
        let headers = format!("Host: {host}\r\nOrigin: http://{host}\r\n");
        Ws::try_open(server.address, path, &headers).map_or_else(|answer| answer.status, |_| 101)
    };
    for path in ["/connection/websocket", "/echo", wire.as_str()] {
        assert_eq!(status(path, "evil.example"), 421, "{path}");
        assert_eq!(status(path, "localhost"), 101, "{path}");
        assert_eq!(status(path, "127.0.0.1:9"), 101, "{path}");
        assert_eq!(status(path, "app.example"), 101, "{path}");
    }
    assert_eq!(status("/", "evil.example"), 101);
}

#[test]
fn pages_of_other_origins_are_refused_unless_listed() {
    let status = |server: &Server, origin: &str| {
        let headers = format!("Host: {}\r\nOrigin: {origin}\r\n", server.address);
        let opened = Ws::try_open(server.address, "/connection/websocket", &headers);
        opened.map_or_else(|answer| answer.status, |_| 101)
    };
    let server = Server::start(&[]);
    assert_eq!(status(&server, &format!("http://{}", server.address)), 101);
    for foreign in [
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        "https://app.example",
    ] {
        assert_eq!(status(&server, foreign), 403, "{foreign}");
    }
    let server = Server::start(&[
        "--origin",
        "https://app.example",
        "--origin",
        "http://b.example:81",
    ]);
    assert_eq!(status(&server, "https://app.example"), 101);
    assert_eq!(status(&server, "http://b.example:81"), 101);
    assert_eq!(status(&server, "http://app.example"), 403);
    let server = Server::start(&["--any-origin"]);
    assert_eq!(status(&server, "http://evil.example"), 101);
}
