//! Clients that show a certificate, and the roots that vouch for them.

use super::client::{Ask, Client};
use super::guard::{Guard, Scratch};
use super::wire::{CLOSE, Frame, TEXT, masked, read_frame, read_head};
use rcgen::SanType;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A certificate and its key, in PEM.
pub(crate) type Pair = (String, String);

/// A guard's own.
pub(crate) struct Own {
    pub(crate) pair: Pair,
    files: [Scratch; 2],
}

impl Own {
    /// For localhost.
    pub(crate) fn new() -> Own {
        Own::called("localhost")
    }

    pub(crate) fn called(name: &str) -> Own {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]);
        let made = made.expect("a certificate");
        let pair = (made.cert.pem(), made.signing_key.serialize_pem());
        let files = [
            Scratch::new("own.pem", &pair.0),
            Scratch::new("own.key", &pair.1),
        ];
        Own { pair, files }
    }

    /// The flags that show it.
    pub(crate) fn flags(&self) -> [&str; 4] {
        let [certificate, key] = &self.files;
        ["--tls-cert", certificate.path(), "--tls-key", key.path()]
    }
}

/// A root of clients' certificates.
pub(crate) struct Root(pub(crate) rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Root {
    pub(crate) fn new(name: &str) -> Root {
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
    pub(crate) fn client(&self, serial: u64, until: i32) -> Pair {
        let names = vec![SanType::DnsName(
            "client.example".try_into().expect("a name"),
        )];
        self.sign(serial, names, |params| {
            params.not_after = rcgen::date_time_ymd(until, 12, 31);
        })
    }

    /// A client's certificate with these URIs and no other name.
    pub(crate) fn called(&self, serial: u64, uris: &[&str]) -> Pair {
        self.sign(serial, spelled(uris), |_| {})
    }

    /// One that is good for so long from now on.
    pub(crate) fn called_for(&self, uri: &str, span: Duration) -> Pair {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let end = now.expect("after 1970") + span;
        self.sign(1, spelled(&[uri]), |params| {
            params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
        })
    }

    fn sign(
        &self,
        serial: u64,
        names: Vec<SanType>,
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> Pair {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.subject_alt_names = names;
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "spiffe://example.org/admin");
        params.serial_number = Some(serial.into());
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        change(&mut params);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, self.issuer()).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }

    fn issuer(&self) -> &rcgen::Issuer<'static, rcgen::KeyPair> {
        &self.0
    }

    /// The list that says these serials are revoked.
    pub(crate) fn revokes(&self, serials: &[u64]) -> String {
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

fn spelled(uris: &[&str]) -> Vec<SanType> {
    let each = uris.iter();
    each.map(|uri| SanType::URI((*uri).try_into().expect("ASCII")))
        .collect()
}

/// A client over TLS, and the head it was answered with.
pub(crate) struct Secured {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
    pub(crate) head: String,
}

impl Secured {
    pub(crate) fn status(&self) -> u16 {
        let status = self.head.split(' ').nth(1);
        status.and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Asks again on the same connection.
    pub(crate) fn ask(&mut self, ask: &Ask) -> u16 {
        self.stream.write_all(&ask.octets()).expect("open");
        self.head = read_head(&mut self.stream).expect("an answer");
        self.status()
    }

    pub(crate) fn frame(&mut self) -> Frame {
        let frame = read_frame(&mut self.stream).expect("open");
        frame.expect("a frame")
    }

    /// What comes back of a text.
    pub(crate) fn echoed(&mut self, text: &[u8]) -> Vec<u8> {
        self.stream.write_all(&masked(TEXT, text)).expect("open");
        self.frame().payload
    }

    /// The code and the reason of the Close that comes next.
    pub(crate) fn close(&mut self) -> (u16, String) {
        let frame = self.frame();
        assert_eq!(frame.opcode(), CLOSE, "{frame:?}");
        let reason = String::from_utf8_lossy(&frame.payload[2..]).into_owned();
        (frame.code(), reason)
    }
}

/// The status of a right request over TLS, with this certificate and key to show; `None` when there was no connection.
pub(crate) fn ask_with(guard: &Guard, roots: &str, own: Option<&Pair>) -> Option<u16> {
    open_with(guard, roots, own).map(|client| client.status())
}

/// The same, and the client.
pub(crate) fn open_with(guard: &Guard, roots: &str, own: Option<&Pair>) -> Option<Secured> {
    asked_with(guard, roots, own, &Ask::new(guard.address, "/"))
}

/// The same with a request of one's own. It goes out right behind the handshake, in the same write.
pub(crate) fn asked_with(
    guard: &Guard,
    roots: &str,
    own: Option<&Pair>,
    ask: &Ask,
) -> Option<Secured> {
    let config = config(roots, own);
    let name = ServerName::try_from("localhost").expect("a name");
    let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
    session.writer().write_all(&ask.octets()).expect("room");
    let socket = Client::connect(guard.address).stream;
    let mut stream = StreamOwned::new(session, socket);
    stream.flush().ok()?;
    let head = read_head(&mut stream).ok()?;
    (!head.is_empty()).then_some(Secured { stream, head })
}

/// What a client goes by that trusts these roots, and shows this certificate and key.
pub(crate) fn config(roots: &str, own: Option<&Pair>) -> ClientConfig {
    let mut store = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(roots.as_bytes()).expect("PEM");
    store.add(root).expect("a root");
    let builder = ClientConfig::builder_with_provider(tidegate::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(store);
    match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    }
}
