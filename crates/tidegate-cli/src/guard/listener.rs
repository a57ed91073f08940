//! What the guard's listener shows and whom it lets shake hands, read from files at start and again at each reload: its own
//! certificate, the roots that vouch for clients, and which of their certificates are revoked. Open connections stay.

use super::args::{ClientAuth, GuardArgs};
use crate::error::Failure;
use crate::tls::Certificates;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use std::sync::{Arc, PoisonError, RwLock};
use tidegate::tls::{client_verifier, server_config, server_config_for_clients};

/// TLS settings whose certificates, roots and revocations can be changed.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    clients: Option<Arc<Clients>>,
}

impl Listener {
    /// Reads the files; none without `--tls-cert`.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub(super) fn read(args: &GuardArgs) -> Result<Option<Listener>, Failure> {
        let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) else {
            return Ok(None);
        };
        let failed = |error: tidegate::TlsError| Failure::failed(error.to_string());
        let clients = match &args.tls_client_ca {
            None => None,
            Some(roots) => {
                let verifier = client_verifier(roots, &args.tls_client_crl).map_err(failed)?;
                Some(Arc::new(Clients {
                    verifier: RwLock::new(verifier),
                    required: args.tls_client_auth.unwrap_or_default() == ClientAuth::Require,
                }))
            }
        };
        let config = match &clients {
            None => server_config(certificate, key),
            Some(clients) => {
                let verifier = Arc::clone(clients) as Arc<dyn ClientCertVerifier>;
                server_config_for_clients(certificate, key, verifier)
            }
        };
        let config = config.map_err(failed)?;
        let (config, certificates) = Certificates::changeable(&config);
        Ok(Some(Listener {
            config,
            certificates,
            clients,
        }))
    }

    /// From now on what `new` has read holds, for who comes.
    pub(super) fn set(&self, new: &Listener) {
        self.certificates.set(&new.config);
        if let (Some(clients), Some(new)) = (&self.clients, &new.clients) {
            clients.set(new.get());
        }
    }
}

/// Who vouches for clients, and for whom no longer.
#[derive(Debug)]
struct Clients {
    verifier: RwLock<Arc<dyn ClientCertVerifier>>,
    /// Who shows no certificate gets no connection.
    required: bool,
}

impl Clients {
    fn get(&self) -> Arc<dyn ClientCertVerifier> {
        let verifier = self.verifier.read();
        Arc::clone(&verifier.unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, verifier: Arc<dyn ClientCertVerifier>) {
        let mut held = self
            .verifier
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *held = verifier;
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    /// None: they may change, and a client that has one certificate needs no hint.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.get()
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.get()
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.get()
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.get().supported_verify_schemes()
    }
}
