//! The configuration file: checked without serving, served, read again on SIGHUP and kept when it is wrong.

use crate::support::http::post;
use crate::support::process::{Scratch, configured, run};
use crate::support::ws::Ws;
use rustix::process::Signal;
use serde_json::json;

const KEY: &str = "X-API-Key: k1\r\n";

#[test]
fn a_configuration_can_be_checked_without_serving() {
    let good = Scratch::new("good.toml", "[clients]\nanonymous = true\n");
    let ended = run(&["serve", "--config", good.path(), "--check-config"]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout, format!("{}: fine\n", good.path()));
    let bad = Scratch::new(
        "bad.toml",
        "[clients]\nanonymous = true\nanonimous = true\n",
    );
    let ended = run(&["serve", "--config", bad.path(), "--check-config"]);
    assert_eq!(ended.status.code(), Some(2));
    let expected = format!(
        "tidegate: {}:3:1: unknown key anonimous; did you mean anonymous?\n",
        bad.path()
    );
    assert_eq!(ended.stderr, expected);
    assert_eq!(ended.stdout, "");
}

#[test]
fn the_example_of_the_repository_is_fine() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tidegate.example.toml");
    let ended = run(&["serve", "--config", example, "--check-config"]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
}

#[test]
fn a_configured_server_is_closed_where_nothing_is_opened() {
    let config = Scratch::new("closed.toml", "[admin]\nlisten = \"off\"\n");
    let server = configured(&config);
    assert_eq!(
        crate::support::http::get(server.address, "/").status,
        404,
        "no demo page"
    );
    let mut client = Ws::open(server.address, "/connection/websocket");
    client.say(&json!({ "id": 1, "connect": {} }));
    assert_eq!(client.reply(1)["error"]["code"], 101);
    let answer = post(server.address, "/api/info", KEY, "{}");
    assert_eq!(answer.status, 404, "{}", answer.text());
}

const OPEN: &str =
    "[clients]\nanonymous = true\n[api]\nkeys = [\"k1\"]\n[channels]\nsubscribe = \"everyone\"\n";

fn connected(server: &crate::support::process::Server) -> Ws {
    let mut client = Ws::open(server.address, "/connection/websocket");
    client.ask(1, "connect", json!({}));
    client
}

#[test]
fn sighup_puts_another_configuration_in_force_and_keeps_the_sessions() {
    let config = Scratch::new("reload.toml", OPEN);
    let server = configured(&config);
    let mut client = connected(&server);
    client.say(&json!({ "id": 2, "subscribe": { "channel": "news:1" } }));
    assert_eq!(client.reply(2)["error"]["code"], 102);
    let more = OPEN.replace("k1", "k2") + "[namespaces.news]\nsubscribe = \"everyone\"\n";
    config.write(&more);
    server.signal(Signal::HUP);
    server.said(&["configuration reloaded"]);
    client.ask(3, "subscribe", json!({ "channel": "news:1" }));
    assert_eq!(post(server.address, "/api/info", KEY, "{}").status, 401);
    let new_key = "X-API-Key: k2\r\n";
    assert_eq!(post(server.address, "/api/info", new_key, "{}").status, 200);
}

#[test]
fn a_wrong_configuration_changes_nothing_and_is_named() {
    let config = Scratch::new("wrong.toml", OPEN);
    let server = configured(&config);
    // The first key is another one; the fault stands behind it.
    config.write("[api]\nkeys = [\"k2\"]\n[channels]\nrecovery = \"stream\"\n");
    server.signal(Signal::HUP);
    let line = server.said(&["configuration not reloaded"]);
    assert!(
        line.contains(":4:12: channels.recovery: needs history"),
        "{line}"
    );
    assert_eq!(post(server.address, "/api/info", KEY, "{}").status, 200);
    let mut client = connected(&server);
    client.ask(2, "subscribe", json!({ "channel": "still" }));
}

#[test]
fn a_reload_changes_whose_pages_may_connect() {
    let config = Scratch::new("origins.toml", OPEN);
    let server = configured(&config);
    let host = format!("Host: {}\r\n", server.address);
    let foreign = format!("{host}Origin: https://app.example\r\n");
    let open = || Ws::try_open(server.address, "/connection/websocket", &foreign);
    assert_eq!(open().err().map(|answer| answer.status), Some(403));
    config.write(&format!(
        "[server]\nallowed_origins = [\"https://app.example\"]\n{OPEN}"
    ));
    server.signal(Signal::HUP);
    server.said(&["configuration reloaded"]);
    assert!(open().is_ok());
}

