//! From `--tls-cert`, `--tls-key`, `--dev-cert` and `[tls]` to TLS settings, and what to say when that cannot be. It
//! never speaks TLS.

use crate::cli::ServeArgs;
use crate::config::Config;
use crate::dev_cert;
use crate::error::Failure;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use tidegate::error::TlsError;
use tidegate::tls::{server_config, with_http2};

/// TLS as asked for, by flags or else by the configuration; `None` when it was not.
///
/// # Errors
/// One half without the other is a usage error; a file that cannot be used is named, with what to do.
pub(crate) fn settings(
    args: &ServeArgs,
    config: &Config,
) -> Result<Option<Arc<ServerConfig>>, Failure> {
    let by_flags = args.tls_cert.is_some() || args.tls_key.is_some();
    let (cert, key) = match by_flags || args.dev_cert {
        true => (args.tls_cert.clone(), args.tls_key.clone()),
        false => {
            let table = &config.file.tls;
            let resolve = |file: &PathBuf| config.resolve(file);
            (
                table.certificate.as_ref().map(resolve),
                table.key.as_ref().map(resolve),
            )
        }
    };
    match (cert, key) {
        (None, None) if args.dev_cert => dev_cert::make().map(|made| Some(with_http2(&made))),
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => server_config(&cert, &key)
            .map(|config| Some(with_http2(&config)))
            .map_err(|error| Failure::failed(explain(&error))),
        (Some(_), None) if by_flags => Err(Failure::usage(
            "--tls-cert needs --tls-key, the file with its private key",
        )),
        (None, Some(_)) if by_flags => Err(Failure::usage(
            "--tls-key needs --tls-cert, the file with its certificate",
        )),
        (Some(_), None) => Err(config.fault(&["tls", "certificate"], "needs key, its private key")),
        (None, Some(_)) => Err(config.fault(&["tls", "key"], "needs certificate")),
    }
}

/// Certificates that can be changed while the server runs; connections that are open keep theirs.
#[derive(Debug)]
pub(crate) struct Certificates(RwLock<Arc<dyn ResolvesServerCert>>);

impl Certificates {
    /// The same settings with certificates that can be changed.
    pub(crate) fn changeable(config: &ServerConfig) -> (Arc<ServerConfig>, Arc<Certificates>) {
        let switch = Arc::new(Certificates(RwLock::new(Arc::clone(&config.cert_resolver))));
        let mut config = config.clone();
        config.cert_resolver = Arc::clone(&switch) as Arc<dyn ResolvesServerCert>;
        (Arc::new(config), switch)
    }

    /// From now on `config`'s certificates are shown.
    pub(crate) fn set(&self, config: &ServerConfig) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::clone(&config.cert_resolver);
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .resolve(hello)
    }
}

/// The fault, and what to do about it.
fn explain(error: &TlsError) -> String {
    let advice = match error {
        TlsError::Mismatch { .. } => {
            "; give the key that the first certificate in the file was made for"
        }
        TlsError::NoKey { .. } => "; --tls-key takes PKCS#8, PKCS#1 or SEC1 in PEM",
        TlsError::NoCertificate { .. } => {
            "; --tls-cert takes the chain in PEM, the server's own first"
        }
        TlsError::Unreadable { .. } => "; check the path and its permissions",
        _ => "",
    };
    format!("{error}{advice}")
}
