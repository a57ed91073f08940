//! WebSockets out of requests that hyper and axum have read, over real sockets: the rules are the acceptor's, and
//! nothing that came with the handshake is lost.

use axum::Router;
use axum::extract::{ConnectInfo, Extension};
use axum::routing::any;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;
use tidegate::tidegate_proto::Deflate;
use tidegate::tidegate_proto::handshake::{Origin, Refusal};
use tidegate::upgrade::{Refused, Upgrade, UpgradedIo, refused};
use tidegate::{
    Acceptor, Client, CloseCode, Config, ConnectError, Drain, Echo, Farewell, Message,
    OriginPolicy, Server, WebSocket,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves with hyper alone until the test ends; the port.
async fn hyper_server(acceptor: Acceptor) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            let service = service_fn(move |request| answer(acceptor.clone(), request));
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(
                http.serve_connection(TokioIo::new(tcp), service)
                    .with_upgrades(),
            );
        }
    });
    port
}

async fn answer(
    acceptor: Acceptor,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match acceptor.upgrade(&mut request) {
        Ok(upgrade) if upgrade.request().path() == "/teapot" => {
            let refusal = Refusal::new(418, "short and stout");
            refused(
                &refusal
                    .with_body("application/json", r#"{"spout":true}"#)
                    .unwrap(),
            )
        }
        Ok(upgrade) => upgrade
            .header("Set-Cookie", "a=b")
            .unwrap()
            .on_upgrade(echo),
        Err(refusal) => refused(&refusal),
    })
}

async fn echo(mut ws: WebSocket<UpgradedIo>) {
    while let Ok(message) = ws.recv().await {
        if ws.send(message).await.is_err() {
            break;
        }
    }
}

