//! A TLS client on rustls, and a certificate for both sides.

use super::Client;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// A server's settings with a fresh certificate for localhost, and a client's that trust it.
pub(crate) fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let server = tidegate::tls::server_config_from_pem(certificate.as_bytes(), key.as_bytes());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM"))
        .expect("a root");
    let mut client = ClientConfig::builder_with_provider(tidegate::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    (server.expect("a config"), Arc::new(client))
}

pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn connect(addr: SocketAddr, config: Arc<ClientConfig>) -> Client<TlsStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(config, name).expect("a session");
    Client(StreamOwned::new(session, super::connect(addr)))
}

/// Reads without writing first what it could not write before, which rustls' own stream insists on.
pub(crate) struct ReadsFirst(pub(crate) TlsStream);

impl Read for ReadsFirst {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.conn.reader().read(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.0.conn.read_tls(&mut self.0.sock)?;
            self.0
                .conn
                .process_new_packets()
                .map_err(io::Error::other)?;
        }
    }
}

impl Write for ReadsFirst {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
