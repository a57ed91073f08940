//! Tokens, made by the library that is not under test here and with keys made for these tests.

use super::*;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;

fn now() -> Time {
    Time::from_micros(NOW * 1_000_000)
}

fn signed(algorithm: Algorithm, key: &EncodingKey, kid: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    encode(&header, claims, key).unwrap()
}

fn hs(claims: &Value) -> String {
    let key = EncodingKey::from_secret(b"secret");
    signed(Algorithm::HS256, &key, None, claims)
}

fn keys() -> TokenKeys {
    TokenKeys::new().with_secret(b"secret").unwrap()
}

#[test]
fn a_token_says_who_and_for_how_long() {
    let token = hs(&json!({
        "sub": "ann", "exp": NOW + 60, "iat": NOW - 1, "jti": "7", "info": {"name": "Ann"},
        "channels": ["news", "alerts"], "subs": {"alerts": {"info": [1]}}, "meta": {"x": 1},
    }));
    let bearer = keys().connection(&token, now()).unwrap();
    assert_eq!(&*bearer.user, "ann");
    assert_eq!(
        bearer.expires,
        Some(now() + std::time::Duration::from_secs(60))
    );
    assert_eq!(bearer.info.unwrap().as_str(), r#"{"name":"Ann"}"#);
    let names: Vec<&str> = bearer.channels.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["alerts", "news"]);
    assert_eq!(bearer.channels[0].1.as_ref().unwrap().as_str(), "[1]");
    assert_eq!(bearer.stamp.id.as_deref(), Some("7"));
    let coded = hs(&json!({ "sub": "a", "b64info": "eyJ4IjoxfQ==" }));
    let bearer = keys().connection(&coded, now()).unwrap();
    assert_eq!(bearer.info.unwrap().as_str(), r#"{"x":1}"#);
    assert_eq!(bearer.expires, None);
}

#[test]
fn what_is_wrong_with_a_token_decides_what_becomes_of_it() {
    use BadToken::*;
    let other = EncodingKey::from_secret(b"other");
    let claims = json!({ "sub": "ann" });
    let good = hs(&claims);
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
    let rows = [
        (signed(Algorithm::HS256, &other, None, &claims), Invalid),
        (unsigned, Invalid),
        (String::new(), Invalid),
        ("a.b.c".to_owned(), Invalid),
        ("..".to_owned(), Invalid),
        (format!("{good}x"), Invalid),
        (good.replacen('.', ".e30", 1), Invalid),
        (hs(&json!({ "sub": 7 })), Invalid),
        (hs(&json!({ "sub": "a", "exp": "soon" })), Invalid),
        (hs(&json!({ "sub": "a", "exp": NOW })), Expired),
        (hs(&json!({ "sub": "a", "exp": NOW - 1 })), Expired),
        (hs(&json!({ "sub": "a", "exp": -5 })), Expired),
        (hs(&json!({ "sub": "a", "nbf": NOW + 60 })), Invalid),
        (hs(&json!({ "sub": "a", "b64info": "%" })), Invalid),
    ];
    for (token, expected) in rows {
        assert_eq!(keys().connection(&token, now()), Err(expected), "{token}");
    }
    let taken = [
        hs(&json!({ "sub": "a", "exp": NOW + 1 })),
        hs(&json!({ "sub": "a", "exp": NOW as f64 + 0.5 })),
        hs(&json!({ "sub": "a", "nbf": NOW + 4, "unknown": [[]] })),
    ];
    for token in taken {
        assert!(keys().connection(&token, now()).is_ok());
    }
}

#[test]
fn expire_at_says_when_the_connection_ends_whatever_exp_says() {
    let expires = |claims: Value| keys().connection(&hs(&claims), now()).unwrap().expires;
    assert_eq!(expires(json!({ "exp": NOW + 5, "expire_at": 0 })), None);
    let later = Time::from_micros((NOW + 90) * 1_000_000);
    assert_eq!(
        expires(json!({ "exp": NOW + 5, "expire_at": NOW + 90 })),
        Some(later)
    );
}

#[test]
fn audience_and_issuer_are_asked_for_where_they_are_set() {
    let keys = keys().with_audience("us").with_issuer("them");
    let rows = [
        (json!({ "aud": "us", "iss": "them" }), true),
        (json!({ "aud": ["x", "us"], "iss": "them" }), true),
        (json!({ "aud": ["x"], "iss": "them" }), false),
        (json!({ "aud": "us" }), false),
        (json!({ "iss": "them" }), false),
    ];
    for (claims, taken) in rows {
        assert_eq!(
            keys.connection(&hs(&claims), now()).is_ok(),
            taken,
            "{claims}"
        );
    }
}

#[test]
fn a_subscription_token_names_its_channel() {
    let ticket = keys().subscription(
        &hs(&json!({ "sub": "ann", "channel": "$x", "info": 1, "exp": NOW + 9 })),
        now(),
    );
    let ticket = ticket.unwrap();
    assert_eq!((&*ticket.user, &*ticket.channel), ("ann", "$x"));
    assert_eq!(ticket.info.unwrap().as_str(), "1");
    for bad in [json!({ "sub": "ann" }), json!({ "channel": "" })] {
        assert_eq!(
            keys().subscription(&hs(&bad), now()),
            Err(BadToken::Invalid)
        );
    }
}

/// Public keys must not serve as secrets, nor may a token choose another algorithm than its key's.
#[test]
fn the_key_decides_the_algorithm() {
    let public = include_str!("test-keys/rsa.pub.pem");
    let keys = TokenKeys::new().with_pem(public).unwrap();
    let claims = json!({ "sub": "mallory" });
    let secret = EncodingKey::from_secret(public.as_bytes());
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let token = signed(algorithm, &secret, None, &claims);
        assert_eq!(keys.connection(&token, now()), Err(BadToken::Invalid));
    }
}

