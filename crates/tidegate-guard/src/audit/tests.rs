//! A chain as it is written, and every way to break it.

use super::*;
use crate::Mode;
use std::net::{IpAddr, Ipv4Addr};

fn at(seconds: u64) -> Time {
    Time::from_micros(1_796_000_000_000_000 + seconds * 1_000_000)
}

fn event(what: What) -> Event {
    Event {
        at: at(1),
        connection: 7,
        what,
    }
}

fn opened(route: &str, identity: &str) -> Event {
    event(What::Open {
        route: route.into(),
        remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
        identity: Some(identity.into()),
    })
}

fn events() -> Vec<Event> {
    let mut events = vec![
        opened("chat", "alice@example.com"),
        event(What::Refused {
            route: None,
            remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
            status: 403,
            rule: "origin_foreign".into(),
        }),
        event(What::Verdict {
            route: "chat".into(),
            rule: "sqli".into(),
            mode: Mode::Block,
            from_client: true,
            field: Some("/user/name".into()),
            why: "a quote and a comparison that is always true".into(),
        }),
        event(What::Lost { count: 12 }),
        event(What::Revoked {
            by: "sub",
            value: "alice@example.com".into(),
        }),
        event(What::Reload { taken: false }),
        event(What::End),
    ];
    events.extend((0..20).map(|n| {
        event(What::Close {
            route: "chat".into(),
            code: Some(1000 + n),
            rule: None,
        })
    }));
    events
}

fn file() -> Vec<String> {
    let (mut chain, first) = Chain::begin([9; 16], at(0), "0.1.0");
    let mut lines = vec![first];
    lines.extend(events().iter().map(|event| chain.append(event)));
    assert_eq!(
        check(&lines).map(|s| (s.lines, s.head)),
        Ok((chain.lines(), chain.head()))
    );
    lines
}

fn check(lines: &[String]) -> Result<Summary, Break> {
    verify(lines.iter().map(String::as_str))
}

#[test]
fn what_was_written_verifies_and_tells_what_was_lost() {
    let lines = file();
    let summary = check(&lines).expect("unbroken");
    assert_eq!((summary.lines, summary.lost), (28, 12));
    assert_eq!(check(&[]).map(|summary| summary.lines), Ok(0));
    for (n, line) in lines.iter().enumerate() {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(value["seq"], n as u64 + 1);
        assert!(line.is_ascii() && !line.contains('\n'));
    }
    let verdict: serde_json::Value = serde_json::from_str(&lines[3]).expect("JSON");
    let said = ["event", "route", "rule", "mode", "from", "field"]
        .map(|key| verdict[key].as_str().unwrap_or("none"));
    assert_eq!(
        said,
        ["verdict", "chat", "sqli", "block", "client", "/user/name"]
    );
}

#[test]
fn each_octet_that_is_changed_names_its_line() {
    let lines = file();
    for n in [0, 3, 27] {
        for place in 0..lines[n].len() {
            let mut octets = lines[n].clone().into_bytes();
            octets[place] = match octets[place] {
                b'1' => b'2',
                _ => b'1',
            };
            let mut broken = lines.clone();
            broken[n] = String::from_utf8(octets).expect("ASCII");
            let found = check(&broken).expect_err("it was changed");
            assert_eq!(found.line, n as u64 + 1, "octet {place}: {found}");
        }
    }
}

#[test]
fn a_line_that_is_missing_added_or_moved_is_named() {
    let lines = file();
    for n in 0..lines.len() - 1 {
        let mut cut = lines.clone();
        cut.remove(n);
        assert_eq!(
            check(&cut).map_err(|found| found.line),
            Err(n as u64 + 1),
            "without line {}",
            n + 1
        );
        let mut moved = lines.clone();
        moved.swap(n, n + 1);
        assert_eq!(
            check(&moved).map_err(|found| found.line),
            Err(n as u64 + 1),
            "swapped"
        );
        let mut twice = lines.clone();
        twice.insert(n, lines[n].clone());
        assert_eq!(
            check(&twice).map_err(|found| found.line),
            Err(n as u64 + 2),
            "twice"
        );
    }
    let mut halved = lines.clone();
    halved[5].truncate(40);
    assert_eq!(check(&halved).map_err(|found| found.line), Err(6));
    let mut blank = lines.clone();
    blank.insert(2, String::new());
    assert_eq!(check(&blank).map_err(|found| found.line), Err(3));
}

#[test]
fn a_line_whose_hash_was_made_anew_is_found_at_the_next() {
    let mut lines = file();
    let (mut other, _) = Chain::begin([9; 16], at(0), "0.1.0");
    lines[1] = other.append(&opened("chat", "mallory"));
    assert_eq!(check(&lines).map_err(|found| found.line), Err(3));
}

#[test]
fn a_file_that_goes_on_is_one_chain_with_one_salt() {
    let mut lines = file();
    let mut chain = Chain::resume(lines.iter().map(String::as_str)).expect("unbroken");
    lines.push(chain.append(&opened("chat", "alice@example.com")));
    assert_eq!(check(&lines).map(|summary| summary.lines), Ok(29));
    let identity = |n: usize| {
        let value: serde_json::Value = serde_json::from_str(&lines[n]).expect("JSON");
        value["identity"].as_str().expect("text").to_owned()
    };
    assert_eq!(identity(1), identity(28));
    assert_eq!(identity(1), identity(5), "who was revoked can be found");
    let (mut other, _) = Chain::begin([8; 16], at(0), "0.1.0");
    assert!(
        !other
            .append(&opened("chat", "alice@example.com"))
            .contains(&identity(1))
    );
    lines[4].push(' ');
    assert_eq!(
        Chain::resume(lines.iter().map(String::as_str))
            .map(|_| ())
            .map_err(|b| b.line),
        Err(5)
    );
    assert!(Chain::resume(std::iter::empty()).is_err());
}

#[test]
fn nothing_a_peer_chooses_forges_a_line_or_shows_an_identity() {
    let (mut chain, first) = Chain::begin([1; 16], at(0), "0.1.0");
    let nasty = "x\",\"hash\":\"00\"}\n{\"seq\":3,\u{1b}[2J\u{9b}31m\u{202e}\\ \u{1f600}\r\0";
    let lines = vec![
        first,
        chain.append(&opened(nasty, "alice@example.com")),
        chain.append(&event(What::Verdict {
            route: nasty.into(),
            rule: nasty.to_owned().into(),
            mode: Mode::Monitor,
            from_client: false,
            field: Some(nasty.repeat(1_000).into()),
            why: nasty.to_owned().into(),
        })),
    ];
    assert_eq!(check(&lines).map(|summary| summary.lines), Ok(3));
    for line in &lines {
        assert!(
            line.bytes().all(|octet| (b' '..=b'~').contains(&octet)),
            "{line}"
        );
        assert!(line.len() < 4_096 && !line.contains("alice"), "{line}");
    }
    let value: serde_json::Value = serde_json::from_str(&lines[1]).expect("JSON");
    assert_eq!(value["route"].as_str(), Some(nasty));
}

#[test]
fn moments_are_written_as_people_read_them() {
    let rows = [
        (0, "1970-01-01T00:00:00.000000Z"),
        (951_827_696_000_001, "2000-02-29T12:34:56.000001Z"),
        (1_796_000_000_000_000, "2026-11-30T00:53:20.000000Z"),
        (4_102_444_799_999_999, "2099-12-31T23:59:59.999999Z"),
    ];
    for (micros, expected) in rows {
        assert_eq!(stamp(Time::from_micros(micros)), expected);
    }
}
