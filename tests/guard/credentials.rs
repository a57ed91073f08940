//! S1–S5, H2 and R1 by identity: a session ends when its credential ends, and who has none stays outside.

use crate::support::admin::{ADMIN_TOKEN, ask, order};
use crate::support::client::{Ask, Client};
use crate::support::guard::Guard;
use crate::support::upstream::Upstream;
use crate::support::wire::{CLOSE, TEXT, field};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SECRET: &str = "a secret of the issuer that is long enough";

const ISSUER: &str = "[[issuers]]\nissuer = \"https://id.example\"\naudience = \"chat\"\n\
    algorithms = [\"HS256\"]\nhmac_secret = \"a secret of the issuer that is long enough\"\n";

fn unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

pub(crate) fn claims(sub: &str, seconds: u64) -> Value {
    json!({
        "iss": "https://id.example", "aud": "chat", "sub": sub, "jti": format!("jti-{sub}"),
        "sid": format!("sid-{sub}"), "iat": unix(), "nbf": unix() - 60, "exp": unix() + seconds,
        "roles": ["member"],
    })
}

pub(crate) fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), claims, &key).expect("it signs")
}

pub(crate) fn token(sub: &str, seconds: u64) -> String {
    signed(&claims(sub, seconds))
}

/// A guard that asks for a credential, and obeys operators.
pub(crate) fn guard(upstream: &Upstream, policy: &str) -> Guard {
    let policy = format!("{policy}\n{ISSUER}");
    Guard::start(
        &upstream.url(),
        Some(&policy),
        &["--admin-token", ADMIN_TOKEN],
    )
}

pub(crate) fn with_token(guard: &Guard, token: &str) -> Ask {
    Ask::new(guard.address, "/").with("Authorization", &format!("Bearer {token}"))
}

/// The Close that ends the connection, and how many frames came before it.
fn end(client: &mut Client) -> (u16, String, usize) {
    let mut before = 0;
    loop {
        let frame = client.frame();
        if frame.opcode() == CLOSE {
            let reason = String::from_utf8_lossy(&frame.payload[2..]).into_owned();
            return (frame.code(), reason, before);
        }
        before += 1;
    }
}

