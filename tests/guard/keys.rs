//! S5: keys that are fetched. A source that fails at first, that changes its keys, that goes away; a forger with the
//! right name.

use crate::credentials::{claims, with_token};
use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::guard::Guard;
use crate::support::issuer::{Key, Source, key_set};
use crate::support::upstream::Upstream;
use std::time::{Duration, Instant};

fn guard(upstream: &Upstream, source: &Source, more: &str) -> Guard {
    let policy = format!(
        "[auth]\n[[issuers]]\nissuer = \"https://id.example\"\naudience = \"chat\"\nalgorithms = [\"ES256\"]\n\
         jwks_url = \"http://{}/jwks\"\n{more}",
        source.address
    );
    Guard::with_policy(&upstream.url(), &policy)
}

fn status(guard: &Guard, key: &Key) -> u16 {
    let token = key.sign(&claims("alice", 600));
    Client::ask(guard.address, &with_token(guard, &token)).status()
}

/// Asks until the answer is this one.
fn until(guard: &Guard, key: &Key, expected: u16) {
    let deadline = Instant::now() + PATIENCE;
    while status(guard, key) != expected {
        assert!(Instant::now() < deadline, "never {expected}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn s5_keys_come_when_their_source_does_and_stay_when_it_goes() {
    let (alice, forger) = (Key::new("k1"), Key::new("k1"));
    let source = Source::start(503, "not yet");
    let upstream = Upstream::echo();
    let guard = guard(&upstream, &source, "");
    guard.said(&["cannot be fetched", "503"]);
    assert_eq!(status(&guard, &alice), 401, "nobody can say: closed");
    source.say(200, &key_set(&[&alice]));
    until(&guard, &alice, 101);
    assert_eq!(status(&guard, &forger), 401, "the same name, another key");
    source.say(500, "gone");
    assert_eq!(status(&guard, &alice), 101, "known keys go on");
    // Also when the policy is read again meanwhile.
    guard.reload(&format!(
        "[auth]\nleeway = \"1s\"\n[[issuers]]\nissuer = \"https://id.example\"\naudience = \"chat\"\n\
         algorithms = [\"ES256\"]\njwks_url = \"http://{}/jwks\"\n",
        source.address
    ));
    guard.said(&["policy reloaded"]);
    assert_eq!(status(&guard, &alice), 101);
}

#[test]
fn s5_a_new_key_is_fetched_when_a_token_names_it_and_the_old_one_is_over() {
    let (old, new) = (Key::new("k1"), Key::new("k2"));
    let source = Source::start(200, &key_set(&[&old]));
    let upstream = Upstream::echo();
    let guard = guard(&upstream, &source, "");
    until(&guard, &old, 101);
    source.say(200, &key_set(&[&new]));
    // Nothing but the token's unknown name makes the guard ask before an hour is over.
    until(&guard, &new, 101);
    assert_eq!(status(&guard, &old), 401, "it was taken out of the set");
    // Names that nobody has do not make it ask for each.
    let (asked, stranger) = (source.asked(), Key::new("k3"));
    for _ in 0..50 {
        assert_eq!(status(&guard, &stranger), 401);
    }
    assert!(source.asked() <= asked + 5, "{}", source.asked() - asked);
}
