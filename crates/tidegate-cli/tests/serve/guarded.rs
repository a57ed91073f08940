//! `serve --guard`: the guard's policy before the hub. What a rule keeps back reaches no subscriber, pages and hosts are the
//! policy's, and the audit file says what was done. And R9, which is the hub's alone.

use crate::support::http::get;
use crate::support::process::{Scratch, Server, run};
use crate::support::ws::{CLOSE, TEXT, Ws};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;

fn client(server: &Server) -> Ws {
    let mut ws = Ws::open(server.address, "/connection/websocket");
    ws.ask(1, "connect", json!({}));
    ws
}

/// The publications in a frame.
fn publications(frame: &str) -> Vec<Value> {
    let lines = frame
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let pushes = lines.filter(|json: &Value| !json["push"]["pub"].is_null());
    pushes
        .map(|json| json["push"]["pub"]["data"].clone())
        .collect()
}

#[test]
fn what_a_rule_keeps_back_reaches_no_subscriber_and_is_written_down() {
    let audit = Scratch::new("guarded-audit.jsonl", "");
    let policy = format!(
        "[rules]\nmode = \"block\"\n[audit]\nfile = \"{}\"\n",
        audit.path()
    );
    let policy = Scratch::new("guarded-block.toml", &policy);
    let server = Server::start(&["--guard", policy.path(), "--workers", "2"]);
    let mut subscriber = client(&server);
    subscriber.ask(2, "subscribe", json!({ "channel": "tea" }));
    let mut attacker = client(&server);
    attacker.say(&json!({
        "id": 2, "publish": { "channel": "tea", "data": { "id": "1' UNION SELECT password FROM users -- " } },
    }));
    loop {
        let frame = attacker.expect();
        if frame.opcode == CLOSE {
            assert_eq!(frame.close_code(), 1_008);
            assert!(frame.payload[2..].starts_with(b"sqli"), "{frame:?}");
            break;
        }
    }
    // Several commands in one message are judged one by one, and are no fault of JSON.
    let mut other = client(&server);
    let publish = |id: u64, cup: u64| {
        json!({ "id": id, "publish": { "channel": "tea", "data": { "cup": cup } } }).to_string()
    };
    other.send(
        TEXT,
        format!("{}\n{}", publish(2, 1), publish(3, 2)).as_bytes(),
    );
    let mut got = Vec::new();
    while got.len() < 2 {
        let frame = subscriber.expect();
        assert_eq!(frame.opcode, TEXT, "{frame:?}");
        got.extend(publications(frame.text()));
    }
    assert_eq!(got, [json!({ "cup": 1 }), json!({ "cup": 2 })]);
    let metrics = get(server.admin(), "/metrics");
    let text = metrics.text();
    let counted =
        |line: &str| line.starts_with("tidegate_guard_verdicts_total{") && line.contains("sqli");
    assert!(text.lines().any(counted), "{text}");
    server.signal(Signal::TERM);
    let ended = server.wait(Duration::from_secs(40));
    assert!(ended.status.success(), "{}", ended.stderr);
    let events = std::fs::read_to_string(audit.path()).expect("a file");
    assert!(!events.contains("UNION"), "never a payload");
    let events: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!((count("open"), count("verdict"), count("close")), (3, 1, 3));
    let verdict = events.iter().find(|event| event["event"] == "verdict");
    let field = verdict.expect("one")["field"].clone();
    assert_eq!(field, "/publish/data/id");
    let verified = run(&["guard", "audit", "verify", audit.path()]);
    assert!(verified.status.success(), "{}", verified.stderr);
}

#[test]
fn pages_and_paths_are_the_policys_and_a_reload_brings_another() {
    let text = |origin: &str| {
        format!(
            "[origins]\nallow = [\"{origin}\"]\n[[routes]]\nname = \"hub\"\npath = \"/connection/websocket\"\n"
        )
    };
    let policy = Scratch::new("guarded-pages.toml", &text("https://app.example"));
    let server = Server::start(&["--guard", policy.path()]);
    let asked = |origin: &str| {
        let headers = format!("Host: {}\r\nOrigin: {origin}\r\n", server.address);
        match Ws::try_open(server.address, "/connection/websocket", &headers) {
            Ok(_) => 101,
            Err(answer) => answer.status,
        }
    };
    let found = [
        "https://app.example",
        "https://evil.example",
        "https://b.example",
        "null",
    ]
    .map(asked);
    assert_eq!(found, [101, 403, 403, 403]);
    policy.write("[origins]\nallow = [\"nonsense\"]\n");
    server.signal(Signal::HUP);
    server.said(&["configuration not reloaded", "2:9:"]);
    assert_eq!(asked("https://app.example"), 101, "the old one stays");
    policy.write(&text("https://b.example"));
    server.signal(Signal::HUP);
    // The workers hear of it by mail, one after the other.
    while asked("https://b.example") != 101 || asked("https://app.example") != 403 {}
}

#[test]
fn what_the_hub_does_not_have_from_a_policy_is_refused() {
    let rows = [
        ("limits", "[limits]\nidle = \"1m\"\n", "[limits]"),
        (
            "compression",
            "[compression]\ndeflate = \"on\"\n",
            "[compression]",
        ),
        ("typo", "[rule]\n", ":1:2: unknown key rule"),
    ];
    for (name, text, said) in rows {
        let policy = Scratch::new(&format!("guarded-{name}.toml"), text);
        let ended = run(&["serve", "--guard", policy.path(), "--check-config"]);
        assert_eq!(ended.status.code(), Some(2), "{name}");
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}

#[test]
fn r9_a_publication_is_kept_once_for_all_who_do_not_read() {
    // With TIDEGATE_MEMBERS=10000 it is the row as it stands, a message or two; a run in CI has fewer members and more messages,
    // so that what the kernel keeps for all of them stays small.
    let members = std::env::var("TIDEGATE_MEMBERS").map_or(200, |n| n.parse().expect("a number"));
    let messages = if members > 1_000 { 2 } else { 40 };
    let server = Server::start(&["--workers", "1"]);
    let members: Vec<Ws> = (0..members)
        .map(|_| {
            let mut ws = client(&server);
            ws.ask(2, "subscribe", json!({ "channel": "tea" }));
            ws
        })
        .collect();
    let mut publisher = client(&server);
    let (before, cup) = (server.resident(), "x".repeat(60_000));
    for id in 2..2 + messages {
        publisher.ask(
            id,
            "publish",
            json!({ "channel": "tea", "data": { "cup": cup } }),
        );
    }
    // A copy for each who does not read would be 480 MB and more. What waits for each is told apart by some ten octets.
    let grown = server.resident().saturating_sub(before);
    println!(
        "{} members, {messages} messages of 60 KB: {grown} KiB more",
        members.len()
    );
    assert!(grown < 40 << 10, "{grown} KiB");
    drop(members);
}
