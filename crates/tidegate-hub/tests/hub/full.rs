//! When something is full: a client's outbox, a worker's mailbox. Nothing is lost in silence.

use crate::on_1_and_4_workers;
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_hub::{HubConfig, HubLimits, ServerSubscribe, Target};
use tidegate_sim::net::Net;

on_1_and_4_workers!(
    a_slow_consumer_is_closed_with_3008,
    many_slow_consumers_end_at_once,
    many_expensive_commands_cost_no_memory,
);

fn a_slow_consumer_is_closed_with_3008(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let (slow, quick, publisher) = (net.client(0), net.client(0), net.client(2));
    net.subscribe(slow, &channel);
    net.subscribe(quick, &channel);
    net.clients[slow].reads = false;
    let big = "x".repeat(60_000);
    for _ in 0..40 {
        net.publish(publisher, &channel, json!(big));
    }
    assert_eq!(net.data(quick, &channel).len(), 40);
    let stats = net.ask(quick, json!({ "presence_stats": { "channel": channel } }));
    assert_eq!(stats["presence_stats"]["num_clients"], 1);
    net.clients[slow].reads = true;
    net.write(slow);
    assert_eq!(net.clients[slow].close, Some((3008, "slow".into())));
    // What it got has no hole, so that its last offset is a true position.
    let got: Vec<u64> = net
        .pushes(slow)
        .iter()
        .filter_map(|push| push["pub"]["offset"].as_u64())
        .collect();
    assert!(!got.is_empty() && got.len() < 40);
    assert_eq!(got, (1..=got.len() as u64).collect::<Vec<_>>());
}

/// Each one's departure is told to the others, whose outboxes are full too.
fn many_slow_consumers_end_at_once(mut net: Net) {
    let channel = net.channel("chat:", 0);
    let ids: Vec<_> = (0..60).map(|n| net.client(n)).collect();
    for &id in &ids {
        net.subscribe(id, &channel);
        net.clients[id].reads = false;
    }
    let big = "x".repeat(60_000);
    for _ in 0..20 {
        net.hub_publish(&channel, json!(big));
    }
    for &id in &ids {
        net.clients[id].reads = true;
        net.write(id);
        assert_eq!(net.clients[id].close.as_ref().map(|c| c.0), Some(3008));
    }
    let left = net.total();
    assert_eq!(
        (left.sessions, left.local_topics, left.home_topics),
        (0, 0, 0)
    );
}

fn many_expensive_commands_cost_no_memory(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let a = net.client(0);
    for _ in 0..8 {
        net.publish(a, &channel, json!("x".repeat(60_000)));
    }
    net.clients[a].reads = false;
    let batch: String = (100..1_000)
        .map(|id| {
            format!("{{\"id\":{id},\"history\":{{\"channel\":\"{channel}\",\"limit\":-1}}}}\n")
        })
        .collect();
    net.say(a, &batch);
    net.clients[a].reads = true;
    net.write(a);
    assert_eq!(net.clients[a].close.as_ref().map(|c| c.0), Some(3008));
    let got: usize = net.clients[a].frames.iter().map(String::len).sum();
    assert!(got < 3 << 20, "{got}");
    assert_eq!(net.total().in_flight, 0);
}

/// A busy home refuses, and says that trying again may help.
#[test]
fn a_full_mailbox_at_the_home_is_error_111() {
    let mut net = Net::new(4);
    let channel = net.channel("chat:", 1);
    let a = net.client(0);
    net.room(0);
    for command in [
        json!({ "publish": { "channel": channel, "data": 1 } }),
        json!({ "subscribe": { "channel": channel } }),
        json!({ "presence": { "channel": channel } }),
    ] {
        let reply = net.ask(a, command);
        assert_eq!(reply["error"]["code"], 111);
        assert_eq!(reply["error"]["temporary"], true);
    }
    net.room(usize::MAX);
    net.subscribe(a, &channel);
    net.publish(a, &channel, json!(1));
    assert_eq!(net.total().in_flight, 0);
}

