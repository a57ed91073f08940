//! M1, M3 and their kin through a real guard: what a message says is judged whole, the upstream sees no message that a
//! rule keeps back, and the audit log says which rule spoke, where, and never what stood there.

use crate::support::client::Client;
use crate::support::guard::{Guard, Scratch};
use crate::support::upstream::Upstream;
use crate::support::wire::{BINARY, CLOSE, KEY, PING, TEXT, frame, plain};
use rustix::process::Signal;
use serde_json::Value;

const INJECTION: &[u8] = br#"{"id":"1' UNION SELECT password FROM users -- "}"#;
const HARMLESS: &[u8] = br#"{"id":"42","text":"hello"}"#;
const CARD: &[u8] = br#"{"card":"4111 1111 1111 1111"}"#;

const BLOCK: &str = "[rules]\nmode = \"block\"\n";

/// Runs `use_it` before a guard with this policy; the events that it wrote.
fn events(policy: &str, upstream: &Upstream, use_it: impl FnOnce(&Guard)) -> Vec<Value> {
    let file = Scratch::new("content.jsonl", "");
    let policy = format!("[audit]\nfile = \"{}\"\n{policy}", file.path());
    let mut guard = Guard::with_policy(&upstream.url(), &policy);
    use_it(&guard);
    guard.signal(Signal::TERM);
    assert_eq!(guard.wait().code(), Some(0));
    let text = std::fs::read_to_string(file.path()).expect("a file");
    assert!(
        !text.contains("UNION") && !text.contains("4111 1111"),
        "{text}"
    );
    let parsed = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    parsed.collect()
}

/// Rule, mode and place of each verdict.
fn verdicts(events: &[Value]) -> Vec<(&str, &str, &str)> {
    let spoken = events.iter().filter(|event| event["event"] == "verdict");
    spoken
        .map(|event| {
            let [rule, mode, field] =
                ["rule", "mode", "field"].map(|name| event[name].as_str().unwrap_or_default());
            (rule, mode, field)
        })
        .collect()
}

#[test]
fn m1_without_a_word_of_policy_the_rules_watch() {
    let upstream = Upstream::echo();
    let events = events("", &upstream, |guard| {
        let mut client = Client::open(guard.address);
        for message in [INJECTION, HARMLESS] {
            client.say(TEXT, message);
            assert_eq!(client.next().payload, message);
        }
    });
    let verdicts = verdicts(&events);
    assert!(!verdicts.is_empty(), "{events:?}");
    for (rule, mode, field) in verdicts {
        assert!(rule.starts_with("sqli"), "{rule}");
        assert_eq!((mode, field), ("monitor", "/id"));
    }
}

#[test]
fn m1_a_rule_that_blocks_keeps_the_message_back_whatever_its_wrapping() {
    let wrappings: [fn(&mut Client); 4] = [
        |client| client.say(TEXT, INJECTION),
        |client| {
            let mut octets = frame(TEXT, Some(KEY), &INJECTION[..11]);
            octets.extend(frame(0x80 | PING, Some(KEY), b"between"));
            octets.extend(frame(0x80, Some(KEY), &INJECTION[11..]));
            client.send(&octets);
        },
        |client| {
            for octet in frame(0x80 | TEXT, Some(KEY), INJECTION) {
                client.send(&[octet]);
            }
        },
        // What comes in the same packet behind the message does not pass either.
        |client| {
            let harmless = frame(0x80 | TEXT, Some(KEY), HARMLESS);
            client.send(&[frame(0x80 | TEXT, Some(KEY), INJECTION), harmless].concat());
        },
    ];
    let upstream = Upstream::echo();
    let events = events(BLOCK, &upstream, |guard| {
        for wrapping in wrappings {
            let mut client = Client::open(guard.address);
            client.say(TEXT, HARMLESS);
            assert_eq!(client.next().payload, HARMLESS);
            wrapping(&mut client);
            assert_eq!(client.close_code(), 1008);
        }
    });
    let blocked = verdicts(&events);
    assert_eq!(blocked.len(), wrappings.len(), "{blocked:?}");
    assert!(
        blocked
            .iter()
            .all(|(rule, mode, _)| rule.starts_with("sqli") && *mode == "block")
    );
    let notes = upstream
        .seen
        .wait("an end for each", |n| n.closes().len() == wrappings.len());
    assert_eq!(
        notes.data().len(),
        wrappings.len(),
        "one harmless message each"
    );
    assert!(notes.data().iter().all(|frame| frame.payload == HARMLESS));
    assert!(notes.closes().iter().all(|code| *code == 1001));
}

#[test]
fn m2_m3_m10_what_is_no_attack_on_one_parser_alone_does_not_pass_either() {
    let rows: [(&str, u8, &[u8], u16, &str); 4] = [
        (
            "M2",
            TEXT,
            br#"{"role":"user","role":"admin"}"#,
            1007,
            "json-duplicate-key",
        ),
        ("M2", TEXT, br#"{"n":"\ud800"}"#, 1007, "json-surrogate"),
        (
            "M3",
            TEXT,
            br#"{"__proto__":{"admin":true}}"#,
            1008,
            "prototype-key",
        ),
        ("M10", BINARY, b"\x01\x02\x03", 1003, "binary"),
    ];
    let policy = "[rules]\nmode = \"block\"\nbinary = \"block\"\n";
    for (row, opcode, message, code, rule) in rows {
        let upstream = Upstream::echo();
        let guard = Guard::with_policy(&upstream.url(), policy);
        let mut client = Client::open(guard.address);
        client.say(TEXT, HARMLESS);
        assert_eq!(client.next().payload, HARMLESS);
        client.say(opcode, message);
        let close = client.next();
        assert_eq!((close.opcode(), close.code()), (CLOSE, code), "{row}");
        assert_eq!(&close.payload[2..], rule.as_bytes(), "{row}");
        assert_eq!(upstream.seen.now().data().len(), 1, "{row}");
    }
}

#[test]
fn what_should_not_leave_does_not() {
    let upstream = Upstream::playing("", [plain(TEXT, HARMLESS), plain(TEXT, CARD)].concat());
    let events = events(BLOCK, &upstream, |guard| {
        let mut client = Client::open(guard.address);
        assert_eq!(client.next().payload, HARMLESS);
        assert_eq!(client.close_code(), 1008);
    });
    assert_eq!(verdicts(&events), [("leak-card", "block", "/card")]);
}

#[test]
fn with_the_rules_off_every_message_passes_and_nothing_is_told() {
    let upstream = Upstream::echo();
    let events = events("[rules]\nmode = \"off\"\n", &upstream, |guard| {
        let mut client = Client::open(guard.address);
        client.say(TEXT, INJECTION);
        assert_eq!(client.next().payload, INJECTION);
    });
    assert!(verdicts(&events).is_empty(), "{events:?}");
}
