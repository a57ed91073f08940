//! WebSockets over HTTP/2 (RFC 8441): bridged peers, beside pages on the same connection. Here the client is the
//! library's; tests/interop has one of other people's.

use crate::support::process::Server;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::future::Future;
use std::time::Duration;
use tidegate::client::{Http, HttpVersion};
use tidegate::tidegate_proto::Limits;
use tidegate::{Client, CloseCode, ConnectError, Message, Proxy, Tls};
use tokio::net::TcpStream;

/// Accepts whatever certificate: tls.rs looks at it.
fn client(http: Http) -> Client {
    let tls = Tls::builder().danger_accept_invalid_certificates().build();
    Client::new()
        .proxy(Proxy::none())
        .limits(Limits::large())
        .tls(tls.expect("settings"))
        .http(http)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(test);
}

/// An echo of all sizes, and a hub session, over what `client` agrees on.
async fn echo_and_hub_work(client: &Client, base: &str, expected: HttpVersion) {
    let (mut echo, how) = client
        .open(&format!("{base}/echo"))
        .await
        .expect("accepted");
    assert_eq!(how.version, expected);
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n >> 3) as u8).collect();
    for message in [
        Message::from("hello"),
        Message::from(large),
        Message::from(""),
    ] {
        echo.send(message.clone()).await.expect("sent");
        assert!(echo.recv().await.expect("echoed") == message);
    }
    assert!(echo.close(CloseCode::NORMAL, "done").await.clean);

    let url = format!("{base}/connection/websocket");
    let mut hub = client.connect(&url).await.expect("accepted");
    hub.send(json!({ "id": 1, "connect": {} }).to_string())
        .await
        .expect("sent");
    let reply = hub.recv().await.expect("a reply");
    let reply: Value = serde_json::from_str(reply.as_text().expect("text")).expect("JSON");
    assert!(reply["connect"]["client"].is_string(), "{reply}");
}

#[test]
fn one_port_takes_websockets_over_either_http() {
    let server = Server::start(&["--workers", "2", "--dev-cert"]);
    let base = format!("wss://localhost:{}", server.address.port());
    run(async {
        echo_and_hub_work(&client(Http::Either), &base, HttpVersion::Http2).await;
        echo_and_hub_work(&client(Http::Http1), &base, HttpVersion::Http1).await;
    });
    let plain = Server::start(&["--workers", "2"]);
    let base = format!("ws://localhost:{}", plain.address.port());
    run(async {
        let sharing = client(Http::Http2).share_http2(true);
        echo_and_hub_work(&sharing, &base, HttpVersion::Http2).await;
        echo_and_hub_work(&client(Http::Either), &base, HttpVersion::Http1).await;
    });
}

#[test]
fn a_refusal_over_http2_has_its_status_and_its_line() {
    let server = Server::start(&[]);
    let port = server.address.port();
    run(async {
        let refused = |client: Client, url: String| async move {
            match client.connect(&url).await {
                Err(ConnectError::Refused(refused)) => (
                    refused.status,
                    String::from_utf8_lossy(&refused.body).into_owned(),
                ),
                other => panic!("{other:?}"),
            }
        };
        let nowhere = format!("ws://localhost:{port}/nowhere");
        let (status, line) = refused(client(Http::Http2), nowhere.clone()).await;
        let (same_status, same_line) = refused(client(Http::Http1), nowhere).await;
        assert_eq!(
            (status, &line),
            (same_status, &same_line),
            "as over HTTP/1.1"
        );
        let foreign = client(Http::Http2).origin("http://evil.example");
        let (status, _) = refused(foreign, format!("ws://localhost:{port}/echo")).await;
        assert_eq!(status, 403);
    });
}

#[test]
fn pages_and_websockets_share_a_connection() {
    let server = Server::start(&[]);
    let address = server.address;
    run(async {
        let tcp = TcpStream::connect(address).await.expect("a connection");
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder
            .handshake::<_, Empty<Bytes>>(TokioIo::new(tcp))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        let ask = |path: &str, host: &str| {
            let request = Request::get(format!("http://{host}:{}{path}", address.port()));
            request.body(Empty::new()).expect("a request")
        };
        for (path, host, status) in [
            ("/", "localhost", 200),
            ("/none", "localhost", 404),
            ("/", "evil.example", 421),
        ] {
            let answer = sender
                .send_request(ask(path, host))
                .await
                .expect("an answer");
            assert_eq!(answer.status(), status, "{path} {host}");
            answer.into_body().collect().await.expect("its body");
        }
        let connect = Request::connect(format!("http://localhost:{}/echo", address.port()))
            .extension(hyper::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(Empty::new())
            .expect("a request");
        let answer = sender.send_request(connect).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert!(!answer.headers().contains_key("sec-websocket-accept"));
    });
}

#[test]
fn a_drain_reaches_websockets_over_http2() {
    let server = Server::start(&["--drain", "10"]);
    let port = server.address.port();
    run(async {
        let url = format!("ws://localhost:{port}/echo");
        let mut ws = client(Http::Http2).connect(&url).await.expect("accepted");
        server.signal(Signal::TERM);
        let closed = ws.recv().await.expect_err("an end");
        assert_eq!(
            (closed.code, closed.clean),
            (Some(CloseCode::GOING_AWAY), true)
        );
    });
    let ended = server.wait(Duration::from_secs(60));
    assert!(ended.status.success(), "{}", ended.stderr);
}
