//! Bridged peers on a real server whose other peers have sockets, and a bridge whose worker is gone.

use super::*;
use crate::{Config, Echo, Limits, Message, Server, WebSocket};
use std::convert::Infallible;
use std::time::Duration;
use tidegate_proto::handshake::connect::{Target, Translated, to_http1};
use tidegate_proto::{CloseCode, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Running = crate::Running<Infallible>;

fn head() -> Vec<u8> {
    let target = Target {
        scheme: "https",
        authority: "a",
        path: "/",
    };
    to_http1(&target, [("sec-websocket-version", &b"13"[..])]).expect("a good request")
}

fn server(workers: usize) -> Running {
    let addr = "127.0.0.1:0".parse().expect("an address");
    let config = Config {
        limits: Limits::large(),
        ..Config::default()
    };
    let config = Arc::new(config);
    Server::builder()
        .listen(addr)
        .workers(workers)
        .start(move |_| Echo::new(config.clone()))
        .expect("a server")
}

fn remote() -> SocketAddr {
    "192.0.2.1:4711".parse().expect("an address")
}

/// The peer's end after its handshake.
async fn open(bridge: &Bridge) -> WebSocket<Bridged> {
    let mut io = bridge.open(remote(), true, head()).expect("room");
    let mut bytes = Vec::new();
    let answer = loop {
        assert!(io.read_buf(&mut bytes).await.unwrap() > 0);
        if let Some(answer) = Translated::read(&bytes).expect("an answer") {
            break answer;
        }
    };
    assert!(answer.is_open(), "{answer:?}");
    let config = Config {
        limits: Limits::large(),
        ..Config::default()
    };
    let early = &bytes[answer.head_length..];
    WebSocket::from_upgraded(io, Role::Client, Arc::new(config), early)
}

#[tokio::test]
async fn messages_of_all_sizes_go_there_and_back() {
    let running = server(2);
    let bridge = running.bridge();
    for size in [0, 1, 125, 70_000, 1 << 20, 5 << 20] {
        let mut ws = open(&bridge).await;
        let message = Message::from(vec![7; size]);
        ws.send(message.clone()).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), message);
        let closed = ws.close(CloseCode::NORMAL, "done").await;
        assert!(closed.clean, "{closed:?}");
    }
    running.drain(Duration::from_secs(5));
    running.join().unwrap();
}

#[tokio::test]
async fn credit_holds_back_who_sends_and_does_not_read() {
    let running = server(1);
    let mut ws = open(&running.bridge()).await;
    let mut lazy = open(&running.bridge()).await;
    // The echo fills its credit, its outbox and then ours; the lazy one must stop somewhere.
    let flood = async {
        for _ in 0..1_000 {
            lazy.flush().await.unwrap();
            while lazy.try_send(vec![1; 60_000]).is_ok() {}
        }
    };
    let stuck = tokio::time::timeout(Duration::from_millis(300), flood).await;
    assert!(stuck.is_err(), "60 MB without a read went somewhere");
    {
        let state = lazy.transport().unwrap().link.lock();
        assert!(state.inbound.len() + state.taken <= CREDIT);
        assert!(state.outbound.len() <= CREDIT);
    }
    ws.send("others go on").await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Message::from("others go on"));
    drop(lazy);
    drop(ws);
    running.drain(Duration::from_secs(5));
    running.join().unwrap();
}

#[tokio::test]
async fn a_stream_that_is_let_go_is_a_lost_connection_and_a_drain_says_goodbye() {
    let running = server(1);
    drop(open(&running.bridge()).await);
    let mut ws = open(&running.bridge()).await;
    running.drain(Duration::from_secs(10));
    let closed = ws.recv().await.unwrap_err();
    assert_eq!(
        (closed.code, closed.clean),
        (Some(CloseCode::GOING_AWAY), true)
    );
    let bridge = running.bridge();
    running.join().unwrap();
    assert!(
        bridge.open(remote(), true, head()).is_err(),
        "its workers have ended"
    );
}

#[tokio::test]
async fn an_end_of_the_stream_is_an_end_of_the_connection() {
    let running = server(1);
    let mut io = bridge_to_echo(&running).await;
    io.shutdown().await.unwrap();
    let mut rest = Vec::new();
    io.read_to_end(&mut rest).await.unwrap();
    assert!(io.write_all(b"late").await.is_err());
    running.drain(Duration::from_secs(5));
    running.join().unwrap();
}

async fn bridge_to_echo(running: &Running) -> Bridged {
    let mut io = running
        .bridge()
        .open(remote(), false, head())
        .expect("room");
    let mut first = [0; 12];
    io.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 101");
    io
}

#[tokio::test]
async fn what_asks_for_no_websocket_is_closed() {
    let running = server(1);
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let mut io = running
        .bridge()
        .open(remote(), false, request)
        .expect("room");
    let mut rest = Vec::new();
    io.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
    running.drain(Duration::from_secs(5));
    running.join().unwrap();
}
