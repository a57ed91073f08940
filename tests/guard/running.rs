//! The command itself: traffic end to end, how each side learns of the other's end, drain, reload, bad flags.

use crate::support::client::{Ask, Client};
use crate::support::guard::{Guard, Scratch, run};
use crate::support::upstream::Upstream;
use crate::support::wire::{BINARY, CLOSE, PING, PONG, TEXT, field, plain};
use std::io::{Read, Write};
use std::net::TcpListener;

#[test]
fn messages_pass_both_ways_whole_and_framed_by_us() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let mut client = Client::open(guard.address);
    for (opcode, payload) in [
        (TEXT, b"hello".to_vec()),
        (BINARY, vec![7; 60_000]),
        (TEXT, Vec::new()),
    ] {
        client.say(opcode, &payload);
        let frame = client.frame();
        assert_eq!((frame.first, frame.mask), (0x80 | opcode, None));
        assert_eq!(frame.payload, payload);
    }
    // Pings end at the guard.
    client.say(PING, b"you?");
    assert_eq!(client.frame().opcode(), PONG);
    client.say(CLOSE, b"\x0f\xa0bye");
    assert_eq!(client.close_code(), 4_000);
    let seen = upstream
        .seen
        .wait("the Close", |notes| !notes.closes().is_empty());
    assert_eq!(seen.closes(), [4_000]);
    assert_eq!(seen.frames.len(), 4, "no ping: {:?}", seen.frames);
    assert!(seen.frames.iter().all(|frame| frame.mask.is_some()));
}

#[test]
fn each_side_hears_of_the_others_end() {
    // The upstream closes: the client hears the same words.
    let upstream = Upstream::playing("", plain(CLOSE, b"\x0f\xa1done"));
    let guard = Guard::before(&upstream.url());
    assert_eq!(Client::open(guard.address).close_code(), 4_001);
    // It goes without a word: 1013.
    let upstream = Upstream::start(|mut call| call.answer(""));
    let guard = Guard::before(&upstream.url());
    assert_eq!(Client::open(guard.address).close_code(), 1_013);
    // The client goes without a word: 1001.
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    drop(Client::open(guard.address));
    let seen = upstream
        .seen
        .wait("the Close", |notes| !notes.closes().is_empty());
    assert_eq!(seen.closes(), [1_001]);
}

#[test]
fn an_upstream_that_is_away_is_a_502_and_back_again_it_is_reached() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody = free.local_addr().expect("bound");
    drop(free);
    let guard = Guard::before(&format!("ws://{nobody}"));
    let ask = Ask::new(guard.address, "/");
    assert_eq!(Client::ask(guard.address, &ask).status(), 502);
    let back = TcpListener::bind(nobody).expect("the port is still free");
    let mut client = Client::connect(guard.address);
    client.send(&ask.octets());
    let (mut called, _) = back.accept().expect("a call");
    let head = crate::support::wire::read_head(&mut called).expect("a request");
    assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
    drop(called);
    client.read_head();
    assert_eq!(client.status(), 502);
}

#[test]
fn a_drain_tells_both_sides_and_ends() {
    let upstream = Upstream::echo();
    let mut guard = Guard::start(&upstream.url(), None, &["--drain", "20"]);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::open(guard.address)).collect();
    guard.signal(rustix::process::Signal::TERM);
    for client in &mut clients {
        let frame = client.frame();
        assert_eq!((frame.opcode(), frame.code()), (CLOSE, 1_012));
        client.say(CLOSE, &frame.payload);
    }
    let seen = upstream
        .seen
        .wait("the ends", |notes| notes.closes().len() == 3);
    assert_eq!(seen.closes(), [1_001, 1_001, 1_001]);
    assert!(guard.wait().success());
}

#[test]
fn o5_a_drain_ends_all_with_1012_and_lets_nobody_new_in() {
    let upstream = Upstream::echo();
    let flags = ["--drain", "60", "--workers", "1"];
    let mut guard = Guard::start(&upstream.url(), None, &flags);
    let mut clients: Vec<Client> = (0..200).map(|_| Client::open(guard.address)).collect();
    guard.signal(rustix::process::Signal::TERM);
    let closes: Vec<_> = clients.iter_mut().map(Client::frame).collect();
    for close in &closes {
        assert_eq!((close.opcode(), close.code()), (CLOSE, 1_012));
    }
    // Nobody has answered yet, so the guard is still there; and not for who comes now.
    let ask = Ask::new(guard.address, "/").octets();
    for _ in 0..20 {
        let Ok(mut stranger) = std::net::TcpStream::connect(guard.address) else {
            continue;
        };
        let mut answer = Vec::new();
        let _ = stranger.write_all(&ask);
        let _ = stranger.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 101"), "it was let in");
    }
    // One after the other, 1,000 a second: by the guard's own clock never faster, and on a slow machine slower.
    let line = guard.said(&[
        "all clients of this worker were asked to leave",
        "clients=200",
    ]);
    let seconds = line.split("seconds=").nth(1).expect("a time");
    let seconds = seconds.split_whitespace().next().expect("a time");
    let seconds: f64 = seconds.parse().expect("a number");
    assert!(seconds >= 0.199 * 0.9, "{line}");
    for (client, close) in clients.iter_mut().zip(&closes) {
        client.say(CLOSE, &close.payload);
    }
    assert!(guard.wait().success());
    assert_eq!(upstream.seen.now().connections, 200);
}

