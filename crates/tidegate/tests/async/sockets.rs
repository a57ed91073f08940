//! `connect` and `accept` on loopback sockets, plain and with TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidegate::client::Stage;
use tidegate::rustls::crypto::CryptoProvider;
use tidegate::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tidegate::tidegate_proto::Side;
use tidegate::tidegate_proto::handshake::Refusal;
use tidegate::{Acceptor, Client, CloseCode, ConnectError, Message, tls};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
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
        // Whatever the program wants to be the default of its process is for the program to say.
        assert!(CryptoProvider::get_default().is_none());
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

/// Calls that come all at once.
const CALLS: usize = 6;

/// The most handshakes that a server saw begun and not answered, over so many calls of the clones of `client`. It
/// refuses every third. With `together` it answers none before all have begun.
async fn most_at_once(client: Client, together: bool) -> usize {
    let (listener, port) = listen().await;
    let url = format!("ws://127.0.0.1:{port}/");
    let call = |n: usize| {
        let (client, url) = (client.clone(), format!("{url}{n}"));
        tokio::spawn(async move { client.connect(&url).await.is_ok() })
    };
    let calls: Vec<_> = (0..CALLS).map(call).collect();
    let (begun, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let all = Arc::new(Barrier::new(CALLS));
    let answer = |n: usize, tcp: TcpStream| {
        let (begun, most, all) = (begun.clone(), most.clone(), all.clone());
        most.fetch_max(begun.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::spawn(async move {
            let opening = Acceptor::new().receive(tcp).await.unwrap();
            if together {
                all.wait().await;
            }
            // The next one may begin as soon as the client has read the answer, so this one is over before.
            begun.fetch_sub(1, Ordering::SeqCst);
            match n % 3 {
                0 => opening.reject(&Refusal::new(503, "busy")).await,
                _ => drop(opening.accept().await),
            }
        })
    };
    let mut answers = Vec::new();
    for n in 0..CALLS {
        answers.push(answer(n, listener.accept().await.unwrap().0));
    }
    let mut connected = 0;
    for call in calls {
        connected += usize::from(call.await.unwrap());
    }
    assert_eq!(connected, CALLS - CALLS.div_ceil(3));
    for answer in answers {
        answer.await.unwrap();
    }
    most.load(Ordering::SeqCst)
}

#[tokio::test]
async fn handshakes_with_one_server_follow_each_other_when_asked_to() {
    let client = Client::new();
    assert_eq!(most_at_once(client.clone(), true).await, CALLS);
    assert_eq!(most_at_once(client.one_at_a_time(true), false).await, 1);
}

#[tokio::test]
async fn the_wait_for_a_turn_counts_against_the_time_of_the_call() {
    let (listener, port) = listen().await;
    let url = format!("ws://127.0.0.1:{port}/");
    let client = Client::new().one_at_a_time(true);
    let first = {
        let (client, url) = (client.clone(), url.clone());
        tokio::spawn(async move { client.connect(&url).await })
    };
    let _unanswered = listener.accept().await.unwrap();
    let hasty = client.clone().timeout(Duration::from_millis(200));
    let error = hasty.connect(&url).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Timeout { stage: Stage::Tcp }),
        "{error:?}"
    );
    first.abort(); // and whoever is dropped passes the turn on
    assert!(first.await.is_err());
    let serve = async {
        let (tcp, _) = listener.accept().await.unwrap();
        Acceptor::new().accept(tcp).await.unwrap()
    };
    let (_server, connected) = tokio::join!(serve, client.connect(&url));
    connected.unwrap();
}
