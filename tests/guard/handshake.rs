//! H1–H17: what a request may look like, what an upstream may answer, and that nothing reaches the wrong one.

use crate::support::client::{Ask, Client};
use crate::support::guard::Guard;
use crate::support::many;
use crate::support::upstream::Upstream;
use crate::support::wire::{TEXT, field, masked};
use std::time::{Duration, Instant};

/// Asks each row and compares the status; then a good request, and with it the upstream has seen just one.
fn refused(guard: &Guard, upstream: &Upstream, rows: &[(String, Vec<u8>, u16)]) {
    let before = upstream.seen.now().connections;
    for (name, octets, status) in rows {
        let mut client = Client::connect(guard.address);
        client.send(octets);
        client.read_head();
        assert_eq!(client.status(), *status, "{name}: {}", client.head);
        assert!(
            client.head.contains("Connection: close"),
            "{name}: {}",
            client.head
        );
        client.rest();
    }
    drop(Client::open(guard.address));
    let seen = upstream
        .seen
        .wait("the good one", |notes| notes.connections > before);
    assert_eq!(seen.connections, before + 1, "up=0 for all rows");
}

fn row(name: &str, ask: Ask, status: u16) -> (String, Vec<u8>, u16) {
    (name.to_owned(), ask.octets(), status)
}

#[test]
fn h1_foreign_origins_get_403_and_the_upstream_sees_nothing() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let own = guard.address.to_string();
    let (ip, port) = own.split_once(':').expect("a port");
    let next: u16 = port.parse::<u16>().expect("a port").wrapping_add(1);
    let mut hostile: Vec<String> = [
        "null",
        "",
        " ",
        "*",
        "about:blank",
        "undefined",
        "http",
        "://",
    ]
    .map(str::to_owned)
    .to_vec();
    for scheme in [
        "http",
        "https",
        "ws",
        "wss",
        "ftp",
        "file",
        "chrome-extension",
        "data",
    ] {
        for host in [
            format!("evil.example:{port}"),
            "evil.example".into(),
            format!("{ip}.evil.example:{port}"),
            format!("evil{own}"),
            format!("{ip}:{next}"),
            ip.into(),
            format!("{own}0"),
            format!("user@{own}"),
            format!("{own}@evil.example"),
            format!("{own}/"),
            format!("{own}/path"),
            format!("{own}?q"),
            format!("{own}#f"),
            format!("{own} "),
            format!("{own},http://evil.example"),
            format!("{own};evil.example"),
            format!("{own}\\evil.example"),
            format!("{ip}:0{port}"),
            format!("{ip}:{port}:{port}"),
            format!("{ip}%00:{port}"),
            format!("localhost:{port}"),
            format!("[::1]:{port}"),
            format!("127.1:{port}"),
            format!("2130706433:{port}"),
            format!("0x7f000001:{port}"),
            format!("xn--e1afmkfd.example:{port}"),
            format!("{own}\u{430}"),
        ] {
            // Trailing white space belongs to the line, not to the value: that one is our own origin.
            if !(scheme.starts_with("http") && host.ends_with(' ')) {
                hostile.push(format!("{scheme}://{host}"));
            }
        }
    }
    assert!(hostile.len() >= 200, "{}", hostile.len());
    let ask = || Ask::new(guard.address, "/");
    let mut rows: Vec<_> = hostile
        .iter()
        .map(|origin| row(origin, ask().with("Origin", origin), 403))
        .collect();
    let good = format!("http://{own}");
    let twice = ask().with("Origin", &good).with("Origin", &good);
    rows.push(row("two Origins", twice, 403));
    rows.push(row(
        "a cookie and no Origin",
        ask().with("Cookie", "sid=1"),
        403,
    ));
    refused(&guard, &upstream, &rows);
    for good in [
        ask().with("Origin", &good),
        ask().with("Origin", &good).with("Cookie", "sid=1"),
        ask().with("Authorization", "Bearer x"),
    ] {
        Client::opened(guard.address, &good);
    }
}

