//! T1 to T3, H16: upstreams behind TLS are verified, clients too where it is asked; other machines need TLS.

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
    open_with(guard, roots, own).map(|(_, status)| status)
}

type Secured = StreamOwned<ClientConnection, std::net::TcpStream>;

/// The same, and the stream.
fn open_with(guard: &Guard, roots: &str, own: Option<&(String, String)>) -> Option<(Secured, u16)> {
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
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((stream, status))
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

/// A root of clients' certificates.
struct Root(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Root {
    fn new(name: &str) -> Root {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        let key = rcgen::KeyPair::generate().expect("a key");
        Root(rcgen::CertifiedIssuer::self_signed(params, key).expect("a root"))
    }

    /// A client's certificate with this serial, good until the end of that year, and its key.
    fn client(&self, serial: u64, until: i32) -> (String, String) {
        let mut params =
            rcgen::CertificateParams::new(vec!["client.example".to_owned()]).expect("a name");
        params.serial_number = Some(serial.into());
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 12, 31);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, self.issuer()).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }

    fn issuer(&self) -> &rcgen::Issuer<'static, rcgen::KeyPair> {
        &self.0
    }

    /// The list that says these serials are revoked.
    fn revokes(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| rcgen::RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(2099, 1, 1),
            crl_number: rcgen::SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = list.signed_by(self.issuer()).expect("signed");
        list.pem().expect("PEM")
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
    let mut inside = open_with(&guard, &own.0, Some(&good)).expect("let in").0;
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
    inside
        .write_all(&masked(TEXT, b"still here"))
        .expect("open");
    let echo = read_frame(&mut inside).expect("open").expect("a frame");
    assert_eq!(echo.payload, b"still here");
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