/// Serves with axum until the test ends; the port.
async fn axum_server(acceptor: Option<Acceptor>) -> u16 {
    let chat = |upgrade: Upgrade| async move { upgrade.on_upgrade(echo) };
    let closed = |_: Upgrade| async { Err::<(), _>(Refused(Refusal::new(403, "members only"))) };
    let mut router = Router::new()
        .route("/chat", any(chat))
        .route("/closed", any(closed));
    if let Some(acceptor) = acceptor {
        router = router.layer(Extension(acceptor));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

/// Text that can be compressed, but is no bomb.
fn counting(to: u32) -> String {
    (0..to).map(|n| n.to_string()).collect()
}

fn deflating() -> Config {
    Config {
        deflate: Deflate::Shared.into(),
        ..Config::default()
    }
}

async fn refusal(client: &Client, url: &str) -> (u16, String, String) {
    match client.connect(url).await {
        Err(ConnectError::Refused(refused)) => {
            let field = refused.headers.first("content-type").unwrap_or_default();
            let media = String::from_utf8_lossy(field).into_owned();
            (
                refused.status,
                media,
                String::from_utf8(refused.body).unwrap(),
            )
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_websocket_comes_out_of_hyper_with_all_that_was_agreed() {
    let acceptor = Acceptor::new().subprotocols(["v2"]).config(deflating());
    let port = hyper_server(acceptor).await;
    let client = Client::new().subprotocols(["v1", "v2"]).config(deflating());
    let mut ws = client
        .connect(&format!("ws://127.0.0.1:{port}/"))
        .await
        .unwrap();
    assert_eq!(ws.subprotocol(), Some("v2"));
    assert!(ws.deflate().is_some(), "both sides compress");
    for message in [Message::from(counting(20_000)), Message::from(vec![7; 9])] {
        ws.send(message.clone()).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), message);
    }
    assert!(ws.close(CloseCode::NORMAL, "").await.clean);
}

#[tokio::test]
async fn frames_that_come_with_the_request_are_read_behind_the_upgrade() {
    let port = hyper_server(Acceptor::new().config(deflating())).await;
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut octets = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        .to_vec();
    octets.extend(crate::common::masked(0x81, b"early"));
    octets.extend(crate::common::masked(0x88, b"\x03\xe8"));
    tcp.write_all(&octets).await.unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await.unwrap();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    assert!(
        head.starts_with("http/1.1 101 ") && head.contains("set-cookie: a=b"),
        "{head}"
    );
    assert!(head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    let agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert!(head.contains(agreed), "{head}");
    assert_eq!(answer[end..], *b"\x81\x05early\x88\x02\x03\xe8");
}

#[tokio::test]
async fn what_is_refused_has_its_status_and_body() {
    let port = hyper_server(Acceptor::new()).await;
    let url = format!("ws://127.0.0.1:{port}/");
    let (status, media, body) = refusal(&Client::new(), &format!("{url}teapot")).await;
    assert_eq!(
        (status, &*media, &*body),
        (418, "application/json", "{\"spout\":true}")
    );
    let foreign = Client::new().origin("https://evil.example");
    assert_eq!(refusal(&foreign, &url).await.0, 403);

    for (version, expected) in [("12", "426"), ("", "426")] {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: {version}\r\n\r\n"
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        tcp.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer[9..]), expected);
    }
}

#[tokio::test]
async fn a_request_for_a_page_is_told_that_only_websockets_are_served() {
    let port = axum_server(None).await;
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    tcp.write_all(request).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(
        answer.ends_with("only WebSockets are served here\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_axum_handler_extracts_the_upgrade_under_the_routers_rules() {
    let page = "https://app.example";
    let origins = OriginPolicy::Listed(vec![Origin::parse(page).unwrap()]);
    let acceptor = Acceptor::new()
        .origins(origins)
        .subprotocols(["chat"])
        .require_subprotocol();
    let port = axum_server(Some(acceptor)).await;
    let url = format!("ws://127.0.0.1:{port}/chat");
    let bare = Client::new().origin(page);
    let client = bare.clone().subprotocols(["chat"]);
    let mut ws = client.connect(&url).await.unwrap();
    assert_eq!(ws.subprotocol(), Some("chat"));
    ws.send("hello").await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Message::from("hello"));
    assert!(ws.close(CloseCode::NORMAL, "").await.clean);

    let (status, _, body) = refusal(&bare, &url).await;
    assert_eq!(status, 400);
    assert!(body.contains("spoken here: chat"), "{body}");
    assert_eq!(
        refusal(&client.clone().origin("https://b.example"), &url)
            .await
            .0,
        403
    );
    let closed = format!("ws://127.0.0.1:{port}/closed");
    assert_eq!(refusal(&client, &closed).await.2, "members only\n");
}

#[tokio::test]
async fn a_connection_that_axum_accepted_is_served_by_a_worker_of_the_engine() {
    let engine = Server::builder()
        .listen("127.0.0.1:0".parse().unwrap())
        .workers(2)
        .start(|_| Echo::default())
        .unwrap();
    let bridge = engine.adopter().bridge();
    let hand_over = move |ConnectInfo(remote): ConnectInfo<SocketAddr>, upgrade: Upgrade| {
        let bridge = bridge.clone();
        async move {
            upgrade
                .header("X-Via", "axum")
                .unwrap()
                .hand_to(&bridge, remote)
                .await
        }
    };
    let router = Router::new().fallback(any(hand_over));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });

    let client = Client::new().config(deflating());
    let (mut ws, how) = client
        .open(&format!("ws://127.0.0.1:{port}/echo"))
        .await
        .unwrap();
    assert_eq!(how.headers.first("x-via"), Some(&b"axum"[..]));
    for message in [Message::from(counting(60_000)), Message::from(vec![7; 9])] {
        ws.send(message.clone()).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), message);
    }
    // The worker says goodbye, with the engine's own drain.
    engine.drain(Duration::from_secs(30));
    assert_eq!(
        ws.recv().await.unwrap_err().code,
        Some(CloseCode::GOING_AWAY)
    );
    tokio::task::spawn_blocking(move || engine.join())
        .await
        .unwrap()
        .unwrap();
    let url = format!("ws://127.0.0.1:{port}/echo");
    assert_eq!(refusal(&client, &url).await.0, 503, "no worker is left");
}

#[tokio::test]
async fn upgraded_connections_are_drained_like_others() {
    let drain = Drain::new();
    let port = axum_server(Some(Acceptor::new().drain(&drain))).await;
    let url = format!("ws://127.0.0.1:{port}/chat");
    let mut ws = tidegate::connect(&url).await.unwrap();
    ws.send("hello").await.unwrap();
    ws.recv().await.unwrap();
    assert_eq!(drain.present(), 1);
    let farewell = Farewell {
        window: Duration::from_millis(1),
        ..Farewell::restart()
    };
    let (left, seen) = tokio::join!(drain.close(farewell), ws.recv());
    assert_eq!(
        (left, seen.unwrap_err().code),
        (0, Some(CloseCode::RESTART))
    );
    assert_eq!(refusal(&Client::new(), &url).await.0, 503);
}
