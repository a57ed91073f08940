//! Who a token says its bearer is, and whether to believe it: JSON Web Tokens for connections and for
//! subscriptions. It reads no clock and fetches no key; both are passed in.

use crate::publication::RawJson;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tidegate_proto::Time;

/// Keys that tokens are verified with, and what else is asked of a token. A clone shares the keys.
///
/// The key decides which algorithms are taken, never the token: a secret takes HS256, HS384 and HS512, an
/// RSA key RS and PS, an elliptic curve key ES256 or ES384, an Ed25519 key EdDSA. `none` is never taken.
#[derive(Clone, Default)]
pub struct TokenKeys {
    fixed: Arc<Vec<Key>>,
    fetched: Option<Arc<Vec<Key>>>,
    audience: Option<Arc<str>>,
    issuer: Option<Arc<str>>,
    /// If there are any, no others are taken.
    algorithms: Option<Arc<[Algorithm]>>,
}

type ReadPem = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;

struct Key {
    id: Option<String>,
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

/// A key is not usable; the text says why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadKey(String);

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadKey {}

impl TokenKeys {
    /// No keys yet: every token is refused.
    pub fn new() -> TokenKeys {
        TokenKeys::default()
    }

    /// Adds a shared secret (HS256, HS384, HS512).
    ///
    /// # Errors
    /// An empty secret verifies everyone's tokens, so it is refused.
    pub fn with_secret(self, secret: &[u8]) -> Result<TokenKeys, BadKey> {
        if secret.is_empty() {
            return Err(BadKey("an HMAC secret must not be empty".to_owned()));
        }
        Ok(self.with(Key {
            id: None,
            key: DecodingKey::from_secret(secret),
            algorithms: family(AlgorithmFamily::Hmac),
        }))
    }

    /// Adds a public key in PEM: RSA, elliptic curve (P-256, P-384) or Ed25519. What it is, the PEM says.
    ///
    /// # Errors
    /// [`BadKey`]: it is none of these.
    pub fn with_pem(self, pem: &str) -> Result<TokenKeys, BadKey> {
        let readers: [(ReadPem, AlgorithmFamily); 3] = [
            (DecodingKey::from_rsa_pem, AlgorithmFamily::Rsa),
            (DecodingKey::from_ec_pem, AlgorithmFamily::Ec),
            (DecodingKey::from_ed_pem, AlgorithmFamily::Ed),
        ];
        for (read, kind) in readers {
            if let Ok(key) = read(pem.as_bytes()) {
                return Ok(self.with(Key {
                    id: None,
                    key,
                    algorithms: family(kind),
                }));
            }
        }
        Err(BadKey(
            "not a public key in PEM (RSA, P-256, P-384 or Ed25519)".to_owned(),
        ))
    }

    /// Replaces the keys that come from elsewhere by a JSON Web Key Set (RFC 7517). Keys in it that we
    /// cannot use, and shared secrets, are left out.
    ///
    /// # Errors
    /// [`BadKey`]: it is no key set.
    pub fn with_jwks(mut self, jwks: &str) -> Result<TokenKeys, BadKey> {
        let set: JwkSet =
            serde_json::from_str(jwks).map_err(|why| BadKey(format!("not a key set: {why}")))?;
        let keys = set.keys.iter().filter_map(|jwk| {
            let algorithms = match &jwk.algorithm {
                AlgorithmParameters::RSA(_) => family(AlgorithmFamily::Rsa),
                AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
                    EllipticCurve::P256 => vec![Algorithm::ES256],
                    EllipticCurve::P384 => vec![Algorithm::ES384],
                    _ => return None,
                },
                AlgorithmParameters::OctetKeyPair(_) => family(AlgorithmFamily::Ed),
                AlgorithmParameters::OctetKey(_) => return None,
            };
            let signs = jwk.common.public_key_use.as_ref();
            if signs.is_some_and(|usage| *usage != PublicKeyUse::Signature) {
                return None;
            }
            Some(Key {
                id: jwk.common.key_id.clone(),
                key: DecodingKey::from_jwk(jwk).ok()?,
                algorithms,
            })
        });
        self.fetched = Some(Arc::new(keys.collect()));
        Ok(self)
    }

    /// Keys will come from elsewhere, by [`TokenKeys::with_jwks`]: a token whose key is not known (yet) is
    /// not refused for good.
    #[must_use]
    pub fn fetched(mut self) -> TokenKeys {
        self.fetched.get_or_insert_with(Arc::default);
        self
    }

    /// Only tokens whose `aud` is or holds this are taken.
    #[must_use]
    pub fn with_audience(mut self, audience: &str) -> TokenKeys {
        self.audience = Some(audience.into());
        self
    }

    /// Only tokens whose `iss` is this are taken.
    #[must_use]
    pub fn with_issuer(mut self, issuer: &str) -> TokenKeys {
        self.issuer = Some(issuer.into());
        self
    }

