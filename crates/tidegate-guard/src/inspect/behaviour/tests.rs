//! Rows M6, M7, M9 and M12 of the threat table, on a clock moved by hand.

use super::*;
use std::hash::{BuildHasherDefault, DefaultHasher};

type Watch = Behaviour<BuildHasherDefault<DefaultHasher>>;

fn watch(rules: BehaviourRules) -> Watch {
    let rules = BehaviourRules {
        mode: Mode::Block,
        entries: 1024,
        ..rules
    };
    Behaviour::new(rules, BuildHasherDefault::default())
}

fn at(seconds: u64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

fn who<'a>(identity: &'a str, address: &'a str) -> Who<'a> {
    Who {
        identity,
        address,
        claims: &[],
    }
}

fn rule(act: &Act) -> (&'static str, &'static str) {
    match act {
        Act::Pass => ("pass", ""),
        Act::Monitor(finding) => ("monitor", finding.rule),
        Act::Drop(finding) => ("drop", finding.rule),
        Act::Close(finding) => ("close", finding.rule),
    }
}

fn logins() -> BehaviourRules {
    BehaviourRules {
        failures: vec![Failures {
            request: "login".to_owned(),
            failure: ("/ok".to_owned(), "false".to_owned()),
            limit: 30,
            window: Duration::from_secs(60),
            block: Duration::from_secs(300),
        }],
        ..BehaviourRules::default()
    }
}

fn fails(watch: &mut Watch, who: &Who<'_>, conversation: &mut Conversation, now: Time) -> Act {
    let login = br#"{"type":"login","password":"guess"}"#;
    let asked = watch.message(Direction::ToServer, who, conversation, login, now);
    if asked != Act::Pass {
        return asked;
    }
    watch.message(
        Direction::ToClient,
        who,
        conversation,
        br#"{"ok":false}"#,
        now,
    )
}

#[test]
fn m9_thirty_failures_on_one_socket_or_over_thirty_sockets_close_and_then_refuse() {
    for reconnects in [false, true] {
        let mut watch = watch(logins());
        let mut conversation = Conversation::default();
        let peer = who("", "192.0.2.1");
        for attempt in 0..29 {
            if reconnects {
                conversation = Conversation::default();
                assert!(watch.admits(&peer, at(attempt)));
            }
            let act = fails(&mut watch, &peer, &mut conversation, at(attempt));
            assert_eq!(act, Act::Pass, "{attempt}");
        }
        let act = fails(&mut watch, &peer, &mut conversation, at(29));
        assert_eq!(rule(&act), ("close", "behaviour-failures"));
        assert!(!watch.admits(&peer, at(30)), "429 from now on");
        assert!(
            !watch.admits(&who("ann", "192.0.2.1"), at(328)),
            "the address, whoever it is"
        );
        assert!(
            watch.admits(&who("", "192.0.2.2"), at(30)),
            "others come in"
        );
        assert!(watch.admits(&peer, at(330)));
    }
}

#[test]
fn m9_success_and_other_answers_are_no_failures_and_old_ones_are_forgotten() {
    let mut watch = watch(logins());
    let mut conversation = Conversation::default();
    let peer = who("ann", "192.0.2.1");
    for attempt in 0..100 {
        let act = fails(&mut watch, &peer, &mut conversation, at(attempt * 3));
        assert_eq!(act, Act::Pass, "twenty a minute");
    }
    for _ in 0..100 {
        let answer = br#"{"ok":false}"#;
        let act = watch.message(
            Direction::ToClient,
            &peer,
            &mut conversation,
            answer,
            at(400),
        );
        assert_eq!(act, Act::Pass, "nobody asked");
    }
}

#[test]
fn m6_names_outside_of_the_claim_are_denied_and_many_of_them_close() {
    let mut watch = watch(BehaviourRules {
        members: vec![Members {
            at: "/room".to_owned(),
            claim: "rooms".to_owned(),
            limit: 20,
        }],
        ..BehaviourRules::default()
    });
    let claims = [("rooms".to_owned(), vec!["red".to_owned()])];
    let ann = Who {
        claims: &claims,
        ..who("ann", "192.0.2.1")
    };
    let mut say = |room: &str, now| {
        let message = format!(r#"{{"type":"join","room":"{room}"}}"#);
        let mut conversation = Conversation::default();
        let act = watch.message(
            Direction::ToServer,
            &ann,
            &mut conversation,
            message.as_bytes(),
            now,
        );
        rule(&act)
    };
    assert_eq!(say("red", at(0)), ("pass", ""));
    for _ in 0..50 {
        assert_eq!(
            say("blue", at(1)),
            ("drop", "behaviour-members"),
            "one name is one name"
        );
    }
    for room in 1..19 {
        assert_eq!(say(&room.to_string(), at(2)), ("drop", "behaviour-members"));
    }
    assert_eq!(say("19", at(3)), ("close", "behaviour-enumeration"));
    assert_eq!(say("red", at(4)), ("pass", ""));
    assert_eq!(
        say("20", at(62)),
        ("drop", "behaviour-members"),
        "another minute"
    );
}

#[test]
fn m7_a_message_that_comes_again_is_dropped() {
    let mut watch = watch(BehaviourRules {
        replay: Some(Replay {
            id_at: "/id".to_owned(),
            time_at: Some("/ts".to_owned()),
            window: Duration::from_secs(60),
        }),
        ..BehaviourRules::default()
    });
    let mut say = |who: &Who<'_>, id: u32, sent: u64, now: u64| {
        let message = format!(r#"{{"id":"{id}","ts":{}}}"#, sent * 1_000);
        let mut conversation = Conversation::default();
        let now = at(1_000 + now);
        rule(&watch.message(
            Direction::ToServer,
            who,
            &mut conversation,
            message.as_bytes(),
            now,
        ))
        .0
    };
    let (ann, bob) = (who("ann", "a"), who("bob", "a"));
    assert_eq!(say(&ann, 1, 1_000, 0), "pass");
    assert_eq!(say(&ann, 1, 1_000, 1), "drop");
    assert_eq!(say(&bob, 1, 1_000, 1), "pass");
    assert_eq!(say(&ann, 2, 1_000, 59), "pass");
    assert_eq!(
        say(&ann, 1, 1_000, 70),
        "drop",
        "its time is over, so it can't be new"
    );
    assert_eq!(say(&ann, 3, 1_200, 70), "drop", "from the future");
}

#[test]
fn m12_a_kind_has_its_rate_and_after_a_grace_the_connection_ends() {
    let mut watch = watch(BehaviourRules {
        rates: vec![KindRate {
            kind: "chat".to_owned(),
            rate: Rate::new(10, 10).unwrap(),
            grace: 20,
        }],
        ..BehaviourRules::default()
    });
    let ann = who("ann", "a");
    let mut counts = std::collections::BTreeMap::new();
    for message in 0..60 {
        let now = Time::from_micros(message * 1_000);
        let mut conversation = Conversation::default();
        let chat = br#"{"type":"chat"}"#;
        let act = watch.message(Direction::ToServer, &ann, &mut conversation, chat, now);
        *counts.entry(rule(&act).0).or_insert(0) += 1;
        let other = watch.message(
            Direction::ToServer,
            &ann,
            &mut conversation,
            br#"{"type":"x"}"#,
            now,
        );
        assert_eq!(other, Act::Pass);
    }
    assert_eq!(
        counts.into_iter().collect::<Vec<_>>(),
        [("close", 30), ("drop", 20), ("pass", 10)]
    );
}

#[test]
fn login_comes_before_join() {
    let mut watch = watch(BehaviourRules {
        order: vec![Order {
            first: "login".to_owned(),
            then: vec!["join".to_owned()],
        }],
        ..BehaviourRules::default()
    });
    let mut conversation = Conversation::default();
    let mut say = |kind: &str| {
        let message = format!(r#"{{"type":"{kind}"}}"#);
        let peer = who("", "a");
        rule(&watch.message(
            Direction::ToServer,
            &peer,
            &mut conversation,
            message.as_bytes(),
            at(0),
        ))
        .0
    };
    assert_eq!(
        ["ping", "join", "login", "join"].map(&mut say),
        ["pass", "close", "pass", "pass"]
    );
}

#[test]
fn in_monitor_everything_passes_and_is_told() {
    let mut watch = watch(logins());
    watch.set_rules(&logins());
    let mut conversation = Conversation::default();
    let peer = who("ann", "a");
    let acts: Vec<Act> = (0..30)
        .map(|i| fails(&mut watch, &peer, &mut conversation, at(i)))
        .collect();
    assert_eq!(rule(&acts[29]), ("monitor", "behaviour-failures"));
    assert!(watch.admits(&peer, at(31)));
}
