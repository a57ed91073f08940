//! The page and its files over plain HTTP, and every path that is not one of them.

use crate::support::connect;
use crate::support::http::{self, get, request};
use crate::support::process::Server;

#[test]
fn the_page_and_all_it_names_are_served_with_their_types() {
    let server = Server::start(&[]);
    let page = get(server.address, "/");
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert!(page.text().starts_with("<!doctype html>"));
    let named: Vec<&str> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|attribute| page.text().split(attribute).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .filter(|name| !name.starts_with('#') && !name.contains(':'))
        .collect();
    assert!(named.iter().any(|name| name.ends_with(".js")), "{named:?}");
    assert!(named.iter().any(|name| name.ends_with(".css")), "{named:?}");
    for name in named {
        let path = format!("/{}", name.trim_start_matches(['.', '/']));
        let expected = match name.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            other => panic!("{name}: what type is {other:?}?"),
        };
        let file = get(server.address, &path);
        assert_eq!(
            (file.status, file.header("content-type")),
            (200, Some(expected)),
            "{path}"
        );
        assert!(!file.body.is_empty(), "{path}");
    }
}

#[test]
fn answers_are_safe_by_their_headers() {
    let server = Server::start(&[]);
    for path in ["/", "/nowhere", "/channels/x/latest"] {
        let answer = get(server.address, path);
        let policy = answer.header("content-security-policy").unwrap_or("");
        assert!(
            policy.starts_with("default-src 'self'; connect-src 'self' ws: wss:"),
            "{path}: {policy}"
        );
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
        assert!(
            answer
                .header("cache-control")
                .is_some_and(|c| c.starts_with("no-")),
            "{path}"
        );
    }
}

#[test]
fn head_is_get_without_a_body_and_etags_save_the_body() {
    let server = Server::start(&[]);
    let page = get(server.address, "/");
    let etag = page.header("etag").expect("an entity tag");
    let again = request(
        server.address,
        "GET",
        "/",
        &format!("If-None-Match: {etag}\r\n"),
    );
    assert_eq!(
        (again.status, again.body.len(), again.header("etag")),
        (304, 0, Some(etag))
    );
    let other = request(server.address, "GET", "/", "If-None-Match: \"other\"\r\n");
    assert_eq!(other.status, 200);

    // HEAD: what follows on the connection is the next answer, not a body.
    let mut stream = connect(server.address);
    let host = server.address;
    let head = format!("HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let answer = http::exchange(&mut stream, head.as_bytes(), true);
    assert_eq!(
        answer.header("content-length"),
        page.header("content-length")
    );
    let next = format!("GET /nowhere HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(
        http::exchange(&mut stream, next.as_bytes(), false).status,
        404
    );
}

#[test]
fn other_paths_and_methods_are_refused_in_one_line() {
    let server = Server::start(&[]);
    let rows = [
        ("GET", "/nowhere", 404, None),
        ("POST", "/nowhere", 404, None),
        ("GET", "/../Cargo.toml", 404, None),
        ("GET", "/%2e%2e/Cargo.toml", 404, None),
        ("GET", "/channels/a", 404, None),
        ("GET", "/healthz", 404, None),
        ("POST", "/", 405, Some("GET, HEAD")),
        ("DELETE", "/channels/a/latest", 405, Some("GET, HEAD")),
        ("OPTIONS", "/", 405, Some("GET, HEAD")),
        ("GET", "/connection/websocket", 426, None),
        ("GET", "/echo", 426, None),
        ("GET", "/wire", 426, None),
    ];
    for (method, path, status, allow) in rows {
        let answer = request(server.address, method, path, "");
        assert_eq!(
            (answer.status, answer.header("allow")),
            (status, allow),
            "{method} {path}"
        );
        assert!(answer.is_one_line(), "{method} {path}: {:?}", answer.text());
    }
}

#[test]
fn a_rebound_host_gets_no_page() {
    let server = Server::start(&["--host", "App.Example"]);
    let status =
        |head: &str| http::exchange(&mut connect(server.address), head.as_bytes(), false).status;
    let with_host = |host: &str| status(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    for good in [
        "localhost",
        "localhost:8000",
        "127.0.0.1",
        "127.1.2.3:80",
        "[::1]:8000",
        "app.example",
    ] {
        assert_eq!(with_host(good), 200, "{good}");
    }
    for bad in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8000",
        "10.0.0.1",
    ] {
        assert_eq!(with_host(bad), 421, "{bad}");
    }
    // The target's authority counts, not Host.
    assert_eq!(
        status("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        421
    );
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
}

#[test]
fn the_host_is_checked_again_on_a_kept_connection() {
    let server = Server::start(&[]);
    let mut stream = connect(server.address);
    let first = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(http::exchange(&mut stream, first, false).status, 200);
    let rebound = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(http::exchange(&mut stream, rebound, false).status, 421);
    let twice = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n";
    assert_eq!(http::exchange(&mut stream, twice, false).status, 400);
}
