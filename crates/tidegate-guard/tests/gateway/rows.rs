//! Rows of the threat table that need both ends of a pair and time: budgets, content, credentials that end, behaviour.

use crate::world::{World, frame};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::time::Duration;
use tidegate_guard::RelayMail;
use tidegate_guard::credential::{Revocation, RevokedBy};

const INJECTION: &str = r#"{"id":"1' UNION SELECT password FROM users -- "}"#;
const HARMLESS: &str = r#"{"id":"42","text":"hello"}"#;
const SECOND: Duration = Duration::from_secs(1);

const AUTH: &str = r#"
[[issuers]]
issuer = "https://id.example"
audience = "chat"
algorithms = ["HS256"]
hmac_secret = "0123456789abcdef0123456789abcdef"
[auth]
"#;

/// A token that is good for `seconds`, of a world whose clock has just begun. Its signature is not asked about.
fn token(seconds: u64) -> String {
    let now = 1_800_000_000;
    let claims = format!(
        r#"{{"iss":"https://id.example","aud":"chat","sub":"alice","jti":"t1","sid":"s1","nbf":{now},"iat":{now},
            "exp":{},"roles":["member"]}}"#,
        now + seconds
    );
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2ln", part(r#"{"alg":"HS256"}"#), part(&claims))
}

fn with_token(seconds: u64) -> String {
    format!("Authorization: Bearer {}\r\n", token(seconds))
}

fn messages(world: &World) -> Vec<String> {
    let seen = world.seen.lock().expect("no panic");
    let each = seen.messages.iter();
    each.map(|message| String::from_utf8_lossy(message).into_owned())
        .collect()
}

#[test]
fn what_either_side_says_reaches_the_other() {
    let mut world = World::new("");
    let client = world.open();
    world.say(client, HARMLESS);
    assert_eq!(world.heard(client).as_deref(), Some(HARMLESS));
    assert_eq!(world.counts.up[0].get(), 1);
}

#[test]
fn m12_a_client_beyond_its_budget_is_closed_and_nothing_more_of_it_passes() {
    for (rate, size) in [
        ("messages = { per_second = 10, burst = 10 }", 10),
        ("bytes = { per_second = \"1KiB\", burst = \"1KiB\" }", 100),
    ] {
        let mut world = World::new(&format!("[rates]\n{rate}\n"));
        let client = world.open();
        let one = frame(0x81, &vec![b'x'; size]);
        world.send(client, &one.repeat(30));
        assert_eq!(world.close(client).expect("an end").0, 1008, "{rate}");
        assert_eq!(messages(&world).len(), 10, "{rate}");
        assert_eq!(world.counts.flooded.get(), 1);
        world.pass(30 * SECOND);
        let events = world.events.lock().expect("no panic").clone();
        assert!(events.contains(&"closed budget".to_owned()), "{events:?}");
    }
}

#[test]
fn m1_a_message_that_a_rule_blocks_ends_the_pair_and_does_not_pass() {
    let mut world = World::new("[rules]\nmode = \"block\"\n");
    let client = world.open();
    let octets = [HARMLESS, INJECTION, HARMLESS].map(|text| frame(0x81, text.as_bytes()));
    world.send(client, &octets.concat());
    let (code, reason) = world.close(client).expect("an end");
    assert_eq!(code, 1008);
    assert!(reason.starts_with("sqli"), "{reason}");
    assert_eq!(messages(&world), [HARMLESS]);
    assert_eq!(world.seen.lock().expect("no panic").closed, [Some(1001)]);
}

#[test]
fn m1_what_is_watched_passes_and_is_told() {
    let mut world = World::new("");
    let client = world.open();
    world.say(client, INJECTION);
    assert_eq!(world.heard(client).as_deref(), Some(INJECTION));
    let events = world.events.lock().expect("no panic").clone();
    assert!(
        events.iter().any(|event| event.starts_with("monitor sqli")),
        "{events:?}"
    );
}

