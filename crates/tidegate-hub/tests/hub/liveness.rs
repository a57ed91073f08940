//! Deadlines: connecting, pings and pongs, and the server's end.

use crate::on_1_and_4_workers;
use serde_json::json;
use std::time::Duration;
use tidegate_sim::net::Net;

on_1_and_4_workers!(
    who_does_not_connect_is_stale,
    pings_come_every_25_seconds_and_want_a_pong,
    a_slot_used_again_inherits_no_deadline,
    shutting_down_closes_everyone_with_3001,
);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn who_does_not_connect_is_stale(mut net: Net) {
    let (a, b) = (net.socket(0), net.client(1));
    net.pass(Duration::from_millis(14_900));
    assert_eq!(net.clients[a].close, None);
    net.pass(Duration::from_millis(200));
    assert_eq!(net.clients[a].close, Some((3502, "stale".into())));
    assert!(net.clients[a].over);
    assert_eq!(net.clients[b].close, None);
}

fn pings_come_every_25_seconds_and_want_a_pong(mut net: Net) {
    let (good, mute) = (net.client(0), net.client(1));
    net.clients[mute].pongs = false;
    net.pass(seconds(12));
    assert_eq!(net.clients[good].pings, 0);
    let start = net.now;
    while net.clients[mute].pings == 0 {
        net.pass(Duration::from_millis(100));
    }
    // Other commands are no pong.
    net.ask(mute, json!({ "ping": {} }));
    net.pass(Duration::from_millis(9_800));
    assert_eq!(net.clients[mute].close, None);
    net.pass(Duration::from_millis(300));
    assert_eq!(net.clients[mute].close, Some((3012, "no pong".into())));
    net.pass(seconds(264) - net.now.since(start));
    assert_eq!(net.clients[good].pings, 11);
    assert_eq!(net.clients[good].close, None);
    assert_eq!(net.total().sessions, 1);
}

fn a_slot_used_again_inherits_no_deadline(mut net: Net) {
    let a = net.socket(0);
    net.pass(seconds(14));
    net.cut(a);
    let b = net.socket(0);
    net.pass(seconds(14));
    assert_eq!(net.clients[b].close, None);
    net.ask(b, json!({ "connect": {} }));
    net.pass(seconds(11));
    assert_eq!(
        (net.clients[b].pings, net.clients[b].close.clone()),
        (0, None)
    );
}

fn shutting_down_closes_everyone_with_3001(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let ids: Vec<_> = (0..8).map(|n| net.client(n)).collect();
    for &id in &ids {
        net.subscribe(id, &channel);
        net.pushes(id);
    }
    net.drain();
    for &id in &ids {
        assert_eq!(net.clients[id].close, Some((3001, "shutdown".into())));
        assert!(net.clients[id].over);
    }
    let left = net.total();
    assert_eq!(
        (left.sessions, left.local_topics, left.home_topics),
        (0, 0, 0)
    );
}
