//! The admin listener: health, metrics, the page, who may do what, and the word of a drain.

use crate::support::http::{get, post, request};
use crate::support::process::{Scratch, Server, configured};
use crate::support::ws::Ws;
use rustix::process::Signal;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn health_version_metrics_and_the_page_are_there() {
    let server = Server::start(&["--workers", "2"]);
    let admin = server.admin();
    assert_eq!(get(admin, "/healthz").text(), "ok\n");
    assert_eq!(get(admin, "/readyz").status, 200);
    assert_eq!(
        get(admin, "/version").json()["version"],
        env!("CARGO_PKG_VERSION")
    );
    let mut client = Ws::open(server.address, "/connection/websocket");
    client.ask(1, "connect", json!({}));
    client.ask(2, "subscribe", json!({ "channel": "here" }));
    let metrics = get(admin, "/metrics");
    assert_eq!(
        metrics.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(
        metrics
            .text()
            .contains("\ntidegate_connections{route=\"hub\"} 1\n"),
        "{}",
        metrics.text()
    );
    assert!(
        metrics.text().contains("\ntidegate_hub_clients 1\n"),
        "{}",
        metrics.text()
    );
    let page = get(admin, "/");
    assert!(page.text().contains("Tidegate admin"));
    assert!(
        page.header("content-security-policy")
            .is_some_and(|policy| policy.contains("default-src 'self'"))
    );
    assert_eq!(
        get(admin, "/app.js").header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    assert_eq!(request(admin, "POST", "/healthz", "").status, 405);
    assert_eq!(get(admin, "/nowhere").status, 404);
    assert_eq!(
        get(server.address, "/metrics").status,
        404,
        "not on the public port"
    );
}

#[test]
fn the_page_gets_what_it_shows() {
    let server = Server::start(&["--workers", "2"]);
    let admin = server.admin();
    let mut client = Ws::open(server.address, "/connection/websocket");
    client.ask(1, "connect", json!({}));
    client.ask(2, "subscribe", json!({ "channel": "here" }));
    // The monitor looks every second; a scrape makes it look now.
    get(admin, "/metrics");
    let overview = get(admin, "/admin/overview").json();
    assert_eq!(overview["now"]["clients"], 1, "{overview}");
    assert_eq!(overview["workers"].as_array().map(Vec::len), Some(2));
    let fields = overview["fields"].as_array().expect("fields").len();
    assert_eq!(
        overview["samples"][0].as_array().map(Vec::len),
        Some(fields)
    );
    let clients = get(admin, "/admin/clients?user=").json();
    assert_eq!(
        clients["clients"][0]["channels"][0]["channel"], "here",
        "{clients}"
    );
    assert_eq!(get(admin, "/admin/slow").json()["clients"], json!([]));
    let config = get(admin, "/admin/config").json();
    assert_eq!(
        config["namespaces"]["market"]["history_size"], 300,
        "{config}"
    );
    let published = post(
        admin,
        "/admin/api/publish",
        "",
        r#"{"channel":"here","data":1}"#,
    );
    assert_eq!(published.json()["result"]["offset"], 1);
}

#[test]
fn the_token_guards_what_can_be_seen_and_changed() {
    let text =
        "[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"t0ken\"\n[api]\nkeys = [\"hunter2\"]\n";
    let config = Scratch::new("admin-token.toml", text);
    let server = configured(&config);
    let admin = server.admin();
    for path in [
        "/admin/overview",
        "/admin/config",
        "/admin/clients",
        "/admin/slow",
    ] {
        assert_eq!(get(admin, path).status, 401, "{path}");
        assert_eq!(
            request(admin, "GET", path, "Authorization: Bearer t0ken\r\n").status,
            200,
            "{path}"
        );
    }
    for path in ["/reload", "/admin/api/info"] {
        assert_eq!(post(admin, path, "", "{}").status, 401, "{path}");
        assert_eq!(
            post(admin, path, "Authorization: Bearer wrong\r\n", "{}").status,
            401,
            "{path}"
        );
        let answer = post(admin, path, "Authorization: Bearer t0ken\r\n", "{}");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    for path in ["/healthz", "/readyz", "/metrics", "/version"] {
        assert_eq!(get(admin, path).status, 200, "{path}");
    }
    let shown = request(
        admin,
        "GET",
        "/admin/config",
        "Authorization: Bearer t0ken\r\n",
    );
    assert!(!shown.text().contains("hunter2") && !shown.text().contains("t0ken"));
}

#[test]
fn without_a_token_a_configured_server_keeps_its_page_closed() {
    let config = Scratch::new("admin-none.toml", "[admin]\nlisten = \"127.0.0.1:0\"\n");
    let server = configured(&config);
    let answer = get(server.admin(), "/admin/overview");
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("[admin]"), "{}", answer.text());
}

#[test]
fn a_reload_tells_what_is_wrong() {
    let text = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"t0ken\"\n";
    let config = Scratch::new("admin-reload.toml", text);
    let server = configured(&config);
    let reload = || {
        post(
            server.admin(),
            "/reload",
            "Authorization: Bearer t0ken\r\n",
            "{}",
        )
    };
    config.write(&format!(
        "{text}[server]\nworkers = 2\nlisten = \"127.0.0.1:1\"\n"
    ));
    assert_eq!(reload().json()["reloaded"], true);
    config.write(&format!("{text}[limits]\noutbox = \"1 mile\"\n"));
    let refused = reload();
    assert_eq!(refused.status, 422);
    assert_eq!(refused.json()["reloaded"], false);
    assert!(refused.text().contains(":5:10: "), "{}", refused.text());
    let metrics = get(server.admin(), "/metrics");
    assert!(
        metrics
            .text()
            .contains("tidegate_reloads_total{result=\"refused\"} 1")
    );
}

#[test]
fn who_asks_during_a_drain_hears_that_we_are_not_ready() {
    let text = "[clients]\nanonymous = true\n[admin]\nlisten = \"127.0.0.1:0\"\n[drain]\ndeadline = \"30s\"\nper_second = 1\n";
    let config = Scratch::new("admin-drain.toml", text);
    let server = configured(&config);
    let admin = server.admin();
    // Eight clients at one a second: the drain takes some seconds.
    let clients: Vec<Ws> = (0..8).map(|_| Ws::open(server.address, "/echo")).collect();
    assert_eq!(get(admin, "/readyz").status, 200);
    server.signal(Signal::TERM);
    server.said(&["draining"]);
    let answer = get(admin, "/readyz");
    assert_eq!((answer.status, answer.text()), (503, "draining\n"));
    assert_eq!(get(admin, "/healthz").status, 200);
    drop(clients);
    let ended = server.wait(Duration::from_secs(40));
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
}

/// Labels are known beforehand: many channels and clients add no series, and none of their names.
#[test]
fn no_series_grows_with_use() {
    let server = Server::start(&["--workers", "2"]);
    let use_it = |n: usize| {
        let channel = format!("pearl-{n}");
        let mut client = Ws::open(server.address, "/connection/websocket");
        client.ask(
            1,
            "connect",
            json!({ "data": { "name": format!("pearl {n}") } }),
        );
        client.ask(2, "subscribe", json!({ "channel": channel }));
        client.ask(3, "publish", json!({ "channel": channel, "data": n }));
        client.ask(4, "presence", json!({ "channel": channel }));
        client
    };
    let series = || -> BTreeSet<String> {
        let text = get(server.admin(), "/metrics").text().to_owned();
        assert!(!text.contains("pearl"), "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, _)| name.to_owned())
            .collect()
    };
    let first = use_it(0);
    let before = series();
    assert!(before.len() > 50, "{before:?}");
    let many: Vec<Ws> = (1..60).map(use_it).collect();
    assert_eq!(series(), before);
    drop((first, many));
}

/// Who does not read what it is sent is listed as slow, with what waits for it.
#[test]
fn who_lags_is_listed() {
    let text = "[server]\ndevelopment = true\n[clients]\nno_progress = \"5m\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
        [channels]\nsubscribe = \"everyone\"\n[channels.delivery]\nslow = \"conflate\"\n";
    let config = Scratch::new("admin-lags.toml", text);
    let server = configured(&config);
    let admin = server.admin();
    let mut client = Ws::open(server.address, "/connection/websocket");
    client.ask(1, "connect", json!({}));
    client.ask(2, "subscribe", json!({ "channel": "flood" }));
    let publication = json!({ "channel": "flood", "data": "x".repeat(60_000) }).to_string();
    // More than the sockets' buffers take, however large the system makes them.
    let slow = (0..2_000).find_map(|_| {
        post(admin, "/admin/api/publish", "", &publication);
        let listed = get(admin, "/admin/slow").json();
        listed["clients"].get(0).cloned()
    });
    let slow = slow.expect("a slow client");
    assert!(slow["queued"].as_u64() > Some(0), "{slow}");
    assert!(slow["slow_seconds"].is_number(), "{slow}");
    assert_eq!(slow["channels"][0]["channel"], "flood");
}