#[test]
fn h3_h4_what_is_no_right_101_opens_nothing_and_the_next_request_is_no_ones() {
    let rows: [(&'static [u8], u16); 8] = [
        (b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n", 426),
        (b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n", 502),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 502),
        (b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 502),
        (
            b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            502,
        ),
        (b"HTTP/1.1 101 Yes\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 502),
        (b"\x81\x05hello", 502),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 403),
    ];
    for (answer, status) in rows {
        let upstream = Upstream::answering(answer);
        let guard = Guard::before(&upstream.url());
        // The forbidden request is pipelined before the answer, and sent again behind it.
        let forbidden = b"GET /forbidden HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut client = Client::connect(guard.address);
        client.send(&[&Ask::new(guard.address, "/").octets()[..], forbidden].concat());
        client.read_head();
        assert_eq!(client.status(), status, "{}", answer.escape_ascii());
        client.send(forbidden);
        let rest = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(!rest.contains("HTTP/1.1"), "a second answer: {rest}");
        let seen = upstream
            .seen
            .wait("the end", |notes| notes.ended == notes.connections);
        assert_eq!((seen.connections, seen.heads.len()), (1, 1));
        assert_eq!(seen.octets, b"", "nothing after the request");
    }
}

#[test]
fn h4_octets_before_the_101_are_held_read_as_frames_and_bounded() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let ask = Ask::new(guard.address, "/").octets();
    let mut early = Client::connect(guard.address);
    early.send(&[&ask[..], &masked(TEXT, b"early")].concat());
    early.read_head();
    assert_eq!(early.status(), 101);
    assert_eq!(early.frame().payload, b"early");
    let mut request = Client::connect(guard.address);
    request.send(&[&ask[..], b"GET /forbidden HTTP/1.1\r\n\r\n"].concat());
    request.read_head();
    assert_eq!((request.status(), request.close_code()), (101, 1_002));
    let mut much = Client::connect(guard.address);
    much.send(&[&ask[..], &vec![0x82; 5_000]].concat());
    much.read_head();
    assert_eq!(much.status(), 400);
    let seen = upstream.seen.now();
    assert!(seen.heads.iter().all(|head| !head.contains("forbidden")));
    assert_eq!(seen.data().len(), 1);
}

#[test]
fn h5_other_upgrades_never_reach_the_upstream() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let h2c = format!(
        "GET /page HTTP/1.1\r\nHost: {}\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        guard.address
    );
    let mut client = Client::connect(guard.address);
    client.send(h2c.as_bytes());
    client.read_head();
    assert_eq!(client.status(), 200, "{}", client.head);
    let head = &upstream.seen.now().heads[0];
    for name in ["upgrade", "http2-settings"] {
        assert_eq!(field(head, name), None, "{head}");
    }
}

#[test]
fn h6_h7_h8_h12_h13_h17_bad_requests_are_refused_and_the_upstream_sees_nothing() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let ask = || Ask::new(guard.address, "/");
    let key = "Sec-WebSocket-Key";
    let version = "Sec-WebSocket-Version";
    let mut rows = vec![
        row("no key", ask().without(key), 400),
        row("15 octets", ask().set(key, "AAAAAAAAAAAAAAAAAAAA"), 400),
        row("17 octets", ask().set(key, "AAAAAAAAAAAAAAAAAAAAAAA="), 400),
        row("no base64", ask().set(key, "dGhlIHNhbXBsZSBub25jZ!=="), 400),
        row("two keys", ask().with(key, "dGhlIHNhbXBsZSBub25jZQ=="), 400),
        row("no version", ask().without(version), 426),
        row("two versions", ask().with(version, "13"), 426),
        row("POST", ask().start("POST / HTTP/1.1"), 405),
        row("HTTP/1.0", ask().start("GET / HTTP/1.0"), 400),
        row("a length", ask().with("Content-Length", "5"), 400),
        row("chunks", ask().with("Transfer-Encoding", "chunked"), 400),
        row("another Host", ask().set("Host", "evil.example"), 421),
        row("no Host", ask().without("Host"), 400),
        row("two Hosts", ask().with("Host", "localhost"), 400),
        row("a bad Host", ask().set("Host", "a b"), 400),
        row(
            "two names",
            ask().start("GET http://localhost/ HTTP/1.1"),
            400,
        ),
        row(
            "another authority",
            ask()
                .start("GET http://evil.example/ HTTP/1.1")
                .set("Host", "evil.example"),
            421,
        ),
        row(
            "CR in a subprotocol",
            ask().with("Sec-WebSocket-Protocol", "a\rb"),
            400,
        ),
        row(
            "LF in a subprotocol",
            ask().with("Sec-WebSocket-Protocol", "a\nb"),
            400,
        ),
        row("LF in the path", ask().start("GET /a\nb HTTP/1.1"), 400),
        row("no token", ask().with("Sec-WebSocket-Protocol", "a b"), 400),
        row(
            "H10: no list",
            ask().with("Sec-WebSocket-Extensions", "a;;="),
            400,
        ),
    ];
    for other in ["99", "8", "0", "", "13, 13"] {
        rows.push(row(other, ask().set(version, other), 426));
    }
    for path in [
        "/a%2fb",
        "/..",
        "/../etc",
        "/a/%2e%2e/b",
        "/a;b",
        "/a;/..;/b",
        "/a#b",
        "/a%23b",
        "/a%00",
        "/a\\b",
        "/a%5cb",
        "//a",
        "/%zz",
        "/a%252fb",
    ] {
        rows.push(row(path, ask().start(&format!("GET {path} HTTP/1.1")), 400));
    }
    refused(&guard, &upstream, &rows);
    // And they are told what would be right.
    for (ask, name, value) in [
        (ask().set(version, "8"), "sec-websocket-version", "13"),
        (ask().start("POST / HTTP/1.1"), "allow", "GET"),
    ] {
        let client = Client::ask(guard.address, &ask);
        assert_eq!(field(&client.head, name), Some(value), "{}", client.head);
    }
}

