//! Requests at a door: pages, paths, credentials, crowds. Tokens are signed as an issuer signs them.

use super::*;
use crate::behaviour::Behaviours;
use crate::credential::{Revocation, RevokedBy, Unsigned};
use crate::policy::Issuer;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;
use std::time::Duration;
use tidegate_proto::HeadLimits;
use tidegate_proto::handshake::server::{Head, parse};

const SECRET: &[u8] = b"a secret of the issuer";
const NOW: u64 = 1_796_000_000;
const ISSUER: &str = "[[issuers]]\nissuer = \"https://id.example\"\naudience = \"chat\"\nalgorithms = [\"HS256\"]\n\
                      hmac_secret = \"a secret of the issuer\"\n";

fn now() -> Time {
    Time::from_micros(NOW * 1_000_000)
}

fn later(seconds: u64) -> Time {
    now() + Duration::from_secs(seconds)
}

/// Verifies as the binary does; an issuer whose name says so has no keys yet.
fn verifier() -> Verifier {
    Arc::new(|issuer: &Issuer, token: &str| {
        if issuer.issuer.contains("nokeys") {
            return Err(Unsigned::NoKeys);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Unsigned::Wrong)?;
        match signature == signed(message, SECRET) {
            true => Ok(()),
            false => Err(Unsigned::Wrong),
        }
    })
}

/// HS256: HMAC (RFC 2104) with SHA-256. The binary's tests have tokens by a library.
fn signed(message: &str, secret: &[u8]) -> String {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block
            .iter_mut()
            .zip(secret)
            .for_each(|(octet, key)| *octet ^= key);
        block
    };
    let inner = Sha256::new_with_prefix(pad(0x36))
        .chain_update(message)
        .finalize();
    let outer = Sha256::new_with_prefix(pad(0x5c))
        .chain_update(inner)
        .finalize();
    URL_SAFE_NO_PAD.encode(outer)
}

fn door(policy: &str) -> Door {
    let policy = Policy::parse(policy)
        .map_err(|fault| fault.to_string())
        .expect("a policy");
    let shared = Shared {
        verifier: verifier(),
        tickets: Arc::default(),
        crowd: Arc::default(),
        unwritten: Arc::default(),
        behaviours: Arc::new(Behaviours::new(1)),
    };
    Door::new(Arc::new(policy), shared)
}

fn request(target: &str, fields: &[&str]) -> Request {
    let host = match fields.iter().any(|field| field.starts_with("Host:")) {
        true => "",
        false => "Host: localhost:8080\r\n",
    };
    let more: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let head = format!(
        "GET {target} HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    );
    match parse(head.as_bytes(), false, &HeadLimits::default()).0 {
        Head::Upgrade(request) => request,
        other => panic!("{target} {fields:?}: {other:?}"),
    }
}

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn judged(door: &Door, target: &str, fields: &[&str]) -> Result<Pass, (u16, &'static str)> {
    door.judge(&request(target, fields), LOCAL, now())
        .map_err(|refused| (refused.rejection.sent_status(), refused.rule))
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example", "aud": "chat", "sub": "alice", "jti": "t1", "sid": "s1",
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 60, "roles": ["member"],
    })
}

fn token(claims: &Value) -> String {
    token_of(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string())
}

/// Any header and claims, rightly signed.
fn token_of(header: &str, claims: &str) -> String {
    token_by(header, claims, SECRET)
}

fn token_by(header: &str, claims: &str, secret: &[u8]) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = signed(&message, secret);
    format!("{message}.{signature}")
}

fn bearer(door: &Door, token: &str) -> Result<Bearer, (u16, &'static str)> {
    let field = format!("Authorization: Bearer {token}");
    judged(door, "/", &[&field]).map(|pass| pass.bearer.expect("auth is asked"))
}

