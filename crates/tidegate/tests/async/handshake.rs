//! Both sides of the opening handshake: what is agreed, what is refused and with which words, and that
//! every wait ends.

use futures_util::future::join;
use std::time::Duration;
use tidegate::client::{BadUrl, Stage};
use tidegate::testing::{Faults, Faulty};
use tidegate::tidegate_proto::handshake::Refusal;
use tidegate::tidegate_proto::handshake::client::HandshakeError;
use tidegate::{
    AcceptError, Acceptor, Client, CloseCode, ConnectError, Message, OriginPolicy, accept,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

const URL: &str = "ws://example.com/chat?x=1";

fn refused(error: ConnectError) -> Box<tidegate::client::Refused> {
    match error {
        ConnectError::Refused(refused) => refused,
        other => panic!("not refused: {other:?}"),
    }
}

/// What a server of ours answers to octets; the end of its output, and its verdict.
async fn answer(request: &[u8]) -> (String, AcceptError) {
    let (here, mut peer) = duplex(16 << 10);
    let ask = async {
        peer.write_all(request).await.unwrap();
        peer.shutdown().await.unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (verdict, answer) = join(accept(here), ask).await;
    (answer, verdict.expect_err("it must not be accepted"))
}

/// How a client of ours takes `answer`, which never ends.
async fn take(answer: &[u8]) -> ConnectError {
    let (here, mut peer) = duplex(256 << 10);
    peer.write_all(answer).await.unwrap();
    let connected = Client::new().connect_over(here, URL).await;
    connected.expect_err("it must not be accepted")
}

#[tokio::test]
async fn client_and_server_agree_and_talk_over_a_slow_transport() {
    let slow = Faults {
        chunk: Some(1),
        hesitant: true,
        ..Faults::default()
    };
    let (here, there) = duplex(64);
    let acceptor = Acceptor::new().subprotocols(["v2", "v1"]);
    let client = Client::new()
        .subprotocols(["v1", "v2", "v3"])
        .header("X-Key", "k")
        .origin("http://example.com");
    let serve = async {
        let opening = acceptor.receive(Faulty::new(there, slow)).await.unwrap();
        let request = opening.request();
        assert_eq!((request.path(), request.query()), ("/chat", Some("x=1")));
        assert_eq!(request.header("x-key"), Some(&b"k"[..]));
        let mut ws = opening.accept().await.unwrap();
        ws.send("welcome").await.unwrap();
        ws.recv().await.unwrap_err()
    };
    let talk = async {
        let mut ws = client
            .connect_over(Faulty::new(here, slow), URL)
            .await
            .unwrap();
        assert_eq!(ws.subprotocol(), Some("v2"), "the server's choice");
        assert_eq!(ws.recv().await.unwrap(), Message::from("welcome"));
        ws.close(CloseCode::NORMAL, "").await
    };
    let (seen, closed) = join(serve, talk).await;
    assert!(seen.clean && closed.clean);
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_not_lost() {
    let (here, mut peer) = duplex(4 << 10);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let frame = crate::common::masked(0x81, b"early");
    peer.write_all(&[request.as_bytes(), &frame].concat())
        .await
        .unwrap();
    let mut ws = accept(here).await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Message::from("early"));
    assert_eq!(ws.subprotocol(), None);
}

#[tokio::test]
async fn a_foreign_origin_is_refused_unless_all_may_come() {
    let client = Client::new().origin("https://evil.example");
    let (here, there) = duplex(4 << 10);
    let (client_side, server_side) = join(client.connect_over(here, URL), accept(there)).await;
    let error = client_side.unwrap_err();
    assert!(!error.is_retryable() && error.stage() == Some(Stage::Http));
    assert_eq!(refused(error).status, 403);
    assert!(matches!(server_side, Err(AcceptError::Refused(refusal)) if refusal.status == 403));

    let open = Acceptor::new().origins(OriginPolicy::Any);
    let (here, there) = duplex(4 << 10);
    let (client_side, server_side) = join(client.connect_over(here, URL), open.accept(there)).await;
    assert!(client_side.is_ok() && server_side.is_ok());
}

#[tokio::test]
async fn a_rejection_of_the_programs_own_reaches_the_client_whole() {
    let (here, there) = duplex(4 << 10);
    let reject = async {
        let opening = Acceptor::new().receive(there).await.unwrap();
        let refusal = Refusal::new(429, "come back in a minute");
        opening
            .reject(&refusal.with_header("Retry-After", "60").unwrap())
            .await;
    };
    let (connected, ()) = join(Client::new().connect_over(here, URL), reject).await;
    let error = connected.unwrap_err();
    assert!(error.is_retryable());
    let refused = refused(error);
    assert_eq!(refused.headers.first("retry-after"), Some(&b"60"[..]));
    assert_eq!(refused.body, b"come back in a minute\n");
}

#[tokio::test(start_paused = true)]
async fn a_page_and_a_redirect_are_told_as_what_they_are() {
    let page = take(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(
        page.to_string().contains("no WebSocket is served"),
        "{page}"
    );
    let head = b"HTTP/1.1 302 Found\r\nLocation: https://a.example/ws?token=x\r\nContent-Length: 0\r\n\r\n";
    let moved = take(head).await.to_string();
    assert!(moved.ends_with("points to https://a.example/ws"), "{moved}");
}

#[tokio::test]
async fn an_answer_carries_fields_and_a_subprotocol_of_the_programs_own_choice() {
    let (here, there) = duplex(4 << 10);
    let acceptor = Acceptor::new().subprotocols(["v2", "v1"]);
    let serve = async {
        let opening = acceptor.receive(there).await.unwrap();
        assert_eq!(opening.subprotocol(), Some("v2"));
        let opening = opening
            .choose(Some("v1"))
            .header("Set-Cookie", "a=b")
            .unwrap();
        opening.accept().await.unwrap()
    };
    let client = Client::new().subprotocols(["v1", "v2"]);
    let (server, connected) = join(serve, client.connect_over(here, URL)).await;
    assert_eq!(connected.unwrap().subprotocol(), Some("v1"));
    assert_eq!(server.subprotocol(), Some("v1"));
}

#[tokio::test]
async fn a_field_that_cannot_be_sent_is_refused_before_the_answer() {
    for (name, value) in [
        ("Sec-WebSocket-Accept", "x"),
        ("X-A", "a\r\nX-B: b"),
        ("a b", "c"),
    ] {
        let (here, there) = duplex(4 << 10);
        let serve = async {
            let opening = Acceptor::new().receive(there).await.unwrap();
            opening.header(name, value).unwrap_err()
        };
        let client = Client::new();
        let (error, connected) = join(serve, client.connect_over(here, URL)).await;
        assert_eq!(error.name, name);
        assert!(connected.is_err(), "the transport went with the opening");
    }
}

#[tokio::test]
async fn a_client_without_a_subprotocol_that_is_needed_is_told_which_there_are() {
    let acceptor = Acceptor::new()
        .subprotocols(["v2", "v1"])
        .require_subprotocol();
    let (here, there) = duplex(4 << 10);
    let client = Client::new().subprotocols(["v3"]);
    let (connected, accepted) = join(client.connect_over(here, URL), acceptor.accept(there)).await;
    assert!(matches!(accepted, Err(AcceptError::Refused(refusal)) if refusal.status == 400));
    let refused = refused(connected.unwrap_err());
    assert_eq!(
        refused.body,
        b"offer a subprotocol that is spoken here: v2, v1\n"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_no_handshake_gets_its_answer() {
    let rows: &[(&[u8], &str)] = &[
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 426 "),
        (b"\x16\x03\x01\x02\x00\x01", "HTTP/1.1 400 "),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\n\r\n",
            "HTTP/1.1 400 ",
        ),
    ];
    for (request, expected) in rows {
        let (answer, verdict) = answer(request).await;
        assert!(answer.starts_with(expected), "{answer}");
        assert!(matches!(verdict, AcceptError::Refused(_)), "{verdict:?}");
    }
    let (said, verdict) = answer(b"GET / HT").await;
    assert!(said.is_empty() && matches!(verdict, AcceptError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_dawdles_is_told_408() {
    let (here, mut peer) = duplex(4 << 10);
    peer.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let start = Instant::now();
    let verdict = accept(here).await.unwrap_err();
    assert!(matches!(verdict, AcceptError::Timeout));
    assert_eq!(
        start.elapsed().as_secs(),
        11,
        "10 s, and one to read the answer"
    );
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_a_timeout_of_the_handshake() {
    let (here, _silent): (_, DuplexStream) = duplex(4 << 10);
    let start = Instant::now();
    let error = Client::new().connect_over(here, URL).await.unwrap_err();
    assert!(matches!(
        error,
        ConnectError::Timeout { stage: Stage::Http }
    ));
    assert!(error.is_retryable());
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_refusals_body_is_capped_in_length_and_time() {
    let mut long = b"HTTP/1.1 500 X\r\nContent-Length: 100000\r\n\r\n".to_vec();
    long.extend_from_slice(&[b'x'; 100_000]);
    let start = Instant::now();
    let got = refused(take(&long).await);
    assert_eq!((got.body.len(), start.elapsed()), (4 << 10, Duration::ZERO));

    let cut = b"HTTP/1.1 503 X\r\nContent-Length: 100\r\n\r\nsorry";
    let got = refused(take(cut).await);
    assert_eq!((got.status, got.body), (503, b"sorry".to_vec()));
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}

#[tokio::test]
async fn a_wrong_answer_has_its_name() {
    let head = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let wrong = format!("{head}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    let rows = [
        (wrong.as_str(), HandshakeError::AcceptWrong),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", HandshakeError::NotHttp),
    ];
    for (answer, expected) in rows {
        match take(answer.as_bytes()).await {
            ConnectError::Handshake(error) => assert_eq!(error, expected),
            other => panic!("{other:?}"),
        }
    }
    let (here, peer) = duplex(4 << 10);
    drop(peer);
    let error = Client::new().connect_over(here, URL).await.unwrap_err();
    assert!(matches!(
        &error,
        ConnectError::Io {
            stage: Stage::Http,
            ..
        }
    ));
    assert!(error.is_retryable());
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_said_before_anything_is_sent() {
    let error = tidegate::connect("http://127.0.0.1/").await.unwrap_err();
    assert!(matches!(error, ConnectError::Url(BadUrl::Scheme)));
    let client = Client::new().header("Upgrade", "h2c");
    let error = client.connect("ws://127.0.0.1/").await.unwrap_err();
    assert!(matches!(error, ConnectError::Request(_)) && error.stage().is_none());
    assert!(!error.is_retryable());
}