#[test]
fn h9_a_head_beyond_its_limits_is_refused_before_it_is_whole() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let mut flood = Client::connect(guard.address);
    flood.send(b"GET / HTTP/1.1\r\nHost: x\r\n");
    let used = guard.ticks();
    // 20 MB of it, if they were taken: the guard closes long before.
    let kibibyte = format!("X-A: {}\r\n", "a".repeat(1_016));
    for _ in 0..20_000 {
        use std::io::Write;
        if flood.stream.write_all(kibibyte.as_bytes()).is_err() {
            break;
        }
    }
    assert!(
        guard.ticks() - used < 50,
        "it cost {} ticks",
        guard.ticks() - used
    );
    let rows = [
        row(
            "a long path",
            Ask::new(guard.address, &format!("/{}", "a".repeat(5_000))),
            414,
        ),
        row(
            "a long line",
            Ask::new(guard.address, "/").with("X-A", &"a".repeat(9_000)),
            431,
        ),
    ];
    refused(&guard, &upstream, &rows);
    let mut fields = Ask::new(guard.address, "/");
    for _ in 0..101 {
        fields = fields.with("X", "1");
    }
    refused(&guard, &upstream, &[row("many fields", fields, 431)]);
}

#[test]
fn h11_many_who_never_finish_do_not_keep_a_good_one_out() {
    let upstream = Upstream::echo();
    let guard = Guard::start(&upstream.url(), None, &["--workers", "1"]);
    let slow: Vec<Client> = (0..many(400, 1_000))
        .map(|_| {
            let mut client = Client::connect(guard.address);
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ");
            client
        })
        .collect();
    let mut good = Client::open(guard.address);
    good.say(TEXT, b"meanwhile");
    assert_eq!(good.frame().payload, b"meanwhile");
    assert_eq!(upstream.seen.now().connections, 1);
    drop(slow);
}

/// The deadline runs from the connection on, not from the last octet.
#[test]
fn h11_a_head_that_trickles_in_is_closed_at_its_deadline() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let mut slow = Client::connect(guard.address);
    slow.stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    let start = Instant::now();
    let mut answer = Vec::new();
    for octet in b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "
        .iter()
        .chain([b'a'; 200].iter())
    {
        use std::io::Read;
        slow.send(&[*octet]);
        let mut buffer = [0; 512];
        match slow.stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        }
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 408 "),
        "{}",
        answer.escape_ascii()
    );
    assert!(
        start.elapsed() >= Duration::from_secs(9),
        "not before its time"
    );
    drop(Client::open(guard.address));
}

#[test]
fn h14_who_a_client_says_it_is_does_not_reach_the_upstream() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let names = [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-User",
        "Forwarded",
        "X-Real-IP",
        "X_Real_IP",
        "X-User-Id",
        "X-Tidegate-Subject",
        "True-Client-IP",
        "Proxy-Authorization",
    ];
    let claims = |ask: Ask| {
        names
            .iter()
            .fold(ask, |ask, name| ask.with(name, "6.6.6.6"))
    };
    let ask = claims(Ask::new(guard.address, "/"));
    drop(Client::opened(guard.address, &ask));
    let plain = claims(Ask::new(guard.address, "/").without("Upgrade"));
    assert_eq!(Client::ask(guard.address, &plain).status(), 200);
    let seen = upstream.seen.wait("both", |notes| notes.heads.len() == 2);
    for head in &seen.heads {
        assert!(!head.contains("6.6.6.6"), "{head}");
        for (name, value) in [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
        ] {
            assert_eq!(field(head, name), Some(value), "{head}");
        }
    }
}

