//! What the control plane orders, asks and changes.

use crate::on_1_and_4_workers;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tidegate_hub::{
    Disconnect, HubConfig, HubError, JoinLeave, Namespace, Outgoing, Payload, PresenceBy, Rate,
    RawJson, RecoveryMode, ServerSubscribe, Target, TokenKeys,
};
use tidegate_sim::net::Net;

on_1_and_4_workers!(
    a_publication_may_have_tags_and_be_said_once,
    a_broadcast_answers_for_each_channel,
    the_server_subscribes_and_unsubscribes,
    connections_are_closed_by_user_and_client,
    channels_clients_and_counts_are_listed,
    a_removed_history_is_admitted_to_be_gone,
    another_configuration_takes_effect_and_keeps_sessions,
    a_cache_gives_its_newest_at_every_subscribe,
    publishing_and_commands_have_their_rates,
    users_come_and_go_once_and_may_be_late,
    joins_and_leaves_come_in_batches,
    who_did_not_ask_is_not_told_who_comes,
);

fn raw(text: &str) -> RawJson {
    RawJson::parse(text).unwrap()
}

fn with(net: &Net, name: &str, options: Namespace) -> Net {
    let mut config = HubConfig {
        tokens: TokenKeys::new().with_secret(b"secret").ok(),
        ..HubConfig::dev()
    };
    config.namespaces.set(name, options);
    Net::with(net.workers(), 1, config)
}

fn named(net: &mut Net, worker: usize, user: &str) -> usize {
    let key = jsonwebtoken::EncodingKey::from_secret(b"secret");
    let header = jsonwebtoken::Header::default();
    let token = jsonwebtoken::encode(&header, &json!({ "sub": user }), &key).unwrap();
    net.client_with(worker, json!({ "token": token }))
}

fn a_publication_may_have_tags_and_be_said_once(mut net: Net) {
    let channel = net.channel("chat:", 2);
    let a = net.client(0);
    net.subscribe(a, &channel);
    net.pushes(a);
    let once = |text: &str, key: &str| {
        let mut outgoing = Outgoing::from(raw(text));
        outgoing.tags.insert("k".to_owned(), "v\"".to_owned());
        outgoing.idempotency_key = Some(key.to_owned());
        outgoing
    };
    let publish = |net: &mut Net, outgoing: Outgoing| {
        net.hub_ask(|hub, answer| hub.publish(&channel, outgoing, answer))
            .unwrap()
            .offset
    };
    assert_eq!(publish(&mut net, once("1", "x")), 1);
    assert_eq!(
        publish(&mut net, once("2", "x")),
        1,
        "answered as the first was"
    );
    assert_eq!(publish(&mut net, once("3", "y")), 2);
    net.pass(Duration::from_secs(301));
    assert_eq!(
        publish(&mut net, once("4", "x")),
        3,
        "the key is forgotten by now"
    );
    let mut fleeting = Outgoing::from(raw("5"));
    fleeting.skip_history = true;
    assert_eq!(publish(&mut net, fleeting), 0);
    let pushes = net.pushes(a);
    let data: Vec<_> = pushes
        .iter()
        .map(|push| push["pub"]["data"].clone())
        .collect();
    assert_eq!(data, [1, 3, 4, 5]);
    assert_eq!(pushes[0]["pub"]["tags"], json!({ "k": "v\"" }));
    assert!(pushes[3]["pub"]["offset"].is_null());
    let binary = Outgoing::from(Payload::Binary([1, 255].into()));
    let refused = net.hub_ask(|hub, answer| hub.publish(&channel, binary, answer));
    assert!(matches!(refused, Err(HubError::Refused(error)) if error.code == 107));
}

fn a_broadcast_answers_for_each_channel(mut net: Net) {
    let channels: Vec<String> = ["chat:a", "no:such", "chat:b", ""]
        .map(str::to_owned)
        .into();
    let a = net.client(1);
    net.subscribe(a, "chat:b");
    net.pushes(a);
    let results = net.hub_ask(|hub, answer| hub.broadcast(&channels, raw("7"), answer));
    let codes: Vec<Result<u64, String>> = results
        .into_iter()
        .map(|result| result.map(|p| p.offset).map_err(|error| error.to_string()))
        .collect();
    assert_eq!(codes[0], Ok(1));
    assert_eq!(codes[1], Err("unknown channel".to_owned()));
    assert_eq!(codes[2], Ok(1));
    assert!(codes[3].is_err());
    assert_eq!(net.data(a, "chat:b"), [7]);
    assert!(
        net.hub_ask(|hub, answer| hub.broadcast(&[], raw("7"), answer))
            .is_empty()
    );
}

