//! The observer shows a connection's octets to its owner exactly as they passed, and to nobody else.

use crate::support::process::Server;
use crate::support::ws::{BINARY, CLOSE, PING, PONG, TEXT, Ws};
use serde_json::json;
use std::net::SocketAddr;

fn secret(n: u8) -> String {
    format!("{n:02x}c0ffee{n:02x}dec0de").repeat(2)
}

fn hub(address: SocketAddr, secret: &str) -> Ws {
    Ws::open(address, &format!("/connection/websocket?wire={secret}"))
}

fn watch(address: SocketAddr, secret: &str) -> Ws {
    Ws::open(address, &format!("/wire?key={secret}"))
}

/// What the observer showed: octets received and sent by the server.
#[derive(Default)]
struct Shown {
    received: Vec<u8>,
    sent: Vec<u8>,
    last: u64,
}

impl Shown {
    /// Reads on until as many octets were shown as the connection itself saw, in each direction.
    fn read_all(&mut self, watcher: &mut Ws, of: &Ws) {
        while self.received.len() < of.wire.sent.len() || self.sent.len() < of.wire.received.len() {
            let frame = watcher.expect();
            assert_eq!(frame.opcode, BINARY, "{frame:?}");
            self.take(&frame.payload);
        }
    }

    fn take(&mut self, message: &[u8]) {
        let (head, octets) = message.split_at(9);
        let micros = u64::from_be_bytes(head[1..].try_into().expect("eight octets"));
        assert!(
            micros >= self.last && micros > 1_700_000_000_000_000,
            "{micros}"
        );
        self.last = micros;
        match head[0] {
            0 => self.received.extend_from_slice(octets),
            1 => self.sent.extend_from_slice(octets),
            other => panic!("direction {other}"),
        }
    }
}

/// Some of everything: short and long messages, pings, an error, the closing handshake.
fn converse(ws: &mut Ws) {
    ws.ask(1, "connect", json!({}));
    ws.ask(2, "subscribe", json!({ "channel": "chat:wire" }));
    ws.send(PING, b"tide");
    loop {
        let frame = ws.expect();
        if frame.opcode == PONG {
            break;
        }
    }
    for (id, size) in [(3, 1), (4, 200), (5, 5_000), (6, 60_000)] {
        ws.ask(
            id,
            "publish",
            json!({ "channel": "chat:wire", "data": "~".repeat(size) }),
        );
    }
    ws.say(&json!({ "id": 7, "rpc": { "method": "no such" } }));
    ws.reply(7);
    ws.send(CLOSE, &1000_u16.to_be_bytes());
    while let Some(frame) = ws.next() {
        assert!(frame.opcode == TEXT || frame.close_code() == 1000);
    }
}

#[test]
fn the_octets_shown_are_those_of_a_raw_capture_in_both_directions() {
    let server = Server::start(&["--workers", "4"]);
    // Several secrets, so that recorder, home and watcher sit on the same and on different workers.
    for n in 0..8 {
        let secret = secret(n);
        let mut shown = Shown::default();
        let (mut hub, mut watcher);
        if n % 2 == 0 {
            hub = self::hub(server.address, &secret);
            watcher = watch(server.address, &secret);
            // The head came before the watcher: it is shown from what was kept.
            shown.read_all(&mut watcher, &hub);
        } else {
            watcher = watch(server.address, &secret);
            hub = self::hub(server.address, &secret);
        }
        converse(&mut hub);
        shown.read_all(&mut watcher, &hub);
        assert!(
            shown.received == hub.wire.sent,
            "{n}: what the client sent differs"
        );
        assert!(
            shown.sent == hub.wire.received,
            "{n}: what the client received differs"
        );
        assert!(
            shown
                .received
                .starts_with(b"GET /connection/websocket?wire=")
        );
        assert!(shown.sent.starts_with(b"HTTP/1.1 101 "));
    }
}

#[test]
fn a_watcher_sees_the_next_connection_of_its_secret_too() {
    let server = Server::start(&["--workers", "2"]);
    let secret = secret(1);
    let mut watcher = watch(server.address, &secret);
    for _ in 0..2 {
        let mut hub = hub(server.address, &secret);
        converse(&mut hub);
        let mut shown = Shown::default();
        shown.read_all(&mut watcher, &hub);
        assert!(shown.received == hub.wire.sent && shown.sent == hub.wire.received);
    }
}

#[test]
fn another_secret_shows_nothing_and_is_told_so() {
    let server = Server::start(&["--workers", "2"]);
    let mut hub = hub(server.address, &secret(1));
    let mut stranger = watch(server.address, &secret(2));
    hub.ask(1, "connect", json!({}));
    let end = stranger.expect();
    assert_eq!(end.close_code(), 4404, "nothing but the close: {end:?}");
}

#[test]
fn what_is_no_secret_is_refused() {
    let server = Server::start(&[]);
    let long = "ab".repeat(65);
    for bad in [
        "",
        "abc",
        "0123456789abcdef0123456789abcde",
        "0123456789abcdef0123456789abcdeg",
        &long,
    ] {
        for path in [
            format!("/wire?key={bad}"),
            format!("/connection/websocket?wire={bad}"),
        ] {
            let refused = Ws::try_open(server.address, &path, "Host: localhost\r\n").err();
            assert_eq!(refused.map(|answer| answer.status), Some(403), "{path}");
        }
    }
    let refused = Ws::try_open(server.address, "/wire", "Host: localhost\r\n").err();
    assert_eq!(refused.map(|answer| answer.status), Some(403));
}

#[test]
fn a_watcher_that_comes_after_the_kept_octets_is_told_that_it_is_too_late() {
    let server = Server::start(&[]);
    let secret = secret(3);
    let mut hub = hub(server.address, &secret);
    hub.ask(1, "connect", json!({}));
    let data = "~".repeat(50_000);
    for id in 2..10 {
        hub.ask(
            id,
            "publish",
            json!({ "channel": "elsewhere", "data": data }),
        );
    }
    let mut watcher = watch(server.address, &secret);
    let mut shown = Shown::default();
    let code = loop {
        let frame = watcher.expect();
        if frame.opcode != BINARY {
            break frame.close_code();
        }
        shown.take(&frame.payload);
    };
    assert_eq!(code, 4413);
    assert!(shown.received.len() + shown.sent.len() <= 256 << 10);
    assert!(shown.received.len() > 100_000, "what was kept is shown");
    assert!(
        hub.wire.sent.starts_with(&shown.received),
        "from the first octet on, without a gap"
    );
}

#[test]
fn an_observer_only_speaks() {
    let server = Server::start(&[]);
    let mut watcher = watch(server.address, &secret(4));
    watcher.send(TEXT, b"hello?");
    assert_eq!(watcher.expect().close_code(), 1003);
}
