//! H18: what a client may do with HTTP/2 and not with HTTP/1.1. Streams count as connections wherever those are counted, who
//! resets them in masses is closed, and frames that carry nothing are not taken for ever.

use crate::support::h2::{
    CONTINUATION, DATA, GOAWAY, HEADERS, RST_STREAM, Raw, ask, connect_fields, frame, reset,
};
use crate::support::process::{Scratch, Server, configured};
use crate::support::ws::Ws;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// As many streams as a connection may hold (SETTINGS_MAX_CONCURRENT_STREAMS).
const STREAMS: u32 = 100;
const ENHANCE_YOUR_CALM: u32 = 11;
const REFUSED_STREAM: u32 = 7;

/// What so many requests for a WebSocket on one connection are answered, one after the other; all stay open.
fn statuses(server: &Server, path: &str, count: usize) -> Vec<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let tcp = TcpStream::connect(server.address)
            .await
            .expect("a connection");
        let shaking =
            Builder::new(TokioExecutor::new()).handshake::<_, Empty<Bytes>>(TokioIo::new(tcp));
        let (mut sender, connection) = shaking.await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut held = Vec::new();
        for _ in 0..count {
            let request = Request::connect(format!("http://{}{path}", server.address))
                .extension(hyper::ext::Protocol::from_static("websocket"))
                .header("sec-websocket-version", "13")
                .body(Empty::new());
            let answer = sender.send_request(request.expect("a request"));
            held.push(answer.await.expect("an answer"));
        }
        held.iter().map(|answer| answer.status().as_u16()).collect()
    })
}

/// Still serves others.
fn serves(server: &Server) {
    drop(Ws::open(server.address, "/echo"));
}

#[test]
fn h18_each_stream_counts_as_a_connection_of_its_address() {
    let text = "[clients]\nanonymous = true\n[limits]\nconnections_per_ip = 3\n[admin]\nlisten = \"off\"\n";
    let config = Scratch::new("h18-address.toml", text);
    let server = configured(&config);
    assert_eq!(statuses(&server, "/echo", 5), [200, 200, 200, 429, 429]);
    let text =
        "[clients]\nanonymous = true\n[limits]\nconnections = 2\n[admin]\nlisten = \"off\"\n";
    let config = Scratch::new("h18-all.toml", text);
    let server = configured(&config);
    let _http1 = Ws::open(server.address, "/echo");
    assert_eq!(statuses(&server, "/echo", 2), [200, 503]);
}

#[test]
fn h18_each_stream_counts_as_a_connection_of_its_route() {
    let policy = Scratch::new("h18-policy.toml", "[limits]\nconnections = 2\n");
    let server = Server::start(&["--guard", policy.path()]);
    let path = "/connection/websocket";
    assert_eq!(statuses(&server, path, 3), [200, 200, 429]);
}

#[test]
fn h18_one_stream_too_many_is_refused() {
    let server = Server::start(&[]);
    let mut raw = Raw::open(server.address);
    for n in 0..STREAMS {
        assert!(raw.send(&ask(server.address, "/echo", 2 * n + 1)));
        let answer = raw
            .next_of(&[HEADERS, RST_STREAM, GOAWAY])
            .expect("an answer");
        assert_eq!((answer.kind, answer.stream), (HEADERS, 2 * n + 1));
    }
    assert!(raw.send(&ask(server.address, "/echo", 2 * STREAMS + 1)));
    let answer = raw
        .next_of(&[HEADERS, RST_STREAM, GOAWAY])
        .expect("an answer");
    assert_eq!((answer.kind, answer.stream), (RST_STREAM, 2 * STREAMS + 1));
    assert_eq!(answer.code(), REFUSED_STREAM);
    // One that ends makes room for another.
    assert!(raw.send(&reset(1)));
    assert!(raw.send(&ask(server.address, "/echo", 2 * STREAMS + 3)));
    let answer = raw
        .next_of(&[HEADERS, RST_STREAM, GOAWAY])
        .expect("an answer");
    assert_eq!((answer.kind, answer.stream), (HEADERS, 2 * STREAMS + 3));
}

