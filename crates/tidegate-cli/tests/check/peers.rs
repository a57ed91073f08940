//! Servers that were not written to be found out: `tidegate serve`, whose endpoints must show nothing, whatever the guard
//! stands before, and
//! tokio-tungstenite as its documentation uses it, whose laxities are known.

use crate::bad::{self, FAULTS};
use crate::support::{command, found, report};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;

/// `tidegate serve` or `tidegate guard`, stopped when its test ends.
struct Serve {
    child: Child,
    url: String,
}

impl Serve {
    fn start(flags: &[&str]) -> Serve {
        Serve::of("serve", "Tidegate is live: ", flags)
    }

    fn of(job: &str, says: &str, flags: &[&str]) -> Serve {
        let mut child = command()
            .args([job, "--listen", "127.0.0.1:0"])
            .args(["--admin", "off", "--log", "error"])
            .args(flags)
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let url = line
            .trim_end()
            .strip_prefix(says)
            .expect("a URL")
            .trim_end_matches('/')
            .to_owned();
        Serve { child, url }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nothing at low or above, nothing inconclusive, and an A.
fn is_clean(report: &Value) {
    let findings = report["findings"].as_array().expect("findings");
    let grave: Vec<&Value> = findings
        .iter()
        .filter(|finding| finding["severity"] != "info")
        .collect();
    assert!(grave.is_empty(), "{grave:#?}");
    assert_eq!(report["inconclusive"], serde_json::json!([]), "{report:#}");
    assert_eq!(report["grade"], "A", "{report:#}");
}

#[test]
fn the_echo_of_serve_shows_nothing() {
    let serve = Serve::start(&[]);
    is_clean(&report(&format!("{}/echo", serve.url), &["--wait", "30"]));
}

#[test]
fn the_hub_of_serve_shows_nothing() {
    let serve = Serve::start(&[]);
    is_clean(&report(
        &format!("{}/connection/websocket", serve.url),
        &["--wait", "30"],
    ));
}

#[test]
fn serve_over_tls_shows_nothing() {
    let serve = Serve::start(&["--dev-cert"]);
    is_clean(&report(
        &format!("{}/echo", serve.url),
        &["-k", "--level", "handshake", "--wait", "30"],
    ));
}

/// A server that lets in whatever comes, as far as that is the server's to judge: alone it is found out, behind the guard
/// nothing of it shows.
#[test]
fn behind_the_guard_a_lax_server_shows_nothing() {
    let lax: Vec<&str> = FAULTS.iter().map(|(fault, _)| *fault).collect();
    let lax: Vec<&str> = lax
        .into_iter()
        .filter(|fault| LAX.contains(fault))
        .collect();
    assert_eq!(lax.len(), LAX.len());
    let bad = format!("ws://{}", bad::serve(&lax));
    let alone = found(&report(&format!("{bad}/"), &["--wait", "2"]));
    assert!(alone.len() >= 20, "{alone:?}");
    let guard = Serve::of("guard", "Tidegate is on guard: ", &["--upstream", &bad]);
    is_clean(&report(&format!("{}/", guard.url), &["--wait", "30"]));
}

/// What a server does with what others send.
const LAX: [&str; 32] = [
    "any host",
    "foreign origin",
    "null origin",
    "near origin",
    "malformed origin",
    "two origins",
    "any upgrade",
    "no connection",
    "missing key",
    "short key",
    "any version",
    "any method",
    "old http",
    "body",
    "any extension",
    "any window bits",
    "extension syntax",
    "two hosts",
    "subprotocol syntax",
    "unmasked",
    "reserved bits",
    "long control",
    "fragmented control",
    "top bit",
    "long lengths",
    "any text",
    "any reason",
    "any close code",
    "any close body",
    "orphans",
    "interleaved",
    "fragments",
];

#[test]
fn what_tungstenite_leaves_to_its_user_is_found() {
    let report = report(&format!("ws://{}/", tungstenite()), &["--wait", "2"]);
    let found = found(&report);
    // It knows no Origins, hosts or times: those are its user's.
    for id in [
        "H1.foreign-origin",
        "H1.null-origin",
        "H12.rebinding",
        "H11.handshake-timeout",
    ] {
        assert!(found.contains(id), "{id} in {found:?}");
    }
    // What it judges itself it judges well.
    for id in [
        "F1.unmasked",
        "F2.reserved-bits",
        "F3.reserved-opcode",
        "F9.invalid-utf-8",
        "F4.no-pong",
        "H3.accept",
    ] {
        assert!(!found.contains(id), "{id} in {found:?}");
    }
    assert_eq!(report["grade"], "D", "{report:#}");
}

/// An echo, as in tokio-tungstenite's own examples.
fn tungstenite() -> SocketAddr {
    let (tell, address) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a port");
            tell.send(listener.local_addr().expect("an address"))
                .expect("the test waits");
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(mut ws) = tokio_tungstenite::accept_async(tcp).await else {
                        return;
                    };
                    while let Some(Ok(message)) = ws.next().await {
                        if (message.is_text() || message.is_binary())
                            && ws.send(message).await.is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
    });
    address.recv().expect("it listens")
}
