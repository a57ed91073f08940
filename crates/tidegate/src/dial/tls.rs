//! TLS for a client: whom to trust, who we are, and the handshake; it never touches the process-wide default of
//! rustls, and never panics without one.

use super::link::Link;
use crate::TlsError;
use crate::client::{ConnectError, Stage};
use crate::tls::{parse_chain, parse_key, provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio_rustls::TlsConnector;

/// TLS settings of a client. [`Tls::platform`] is the default of `wss://`.
///
/// ```no_run
/// use tidegate::{Client, Tls};
///
/// # fn f(ca: &[u8], certificate: &[u8], key: &[u8]) -> Result<(), tidegate::TlsError> {
/// let tls = Tls::builder().root_pem(ca)?.client_certificate_pem(certificate, key)?.build()?;
/// let client = Client::new().tls(tls);
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// The system's root certificates, read once in a process; no client certificate. `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` name others, as with OpenSSL.
    ///
    /// # Errors
    /// [`TlsError::NoRoots`] when the system has none.
    pub fn platform() -> Result<Tls, TlsError> {
        static PLATFORM: OnceLock<Tls> = OnceLock::new();
        if let Some(tls) = PLATFORM.get() {
            return Ok(tls.clone());
        }
        let tls = Tls::builder().build()?;
        Ok(PLATFORM.get_or_init(|| tls).clone())
    }

    /// Settings to be made.
    pub fn builder() -> TlsBuilder {
        TlsBuilder {
            roots: None,
            platform: false,
            identity: None,
            insecure: false,
        }
    }

    /// The settings for a transport that is driven by hand, over HTTP/1.1: what [`crate::Client`] would use.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        self.config(Alpn::Http1)
    }

    /// The settings to offer these with; what they said of ALPN themselves is replaced.
    pub(crate) fn config(&self, alpn: Alpn) -> Arc<ClientConfig> {
        let names: &[&[u8]] = match alpn {
            Alpn::Http1 => &[b"http/1.1"],
            #[cfg(feature = "http2")]
            Alpn::Both => &[b"h2", b"http/1.1"],
            #[cfg(feature = "http2")]
            Alpn::Http2 => &[b"h2"],
        };
        let mut config = ClientConfig::clone(&self.0); // reference counts, but for the names
        config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl From<ClientConfig> for Tls {
    /// Own settings of rustls; ALPN is set by the client.
    fn from(config: ClientConfig) -> Tls {
        Tls(Arc::new(config))
    }
}

impl From<Arc<ClientConfig>> for Tls {
    fn from(config: Arc<ClientConfig>) -> Tls {
        Tls(config)
    }
}

/// What is offered to a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Alpn {
    Http1,
    #[cfg(feature = "http2")]
    Both,
    #[cfg(feature = "http2")]
    Http2,
}

/// Makes a [`Tls`].
#[derive(Debug)]
pub struct TlsBuilder {
    roots: Option<RootCertStore>,
    platform: bool,
    identity: Option<(
        Vec<CertificateDer<'static>>,
        rustls::pki_types::PrivateKeyDer<'static>,
    )>,
    insecure: bool,
}

impl TlsBuilder {
    /// Trusts these root certificates, PEM, one or several. The system's are then trusted only with
    /// [`TlsBuilder::platform_roots`].
    ///
    /// # Errors
    /// [`TlsError`] when there is no certificate in it, or a damaged one.
    pub fn root_pem(mut self, pem: &[u8]) -> Result<TlsBuilder, TlsError> {
        let file = Path::new("root certificates");
        let roots = self.roots.get_or_insert_with(RootCertStore::empty);
        for certificate in parse_chain(file, pem)? {
            roots
                .add(certificate)
                .map_err(|error| TlsError::BadCertificate {
                    file: file.into(),
                    detail: error.to_string(),
                })?;
        }
        Ok(self)
    }

    /// Trusts the system's root certificates too, beside own ones. Without own ones that is the default.
    #[must_use]
    pub fn platform_roots(mut self) -> TlsBuilder {
        self.platform = true;
        self
    }

