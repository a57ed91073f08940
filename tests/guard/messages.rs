//! M4–M9 and M12 through a real guard: schemas in both directions, what is masked on its way out, and what no single
//! message shows: guessing, other people's rooms, the same message again, too much of a kind, the wrong order.

use crate::credentials::{claims, guard as with_issuer, signed, with_token};
use crate::support::client::{Ask, Client};
use crate::support::guard::{Guard, Scratch};
use crate::support::upstream::Upstream;
use crate::support::wire::{CLOSE, TEXT, field, masked, plain};
use serde_json::json;

const CHAT: &str = r#"{"type":"object","required":["type","text"],
    "properties":{"type":{"const":"chat"},"text":{"type":"string","maxLength":20}}}"#;

/// The Close that comes next: its code and its words.
fn close(client: &mut Client) -> (u16, String) {
    let frame = client.next();
    assert_eq!(frame.opcode(), CLOSE, "{frame:?}");
    let words = String::from_utf8_lossy(&frame.payload[2..]).into_owned();
    (frame.code(), words)
}

#[test]
fn m4_m5_messages_keep_to_their_schema_in_both_directions() {
    let schema = Scratch::new("chat.json", CHAT);
    // Beside the policy: files are named relative to it.
    let name = schema.path().rsplit('/').next().expect("a name");
    let way =
        format!("discriminator = \"/type\"\nstrict = true\ntypes = {{ chat = \"{name}\" }}\n");
    let policy = format!("[rules]\nschema = \"block\"\n[schema.to_server]\n{way}");
    let good = br#"{ "type":"chat", "text":"hello" }"#;
    let upstream = Upstream::echo();
    let guard = Guard::with_policy(&upstream.url(), &policy);
    let rows = [
        r#"{"type":"delete","text":"hello"}"#,
        r#"{"text":"hello"}"#,
        r#"{"type":"chat"}"#,
        r#"{"type":"chat","text":7}"#,
        r#"{"type":"chat","text":"hello","role":"admin"}"#,
        "hello",
    ];
    for (n, bad) in rows.iter().enumerate() {
        let mut client = Client::open(guard.address);
        client.say(TEXT, good);
        assert_eq!(client.next().payload, good, "it passes as it came");
        client.say(TEXT, bad.as_bytes());
        assert_eq!(close(&mut client), (1_007, "schema".into()), "{bad}");
        let seen = upstream
            .seen
            .wait("an end", |notes| notes.closes().len() > n);
        assert_eq!(seen.data().len(), n + 1, "{bad}");
    }
    // What the server says has a schema of its own.
    let policy = policy.replace("to_server", "to_client");
    let said = [
        plain(TEXT, good),
        plain(TEXT, br#"{"type":"chat","text":"x","debug":1}"#),
    ];
    let upstream = Upstream::playing("", said.concat());
    let guard = Guard::with_policy(&upstream.url(), &policy);
    let mut client = Client::open(guard.address);
    assert_eq!(client.next().payload, good);
    assert_eq!(close(&mut client), (1_007, "schema".into()));
}

#[test]
fn m4_a_route_has_schemas_of_its_own_and_a_reload_brings_others() {
    let number = Scratch::new("number.json", r#"{"type":"number"}"#);
    let text = Scratch::new("text.json", r#"{"type":"string"}"#);
    let policy = |of_route: &Scratch| {
        format!(
            "[rules]\nschema = \"block\"\n[schema.to_server]\ndefault = \"{}\"\n\
             [[routes]]\nname = \"all\"\nprefix = \"/\"\n\
             [[routes]]\nname = \"own\"\npath = \"/own\"\nschema.to_server.default = \"{}\"\n",
            number.path(),
            of_route.path()
        )
    };
    let upstream = Upstream::echo();
    let guard = Guard::with_policy(&upstream.url(), &policy(&text));
    let passes = |path: &str, message: &[u8]| {
        let mut client = Client::opened(guard.address, &Ask::new(guard.address, path));
        client.say(TEXT, message);
        client.next().opcode() == TEXT
    };
    assert!(passes("/", b"7") && !passes("/", b"\"a\""));
    assert!(passes("/own", b"\"a\"") && !passes("/own", b"7"));
    guard.reload(&policy(&number));
    guard.said(&["policy reloaded"]);
    while !passes("/own", b"7") {} // the workers hear of it by mail
    std::fs::write(number.path(), "{").expect("a file");
    guard.reload(&policy(&number));
    guard.said(&["policy not reloaded", "it is not JSON"]);
    assert!(passes("/own", b"7"), "the old one stays");
}

#[test]
fn m8_what_should_not_leave_can_be_masked_and_the_rest_passes() {
    let card = br#"{"card":"4111 1111 1111 1111","text":"thanks"}"#;
    let upstream = Upstream::playing("", plain(TEXT, card));
    let audit = Scratch::new("mask.jsonl", "");
    let policy = format!(
        "[rules]\nmode = \"block\"\nleak-card = \"mask\"\n[audit]\nfile = \"{}\"\n",
        audit.path()
    );
    let mut guard = Guard::with_policy(&upstream.url(), &policy);
    let mut client = Client::open(guard.address);
    let masked = String::from_utf8(client.next().payload).expect("text");
    let value: serde_json::Value = serde_json::from_str(&masked).expect("JSON stays JSON");
    let shown = value["card"].as_str().expect("a string");
    assert!(shown.ends_with("1111") && !shown.contains('4'), "{masked}");
    assert_eq!(value["text"], "thanks");
    let (_, metrics) = crate::support::admin::get(guard.admin(), "/metrics");
    let line =
        "tidegate_guard_verdicts_total{route=\"default\",rule=\"leak-card\",verdict=\"mask\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    guard.signal(rustix::process::Signal::TERM);
    assert_eq!(guard.wait().code(), Some(0));
    let events = std::fs::read_to_string(audit.path()).expect("a file");
    assert!(
        events.contains("\"mask\"") && !events.contains("4111 1111"),
        "{events}"
    );
}

/// A server that refuses every login, and says back whatever else it hears.
fn refuses_logins() -> Upstream {
    Upstream::start(|mut call| {
        call.answer("");
        while let Some(frame) = call.frame() {
            let is_login = frame.payload.windows(5).any(|five| five == b"login");
            match frame.opcode() {
                CLOSE => return call.send(&plain(CLOSE, &frame.payload)),
                TEXT if is_login => call.send(&plain(TEXT, br#"{"ok":false}"#)),
                TEXT => call.send(&plain(TEXT, &frame.payload)),
                _ => {}
            }
        }
    })
}

#[test]
fn m9_guessing_ends_on_one_connection_and_on_many_and_is_kept_out_after() {
    let policy = "[behaviour]\nmode = \"block\"\n\
        failures = [{ request = \"login\", failure = { at = \"/ok\", is = \"false\" }, limit = 5 }]\n";
    for connections in [1, 5] {
        let upstream = refuses_logins();
        let guard = Guard::with_policy(&upstream.url(), policy);
        let mut clients: Vec<Client> = (0..connections)
            .map(|_| Client::open(guard.address))
            .collect();
        for n in 0..5 {
            let client = &mut clients[n % connections];
            client.say(TEXT, br#"{"type":"login","password":"guess"}"#);
            match n {
                4 => assert_eq!(close(client), (1_008, "behaviour-failures".into())),
                _ => assert_eq!(client.next().payload, br#"{"ok":false}"#),
            }
        }
        let again = Client::ask(guard.address, &Ask::new(guard.address, "/"));
        assert_eq!(again.status(), 429, "{connections}: {}", again.head);
        assert!(field(&again.head, "retry-after").is_some());
        assert_eq!(upstream.seen.now().connections, connections);
    }
}

#[test]
fn m7_a_message_comes_once_whoever_says_it_again() {
    let upstream = Upstream::echo();
    let policy = "[behaviour]\nmode = \"block\"\nreplay = { id_at = \"/id\" }\n";
    let guard = Guard::with_policy(&upstream.url(), policy);
    for _ in 0..2 {
        let mut client = Client::open(guard.address);
        client.say(TEXT, br#"{"id":"once","pay":100}"#);
        client.say(TEXT, b"{\"plain\":1}");
        while client.next().payload != b"{\"plain\":1}" {}
    }
    let seen = upstream.seen.now();
    let paid = seen.data();
    let paid = paid.iter().filter(|frame| frame.payload.ends_with(b"100}"));
    assert_eq!(paid.count(), 1);
}

#[test]
fn m12_too_much_of_a_kind_is_dropped_and_then_ends() {
    let upstream = Upstream::echo();
    let policy = "[behaviour]\nmode = \"block\"\n\
        rates = [{ kind = \"chat\", per_second = 1, burst = 2, grace = 3 }]\n";
    let guard = Guard::with_policy(&upstream.url(), policy);
    let mut client = Client::open(guard.address);
    // Other kinds have their own.
    let chat = masked(TEXT, br#"{"type":"chat"}"#);
    let move_ = masked(TEXT, br#"{"type":"move"}"#);
    client.send(&[chat.repeat(5), move_, chat.repeat(200)].concat());
    let mut echoed = Vec::new();
    let code = loop {
        let frame = client.next();
        match frame.opcode() {
            CLOSE => break frame.code(),
            _ => echoed.push(frame.payload),
        }
    };
    assert_eq!(code, 1_008);
    // What is echoed late does not come any more, so it is counted where it arrived.
    let seen = upstream
        .seen
        .wait("an end", |notes| !notes.closes().is_empty());
    let of = |kind: &str| {
        let kind = format!("{{\"type\":\"{kind}\"}}").into_bytes();
        seen.data()
            .iter()
            .filter(|frame| frame.payload == kind)
            .count()
    };
    assert_eq!(of("move"), 1);
    assert!((2..10).contains(&of("chat")), "{}", of("chat"));
}

#[test]
fn m12_what_must_come_first_comes_first() {
    let upstream = Upstream::echo();
    let order = "order = [{ first = \"login\", then = [\"join\"] }]\n";
    let guard = Guard::with_policy(
        &upstream.url(),
        &format!("[behaviour]\nmode = \"block\"\n{order}"),
    );
    let (login, join) = (br#"{"type":"login"}"#, br#"{"type":"join"}"#);
    let mut right = Client::open(guard.address);
    for message in [&login[..], join] {
        right.say(TEXT, message);
        assert_eq!(right.next().payload, message);
    }
    let mut wrong = Client::open(guard.address);
    wrong.say(TEXT, join);
    assert_eq!(close(&mut wrong), (1_008, "behaviour-order".into()));
    // Where it only watches, all passes.
    let watching = Guard::with_policy(&upstream.url(), &format!("[behaviour]\n{order}"));
    let mut wrong = Client::open(watching.address);
    wrong.say(TEXT, join);
    assert_eq!(wrong.next().payload, join);
}

#[test]
fn m6_other_peoples_rooms_are_denied_and_who_tries_many_is_out() {
    let upstream = Upstream::echo();
    let policy = "[auth]\n[behaviour]\nmode = \"block\"\n\
        members = [{ at = \"/room\", claim = \"rooms\", limit = 3 }]\n";
    let guard = with_issuer(&upstream, policy);
    let mut hers = claims("alice", 600);
    hers["rooms"] = json!(["blue", "green"]);
    let mut client = Client::opened(guard.address, &with_token(&guard, &signed(&hers)));
    let room = |name: &str| format!("{{\"room\":\"{name}\"}}").into_bytes();
    for name in ["red", "blue", "red", "green", "black"] {
        client.say(TEXT, &room(name));
    }
    assert_eq!(client.next().payload, room("blue"), "red went nowhere");
    assert_eq!(client.next().payload, room("green"));
    client.say(TEXT, &room("white"));
    assert_eq!(close(&mut client), (1_008, "behaviour-enumeration".into()));
    assert_eq!(upstream.seen.now().data().len(), 2);
}
