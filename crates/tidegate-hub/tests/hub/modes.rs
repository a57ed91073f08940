//! Delivery modes: full, conflate, latest; and slow clients that are moved down instead of closed. What a
//! subscriber got and what it was told to have skipped must add up to what was published.

use crate::on_1_and_4_workers;
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_hub::{Delivery, HubConfig, Namespace, RecoveryMode, Slow};
use tidegate_sim::net::Net;

on_1_and_4_workers!(
    a_conflated_subscriber_gets_the_newest_of_each_key_at_its_rate,
    the_first_value_after_a_pause_comes_at_once,
    latest_is_the_newest_of_each_sender,
    modes_are_granted_or_refused,
    subscribers_of_one_channel_have_their_own_modes,
    a_slow_client_is_moved_down_and_told_what_it_missed,
    a_slow_client_of_many_channels_is_not_filled_by_them,
    a_slow_client_that_takes_nothing_is_closed,
    a_slow_client_that_moves_is_kept,
    an_unsubscribed_conflated_client_gets_nothing_more,
    a_cache_gives_conflated_subscribers_the_newest_of_each_key_at_once,
);

fn wish(channel: &str, data: &Value) -> Value {
    json!({ "subscribe": { "channel": channel, "data": data } })
}

fn conflate(net: &mut Net, id: usize, channel: &str, hz: u32) -> Value {
    let reply = net.ask(
        id,
        wish(channel, &json!({ "delivery": "conflate", "hz": hz })),
    );
    assert!(reply["subscribe"].is_object(), "{reply}");
    reply["subscribe"].clone()
}

/// What a subscriber got: the data, and the sum of what it was told to have skipped.
fn taken(net: &mut Net, id: usize, channel: &str) -> (Vec<Value>, u64) {
    let (mut data, mut skipped) = (Vec::new(), 0);
    for push in net.pushes(id) {
        if push["channel"] != channel || !push["pub"].is_object() {
            continue;
        }
        if let Some(text) = push["pub"]["tags"]["skipped"].as_str() {
            assert!(push["pub"]["offset"].is_null(), "{push}");
            skipped += text.parse::<u64>().unwrap();
        }
        data.push(push["pub"]["data"].clone());
    }
    (data, skipped)
}

fn with_key(net: &Net, pointer: &str, slow: Slow) -> Net {
    let mut config = HubConfig::dev();
    let ticker = Namespace {
        delivery: Delivery {
            conflate: true,
            max_hz: 20,
            key: Some(pointer.to_owned()),
            slow,
        },
        ..Namespace::open()
    };
    config.namespaces.set("ticker", ticker);
    Net::with(net.workers(), 1, config)
}

fn a_conflated_subscriber_gets_the_newest_of_each_key_at_its_rate(net: Net) {
    let mut net = with_key(&net, "/s", Slow::Close);
    let channel = net.channel("ticker:", 2);
    let (a, full) = (net.client(0), net.client(1));
    let granted = conflate(&mut net, a, &channel, 4);
    assert_eq!(
        granted,
        json!({ "data": { "delivery": "conflate", "hz": 4 } })
    );
    net.subscribe(full, &channel);
    // 100 publications of 5 symbols a second, for 10 seconds.
    let (mut got, mut frames) = (0, 0);
    for n in 0..1_000_u64 {
        net.hub_publish(&channel, json!({ "s": n % 5, "n": n }));
        let before = net.clients[a].frames.len();
        net.pass(Duration::from_millis(10));
        frames += net.clients[a].frames.len() - before;
        got += 1;
    }
    net.pass(Duration::from_secs(1));
    let (data, skipped) = taken(&mut net, a, &channel);
    assert_eq!(data.len() as u64 + skipped, got);
    assert!(frames <= 41, "4 Hz for 10 seconds, but {frames} frames");
    assert!((150..=205).contains(&data.len()), "{}", data.len());
    let newest: Vec<&Value> = data.iter().rev().take(5).collect();
    for n in 995..1_000 {
        assert!(
            newest.iter().any(|value| value["n"] == n),
            "{n} in {newest:?}"
        );
    }
    let (all, none) = taken(&mut net, full, &channel);
    assert_eq!((all.len(), none), (1_000, 0));
}

fn the_first_value_after_a_pause_comes_at_once(net: Net) {
    let mut net = with_key(&net, "/s", Slow::Close);
    let channel = net.channel("ticker:", 1);
    let a = net.client(3);
    conflate(&mut net, a, &channel, 1);
    for n in 0..3 {
        net.pass(Duration::from_secs(2));
        net.hub_publish(&channel, json!({ "s": 1, "n": n }));
        assert_eq!(
            taken(&mut net, a, &channel),
            (vec![json!({ "s": 1, "n": n })], 0)
        );
    }
}

