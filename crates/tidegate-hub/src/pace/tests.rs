//! Conflation by itself: what is kept, what is owed, what is counted.

use super::*;
use crate::publication::{ClientInfo, Draft, Payload, RawJson, Tags};
use crate::topic::TopicName;
use serde_json::Value;
use std::sync::Arc;

const ALL: Wish = Wish {
    hz: 10,
    latest: false,
    join_leave: false,
    server: false,
};

fn publication(n: u64, tag: Option<&str>, info: Option<&Arc<ClientInfo>>) -> Publication {
    let tags: Tags = tag
        .map(|key| ("key".to_owned(), key.to_owned()))
        .into_iter()
        .collect();
    let data = format!("{{\"n\":{n},\"sym\":\"s{}\",\"deep\":{{\"id\":7}}}}", n % 2);
    let draft = Draft {
        data: &Payload::Json(RawJson::parse(&data).unwrap()),
        info,
        tags: &tags,
    };
    Publication::new(
        &TopicName::parse("c").unwrap(),
        Some(n),
        Time::ZERO,
        &draft,
        true,
    )
}

fn publish(pace: &mut Pace, n: u64, key: &str) {
    pace.publish(key.into(), &publication(n, Some(key), None), 100);
}

/// The `n` of each publication in a batch, and the skipped of the first.
fn read(batch: &Batch) -> (Vec<u64>, u64) {
    let text = std::str::from_utf8(batch.frame.payload()).unwrap();
    let values: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let numbers = values
        .iter()
        .map(|v| v["push"]["pub"]["data"]["n"].as_u64().unwrap());
    for value in &values {
        assert!(value["push"]["pub"]["offset"].is_null(), "{value}");
    }
    let skipped = values.iter().map(|v| -> u64 {
        v["push"]["pub"]["tags"]["skipped"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    });
    (numbers.collect(), skipped.sum())
}

#[test]
fn the_newest_of_each_key_is_kept_and_the_others_are_counted() {
    let mut pace = Pace::new(0);
    pace.join(1, ALL);
    for n in 1..=10 {
        publish(&mut pace, n, ["a", "b"][(n % 2) as usize]);
    }
    publish(&mut pace, 11, "c");
    let batch = pace.batch(0, Form::Json).unwrap();
    assert_eq!(read(&batch), (vec![9, 10, 11], 8));
    assert_eq!((batch.publications, batch.skipped), (3, 8));
    let batch = pace.batch(10, Form::Json).unwrap();
    assert_eq!(read(&batch), (vec![11], 0));
    assert!(pace.batch(11, Form::Json).is_none());
}

#[test]
fn both_forms_say_the_same() {
    let mut pace = Pace::new(0);
    pace.join(1, ALL);
    publish(&mut pace, 1, "a");
    publish(&mut pace, 2, "a");
    let batch = pace.batch(0, Form::Protobuf).unwrap();
    let text = String::from_utf8_lossy(batch.frame.payload()).into_owned();
    assert!(
        text.contains("\"n\":2") && text.contains("skipped\u{12}\u{1}1"),
        "{text:?}"
    );
}

/// Whatever happens, a member's publications and skips add up to what was published.
#[test]
fn nothing_is_unaccounted_for() {
    let mut seed = 7_u64;
    let mut dice = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % n
    };
    for most in [1, 3, 100] {
        let mut pace = Pace::new(0);
        for slot in 0..4 {
            pace.join(slot, ALL);
        }
        let (mut got, mut skipped) = ([0; 4], [0; 4]);
        for n in 1..=2_000 {
            let key = format!("k{}", dice(8));
            pace.publish(key.as_str().into(), &publication(n, Some(&key), None), most);
            let member = dice(4) as usize;
            if dice(3) == 0 {
                if let Some(batch) = pace.batch(pace.members[member].served, Form::Json) {
                    got[member] += batch.publications;
                    skipped[member] += batch.skipped;
                    pace.members[member].served = batch.served;
                }
                pace.ticked(10, Time::ZERO);
            }
            assert!(pace.values.len() <= most && pace.values.len() == pace.keys.len());
        }
        for member in 0..4 {
            assert_eq!(got[member] + skipped[member], pace.members[member].served);
        }
    }
}

