//! On the way to a server: certificates, credentials, proxies, and what is said along.

use crate::support::{back, connect, end, server, sockets, spawn};
use rcgen::CertifiedKey;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use tidegate::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio_rustls::TlsAcceptor;

/// A wss echo, and the PEM of its certificate.
fn secure_echo() -> (SocketAddr, String) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a certificate");
    let tls = TlsAcceptor::from(Arc::new(config));
    let address = sockets(async move |_, tcp| {
        let Ok(io) = tls.accept(tcp).await else {
            return;
        };
        let Ok(ws) = Acceptor::new().secure(true).accept(io).await else {
            return;
        };
        back(ws).await;
    });
    (address, cert.pem())
}

#[test]
fn a_certificate_must_be_trusted_unless_any_is_fine() {
    let (address, pem) = secure_echo();
    let url = format!("wss://localhost:{}/", address.port());
    let ended = connect(&["-1", "-m", "hi", &url], b"");
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        ended.stderr.contains("TLS handshake failed"),
        "{}",
        ended.stderr
    );

    let ended = connect(&["-k", "-1", "-m", "hi", &url], b"");
    assert_eq!(
        (ended.code, ended.text()),
        (Some(0), "hi\n"),
        "{}",
        ended.stderr
    );

    let file = std::env::temp_dir().join(format!("tidegate-connect-{}.pem", std::process::id()));
    std::fs::write(&file, pem).expect("a file");
    let path = file.to_str().expect("UTF-8");
    let ended = connect(&["--cacert", path, "-1", "-v", "-m", "hi", &url], b"");
    std::fs::remove_file(&file).expect("a file");
    assert_eq!(
        (ended.code, ended.text()),
        (Some(0), "hi\n"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("TLS"), "{}", ended.stderr);
}

/// Tells the heads of handshakes.
fn listening() -> (SocketAddr, mpsc::Receiver<String>) {
    let (tell, heads) = mpsc::channel();
    let address = server(
        Acceptor::new().subprotocols(["v2", "v1"]),
        move |_, opening| {
            let head = String::from_utf8_lossy(opening.request().head()).into_owned();
            tell.send(head).expect("the test waits");
            async { back(opening.accept().await.expect("accepted")).await }
        },
    );
    (address, heads)
}

#[test]
fn what_is_given_is_said_in_the_handshake() {
    let (address, heads) = listening();
    let token = std::env::temp_dir().join(format!("tidegate-connect-{}.token", std::process::id()));
    std::fs::write(&token, "hush\n").expect("a file");
    let from_file = format!("X-Token: @{}", token.display());
    let url = format!("ws://{address}/a?b=c");
    let flags = [
        "-H",
        "X-One: 1",
        "-H",
        &from_file,
        "-o",
        &format!("http://{address}"),
        "-p",
        "v1,v3",
        "-u",
        "me:open: sesame",
        "-1",
        "-v",
        "-m",
        "x",
        &url,
    ];
    let ended = connect(&flags, b"");
    std::fs::remove_file(&token).expect("a file");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("subprotocol v1"), "{}", ended.stderr);
    let head = heads.recv().expect("a head");
    for line in [
        "GET /a?b=c HTTP/1.1",
        "X-One: 1",
        "X-Token: hush",
        &format!("Origin: http://{address}"),
        "Sec-WebSocket-Protocol: v1, v3",
        "Authorization: Basic bWU6b3Blbjogc2VzYW1l",
    ] {
        assert!(
            head.lines().any(|l| l.eq_ignore_ascii_case(line)),
            "{line}: {head}"
        );
    }
}

#[test]
fn secrets_may_come_from_the_environment() {
    let (address, heads) = listening();
    let output = crate::support::command()
        .args(["connect", "-1", "-m", "x", &format!("ws://{address}/")])
        .env("TIDEGATE_CONNECT_BEARER", "hush")
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", crate::support::said(&output));
    assert!(
        heads
            .recv()
            .expect("a head")
            .contains("Authorization: Bearer hush\r\n")
    );
    let help = crate::support::command()
        .args(["connect", "--help"])
        .env("TIDEGATE_CONNECT_BEARER", "hush")
        .output()
        .expect("it runs");
    assert!(!String::from_utf8_lossy(&help.stdout).contains("hush"));
}

/// An HTTP proxy that wants a password; it tells whom it was asked for.
fn proxy() -> (SocketAddr, mpsc::Receiver<String>) {
    let (tell, asked) = mpsc::channel();
    let address = sockets(async move |_, mut tcp| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if tcp.read_buf(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if !head.contains("Proxy-Authorization: Basic bWU6aHVzaA==") {
            let no = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
            let _ = tcp.write_all(no).await;
            return;
        }
        tell.send(target.clone()).expect("the test waits");
        let mut to = tokio::net::TcpStream::connect(target)
            .await
            .expect("a server");
        tcp.write_all(b"HTTP/1.1 200 Yes\r\n\r\n")
            .await
            .expect("a client");
        let _ = copy_bidirectional(&mut tcp, &mut to).await;
    });
    (address, asked)
}

#[test]
fn a_proxy_is_gone_through_with_its_credentials() {
    let (address, _heads) = listening();
    let (proxy, asked) = proxy();
    let url = format!("ws://{address}/");
    let ended = connect(
        &[
            "-x",
            &format!("http://me:hush@{proxy}"),
            "-1",
            "-v",
            "-m",
            "x",
            &url,
        ],
        b"",
    );
    assert_eq!(
        (ended.code, ended.text()),
        (Some(0), "x\n"),
        "{}",
        ended.stderr
    );
    assert_eq!(asked.recv().expect("a target"), address.to_string());
    assert!(
        ended.stderr.contains("through") && !ended.stderr.contains("hush"),
        "{}",
        ended.stderr
    );

    let ended = connect(&["-x", &format!("http://{proxy}"), &url], b"");
    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.contains("407"), "{}", ended.stderr);
    assert_eq!(
        end(spawn(&["--no-proxy", "-m", "x", "-1", &url])).code,
        Some(0)
    );
}
