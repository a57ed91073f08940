//! From `--tls-cert`, `--tls-key` and `--dev-cert` to TLS settings, and what to say when that cannot be. It
//! never speaks TLS.

use crate::cli::ServeArgs;
use crate::dev_cert;
use crate::error::Failure;
use rustls::ServerConfig;
use std::sync::Arc;
use tidegate::error::TlsError;
use tidegate::tls::server_config;

/// TLS as asked for; `None` when it was not.
///
/// # Errors
/// One flag without the other is a usage error; a file that cannot be used is named, with what to do.
pub(crate) fn settings(args: &ServeArgs) -> Result<Option<Arc<ServerConfig>>, Failure> {
    match (&args.tls_cert, &args.tls_key) {
        (None, None) if args.dev_cert => dev_cert::make().map(Some),
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => server_config(cert, key)
            .map(Some)
            .map_err(|error| Failure::failed(explain(&error))),
        (Some(_), None) => Err(Failure::usage(
            "--tls-cert needs --tls-key, the file with its private key",
        )),
        (None, Some(_)) => Err(Failure::usage(
            "--tls-key needs --tls-cert, the file with its certificate",
        )),
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
