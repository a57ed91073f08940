//! Requests that ask for no WebSocket: a reverse proxy, or a refusal; never a way around the guard.

use crate::support::client::{Ask, Client};
use crate::support::guard::Guard;
use crate::support::upstream::Upstream;
use crate::support::wire::{TEXT, field};

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
