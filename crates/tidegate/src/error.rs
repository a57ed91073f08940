//! What can go wrong outside of a connection: certificates that cannot be used, workers that died.

use std::fmt;
use std::io;
use std::path::PathBuf;
#[cfg(feature = "engine")]
use tidegate_proto::WorkerId;

/// A certificate or key cannot be used. Each message is one line that names the file and what is wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The file could not be read.
    Unreadable {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no PEM: a section without an end, or not base64.
    BadPem {
        /// Which one.
        file: PathBuf,
        /// What the parser says.
        detail: String,
    },
    /// The certificate file has no `CERTIFICATE` section.
    NoCertificate {
        /// Which one.
        file: PathBuf,
    },
    /// The key file has no `PRIVATE KEY` section (PKCS#8, PKCS#1 or SEC1). Encrypted keys are not read.
    NoKey {
        /// Which one.
        file: PathBuf,
    },
    /// The key is of a kind that cannot sign TLS handshakes, or is damaged.
    BadKey {
        /// Which one.
        file: PathBuf,
        /// What rustls says.
        detail: String,
    },
    /// The certificate is damaged, or is not an X.509 certificate.
    BadCertificate {
        /// Which one.
        file: PathBuf,
        /// What rustls says.
        detail: String,
    },
    /// Certificate and key are each fine and do not belong together.
    Mismatch {
        /// The certificate chain.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// The system has no root certificates: install them (Debian's package is `ca-certificates`), name a file in
    /// `SSL_CERT_FILE`, or give own ones with `TlsBuilder::root_pem`.
    NoRoots {
        /// What the system said, if anything.
        detail: Option<String>,
    },
    /// rustls cannot work with this build's cryptography.
    Setup(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Unreadable { file, source } => {
                write!(f, "{} cannot be read: {source}", file.display())
            }
            TlsError::BadPem { file, detail } => {
                write!(f, "{} is not valid PEM: {detail}", file.display())
            }
            TlsError::NoCertificate { file } => {
                write!(
                    f,
                    "{} holds no certificate (no BEGIN CERTIFICATE line)",
                    file.display()
                )
            }
            TlsError::NoKey { file } => {
                write!(
                    f,
                    "{} holds no unencrypted private key (no BEGIN PRIVATE KEY line)",
                    file.display()
                )
            }
            TlsError::BadKey { file, detail } => {
                write!(
                    f,
                    "the private key in {} cannot be used: {detail}",
                    file.display()
                )
            }
            TlsError::BadCertificate { file, detail } => {
                write!(
                    f,
                    "the certificate in {} cannot be used: {detail}",
                    file.display()
                )
            }
            TlsError::Mismatch { certificate, key } => write!(
                f,
                "the private key in {} does not belong to the certificate in {}",
                key.display(),
                certificate.display()
            ),
            TlsError::NoRoots { detail } => {
                let detail = detail.as_ref().map(|detail| format!(" ({detail})"));
                write!(
                    f,
                    "this system has no root certificates{}: install them, or give own ones",
                    detail.unwrap_or_default()
                )
            }
            TlsError::Setup(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Unreadable { source, .. } => Some(source),
            TlsError::Setup(error) => Some(error),
            _ => None,
        }
    }
}

/// At least one worker did not end as it was asked to. Its connections were dropped; the other workers
/// went on.
#[cfg(feature = "engine")]
#[derive(Debug)]
pub struct JoinError {
    /// Who died, and of what.
    pub died: Vec<(WorkerId, String)>,
}

#[cfg(feature = "engine")]
impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (worker, cause)) in self.died.iter().enumerate() {
            let and = if i == 0 { "" } else { "; " };
            write!(f, "{and}worker {} died: {cause}", worker.0)?;
        }
        Ok(())
    }
}

#[cfg(feature = "engine")]
impl std::error::Error for JoinError {}