fn the_server_subscribes_and_unsubscribes(net: Net) {
    let mut net = with(&net, "x", Namespace::open());
    let channel = net.channel("x:", 3);
    let (a, b) = (named(&mut net, 0, "ann"), named(&mut net, 1, "ann"));
    net.hub_publish(&channel, json!("before"));
    let options = ServerSubscribe {
        data: Some(raw("{\"why\":1}")),
        info: Some(raw("[2]")),
        ..ServerSubscribe::default()
    };
    let subscribe = |net: &mut Net| {
        let options = options.clone();
        net.hub_ask(|hub, answer| hub.subscribe(Target::user("ann"), &channel, options, answer))
    };
    assert_eq!(subscribe(&mut net), Ok(2));
    assert_eq!(subscribe(&mut net), Ok(2), "again is no error");
    let pushes = net.pushes(a);
    let begun: Vec<_> = pushes
        .iter()
        .filter(|push| push["subscribe"].is_object())
        .collect();
    assert_eq!(begun.len(), 1);
    assert_eq!(begun[0]["subscribe"]["data"], json!({ "why": 1 }));
    assert_eq!(begun[0]["subscribe"]["offset"], 1);
    net.pushes(b);
    net.hub_publish(&channel, json!("after"));
    assert_eq!(net.data(a, &channel), ["after"]);
    assert_eq!(net.data(b, &channel), ["after"]);
    let presence = net
        .hub_ask(|hub, answer| hub.presence(&channel, answer))
        .unwrap();
    assert!(presence.iter().all(|info| info.chan_info() == "[2]"));
    let ended =
        net.hub_ask(|hub, answer| hub.unsubscribe(Target::user("ann"), &channel, 2000, answer));
    assert_eq!(ended, Ok(2));
    let end = json!({ "code": 2000, "reason": "server unsubscribe" });
    assert!(
        net.pushes(b)
            .contains(&json!({ "channel": channel, "unsubscribe": end }))
    );
    net.hub_publish(&channel, json!("more"));
    assert!(net.data(a, &channel).is_empty());
    assert_eq!(net.total().home_topics, 0);
}

fn connections_are_closed_by_user_and_client(net: Net) {
    let mut net = with(&net, "x", Namespace::open());
    let ids = [0, 1, 2].map(|worker| named(&mut net, worker, "ann"));
    let bob = named(&mut net, 3, "bob");
    let all = net
        .hub_ask(|hub, answer| hub.clients(Some("ann"), false, 10, answer))
        .unwrap();
    assert_eq!(all.len(), 3);
    let spared = Target {
        except: vec![all[0].client.clone()],
        ..Target::user("ann")
    };
    let close = |net: &mut Net, target, why| {
        net.hub_ask(|hub, answer| hub.disconnect(target, why, answer))
            .unwrap()
    };
    assert_eq!(close(&mut net, spared, Disconnect::FORCED), 2);
    let closed = ids
        .iter()
        .filter(|id| net.clients[**id].close.is_some())
        .count();
    assert_eq!(closed, 2);
    let custom = Disconnect {
        code: 4500,
        reason: "you know why".into(),
    };
    let one = Target {
        client: Some(all[0].client.clone()),
        ..Target::user("ann")
    };
    assert_eq!(close(&mut net, one, custom), 1);
    let said = ids.iter().filter_map(|id| net.clients[*id].close.clone());
    assert!(
        said.into_iter()
            .any(|close| close == (4500, "you know why".to_owned()))
    );
    assert_eq!(net.clients[bob].close, None);
    assert_eq!(close(&mut net, Target::user("ann"), Disconnect::FORCED), 0);
}

fn channels_clients_and_counts_are_listed(mut net: Net) {
    let (a, b) = (net.client(0), net.client(1));
    for channel in ["chat:a", "chat:b", "game:a"] {
        net.subscribe(a, channel);
    }
    net.subscribe(b, "chat:a");
    net.refused(b, json!({ "subscribe": { "channel": "no:such" } }));
    let channels = |net: &mut Net, pattern: Option<&'static str>| -> Vec<(String, usize)> {
        let all = net
            .hub_ask(|hub, answer| hub.channels(pattern, 100, answer))
            .unwrap();
        all.into_iter()
            .map(|one| (one.channel, one.clients))
            .collect()
    };
    let row = |name: &str, clients| (name.to_owned(), clients);
    assert_eq!(
        channels(&mut net, None),
        [row("chat:a", 2), row("chat:b", 1), row("game:a", 1)]
    );
    assert_eq!(
        channels(&mut net, Some("*:a")),
        [row("chat:a", 2), row("game:a", 1)]
    );
    net.publish(a, "chat:a", json!(1));
    let stats = net.hub_ask(|hub, answer| hub.stats(answer)).unwrap();
    assert_eq!(stats.workers.len(), net.workers());
    let total = stats.total();
    assert_eq!(
        (total.clients, total.subscriptions, total.publications),
        (2, 4, 1)
    );
    assert_eq!(
        (total.deliveries, total.connects, total.commands["publish"]),
        (2, 2, 1)
    );
    assert_eq!(total.errors[&102], 1);
    let clients = net
        .hub_ask(|hub, answer| hub.clients(None, false, 100, answer))
        .unwrap();
    assert_eq!(
        clients.iter().map(|one| one.channels.len()).sum::<usize>(),
        4
    );
    assert!(
        clients
            .iter()
            .all(|one| one.form == "json" && one.slow_for.is_none())
    );
}

