//! T1 to T3, H16: upstreams behind TLS are verified, clients too where it is asked; other machines need TLS.

use crate::support::client::{Ask, Client};
use crate::support::guard::{Guard, Scratch};
use crate::support::mutual::{Root, ask_with, open_with};
use crate::support::upstream::Upstream;
use crate::support::wire::{TEXT, masked, read_frame};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use tidegate::rustls::{ServerConnection, StreamOwned};

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

#[test]
fn t1_who_speaks_only_tls_1_1_gets_an_alert() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = Scratch::new("t1-own.pem", &own.cert.pem());
    let key = Scratch::new("t1-own.key", &own.signing_key.serialize_pem());
    let upstream = Upstream::echo();
    let flags = ["--tls-cert", certificate.path(), "--tls-key", key.path()];
    let guard = Guard::start(&upstream.url(), None, &flags);
    // A ClientHello as RFC 4346 has it: version 3.2, one suite, no compression, one extension (a curve).
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xC0, 0x14, 1, 0]);
    body.extend([0, 8, 0, 10, 0, 4, 0, 2, 0, 23]);
    let mut hello = vec![
        0x16,
        3,
        1,
        0,
        body.len() as u8 + 4,
        1,
        0,
        0,
        body.len() as u8,
    ];
    hello.extend(body);
    let mut client = Client::connect(guard.address);
    client.send(&hello);
    let answer = client.rest();
    assert_eq!(answer.first(), Some(&0x15), "an alert: {answer:?}");
    assert_eq!(answer.get(5), Some(&2), "a fatal one");
    assert_eq!(upstream.seen.now().connections, 0);
}

#[test]
fn t3_compression_is_declined_unless_a_policy_wants_it() {
    let upstream = Upstream::echo();
    for (policy, agreed) in [("", false), ("[compression]\ndeflate = \"on\"\n", true)] {
        let guard = Guard::with_policy(&upstream.url(), policy);
        let ask =
            Ask::new(guard.address, "/").with("Sec-WebSocket-Extensions", "permessage-deflate");
        let client = Client::opened(guard.address, &ask);
        let said = crate::support::wire::field(&client.head, "sec-websocket-extensions");
        assert_eq!(said.is_some(), agreed, "{}", client.head);
    }
}

#[test]
fn t2_revoked_and_expired_certificates_get_no_connection_and_a_reload_changes_who_does() {
    let (root, other) = (Root::new("one"), Root::new("two"));
    let (good, revoked, late) = (
        root.client(7, 2090),
        root.client(8, 2090),
        root.client(9, 2021),
    );
    let stranger = other.client(7, 2090);
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let own = (own.cert.pem(), own.signing_key.serialize_pem());
    let [certificate, key, roots, list] = [
        ("t2-own.pem", own.0.clone()),
        ("t2-own.key", own.1.clone()),
        ("t2-roots.pem", root.0.pem()),
        ("t2-list.pem", root.revokes(&[8])),
    ]
    .map(|(name, text)| Scratch::new(name, &text));
    let upstream = Upstream::echo();
    let flags = ["--tls-cert", certificate.path(), "--tls-key", key.path()];
    let more = [
        "--tls-client-ca",
        roots.path(),
        "--tls-client-crl",
        list.path(),
    ];
    let guard = Guard::start(&upstream.url(), Some(""), &[flags, more].concat());
    let asked = |pair: &(String, String)| ask_with(&guard, &own.0, Some(pair));
    assert_eq!(asked(&good), Some(101));
    for (who, pair) in [
        ("revoked", &revoked),
        ("expired", &late),
        ("stranger", &stranger),
    ] {
        assert_eq!(asked(pair), None, "{who}");
    }
    // A connection that is open stays while everything changes around it.
    let mut inside = open_with(&guard, &own.0, Some(&good)).expect("let in");
    let write = |file: &Scratch, text: &str| std::fs::write(file.path(), text).expect("a file");
    write(&list, "no list");
    guard.reload("");
    guard.said(&["policy not reloaded"]);
    assert_eq!(asked(&good), Some(101), "the old ones stay in force");
    write(&list, &root.revokes(&[7, 8]));
    guard.reload("");
    while asked(&good).is_some() {}
    write(&roots, &other.0.pem());
    write(&list, &other.revokes(&[]));
    guard.reload("");
    while asked(&stranger).is_none() {}
    assert_eq!(asked(&good), None);
    assert_eq!(inside.echoed(b"still here"), b"still here");
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