#[test]
fn every_kind_of_key_verifies_its_algorithms() {
    let rsa = EncodingKey::from_rsa_pem(include_bytes!("test-keys/rsa.pem")).unwrap();
    let p256 = EncodingKey::from_ec_pem(include_bytes!("test-keys/p256.pem")).unwrap();
    let p384 = EncodingKey::from_ec_pem(include_bytes!("test-keys/p384.pem")).unwrap();
    let ed = EncodingKey::from_ed_pem(include_bytes!("test-keys/ed25519.pem")).unwrap();
    let secret = EncodingKey::from_secret(b"secret");
    let (rsa_pub, p256_pub, p384_pub, ed_pub) = (
        include_str!("test-keys/rsa.pub.pem"),
        include_str!("test-keys/p256.pub.pem"),
        include_str!("test-keys/p384.pub.pem"),
        include_str!("test-keys/ed25519.pub.pem"),
    );
    use Algorithm::*;
    let rows = [
        (HS256, &secret, ""),
        (HS384, &secret, ""),
        (HS512, &secret, ""),
        (RS256, &rsa, rsa_pub),
        (RS384, &rsa, rsa_pub),
        (RS512, &rsa, rsa_pub),
        (PS256, &rsa, rsa_pub),
        (ES256, &p256, p256_pub),
        (ES384, &p384, p384_pub),
        (EdDSA, &ed, ed_pub),
    ];
    let claims = json!({ "sub": "ann" });
    for (algorithm, private, public) in rows {
        let token = signed(algorithm, private, None, &claims);
        let own = match public {
            "" => keys(),
            pem => TokenKeys::new().with_pem(pem).unwrap(),
        };
        assert!(own.connection(&token, now()).is_ok(), "{algorithm:?}");
        for foreign in [rsa_pub, p256_pub, p384_pub, ed_pub] {
            if foreign != public {
                let keys = TokenKeys::new().with_pem(foreign).unwrap();
                let refused = keys.connection(&token, now());
                assert_eq!(refused, Err(BadToken::Invalid), "{algorithm:?}");
            }
        }
    }
    assert!(TokenKeys::new().with_pem("not a key").is_err());
    assert!(TokenKeys::new().with_secret(b"").is_err());
}

#[test]
fn a_key_set_is_searched_by_kid_and_replaced_whole() {
    let ed = EncodingKey::from_ed_pem(include_bytes!("test-keys/ed25519.pem")).unwrap();
    let claims = json!({ "sub": "ann" });
    let token = signed(Algorithm::EdDSA, &ed, Some("one"), &claims);
    let set = |kid: &str| {
        let x = include_str!("test-keys/ed25519.x").trim();
        json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "use": "sig" },
            { "kty": "oct", "k": "c2VjcmV0", "kid": "shared" },
        ]})
        .to_string()
    };
    let waiting = TokenKeys::new().fetched();
    let unknown = Err(BadToken::UnknownKey("one".to_owned()));
    assert_eq!(waiting.connection(&token, now()), unknown);
    let keys = waiting.with_jwks(&set("one")).unwrap();
    assert_eq!(keys.count(), (0, 1), "a shared secret is no public key");
    assert!(keys.connection(&token, now()).is_ok());
    let anonymous = signed(Algorithm::EdDSA, &ed, None, &claims);
    assert!(
        keys.connection(&anonymous, now()).is_ok(),
        "no kid: any key will do"
    );
    let turned = keys.with_jwks(&set("two")).unwrap();
    assert_eq!(turned.connection(&token, now()), unknown);
    assert!(TokenKeys::new().with_jwks("{}").is_err());
}

#[test]
fn keys_are_not_shown() {
    assert_eq!(format!("{:?}", keys()), "TokenKeys(1 given, 0 fetched)");
}
