//! The way to a server: names, proxies, TLS, and each thing that can be wrong with it: its variant, its stage, its
//! time limit. Time is virtual where nothing real is waited for.

use crate::net::{Certificate, listen};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegate::client::{BadProxy, Stage};
use tidegate::dial::{Resolve, Resolving};
use tidegate::rustls::RootCertStore;
use tidegate::rustls::server::WebPkiClientVerifier;
use tidegate::tidegate_proto::handshake::client::HandshakeError;
use tidegate::tidegate_proto::{Deflate, ProtocolError, Side, Timeouts};
use tidegate::{
    Acceptor, Client, CloseCode, Config, ConnectError, Message, Proxy, Tls, WebSocket, tls,
};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, duplex,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

fn client() -> Client {
    Client::new().proxy(Proxy::none())
}

/// Looks nothing up, for ever.
struct Stalled;

impl Resolve for Stalled {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> Resolving<'a> {
        Box::pin(pending())
    }
}

/// These addresses for every name, whatever the port.
struct Fixed(Vec<SocketAddr>);

impl Resolve for Fixed {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> Resolving<'a> {
        let found = self.0.clone();
        Box::pin(async { Ok(found) })
    }
}

async fn echo_one<S: AsyncRead + AsyncWrite + Unpin>(io: S, acceptor: Acceptor) {
    let Ok(mut ws) = acceptor.accept(io).await else {
        return;
    };
    while let Ok(message) = ws.recv().await {
        if ws.send(message).await.is_err() {
            return;
        }
    }
}

/// An echo on every connection, for as long as the test runs.
async fn echo_server() -> u16 {
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(echo_one(tcp, Acceptor::new()));
        }
    });
    port
}

async fn tls_echo_server(tls: Arc<tidegate::rustls::ServerConfig>) -> u16 {
    let (listener, port) = listen().await;
    let tls = TlsAcceptor::from(tls);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                if let Ok(io) = tls.accept(tcp).await {
                    echo_one(io, Acceptor::new().secure(true)).await;
                }
            });
        }
    });
    port
}

async fn talks<S: AsyncRead + AsyncWrite + Unpin>(mut ws: WebSocket<S>) {
    ws.send("hello").await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Message::from("hello"));
    assert!(ws.close(CloseCode::NORMAL, "").await.clean);
}

/// A proxy that answers with `answer`; where that opens a tunnel, it is one. The heads it got come back.
async fn proxy<S>(io: S, answer: &str) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut io = BufReader::new(io);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(io.read_line(&mut head).await.unwrap() > 0, "{head}");
    }
    io.write_all(answer.as_bytes()).await.unwrap();
    io.flush().await.unwrap();
    if answer == OPEN {
        let target = head
            .split(' ')
            .nth(1)
            .unwrap()
            .replace("server.example", "127.0.0.1");
        let mut server = TcpStream::connect(target).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut io, &mut server).await;
    }
    head
}

const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_stalled_resolver_is_a_timeout_of_the_look_up() {
    let start = Instant::now();
    let client = client().resolver(Stalled);
    let error = client.connect("ws://server.example/").await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Timeout { stage: Stage::Dns }),
        "{error:?}"
    );
    assert_eq!(
        start.elapsed(),
        Duration::from_secs(10),
        "the default for all stages"
    );

    let start = Instant::now();
    let client = client.stage_timeout(Stage::Dns, Duration::from_secs(2));
    let error = client.connect("ws://server.example/").await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Timeout { stage: Stage::Dns }),
        "{error:?}"
    );
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_name_that_does_not_exist_fails_the_look_up() {
    struct Nowhere;
    impl Resolve for Nowhere {
        fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> Resolving<'a> {
            Box::pin(async { Err(io::Error::other("no such name")) })
        }
    }
    for client in [
        client().resolver(Nowhere),
        client().resolver(Fixed(Vec::new())),
    ] {
        let error = client.connect("ws://server.example/").await.unwrap_err();
        assert!(
            matches!(
                &error,
                ConnectError::Io {
                    stage: Stage::Dns,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains("server.example: "), "{error}");
    }
}

#[tokio::test]
async fn a_dead_first_address_does_not_matter() {
    let port = echo_server().await;
    let (listener, closed) = listen().await;
    drop(listener);
    let addresses = vec![
        SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], closed)),
        SocketAddr::from(([127, 0, 0, 1], closed)),
        SocketAddr::from(([127, 0, 0, 1], port)),
    ];
    let client = client().resolver(Fixed(addresses));
    let (ws, how) = client.open("ws://server.example/").await.unwrap();
    assert_eq!(how.remote.unwrap().port(), port);
    assert!(how.timings.dns.is_some() && how.timings.tcp.is_some() && how.timings.tls.is_none());
    assert!(String::from_utf8_lossy(&how.request).contains("Host: server.example\r\n"));
    talks(ws).await;
}

