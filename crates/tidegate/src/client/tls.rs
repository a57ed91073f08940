//! TLS around a client's TCP connection; it never touches the process-wide default of rustls.

use super::error::{ConnectError, Stage};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The TLS handshake with `host`, which the certificate must be for.
pub(super) async fn open(
    config: Option<Arc<ClientConfig>>,
    host: &str,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let config = match config {
        Some(config) => config,
        None => platform()?,
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| ConnectError::TlsSettings(format!("{host:?}: {error}")))?;
    let opening = TlsConnector::from(config).connect(name, tcp);
    opening.await.map_err(|source| ConnectError::Io {
        stage: Stage::Tls,
        source,
    })
}

/// Settings with the system's roots, read once: that takes milliseconds.
fn platform() -> Result<Arc<ClientConfig>, ConnectError> {
    static PLATFORM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = PLATFORM.get() {
        return Ok(config.clone());
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let first = found.errors.first().map(|error| format!(" ({error})"));
        return Err(ConnectError::TlsSettings(format!(
            "this system has no root certificates{}: install them, or give own ones with Client::tls",
            first.unwrap_or_default()
        )));
    }
    let mut config = ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::TlsSettings(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(PLATFORM.get_or_init(|| Arc::new(config)).clone())
}