/// Large values do not make a frame that no outbox holds; what does not fit comes with the next one.
#[test]
fn a_frame_is_bounded_and_the_rest_is_still_owed() {
    let mut pace = Pace::new(0);
    pace.join(1, ALL);
    let draft = |n: u64| format!("{{\"n\":{n},\"x\":\"{}\"}}", "x".repeat(30_000));
    let topic = TopicName::parse("c").unwrap();
    for n in 1..=20 {
        let data = Payload::Json(RawJson::parse(&draft(n)).unwrap());
        let draft = Draft {
            data: &data,
            info: None,
            tags: &Tags::new(),
        };
        let publication = Publication::new(&topic, None, Time::ZERO, &draft, true);
        pace.publish(format!("k{}", n % 10).into(), &publication, 100);
    }
    let (mut from, mut got, mut skipped, mut frames) = (0, Vec::new(), 0, 0);
    while let Some(batch) = pace.batch(from, Form::Json) {
        assert!(batch.frame.payload().len() < 100_000);
        let (numbers, left_out) = read(&batch);
        got.extend(numbers);
        skipped += left_out;
        frames += 1;
        from = batch.served;
    }
    assert_eq!(got, (11..=20).collect::<Vec<_>>());
    assert_eq!((skipped, frames, from), (10, 4, 20));
}

#[test]
fn what_nobody_waits_for_is_forgotten() {
    let mut pace = Pace::new(0);
    pace.join(1, ALL);
    pace.join(2, Wish { hz: 5, ..ALL });
    publish(&mut pace, 1, "a");
    publish(&mut pace, 2, "b");
    pace.members[0].served = 2;
    pace.ticked(10, Time::ZERO);
    assert_eq!(pace.values.len(), 2, "the slower one still waits");
    pace.members[1].served = 2;
    pace.ticked(5, Time::ZERO);
    assert!(pace.values.is_empty() && pace.keys.is_empty());
}

#[test]
fn a_rate_has_one_tick_which_is_never_early() {
    let mut pace = Pace::new(0);
    pace.join(1, ALL);
    pace.join(2, ALL);
    let start = Time::from_micros(1_000_000_000);
    assert!(
        matches!(pace.when(10, start), When::Now),
        "the first value goes at once"
    );
    pace.ticked(10, start);
    let soon = start + Duration::from_millis(20);
    let due = start + Duration::from_millis(100);
    assert!(matches!(pace.when(10, soon), When::At(at) if at == due));
    assert!(matches!(pace.when(10, soon), When::Later));
    assert!(!pace.rings(10, soon) && !pace.rings(7, due));
    assert!(pace.rings(10, due));
    assert!(!pace.rings(10, due), "a timer of before means nothing");
    assert!(matches!(pace.when(10, due), When::Now));
    pace.leave(0);
    assert_eq!(pace.rates(), [10]);
    pace.leave(0);
    assert!(pace.rates().is_empty());
}

#[test]
fn the_key_is_a_tag_or_pointed_to_or_the_publisher() {
    let ann = Arc::new(ClientInfo::new(1, "ann", None));
    let (tagged, plain) = (publication(1, Some("t"), None), publication(1, None, None));
    assert_eq!(&*key(&tagged, Some("/sym")), "t");
    assert_eq!(&*key(&plain, Some("/sym")), "s1");
    assert_eq!(&*key(&plain, Some("/deep/id")), "7");
    assert_eq!(&*key(&plain, Some("/nothing")), "");
    assert_eq!(&*key(&plain, None), "");
    let of_ann = publication(1, None, Some(&ann));
    assert_eq!(&*key(&of_ann, None), ann.client());
    assert_eq!(&*key(&of_ann, Some("/sym")), "s1");
}