#[test]
fn the_admin_listener_answers_and_counts() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let admin = guard.admin();
    let mut client = Client::open(guard.address);
    client.say(TEXT, b"counted");
    client.frame();
    let get = |path: &str, host: &str| {
        let mut asking = Client::connect(admin);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        asking.send(request.as_bytes());
        String::from_utf8(asking.rest()).expect("text")
    };
    let own = admin.to_string();
    for path in ["/healthz", "/readyz", "/version"] {
        assert!(get(path, &own).starts_with("HTTP/1.1 200 "), "{path}");
    }
    assert!(get("/healthz", "evil.example").starts_with("HTTP/1.1 421 "));
    let page = get("/", &own);
    assert!(page.contains("Tidegate on guard"), "{page}");
    for file in page
        .split('"')
        .filter(|word| word.ends_with(".js") || word.ends_with(".css"))
    {
        let found = get(&format!("/{file}"), &own);
        assert!(found.starts_with("HTTP/1.1 200 "), "{file}: {found}");
    }
    assert!(get("/nowhere.js", &own).starts_with("HTTP/1.1 404 "));
    let overview = get("/overview", &own);
    let (_, overview) = overview.split_once("\r\n\r\n").expect("a body");
    let overview: serde_json::Value = serde_json::from_str(overview).expect("JSON");
    assert_eq!(
        (&overview["connections"], &overview["messages"]["to_server"]),
        (&1.into(), &1.into())
    );
    let metrics = get("/metrics", &own);
    for line in [
        "tidegate_guard_connections 1",
        "tidegate_guard_messages_total{direction=\"to_server\"} 1",
        "tidegate_guard_messages_total{direction=\"to_client\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[test]
fn a_policy_that_is_wrong_never_starts_and_never_replaces_a_good_one() {
    let bad = "[limits]\nmessage_sise = \"1KiB\"\n";
    let file = Scratch::new("bad.toml", bad);
    let upstream = ["--upstream", "ws://127.0.0.1:1", "--policy", file.path()];
    for more in [&[][..], &["--check-config"]] {
        let (code, out, err) = run(&[&upstream[..], more].concat());
        assert_eq!((code, &*out), (2, ""), "{err}");
        assert!(err.contains("2:1: unknown key message_sise"), "{err}");
    }
    for bad in ["127.0.0.1:1", "ws://h/path", "ftp://h:1"] {
        let (code, _, err) = run(&["--upstream", bad]);
        assert!(code == 2 && err.contains("--upstream"), "{err}");
    }
    let upstream = Upstream::echo();
    let good = "[[routes]]\nname = \"a\"\nprefix = \"/a\"\n";
    let guard = Guard::with_policy(&upstream.url(), good);
    let status = |path: &str| Client::ask(guard.address, &Ask::new(guard.address, path)).status();
    assert_eq!((status("/a"), status("/b")), (101, 404));
    guard.reload(bad);
    guard.said(&["policy not reloaded", "message_sise"]);
    assert_eq!((status("/a"), status("/b")), (101, 404));
    guard.reload("[[routes]]\nname = \"b\"\nprefix = \"/b\"\n");
    guard.said(&["policy reloaded"]);
    while status("/b") != 101 {} // the workers hear of it by mail
    assert_eq!(status("/a"), 404);
}

#[test]
fn the_request_that_the_upstream_sees_is_ours() {
    let upstream = Upstream::echo();
    let policy = "[subprotocols]\nallow = [\"one\", \"two\"]\n";
    let guard = Guard::with_policy(&upstream.url(), policy);
    let host = guard.address.to_string();
    let origin = format!("http://{host}");
    let ask = Ask::new(guard.address, "/chat/%63ats?token=1&x=%2F")
        .with("Origin", &origin)
        .with("Cookie", "a=b")
        .with("Sec-WebSocket-Protocol", "one, two")
        .with("Sec-WebSocket-Extensions", "permessage-deflate");
    let client = Client::opened(guard.address, &ask);
    assert_eq!(field(&client.head, "sec-websocket-extensions"), None, "T3");
    let seen = upstream
        .seen
        .wait("a request", |notes| notes.heads.len() == 1);
    let head = &seen.heads[0];
    assert!(
        head.starts_with("GET /chat/cats?token=1&x=%2F HTTP/1.1\r\n"),
        "{head}"
    );
    let rows = [
        ("host", Some(&*host)),
        ("origin", Some(&*origin)),
        ("cookie", Some("a=b")),
        ("sec-websocket-protocol", Some("one, two")),
        ("sec-websocket-extensions", None),
        ("x-forwarded-for", Some("127.0.0.1")),
    ];
    for (name, value) in rows {
        assert_eq!(field(head, name), value, "{name}");
    }
    let key = field(head, "sec-websocket-key");
    assert_ne!(
        key,
        Some(crate::support::client::SAMPLE_KEY),
        "the key is our own"
    );
}
