//! Requests that ask for no WebSocket: a reverse proxy, or a refusal; never a way around the guard.

use crate::support::client::{Ask, Client};
use crate::support::guard::Guard;
use crate::support::mutual::{Own, config};
use crate::support::upstream::Upstream;
use crate::support::wire::{TEXT, field, read_head};
use rustls_pki_types::ServerName;
use std::sync::Arc;
use tidegate::rustls::{ClientConnection, StreamOwned};

#[test]
fn a_page_comes_from_the_same_upstream_and_the_connection_may_still_become_a_websocket() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let page = format!(
        "GET /page?q=1 HTTP/1.1\r\nHost: {}\r\nX-A: b\r\n\r\n",
        guard.address
    );
    let mut client = Client::connect(guard.address);
    client.send(page.as_bytes());
    client.read_head();
    assert_eq!(client.status(), 200, "{}", client.head);
    assert_eq!(field(&client.head, "x-page"), Some("yes"));
    let mut body = [0; 4];
    std::io::Read::read_exact(&mut client.stream, &mut body).expect("a body");
    assert_eq!(&body, b"page");
    let head = upstream.seen.now().heads[0].clone();
    assert!(head.starts_with("GET /page?q=1 HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "x-a"), Some("b"));
    client.send(&Ask::new(guard.address, "/").octets());
    client.read_head();
    assert_eq!(client.status(), 101, "{}", client.head);
    client.say(TEXT, b"through");
    assert_eq!(client.frame().payload, b"through");
}

#[test]
fn plain_requests_are_under_the_same_hosts_and_paths() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let ask = |path: &str| {
        Ask::new(guard.address, path)
            .without("Upgrade")
            .without("Connection")
    };
    let rows = [
        (ask("/").set("Host", "evil.example"), 421),
        (ask("/a%2fb"), 400),
        (ask("/../x"), 400),
        (ask("/").with("Host", "localhost"), 400),
    ];
    for (ask, status) in rows {
        let client = Client::ask(guard.address, &ask);
        assert_eq!(client.status(), status, "{}", client.head);
    }
    assert_eq!(upstream.seen.now().connections, 0);
}

#[test]
fn a_policy_may_refuse_them() {
    let upstream = Upstream::echo();
    let guard = Guard::with_policy(&upstream.url(), "[server]\nplain_http = \"refuse\"\n");
    let ask = Ask::new(guard.address, "/")
        .without("Upgrade")
        .without("Connection");
    assert_eq!(Client::ask(guard.address, &ask).status(), 426);
    assert_eq!(upstream.seen.now().connections, 0);
}

#[test]
fn h18_http2_is_refused_by_its_own_words() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let mut client = Client::connect(guard.address);
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let said = client.rest();
    // SETTINGS, and GOAWAY with HTTP_1_1_REQUIRED (RFC 9113 §7).
    let (settings, goaway) = said.split_at_checked(9).expect("a frame");
    assert_eq!(settings, [0, 0, 0, 4, 0, 0, 0, 0, 0]);
    assert_eq!(
        (goaway[3], &goaway[9..]),
        (7, &[0, 0, 0, 0, 0, 0, 0, 13][..])
    );
    assert_eq!(upstream.seen.now().connections, 0);
}

#[test]
fn h18_no_tls_client_is_offered_http2() {
    let own = Own::new();
    let upstream = Upstream::echo();
    let guard = Guard::start(&upstream.url(), None, &own.flags());
    let spoken = |offered: &[&[u8]]| {
        let mut config = config(&own.pair.0, None);
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").expect("a name");
        let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let mut socket = Client::connect(guard.address).stream;
        while session.is_handshaking() {
            session.complete_io(&mut socket).ok()?;
        }
        session.alpn_protocol().map(<[u8]>::to_vec)
    };
    assert_eq!(
        spoken(&[b"h2", b"http/1.1"]).as_deref(),
        Some(&b"http/1.1"[..])
    );
    assert_eq!(spoken(&[b"h2"]), None, "an alert");
}

#[test]
fn h16_pages_over_tls_say_that_the_host_is_to_be_asked_over_tls() {
    let own = Own::called("api.example");
    let upstream = Upstream::echo();
    let policy = "[server]\nhosts = [\"api.example\"]\n";
    let guard = Guard::start(&upstream.url(), Some(policy), &own.flags());
    let asked = |host: &str| {
        let config = config(&own.pair.0, None);
        let name = ServerName::try_from("api.example").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let mut stream = StreamOwned::new(session, Client::connect(guard.address).stream);
        let ask = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, ask.as_bytes()).expect("it is taken");
        let head = read_head(&mut stream).expect("an answer");
        field(&head, "strict-transport-security").map(str::to_owned)
    };
    assert_eq!(asked("api.example").as_deref(), Some("max-age=86400"));
    // A developer's machine has other servers under the same name.
    assert_eq!(asked("localhost"), None);
    assert_eq!(asked(&guard.address.to_string()), None);
    let plain = Guard::with_policy(&upstream.url(), policy);
    let ask = Ask::new(plain.address, "/")
        .without("Upgrade")
        .without("Connection");
    let client = Client::ask(plain.address, &ask.set("Host", "api.example"));
    assert_eq!(
        (
            client.status(),
            field(&client.head, "strict-transport-security")
        ),
        (200, None)
    );
}