#[test]
fn too_many_commands_under_way_are_error_111() {
    let limits = HubLimits {
        in_flight: 3,
        worker_in_flight: 5,
        ..HubLimits::default()
    };
    let mut net = Net::with(
        4,
        1,
        HubConfig {
            limits,
            ..HubConfig::dev()
        },
    );
    let channel = net.channel("chat:", 1);
    let (a, b) = (net.client(0), net.client(0));
    net.eager = false;
    let mut asked = Vec::new();
    for id in [a, a, a, a, b, b, b] {
        asked.push((
            id,
            net.tell(id, json!({ "history": { "channel": channel } })),
        ));
    }
    net.eager = true;
    net.pump();
    let refused: Vec<bool> = asked
        .into_iter()
        .map(|(id, number)| net.reply(id, number).unwrap()["error"]["code"] == 111)
        .collect();
    assert_eq!(refused, [false, false, false, true, false, false, true]);
    assert_eq!(net.total().in_flight, 0);
}

/// The members' worker takes no mail for a while: they are told to recover, and then have everything.
#[test]
fn members_behind_a_full_mailbox_recover() {
    let mut net = Net::new(4);
    let channel = net.channel("chat:", 1);
    let (here, far, publisher) = (net.client(1), net.client(2), net.client(1));
    let start = net.subscribe(far, &channel);
    net.subscribe(here, &channel);
    net.publish(publisher, &channel, json!(1));
    assert_eq!(net.data(far, &channel), [1]);
    net.room(0);
    for n in 2..=5 {
        net.publish(publisher, &channel, json!(n));
    }
    assert_eq!(net.data(here, &channel).len(), 5);
    // However much is published meanwhile, one order to recover waits.
    assert_eq!(net.size(1).spooled, 1);
    assert!(net.pushes(far).is_empty());
    net.pass(Duration::from_millis(100));
    assert!(net.pushes(far).is_empty());
    net.room(usize::MAX);
    net.pass(Duration::from_millis(30));
    let pushes = net.pushes(far);
    let told = json!({ "channel": channel, "unsubscribe": { "code": 2500, "reason": "insufficient state" } });
    assert_eq!(pushes, [told]);
    assert_eq!(net.size(1).spooled, 0);
    assert_eq!(net.size(2).local_topics, 0);
    let request =
        json!({ "channel": channel, "recover": true, "offset": 1, "epoch": start["epoch"] });
    let result = net.ask(far, json!({ "subscribe": request }));
    let missed: Vec<Value> = result["subscribe"]["publications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["data"].clone())
        .collect();
    assert_eq!(missed, [2, 3, 4, 5]);
    net.publish(publisher, &channel, json!(6));
    assert_eq!(net.data(far, &channel), [6]);
    let stats = net.ask(here, json!({ "presence_stats": { "channel": channel } }));
    assert_eq!(stats["presence_stats"]["num_clients"], 2);
}

/// One publication, and nothing behind it that would show the gap, vanishes on its way to the members' worker.
fn lose_one(net: &mut Net, publisher: usize, channel: &str) {
    net.eager = false;
    net.tell(
        publisher,
        json!({ "publish": { "channel": channel, "data": "lost" } }),
    );
    assert!(net.lose(1, 2), "a publication was under way");
    net.eager = true;
    net.pump();
}

#[test]
fn who_has_lost_something_in_silence_is_told_to_recover() {
    let mut net = Net::new(4);
    let channel = net.channel("chat:", 1);
    let (far, here, publisher) = (net.client(2), net.client(1), net.client(1));
    let asked = json!({ "channel": channel, "positioned": true, "recoverable": true });
    let start = net.ask(far, json!({ "subscribe": asked }))["subscribe"].clone();
    assert_eq!(start["positioned"], true);
    net.subscribe(here, &channel);
    net.publish(publisher, &channel, json!("first"));
    assert_eq!(net.data(far, &channel), ["first"]);
    // Where nothing is lost, nobody is disturbed.
    net.pass(Duration::from_secs(100));
    assert!(net.pushes(far).is_empty());
    lose_one(&mut net, publisher, &channel);
    assert_eq!(net.data(here, &channel), ["first", "lost"]);
    net.pass(Duration::from_secs(39));
    assert!(net.pushes(far).is_empty());
    net.pass(Duration::from_secs(2));
    let told = json!({ "channel": channel, "unsubscribe": { "code": 2500, "reason": "insufficient state" } });
    assert_eq!(net.pushes(far), [told]);
    let others = net.pushes(here);
    assert!(
        others.iter().all(|push| push["leave"].is_object()),
        "{others:?}"
    );
    let back = json!({ "channel": channel, "recover": true, "offset": 1, "epoch": start["epoch"] });
    let result = net.ask(far, json!({ "subscribe": back }))["subscribe"].clone();
    assert_eq!(result["recovered"], true);
    assert_eq!(result["publications"][0]["data"], "lost");
    net.pushes(far);
    net.pass(Duration::from_secs(100));
    assert!(net.pushes(far).is_empty(), "once is enough");
}

/// The SDKs do not subscribe again to what the server has subscribed them to; they connect again.
#[test]
fn who_was_subscribed_by_the_server_and_has_lost_something_is_closed_with_3010() {
    let mut net = Net::new(4);
    let channel = net.channel("chat:", 1);
    let [far, publisher] = [2, 1].map(|worker| {
        let id = net.socket(worker);
        let connected = net.ask(id, json!({ "connect": {} }));
        let target = Target {
            client: connected["connect"]["client"].as_str().map(str::to_owned),
            ..Target::default()
        };
        let subscribed = net.hub_ask(|hub, answer| {
            hub.subscribe(target, &channel, ServerSubscribe::default(), answer)
        });
        assert_eq!(subscribed, Ok(1));
        id
    });
    net.publish(publisher, &channel, json!("first"));
    assert_eq!(net.data(far, &channel), ["first"]);
    lose_one(&mut net, publisher, &channel);
    net.pass(Duration::from_secs(41));
    let told = Some((3010, "insufficient state".to_owned()));
    assert_eq!(net.clients[far].close, told);
    assert_eq!(net.data(publisher, &channel), ["first", "lost"]);
    let stats = net.ask(
        publisher,
        json!({ "presence_stats": { "channel": channel } }),
    );
    assert_eq!(stats["presence_stats"]["num_clients"], 1);
}

/// The worker is told where the channel stands as soon as its mailbox has room.
#[test]
fn a_full_mailbox_does_not_hide_a_loss() {
    let mut net = Net::new(4);
    let channel = net.channel("chat:", 1);
    let (far, publisher) = (net.client(2), net.client(1));
    net.subscribe(far, &channel);
    net.pushes(far);
    lose_one(&mut net, publisher, &channel);
    net.room(0);
    net.pass(Duration::from_secs(50));
    assert!(net.pushes(far).is_empty());
    net.room(usize::MAX);
    net.pass(Duration::from_secs(31));
    assert_eq!(net.pushes(far).last().unwrap()["unsubscribe"]["code"], 2500);
}

/// Departures must arrive, or the home would count ghosts for ever.
#[test]
fn departures_wait_for_room() {
    let mut net = Net::new(4);
    let channel = net.channel("chat:", 1);
    let stays = net.client(1); // at the home itself, so that no full mailbox stands between
    let ids: Vec<_> = (0..12).map(|n| net.client(n)).collect();
    for &id in ids.iter().chain([&stays]) {
        net.subscribe(id, &channel);
    }
    net.room(0);
    for &id in &ids {
        net.cut(id);
    }
    assert!(net.total().spooled > 0);
    net.room(3);
    net.pass(Duration::from_millis(200));
    let stats = net.ask(stays, json!({ "presence_stats": { "channel": channel } }));
    assert_eq!(stats["presence_stats"]["num_clients"], 1);
    net.cut(stays);
    assert_eq!(net.total().home_topics, 0);
    assert_eq!(net.total().spooled, 0);
}

/// A slot is used again while an answer to its former client is under way.
#[test]
fn an_answer_to_a_client_that_is_gone_reaches_nobody() {
    let mut net = Net::new(4);
    let channel = net.channel("chat:", 1);
    let (a, publisher) = (net.client(0), net.client(1));
    net.eager = false;
    net.tell(a, json!({ "history": { "channel": channel } }));
    net.tell(a, json!({ "subscribe": { "channel": channel } }));
    net.cut(a);
    let b = net.client(0);
    net.eager = true;
    net.pump();
    net.publish(publisher, &channel, json!(1));
    assert!(net.clients[b].inbox.is_empty());
    let left = net.total();
    assert_eq!(
        (left.in_flight, left.local_topics, left.home_topics),
        (0, 0, 0)
    );
}
