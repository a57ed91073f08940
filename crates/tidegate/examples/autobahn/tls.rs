//! TLS settings of both ends, from a certificate made for one run; never trusts anything but that one.

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

/// The name the certificate is for, and the client asks for.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a DNS name")
}

/// Writes `cert.pem` and `key.pem`, a fresh pair for localhost.
pub(crate) fn write_certificate(folder: &Path) -> Result<(), Box<dyn Error>> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    std::fs::write(folder.join(CERTIFICATE), made.cert.pem())?;
    std::fs::write(folder.join(KEY), made.signing_key.serialize_pem())?;
    Ok(())
}

/// A server that shows the pair in `folder`.
pub(crate) fn server(folder: &Path) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
    Ok(tidegate::tls::server_config(&certificate, &key)?)
}

/// A client that trusts the certificate in the file `root` and no other.
pub(crate) fn client(root: &Path) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root)?)?;
    let mut config = ClientConfig::builder_with_provider(tidegate::tls::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";