fn a_removed_history_is_admitted_to_be_gone(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let a = net.client(0);
    let begun = net.subscribe(a, &channel);
    for n in 0..3 {
        net.publish(a, &channel, json!(n));
    }
    net.hub_ask(|hub, answer| hub.history_remove(&channel, answer))
        .unwrap();
    let slice = net
        .hub_ask(|hub, answer| hub.history(&channel, None, tidegate_hub::Page::default(), answer))
        .unwrap();
    assert_eq!((slice.position.offset, slice.publications.len()), (3, 0));
    let b = net.client(2);
    let back = |offset| json!({ "subscribe": { "channel": channel, "recover": true, "offset": offset, "epoch": begun["epoch"] } });
    assert!(net.ask(b, back(1))["subscribe"]["recovered"].is_null());
    let c = net.client(3);
    assert_eq!(net.ask(c, back(3))["subscribe"]["recovered"], true);
}

fn another_configuration_takes_effect_and_keeps_sessions(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let a = net.client(0);
    net.subscribe(a, &channel);
    let mut config = HubConfig::dev();
    let silent = Namespace {
        publish: tidegate_hub::Who::Nobody,
        ..Namespace::open()
    };
    config.namespaces.set("chat", silent);
    config.namespaces.set("new", Namespace::open());
    net.hub_ask(|hub, answer| hub.reconfigure(Arc::new(config), answer))
        .unwrap();
    let publish = json!({ "publish": { "channel": channel, "data": 1 } });
    assert_eq!(net.refused(a, publish), 103);
    net.subscribe(a, "new:a");
    net.pushes(a);
    net.hub_publish(&channel, json!(2));
    assert_eq!(net.data(a, &channel), [2]);
    assert!(net.hub.config().namespaces.get("new").is_some());
    // A namespace that is gone: its members stay until they leave, and nothing is left behind.
    net.hub_ask(|hub, answer| hub.reconfigure(Arc::new(HubConfig::dev()), answer))
        .unwrap();
    assert_eq!(
        net.refused(a, json!({ "publish": { "channel": "new:a", "data": 1 } })),
        102
    );
    net.cut(a);
    assert_eq!(net.total().home_topics, 0);
}

fn a_cache_gives_its_newest_at_every_subscribe(net: Net) {
    let cache = Namespace {
        recovery: RecoveryMode::Cache,
        ..Namespace::open()
    };
    let mut net = with(&net, "cache", cache);
    let channel = net.channel("cache:", 2);
    let a = net.client(0);
    assert!(net.subscribe(a, &channel)["publications"].is_null());
    for n in 1..4 {
        net.hub_publish(&channel, json!(n));
    }
    let b = net.client(1);
    let result = net.subscribe(b, &channel);
    assert_eq!(result["publications"].as_array().unwrap().len(), 1);
    assert_eq!(result["publications"][0]["data"], 3);
    let c = net.client(2);
    let mut back =
        json!({ "channel": channel, "recover": true, "offset": 1, "epoch": result["epoch"] });
    let reply = net.ask(c, json!({ "subscribe": back }));
    assert_eq!(reply["subscribe"]["recovered"], true);
    assert_eq!(reply["subscribe"]["publications"][0]["offset"], 3);
    net.ask(c, json!({ "unsubscribe": { "channel": channel } }));
    back["offset"] = json!(3);
    let reply = net.ask(c, json!({ "subscribe": back }));
    assert_eq!(reply["subscribe"]["recovered"], true);
    assert!(reply["subscribe"]["publications"].is_null());
}