#[test]
fn a_variable_overrides_a_key_and_stays_secret() {
    let ended = run(&[
        "serve",
        "--check-config",
        "--listen",
        "0.0.0.0:0",
        "--allow-plain",
    ]);
    assert_eq!(ended.status.code(), Some(2), "nobody could connect");
    let ended = crate::support::process::run_with(
        &[
            "serve",
            "--check-config",
            "--listen",
            "0.0.0.0:0",
            "--allow-plain",
        ],
        &[("TIDEGATE_TOKENS__HMAC_SECRET", "hunter2")],
    );
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let ended = crate::support::process::run_with(
        &["serve", "--check-config"],
        &[("TIDEGATE_TOKENS__HMAC_SECRETS", "hunter2")],
    );
    assert_eq!(ended.status.code(), Some(2));
    assert!(
        ended.stderr.contains("did you mean hmac_secret?") && !ended.stderr.contains("hunter2")
    );
}

#[test]
fn a_renewed_certificate_is_shown_after_a_reload_and_a_broken_one_is_not() {
    let pair = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        (certificate, key, made.cert.der().to_vec())
    };
    let (old, new) = (pair(), pair());
    let (certificate, key) = (Scratch::new("c.pem", &old.0), Scratch::new("k.pem", &old.1));
    let config = Scratch::new(
        "renewed.toml",
        &format!(
            "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n[admin]\nlisten = \"off\"\n",
            certificate.path(),
            key.path()
        ),
    );
    let server = configured(&config);
    let shown = || {
        let mut tls = crate::tls::dial(&server, "localhost");
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
        crate::support::http::exchange(&mut tls, request.as_bytes(), false);
        tls.conn.peer_certificates().expect("a certificate")[0].to_vec()
    };
    assert_eq!(shown(), old.2);
    certificate.write("nothing of use");
    server.signal(Signal::HUP);
    server.said(&["configuration not reloaded", certificate.path()]);
    assert_eq!(shown(), old.2);
    certificate.write(&new.0);
    key.write(&new.1);
    server.signal(Signal::HUP);
    server.said(&["configuration reloaded"]);
    assert_eq!(shown(), new.2);
}

#[test]
fn no_log_line_holds_a_payload_a_token_a_key_or_a_query() {
    let text = format!(
        "[log]\nfilter = \"debug\"\n{OPEN}presence = true\n[tokens]\nhmac_secret = \"pearl-secret\"\n"
    );
    let config = Scratch::new("quiet.toml", &text);
    let server = configured(&config);
    let mut client = Ws::open(server.address, "/connection/websocket?x=pearl-query");
    client.ask(1, "connect", json!({ "name": "pearl-name" }));
    client.ask(2, "subscribe", json!({ "channel": "news" }));
    let body = r#"{"channel":"news","data":"pearl-data"}"#;
    assert_eq!(post(server.address, "/api/publish", KEY, body).status, 200);
    assert!(client.expect().text().contains("pearl-data"));
    post(
        server.address,
        "/api/publish?y=pearl-query",
        "X-API-Key: pearl-key\r\n",
        body,
    );
    let mut stranger = Ws::open(server.address, "/connection/websocket");
    stranger.say(&json!({ "id": 1, "connect": { "token": "pearl.token.x" } }));
    stranger.expect();
    server.signal(Signal::TERM);
    let ended = server.wait(std::time::Duration::from_secs(60));
    assert!(
        ended.stderr.contains("connection opened"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("pearl"), "{}", ended.stderr);
}

#[test]
fn a_reload_does_not_open_what_only_a_start_may_open() {
    let config = Scratch::new("switch.toml", "[admin]\nlisten = \"off\"\n");
    let server = configured(&config);
    for text in [
        "[server]\ndevelopment = true\n",
        "[tls]\ncertificate = \"no/such.pem\"\n",
    ] {
        config.write(text);
        server.signal(Signal::HUP);
        server.said(&[
            "configuration not reloaded",
            text.split([' ', '\n']).nth(1).expect("a key"),
        ]);
    }
    let mut client = Ws::open(server.address, "/connection/websocket");
    client.say(&json!({ "id": 1, "connect": {} }));
    assert_eq!(client.reply(1)["error"]["code"], 101, "still closed");
}
