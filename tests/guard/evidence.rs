//! O1–O5: what is written down, what never is, and what a bad file changes.

use crate::credentials::{guard, token, with_token};
use crate::support::admin::{ADMIN_TOKEN, get, order};
use crate::support::client::{Ask, Client};
use crate::support::guard::{Guard, Scratch, run};
use crate::support::upstream::Upstream;
use crate::support::wire::{CLOSE, TEXT};
use rustix::process::Signal;
use serde_json::Value;

/// A guard with an audit file, stopped after `use_it`; the file's text.
fn audited(policy: &str, use_it: impl FnOnce(&Guard, &Upstream)) -> (Scratch, String, String) {
    let file = Scratch::new("audit.jsonl", "");
    let upstream = Upstream::echo();
    let policy = format!("[audit]\nfile = \"{}\"\n{policy}", file.path());
    let mut guard = guard(&upstream, &policy);
    use_it(&guard, &upstream);
    guard.signal(Signal::TERM);
    assert_eq!(guard.wait().code(), Some(0));
    let text = std::fs::read_to_string(file.path()).expect("a file");
    let log = guard.log();
    (file, text, log)
}

fn verify(file: &Scratch) -> (i32, String) {
    let (code, said, complaint) = run(&["audit", "verify", file.path()]);
    (code, format!("{said}{complaint}"))
}

