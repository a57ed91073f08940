//! WebSockets over HTTP/2 (RFC 8441): our client and our acceptor with each other, and each with a hyper that knows
//! nothing of us; what happens where the other side does not take part.

use crate::common::poll_and_drop;
use crate::net::{Certificate, listen};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming as Body;
use hyper::ext::Protocol;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidegate::client::{Http, HttpVersion, Stage};
use tidegate::tidegate_proto::handshake::Refusal;
use tidegate::tidegate_proto::handshake::client::HandshakeError;
use tidegate::tidegate_proto::{Deflate, Role, Side};
use tidegate::{Acceptor, Client, CloseCode, Config, ConnectError, Message, Proxy, WebSocket, tls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

fn client() -> Client {
    Client::new().proxy(Proxy::none())
}

/// Octets that do not shrink a hundredfold.
fn varied(length: u32) -> Vec<u8> {
    (0..length)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect()
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut ws: WebSocket<S>) {
    while let Ok(message) = ws.recv().await {
        if ws.send(message).await.is_err() {
            return;
        }
    }
}

/// Accepts every connection and echoes on every WebSocket, as `acceptor` judges; counts connections.
async fn echo_server(acceptor: Acceptor, tls: Option<TlsAcceptor>) -> (u16, Arc<AtomicUsize>) {
    let (listener, port) = listen().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let (acceptor, tls) = (acceptor.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    Some(tls) => {
                        let io = tls.accept(tcp).await.unwrap();
                        let mut incoming = acceptor.secure(true).incoming(io);
                        while let Some(accepted) = incoming.next().await {
                            let Ok(ws) = accepted else { continue };
                            tokio::spawn(echo(ws));
                        }
                    }
                    None => {
                        let mut incoming = acceptor.incoming(tcp);
                        while let Some(accepted) = incoming.next().await {
                            let Ok(ws) = accepted else { continue };
                            tokio::spawn(echo(ws));
                        }
                    }
                }
            });
        }
    });
    (port, connections)
}

#[tokio::test]
async fn alpn_decides_and_one_port_takes_both() {
    let certificate = Certificate::new();
    let tls = TlsAcceptor::from(tls::with_http2(&certificate.server));
    let acceptor = Acceptor::new().subprotocols(["chat"]).config(Config {
        deflate: Deflate::Shared.into(),
        ..Config::default()
    });
    let (port, _) = echo_server(acceptor, Some(tls)).await;
    let url = format!("wss://localhost:{port}/x?y=1");
    let rows = [
        (Http::Either, HttpVersion::Http2),
        (Http::Http2, HttpVersion::Http2),
        (Http::Http1, HttpVersion::Http1),
    ];
    for (http, expected) in rows {
        let client = client()
            .tls(certificate.client.clone())
            .http(http)
            .subprotocols(["chat"])
            .deflate(Deflate::Shared)
            .header("X-Own", "1");
        let (mut ws, how) = client.open(&url).await.unwrap();
        assert_eq!(how.version, expected, "{http:?}");
        assert_eq!(ws.subprotocol(), Some("chat"));
        assert!(ws.deflate().is_some());
        let transport = ws.transport().unwrap();
        assert_eq!(transport.is_http2(), expected == HttpVersion::Http2);
        assert!(transport.is_secure() && how.tls.unwrap().starts_with("TLSv1_3"));
        assert_eq!(transport.peer_addr().unwrap().port(), port);
        for message in [Message::from("text"), Message::from(varied(900_000))] {
            ws.send(message.clone()).await.unwrap();
            assert_eq!(ws.recv().await.unwrap(), message);
        }
        ws.ping().await.unwrap();
        let closed = ws.close(CloseCode::NORMAL, "done").await;
        assert!(closed.clean && closed.by == Side::Us, "{closed:?}");
    }
}

#[tokio::test]
async fn prior_knowledge_needs_no_tls() {
    let (port, _) = echo_server(Acceptor::new(), None).await;
    let url = format!("ws://127.0.0.1:{port}/");
    let (mut ws, how) = client().http(Http::Http2).open(&url).await.unwrap();
    assert_eq!((how.version, how.status), (HttpVersion::Http2, 200));
    let told = String::from_utf8(how.request).unwrap();
    assert!(told.starts_with(":method: CONNECT\r\n:protocol: websocket\r\n:scheme: http\r\n"));
    ws.send("hello").await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Message::from("hello"));
    let mut plain = client().connect(&url).await.unwrap();
    assert!(
        !plain.transport().unwrap().is_http2(),
        "ws:// alone says HTTP/1.1"
    );
    plain.send("hello").await.unwrap();
    assert_eq!(plain.recv().await.unwrap(), Message::from("hello"));
}