#[test]
fn hostile_pages_stay_outside() {
    let door =
        door("[server]\nhosts = [\"api.example\"]\n[origins]\nallow = [\"https://app.example\"]\n");
    let mut hostile: Vec<String> = Vec::new();
    let names = ["app.example", "api.example", "localhost", "127.0.0.1"];
    for name in names {
        for scheme in [
            "https",
            "http",
            "ws",
            "wss",
            "ftp",
            "file",
            "chrome-extension",
            "HTTPSS",
        ] {
            for (before, after) in [
                ("", ".evil.example"),
                ("evil-", ""),
                ("evil.", ""),
                ("", "evil"),
                ("", "."),
                ("", ":1"),
                ("", ":8443"),
                ("", "/"),
                ("", "/x"),
                ("", "?x"),
                ("", "#x"),
                ("u@", ""),
                ("evil.example@", ""),
                ("", "@evil.example"),
                ("", "%00.evil.example"),
                ("", "%2eevil.example"),
                (" ", ""),
                ("", ",https://evil.example"),
            ] {
                hostile.push(format!("{scheme}://{before}{name}{after}"));
            }
        }
    }
    for odd in [
        "null",
        "NULL",
        "Null",
        "",
        "*",
        "https://",
        "://app.example",
        "app.example",
        "//app.example",
        "https:/app.example",
        "https://app.example https://app.example",
        "https://app\\.example",
        "https://[::1",
        "https://xn--pp-fkb.example",
        "https://аpp.example",
        "https://0x7f000001",
        "https://2130706433",
        "http://app.example",
        "https://appxexample",
        "https://example",
        "https://.app.example",
    ] {
        hostile.push(odd.to_owned());
    }
    assert!(hostile.len() > 200, "{}", hostile.len());
    for origin in &hostile {
        let field = format!("Origin: {origin}");
        let found = judged(&door, "/", &["Host: api.example", &field]);
        assert_eq!(
            found.map(|_| ()).map_err(|(status, _)| status),
            Err(403),
            "{origin:?}"
        );
    }
    let two = [
        "Host: api.example",
        "Origin: https://app.example",
        "Origin: https://app.example",
    ];
    assert_eq!(
        judged(&door, "/", &two).map(|_| ()),
        Err((403, "origin_repeated"))
    );
    for good in [
        "https://app.example",
        "https://APP.example",
        "https://app.example:443",
        "http://api.example",
        "https://api.example",
    ] {
        let field = format!("Origin: {good}");
        assert!(
            judged(&door, "/", &["Host: api.example", &field]).is_ok(),
            "{good}"
        );
    }
}

#[test]
fn without_origin_a_cookie_decides() {
    let plain = door("");
    assert_eq!(
        judged(&plain, "/", &["Cookie: id=1"]).map(|_| ()),
        Err((403, "origin_missing"))
    );
    assert!(judged(&plain, "/", &["Authorization: Bearer x"]).is_ok());
    let strict = door("[origins]\nmissing = \"refuse\"\n");
    assert_eq!(
        judged(&strict, "/", &[]).map(|_| ()),
        Err((403, "origin_missing"))
    );
    let loose = door(
        "[origins]\nmissing = \"allow\"\nnull = \"allow\"\nmalformed = \"allow\"\nrepeated = \"allow\"\n",
    );
    for fields in [
        &["Cookie: id=1"][..],
        &["Origin: null"],
        &["Origin: x/y"],
        &["Origin: a", "Origin: b"],
    ] {
        assert!(judged(&loose, "/", fields).is_ok(), "{fields:?}");
    }
    assert_eq!(
        judged(&loose, "/", &["Origin: https://evil.example"]).map(|_| ()),
        Err((403, "origin_foreign"))
    );
}

#[test]
fn hosts_and_paths_are_judged_before_anything_else() {
    let door = door("[[routes]]\nprefix = \"/chat\"\n");
    assert_eq!(
        judged(&door, "/chat", &["Host: evil.example"]).map(|_| ()),
        Err((421, "host"))
    );
    assert_eq!(judged(&door, "/other", &[]).map(|_| ()), Err((404, "path")));
    // A target that names a host, too.
    let named = |target: &str| judged(&door, target, &[]).map(|_| ());
    assert_eq!(named("http://localhost:8080/chat"), Ok(()));
    assert_eq!(named("http://localhost/chat"), Err((400, "host_twice")));
    for path in [
        "/chat%2f..",
        "/chat/../admin",
        "/chat;x",
        "/chat\\x",
        "/chat%00",
        "/chat%23x",
        "//chat",
        "/chat/%2e%2e/x",
    ] {
        assert_eq!(
            judged(&door, path, &[]).map(|_| ()),
            Err((400, "path_confusion")),
            "{path}"
        );
    }
    let pass = judged(&door, "/%63hat/%7Ea?x=1", &[]).expect("fine");
    assert_eq!(
        (&*pass.path, pass.query.as_deref()),
        ("/chat/~a", Some("x=1"))
    );
}