    /// Only algorithms of these names (RFC 7518) are taken, whatever the keys could do. A name that is none
    /// takes nothing.
    #[must_use]
    pub fn with_algorithms<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> TokenKeys {
        let known = names.into_iter().filter_map(|name| name.parse().ok());
        self.algorithms = Some(known.collect());
        self
    }

    /// Whether one of the keys has signed a token. What the token says, and whether it is still good, is not
    /// looked at: for those who judge that themselves.
    ///
    /// # Errors
    /// [`NotSigned`].
    pub fn signed(&self, token: &str) -> Result<(), NotSigned> {
        match self.verified(token) {
            Ok(_) => Ok(()),
            Err(BadToken::UnknownKey(_)) => Err(NotSigned::UnknownKey),
            Err(_) => Err(NotSigned::Wrong),
        }
    }

    /// How many keys there are: given, and fetched.
    pub fn count(&self) -> (usize, usize) {
        let fetched = self.fetched.as_ref().map_or(0, |keys| keys.len());
        (self.fixed.len(), fetched)
    }

    fn with(mut self, key: Key) -> TokenKeys {
        match Arc::get_mut(&mut self.fixed) {
            Some(keys) => keys.push(key),
            None => {
                let copies = self.fixed.iter().map(Key::copy).chain([key]);
                self.fixed = Arc::new(copies.collect());
            }
        }
        self
    }

    /// Checks a connection token.
    pub(crate) fn connection(&self, token: &str, now: Time) -> Result<Bearer, BadToken> {
        let payload = self.verified(token)?;
        let claims: Claims<'_> = serde_json::from_slice(&payload).map_err(|_| BadToken::Invalid)?;
        self.check(&claims, now)?;
        Bearer::read(&claims)
    }

    /// Checks a subscription token.
    pub(crate) fn subscription(&self, token: &str, now: Time) -> Result<Ticket, BadToken> {
        let payload = self.verified(token)?;
        let claims: Claims<'_> = serde_json::from_slice(&payload).map_err(|_| BadToken::Invalid)?;
        self.check(&claims, now)?;
        let channel = claims.channel.as_ref().filter(|name| !name.is_empty());
        Ok(Ticket {
            user: claims.sub.as_deref().unwrap_or_default().into(),
            channel: channel.ok_or(BadToken::Invalid)?.as_str().into(),
            info: info(claims.info, claims.b64info.as_deref())?,
            expires: claims.expires(),
            stamp: claims.stamp(),
        })
    }

    /// The payload of a token that one of the keys has signed.
    fn verified(&self, token: &str) -> Result<Vec<u8>, BadToken> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| BadToken::Invalid)?;
        let (message, signature) = token.rsplit_once('.').ok_or(BadToken::Invalid)?;
        let (_, payload) = message.split_once('.').ok_or(BadToken::Invalid)?;
        let wanted = header.kid.as_deref();
        let fetched = self.fetched.iter().flat_map(|keys| keys.iter());
        let fetched = fetched.filter(|key| wanted.is_none() || key.id.as_deref() == wanted);
        let mut usable = self
            .fixed
            .iter()
            .chain(fetched)
            .filter(|key| key.algorithms.contains(&header.alg) && self.takes(header.alg))
            .peekable();
        if usable.peek().is_none() && self.fetched.is_some() {
            return Err(BadToken::UnknownKey(wanted.unwrap_or_default().to_owned()));
        }
        let signed = usable.any(|key| {
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.key, header.alg)
                .unwrap_or(false)
        });
        if !signed {
            return Err(BadToken::Invalid);
        }
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_| BadToken::Invalid)
    }

    fn takes(&self, algorithm: Algorithm) -> bool {
        let listed = self.algorithms.as_ref();
        listed.is_none_or(|listed| listed.contains(&algorithm))
    }

    fn check(&self, claims: &Claims<'_>, now: Time) -> Result<(), BadToken> {
        let for_us = self.audience.as_deref().is_none_or(|wanted| {
            claims.aud.as_ref().is_some_and(|aud| match aud {
                Audience::One(one) => one == wanted,
                Audience::Many(many) => many.iter().any(|one| one == wanted),
            })
        });
        let by_them = self
            .issuer
            .as_deref()
            .is_none_or(|wanted| claims.iss.as_deref() == Some(wanted));
        let early = claims.nbf.is_some_and(|nbf| nbf.0 > now + CLOCK_SKEW);
        if !for_us || !by_them || early {
            return Err(BadToken::Invalid);
        }
        match claims.exp {
            Some(exp) if exp.0 <= now => Err(BadToken::Expired),
            _ => Ok(()),
        }
    }
}

/// A token may come from a clock that is this much ahead.
const CLOCK_SKEW: std::time::Duration = std::time::Duration::from_secs(5);

impl fmt::Debug for TokenKeys {
    /// Counts only: keys do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fixed, fetched) = self.count();
        write!(f, "TokenKeys({fixed} given, {fetched} fetched)")
    }
}

impl Key {
    fn copy(&self) -> Key {
        Key {
            id: self.id.clone(),
            key: self.key.clone(),
            algorithms: self.algorithms.clone(),
        }
    }
}

