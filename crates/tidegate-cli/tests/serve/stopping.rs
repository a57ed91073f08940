//! SIGTERM and SIGINT: clients are told, then the process ends; a second signal does not wait.

use crate::support::process::Server;
use crate::support::ws::{CLOSE, TEXT, Ws};
use rustix::process::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn the_one_line_on_stdout_is_the_url_and_stderr_says_development_mode() {
    let server = Server::start(&[]);
    assert_eq!(
        server.line,
        format!("Tidegate is live: http://{}/\n", server.address)
    );
    assert_ne!(server.address.port(), 0);
    server.signal(Signal::TERM);
    let ended = server.wait(Duration::from_secs(10));
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), ""));
    assert!(
        ended
            .stderr
            .contains("DEVELOPMENT MODE: anonymous clients, open channels"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_signal_drains_with_1001_and_3001_and_exit_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(&["--workers", "2"]);
        let mut echo = Ws::open(server.address, "/echo");
        let mut hub = Ws::open(server.address, "/connection/websocket");
        hub.ask(1, "connect", json!({}));
        server.signal(signal);
        let code = echo.expect().close_code();
        assert_eq!(code, 1001);
        echo.send(CLOSE, &code.to_be_bytes());
        let code = loop {
            let frame = hub.expect();
            if frame.opcode != TEXT {
                break frame.close_code();
            }
        };
        assert_eq!(code, 3001);
        hub.send(CLOSE, &code.to_be_bytes());
        assert_eq!(echo.next(), None);
        assert_eq!(hub.next(), None);
        assert_eq!(
            server.wait(Duration::from_secs(10)).status.code(),
            Some(0),
            "{signal:?}"
        );
    }
}

#[test]
fn the_drain_ends_at_its_deadline() {
    let server = Server::start(&["--drain", "1"]);
    // It never answers the Close, which alone would take five seconds.
    let mut silent = Ws::open(server.address, "/echo");
    let since = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(silent.expect().close_code(), 1001);
    let ended = server.wait(Duration::from_secs(4));
    assert_eq!(ended.status.code(), Some(0));
    assert!(
        since.elapsed() >= Duration::from_millis(900),
        "it waited: {:?}",
        since.elapsed()
    );
}

#[test]
fn a_second_signal_ends_at_once() {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let server = Server::start(&["--drain", "60"]);
        let mut silent = Ws::open(server.address, "/echo");
        server.signal(Signal::TERM);
        assert_eq!(silent.expect().close_code(), 1001);
        server.signal(second);
        assert_eq!(
            server.wait(Duration::from_secs(3)).status.code(),
            Some(code),
            "{second:?}"
        );
    }
}

#[test]
fn nothing_secret_is_in_the_logs() {
    let server = Server::start(&["--log", "trace"]);
    let secret = "5ec2e7".repeat(6);
    let mut hub = Ws::open(
        server.address,
        &format!("/connection/websocket?wire={secret}&token=t0ken-in-url"),
    );
    let mut wire = Ws::open(server.address, &format!("/wire?key={secret}"));
    hub.ask(1, "connect", json!({ "token": "t0ken-in-frame" }));
    hub.ask(2, "publish", json!({ "channel": "tea", "data": "pay1oad" }));
    wire.expect();
    crate::support::http::get(server.address, "/channels/tea/history?since=0&limit=77");
    server.signal(Signal::TERM);
    drop((hub, wire));
    let said = server.wait(Duration::from_secs(10)).stderr;
    assert!(said.contains("connection opened"), "it does log: {said}");
    for hidden in [
        secret.as_str(),
        "t0ken-in-url",
        "t0ken-in-frame",
        "pay1oad",
        "limit=77",
    ] {
        assert!(!said.contains(hidden), "{hidden} in {said}");
    }
}