#[test]
fn plain_websockets_come_from_this_machine_only() {
    let far = "192.0.2.1".parse().expect("an address");
    let refused = door("")
        .judge(&request("/", &[]), far, now())
        .expect_err("plain");
    assert_eq!(
        (refused.rejection.sent_status(), refused.rule),
        (403, "plain")
    );
    assert!(
        door("[server]\nallow_plain = true\n")
            .judge(&request("/", &[]), far, now())
            .is_ok()
    );
    assert!(
        door("")
            .judge(
                &request("/", &[]),
                "::ffff:127.0.0.1".parse().expect("an address"),
                now()
            )
            .is_ok()
    );
}

#[test]
fn only_listed_subprotocols_reach_the_upstream() {
    let door = door("[subprotocols]\nallow = [\"chat.v2\", \"chat.v3\"]\nrequired = true\n");
    let pass = judged(&door, "/", &["Sec-WebSocket-Protocol: x, chat.v3, chat.v2"]).expect("fine");
    assert_eq!(pass.subprotocols, ["chat.v3", "chat.v2"]);
    for fields in [
        &[][..],
        &["Sec-WebSocket-Protocol: x"],
        &["Sec-WebSocket-Protocol: CHAT.V2"],
    ] {
        assert_eq!(
            judged(&door, "/", fields).map(|_| ()),
            Err((400, "subprotocol")),
            "{fields:?}"
        );
    }
}

