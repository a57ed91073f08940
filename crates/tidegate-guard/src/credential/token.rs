//! JSON Web Tokens (RFC 7519) as a guard takes them: few algorithms, fixed by the issuer and never by the token;
//! `iss`, `aud`, `exp` and `nbf` required. Whether the signature is right, a [`Verifier`] says.

use super::Bearer;
use crate::policy::{Auth, FailMode, Issuer};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tidegate_proto::Time;

/// Says whether one of an issuer's keys has signed a token with one of the issuer's algorithms.
pub type Verifier = Arc<dyn Fn(&Issuer, &str) -> Result<(), Unsigned> + Send + Sync>;

/// Why a signature is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsigned {
    /// It is wrong, or of a key the issuer does not have.
    Wrong,
    /// The issuer's keys were never fetched, so nobody can say.
    NoKeys,
}

/// Why a token, or a certificate, is not believed; the client gets 401 and none of this, the audit log gets the name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadToken {
    /// Longer than 8 KiB.
    TooLong,
    /// Not three parts of base64url with JSON objects in the first two, or a field twice or of a wrong type.
    Malformed,
    /// Its header asks for what we do not know (`crit`), or it is another kind of token.
    Header,
    /// No `iss`, or one that is not believed here.
    Issuer,
    /// An algorithm that is not its issuer's; `none` above all.
    Algorithm,
    /// The signature is wrong.
    Signature,
    /// The issuer's keys are not here.
    NoKeys,
    /// No `aud`, or not for us.
    Audience,
    /// No `exp`.
    NoExpiry,
    /// `exp`, or `notAfter`, is over.
    Expired,
    /// No `nbf`.
    NoStart,
    /// `nbf`, or `notBefore`, is still to come.
    Early,
    /// No `sub`.
    NoSubject,
    /// It was revoked.
    Revoked,
    /// It stands in two places of one kind.
    Twice,
    /// A ticket that was never given, was used, is over, or is for elsewhere.
    Ticket,
    /// A certificate that cannot be read, or a name in it that cannot be.
    CertificateMalformed,
    /// A certificate without a name of a kind that the policy asks for.
    CertificateNameless,
    /// A certificate whose names the policy does not list.
    CertificateForeign,
}

impl BadToken {
    /// Its name in audit and metrics.
    pub fn name(self) -> &'static str {
        match self {
            BadToken::TooLong => "token_too_long",
            BadToken::Malformed => "token_malformed",
            BadToken::Header => "token_header",
            BadToken::Issuer => "token_issuer",
            BadToken::Algorithm => "token_algorithm",
            BadToken::Signature => "token_signature",
            BadToken::NoKeys => "token_no_keys",
            BadToken::Audience => "token_audience",
            BadToken::NoExpiry => "token_no_exp",
            BadToken::Expired => "token_expired",
            BadToken::NoStart => "token_no_nbf",
            BadToken::Early => "token_early",
            BadToken::NoSubject => "token_no_sub",
            BadToken::Revoked => "token_revoked",
            BadToken::Twice => "token_twice",
            BadToken::Ticket => "ticket",
            BadToken::CertificateMalformed => "certificate_malformed",
            BadToken::CertificateNameless => "certificate_nameless",
            BadToken::CertificateForeign => "certificate_foreign",
        }
    }
}

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Judges a token.
///
/// # Errors
/// [`BadToken`].
pub fn judge(
    token: &str,
    issuers: &[Arc<Issuer>],
    auth: &Auth,
    verifier: &Verifier,
    now: Time,
) -> Result<Bearer, BadToken> {
    if token.len() > LONGEST {
        return Err(BadToken::TooLong);
    }
    let (header, claims) = parts(token, &auth.claims)?;
    let usual = header.typ.as_deref().is_none_or(|typ| {
        ["JWT", "at+jwt"]
            .iter()
            .any(|kind| typ.eq_ignore_ascii_case(kind))
    });
    if header.crit.is_some() || !usual {
        return Err(BadToken::Header);
    }
    let named = issuers
        .iter()
        .filter(|issuer| claims.iss.as_deref() == Some(&*issuer.issuer));
    let mut named = named.peekable();
    named.peek().ok_or(BadToken::Issuer)?;
    // One issuer may sign for several audiences, with other keys for each.
    let issuer = named
        .find(|issuer| claims.is_for(&issuer.audience))
        .ok_or(BadToken::Audience)?;
    if !issuer
        .algorithms
        .iter()
        .any(|algorithm| algorithm.name() == header.alg)
    {
        return Err(BadToken::Algorithm);
    }
    match verifier(issuer, token) {
        Ok(()) => {}
        Err(Unsigned::NoKeys) if auth.unjudged == FailMode::Open => {}
        Err(Unsigned::NoKeys) => return Err(BadToken::NoKeys),
        Err(Unsigned::Wrong) => return Err(BadToken::Signature),
    }
    claims.bearer(auth, now)
}