#[test]
fn s1_a_silent_client_is_closed_when_its_token_expires_and_hears_nothing_after() {
    // The upstream pushes until it is cut off.
    let upstream = Upstream::start(|mut call| {
        call.answer("");
        while call.stream.peer_addr().is_ok() {
            let push = crate::support::wire::plain(TEXT, b"push");
            if std::io::Write::write_all(&mut call.stream, &push).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let guard = guard(&upstream, "[auth]");
    let started = Instant::now();
    let mut client = Client::opened(guard.address, &with_token(&guard, &token("alice", 3)));
    let (code, reason, pushes) = end(&mut client);
    assert_eq!((code, reason.as_str()), (1008, "token_expired"));
    assert!(pushes > 0, "it was open before");
    // exp is in whole seconds; early would be wrong on any machine, late only on a slow one.
    assert!(
        started.elapsed() >= Duration::from_millis(1_900),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(client.rest(), b"", "and nothing is pushed after the Close");
}

#[test]
fn s1_the_close_code_is_the_policys() {
    let upstream = Upstream::echo();
    let guard = guard(&upstream, "[auth]\nend_code = 4001\n");
    let mut client = Client::opened(guard.address, &with_token(&guard, &token("alice", 2)));
    let (code, reason, _) = end(&mut client);
    assert_eq!((code, reason.as_str()), (4001, "token_expired"));
    let seen = upstream
        .seen
        .wait("the Close", |notes| !notes.closes().is_empty());
    assert_eq!(
        seen.closes(),
        [1001],
        "the upstream learns that the client has gone"
    );
}

#[test]
fn s2_s4_who_is_revoked_is_closed_everywhere_and_does_not_come_back() {
    for (by, value, same) in [
        ("jti", "jti-alice", "alice"),
        ("sub", "alice", "alice"),
        ("sid", "sid-alice", "alice"),
    ] {
        let upstream = Upstream::echo();
        let guard = guard(&upstream, "[auth]");
        let admin = guard.admin();
        // Several connections, so that every worker has one.
        let asked = with_token(&guard, &token(same, 600));
        let mut hers: Vec<Client> = (0..6)
            .map(|_| Client::opened(guard.address, &asked))
            .collect();
        let mut his = Client::opened(guard.address, &with_token(&guard, &token("bob", 600)));
        let json = format!("{{\"by\":\"{by}\",\"value\":\"{value}\"}}");
        assert_eq!(order(admin, "/revoke", &json).0, 200);
        for client in &mut hers {
            let (code, reason, _) = end(client);
            assert_eq!((code, reason.as_str()), (1008, "revoked"), "{by}");
        }
        // Which worker a connection gets, nobody says; each hears of it in its own time.
        let deadline = Instant::now() + crate::support::PATIENCE;
        let mut refused = 0;
        while refused < 6 {
            match Client::ask(guard.address, &asked).status() {
                401 => refused += 1,
                _ => assert!(Instant::now() < deadline, "{by}: she still comes in"),
            }
        }
        his.say(TEXT, b"still here");
        assert_eq!(
            his.next().payload,
            b"still here",
            "{by}: another user stays"
        );
    }
}

#[test]
fn s3_who_loses_the_role_of_a_route_is_closed() {
    let upstream = Upstream::echo();
    let guard = guard(&upstream, "[auth]\nroles = [\"member\"]\n");
    let mut client = Client::opened(guard.address, &with_token(&guard, &token("alice", 600)));
    assert_eq!(
        order(
            guard.admin(),
            "/roles",
            r#"{"sub":"alice","roles":["member","x"]}"#
        )
        .0,
        200
    );
    client.say(TEXT, b"still allowed");
    assert_eq!(client.next().payload, b"still allowed");
    assert_eq!(
        order(
            guard.admin(),
            "/roles",
            r#"{"sub":"alice","roles":["guest"]}"#
        )
        .0,
        200
    );
    let (code, reason, _) = end(&mut client);
    assert_eq!((code, reason.as_str()), (1008, "role"));
    let mut guest = claims("eve", 600);
    guest["roles"] = json!(["guest"]);
    assert_eq!(
        Client::ask(guard.address, &with_token(&guard, &signed(&guest))).status(),
        403
    );
}

#[test]
fn s5_bad_tokens_get_401_and_the_upstream_sees_nothing() {
    let upstream = Upstream::echo();
    let guard = guard(&upstream, "[auth]");
    let with = |key: &str, value: Value| {
        let mut claims = claims("alice", 600);
        claims[key] = value;
        signed(&claims)
    };
    let without = |key: &str| {
        let mut claims = claims("alice", 600);
        claims.as_object_mut().expect("an object").remove(key);
        signed(&claims)
    };
    let good = token("alice", 600);
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let (head, payload) = message.split_once('.').expect("three parts");
    let by = |algorithm, key: &[u8]| {
        encode(
            &Header::new(algorithm),
            &claims("alice", 600),
            &EncodingKey::from_secret(key),
        )
        .expect("it signs")
    };
    // {"alg":"none"}, as base64url.
    let none = "eyJhbGciOiJub25lIn0";
    let rows = [
        ("no token at all", String::new()),
        ("words", "let me in".into()),
        ("alg none, no signature", format!("{none}.{payload}.")),
        (
            "alg none, a signature",
            format!("{none}.{payload}.{signature}"),
        ),
        ("no signature", format!("{message}.")),
        (
            "half a signature",
            format!("{message}.{}", &signature[..20]),
        ),
        (
            "another's signature",
            format!(
                "{head}.{}.{signature}",
                with("sub", json!("root"))
                    .split('.')
                    .nth(1)
                    .expect("a payload")
            ),
        ),
        ("two parts", message.to_owned()),
        ("four parts", format!("{good}.x")),
        ("another secret", by(Algorithm::HS256, b"another secret")),
        ("HS512", by(Algorithm::HS512, SECRET.as_bytes())),
        ("HS384", by(Algorithm::HS384, SECRET.as_bytes())),
        ("no iss", without("iss")),
        ("another iss", with("iss", json!("https://evil.example"))),
        ("no aud", without("aud")),
        ("another aud", with("aud", json!("mail"))),
        ("no exp", without("exp")),
        ("exp over", with("exp", json!(unix() - 1))),
        ("exp as text", with("exp", json!("9999999999"))),
        ("exp negative", with("exp", json!(-1))),
        ("no nbf", without("nbf")),
        ("nbf to come", with("nbf", json!(unix() + 3_600))),
        ("no sub", without("sub")),
        ("an empty sub", with("sub", json!(""))),
        ("sub as a number", with("sub", json!(7))),
    ];
    for (name, token) in &rows {
        let client = Client::ask(guard.address, &with_token(&guard, token));
        assert_eq!(client.status(), 401, "{name}: {}", client.head);
        assert_eq!(
            field(&client.head, "www-authenticate"),
            Some("Bearer"),
            "{name}"
        );
    }
    assert_eq!(
        Client::ask(guard.address, &Ask::new(guard.address, "/")).status(),
        401,
        "none"
    );
    drop(Client::opened(guard.address, &with_token(&guard, &good)));
    let seen = upstream
        .seen
        .wait("the good one", |notes| notes.connections > 0);
    assert_eq!(seen.connections, 1, "up=0 for all rows");
}

#[test]
fn h2_tickets_are_good_once_and_tokens_are_neither_sent_on_nor_answered() {
    let upstream = Upstream::echo();
    let policy = "[subprotocols]\nallow = [\"chat\"]\n\
        [auth]\nsources = [\"ticket\", \"subprotocol\"]\n[[routes]]\nname = \"chat\"\nprefix = \"/\"\n";
    let guard = guard(&upstream, policy);
    let admin = guard.admin();
    let origin = format!("http://{}", guard.address);
    let token = token("alice", 600);
    let body = json!({ "token": token, "route": "chat", "origin": origin }).to_string();
    let (status, answer) = order(admin, "/tickets", &body);
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let ticket = answer["ticket"].as_str().expect("a ticket");
    let asked = Ask::new(guard.address, &format!("/x?a=1&ticket={ticket}")).with("Origin", &origin);
    drop(Client::opened(guard.address, &asked));
    assert_eq!(Client::ask(guard.address, &asked).status(), 401, "once");
    let asked = Ask::new(guard.address, "/x")
        .with("Origin", &origin)
        .with("Sec-WebSocket-Protocol", &format!("bearer.{token}, chat"));
    let client = Client::opened(guard.address, &asked);
    assert!(!client.head.contains(&token), "{}", client.head);
    let seen = upstream.seen.wait("both", |notes| notes.heads.len() == 2);
    assert!(
        seen.heads[0].starts_with("GET /x?a=1 HTTP/1.1\r\n"),
        "{}",
        seen.heads[0]
    );
    assert_eq!(
        field(&seen.heads[1], "sec-websocket-protocol"),
        Some("chat")
    );
    for head in &seen.heads {
        assert!(!head.contains(ticket) && !head.contains(&token), "{head}");
    }
    for secret in [ticket, token.as_str()] {
        assert!(!guard.log().contains(secret), "{}", guard.log());
    }
    let wrong = json!({ "token": "x", "route": "chat" }).to_string();
    assert_eq!(order(admin, "/tickets", &wrong).0, 400);
    let elsewhere = json!({ "token": token, "route": "mail" }).to_string();
    assert_eq!(order(admin, "/tickets", &elsewhere).0, 400);
}

#[test]
fn the_first_message_may_be_the_token_and_goes_no_further() {
    let upstream = Upstream::start(|mut call| {
        call.answer("");
        call.send(&crate::support::wire::plain(
            TEXT,
            b"hello from the upstream",
        ));
        call.echo();
    });
    let guard = guard(
        &upstream,
        "[auth]\nsources = [\"message\"]\nfirst_message = \"2s\"\n",
    );
    let mut client = Client::open(guard.address);
    client.say(TEXT, token("alice", 600).as_bytes());
    client.say(TEXT, b"now I speak");
    assert_eq!(client.next().payload, b"hello from the upstream");
    assert_eq!(client.next().payload, b"now I speak");
    let seen = upstream.seen.now();
    assert_eq!(
        seen.data().len(),
        1,
        "the token went no further: {:?}",
        seen.frames
    );
    let mut forger = Client::open(guard.address);
    forger.say(TEXT, b"not a token");
    let (code, reason, heard) = end(&mut forger);
    assert_eq!(
        (code, reason.as_str(), heard),
        (1008, "token_malformed", 0),
        "and hears nothing"
    );
    let mut silent = Client::open(guard.address);
    let (code, reason, heard) = end(&mut silent);
    assert_eq!((code, reason.as_str(), heard), (1008, "token_missing", 0));
}

#[test]
fn r1_a_user_and_a_route_have_their_caps_and_a_place_is_free_again() {
    let upstream = Upstream::echo();
    let policy = "[connections]\nper_identity = 2\n[auth]\n[limits]\nconnections = 3\n";
    let guard = guard(&upstream, policy);
    let alice = with_token(&guard, &token("alice", 600));
    let mut first = Client::opened(guard.address, &alice);
    let _second = Client::opened(guard.address, &alice);
    let refused = Client::ask(guard.address, &alice);
    assert_eq!(refused.status(), 429, "{}", refused.head);
    assert!(field(&refused.head, "retry-after").is_some());
    let _other = Client::opened(guard.address, &with_token(&guard, &token("bob", 600)));
    let third = Client::ask(guard.address, &with_token(&guard, &token("carol", 600)));
    assert_eq!(third.status(), 429, "the route is full");
    first.say(CLOSE, &1000u16.to_be_bytes());
    assert_eq!(first.close_code(), 1000);
    first.rest();
    let deadline = Instant::now() + crate::support::PATIENCE;
    while Client::ask(guard.address, &alice).status() != 101 {
        assert!(Instant::now() < deadline, "its place is never free");
    }
}

#[test]
fn orders_need_the_operators_token() {
    let upstream = Upstream::echo();
    let guard = guard(&upstream, "[auth]");
    let admin = guard.admin();
    for path in ["/reload", "/revoke", "/roles", "/tickets"] {
        assert_eq!(ask(admin, "POST", path, "", "{}").0, 401, "{path}");
        let wrong = "Authorization: Bearer operators-onlx\r\n";
        assert_eq!(ask(admin, "POST", path, wrong, "{}").0, 401, "{path}");
    }
    for bad in [
        "",
        "{}",
        "[]",
        r#"{"by":"name","value":"x"}"#,
        r#"{"by":"sub","value":"x","forr":"1h"}"#,
    ] {
        assert_eq!(order(admin, "/revoke", bad).0, 400, "{bad}");
    }
    let none = Guard::with_policy(&upstream.url(), &format!("[auth]\n{ISSUER}"));
    assert_eq!(
        ask(none.admin(), "POST", "/revoke", "", "{}").0,
        403,
        "there is no token to give"
    );
}