fn latest_is_the_newest_of_each_sender(net: Net) {
    let channel = {
        let net = &net;
        net.channel("game:", 3)
    };
    let mut net = net;
    let (watcher, one, two) = (net.client(0), net.client(1), net.client(2));
    let reply = net.ask(watcher, wish(&channel, &json!({ "delivery": "latest" })));
    assert_eq!(
        reply["subscribe"]["data"],
        json!({ "delivery": "latest", "hz": 60 })
    );
    for n in 0..50 {
        net.publish(one, &channel, json!({ "of": 1, "n": n }));
        net.publish(two, &channel, json!({ "of": 2, "n": n }));
    }
    net.pass(Duration::from_millis(50));
    let (data, skipped) = taken(&mut net, watcher, &channel);
    assert_eq!(data.len() as u64 + skipped, 100);
    assert!(data.len() <= 3, "{data:?}");
    for of in [1, 2] {
        let last = data.iter().rfind(|value| value["of"] == of).unwrap();
        assert_eq!(last["n"], 49);
    }
}

fn modes_are_granted_or_refused(net: Net) {
    let mut net = with_key(&net, "/s", Slow::Close);
    let mut closed = HubConfig::dev();
    closed.namespaces.set(
        "strict",
        Namespace {
            delivery: Delivery::default(),
            ..Namespace::open()
        },
    );
    let channel = net.channel("ticker:", 1);
    let a = net.client(0);
    let refused = [
        (json!({ "delivery": "sometimes" }), 107),
        (json!({ "delivery": "conflate", "hz": 0 }), 107),
        (json!({ "delivery": "conflate", "hz": -3 }), 107),
        (json!({ "delivery": "conflate", "hz": 0.5 }), 107),
    ];
    for (data, code) in refused {
        assert_eq!(net.refused(a, wish(&channel, &data)), code, "{data}");
    }
    for extra in [json!({ "recover": true }), json!({ "delta": "fossil" })] {
        let mut command = wish(&channel, &json!({ "delivery": "latest" }));
        command["subscribe"]
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        assert_eq!(net.refused(a, command), 107);
    }
    let granted = [
        (json!({ "delivery": "full" }), Value::Null),
        (json!({ "anything": ["else"] }), Value::Null),
        (json!([1, 2]), Value::Null),
        (
            json!({ "delivery": "conflate" }),
            json!({ "delivery": "conflate", "hz": 20 }),
        ),
        (
            json!({ "delivery": "conflate", "hz": 1e9 }),
            json!({ "delivery": "conflate", "hz": 20 }),
        ),
        (
            json!({ "delivery": "conflate", "hz": 2.9 }),
            json!({ "delivery": "conflate", "hz": 2 }),
        ),
    ];
    for (data, expected) in granted {
        let reply = net.ask(a, wish(&channel, &data));
        assert_eq!(reply["subscribe"]["data"], expected, "{data}: {reply}");
        net.ask(a, json!({ "unsubscribe": { "channel": channel } }));
    }
    let mut net = Net::with(net.workers(), 1, closed);
    let a = net.client(0);
    assert_eq!(
        net.refused(a, wish("strict:a", &json!({ "delivery": "latest" }))),
        108
    );
}

fn subscribers_of_one_channel_have_their_own_modes(net: Net) {
    let mut net = with_key(&net, "/s", Slow::Close);
    let channel = net.channel("ticker:", 2);
    let rates = [1, 5, 20, 5];
    let clients: Vec<usize> = (0..8).map(|n| net.client(n)).collect();
    for (n, id) in clients.iter().enumerate() {
        conflate(&mut net, *id, &channel, rates[n % 4]);
    }
    for n in 0..400 {
        net.hub_publish(&channel, json!({ "s": 0, "n": n }));
        net.pass(Duration::from_millis(10));
        if n == 200 {
            net.cut(clients[1]);
            net.ask(clients[2], json!({ "unsubscribe": { "channel": channel } }));
        }
    }
    net.pass(Duration::from_secs(2));
    for (n, id) in clients
        .iter()
        .enumerate()
        .filter(|(n, _)| ![1, 2].contains(n))
    {
        let (data, skipped) = taken(&mut net, *id, &channel);
        assert_eq!(data.len() as u64 + skipped, 400, "client {n}");
        assert_eq!(data.last().unwrap()["n"], 399);
        let most = 4 * rates[n % 4] as usize + 3;
        assert!(data.len() <= most, "client {n}: {} > {most}", data.len());
        assert!(data.len() * 2 >= most - 3, "client {n}: {}", data.len());
    }
    let left = net.total();
    for id in clients {
        net.cut(id);
    }
    assert!(left.local_topics > 0);
    assert_eq!(net.total().local_topics, 0);
}