fn family(family: AlgorithmFamily) -> Vec<Algorithm> {
    family.algorithms().to_vec()
}

/// For fuzzing: reads arbitrary octets as a token, and as the claims of one that was signed. It never
/// panics; the answer is whether either was understood.
pub fn fuzz_token(octets: &[u8]) -> bool {
    let keys = TokenKeys::new()
        .with_secret(b"secret")
        .expect("it is not empty");
    let now = Time::from_micros(1_800_000_000_000_000);
    let token = std::str::from_utf8(octets).unwrap_or_default();
    let signed = keys.connection(token, now).is_ok() || keys.subscription(token, now).is_ok();
    let claims = serde_json::from_slice::<Claims<'_>>(octets);
    let read = claims.is_ok_and(|claims| {
        let _ = keys.check(&claims, now);
        Bearer::read(&claims).is_ok()
    });
    signed || read
}

/// Why nobody vouches for a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotSigned {
    /// It is no token, or its signature is wrong.
    Wrong,
    /// A key set that comes from elsewhere has no such key (yet).
    UnknownKey,
}

/// Why a token is not believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum BadToken {
    /// No token at all, a wrong signature, another audience, or fields of wrong type.
    Invalid,
    /// It was good once.
    Expired,
    /// A key set that comes from elsewhere has no such key (yet).
    UnknownKey(String),
}

/// Who a connection token says its bearer is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bearer {
    pub(crate) user: Box<str>,
    pub(crate) info: Option<RawJson>,
    /// When the connection expires; `None` for never.
    pub(crate) expires: Option<Time>,
    /// Channels that the server subscribes it to, with what others see of it there.
    pub(crate) channels: Vec<(Box<str>, Option<RawJson>)>,
    pub(crate) stamp: Stamp,
}

/// What a subscription token allows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ticket {
    pub(crate) user: Box<str>,
    pub(crate) channel: Box<str>,
    pub(crate) info: Option<RawJson>,
    pub(crate) expires: Option<Time>,
    pub(crate) stamp: Stamp,
}

/// By what a token can be revoked, beside its user.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    /// `jti`.
    pub(crate) id: Option<Box<str>>,
    /// `iat`.
    pub(crate) issued: Option<Time>,
}

/// A moment in seconds since 1970, with a fraction or not.
#[derive(Clone, Copy)]
struct Moment(Time);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        // A cast of a float saturates; before 1970 is 1970.
        Ok(Moment(Time::from_micros((seconds * 1e6) as u64)))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Claims<'a> {
    sub: Option<String>,
    exp: Option<Moment>,
    nbf: Option<Moment>,
    iat: Option<Moment>,
    jti: Option<String>,
    aud: Option<Audience>,
    iss: Option<String>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    b64info: Option<String>,
    channel: Option<String>,
    channels: Option<Vec<String>>,
    #[serde(borrow)]
    subs: Option<BTreeMap<String, SubClaims<'a>>>,
    expire_at: Option<Moment>,
}

#[derive(Deserialize)]
struct SubClaims<'a> {
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    b64info: Option<String>,
}

impl Claims<'_> {
    /// `expire_at` says when what the token opened closes, whatever `exp` says of the token; 0 is never.
    fn expires(&self) -> Option<Time> {
        match self.expire_at {
            Some(Moment(Time::ZERO)) => None,
            Some(Moment(at)) => Some(at),
            None => self.exp.map(|exp| exp.0),
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            id: self.jti.as_deref().map(Into::into),
            issued: self.iat.map(|iat| iat.0),
        }
    }
}

impl Bearer {
    fn read(claims: &Claims<'_>) -> Result<Bearer, BadToken> {
        let mut channels = Vec::new();
        for (name, sub) in claims.subs.iter().flatten() {
            let info = info(sub.info, sub.b64info.as_deref())?;
            channels.push((name.as_str().into(), info));
        }
        for name in claims.channels.iter().flatten() {
            if !channels
                .iter()
                .any(|(known, _): &(Box<str>, _)| **known == **name)
            {
                channels.push((name.as_str().into(), None));
            }
        }
        Ok(Bearer {
            user: claims.sub.as_deref().unwrap_or_default().into(),
            info: info(claims.info, claims.b64info.as_deref())?,
            expires: claims.expires(),
            channels,
            stamp: claims.stamp(),
        })
    }
}

/// What others see of the bearer: JSON, plain or in base64.
fn info(plain: Option<&RawValue>, coded: Option<&str>) -> Result<Option<RawJson>, BadToken> {
    let parsed = match (plain, coded) {
        (_, Some(coded)) if !coded.is_empty() => {
            let octets = STANDARD.decode(coded).map_err(|_| BadToken::Invalid)?;
            let text = std::str::from_utf8(&octets).map_err(|_| BadToken::Invalid)?;
            RawJson::parse(text)
        }
        (Some(value), _) if value.get() != "null" => RawJson::from_value(value),
        _ => return Ok(None),
    };
    parsed.map(Some).map_err(|_| BadToken::Invalid)
}

#[cfg(test)]
mod tests;