#[tokio::test]
async fn many_websockets_share_a_connection_when_asked_to() {
    let (port, connections) = echo_server(Acceptor::new(), None).await;
    let url = format!("ws://127.0.0.1:{port}/");
    let sharing = client().http(Http::Http2).share_http2(true);
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(sharing.clone().connect(&url).await.unwrap());
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    // One that nobody reads must not hold up the others.
    let mut stalled = open.pop().unwrap();
    for _ in 0..4 {
        let _ = stalled.try_send(vec![1; 200_000]);
    }
    let _ = tokio::time::timeout(Duration::from_millis(50), stalled.flush()).await;
    for ws in &mut open {
        ws.send(vec![2; 300_000]).await.unwrap();
        assert_eq!(ws.recv().await.unwrap().len(), 300_000);
    }
    let unshared = client().http(Http::Http2);
    let _a = unshared.connect(&url).await.unwrap();
    let _b = unshared.connect(&url).await.unwrap();
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_refusal_over_http2_is_one_with_its_body() {
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut incoming = Acceptor::new().incoming_if(tcp, |request| {
            let refusal = Refusal::new(403, format!("not {}", request.path()));
            Err(refusal.with_header("X-Why", "because").unwrap())
        });
        assert!(
            incoming.next().await.is_none(),
            "a refusal brings no WebSocket"
        );
    });
    let url = format!("ws://127.0.0.1:{port}/secret");
    let error = client().http(Http::Http2).connect(&url).await.unwrap_err();
    let refused = error.refused().expect("refused");
    assert_eq!(
        (refused.status, &*refused.body),
        (403, &b"not /secret\n"[..])
    );
    assert_eq!(refused.headers.first("x-why"), Some(&b"because"[..]));
    let request = String::from_utf8_lossy(&refused.request);
    assert!(request.contains(":path: /secret"), "{request}");
    assert_eq!(error.stage(), Some(Stage::Http));
}

/// A hyper server of its own: HTTP/2 by prior knowledge or TLS, extended CONNECT allowed or not.
async fn hyper_server(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    extended: bool,
    answer: fn(Request<Body>) -> Response<Full<Bytes>>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            let service =
                service_fn(move |request| async move { Ok::<_, Infallible>(answer(request)) });
            let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            if extended {
                builder.http2().enable_connect_protocol();
            }
            let served = match tls {
                Some(tls) => {
                    let io = TokioIo::new(tls.accept(tcp).await.unwrap());
                    builder.serve_connection_with_upgrades(io, service).await
                }
                None => {
                    let io = TokioIo::new(tcp);
                    builder.serve_connection_with_upgrades(io, service).await
                }
            };
            drop(served);
        });
    }
}

/// Answers over either HTTP with the means of `tidegate::upgrade`.
fn upgraded(mut request: Request<Body>) -> Response<Full<Bytes>> {
    match Acceptor::new().upgrade(&mut request) {
        Ok(upgrade) => upgrade.on_upgrade(echo),
        Err(refusal) => tidegate::upgrade::refused(&refusal),
    }
}