/// What the client got before it was moved down has offsets and no hole; from then on the counts are true.
fn a_slow_client_is_moved_down_and_told_what_it_missed(net: Net) {
    let mut net = with_key(&net, "/s", Slow::Conflate { hz: 10 });
    let channel = net.channel("ticker:", 1);
    let (slow, quick) = (net.client(0), net.client(1));
    net.subscribe(slow, &channel);
    net.subscribe(quick, &channel);
    net.clients[slow].reads = false;
    let ballast = "x".repeat(20_000);
    for n in 0..200 {
        net.hub_publish(&channel, json!({ "s": 0, "n": n, "ballast": ballast }));
        net.pass(Duration::from_millis(1));
    }
    assert_eq!(taken(&mut net, quick, &channel).0.len(), 200);
    net.clients[slow].reads = true;
    net.write(slow);
    net.pass(Duration::from_millis(200));
    assert_eq!(
        net.clients[slow].close, None,
        "4 MB were owed, 1 MiB is the cap; it is not closed"
    );
    let mut offsets = Vec::new();
    let (mut got, mut skipped) = (0, 0);
    let mut last = Value::Null;
    for push in net.pushes(slow) {
        let publication = &push["pub"];
        if publication.is_null() {
            continue;
        }
        got += 1;
        last = publication["data"]["n"].clone();
        match publication["tags"]["skipped"].as_str() {
            Some(text) => skipped += text.parse::<u64>().unwrap(),
            None => offsets.push(publication["offset"].as_u64().unwrap()),
        }
    }
    assert!(offsets.len() < 20, "{}", offsets.len());
    assert_eq!(offsets, (1..=offsets.len() as u64).collect::<Vec<_>>());
    assert_eq!(got + skipped, 200);
    assert_eq!(last, 199);
    let stats = net
        .hub_ask(|hub, answer| hub.stats(answer))
        .unwrap()
        .total();
    assert_eq!((stats.moved_down, stats.skipped), (1, skipped));
    let clients = net
        .hub_ask(|hub, answer| hub.clients(None, false, 10, answer))
        .unwrap();
    let modes: Vec<&str> = clients.iter().map(|one| one.channels[0].1).collect();
    assert_eq!(modes.iter().filter(|mode| **mode == "conflate").count(), 1);
}

/// Each of its channels alone would fit, all together would be four times what may wait for it.
fn a_slow_client_of_many_channels_is_not_filled_by_them(net: Net) {
    let mut net = with_key(&net, "/s", Slow::Conflate { hz: 10 });
    let channels: Vec<String> = (0..64)
        .map(|n| net.channel(&format!("ticker:{n}-"), n))
        .collect();
    let slow = net.client(0);
    for channel in &channels {
        net.subscribe(slow, channel);
    }
    net.clients[slow].reads = false;
    let ballast = "x".repeat(60_000);
    for n in 0..3 {
        for channel in &channels {
            net.hub_publish(channel, json!({ "s": 0, "n": n, "ballast": ballast }));
        }
    }
    net.clients[slow].reads = true;
    net.write(slow);
    net.pass(Duration::from_secs(8)); // in portions: what waits for it stays below the high mark
    assert_eq!(net.clients[slow].close, None);
    let pushes = net.pushes(slow);
    for channel in &channels {
        let of_it = pushes
            .iter()
            .filter(|push| push["channel"] == channel.as_str());
        let of_it: Vec<_> = of_it.filter(|push| push["pub"].is_object()).collect();
        let skipped = of_it
            .iter()
            .filter_map(|push| push["pub"]["tags"]["skipped"].as_str());
        let skipped: usize = skipped.map(|text| text.parse::<usize>().unwrap()).sum();
        assert_eq!(of_it.len() + skipped, 3, "{channel}");
        assert_eq!(of_it.last().unwrap()["pub"]["data"]["n"], 2);
    }
}

fn fill(net: &mut Net, channel: &str) {
    for n in 0..30 {
        net.hub_publish(
            channel,
            json!({ "s": 0, "n": n, "ballast": "x".repeat(20_000) }),
        );
    }
}

