//! T2: whom a client's certificate names is its identity, with all that an identity has: an end, caps, revocation, evidence.

use crate::support::PATIENCE;
use crate::support::admin::{ADMIN_TOKEN, order};
use crate::support::client::Ask;
use crate::support::guard::{Guard, Scratch, run};
use crate::support::mutual::{Own, Pair, Root, ask_with, asked_with, open_with};
use crate::support::upstream::Upstream;
use crate::support::wire::{CLOSE, field, masked};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const WEB: &str = "spiffe://example.org/web";

/// A guard whose clients are vouched for by `root`.
struct Mutual {
    own: Own,
    root: Root,
    roots: Scratch,
    upstream: Upstream,
}

impl Mutual {
    fn new() -> Mutual {
        let root = Root::new("one");
        Mutual {
            own: Own::new(),
            roots: Scratch::new("roots.pem", &root.0.pem()),
            root,
            upstream: Upstream::echo(),
        }
    }

    fn guard(&self, policy: &str, more: &[&str]) -> Guard {
        let asked = ["--tls-client-ca", self.roots.path()];
        let flags = [&self.own.flags()[..], &asked, more].concat();
        let flags = [&flags[..], &["--admin-token", ADMIN_TOKEN]].concat();
        Guard::start(&self.upstream.url(), Some(policy), &flags)
    }

    fn status(&self, guard: &Guard, own: Option<&Pair>) -> Option<u16> {
        ask_with(guard, &self.own.pair.0, own)
    }

    fn open(&self, guard: &Guard, own: &Pair) -> crate::support::mutual::Secured {
        let client = open_with(guard, &self.own.pair.0, Some(own)).expect("a connection");
        assert_eq!(client.status(), 101, "{}", client.head);
        client
    }
}

const BY_CERTIFICATE: &str = "[auth]\nsources = [\"certificate\"]\n";

fn revoke(guard: &Guard, name: &str) {
    let json = format!("{{\"by\":\"sub\",\"value\":\"{name}\"}}");
    assert_eq!(order(guard.admin(), "/revoke", &json).0, 200);
}

#[test]
fn t2_only_who_has_a_listed_name_comes_in_and_evidence_knows_it() {
    let mutual = Mutual::new();
    let audit = Scratch::new("audit.jsonl", "");
    let policy = format!(
        "[audit]\nfile = \"{}\"\n{BY_CERTIFICATE}certificate_identities = [\"{WEB}\"]\n",
        audit.path()
    );
    let mut guard = mutual.guard(&policy, &[]);
    let web = mutual.root.called(1, &[WEB]);
    // Its CN is the same as of all others here: spiffe://example.org/admin.
    let other = mutual.root.called(2, &["spiffe://example.org/db"]);
    let nobody = mutual.root.called(3, &[]);
    assert_eq!(mutual.status(&guard, Some(&other)), Some(401));
    assert_eq!(mutual.status(&guard, Some(&nobody)), Some(401));
    let mut client = mutual.open(&guard, &web);
    assert_eq!(client.echoed(b"hello"), b"hello");
    assert_eq!(mutual.upstream.seen.now().connections, 1);
    revoke(&guard, WEB);
    assert_eq!(client.close(), (1008, "revoked".to_owned()));
    drop(client);
    guard.signal(Signal::TERM);
    assert_eq!(guard.wait().code(), Some(0));
    let text = std::fs::read_to_string(audit.path()).expect("a file");
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let of = |event: &str, key: &str| -> Vec<Value> {
        let found = events.iter().filter(|line| line["event"] == event);
        found.map(|line| line[key].clone()).collect()
    };
    assert_eq!(
        of("refused", "rule"),
        ["certificate_foreign", "certificate_nameless"]
    );
    assert_eq!(of("close", "rule"), ["revoked"]);
    assert!(of("open", "identity")[0].is_string(), "{text}");
    assert_eq!(of("open", "identity"), of("revoked", "identity"));
    assert!(!text.contains("spiffe"), "names are hashed: {text}");
}

#[test]
fn t2_the_session_ends_with_the_certificate() {
    let mutual = Mutual::new();
    let guard = mutual.guard(&format!("{BY_CERTIFICATE}end_code = 4001\n"), &[]);
    let started = Instant::now();
    let short = mutual.root.called_for(WEB, Duration::from_secs(6));
    let mut client = mutual.open(&guard, &short);
    // It is silent from here.
    assert_eq!(client.close(), (4001, "token_expired".to_owned()));
    // notAfter is in whole seconds; early would be wrong on any machine, late only on a slow one.
    assert!(
        started.elapsed() >= Duration::from_millis(4_900),
        "{:?}",
        started.elapsed()
    );
    // In its last second TLS still takes it; the policy does not.
    assert_ne!(mutual.status(&guard, Some(&short)), Some(101), "it is over");
}

#[test]
fn t2_an_identity_has_its_cap_over_all_its_certificates() {
    let mutual = Mutual::new();
    let policy = format!("[connections]\nper_identity = 2\n{BY_CERTIFICATE}");
    let guard = mutual.guard(&policy, &[]);
    let [first, second] = [1, 2].map(|serial| mutual.root.called(serial, &[WEB]));
    let mut inside = mutual.open(&guard, &first);
    let _too = mutual.open(&guard, &second);
    assert_eq!(mutual.status(&guard, Some(&second)), Some(429));
    let other = mutual.root.called(3, &["spiffe://example.org/db"]);
    let _other = mutual.open(&guard, &other);
    let close = masked(CLOSE, &1000u16.to_be_bytes());
    inside.stream.write_all(&close).expect("open");
    assert_eq!(inside.close().0, 1000);
    let deadline = Instant::now() + PATIENCE;
    while mutual.status(&guard, Some(&second)) != Some(101) {
        assert!(Instant::now() < deadline, "its place is never free");
    }
}