fn events(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn o1_every_refusal_and_end_has_an_event_and_a_changed_line_is_named() {
    let (file, text, _) = audited("[auth]\n", |guard, _| {
        let mut client = Client::opened(guard.address, &with_token(guard, &token("alice", 600)));
        client.say(TEXT, b"hello");
        assert_eq!(client.next().payload, b"hello");
        client.say(CLOSE, &1000u16.to_be_bytes());
        assert_eq!(client.close_code(), 1000);
        for _ in 0..5 {
            assert_eq!(
                Client::ask(guard.address, &with_token(guard, "x")).status(),
                401
            );
        }
        let evil = with_token(guard, &token("alice", 600)).with("Origin", "https://evil.example");
        assert_eq!(Client::ask(guard.address, &evil).status(), 403);
        assert_eq!(
            Client::ask(guard.address, &Ask::new(guard.address, "/..")).status(),
            400
        );
        assert_eq!(
            order(guard.admin(), "/revoke", r#"{"by":"sub","value":"alice"}"#).0,
            200
        );
    });
    let events = events(&text);
    let count = |event: &str| events.iter().filter(|e| e["event"] == event).count();
    assert_eq!(
        (
            count("begin"),
            count("open"),
            count("close"),
            count("revoked"),
            count("end")
        ),
        (1, 1, 1, 1, 1),
        "{text}"
    );
    let rules: Vec<&str> = events
        .iter()
        .filter(|e| e["event"] == "refused")
        .map(|e| e["rule"].as_str().expect("a rule"))
        .collect();
    assert_eq!(
        rules,
        [
            "token_malformed",
            "token_malformed",
            "token_malformed",
            "token_malformed",
            "token_malformed",
            "origin_foreign",
            "path_confusion"
        ]
    );
    let opened = events.iter().find(|e| e["event"] == "open").expect("there");
    let revoked = events
        .iter()
        .find(|e| e["event"] == "revoked")
        .expect("there");
    assert_eq!(
        opened["identity"], revoked["identity"],
        "the same user, and not by name"
    );
    let (code, said) = verify(&file);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains(&format!("{} lines, unbroken", events.len())),
        "{said}"
    );

    std::fs::write(file.path(), "").expect("a file");
    let (code, said) = verify(&file);
    assert!(code == 1 && said.contains("it is empty"), "{said}");

    let lines: Vec<&str> = text.lines().collect();
    let edited = text.replacen("\"status\":403", "\"status\":200", 1);
    let line = lines
        .iter()
        .position(|line| line.contains("\"status\":403"))
        .expect("there")
        + 1;
    std::fs::write(file.path(), edited).expect("a file");
    let (code, said) = verify(&file);
    assert!(
        code == 1 && said.contains(&format!("line {line}: it was changed")),
        "{said}"
    );
    let cut: Vec<&str> = lines
        .iter()
        .enumerate()
        .filter(|(n, _)| *n != 2)
        .map(|(_, line)| *line)
        .collect();
    std::fs::write(file.path(), cut.join("\n") + "\n").expect("a file");
    let (code, said) = verify(&file);
    assert!(code == 1 && said.contains("line 3: "), "{said}");
    assert_eq!(run(&["audit", "verify", "/no/such/file"]).0, 2);
}

#[test]
fn o1_a_file_goes_on_after_a_restart_and_a_broken_one_is_not_written_to() {
    let (file, _, _) = audited("[auth]\n", |_, _| {});
    let upstream = Upstream::echo();
    let policy = format!("[audit]\nfile = \"{}\"\n", file.path());
    let mut again = Guard::with_policy(&upstream.url(), &policy);
    drop(Client::open(again.address));
    again.signal(Signal::TERM);
    assert_eq!(again.wait().code(), Some(0));
    assert_eq!(verify(&file).0, 0);
    let text = std::fs::read_to_string(file.path()).expect("a file");
    assert_eq!(text.matches("\"event\":\"end\"").count(), 2, "{text}");
    std::fs::write(file.path(), text.replacen("begin", "began", 1)).expect("a file");
    let scratch = Scratch::new("policy.toml", &policy);
    let (code, _, said) = run(&[
        "--upstream",
        &upstream.url(),
        "--listen",
        "127.0.0.1:0",
        "--policy",
        scratch.path(),
    ]);
    assert!(
        code == 1 && said.contains("line 1: it was changed") && said.contains("another file"),
        "{code} {said}"
    );
}

#[test]
fn o2_no_secret_is_written_anywhere() {
    let secret = "hunter2-in-a-query";
    let bearer = token("alice@example.com", 600);
    let mut metrics = String::new();
    let (_, text, log) = audited(
        "[auth]\n[rates]\nmessages = { per_second = 1, burst = 2 }\n",
        |guard, _| {
            let asked = Ask::new(guard.address, &format!("/x?password={secret}"))
                .with("Authorization", &format!("Bearer {bearer}"));
            let mut client = Client::opened(guard.address, &asked);
            for _ in 0..5 {
                client.say(TEXT, b"hunter2-in-a-message");
            }
            client.rest();
            let cookie = asked
                .clone()
                .with("Cookie", "id=hunter2-in-a-cookie")
                .with("Origin", "https://hunter2.example");
            assert_eq!(Client::ask(guard.address, &cookie).status(), 403);
            let confusing = Ask::new(guard.address, "/hunter2-in-a-path/..;x");
            assert_eq!(Client::ask(guard.address, &confusing).status(), 400);
            metrics = get(guard.admin(), "/metrics").1;
        },
    );
    assert!(
        text.contains("\"rule\":\"budget\""),
        "the flood was written down: {text}"
    );
    assert!(
        metrics.contains(
            "tidegate_guard_verdicts_total{route=\"default\",rule=\"budget\",verdict=\"block\"} 1"
        ),
        "{metrics}"
    );
    for place in [&text, &metrics, &log] {
        for secret in ["hunter2", "alice", &bearer[..40]] {
            assert!(!place.contains(secret), "{secret} in\n{place}");
        }
    }
}

#[test]
fn o3_many_identities_make_no_more_series() {
    let upstream = Upstream::echo();
    let guard = guard(&upstream, "[auth]\n[connections]\nper_ip = 1000\n");
    let series = |guard: &Guard| {
        get(guard.admin(), "/metrics")
            .1
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count()
    };
    let visit = |n: usize| {
        let path = format!("/{n}");
        let asked = Ask::new(guard.address, &path).with(
            "Authorization",
            &format!("Bearer {}", token(&format!("user-{n}"), 600)),
        );
        drop(Client::opened(guard.address, &asked));
        let refused =
            Ask::new(guard.address, &path).with("Origin", &format!("https://{n}.example"));
        assert_eq!(Client::ask(guard.address, &refused).status(), 403);
    };
    visit(0);
    let before = series(&guard);
    (1..60).for_each(visit);
    assert_eq!(series(&guard), before);
}

#[test]
fn o4_o5_a_bad_policy_never_starts_and_never_replaces_a_good_one() {
    let upstream = Upstream::echo();
    let bad = Scratch::new("policy.toml", "[limits]\nmessage_sise = 1\n");
    let (code, _, said) = run(&["--upstream", &upstream.url(), "--policy", bad.path()]);
    assert!(
        code == 2 && said.contains(":2:1: unknown key message_sise; did you mean message_size?"),
        "{code} {said}"
    );
    let policy = |origin: &str| format!("[origins]\nsame_origin = false\nallow = [\"{origin}\"]\n");
    let with_token = &["--admin-token", ADMIN_TOKEN];
    let guard = Guard::start(
        &upstream.url(),
        Some(&policy("https://a.example")),
        with_token,
    );
    let status = |origin: &str| {
        Client::ask(
            guard.address,
            &Ask::new(guard.address, "/").with("Origin", origin),
        )
        .status()
    };
    assert_eq!(
        (status("https://a.example"), status("https://b.example")),
        (101, 403)
    );
    let mut open = Client::opened(
        guard.address,
        &Ask::new(guard.address, "/").with("Origin", "https://a.example"),
    );
    guard.reload("[origins]\nallow = [\"https://b.example/\"]\n");
    guard.said(&["policy not reloaded", "2:9"]);
    assert_eq!(
        (status("https://a.example"), status("https://b.example")),
        (101, 403),
        "the old one holds"
    );
    let (code, said) = order(guard.admin(), "/reload", "{}");
    assert!(
        code == 400 && said.contains(":2:9: \"https://b.example/\": an origin is"),
        "{code} {said}"
    );
    guard.reload(&policy("https://b.example"));
    guard.said(&["policy reloaded"]);
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while status("https://a.example") != 403 {
        assert!(
            std::time::Instant::now() < deadline,
            "the new one never holds"
        );
    }
    assert_eq!(order(guard.admin(), "/reload", "{}").0, 200);
    open.say(TEXT, b"still open");
    assert_eq!(
        open.next().payload,
        b"still open",
        "a reload cuts nobody off"
    );
}