/// Header and claims, which nothing vouches for yet; of others than the usual ones those that are `asked`.
fn parts(token: &str, asked: &[Box<str>]) -> Result<(Header, Claims), BadToken> {
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(BadToken::Malformed);
    };
    let decode = |part: &str| {
        URL_SAFE_NO_PAD
            .decode(part)
            .map_err(|_| BadToken::Malformed)
    };
    decode(signature)?;
    let header = serde_json::from_slice(&decode(header)?).map_err(|_| BadToken::Malformed)?;
    let octets = decode(claims)?;
    let mut claims: Claims = serde_json::from_slice(&octets).map_err(|_| BadToken::Malformed)?;
    if !asked.is_empty() {
        let all: BTreeMap<String, Value> =
            serde_json::from_slice(&octets).map_err(|_| BadToken::Malformed)?;
        let one = |name: &str| (name.to_owned(), all.get(name).map_or(vec![], names));
        claims.asked = asked.iter().map(|name| one(name)).collect();
    }
    Ok((header, claims))
}

/// The names in a claim: texts, or a text.
fn names(claim: &Value) -> Vec<String> {
    let each = match claim {
        Value::Array(each) => each.as_slice(),
        one => std::slice::from_ref(one),
    };
    let texts = each.iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Audience>,
    exp: Option<Moment>,
    nbf: Option<Moment>,
    iat: Option<Moment>,
    jti: Option<String>,
    sid: Option<String>,
    roles: Option<Vec<String>>,
    scope: Option<String>,
    #[serde(skip)]
    asked: Vec<(String, Vec<String>)>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Seconds since 1970, with a fraction or not (RFC 7519 §2, NumericDate).
struct Moment(Time);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Moment, D::Error> {
        let seconds = f64::deserialize(from)?;
        if !(0.0..=MOST_SECONDS).contains(&seconds) {
            return Err(serde::de::Error::custom("no moment"));
        }
        Ok(Moment(Time::from_micros((seconds * 1e6) as u64)))
    }
}

impl Claims {
    fn is_for(&self, audience: &str) -> bool {
        match &self.aud {
            Some(Audience::One(one)) => one == audience,
            Some(Audience::Many(many)) => many.iter().any(|one| one == audience),
            None => false,
        }
    }

    fn bearer(self, auth: &Auth, now: Time) -> Result<Bearer, BadToken> {
        let exp = self.exp.ok_or(BadToken::NoExpiry)?.0;
        let nbf = self.nbf.ok_or(BadToken::NoStart)?.0;
        let ends = exp + auth.leeway;
        if ends <= now {
            return Err(BadToken::Expired);
        }
        if nbf > now + auth.leeway {
            return Err(BadToken::Early);
        }
        let subject = self
            .sub
            .filter(|sub| !sub.is_empty())
            .ok_or(BadToken::NoSubject)?;
        let scope = self.scope.unwrap_or_default();
        let roles = match self.roles {
            Some(roles) => roles.into_iter().map(Into::into).collect(),
            None => scope.split_ascii_whitespace().map(Into::into).collect(),
        };
        Ok(Bearer {
            subject: subject.into(),
            token: self.jti.map(Into::into),
            session: self.sid.map(Into::into),
            issued: self.iat.map(|iat| iat.0),
            ends,
            roles,
            claims: self.asked,
        })
    }
}

const LONGEST: usize = 8 << 10;
/// The year 9999.
const MOST_SECONDS: f64 = 253_402_300_799.0;
