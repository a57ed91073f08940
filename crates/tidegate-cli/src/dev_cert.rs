//! `--dev-cert`: a self-signed certificate for this machine's own names, made at each start and kept in
//! memory only. It proves nothing to anybody; browsers ask once.

use crate::error::Failure;
use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use std::sync::Arc;
use tidegate::tls::server_config_from_pem;

/// Makes a key and a certificate for `localhost`, 127.0.0.1 and ::1.
///
/// # Errors
/// Only when the cryptography library fails.
pub(crate) fn make() -> Result<Arc<ServerConfig>, Failure> {
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let made = generate_simple_self_signed(names).map_err(|error| {
        Failure::failed(format!("--dev-cert: cannot make a certificate: {error}"))
    })?;
    server_config_from_pem(
        made.cert.pem().as_bytes(),
        made.signing_key.serialize_pem().as_bytes(),
    )
    .map_err(|error| Failure::failed(format!("--dev-cert: {error}")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_development_certificate_can_be_served() {
        assert!(super::make().is_ok());
    }
}