#[test]
fn t2_where_certificates_are_optional_the_policy_decides() {
    let mutual = Mutual::new();
    let optional = ["--tls-client-auth", "optional"];
    let (web, stranger) = (
        mutual.root.called(1, &[WEB]),
        Root::new("two").called(1, &[WEB]),
    );
    for (required, without) in [(true, 401), (false, 101)] {
        let policy = format!("{BY_CERTIFICATE}required = {required}\n");
        let guard = mutual.guard(&policy, &optional);
        assert_eq!(mutual.status(&guard, None), Some(without));
        assert_eq!(mutual.status(&guard, Some(&web)), Some(101));
        assert_eq!(mutual.status(&guard, Some(&stranger)), None);
    }
    let guard = mutual.guard(BY_CERTIFICATE, &["--tls-client-auth", "require"]);
    assert_eq!(mutual.status(&guard, None), None);
    assert_eq!(mutual.status(&guard, Some(&web)), Some(101));
}

#[test]
fn t2_a_reload_keeps_sockets_and_an_order_ends_them() {
    let mutual = Mutual::new();
    let list = Scratch::new("list.pem", &mutual.root.revokes(&[]));
    let guard = mutual.guard(BY_CERTIFICATE, &["--tls-client-crl", list.path()]);
    let [first, second] = [1, 2].map(|serial| mutual.root.called(serial, &[WEB]));
    let mut inside = mutual.open(&guard, &first);
    std::fs::write(list.path(), mutual.root.revokes(&[1])).expect("a file");
    guard.reload(BY_CERTIFICATE);
    let deadline = Instant::now() + PATIENCE;
    while mutual.status(&guard, Some(&first)).is_some() {
        assert!(Instant::now() < deadline, "it still comes in");
    }
    assert_eq!(inside.echoed(b"still here"), b"still here");
    drop(mutual.open(&guard, &second));
    revoke(&guard, WEB);
    assert_eq!(inside.close(), (1008, "revoked".to_owned()));
    // Each worker hears of it in its own time.
    while mutual.status(&guard, Some(&second)) != Some(401) {
        assert!(Instant::now() < deadline, "it still comes in");
    }
}

#[test]
fn t2_the_upstream_is_told_the_certificate_and_never_what_a_client_says_of_it() {
    let mutual = Mutual::new();
    let web = mutual.root.called(1, &[WEB]);
    let der = pem_body(&web.0);
    for told in [false, true] {
        let before = mutual.upstream.seen.now().heads.len();
        let policy = format!("[server]\nclient_cert = {told}\n{BY_CERTIFICATE}");
        let guard = mutual.guard(&policy, &[]);
        // A page first, then a WebSocket on the connection that has come back from the reverse proxy.
        let forged = |ask: Ask| {
            let ask = ask.with("Client-Cert", ":Zm9yZ2Vk:");
            ask.with("X-Forwarded-Client-Cert", "URI=spiffe://example.org/admin")
        };
        let socket = forged(Ask::new(guard.address, "/"));
        let page = socket.clone().without("Upgrade").without("Connection");
        let asked = asked_with(&guard, &mutual.own.pair.0, Some(&web), &page);
        let mut client = asked.expect("a connection");
        assert_eq!(client.status(), 200, "{}", client.head);
        let mut body = [0; 4];
        client.stream.read_exact(&mut body).expect("a body");
        assert_eq!(client.ask(&socket), 101, "{}", client.head);
        assert_eq!(client.echoed(b"hello"), b"hello");
        let heads = mutual.upstream.seen.now().heads;
        assert_eq!(heads.len(), before + 2);
        for head in &heads[before..] {
            let expected = format!(":{der}:");
            let expected = told.then_some(expected.as_str());
            assert_eq!(field(head, "client-cert"), expected, "{head}");
            assert!(
                !head.contains("Zm9yZ2Vk") && !head.contains("admin"),
                "{head}"
            );
        }
    }
}

/// The base64 between a PEM text's two lines.
fn pem_body(pem: &str) -> String {
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    lines.collect()
}

#[test]
fn t2_a_policy_about_certificates_needs_a_listener_that_asks_for_them() {
    let own = Own::new();
    for (text, named) in [
        (BY_CERTIFICATE, "\"certificate\" in sources"),
        ("[server]\nclient_cert = true\n", "client_cert"),
    ] {
        let policy = Scratch::new("policy.toml", text);
        let upstream = ["--upstream", "ws://127.0.0.1:9", "--policy", policy.path()];
        let arguments = [&upstream[..], &own.flags(), &["--check-config"]].concat();
        let (code, said, complaint) = run(&arguments);
        assert_eq!((code, said.as_str()), (2, ""), "{complaint}");
        for word in [policy.path(), named, "--tls-client-ca"] {
            assert!(complaint.contains(word), "{word}: {complaint}");
        }
        let roots = Scratch::new("roots.pem", &own.pair.0);
        let arguments = [&arguments[..], &["--tls-client-ca", roots.path()]].concat();
        assert_eq!(run(&arguments).0, 0);
    }
    let flags = [
        "--upstream",
        "ws://127.0.0.1:9",
        "--tls-client-auth",
        "optional",
    ];
    assert_eq!(run(&flags).0, 2);
    // The same at a reload: the old policy stays.
    let upstream = Upstream::echo();
    let guard = Guard::start(&upstream.url(), Some(""), &own.flags());
    guard.reload(BY_CERTIFICATE);
    guard.said(&["policy not reloaded", "--tls-client-ca"]);
    assert_eq!(ask_with(&guard, &own.pair.0, None), Some(101));
}
