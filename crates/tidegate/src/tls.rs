//! TLS settings of a server from PEM files, and what a client's share with them; never touches the process-wide default of rustls.

use crate::error::TlsError;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Settings for `wss` from a certificate chain (the server's own first) and its private key, both PEM.
///
/// TLS 1.2 and 1.3, ALPN `http/1.1`, session tickets so that a storm of reconnects is cheap.
///
/// # Errors
/// [`TlsError`] names the file and what is wrong with it.
pub fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    build(certificate, &read(certificate)?, key, &read(key)?, None)
}

/// As [`server_config`], and who connects must show a certificate that `clients` takes: without one there is no connection.
/// No session is resumed, since a resumed one shows no certificate that could have been revoked meanwhile.
///
/// # Errors
/// As [`server_config`].
pub fn server_config_for_clients(
    certificate: &Path,
    key: &Path,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, TlsError> {
    build(
        certificate,
        &read(certificate)?,
        key,
        &read(key)?,
        Some(clients),
    )
}

/// Takes clients' certificates for which one of these roots (PEM) vouches, unless a list (CRL, PEM) says that one was revoked.
/// Where there are lists, each root needs one: a certificate of which nobody says whether it was revoked is refused.
///
/// # Errors
/// [`TlsError`] names the file and what is wrong with it.
pub fn client_verifier(
    roots: &Path,
    revoked: &[PathBuf],
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut store = RootCertStore::empty();
    let bad = |file: &Path, detail: String| TlsError::BadCertificate {
        file: file.into(),
        detail,
    };
    for root in parse_chain(roots, &read(roots)?)? {
        store
            .add(root)
            .map_err(|error| bad(roots, error.to_string()))?;
    }
    let mut lists = Vec::new();
    for file in revoked {
        let pem = read(file)?;
        let before = lists.len();
        for list in CertificateRevocationListDer::pem_slice_iter(&pem) {
            lists.push(list.map_err(|error| bad(file, error.to_string()))?);
        }
        if lists.len() == before {
            return Err(bad(
                file,
                "it holds no list of revoked certificates".to_owned(),
            ));
        }
    }
    let files = revoked.first().map_or(roots, PathBuf::as_path);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider())
        .with_crls(lists)
        .build()
        .map_err(|error| bad(files, error.to_string()))?;
    Ok(verifier)
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|source| TlsError::Unreadable {
        file: file.into(),
        source,
    })
}

/// As [`server_config`], from PEM text that is already in memory, say a certificate made at start.
///
/// # Errors
/// As [`server_config`]; the "files" are called `certificate` and `key`.
pub fn server_config_from_pem(
    certificate: &[u8],
    key: &[u8],
) -> Result<Arc<ServerConfig>, TlsError> {
    let names = (Path::new("certificate"), Path::new("key"));
    build(names.0, certificate, names.1, key, None)
}

/// The same settings with HTTP/2 offered before HTTP/1.1 (ALPN), for a server that takes WebSockets over both.
pub fn with_http2(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The cryptography all TLS of this crate uses: AWS-LC.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn build(
    certificate: &Path,
    certificate_pem: &[u8],
    key: &Path,
    key_pem: &[u8],
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = parse_chain(certificate, certificate_pem)?;
    let private = parse_key(key, key_pem)?;
    let provider = provider();
    if let Err(error) = provider.key_provider.load_private_key(private.clone_key()) {
        return Err(TlsError::BadKey {
            file: key.into(),
            detail: error.to_string(),
        });
    }
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let verified = clients.is_some();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut config = builder
        .with_single_cert(chain, private)
        .map_err(|error| blame(error, certificate, key))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if verified {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
    }
    Ok(Arc::new(config))
}

pub(crate) fn parse_chain(
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::BadPem {
            file: file.into(),
            detail: error.to_string(),
        })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { file: file.into() });
    }
    Ok(chain)
}

pub(crate) fn parse_key(file: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound => TlsError::NoKey { file: file.into() },
        error => TlsError::BadPem {
            file: file.into(),
            detail: error.to_string(),
        },
    })
}

/// Says which of the two files rustls does not like.
pub(crate) fn blame(error: rustls::Error, certificate: &Path, key: &Path) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
            certificate: certificate.into(),
            key: key.into(),
        },
        rustls::Error::InvalidCertificate(_) => TlsError::BadCertificate {
            file: certificate.into(),
            detail: error.to_string(),
        },
        error => TlsError::Setup(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn complaint(certificate: &[u8], key: &[u8]) -> String {
        server_config_from_pem(certificate, key)
            .expect_err("it must not be accepted")
            .to_string()
    }

    #[test]
    fn a_certificate_and_its_key_make_a_config_for_http_1_1() {
        let (certificate, key) = pair();
        let config =
            server_config_from_pem(certificate.as_bytes(), key.as_bytes()).expect("a config");
        assert_eq!(config.alpn_protocols, [b"http/1.1"]);
        assert!(config.ticketer.enabled());
    }

    #[test]
    fn what_is_wrong_is_said_of_the_right_file() {
        let (certificate, key) = pair();
        let (_, other_key) = pair();
        let broken = certificate.replace("END", "ENDE");
        let not_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let not_a_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let rows: &[(&str, &str, &str)] = &[
            ("", &key, "certificate holds no certificate"),
            (&key, &key, "certificate holds no certificate"),
            (&certificate, "", "key holds no unencrypted private key"),
            (
                &certificate,
                &certificate,
                "key holds no unencrypted private key",
            ),
            (&broken, &key, "certificate is not valid PEM"),
            (
                &certificate,
                not_a_key,
                "the private key in key cannot be used",
            ),
            (
                not_x509,
                &key,
                "the certificate in certificate cannot be used",
            ),
            (
                &certificate,
                &other_key,
                "the private key in key does not belong to the certificate in certificate",
            ),
        ];
        for (certificate, key, expected) in rows {
            let said = complaint(certificate.as_bytes(), key.as_bytes());
            assert!(
                said.starts_with(expected),
                "{said:?} does not begin with {expected:?}"
            );
            assert!(!said.contains('\n'), "{said:?} is more than a line");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let said = server_config(Path::new("no/such.pem"), Path::new("no/such.key"))
            .expect_err("there is no such file")
            .to_string();
        assert!(said.starts_with("no/such.pem cannot be read: "), "{said}");
    }
}
