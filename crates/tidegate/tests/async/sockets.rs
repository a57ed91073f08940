//! `connect` and `accept` on loopback sockets, plain and with TLS.

use std::sync::Arc;
use std::time::Duration;
use tidegate::client::Stage;
use tidegate::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tidegate::tidegate_proto::Side;
use tidegate::{Acceptor, Client, CloseCode, ConnectError, Message, tls};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A server's settings for `localhost`, and a client's that trust it.
fn certificate() -> (Arc<ServerConfig>, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let server = tls::server_config_from_pem(pem.as_bytes(), key.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, client)
}

#[tokio::test]
async fn messages_go_over_tcp_and_the_server_closes_it_first() {
    let (listener, port) = listen().await;
    let serve = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut ws = Acceptor::new().accept(tcp).await.unwrap();
        while let Ok(message) = ws.recv().await {
            ws.send(message).await.unwrap();
        }
        ws.closed().cloned().unwrap()
    };
    let talk = async {
        let url = format!("ws://localhost:{port}/");
        let mut ws = tidegate::connect(&url).await.unwrap();
        assert!(ws.transport().unwrap().tcp().unwrap().nodelay().unwrap());
        for message in [Message::from("text"), Message::from(vec![5; 1 << 20])] {
            ws.send(message.clone()).await.unwrap();
            assert_eq!(ws.recv().await.unwrap(), message);
        }
        ws.close(CloseCode::NORMAL, "done").await
    };
    let (seen, closed) = tokio::join!(serve, talk);
    assert_eq!(
        (seen.by, seen.clean, &*seen.reason),
        (Side::Peer, true, "done")
    );
    assert_eq!((closed.by, closed.clean), (Side::Us, true));
}

#[tokio::test]
async fn messages_go_over_tls_with_own_roots() {
    let (listener, port) = listen().await;
    let (server, client) = certificate();
    let serve = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let io = TlsAcceptor::from(server).accept(tcp).await.unwrap();
        let mut ws = Acceptor::new().secure(true).accept(io).await.unwrap();
        let message = ws.recv().await.unwrap();
        ws.send(message).await.unwrap();
        ws.recv().await.unwrap_err()
    };
    let talk = async {
        let url = format!("wss://localhost:{port}/");
        let mut ws = Client::new().tls(client).connect(&url).await.unwrap();
        assert!(ws.transport().unwrap().is_secure());
        let big = Message::from(vec![6; 300_000]);
        ws.send(big.clone()).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), big);
        ws.close(CloseCode::NORMAL, "").await
    };
    let (seen, closed) = tokio::join!(serve, talk);
    assert!(seen.clean && closed.clean, "{seen:?} {closed:?}");
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_fails_the_tls_stage_for_good() {
    let (listener, port) = listen().await;
    let (server, _) = certificate();
    let (_, other) = certificate();
    let serve = async {
        let (tcp, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(server).accept(tcp).await.is_err()
    };
    let url = format!("wss://localhost:{port}/");
    let client = Client::new().tls(other);
    let (failed, connected) = tokio::join!(serve, client.connect(&url));
    let error = connected.unwrap_err();
    assert!(failed && error.stage() == Some(Stage::Tls), "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_closed_port_and_a_silent_one_have_their_stages() {
    let (listener, port) = listen().await;
    let client = Client::new().timeout(Duration::from_millis(500));
    let url = format!("wss://127.0.0.1:{port}/");
    let error = client
        .clone()
        .tls(certificate().1)
        .connect(&url)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ConnectError::Timeout { stage: Stage::Tls }),
        "{error:?}"
    );
    let url = format!("ws://127.0.0.1:{port}/");
    let error = client.connect(&url).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Timeout { stage: Stage::Http }),
        "{error:?}"
    );
    drop(listener);
    let error = client.connect(&url).await.unwrap_err();
    assert!(
        matches!(
            &error,
            ConnectError::Io {
                stage: Stage::Tcp,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.is_retryable());
}
