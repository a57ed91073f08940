//! What a route asks of a client's credential, and whose tokens are believed. It verifies nothing.

use super::fail::FailMode;
use super::identities::CertificateRules;
use crate::written::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// Where a token may stand, or what stands for one. They are looked at in this order; the first that holds one decides, good or bad.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// `Authorization: Bearer TOKEN`.
    Header,
    /// The cookie the policy names.
    Cookie,
    /// `Sec-WebSocket-Protocol: bearer.TOKEN` beside the real ones; it is neither forwarded nor answered.
    Subprotocol,
    /// `?ticket=TICKET`: got from the admin API, good once, for one route and origin, for a short while.
    Ticket,
    /// The certificate that the TLS handshake has verified; it says who its bearer is by its subjectAltName.
    Certificate,
    /// The first message is the token; no message passes, either way, before it is believed.
    Message,
}

/// A signature algorithm of JSON Web Tokens; `none` is not one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Deserialize)]
#[expect(missing_docs, reason = "the names are RFC 7518's")]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// The name in a token's header.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::HS256 => "HS256",
            Algorithm::HS384 => "HS384",
            Algorithm::HS512 => "HS512",
            Algorithm::RS256 => "RS256",
            Algorithm::RS384 => "RS384",
            Algorithm::RS512 => "RS512",
            Algorithm::PS256 => "PS256",
            Algorithm::PS384 => "PS384",
            Algorithm::PS512 => "PS512",
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            Algorithm::EdDSA => "EdDSA",
        }
    }

    /// Whether both ends share one secret.
    pub fn is_shared_secret(self) -> bool {
        matches!(self, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
    }
}

/// Whose tokens are believed, for whom they must be, and what they may be signed with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issuer {
    /// `iss`.
    pub issuer: Box<str>,
    /// `aud` is it or holds it.
    pub audience: Box<str>,
    /// The only algorithms taken.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys come from.
    pub keys: KeySources,
}

/// Where keys come from: at least one is given. Files are read by whoever holds the policy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeySources {
    /// A shared secret.
    pub hmac_secret: Option<Secret>,
    /// A file of shared secrets, one a line.
    pub hmac_secret_file: Option<PathBuf>,
    /// Public keys in PEM.
    pub public_keys: Vec<PathBuf>,
    /// A JSON Web Key Set.
    pub jwks_url: Option<String>,
    /// How often the set is fetched at the latest.
    pub jwks_refresh: Duration,
}

/// What a route asks of a client's credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Auth {
    /// Whether a client without one is refused with 401. A bad one is refused always.
    pub required: bool,
    /// Where a token may stand, in the order of [`Source`].
    pub sources: Vec<Source>,
    /// The cookie that holds one.
    pub cookie: Box<str>,
    /// How long a ticket is good.
    pub ticket_ttl: Duration,
    /// How long the first message may take.
    pub first_message: Duration,
    /// Clocks may differ by so much: a token is taken so long before `nbf` and lasts so long after `exp`.
    pub leeway: Duration,
    /// The close code when the credential ends, with the reason `token_expired` or `revoked`.
    pub end_code: u16,
    /// The bearer must have one of these in `roles` (or `scope`); none asked when empty.
    pub roles: Vec<Box<str>>,
    /// Whom certificates name, where they are a source.
    pub certificate: CertificateRules,
    /// Claims that are kept of a token for rules across messages.
    pub claims: Vec<Box<str>>,
    /// What happens to a token that cannot be judged, because its issuer's keys were never fetched.
    pub unjudged: FailMode,
}