#[test]
fn h18_who_resets_streams_in_masses_is_told_to_go() {
    let server = Server::start(&[]);
    let mut neighbour = Ws::open(server.address, "/echo");
    // Open WebSockets, given up one by one.
    let mut raw = Raw::open(server.address);
    let opened = (0..10_000).position(|n| {
        let stream = 2 * n + 1;
        raw.send(&ask(server.address, "/echo", stream));
        let answer = raw.next_of(&[HEADERS, GOAWAY]);
        raw.send(&reset(stream));
        answer.is_none_or(|answer| answer.kind == GOAWAY)
    });
    let opened = opened.expect("a GOAWAY");
    // More of them only where they are slow: twenty a second are forgiven.
    assert!((100..1_000).contains(&opened), "{opened}");
    // What was asked when GOAWAY was on its way may still be answered; then it is over.
    let more = std::iter::from_fn(|| raw.next_of(&[HEADERS])).count();
    assert!(more <= 1, "{more}");
    // Requests that nobody waits for, all at once.
    let mut raw = Raw::open(server.address);
    let mut flood = Vec::new();
    for n in 0..200 {
        flood.extend(ask(server.address, "/echo", 2 * n + 1));
        flood.extend(reset(2 * n + 1));
    }
    while raw.send(&flood) && raw.next_of(&[GOAWAY]).is_none() {}
    neighbour.send(crate::support::ws::TEXT, b"still here");
    assert_eq!(neighbour.expect().text(), "still here");
    serves(&server);
}

#[test]
fn h18_frames_that_carry_nothing_are_not_taken_for_ever() {
    let server = Server::start(&["--workers", "1"]);
    serves(&server);
    let before = server.resident();
    // A head that never ends.
    let mut raw = Raw::open(server.address);
    let fields = connect_fields(server.address, "/echo");
    raw.send(&frame(HEADERS, 0, 1, &fields));
    let endless = frame(CONTINUATION, 0, 1, b"").repeat(10_000);
    raw.send(&endless);
    let gone = raw.next_of(&[GOAWAY]).expect("GOAWAY");
    assert_eq!(gone.code(), ENHANCE_YOUR_CALM);
    // Fields without number.
    let mut raw = Raw::open(server.address);
    raw.send(&frame(HEADERS, 0, 1, &fields));
    let more = [&b"\0\x05x-aaa\x40"[..], &[b'a'; 64]].concat();
    raw.send(&frame(CONTINUATION, 0, 1, &more.repeat(100)).repeat(2_000));
    assert!(raw.next_of(&[HEADERS]).is_none(), "no answer but the end");
    // DATA without data.
    let mut raw = Raw::open(server.address);
    raw.send(&ask(server.address, "/echo", 1));
    assert!(raw.next_of(&[HEADERS]).is_some());
    raw.send(&frame(DATA, 0, 1, b"").repeat(100_000));
    let gone = raw.next_of(&[GOAWAY]).expect("GOAWAY");
    assert_eq!(gone.code(), ENHANCE_YOUR_CALM);
    serves(&server);
    let grown = server.resident().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB");
}

#[test]
fn h18_small_messages_are_no_flood() {
    let server = Server::start(&[]);
    let mut raw = Raw::open(server.address);
    raw.send(&ask(server.address, "/echo", 1));
    assert!(raw.next_of(&[HEADERS]).is_some());
    for _ in 0..5_000 {
        // "Hi", masked with zeros.
        assert!(raw.send(&frame(DATA, 0, 1, &[0x81, 0x82, 0, 0, 0, 0, b'H', b'i'])));
        let echo = raw.next_of(&[DATA, RST_STREAM, GOAWAY]).expect("an echo");
        assert_eq!((echo.kind, &echo.payload[..]), (DATA, &b"\x81\x02Hi"[..]));
    }
}
