//! https and wss with `--dev-cert`, met by a rustls client that checks the certificate's names.

use crate::support::connect;
use crate::support::http;
use crate::support::process::Server;
use crate::support::ws::{BINARY, TEXT, Ws};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Trusts whichever certificate is shown, as its own root, but checks its names, dates and signature.
#[derive(Debug)]
struct ShownIsRoot(Arc<CryptoProvider>);

impl ServerCertVerifier for ShownIsRoot {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(shown.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(roots.into(), self.0.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(shown, rest, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

pub(crate) fn dial(server: &Server, name: &str) -> Tls {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ShownIsRoot(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    StreamOwned::new(session, connect(server.address))
}

#[test]
fn the_development_certificate_serves_the_page_under_all_our_names() {
    let server = Server::start(&["--dev-cert"]);
    assert_eq!(
        server.line,
        format!("Tidegate is live: https://{}/\n", server.address)
    );
    for name in ["localhost", "127.0.0.1", "::1"] {
        let mut stream = dial(&server, name);
        for path in ["/", "/nowhere"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let answer = http::exchange(&mut stream, request.as_bytes(), false);
            assert_eq!(
                answer.status,
                if path == "/" { 200 } else { 404 },
                "{name}{path}"
            );
        }
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
}

#[test]
fn wss_carries_echo_and_hub() {
    let server = Server::start(&["--dev-cert", "--workers", "2"]);
    let origin = "Host: localhost\r\nOrigin: https://localhost\r\n";
    let mut echo = Ws::over(dial(&server, "localhost"), "/echo", origin).expect("accepted");
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| (n >> 3) as u8).collect();
    echo.send(BINARY, &large);
    assert!(echo.expect().payload == large);
    echo.send(TEXT, b"short");
    assert_eq!(echo.expect().text(), "short");

    let mut hub =
        Ws::over(dial(&server, "localhost"), "/connection/websocket", origin).expect("accepted");
    assert!(hub.ask(1, "connect", json!({}))["client"].is_string());
}

#[test]
fn plain_http_on_the_tls_port_is_answered_not_hung() {
    let server = Server::start(&["--dev-cert"]);
    let mut stream = connect(server.address);
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("sent");
    let mut said = Vec::new();
    // It may end with a reset, as our request may not have been read to its end.
    let _ = stream.read_to_end(&mut said);
    assert!(
        said.starts_with(b"HTTP/1.1 400 ") || said.starts_with(&[0x15, 3]),
        "{said:?}"
    );
}
