//! Client certificates as credentials: who one is, by a name in the certificate's subjectAltName (RFC 5280 §4.2.1.6), never by
//! its subject's CN. It verifies nothing: the handshake that brought the certificate has.

use super::{BadToken, Bearer};
use crate::audit::hex;
use crate::policy::{Auth, CertificateName, CertificateRules};
use sha2::{Digest, Sha256};
use tidegate_proto::Time;
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

/// Who the certificate (DER) names, and until when it is good. Its `jti` is the SHA-256 of the certificate, in lower-case hex.
///
/// # Errors
/// [`BadToken`].
pub fn named(der: &[u8], auth: &Auth, now: Time) -> Result<Bearer, BadToken> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| BadToken::CertificateMalformed)?;
    if !rest.is_empty() {
        return Err(BadToken::CertificateMalformed);
    }
    // The handshake has asked this too, but a connection may be kept for long before it asks for a WebSocket.
    let validity = certificate.validity();
    let (starts, ends) = (
        moment(validity.not_before),
        moment(validity.not_after) + auth.leeway,
    );
    if ends <= now {
        return Err(BadToken::Expired);
    }
    if starts > now + auth.leeway {
        return Err(BadToken::Early);
    }
    Ok(Bearer {
        subject: identity(&certificate, &auth.certificate)?,
        token: Some(hex(&Sha256::digest(der)).into()),
        session: None,
        issued: Some(starts),
        ends,
        roles: Vec::new(),
        claims: auth
            .claims
            .iter()
            .map(|name| (name.to_string(), vec![]))
            .collect(),
    })
}

/// The first name, in the policy's order of kinds, that the policy lets pass.
fn identity(
    certificate: &X509Certificate<'_>,
    rules: &CertificateRules,
) -> Result<Box<str>, BadToken> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| BadToken::CertificateMalformed)?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let mut problem = BadToken::CertificateNameless;
    for kind in &rules.names {
        for name in names {
            let Some(name) = named_by(*kind, name)? else {
                continue;
            };
            if rules.allows(&name) {
                return Ok(name);
            }
            problem = BadToken::CertificateForeign;
        }
    }
    Err(problem)
}

/// The name, if it is of this kind and of one bearer. A name of one kind never looks like one of another.
fn named_by(kind: CertificateName, name: &GeneralName<'_>) -> Result<Option<Box<str>>, BadToken> {
    let (text, sound) = match (kind, name) {
        (CertificateName::Uri, GeneralName::URI(text)) => (*text, text.contains(':')),
        // A wildcard names nobody.
        (CertificateName::Dns, GeneralName::DNSName(text)) if text.contains('*') => {
            return Ok(None);
        }
        (CertificateName::Dns, GeneralName::DNSName(text)) => {
            (*text, !text.contains([':', '@', '/']))
        }
        (CertificateName::Email, GeneralName::RFC822Name(text)) => {
            (*text, text.contains('@') && !text.contains(':'))
        }
        (_, GeneralName::Invalid(..)) => return Err(BadToken::CertificateMalformed),
        _ => return Ok(None),
    };
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !sound || !visible || text.is_empty() || text.len() > LONGEST_NAME {
        return Err(BadToken::CertificateMalformed);
    }
    Ok(Some(match kind {
        // Names of hosts are the same in any case.
        CertificateName::Dns => text.to_ascii_lowercase().into(),
        CertificateName::Uri | CertificateName::Email => text.into(),
    }))
}

fn moment(time: ASN1Time) -> Time {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0); // what ended before 1970 has ended
    Time::from_micros(seconds.saturating_mul(1_000_000))
}

/// As long as a SPIFFE ID may be.
const LONGEST_NAME: usize = 2_048;