#[test]
fn h14_a_proxy_that_the_policy_names_is_believed_and_no_other() {
    let upstream = Upstream::echo();
    for (trusted, told) in [("127.0.0.1", "192.0.2.7"), ("192.0.2.0/24", "127.0.0.1")] {
        let policy =
            format!("[server]\ntrusted_proxies = [\"{trusted}\"]\n[connections]\nper_ip = 1\n");
        let guard = Guard::with_policy(&upstream.url(), &policy);
        let before = upstream.seen.now().heads.len();
        let ask = |from: &str| Ask::new(guard.address, "/").with("X-Forwarded-For", from);
        let _one = Client::opened(guard.address, &ask("198.51.100.1, 192.0.2.7"));
        let seen = upstream
            .seen
            .wait("a head", |notes| notes.heads.len() > before);
        for name in ["x-forwarded-for", "x-real-ip"] {
            assert_eq!(field(&seen.heads[before], name), Some(told), "{trusted}");
        }
        // Who it is counts where connections are counted, too.
        let same = Client::ask(guard.address, &ask("192.0.2.7")).status();
        let other = Client::ask(guard.address, &ask("192.0.2.8")).status();
        let believed = trusted == "127.0.0.1";
        assert_eq!((same, other), (429, if believed { 101 } else { 429 }));
        let page = ask("192.0.2.9").without("Upgrade");
        assert_eq!(Client::ask(guard.address, &page).status(), 200);
        let heads = upstream.seen.now().heads;
        let told = if believed { "192.0.2.9" } else { "127.0.0.1" };
        assert_eq!(
            field(heads.last().expect("one"), "x-forwarded-for"),
            Some(told)
        );
    }
}

#[test]
fn h10_offers_built_to_be_costly_are_read_once() {
    let upstream = Upstream::echo();
    let policy = "[compression]\ndeflate = \"on\"\n[connections]\nper_ip = 10000\n\
        handshakes = { per_second = 10000, burst = 10000 }\n";
    let guard = Guard::with_policy(&upstream.url(), policy);
    let long = |piece: &str| piece.repeat(7_900 / piece.len());
    let offers = [
        long("permessage-deflate; x=y, "),
        long("x; a=\"\\\"\\\"\"; b, "),
        long(" ; ;"),
        format!("a{}b", long(" ")),
        format!("a; b=\"{}", long("\\")),
        long("permessage-deflate; server_max_window_bits=7, "),
    ];
    for offer in offers {
        let shown = &offer[..offer.len().min(30)];
        let asked = |offer: &str| {
            let ask = Ask::new(guard.address, "/").with("Sec-WebSocket-Extensions", offer.trim());
            let used = guard.ticks();
            for _ in 0..100 {
                let client = Client::ask(guard.address, &ask);
                assert!(
                    matches!(client.status(), 101 | 400),
                    "{shown}: {}",
                    client.head
                );
                assert_eq!(
                    field(&client.head, "sec-websocket-extensions"),
                    None,
                    "{shown}"
                );
            }
            guard.ticks() - used
        };
        // A square would be 7,900 times 7,900 steps for each: half a second of processor time and more for a hundred.
        let ticks = asked(&offer);
        assert!(ticks < 100, "{shown}: {ticks}");
    }
    // What is longer than a line may be is not read at all.
    let mut client = Client::connect(guard.address);
    let long = format!(
        "GET / HTTP/1.1\r\nSec-WebSocket-Extensions: {}",
        "a,".repeat(7_000)
    );
    client.send(long.as_bytes());
    client.read_head();
    assert_eq!(client.status(), 431, "{}", client.head);
}

#[test]
fn h15_subprotocols_are_the_routes_and_the_upstream_picks_an_offered_one() {
    let upstream = Upstream::start(|mut call| {
        call.answer("Sec-WebSocket-Protocol: other\r\n");
        call.drink();
    });
    let policy = "[subprotocols]\nallow = [\"chat\", \"v2\"]\nrequired = true\n";
    let guard = Guard::with_policy(&upstream.url(), policy);
    let ask = |offers: &str| Ask::new(guard.address, "/").with("Sec-WebSocket-Protocol", offers);
    assert_eq!(
        Client::ask(guard.address, &Ask::new(guard.address, "/")).status(),
        400
    );
    assert_eq!(Client::ask(guard.address, &ask("mqtt")).status(), 400);
    assert_eq!(upstream.seen.now().connections, 0);
    assert_eq!(
        Client::ask(guard.address, &ask("mqtt, chat, other")).status(),
        502
    );
    let head = &upstream.seen.now().heads[0];
    assert_eq!(field(head, "sec-websocket-protocol"), Some("chat"));
}

#[test]
fn h15_none_reaches_the_upstream_unless_a_policy_names_it() {
    let upstream = Upstream::start(|mut call| {
        let picked = field(&call.head, "sec-websocket-protocol").map(str::to_owned);
        let line = picked.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        call.answer(&line.unwrap_or_default());
        call.echo();
    });
    let rows = [
        ("", None),
        ("[subprotocols]\nallow = [\"*\"]\n", Some("mine")),
    ];
    for (policy, expected) in rows {
        let guard = Guard::with_policy(&upstream.url(), policy);
        let ask = Ask::new(guard.address, "/").with("Sec-WebSocket-Protocol", "mine");
        let client = Client::opened(guard.address, &ask);
        assert_eq!(field(&client.head, "sec-websocket-protocol"), expected);
    }
}