#[test]
fn m8_what_leaves_is_masked_or_ends_the_pair() {
    let mut world = World::new("[rules]\nleak-card = \"mask\"\n");
    let client = world.open();
    world.say(client, r#"say:{"card":"4111 1111 1111 1111"}"#);
    let masked = r#"{"card":"**** **** **** 1111"}"#;
    assert_eq!(world.heard(client).as_deref(), Some(masked));
    let mut world = World::new("[rules]\nleak-card = \"block\"\n");
    let client = world.open();
    world.say(client, r#"say:{"card":"4111 1111 1111 1111"}"#);
    assert_eq!(world.close(client), Some((1008, "leak-card".to_owned())));
}

#[test]
fn m9_failures_over_several_sockets_keep_who_failed_out() {
    let policy = "[behaviour]\nmode = \"block\"\nfailures = [{ request = \"login\", failure = { at = \"/ok\", is = \"false\" }, \
                  limit = 3, window = \"60s\", block = \"5m\" }]\n";
    let mut world = World::new(policy);
    let login = r#"{"type":"login","ok":false}"#;
    for _ in 0..2 {
        let client = world.open();
        world.say(client, login);
        assert_eq!(world.heard(client).as_deref(), Some(login));
        world.send(client, &frame(0x88, b"\x03\xE8"));
    }
    let third = world.open();
    world.say(third, login);
    assert_eq!(world.close(third).expect("an end").0, 1008);
    let refused = world.ask("");
    assert_eq!(world.status(refused), 429);
    world.pass(301 * SECOND);
    world.open();
}

#[test]
fn s1_a_silent_client_is_closed_when_its_token_ends() {
    let mut world = World::new(AUTH);
    let client = world.ask(&with_token(3));
    assert_eq!(world.status(client), 101);
    world.pass(Duration::from_millis(2_900));
    assert_eq!(world.close(client), None);
    world.pass(Duration::from_millis(200));
    assert_eq!(
        world.close(client),
        Some((1008, "token_expired".to_owned()))
    );
    let late = world.ask(&with_token(3));
    assert_eq!(world.status(late), 401);
    let without = world.ask("");
    assert_eq!(world.status(without), 401);
}

#[test]
fn s1_a_token_may_come_as_the_first_message_and_goes_no_further() {
    let mut world = World::new(&format!(
        "{AUTH}sources = [\"message\"]\nfirst_message = \"5s\"\n"
    ));
    let client = world.open();
    world.say(client, &token(60));
    world.say(client, HARMLESS);
    assert_eq!(
        messages(&world),
        [HARMLESS],
        "the token is not the upstream's"
    );
    let silent = world.open();
    world.pass(6 * SECOND);
    assert_eq!(
        world.close(silent),
        Some((1008, "token_missing".to_owned()))
    );
    let wrong = world.open();
    world.say(wrong, "not a token");
    assert_eq!(world.close(wrong).expect("an end").0, 1008);
    assert_eq!(messages(&world), [HARMLESS]);
}

#[test]
fn s2_s4_what_is_revoked_is_closed_at_once_and_comes_no_more() {
    let rows = [
        (RevokedBy::Token, "t1"),
        (RevokedBy::Subject, "alice"),
        (RevokedBy::Session, "s1"),
    ];
    for (by, value) in rows {
        let mut world = World::new(AUTH);
        let client = world.ask(&with_token(600));
        let other = Revocation {
            by,
            value: "other".into(),
            at: world.now,
            until: world.now + 600 * SECOND,
        };
        world.mail(RelayMail::Revoke(other.clone()));
        assert_eq!(world.close(client), None);
        let value = value.into();
        world.mail(RelayMail::Revoke(Revocation { value, ..other }));
        assert_eq!(
            world.close(client),
            Some((1008, "revoked".to_owned())),
            "{by:?}"
        );
        let again = world.ask(&with_token(600));
        assert_eq!(world.status(again), 401, "{by:?}");
    }
}

fn roles(role: &str) -> RelayMail {
    RelayMail::Roles("alice".into(), vec![Box::from(role)].into())
}

#[test]
fn s3_who_loses_the_role_that_a_route_asks_leaves_it() {
    let mut world = World::new(&format!("{AUTH}roles = [\"member\"]\n"));
    let client = world.ask(&with_token(600));
    assert_eq!(world.status(client), 101);
    world.mail(roles("member"));
    assert_eq!(world.close(client), None);
    world.mail(roles("guest"));
    assert_eq!(world.close(client), Some((1008, "role".to_owned())));
}

#[test]
fn r1_caps_of_route_and_identity_are_judged_before_the_101() {
    let mut world = World::new("[limits]\nconnections = 1\n");
    let first = world.open();
    let second = world.ask("");
    assert_eq!(world.status(second), 429);
    world.send(first, &frame(0x88, b"\x03\xE8"));
    world.open();
    let mut world = World::new(&format!("[connections]\nper_identity = 1\n{AUTH}"));
    let first = world.ask(&with_token(60));
    let second = world.ask(&with_token(60));
    assert_eq!((world.status(first), world.status(second)), (101, 429));
}

#[test]
fn r2_idle_and_old_pairs_end() {
    for (limit, rule) in [("idle", "idle"), ("lifetime", "lifetime")] {
        let mut world = World::new(&format!("[limits]\n{limit} = \"10s\"\nping = \"0s\"\n"));
        let client = world.open();
        for _ in 0..9 {
            world.pass(SECOND);
            world.say(client, "on");
            world.clients[client].frames.clear();
        }
        world.pass(2 * SECOND);
        let talked = world.close(client);
        assert_eq!(
            talked.is_some(),
            rule == "lifetime",
            "{rule}: talking helps only against idleness"
        );
        world.pass(11 * SECOND);
        assert_eq!(world.close(client), Some((1001, rule.to_owned())));
    }
}

#[test]
fn r3_r4_r5_r6_f5_what_costs_more_than_it_says_is_refused() {
    let head = frame(0x01, b"");
    let pings = frame(0x89, b"flood").repeat(3_000);
    let empties = [head.clone(), frame(0x00, b"").repeat(40)].concat();
    let pieces = [head, frame(0x00, b"x").repeat(1_200)].concat();
    let long = [
        &[0x82, 0xFF][..],
        &(1u64 << 30).to_be_bytes(),
        &[1, 2, 3, 4],
    ]
    .concat();
    for (row, octets, code) in [
        ("R3", pings, 1008),
        ("R4", empties, 1008),
        ("R5", pieces, 1008),
        ("F5", long, 1009),
    ] {
        let mut world = World::new("");
        let client = world.open();
        world.send(client, &octets);
        assert_eq!(world.close(client).expect(row).0, code, "{row}");
        assert!(messages(&world).is_empty(), "{row}");
    }
}

#[test]
fn r8_a_message_must_be_whole_in_time() {
    let mut world = World::new("[limits]\nmessage_deadline = \"5s\"\nping = \"0s\"\n");
    let client = world.open();
    world.send(client, &frame(0x01, b"a"));
    world.pass(4 * SECOND);
    world.send(client, &frame(0x00, b"b"));
    assert_eq!(world.close(client), None);
    world.pass(2 * SECOND);
    assert_eq!(world.close(client).expect("an end").0, 1008);
}