    /// Who we are, for servers that ask (mutual TLS): a certificate chain, our own first, and its private key,
    /// both PEM.
    ///
    /// # Errors
    /// [`TlsError`] says which of the two is wrong, and how.
    pub fn client_certificate_pem(
        mut self,
        certificate: &[u8],
        key: &[u8],
    ) -> Result<TlsBuilder, TlsError> {
        let chain = parse_chain(Path::new("client certificate"), certificate)?;
        let key = parse_key(Path::new("client key"), key)?;
        self.identity = Some((chain, key));
        Ok(self)
    }

    /// Accepts every certificate: expired, for another name, self-signed. Whoever is on the way can then read
    /// and change everything; it is for tests and for looking at broken servers.
    #[must_use]
    pub fn danger_accept_invalid_certificates(mut self) -> TlsBuilder {
        self.insecure = true;
        self
    }

    /// The settings.
    ///
    /// # Errors
    /// [`TlsError::NoRoots`] when the system's roots are wanted and there are none; [`TlsError::Mismatch`] when
    /// client certificate and key do not belong together.
    pub fn build(self) -> Result<Tls, TlsError> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?;
        let builder = match self.insecure {
            true => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAll(provider))),
            false => builder.with_root_certificates(self.trusted()?),
        };
        let config = match self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
                crate::tls::blame(
                    error,
                    Path::new("client certificate"),
                    Path::new("client key"),
                )
            })?,
        };
        Ok(Tls(Arc::new(config)))
    }

    fn trusted(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = self.roots.clone().unwrap_or_else(RootCertStore::empty);
        if self.platform || self.roots.is_none() {
            let found = rustls_native_certs::load_native_certs();
            let (added, _unusable) = roots.add_parsable_certificates(found.certs);
            if added == 0 && self.roots.is_none() {
                let detail = found.errors.first().map(ToString::to_string);
                return Err(TlsError::NoRoots { detail });
            }
        }
        Ok(roots)
    }
}

/// The TLS handshake with `host`, which the certificate must be for.
pub(super) async fn open(
    tls: &Tls,
    alpn: Alpn,
    host: &str,
    io: Link,
) -> Result<Link, ConnectError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| ConnectError::Tls {
        source: std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            format!("{host:?}: {error}"),
        ),
    })?;
    let opening = TlsConnector::from(tls.config(alpn)).connect(name, io);
    match opening.await {
        Ok(tls) => Ok(Link::Tls(Box::new(tls))),
        // What rustls finds is wrong with TLS; the rest befell the transport.
        Err(source) if source.get_ref().is_some_and(|e| e.is::<rustls::Error>()) => {
            Err(ConnectError::Tls { source })
        }
        Err(source) => Err(ConnectError::Io {
            stage: Stage::Tls,
            source,
        }),
    }
}

/// Believes every certificate, but not every signature: a server must still own the key it shows.
#[derive(Debug)]
struct AcceptAll(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
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

    #[test]
    fn what_is_wrong_is_said_of_the_right_part() {
        let (certificate, key) = pair();
        let (_, other_key) = pair();
        let said = |result: Result<Tls, TlsError>| result.expect_err("it is wrong").to_string();
        let roots = |pem: &str| {
            Tls::builder()
                .root_pem(pem.as_bytes())
                .and_then(TlsBuilder::build)
        };
        let identity = |certificate: &str, key: &str| {
            Tls::builder()
                .root_pem(certificate.as_bytes())?
                .client_certificate_pem(certificate.as_bytes(), key.as_bytes())?
                .build()
        };
        assert!(said(roots("")).starts_with("root certificates holds no certificate"));
        assert!(said(identity(&certificate, "")).starts_with("client key holds no"));
        assert!(said(identity(&certificate, &other_key)).contains("does not belong"));
        assert!(identity(&certificate, &key).is_ok() && roots(&certificate).is_ok());
    }

    #[test]
    fn alpn_is_what_the_client_says_not_what_own_settings_say() {
        let (certificate, _) = pair();
        let tls = Tls::builder()
            .root_pem(certificate.as_bytes())
            .and_then(TlsBuilder::build)
            .unwrap();
        assert_eq!(
            tls.config(Alpn::Http1).alpn_protocols,
            [b"http/1.1".to_vec()]
        );
        let mut own = (*tls.config(Alpn::Http1)).clone();
        own.alpn_protocols = vec![b"x".to_vec()];
        assert_eq!(
            Tls::from(own).config(Alpn::Http1).alpn_protocols,
            [b"http/1.1".to_vec()]
        );
    }
}
