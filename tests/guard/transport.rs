//! T1, T2, H16: upstreams behind TLS are verified, clients too where it is asked; other machines need TLS.

use crate::support::client::{Ask, Client};
use crate::support::guard::{Guard, Scratch};
use crate::support::upstream::Upstream;
use crate::support::wire::{TEXT, masked, read_frame};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use tidegate::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConnection, StreamOwned,
};

/// One right handshake and one echo over TLS, for each caller; its address and its certificate.
fn behind_tls() -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let config = tidegate::tls::server_config_from_pem(certificate.as_bytes(), key.as_bytes());
    let config = config.expect("settings");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
            let mut stream = StreamOwned::new(session, stream);
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut octet = [0];
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut octet) {
                        Ok(1) => head.push(octet[0]),
                        _ => return,
                    }
                }
                let head = String::from_utf8(head).expect("text");
                let key = crate::support::wire::field(&head, "sec-websocket-key").expect("a key");
                let accept = crate::support::sha1::accept(key);
                let answer = format!(
                    "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {accept}\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).expect("it is taken");
                while let Ok(Some(frame)) = read_frame(&mut stream) {
                    let echo = crate::support::wire::frame(frame.first, None, &frame.payload);
                    if stream.write_all(&echo).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, certificate)
}

#[test]
fn t1_an_upstream_is_verified_and_a_self_signed_one_is_a_502() {
    let (address, certificate) = behind_tls();
    let url = format!("wss://localhost:{}", address.port());
    let ca = Scratch::new("ca.pem", &certificate);
    let trusting = Guard::start(&url, None, &["--upstream-ca", ca.path()]);
    let mut client = Client::open(trusting.address);
    client.send(&masked(TEXT, b"through TLS"));
    assert_eq!(client.frame().payload, b"through TLS");
    let (_, strange) = behind_tls();
    let strange = Scratch::new("strange.pem", &strange);
    let distrusting = Guard::start(&url, None, &["--upstream-ca", strange.path()]);
    let ask = Ask::new(distrusting.address, "/");
    assert_eq!(Client::ask(distrusting.address, &ask).status(), 502);
}

/// The status of a right request over TLS, with this certificate and key to show.
fn ask_with(guard: &Guard, roots: &str, own: Option<&(String, String)>) -> Option<u16> {
    let mut store = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(roots.as_bytes()).expect("PEM");
    store.add(root).expect("a root");
    let builder = ClientConfig::builder_with_provider(tidegate::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(store);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let socket = Client::connect(guard.address).stream;
    let mut stream = StreamOwned::new(session, socket);
    stream
        .write_all(&Ask::new(guard.address, "/").octets())
        .ok()?;
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut octet) {
            Ok(1) => head.push(octet[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8(head).ok()?;
    head.split(' ').nth(1)?.parse().ok()
}

#[test]
fn t2_who_shows_no_certificate_that_is_vouched_for_gets_no_connection() {
    let pair = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let (own, known, stranger) = (pair(), pair(), pair());
    let [certificate, key, roots] = [
        ("own.pem", &own.0),
        ("own.key", &own.1),
        ("known.pem", &known.0),
    ]
    .map(|(name, text)| Scratch::new(name, text));
    let upstream = Upstream::echo();
    let flags = ["--tls-cert", certificate.path(), "--tls-key", key.path()];
    let flags = [&flags[..], &["--tls-client-ca", roots.path()]].concat();
    let guard = Guard::start(&upstream.url(), None, &flags);
    assert_eq!(ask_with(&guard, &own.0, None), None);
    assert_eq!(ask_with(&guard, &own.0, Some(&stranger)), None);
    assert_eq!(ask_with(&guard, &own.0, Some(&known)), Some(101));
    assert_eq!(upstream.seen.now().connections, 1);
}

/// This machine's own address on its network; nothing is sent to find it.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn h16_other_machines_need_tls_and_are_not_redirected() {
    let upstream = Upstream::echo();
    let Some(own) = own_address() else {
        return eprintln!("this machine has no address but loopback: H16 was not tried");
    };
    let policy = |allow: bool| format!("[server]\nhosts = [\"*\"]\nallow_plain = {allow}\n");
    let flags = ["--listen", "0.0.0.0:0", "--allow-plain"];
    for (allow, status) in [(false, 403), (true, 101)] {
        let guard = Guard::start(&upstream.url(), Some(&policy(allow)), &flags);
        let address = SocketAddr::new(own, guard.address.port());
        let client = Client::ask(address, &Ask::new(address, "/"));
        assert_eq!(client.status(), status, "{}", client.head);
    }
}
