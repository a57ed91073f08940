//! Coming back: what was missed is sent, or it is said that it cannot be.

use crate::on_1_and_4_workers;
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_sim::net::Net;

on_1_and_4_workers!(
    what_was_missed_is_sent_in_order,
    nothing_missed_is_recovered_too,
    a_lost_position_is_admitted,
    recovery_and_live_publications_meet_without_gap_or_double,
    channels_without_recovery_say_so,
    old_publications_expire_by_themselves,
    empty_channels_are_forgotten,
);

/// Subscribes from a position.
fn recover(net: &mut Net, id: usize, channel: &str, offset: u64, epoch: &Value) -> Value {
    let request = json!({ "channel": channel, "recover": true, "offset": offset, "epoch": epoch });
    net.ask(id, json!({ "subscribe": request }))["subscribe"].clone()
}

fn what_was_missed_is_sent_in_order(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let (a, b) = (net.client(0), net.client(2));
    let start = net.subscribe(a, &channel);
    net.publish(b, &channel, json!("one"));
    assert_eq!(net.data(a, &channel), ["one"]);
    net.cut(a);
    for text in ["two", "three"] {
        net.publish(b, &channel, json!(text));
    }
    let a = net.client(3);
    let result = recover(&mut net, a, &channel, 1, &start["epoch"]);
    assert_eq!(result["recovered"], true);
    assert_eq!(result["was_recovering"], true);
    assert_eq!(result["offset"], 1); // the SDKs move on with each publication
    let missed = result["publications"].as_array().unwrap();
    let data: Vec<&Value> = missed.iter().map(|p| &p["data"]).collect();
    assert_eq!(data, ["two", "three"]);
    assert_eq!(missed[1]["offset"], 3);
    net.publish(b, &channel, json!("four"));
    assert_eq!(net.data(a, &channel), ["four"]);
}

fn nothing_missed_is_recovered_too(mut net: Net) {
    let channel = net.channel("chat:", 2);
    let a = net.client(0);
    let start = net.subscribe(a, &channel);
    net.cut(a);
    net.pass(Duration::from_secs(300));
    let a = net.client(1);
    let result = recover(&mut net, a, &channel, 0, &start["epoch"]);
    assert_eq!(result["recovered"], true);
    assert!(result["publications"].is_null());
}

fn a_lost_position_is_admitted(mut net: Net) {
    let channel = net.channel("chat:", 3);
    let b = net.client(1);
    for n in 1..=150 {
        net.publish(b, &channel, json!(n)); // 100 are kept: 51 to 150
    }
    let epoch =
        net.ask(b, json!({ "history": { "channel": channel } }))["history"]["epoch"].clone();
    let rows = [
        (49, epoch.clone(), false),
        (50, epoch.clone(), true),
        (150, epoch.clone(), true),
        (151, epoch.clone(), false),
        (100, json!("0123456789abcdef"), false),
        (100, json!(""), false),
        (100, json!("\u{e4}bc"), false),
    ];
    for (offset, epoch, recovered) in rows {
        let a = net.client(0);
        let result = recover(&mut net, a, &channel, offset, &epoch);
        assert_eq!(
            result["recovered"].as_bool().unwrap_or(false),
            recovered,
            "{offset} {epoch}"
        );
        assert_eq!(result["was_recovering"], true);
        if recovered {
            let missed = result["publications"].as_array().map_or(0, Vec::len) as u64;
            assert_eq!(missed, 150 - offset);
        } else {
            assert_eq!(result["offset"], 150);
            assert!(result["publications"].is_null());
        }
        net.cut(a);
    }
    // Who would rather have an error gets one, and is no member.
    let a = net.client(0);
    let request =
        json!({ "channel": channel, "recover": true, "offset": 1, "epoch": epoch, "flag": 3 });
    assert_eq!(net.refused(a, json!({ "subscribe": request })), 112);
    assert_eq!(net.total().home_topics, 0);
    net.subscribe(a, &channel);
}

fn recovery_and_live_publications_meet_without_gap_or_double(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let b = net.client(2);
    net.publish(b, &channel, json!(1));
    let epoch =
        net.ask(b, json!({ "history": { "channel": channel } }))["history"]["epoch"].clone();
    let a = net.client(0);
    net.eager = false;
    for n in 2..=20 {
        net.tell(b, json!({ "publish": { "channel": channel, "data": n } }));
        if n == 10 {
            let request =
                json!({ "channel": channel, "recover": true, "offset": 1, "epoch": epoch });
            net.tell(a, json!({ "subscribe": request }));
        }
        net.step();
    }
    net.eager = true;
    net.pump();
    let mut seen = Vec::new();
    for value in std::mem::take(&mut net.clients[a].inbox) {
        if let Some(missed) = value["subscribe"]["publications"].as_array() {
            assert!(seen.is_empty());
            seen.extend(missed.iter().map(|p| p["data"].as_u64().unwrap()));
        }
        seen.extend(value["push"]["pub"]["data"].as_u64());
    }
    assert_eq!(seen, (2..=20).collect::<Vec<u64>>());
}

fn channels_without_recovery_say_so(mut net: Net) {
    let channel = net.channel("game:", 1);
    let a = net.client(0);
    let result = recover(&mut net, a, &channel, 3, &json!("0123456789abcdef"));
    assert_eq!(result, json!({ "was_recovering": true }));
}

fn old_publications_expire_by_themselves(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let a = net.client(0);
    net.subscribe(a, &channel);
    net.publish(a, &channel, json!("old"));
    net.pass(Duration::from_secs(300));
    net.publish(a, &channel, json!("new"));
    assert!(net.total().history > 0);
    net.pass(Duration::from_secs(301));
    let reply = net.ask(a, json!({ "history": { "channel": channel, "limit": -1 } }));
    assert_eq!(
        reply["history"]["publications"].as_array().unwrap().len(),
        1
    );
    assert_eq!(reply["history"]["offset"], 2);
    net.pass(Duration::from_secs(302));
    assert_eq!(net.total().history, 0);
    assert!(net.clients[a].close.is_none());
}

fn empty_channels_are_forgotten(mut net: Net) {
    for round in 0..3 {
        let ids: Vec<_> = (0..8).map(|worker| net.client(worker)).collect();
        for (n, &id) in ids.iter().enumerate() {
            for kind in ["chat:", "game:", "market:", ""] {
                net.subscribe(id, &format!("{kind}{round}-{}", n / 2));
            }
            net.publish(id, &format!("chat:{round}-{n}"), json!(1));
        }
        assert_eq!(net.total().home_topics, 16);
        for (n, id) in ids.into_iter().enumerate() {
            if n % 2 == 0 {
                net.cut(id);
            } else {
                net.say(id, "!");
            }
        }
        let left = net.total();
        assert_eq!(
            (left.sessions, left.local_topics, left.home_topics),
            (0, 0, 0)
        );
        assert!(left.streams > 0);
        net.pass(Duration::from_secs(1_900));
        assert_eq!(net.total(), Default::default());
    }
}