#[test]
fn bad_tokens_are_told_apart_for_us_and_not_for_the_client() {
    let door = door(&format!("{ISSUER}[auth]\n"));
    let good = token(&claims());
    assert_eq!(
        bearer(&door, &good).map(|bearer| bearer.subject),
        Ok("alice".into())
    );
    let with = |key: &str, value: Value| {
        let mut claims = claims();
        claims[key] = value;
        token(&claims)
    };
    let without = |key: &str| {
        let mut claims = claims();
        claims.as_object_mut().expect("an object").remove(key);
        token(&claims)
    };
    let (usual, text) = (r#"{"alg":"HS256","typ":"JWT"}"#, claims().to_string());
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let other_key = token_by(usual, &text, b"another secret");
    let rows: Vec<(String, &str)> = vec![
        (String::new(), "token_malformed"),
        ("x".into(), "token_malformed"),
        ("a.b".into(), "token_malformed"),
        (format!("{good}.x"), "token_malformed"),
        (format!("{message}."), "token_signature"),
        (
            format!("{message}.{}", signature.to_ascii_uppercase()),
            "token_signature",
        ),
        (format!("{message}.{signature}="), "token_malformed"),
        (other_key, "token_signature"),
        (token_of(r#"{"alg":"none"}"#, &text), "token_algorithm"),
        (token_of(r#"{"alg":"None"}"#, &text), "token_algorithm"),
        (token_of(r#"{"alg":"HS512"}"#, &text), "token_algorithm"),
        (token_of(r#"{"alg":"RS256"}"#, &text), "token_algorithm"),
        (token_of(r#"{"alg":["HS256"]}"#, &text), "token_malformed"),
        (token_of(r#"{"typ":"JWT"}"#, &text), "token_malformed"),
        (
            token_of(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, &text),
            "token_header",
        ),
        (
            token_of(r#"{"alg":"HS256","typ":"secevent+jwt"}"#, &text),
            "token_header",
        ),
        (
            token_of(r#"{"alg":"RS256","alg":"HS256"}"#, &text),
            "token_malformed",
        ),
        (token_of(usual, "[]"), "token_malformed"),
        (token_of(usual, "{"), "token_malformed"),
        (
            token_of(usual, &text.replacen('{', r#"{"sub":"root","#, 1)),
            "token_malformed",
        ),
        (without("iss"), "token_issuer"),
        (with("iss", json!("https://evil.example")), "token_issuer"),
        (with("iss", json!("https://id.example/")), "token_issuer"),
        (without("aud"), "token_audience"),
        (with("aud", json!("other")), "token_audience"),
        (with("aud", json!([])), "token_audience"),
        (without("exp"), "token_no_exp"),
        (with("exp", json!(NOW)), "token_expired"),
        (with("exp", json!(NOW - 1)), "token_expired"),
        (with("exp", json!("2099")), "token_malformed"),
        (with("exp", json!(-1)), "token_malformed"),
        (with("exp", json!(1e300)), "token_malformed"),
        (without("nbf"), "token_no_nbf"),
        (with("nbf", json!(NOW + 1)), "token_early"),
        (without("sub"), "token_no_sub"),
        (with("sub", json!("")), "token_no_sub"),
        (with("sub", json!(7)), "token_malformed"),
        (with("pad", json!("x".repeat(7_000))), "token_too_long"),
    ];
    for (token, expected) in rows {
        // The head has its own limit of 8 KiB a line, so long ones are judged without a request.
        let auth = door.policy().routes()[0].auth.clone().expect("asked");
        let found = credential::judge(
            &token,
            &door.policy().issuers,
            &auth,
            &door.shared.verifier,
            now(),
        );
        assert_eq!(found.map_err(|bad| bad.name()), Err(expected), "{token}");
        if token.len() < 7_000 {
            assert_eq!(bearer(&door, &token), Err((401, expected)), "{token}");
        }
    }
    let refused = door
        .judge(&request("/", &["Authorization: Bearer x"]), LOCAL, now())
        .expect_err("bad");
    assert!(
        refused
            .rejection
            .headers()
            .any(|header| header == ("WWW-Authenticate", "Bearer"))
    );
    assert!(
        !refused.rejection.message.contains("malformed"),
        "the client learns nothing"
    );
}

#[test]
fn leeway_is_for_clocks_and_missing_keys_have_their_word() {
    let open = door(&format!("{ISSUER}[auth]\nleeway = \"5s\"\n"));
    let mut claims = claims();
    claims["exp"] = json!(NOW - 4);
    claims["nbf"] = json!(NOW + 5);
    let ends = bearer(&open, &token(&claims)).map(|bearer| bearer.ends);
    assert_eq!(ends, Ok(later(1)));
    let nokeys = ISSUER.replace("id.example", "nokeys.example");
    let mut claims = self::claims();
    claims["iss"] = json!("https://nokeys.example");
    let closed = door(&format!("{nokeys}[auth]\n"));
    assert_eq!(
        bearer(&closed, &token(&claims)),
        Err((401, "token_no_keys"))
    );
    let open = door(&format!("{nokeys}[auth]\n[fail]\ncredentials = \"open\"\n"));
    assert!(bearer(&open, &token(&claims)).is_ok());
}

#[test]
fn a_token_is_taken_from_where_the_policy_says_in_its_order() {
    let mut bob = claims();
    bob["sub"] = json!("bob");
    let (alice, bob) = (token(&claims()), token(&bob));
    let all = door(&format!(
        "{ISSUER}[subprotocols]\nallow = [\"*\"]\n\
         [auth]\nsources = [\"subprotocol\", \"cookie\", \"header\"]\ncookie = \"sid\"\n"
    ));
    let (header, cookie) = (
        format!("Authorization: bearer {alice}"),
        format!("Cookie: a=b; sid={bob}; c=d"),
    );
    let protocol = format!("Sec-WebSocket-Protocol: chat, bearer.{alice}");
    let same = "Origin: http://localhost:8080";
    let who = |door: &Door, fields: &[&str]| {
        let fields: Vec<&str> = fields.iter().copied().chain([same]).collect();
        judged(door, "/", &fields)
            .map(|pass| (pass.bearer.expect("asked").subject, pass.subprotocols))
    };
    let (alice_is, bob_is): (Box<str>, Box<str>) = ("alice".into(), "bob".into());
    let chat = vec!["chat".to_owned()];
    assert_eq!(
        who(&all, &[&header, &cookie]),
        Ok((alice_is.clone(), vec![])),
        "the header counts first"
    );
    assert_eq!(
        who(&all, &[&cookie, &protocol]),
        Ok((bob_is, chat.clone())),
        "and the token is stripped"
    );
    assert_eq!(who(&all, &[&protocol]), Ok((alice_is, chat)));
    assert_eq!(who(&all, &[]), Err((401, "token_missing")));
    assert_eq!(
        who(&all, &["Authorization: Bearer x", &cookie]),
        Err((401, "token_malformed")),
        "a bad one decides"
    );
    assert_eq!(who(&all, &[&header, &header]), Err((401, "token_twice")));
    assert_eq!(who(&all, &[&cookie, &cookie]), Err((401, "token_twice")));
    assert_eq!(
        who(&all, &["Authorization: Basic eDp5"]),
        Err((401, "token_missing"))
    );
    let narrow = door(&format!("{ISSUER}[auth]\nsources = [\"cookie\"]\n"));
    assert_eq!(
        who(&narrow, &[&header, &protocol]),
        Err((401, "token_missing")),
        "elsewhere is not looked"
    );
    let optional = door(&format!("{ISSUER}[auth]\nrequired = false\n"));
    assert!(judged(&optional, "/", &[]).is_ok_and(|pass| pass.bearer.is_none()));
    assert_eq!(
        bearer(&optional, "x"),
        Err((401, "token_malformed")),
        "a bad one is worse than none"
    );
    let message = door(&format!("{ISSUER}[auth]\nsources = [\"message\"]\n"));
    let pass = judged(&message, "/", &[]).expect("later");
    assert!(pass.awaits_token && pass.bearer.is_none());
    assert_eq!(
        message
            .first_message(&pass.route, &format!(" {alice}\n"), now())
            .map(|b| b.subject),
        Ok("alice".into())
    );
    assert_eq!(
        message.first_message(&pass.route, "hello", now()),
        Err(BadToken::Malformed)
    );
}

#[test]
fn roles_are_asked_of_roles_or_scope() {
    let door = door(&format!(
        "{ISSUER}[auth]\nroles = [\"member\", \"admin\"]\n"
    ));
    assert!(bearer(&door, &token(&claims())).is_ok());
    let mut other = claims();
    other["roles"] = json!(["guest"]);
    assert_eq!(bearer(&door, &token(&other)), Err((403, "role")));
    other.as_object_mut().expect("an object").remove("roles");
    other["scope"] = json!("read admin");
    assert!(bearer(&door, &token(&other)).is_ok());
}

#[test]
fn a_ticket_is_good_once_soon_and_at_its_place() {
    let door = door(&format!(
        "{ISSUER}[auth]\nsources = [\"ticket\"]\n[[routes]]\nname = \"a\"\nprefix = \"/a\"\n[[routes]]\nname = \"b\"\nprefix = \"/b\"\n"
    ));
    let auth = door.policy().routes()[0].auth.clone().expect("asked");
    let origin = "http://localhost:8080";
    let alice = credential::judge(
        &token(&claims()),
        &door.policy().issuers,
        &auth,
        &door.shared.verifier,
        now(),
    )
    .expect("good");
    let mut n = 0;
    let mut give = || {
        n += 1;
        let mut tickets = door.shared.tickets.lock().expect("no panic");
        tickets
            .give(
                [n; 32],
                alice.clone(),
                "a",
                Some(origin),
                auth.ticket_ttl,
                now(),
            )
            .expect("room")
    };
    let come = |target: String, origin: &str, at: Time| {
        let field = format!("Origin: {origin}");
        let found = door.judge(&request(&target, &[&field]), LOCAL, at);
        found
            .map(|pass| pass.query)
            .map_err(|refused| (refused.rejection.sent_status(), refused.rule))
    };
    let ticket = give();
    let target = format!("/a?x=1&ticket={ticket}&y=2");
    assert_eq!(
        come(target.clone(), origin, later(29)),
        Ok(Some("x=1&y=2".into())),
        "and is not sent on"
    );
    assert_eq!(
        come(target, origin, later(29)),
        Err((401, "ticket")),
        "once"
    );
    for (target, at) in [
        (format!("/b?ticket={}", give()), later(1)),
        (format!("/a?ticket={}", give()), later(30)),
        (format!("/a?ticket={}x", give()), later(1)),
        ("/a?ticket=".to_owned(), later(1)),
    ] {
        assert_eq!(
            come(target.clone(), origin, at),
            Err((401, "ticket")),
            "{target}"
        );
    }
    let ticket = give();
    assert_eq!(
        come(
            format!("/a?ticket={ticket}"),
            "https://localhost:8080",
            later(1)
        ),
        Err((401, "ticket"))
    );
    assert_eq!(
        come(format!("/a?ticket={ticket}"), origin, later(1)),
        Err((401, "ticket")),
        "a try uses it up"
    );
    let twice = format!("/a?ticket={}&ticket={}", give(), give());
    assert_eq!(come(twice, origin, later(1)), Err((401, "token_twice")));
    assert_eq!(
        come("/a".into(), origin, later(1)),
        Err((401, "token_missing"))
    );
}

#[test]
fn who_is_revoked_does_not_come_in_again() {
    let mut door = door(&format!("{ISSUER}[auth]\n"));
    let revoked = |by, value: &str| Revocation {
        by,
        value: value.into(),
        at: now(),
        until: later(3_600),
    };
    let good = token(&claims());
    for (by, value) in [
        (RevokedBy::Token, "t2"),
        (RevokedBy::Subject, "bob"),
        (RevokedBy::Session, "alice"),
    ] {
        door.revocations().add(revoked(by, value)).expect("room");
        assert!(bearer(&door, &good).is_ok(), "{by:?} {value} is another");
    }
    for (by, value) in [
        (RevokedBy::Token, "t1"),
        (RevokedBy::Subject, "alice"),
        (RevokedBy::Session, "s1"),
    ] {
        *door.revocations() = Revocations::default();
        door.revocations().add(revoked(by, value)).expect("room");
        assert_eq!(bearer(&door, &good), Err((401, "token_revoked")), "{by:?}");
    }
    *door.revocations() = Revocations::default();
    door.revocations()
        .add(revoked(RevokedBy::Subject, "alice"))
        .expect("room");
    let mut anew = claims();
    anew["iat"] = json!(NOW + 1);
    assert!(
        bearer(&door, &token(&anew)).is_ok(),
        "who has logged in since is welcome"
    );
    anew.as_object_mut().expect("an object").remove("iat");
    assert_eq!(
        bearer(&door, &token(&anew)),
        Err((401, "token_revoked")),
        "nobody knows when that was"
    );
}

#[test]
fn routes_and_identities_have_their_caps() {
    let door = door(&format!(
        "{ISSUER}[auth]\nrequired = false\n[connections]\nper_identity = 2\n[limits]\nconnections = 3\n"
    ));
    let good = format!("Authorization: Bearer {}", token(&claims()));
    let one = judged(&door, "/", &[&good]).expect("room");
    let _two = judged(&door, "/", &[&good]).expect("room");
    let refused = door
        .judge(&request("/", &[&good]), LOCAL, now())
        .expect_err("two are all");
    assert_eq!(
        (refused.rejection.sent_status(), refused.rule),
        (429, "connections_per_identity")
    );
    assert!(
        refused
            .rejection
            .headers()
            .any(|(name, _)| name == "Retry-After")
    );
    let _three = judged(&door, "/", &[]).expect("a refusal takes no place");
    assert_eq!(
        judged(&door, "/", &[]).map(|_| ()),
        Err((429, "connections_of_route"))
    );
    drop(one);
    assert!(judged(&door, "/", &[&good]).is_ok());
}

#[test]
fn while_nothing_can_be_written_routes_that_fail_closed_take_nobody() {
    let closed = door("[rules]\nmode = \"block\"\n");
    let open = door("");
    for door in [&closed, &open] {
        assert!(judged(door, "/", &[]).is_ok());
        door.shared.unwritten.store(true, Ordering::Relaxed);
    }
    assert_eq!(judged(&closed, "/", &[]).map(|_| ()), Err((503, "audit")));
    assert!(
        judged(&open, "/", &[]).is_ok(),
        "a policy that only watches goes on"
    );
    closed.shared.unwritten.store(false, Ordering::Relaxed);
    assert!(judged(&closed, "/", &[]).is_ok());
}

/// A certificate of the year 2026 with these names.
fn certificate(names: Vec<rcgen::SanType>) -> Vec<u8> {
    certificate_of(names, (2026, 1), (2026, 12))
}

fn certificate_of(names: Vec<rcgen::SanType>, from: (i32, u8), to: (i32, u8)) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).expect("no names");
    params.subject_alt_names = names;
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "spiffe://example.org/root");
    params.not_before = rcgen::date_time_ymd(from.0, from.1, 1);
    params.not_after = rcgen::date_time_ymd(to.0, to.1, 31);
    let key = rcgen::KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("signed").der().to_vec()
}

fn uri(text: &str) -> rcgen::SanType {
    rcgen::SanType::URI(text.try_into().expect("ASCII"))
}

fn dns(text: &str) -> rcgen::SanType {
    rcgen::SanType::DnsName(text.try_into().expect("ASCII"))
}

fn email(text: &str) -> rcgen::SanType {
    rcgen::SanType::Rfc822Name(text.try_into().expect("ASCII"))
}

/// Who may come in with this certificate and these fields; nobody is `None`.
fn shown(
    door: &Door,
    certificate: &[u8],
    fields: &[&str],
) -> Result<Option<Bearer>, (u16, &'static str)> {
    let request = request("/", fields).with_certificate(Some(certificate.into()));
    let pass = door.judge(&request, LOCAL, now());
    pass.map(|pass| pass.bearer)
        .map_err(|refused| (refused.rejection.sent_status(), refused.rule))
}

fn subject(found: Result<Option<Bearer>, (u16, &'static str)>) -> Result<String, &'static str> {
    let bearer = found.map_err(|(status, rule)| {
        assert_eq!(status, 401, "{rule}");
        rule
    })?;
    Ok(bearer.expect("a bearer").subject.into())
}

const BY_CERTIFICATE: &str = "[auth]\nsources = [\"certificate\"]\n";

#[test]
fn t2_the_identity_is_a_name_of_the_certificate_in_the_policys_order_and_never_its_cn() {
    let all = || {
        vec![
            email("web@example.org"),
            dns("WEB.example.org"),
            uri("spiffe://example.org/web"),
            uri("https://example.org/web"),
        ]
    };
    let rows = [
        ("", all(), Ok("spiffe://example.org/web")),
        (
            "certificate_names = [\"dns\", \"uri\"]\n",
            all(),
            Ok("web.example.org"),
        ),
        (
            "certificate_names = [\"email\"]\n",
            all(),
            Ok("web@example.org"),
        ),
        ("", vec![email("web@example.org")], Ok("web@example.org")),
        (
            "",
            vec![dns("*.example.org"), dns("a.example.org")],
            Ok("a.example.org"),
        ),
        (
            "certificate_identities = [\"https://example.org/*\"]\n",
            all(),
            Ok("https://example.org/web"),
        ),
        (
            "certificate_identities = [\"web.example.org\"]\n",
            all(),
            Ok("web.example.org"),
        ),
        (
            "certificate_identities = [\"spiffe://example.org/db\"]\n",
            all(),
            Err("certificate_foreign"),
        ),
        (
            "certificate_identities = [\"spiffe://example.org/root\"]\n",
            all(),
            Err("certificate_foreign"),
        ),
        ("", vec![], Err("certificate_nameless")),
        ("", vec![dns("*.example.org")], Err("certificate_nameless")),
        (
            "",
            vec![rcgen::SanType::IpAddress(LOCAL)],
            Err("certificate_nameless"),
        ),
        (
            "certificate_names = [\"uri\"]\n",
            vec![dns("a.example")],
            Err("certificate_nameless"),
        ),
        ("", vec![uri("no scheme")], Err("certificate_malformed")),
        ("", vec![uri("noscheme")], Err("certificate_malformed")),
        ("", vec![uri("")], Err("certificate_malformed")),
        ("", vec![dns("spiffe://a/b")], Err("certificate_malformed")),
        ("", vec![dns("a\r\nX-A: b")], Err("certificate_malformed")),
        ("", vec![email("nobody")], Err("certificate_malformed")),
        (
            "",
            vec![uri(&format!("spiffe://a/{}", "b".repeat(2_048)))],
            Err("certificate_malformed"),
        ),
    ];
    for (policy, names, expected) in rows {
        let door = door(&format!("{BY_CERTIFICATE}{policy}"));
        let found = subject(shown(&door, &certificate(names.clone()), &[]));
        assert_eq!(found, expected.map(str::to_owned), "{policy} {names:?}");
    }
}

#[test]
fn t2_a_certificate_is_a_credential_with_an_end_and_can_be_revoked() {
    let mut door = door(BY_CERTIFICATE);
    let web = certificate(vec![uri("spiffe://example.org/web")]);
    let bearer = shown(&door, &web, &[]).expect("let in").expect("a bearer");
    // 2026-12-31T00:00:00Z and 2026-01-01T00:00:00Z
    assert_eq!(bearer.ends.unix_seconds(), 1_798_675_200);
    assert_eq!(bearer.issued.map(Time::unix_seconds), Some(1_767_225_600));
    let over = certificate_of(vec![uri("spiffe://a/b")], (2026, 1), (2026, 10));
    assert_eq!(subject(shown(&door, &over, &[])), Err("token_expired"));
    let early = certificate_of(vec![uri("spiffe://a/b")], (2026, 12), (2027, 12));
    assert_eq!(subject(shown(&door, &early, &[])), Err("token_early"));
    let of = |by, value: &str, at| Revocation {
        by,
        value: value.into(),
        at,
        until: later(600),
    };
    let name = "spiffe://example.org/web";
    door.revocations()
        .add(of(RevokedBy::Subject, name, now()))
        .expect("room");
    assert_eq!(subject(shown(&door, &web, &[])), Err("token_revoked"));
    let fresh = certificate_of(vec![uri(name)], (2026, 11), (2026, 12));
    let old = of(RevokedBy::Subject, name, bearer.issued.expect("it is said"));
    door.revocations().add(old).expect("room");
    assert_eq!(subject(shown(&door, &fresh, &[])), Ok(name.to_owned()));
    let print = crate::audit::hex(&Sha256::digest(&fresh));
    door.revocations()
        .add(of(RevokedBy::Token, &print, now()))
        .expect("room");
    assert_eq!(subject(shown(&door, &fresh, &[])), Err("token_revoked"));
}

#[test]
fn t2_a_token_counts_before_the_certificate_and_without_either_there_is_none() {
    let policy = "[auth]\nsources = [\"header\", \"certificate\"]\n";
    let both = door(&format!("{ISSUER}{policy}"));
    let web = certificate(vec![uri("spiffe://example.org/web")]);
    let field = format!("Authorization: Bearer {}", token(&claims()));
    assert_eq!(subject(shown(&both, &web, &[&field])), Ok("alice".into()));
    let bad = shown(&both, &web, &["Authorization: Bearer x"]);
    assert_eq!(subject(bad), Err("token_malformed"));
    let found = subject(shown(&both, &web, &[]));
    assert_eq!(found, Ok("spiffe://example.org/web".into()));
    let none = judged(&both, "/", &[]).map(|_| ());
    assert_eq!(none, Err((401, "token_missing")));
    let may = door(&format!("{BY_CERTIFICATE}required = false\n"));
    assert!(judged(&may, "/", &[]).is_ok_and(|pass| pass.bearer.is_none()));
    assert_eq!(
        subject(shown(&may, b"no certificate", &[])),
        Err("certificate_malformed")
    );
    // Where it is no source, it is no credential.
    let tokens = door(&format!("{ISSUER}[auth]\n"));
    assert_eq!(subject(shown(&tokens, &web, &[])), Err("token_missing"));
    // Roles are a token's.
    let roles = door(&format!("{ISSUER}{policy}roles = [\"member\"]\n"));
    assert!(shown(&roles, &web, &[&field]).is_ok());
    assert_eq!(shown(&roles, &web, &[]).map(|_| ()), Err((403, "role")));
}

#[test]
fn t2_one_identity_has_so_many_places_by_certificate() {
    let door = door(&format!(
        "[connections]\nper_identity = 1\n{BY_CERTIFICATE}"
    ));
    let first = certificate(vec![uri("spiffe://example.org/web")]);
    let second = certificate(vec![uri("spiffe://example.org/web")]);
    let ask = |shown: &[u8]| {
        let request = request("/", &[]).with_certificate(Some(shown.into()));
        door.judge(&request, LOCAL, now())
    };
    let inside = ask(&first).expect("let in");
    let refused = ask(&second).expect_err("the same one again");
    assert_eq!(refused.rule, "connections_per_identity");
    drop(inside);
    assert!(ask(&second).is_ok());
}

#[test]
fn t2_octets_that_are_no_certificate_are_refused() {
    let door = door(BY_CERTIFICATE);
    let whole = certificate(vec![uri("spiffe://example.org/web"), dns("a.example")]);
    for cut in 0..whole.len() {
        let found = subject(shown(&door, &whole[..cut], &[]));
        assert_eq!(found, Err("certificate_malformed"), "{cut} octets");
    }
    let longer = [&whole[..], &[0]].concat();
    assert_eq!(
        subject(shown(&door, &longer, &[])),
        Err("certificate_malformed")
    );
    // Whatever it says now, it says it without a panic.
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xFF] {
            let mut other = whole.clone();
            other[at] ^= flip;
            let _ = shown(&door, &other, &[]);
        }
    }
}