fn publishing_and_commands_have_their_rates(net: Net) {
    let rate = |per_second, burst| Some(Rate { per_second, burst });
    let slow = Namespace {
        publish_rate: rate(2, 3),
        ..Namespace::open()
    };
    let mut config = HubConfig {
        command_rate: rate(50, 20),
        ..HubConfig::dev()
    };
    config.namespaces.set("slow", slow);
    let mut net = Net::with(net.workers(), 1, config);
    let a = net.client(0);
    let publish = json!({ "publish": { "channel": "slow:a", "data": 1 } });
    let taken = |net: &mut Net| {
        let replies = (0..6).map(|_| net.ask(a, publish.clone()));
        replies.filter(|reply| reply["publish"].is_object()).count()
    };
    assert_eq!(taken(&mut net), 3);
    net.pass(Duration::from_secs(1));
    assert_eq!(taken(&mut net), 2);
    net.pass(Duration::from_secs(1));
    let answered = (0..30).map(|_| net.ask(a, json!({ "ping": {} })));
    let answered: Vec<_> = answered.collect();
    assert_eq!(
        answered
            .iter()
            .filter(|reply| reply["ping"].is_object())
            .count(),
        20
    );
    assert_eq!(answered[29]["error"]["code"], 111);
}

fn users_come_and_go_once_and_may_be_late(net: Net) {
    let lobby = Namespace {
        presence_by: PresenceBy::User,
        leave_grace: Duration::from_secs(15),
        ..Namespace::open()
    };
    let mut net = with(&net, "lobby", lobby);
    let channel = net.channel("lobby:", 2);
    let watcher = named(&mut net, 0, "watcher");
    net.subscribe(watcher, &channel);
    net.pushes(watcher);
    let (one, two) = (named(&mut net, 1, "ann"), named(&mut net, 2, "ann"));
    net.subscribe(one, &channel);
    net.subscribe(two, &channel);
    let joins = net.pushes(watcher);
    assert_eq!(joins.len(), 1, "{joins:?}");
    assert_eq!(joins[0]["join"]["info"]["user"], "ann");
    let stats = json!({ "presence_stats": { "channel": channel } });
    let counts = |net: &mut Net| net.ask(watcher, stats.clone())["presence_stats"].clone();
    assert_eq!(
        counts(&mut net),
        json!({ "num_clients": 3, "num_users": 2 })
    );
    let presence = net.ask(watcher, json!({ "presence": { "channel": channel } }));
    assert_eq!(
        presence["presence"]["presence"].as_object().unwrap().len(),
        2
    );
    net.cut(one);
    net.cut(two);
    net.pass(Duration::from_secs(10));
    assert!(
        net.pushes(watcher).is_empty(),
        "the network may just have changed"
    );
    assert_eq!(
        counts(&mut net),
        json!({ "num_clients": 1, "num_users": 2 })
    );
    let back = named(&mut net, 3, "ann");
    net.subscribe(back, &channel);
    net.pass(Duration::from_secs(20));
    assert!(net.pushes(watcher).is_empty());
    net.cut(back);
    net.pass(Duration::from_secs(16));
    let leaves = net.pushes(watcher);
    assert_eq!(leaves.len(), 1);
    assert_eq!(leaves[0]["leave"]["info"]["user"], "ann");
    let last = named(&mut net, 1, "ann");
    net.subscribe(last, &channel);
    net.cut(watcher);
    net.cut(last);
    assert_eq!(net.total().home_topics, 1, "ann is still said to be there");
    net.pass(Duration::from_secs(16));
    assert_eq!(net.total().home_topics, 0);
}

fn joins_and_leaves_come_in_batches(net: Net) {
    let lobby = Namespace {
        join_leave_batch: Duration::from_millis(100),
        ..Namespace::open()
    };
    let mut net = with(&net, "lobby", lobby);
    let channel = net.channel("lobby:", 1);
    let watcher = net.client(0);
    net.subscribe(watcher, &channel);
    net.pass(Duration::from_millis(200));
    net.pushes(watcher);
    let frames = net.clients[watcher].frames.len();
    let ids: Vec<usize> = (0..20).map(|n| net.client(n)).collect();
    for id in &ids {
        net.subscribe(*id, &channel);
    }
    net.cut(ids[0]);
    assert_eq!(net.clients[watcher].frames.len(), frames);
    net.pass(Duration::from_millis(200));
    assert_eq!(
        net.clients[watcher].frames.len(),
        frames + 1,
        "one frame for all"
    );
    let news = net.pushes(watcher);
    assert_eq!(news.len(), 19, "who came and went is not mentioned");
    assert!(news.iter().all(|push| push["join"].is_object()));
}

fn who_did_not_ask_is_not_told_who_comes(net: Net) {
    let lobby = Namespace {
        join_leave: JoinLeave::Asked,
        ..Namespace::open()
    };
    let mut net = with(&net, "lobby", lobby);
    let channel = net.channel("lobby:", 1);
    let (asks, does_not, comes) = (net.client(0), net.client(1), net.client(2));
    let asked = json!({ "subscribe": { "channel": channel, "join_leave": true } });
    net.ask(asks, asked);
    net.subscribe(does_not, &channel);
    net.pushes(asks);
    net.subscribe(comes, &channel);
    assert_eq!(net.pushes(asks).len(), 1);
    assert!(net.pushes(does_not).is_empty());
}
