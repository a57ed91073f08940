//! `--feed`: what another server sends is published, whole and in order, over connections that break.

use crate::support::PATIENCE;
use crate::support::http::get;
use crate::support::process::{Server, run};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tidegate::tidegate_proto::handshake::Refusal;
use tidegate::{Acceptor, CloseCode, Message};
use tokio::net::TcpListener;

/// A feed that follows its script: it drops the first connection, refuses the second, closes the third, and stays
/// with the fourth. Each must begin with the hello.
fn scripted() -> SocketAddr {
    let (tell, address) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("an address"))
                .expect("the test waits");
            for life in 0.. {
                let (tcp, _) = listener.accept().await.expect("a connection");
                let opening = Acceptor::new().receive(tcp).await.expect("a handshake");
                if life == 1 {
                    opening.reject(&Refusal::new(503, "a moment")).await;
                    continue;
                }
                let mut ws = opening.accept().await.expect("accepted");
                let hello = ws.recv().await.expect("a hello");
                assert_eq!(hello, Message::from("subscribe=all"));
                let messages = match life {
                    0 => vec![
                        Message::from("{\"n\":1}"),
                        Message::from("[\"n\", 2]"),
                        Message::from("no JSON"),
                        Message::from(vec![0, 255]),
                    ],
                    2 => vec![Message::from("5"), Message::from("6")],
                    _ => vec![Message::from("7")],
                };
                for message in messages {
                    ws.send(message).await.expect("sent");
                }
                match life {
                    0 => {
                        // All was taken before the cut: its pong comes behind.
                        ws.ping().await.expect("a pong");
                        ws.abort();
                    }
                    2 => drop(ws.close(CloseCode::RESTART, "").await),
                    _ => while ws.recv().await.is_ok() {},
                }
            }
        });
    });
    address.recv().expect("it listens")
}

fn publications(server: SocketAddr) -> Vec<Value> {
    let answer = get(server, "/channels/ticks/history");
    if answer.status != 200 {
        return Vec::new(); // nothing came yet
    }
    answer.json()["publications"]
        .as_array()
        .expect("a list")
        .clone()
}

#[test]
fn a_feed_that_breaks_is_taken_up_again_and_published_in_order() {
    let url = format!("ticks=ws://{}/?token=hush", scripted());
    let flags = [
        "--feed",
        &url,
        "--feed-hello",
        "ticks=subscribe=all",
        "--log",
        "info",
    ];
    let server = Server::start(&flags);
    let deadline = Instant::now() + PATIENCE;
    let published = loop {
        let published = publications(server.address);
        if published.len() >= 7 || Instant::now() > deadline {
            break published;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let data: Vec<&Value> = published.iter().map(|one| &one["data"]).collect();
    let expected = [
        json!({ "n": 1 }),
        json!(["n", 2]),
        json!("no JSON"),
        json!({ "base64": "AP8=" }),
        json!(5),
        json!(6),
        json!(7),
    ];
    assert_eq!(data, expected.iter().collect::<Vec<_>>());
    let marks: Vec<Option<&str>> = published
        .iter()
        .map(|one| one["tags"]["feed"].as_str())
        .collect();
    let (first, second) = (Some("reconnected-1"), Some("reconnected-2"));
    assert_eq!(
        marks,
        [None, None, None, None, first, None, second],
        "what may lack something before it"
    );
    server.signal(rustix::process::Signal::TERM);
    let ended = server.wait(PATIENCE);
    assert!(ended.status.success());
    assert!(!ended.stderr.contains("hush"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("a feed is connected"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_feed_that_cannot_be_is_a_usage_error() {
    for (flags, said) in [
        (&["serve", "--feed", "ticks"][..], "CHANNEL=URL"),
        (&["serve", "--feed", "ticks=http://h/"], "ws:// or wss://"),
        (
            &["serve", "--feed-hello", "ticks=x"],
            "no --feed of that name",
        ),
    ] {
        let ended = run(flags);
        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}