#[tokio::test]
async fn through_a_proxy_to_both_kinds_of_server() {
    let certificate = Certificate::of("server.example");
    let plain = echo_server().await;
    let secure = tls_echo_server(certificate.server.clone()).await;
    for (scheme, port) in [("ws", plain), ("wss", secure)] {
        let (listener, proxy_port) = listen().await;
        let serve = async {
            let (tcp, _) = listener.accept().await.unwrap();
            proxy(tcp, OPEN).await
        };
        let way = Proxy::url(&format!("http://me:pass%20word@127.0.0.1:{proxy_port}")).unwrap();
        // The name is the proxy's to look up: ours would stall.
        let client = client()
            .proxy(way)
            .resolver(Stalled)
            .tls(certificate.client.clone());
        let talk = async {
            let url = format!("{scheme}://server.example:{port}/");
            let (ws, how) = client.open(&url).await.unwrap();
            assert_eq!(how.proxy, Some(format!("http://127.0.0.1:{proxy_port}")));
            assert!(how.timings.proxy.is_some());
            assert_eq!(ws.transport().unwrap().is_secure(), scheme == "wss");
            talks(ws).await;
        };
        let (head, ()) = tokio::join!(serve, talk);
        assert!(
            head.starts_with(&format!("CONNECT server.example:{port} HTTP/1.1\r\n")),
            "{head}"
        );
        assert!(
            head.contains("Proxy-Authorization: Basic bWU6cGFzcyB3b3Jk\r\n"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn through_a_proxy_that_is_spoken_to_in_tls() {
    let inner = Certificate::of("server.example");
    let outer = Certificate::of("localhost");
    let secure = tls_echo_server(inner.server.clone()).await;
    let plain = echo_server().await;
    let both = Tls::builder()
        .root_pem(inner.pem.as_bytes())
        .and_then(|builder| builder.root_pem(outer.pem.as_bytes()))
        .and_then(|builder| builder.build())
        .unwrap();
    for (scheme, port) in [("wss", secure), ("ws", plain)] {
        let (listener, proxy_port) = listen().await;
        let tls = TlsAcceptor::from(outer.server.clone());
        let serve = async {
            let (tcp, _) = listener.accept().await.unwrap();
            proxy(tls.accept(tcp).await.unwrap(), OPEN).await
        };
        let way = Proxy::url(&format!("https://localhost:{proxy_port}")).unwrap();
        let client = client().proxy(way).tls(both.clone());
        let talk = async {
            let url = format!("{scheme}://server.example:{port}/");
            let ws = client.connect(&url).await.unwrap();
            assert_eq!(ws.transport().unwrap().is_secure(), scheme == "wss");
            talks(ws).await;
        };
        let (head, ()) = tokio::join!(serve, talk);
        assert!(head.starts_with("CONNECT server.example:"), "{head}");
    }
}

#[tokio::test]
async fn what_a_proxy_can_do_wrong_has_its_variant() {
    async fn through(answer: &'static str) -> ConnectError {
        let (listener, port) = listen().await;
        let serve = async {
            let (tcp, _) = listener.accept().await.unwrap();
            proxy(tcp, answer).await
        };
        let way = Proxy::url(&format!("127.0.0.1:{port}")).unwrap();
        let client = client().proxy(way);
        let (error, _) = tokio::join!(client.connect("ws://server.example/"), serve);
        error.unwrap_err()
    }
    let error = through(
        "HTTP/1.1 407 Authenticate\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 4\r\n\r\nwho?",
    )
    .await;
    let ConnectError::ProxyRefused(refused) = &error else {
        panic!("{error:?}");
    };
    assert_eq!((refused.status, &*refused.body), (407, &b"who?"[..]));
    assert!(refused.headers.first("proxy-authenticate").is_some());
    assert!(refused.request.starts_with(b"CONNECT server.example:80 "));
    assert!(!error.is_retryable() && error.stage() == Some(Stage::Proxy));
    assert!(error.to_string().contains("credentials"), "{error}");

    let error = through("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await;
    assert!(
        matches!(&error, ConnectError::ProxyRefused(r) if r.status == 502) && error.is_retryable()
    );
    let error = through("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    assert!(
        matches!(error, ConnectError::ProxyAnswer(HandshakeError::NotHttp)),
        "{error:?}"
    );
    let error = through("HTTP/1.1 200 OK").await;
    assert!(
        matches!(
            &error,
            ConnectError::Io {
                stage: Stage::Proxy,
                ..
            }
        ),
        "{error:?}"
    );
    let error = through("HTTP/1.1 201 OK\r\n\r\nI speak first").await;
    assert!(
        matches!(&error, ConnectError::Io { stage: Stage::Proxy, source }
        if source.kind() == io::ErrorKind::InvalidData),
        "{error:?}"
    );
    assert!(matches!(
        Proxy::url("socks5://127.0.0.1:1"),
        Err(BadProxy::Scheme(_))
    ));
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named_as_the_proxy() {
    let (listener, port) = listen().await;
    drop(listener);
    let client = client().proxy(Proxy::url(&format!("127.0.0.1:{port}")).unwrap());
    let error = client.connect("ws://server.example/").await.unwrap_err();
    assert!(error.is_retryable() && error.stage() == Some(Stage::Tcp));
    let named = format!("the proxy at 127.0.0.1:{port}: ");
    assert!(error.to_string().contains(&named), "{error}");
}

#[tokio::test]
async fn a_proxy_that_says_nothing_is_a_timeout_of_the_proxy() {
    let (listener, port) = listen().await;
    let way = Proxy::url(&format!("127.0.0.1:{port}")).unwrap();
    let client = client()
        .proxy(way)
        .stage_timeout(Stage::Proxy, Duration::from_millis(200));
    let error = client.connect("ws://server.example/").await.unwrap_err();
    assert!(
        matches!(
            error,
            ConnectError::Timeout {
                stage: Stage::Proxy
            }
        ),
        "{error:?}"
    );
    drop(listener);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_a_tls_error_unless_all_are_accepted() {
    let (shown, other) = (Certificate::new(), Certificate::new());
    let port = tls_echo_server(shown.server.clone()).await;
    let url = format!("wss://localhost:{port}/");
    let error = client().tls(other.client).connect(&url).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::Tls { source } if source.get_ref().is_some()),
        "{error:?}"
    );
    assert!(!error.is_retryable() && error.stage() == Some(Stage::Tls));
    assert!(error.to_string().contains("trusted here"), "{error}");

    let by_address = format!("wss://127.0.0.1:{port}/");
    let error = client()
        .tls(shown.client.clone())
        .connect(&by_address)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ConnectError::Tls { .. }),
        "the name counts, too: {error:?}"
    );

    let careless = Tls::builder()
        .danger_accept_invalid_certificates()
        .build()
        .unwrap();
    talks(client().tls(careless).connect(&by_address).await.unwrap()).await;
    talks(client().tls(shown.client).connect(&url).await.unwrap()).await;
}

#[tokio::test]
async fn an_authority_that_serves_with_its_own_certificate_is_told_so() {
    let mut authority = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = authority.self_signed(&key).unwrap().pem();
    let server = tls::server_config_from_pem(pem.as_bytes(), key.serialize_pem().as_bytes());
    let port = tls_echo_server(server.unwrap()).await;
    let trusting = Tls::builder().root_pem(pem.as_bytes()).unwrap().build();
    let client = client().tls(trusting.unwrap());
    let error = client.connect(&format!("wss://localhost:{port}/")).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("basicConstraints=CA:FALSE"), "{error}");
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_gets_it() {
    let server = Certificate::new();
    let me = Certificate::of("me");
    let mut roots = RootCertStore::empty();
    roots
        .add(
            tidegate::rustls::pki_types::pem::PemObject::from_pem_slice(me.pem.as_bytes()).unwrap(),
        )
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
        .build()
        .unwrap();
    let mut config = tidegate::rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![
                tidegate::rustls::pki_types::pem::PemObject::from_pem_slice(server.pem.as_bytes())
                    .unwrap(),
            ],
            tidegate::rustls::pki_types::pem::PemObject::from_pem_slice(server.key.as_bytes())
                .unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let port = tls_echo_server(Arc::new(config)).await;
    let url = format!("wss://localhost:{port}/");
    // TLS 1.3 tells a client only with the first read that its certificate is missed.
    let error = client()
        .tls(server.client.clone())
        .connect(&url)
        .await
        .unwrap_err();
    assert!(
        matches!(error.stage(), Some(Stage::Tls | Stage::Http)),
        "{error:?}"
    );
    let known = Tls::builder()
        .root_pem(server.pem.as_bytes())
        .and_then(|builder| builder.client_certificate_pem(me.pem.as_bytes(), me.key.as_bytes()))
        .and_then(|builder| builder.build())
        .unwrap();
    talks(client().tls(known).connect(&url).await.unwrap()).await;
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_a_tls_error_and_so_is_the_reverse() {
    let certificate = Certificate::new();
    let plain = echo_server().await;
    let url = format!("wss://localhost:{plain}/");
    let error = client()
        .tls(certificate.client.clone())
        .connect(&url)
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    let secure = tls_echo_server(certificate.server).await;
    let error = client()
        .connect(&format!("ws://localhost:{secure}/"))
        .await
        .unwrap_err();
    assert_eq!(error.stage(), Some(Stage::Http), "{error:?}");
}

#[cfg(feature = "deflate")]
#[tokio::test]
async fn compression_is_offered_agreed_on_and_used() {
    let config = Config {
        deflate: Deflate::Shared.into(),
        ..Config::default()
    };
    for (ours, theirs) in [(true, true), (true, false), (false, true)] {
        let (here, there) = duplex(64 << 10);
        let mut client = client();
        let mut acceptor = Acceptor::new();
        if ours {
            client = client.deflate(Deflate::Shared);
        }
        if theirs {
            acceptor = acceptor.config(config.clone());
        }
        let talk = async {
            let mut ws = client.connect_over(here, "ws://a/").await.unwrap();
            assert_eq!(ws.deflate().is_some(), ours && theirs);
            let long = "tidegate ".repeat(10_000);
            ws.try_send(long.clone()).unwrap();
            assert_eq!(ws.queued() < 10_000, ours && theirs, "{}", ws.queued());
            ws.flush().await.unwrap();
            assert_eq!(ws.recv().await.unwrap(), Message::from(long));
            ws.close(CloseCode::NORMAL, "").await
        };
        let (closed, ()) = tokio::join!(talk, echo_one(there, acceptor));
        assert!(closed.clean);
    }
}

/// What a client makes of an answer, whose `Sec-WebSocket-Accept` is made from its key.
async fn answered(client: Client, fields: &str) -> Result<(), ConnectError> {
    let (here, there) = duplex(64 << 10);
    let serve = async {
        let mut io = BufReader::new(there);
        let (mut head, mut accept) = (String::new(), String::new());
        while !head.ends_with("\r\n\r\n") {
            io.read_line(&mut head).await.unwrap();
        }
        for line in head.lines() {
            if let Some(key) = line.strip_prefix("Sec-WebSocket-Key: ") {
                let value = tidegate::tidegate_proto::handshake::key::accept_for(key.as_bytes());
                accept = String::from_utf8(value.to_vec()).unwrap();
            }
        }
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{fields}\r\n"
        );
        io.write_all(answer.as_bytes()).await.unwrap();
        io
    };
    let (connected, _io) = tokio::join!(client.connect_over(here, "ws://a/"), serve);
    connected.map(drop)
}

#[tokio::test]
async fn an_answer_with_what_was_not_offered_has_its_variant() {
    answered(client(), "").await.unwrap();
    let offering = client().subprotocols(["v2", "v1"]).deflate(Deflate::Shared);
    answered(offering.clone(), "Sec-WebSocket-Protocol: v1\r\n")
        .await
        .unwrap();
    let rows = [
        (
            "Sec-WebSocket-Protocol: v3\r\n",
            HandshakeError::SubprotocolNotOffered("v3".into()),
        ),
        (
            "Sec-WebSocket-Protocol: v1, v2\r\n",
            HandshakeError::SubprotocolTwice,
        ),
        (
            "Sec-WebSocket-Extensions: bbf\r\n",
            HandshakeError::ExtensionNotOffered("bbf".into()),
        ),
    ];
    for (fields, expected) in rows {
        let error = answered(offering.clone(), fields).await.unwrap_err();
        assert!(
            matches!(&error, ConnectError::Handshake(got) if *got == expected),
            "{error:?}"
        );
        assert!(!error.is_retryable() && error.stage() == Some(Stage::Http));
    }
    let unasked = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let error = answered(client(), unasked).await.unwrap_err();
    assert!(matches!(
        error,
        ConnectError::Handshake(HandshakeError::ExtensionNotOffered(_))
    ));
    let odd = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=16\r\n";
    let error = answered(offering, odd).await.unwrap_err();
    assert!(matches!(error, ConnectError::Deflate(_)), "{error:?}");
    assert_eq!(error.stage(), Some(Stage::Http));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_goes_silent_is_found_out() {
    let (here, there) = duplex(4 << 10);
    let timeouts = Timeouts {
        ping_interval: Some(Duration::from_secs(20)),
        pong: Duration::from_secs(7),
        ..Timeouts::default()
    };
    let client = client().config(Config {
        timeouts,
        ..Config::default()
    });
    let acceptor = Acceptor::new();
    let (ws, peer) = tokio::join!(client.connect_over(here, "ws://a/"), acceptor.accept(there));
    let (mut ws, _silent) = (ws.unwrap(), peer.unwrap()); // open, and polled by nobody
    let start = Instant::now();
    let closed = ws.recv().await.unwrap_err();
    assert_eq!(closed.cause, Some(ProtocolError::Unresponsive));
    assert!(
        !closed.clean && start.elapsed() < Duration::from_secs(29),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_closes_holds_nobody_up() {
    let (here, there) = duplex(4 << 10);
    let acceptor = Acceptor::new();
    let client = client();
    let (ws, peer) = tokio::join!(client.connect_over(here, "ws://a/"), acceptor.accept(there));
    let (mut ws, _deaf) = (ws.unwrap(), peer.unwrap());
    let start = Instant::now();
    let closed = ws.close(CloseCode::NORMAL, "bye").await;
    assert_eq!((closed.by, closed.clean), (Side::Us, false));
    assert_eq!(closed.cause, Some(ProtocolError::CloseTimeout));
    assert!(
        start.elapsed() <= Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_transport_of_ones_own_sees_the_frames_and_what_came_early() {
    let (listener, port) = listen().await;
    let serve = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let n = tcp.read(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..n]).into_owned();
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
            .unwrap();
        let accept = tidegate::tidegate_proto::handshake::key::accept_for(key.as_bytes());
        let accept = String::from_utf8(accept.to_vec()).unwrap();
        // The answer and the first frame in one write.
        let answer = format!(
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n\u{1}"
        );
        let mut octets = answer.into_bytes();
        octets.pop();
        octets.extend_from_slice(b"\x81\x02hi");
        tcp.write_all(&octets).await.unwrap();
        tcp
    };
    let url = format!("ws://127.0.0.1:{port}/");
    let client = client();
    let mut early = Vec::new();
    let open = client.open_with(&url, |io, octets| {
        early = octets.to_vec();
        tidegate::testing::Faulty::new(io, Default::default())
    });
    let (opened, _tcp) = tokio::join!(open, serve);
    let (mut ws, how) = opened.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Message::from("hi"));
    assert_eq!((how.status, &*early), (101, &b"\x81\x02hi"[..]));
}

#[tokio::test]
async fn tokio_tungstenite_talks_with_our_client_and_our_acceptor() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message as Theirs;

    let (listener, port) = listen().await;
    let theirs = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut ws = tokio_tungstenite::accept_async(tcp).await.unwrap();
        while let Some(Ok(message)) = ws.next().await {
            if message.is_text() || message.is_binary() {
                ws.send(message).await.unwrap();
            }
        }
    });
    let client = client().deflate(Deflate::Shared); // which they decline
    let mut ws = client
        .connect(&format!("ws://127.0.0.1:{port}/"))
        .await
        .unwrap();
    assert!(ws.deflate().is_none());
    for message in [Message::from("text"), Message::from(vec![3; 1 << 20])] {
        ws.send(message.clone()).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), message);
    }
    ws.ping().await.unwrap();
    assert!(ws.close(CloseCode::NORMAL, "bye").await.clean);
    theirs.await.unwrap();

    let port = echo_server().await;
    let url = format!("ws://127.0.0.1:{port}/");
    let (mut ws, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    for message in [Theirs::text("text"), Theirs::binary(vec![3; 1 << 20])] {
        ws.send(message.clone()).await.unwrap();
        assert_eq!(ws.next().await.unwrap().unwrap(), message);
    }
    ws.close(None).await.unwrap();
    while let Some(Ok(_)) = ws.next().await {}
}

/// The environment is the process's: what it does to a connection is seen in one of its own.
#[test]
fn the_environment_names_the_proxy_and_whom_it_is_not_for() {
    const CHILD: &str = "TIDEGATE_TEST_PROXIED_URL";
    if let Ok(url) = std::env::var(CHILD) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(async { talks(tidegate::connect(&url).await.unwrap()).await });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let port = echo_server().await;
        let (listener, proxy_port) = listen().await;
        let seen = tokio::spawn(async move { accept_proxied(listener).await });
        let through = format!("http://127.0.0.1:{proxy_port}");
        let child = |url: String, exempt: &'static str| {
            let through = through.clone();
            tokio::task::spawn_blocking(move || {
                std::process::Command::new(std::env::current_exe().unwrap())
                    .args([
                        "client::the_environment_names_the_proxy_and_whom_it_is_not_for",
                        "--exact",
                    ])
                    .env(CHILD, url)
                    .env("http_proxy", through)
                    .env("no_proxy", exempt)
                    .env_remove("NO_PROXY")
                    .output()
                    .unwrap()
            })
        };
        let direct = child(format!("ws://127.0.0.1:{port}/"), "localhost,127.0.0.0/8")
            .await
            .unwrap();
        assert!(
            direct.status.success(),
            "{}",
            String::from_utf8_lossy(&direct.stderr)
        );
        assert!(!seen.is_finished(), "exempt: the proxy has not been asked");
        let proxied = child(format!("ws://server.example:{port}/"), "localhost")
            .await
            .unwrap();
        assert!(
            proxied.status.success(),
            "{}",
            String::from_utf8_lossy(&proxied.stderr)
        );
        let head = seen.await.unwrap();
        assert!(
            head.starts_with(&format!("CONNECT server.example:{port} ")),
            "{head}"
        );
    });
}

async fn accept_proxied(listener: TcpListener) -> String {
    let (tcp, _) = listener.accept().await.unwrap();
    proxy(tcp, OPEN).await
}