#[tokio::test]
async fn a_server_whose_http2_takes_no_websockets_is_asked_over_http1_and_remembered() {
    let certificate = Certificate::new();
    let (listener, port) = listen().await;
    let tls = TlsAcceptor::from(tls::with_http2(&certificate.server));
    tokio::spawn(hyper_server(listener, Some(tls), false, upgraded));
    let url = format!("wss://localhost:{port}/");
    let client = client().tls(certificate.client.clone());
    // The second connection of one call waits for no turn that the first has kept.
    let patient = client.clone().one_at_a_time(true).tls(certificate.client);
    patient.connect(&url).await.unwrap();
    for attempt in 0..2 {
        let (mut ws, how) = client.open(&url).await.unwrap();
        assert_eq!(how.version, HttpVersion::Http1);
        // The first one had to find out; what is remembered saves that wait.
        assert!(how.timings.tls.is_some(), "{attempt}");
        ws.send("hello").await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), Message::from("hello"));
    }
    let error = client.http(Http::Http2).connect(&url).await.unwrap_err();
    assert!(matches!(error, ConnectError::Http2Unsupported), "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn what_is_remembered_saves_the_second_connection() {
    let certificate = Certificate::new();
    let (listener, port) = listen().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let (count, tls) = (
        connections.clone(),
        TlsAcceptor::from(tls::with_http2(&certificate.server)),
    );
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let io = TokioIo::new(tls.accept(tcp).await.unwrap());
            tokio::spawn(async move {
                let service =
                    service_fn(|request| async move { Ok::<_, Infallible>(upgraded(request)) });
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                drop(builder.serve_connection_with_upgrades(io, service).await);
            });
        }
    });
    let url = format!("wss://localhost:{port}/");
    let client = client().tls(certificate.client.clone());
    for expected in [2, 3, 4] {
        client.connect(&url).await.unwrap();
        assert_eq!(connections.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn a_server_without_alpn_speaks_http1() {
    let certificate = Certificate::new();
    let (listener, port) = listen().await;
    let mut config = (*certificate.server).clone();
    config.alpn_protocols.clear();
    let tls = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(hyper_server(listener, Some(tls), true, upgraded));
    let url = format!("wss://localhost:{port}/");
    let client = client().tls(certificate.client.clone());
    let (_ws, how) = client.open(&url).await.unwrap();
    assert_eq!(how.version, HttpVersion::Http1);
    let error = client.http(Http::Http2).connect(&url).await.unwrap_err();
    assert!(matches!(error, ConnectError::Http2Unsupported), "{error:?}");
}

#[tokio::test]
async fn a_wrong_answer_over_http2_has_its_name() {
    fn wrong(request: Request<Body>) -> Response<Full<Bytes>> {
        assert_eq!(
            request.extensions().get::<Protocol>().unwrap().as_str(),
            "websocket"
        );
        assert_eq!(request.headers()["sec-websocket-version"], "13");
        assert!(!request.headers().contains_key("sec-websocket-key"));
        let (name, value) = match request.uri().path() {
            "/protocol" => ("sec-websocket-protocol", "unasked"),
            _ => ("sec-websocket-extensions", "unasked"),
        };
        Response::builder()
            .header(name, value)
            .body(Full::default())
            .unwrap()
    }
    let (listener, port) = listen().await;
    tokio::spawn(hyper_server(listener, None, true, wrong));
    let rows = [
        (
            "protocol",
            HandshakeError::SubprotocolNotOffered("unasked".into()),
        ),
        (
            "extension",
            HandshakeError::ExtensionNotOffered("unasked".into()),
        ),
    ];
    for (path, expected) in rows {
        let url = format!("ws://127.0.0.1:{port}/{path}");
        match client().http(Http::Http2).connect(&url).await.unwrap_err() {
            ConnectError::Handshake(error) => assert_eq!(error, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn settings_that_never_come_are_a_timeout_of_the_handshake() {
    let (listener, port) = listen().await;
    let client = client()
        .http(Http::Http2)
        .timeout(Duration::from_millis(300));
    let url = format!("ws://127.0.0.1:{port}/");
    let error = client.connect(&url).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Timeout { stage: Stage::Http }),
        "{error:?}"
    );
    drop(listener);
}

#[tokio::test]
async fn nothing_is_asked_before_the_settings_have_come() {
    let (listener, port) = listen().await;
    let serve = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut seen = vec![0; 24];
        tcp.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut kinds = Vec::new();
        let frames = async {
            loop {
                let mut header = [0; 9];
                tcp.read_exact(&mut header).await.unwrap();
                kinds.push(header[3]);
                let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
                let mut payload = vec![0; length as usize];
                tcp.read_exact(&mut payload).await.unwrap();
            }
        };
        let waited: Result<(), _> = tokio::time::timeout(Duration::from_millis(200), frames).await;
        assert!(waited.is_err());
        // SETTINGS and WINDOW_UPDATE may come, HEADERS (1) may not.
        assert!(
            !kinds.is_empty() && kinds.iter().all(|kind| matches!(kind, 4 | 8)),
            "{kinds:?}"
        );
        // SETTINGS without the parameter: the client gives up for itself.
        tcp.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        tcp
    };
    let client = client().http(Http::Http2);
    let url = format!("ws://127.0.0.1:{port}/");
    let (error, _tcp) = tokio::join!(client.connect(&url), serve);
    assert!(matches!(error.unwrap_err(), ConnectError::Http2Unsupported));
}

#[tokio::test]
async fn a_hyper_client_opens_a_websocket_and_gets_no_page() {
    let (port, _) = echo_server(Acceptor::new(), None).await;
    let tcp = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder
        .handshake::<_, Empty<Bytes>>(TokioIo::new(tcp))
        .await
        .unwrap();
    tokio::spawn(connection);
    let get = Request::get(format!("http://127.0.0.1:{port}/"))
        .body(Empty::new())
        .unwrap();
    let page = sender.send_request(get).await.unwrap();
    assert_eq!(page.status(), StatusCode::BAD_REQUEST);
    let body = page.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&*body, b"only WebSockets are served here\n");

    let connect = |version: &str, origin: &str| {
        Request::connect(format!("http://127.0.0.1:{port}/chat"))
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", version)
            .header("origin", origin)
            .body(Empty::new())
            .unwrap()
    };
    let same = format!("http://127.0.0.1:{port}");
    let old = sender.send_request(connect("8", &same)).await.unwrap();
    assert_eq!(
        (
            old.status().as_u16(),
            &old.headers()["sec-websocket-version"]
        ),
        (400, &"13".parse().unwrap())
    );
    let foreign = sender
        .send_request(connect("13", "http://evil.example"))
        .await
        .unwrap();
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    let response = sender.send_request(connect("13", &same)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    for name in ["upgrade", "connection", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    let io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut ws = WebSocket::from_upgraded(io, Role::Client, Arc::new(Config::default()), b"");
    ws.send("masked all the same").await.unwrap();
    assert_eq!(
        ws.recv().await.unwrap(),
        Message::from("masked all the same")
    );
    assert!(ws.close(CloseCode::NORMAL, "").await.clean);
}

#[tokio::test]
async fn a_lost_connection_ends_its_websockets_uncleanly() {
    let (listener, port) = listen().await;
    let (cut, told) = tokio::sync::oneshot::channel::<()>();
    let serve = async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let (here, mut there) = tokio::io::duplex(64 << 10);
        // A relay that is cut when told.
        let relay = tokio::spawn(async move {
            let mut tcp = tcp;
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut tcp, &mut there) => {}
                _ = told => {}
            }
        });
        let mut incoming = Acceptor::new().incoming(here);
        let ws = incoming.next().await.unwrap().unwrap();
        (ws, relay)
    };
    let url = format!("ws://127.0.0.1:{port}/");
    let client = client().http(Http::Http2);
    let (ws, (mut server, relay)) = tokio::join!(client.connect(&url), serve);
    let mut ws = ws.unwrap();
    cut.send(()).unwrap();
    relay.await.unwrap();
    let (here, there) = tokio::join!(ws.recv(), server.recv());
    assert!(!here.unwrap_err().clean && !there.unwrap_err().clean);
}

#[tokio::test]
async fn an_accept_that_is_dropped_again_and_again_loses_no_websocket() {
    let (listener, port) = listen().await;
    let serve = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut incoming = Acceptor::new().incoming(tcp);
        let mut got = vec![incoming.next().await.unwrap().unwrap()];
        while got.len() < 5 {
            match poll_and_drop(incoming.next(), 1) {
                Some(next) => got.push(next.unwrap().unwrap()),
                None => tokio::task::yield_now().await,
            }
        }
        got
    };
    let client = client().http(Http::Http2).share_http2(true);
    let ask = async {
        let url = format!("ws://127.0.0.1:{port}/");
        let mut open = Vec::new();
        for _ in 0..5 {
            open.push(client.connect(&url).await.unwrap());
        }
        open
    };
    let (accepted, open) = tokio::join!(serve, ask);
    for (n, (mut server, mut client)) in accepted.into_iter().zip(open).enumerate() {
        server.send(n.to_string()).await.unwrap();
        assert_eq!(client.recv().await.unwrap(), Message::from(n.to_string()));
    }
}
