//! Who is there, and who is told of it.

use crate::on_1_and_4_workers;
use serde_json::json;
use std::time::Duration;
use tidegate_hub::{HubConfig, JoinLeave, Namespace};
use tidegate_sim::net::Net;

on_1_and_4_workers!(
    presence_lists_and_counts_clients,
    those_present_are_told_who_comes_and_goes,
    presence_is_right_after_many_abrupt_ends,
    a_rush_is_told_in_few_frames,
    nobody_is_told_where_too_many_want_to_know,
);

fn presence_lists_and_counts_clients(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let ann = net.client_with(0, json!({ "data": { "name": "Ann" } }));
    let bob = net.client(2);
    net.subscribe(ann, &channel);
    net.subscribe(bob, &channel);
    let outside = net.client(3);
    let reply = net.ask(outside, json!({ "presence": { "channel": channel } }));
    let clients = reply["presence"]["presence"].as_object().unwrap();
    assert_eq!(clients.len(), 2);
    for (id, info) in clients {
        assert_eq!(info["client"], id.as_str());
    }
    assert!(
        clients
            .values()
            .any(|info| info["conn_info"] == json!({ "name": "Ann" }))
    );
    let reply = net.ask(outside, json!({ "presence_stats": { "channel": channel } }));
    assert_eq!(
        reply["presence_stats"],
        json!({ "num_clients": 2, "num_users": 1 })
    );
    let reply = net.ask(outside, json!({ "presence": { "channel": "chat:empty" } }));
    assert_eq!(reply["presence"]["presence"], json!({}));
}

fn those_present_are_told_who_comes_and_goes(mut net: Net) {
    let channel = net.channel("chat:", 2);
    let (a, b, c) = (net.client(0), net.client(1), net.client(3));
    net.subscribe(a, &channel);
    net.pushes(a);
    net.subscribe(b, &channel);
    let own = net.pushes(b);
    let told = net.pushes(a);
    assert_eq!(own, told);
    let info = told[0]["join"]["info"].clone();
    assert_eq!(told[0]["channel"], channel.as_str());
    assert_eq!(info["user"], "");
    net.ask(b, json!({ "unsubscribe": { "channel": channel } }));
    assert_eq!(
        net.pushes(a),
        [json!({ "channel": channel, "leave": { "info": info } })]
    );
    assert!(net.pushes(b).is_empty());
    net.subscribe(c, &channel);
    net.pushes(a);
    net.cut(c);
    assert!(net.pushes(a)[0]["leave"]["info"]["client"].is_string());
    let market = net.channel("market:", 2);
    net.subscribe(a, &market);
    net.subscribe(b, &market);
    assert!(net.pushes(a).is_empty());
}

fn presence_is_right_after_many_abrupt_ends(mut net: Net) {
    let channels: Vec<_> = (0..4)
        .map(|home| net.channel(&format!("chat:{home}-"), home))
        .collect();
    let ids: Vec<_> = (0..40).map(|n| net.client(n)).collect();
    for &id in &ids {
        for channel in &channels {
            net.subscribe(id, channel);
        }
    }
    net.pass(Duration::from_secs(2)); // all joins are told
    net.eager = false;
    for (n, &id) in ids.iter().enumerate() {
        match n % 4 {
            0 => net.cut(id),
            1 => net.frame(id, 0x88, &1000_u16.to_be_bytes()),
            2 => net.say(id, "!"),
            _ => {}
        }
    }
    net.eager = true;
    net.pump();
    for channel in &channels {
        let reply = net.ask(ids[3], json!({ "presence_stats": { "channel": channel } }));
        assert_eq!(reply["presence_stats"]["num_clients"], 10);
        let reply = net.ask(ids[7], json!({ "presence": { "channel": channel } }));
        assert_eq!(reply["presence"]["presence"].as_object().unwrap().len(), 10);
    }
    net.pass(Duration::from_millis(200));
    let left = net
        .pushes(ids[39])
        .iter()
        .filter(|push| push["leave"].is_object())
        .count();
    assert_eq!(left, 30 * 4);
}

/// The first are told one by one; when more come in the same moment they are told together.
fn a_rush_is_told_in_few_frames(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let watcher = net.client(0);
    net.subscribe(watcher, &channel);
    net.pass(Duration::from_secs(2));
    net.pushes(watcher);
    let before = net.clients[watcher].frames.len();
    for n in 0..200 {
        let id = net.client(n);
        net.subscribe(id, &channel);
    }
    assert_eq!(net.pushes(watcher).len(), 20);
    net.pass(Duration::from_millis(200));
    assert_eq!(net.pushes(watcher).len(), 180);
    assert_eq!(net.clients[watcher].frames.len() - before, 21);
}

/// What each of very many is told of each other grows with their square, so beyond a number nobody is; the
/// counts are right nevertheless.
fn nobody_is_told_where_too_many_want_to_know(net: Net) {
    let mut config = HubConfig::dev();
    let hall = Namespace {
        join_leave: JoinLeave::Asked,
        join_leave_limit: 3,
        ..Namespace::open()
    };
    config.namespaces.set("hall", hall);
    let mut net = Net::with(net.workers(), 1, config);
    let channel = net.channel("hall:", 2);
    let asked = json!({ "subscribe": { "channel": channel, "join_leave": true } });
    let listeners = [0, 1, 2].map(|worker| net.client(worker));
    for id in listeners {
        net.ask(id, asked.clone());
    }
    // However many others there are.
    for n in 0..10 {
        let id = net.client(n);
        net.subscribe(id, &channel);
    }
    for (n, id) in listeners.into_iter().enumerate() {
        assert_eq!(net.pushes(id).len(), 13 - n);
    }
    let fourth = net.client(3);
    net.ask(fourth, asked);
    let other = net.client(0);
    net.subscribe(other, &channel);
    net.pass(Duration::from_secs(1));
    assert!(
        listeners
            .iter()
            .chain([&fourth])
            .all(|id| net.pushes(*id).is_empty())
    );
    let stats = net.ask(other, json!({ "presence_stats": { "channel": channel } }));
    assert_eq!(stats["presence_stats"]["num_clients"], 15);
    let untold = net
        .hub_ask(|hub, answer| hub.stats(answer))
        .unwrap()
        .total()
        .untold;
    assert_eq!(untold, 2);
    // There is one less: all is told again.
    net.cut(fourth);
    let last = net.client(1);
    net.subscribe(last, &channel);
    for id in listeners {
        let news = net.pushes(id);
        assert_eq!(news.len(), 2);
        assert!(news[0]["leave"].is_object() && news[1]["join"].is_object());
    }
}