fn a_slow_client_that_takes_nothing_is_closed(net: Net) {
    let mut net = with_key(&net, "/s", Slow::Conflate { hz: 10 });
    let channel = net.channel("ticker:", 1);
    let slow = net.client(2);
    net.subscribe(slow, &channel);
    net.clients[slow].reads = false;
    fill(&mut net, &channel);
    let stuck = net
        .hub_ask(|hub, answer| hub.clients(None, true, 10, answer))
        .unwrap();
    assert_eq!(stuck.len(), 1);
    assert!(stuck[0].queued > 256 << 10 && stuck[0].slow_for.is_some());
    net.pass(Duration::from_secs(9));
    assert_eq!(net.total().sessions, 1);
    net.pass(Duration::from_secs(4));
    assert_eq!(net.total().sessions, 0);
    net.clients[slow].reads = true;
    net.write(slow);
    assert_eq!(net.clients[slow].close, Some((3008, "slow".into())));
}

/// It takes a little every few seconds, for a minute, and is never closed.
fn a_slow_client_that_moves_is_kept(net: Net) {
    let mut net = with_key(&net, "/s", Slow::Conflate { hz: 10 });
    let channel = net.channel("ticker:", 1);
    let slow = net.client(2);
    net.subscribe(slow, &channel);
    net.clients[slow].reads = false;
    fill(&mut net, &channel);
    for _ in 0..12 {
        net.pass(Duration::from_secs(5));
        net.take_some(slow, 10_000);
        assert_eq!(net.total().sessions, 1);
    }
}

fn an_unsubscribed_conflated_client_gets_nothing_more(net: Net) {
    let mut net = with_key(&net, "/s", Slow::Close);
    let channel = net.channel("ticker:", 1);
    let a = net.client(0);
    conflate(&mut net, a, &channel, 2);
    for n in 0..3 {
        net.hub_publish(&channel, json!({ "s": n }));
    }
    net.ask(a, json!({ "unsubscribe": { "channel": channel } }));
    net.pushes(a);
    net.pass(Duration::from_secs(2));
    assert!(net.pushes(a).is_empty());
    assert_eq!(net.total().local_topics, 0);
}

fn a_cache_gives_conflated_subscribers_the_newest_of_each_key_at_once(net: Net) {
    let mut config = HubConfig::dev();
    let open = Namespace {
        delivery: Delivery {
            conflate: true,
            max_hz: 20,
            key: Some("/s".to_owned()),
            ..Delivery::default()
        },
        ..Namespace::open()
    };
    let cache = Namespace {
        recovery: RecoveryMode::Cache,
        ..open.clone()
    };
    config.namespaces.set("cache", cache);
    config.namespaces.set("stream", open);
    let mut net = Net::with(net.workers(), 1, config);
    let channel = net.channel("cache:", 2);
    let publisher = net.client(3);
    // Nothing is there yet: nothing comes.
    let early = net.client(0);
    assert!(conflate(&mut net, early, &channel, 5)["publications"].is_null());
    for (symbol, n) in [("A", 1), ("B", 2), ("A", 3), ("C", 4), ("B", 5)] {
        net.publish(publisher, &channel, json!({ "s": symbol, "n": n }));
    }
    net.pass(Duration::from_secs(1));
    let (data, skipped) = taken(&mut net, early, &channel);
    assert_eq!(data.len() as u64 + skipped, 5);
    for (worker, mode) in [(0, "conflate"), (1, "latest")] {
        let late = net.client(worker);
        let result =
            net.ask(late, wish(&channel, &json!({ "delivery": mode })))["subscribe"].clone();
        let newest = result["publications"].as_array().unwrap();
        let mut values: Vec<u64> = newest
            .iter()
            .map(|one| one["data"]["n"].as_u64().unwrap())
            .collect();
        values.sort_unstable();
        assert_eq!(values, [3, 4, 5], "{mode}");
        for one in newest {
            assert!(one["offset"].is_null() && one["tags"].is_null(), "{one}");
            assert!(one["info"]["client"].is_string());
        }
        assert!(result["offset"].is_null() && result["recoverable"].is_null());
        // What it counts begins with the next one.
        net.pass(Duration::from_secs(1));
        assert_eq!(taken(&mut net, late, &channel), (vec![], 0));
        net.publish(publisher, &channel, json!({ "s": "A", "n": 6 }));
        let next = json!({ "s": "A", "n": 6 });
        assert_eq!(taken(&mut net, late, &channel), (vec![next], 0));
        net.publish(publisher, &channel, json!({ "s": "A", "n": 3 }));
    }
    // A full one still gets one, with its offset; and where all is recovered, none is given away.
    let full = net.client(1);
    let result = net.subscribe(full, &channel);
    assert_eq!(result["publications"].as_array().unwrap().len(), 1);
    assert_eq!(result["publications"][0]["offset"], 9);
    let stream = net.channel("stream:", 1);
    net.publish(publisher, &stream, json!({ "s": "A" }));
    assert!(conflate(&mut net, full, &stream, 5)["publications"].is_null());
}
