//! Each command: what it gives, and what it is refused for.

use crate::on_1_and_4_workers;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tidegate_hub::{HubConfig, HubLimits, Namespace, Page};
use tidegate_sim::net::Net;

on_1_and_4_workers!(
    connect_tells_who_and_where,
    a_publication_reaches_everyone_with_its_sender,
    who_published_is_told_only_where_it_shall_be,
    publications_without_history_have_no_offset,
    history_goes_by_pages,
    rpc_has_time_and_echo_only,
    commands_are_refused_with_the_right_number,
    what_breaks_the_protocol_ends_the_connection,
    replies_to_a_batch_share_a_frame,
    a_batch_may_subscribe_and_publish_at_once,
    unsubscribing_ends_the_stream_and_may_be_repeated,
    a_channel_can_be_left_and_entered_in_one_breath,
    publications_keep_the_order_of_their_channel,
    line_breaks_in_data_do_not_break_frames,
    deep_data_are_refused,
    the_control_plane_publishes_and_asks,
);

fn connect_tells_who_and_where(mut net: Net) {
    let a = net.socket(0);
    let reply = net.ask(
        a,
        json!({ "connect": { "name": "js", "token": "ignored in dev mode" } }),
    );
    let result = &reply["connect"];
    assert_eq!(result["ping"], 25);
    assert_eq!(result["pong"], true);
    assert_eq!(result["node"], "tidegate");
    assert_eq!(result["client"].as_str().unwrap().len(), 36);
    assert_eq!(result["session"].as_str().unwrap().len(), 32);
    let b = net.socket(0);
    let other = net.ask(b, json!({ "connect": {} }));
    assert_ne!(other["connect"]["client"], result["client"]);
    assert_eq!(net.ask(b, json!({ "ping": {} }))["ping"], json!({}));
    net.say(b, r#"{"send":{"data":"no answer is due"}}"#);
    net.say(b, "{}"); // a pong nobody asked for
    assert!(net.clients[b].inbox.is_empty() && net.clients[b].close.is_none());
}

fn a_publication_reaches_everyone_with_its_sender(mut net: Net) {
    let channel = net.channel("chat:", 2);
    let (ann, bob) = (
        net.client_with(0, json!({ "data": { "name": "Ann" } })),
        net.client(1),
    );
    let position = net.subscribe(ann, &channel);
    net.subscribe(bob, &channel);
    assert_eq!(position["offset"], 0);
    assert_eq!(position["recoverable"], true);
    assert_eq!(position["positioned"], true);
    net.pushes(ann);
    net.publish(ann, &channel, json!({ "text": "hello" }));
    for id in [ann, bob] {
        let pushes = net.pushes(id);
        let last = pushes.last().unwrap();
        assert_eq!(last["channel"], channel.as_str());
        assert_eq!(last["pub"]["data"], json!({ "text": "hello" }));
        assert_eq!(last["pub"]["offset"], 1);
        assert_eq!(last["pub"]["info"]["user"], "");
        assert_eq!(last["pub"]["info"]["conn_info"], json!({ "name": "Ann" }));
    }
}

fn who_published_is_told_only_where_it_shall_be(net: Net) {
    let mut config = HubConfig::dev();
    let quiet = Namespace {
        publisher: false,
        ..Namespace::open()
    };
    config.namespaces.set("quiet", quiet);
    let mut net = Net::with(net.workers(), 1, config);
    let channel = net.channel("quiet:", 1);
    let (ann, bob) = (net.client(0), net.client(1));
    let latest = json!({ "channel": channel, "data": { "delivery": "latest" } });
    net.subscribe(ann, &channel);
    net.ask(bob, json!({ "subscribe": latest }));
    net.pushes(ann);
    net.publish(ann, &channel, json!("psst"));
    // Nothing but what they need: no sender, no time.
    let pushed = json!({ "channel": channel, "pub": { "data": "psst", "offset": 1 } });
    assert_eq!(net.pushes(ann), [pushed]);
    let conflated = json!({ "data": "psst", "tags": { "skipped": "0" } });
    assert_eq!(net.pushes(bob).last().unwrap()["pub"], conflated);
    let kept = net.ask(
        bob,
        json!({ "history": { "channel": channel, "limit": 9 } }),
    );
    let kept = &kept["history"]["publications"];
    assert_eq!(kept, &json!([{ "data": "psst", "offset": 1 }]));
    // The newest value of each is known by the connection all the same.
    net.publish(ann, &channel, json!(2));
    net.publish(bob, &channel, json!(3));
    net.pass(std::time::Duration::from_secs(1));
    let newest: Vec<_> = net
        .pushes(bob)
        .iter()
        .map(|push| push["pub"]["data"].clone())
        .collect();
    assert!(
        newest.contains(&json!(2)) && newest.contains(&json!(3)),
        "{newest:?}"
    );
}

fn publications_without_history_have_no_offset(mut net: Net) {
    let channel = net.channel("game:", 3);
    let a = net.client(0);
    let result = net.subscribe(a, &channel);
    assert_eq!(result, json!({}));
    net.pushes(a);
    net.publish(a, &channel, json!([1]));
    let push = net.pushes(a).pop().unwrap();
    assert_eq!(push["pub"]["data"], json!([1]));
    assert!(push["pub"]["offset"].is_null());
}

fn offsets(reply: &Value) -> Vec<u64> {
    let publications = reply["history"]["publications"].as_array().unwrap();
    publications
        .iter()
        .map(|p| p["offset"].as_u64().unwrap())
        .collect()
}

fn history_goes_by_pages(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let a = net.client(3);
    for n in 0..5 {
        net.publish(a, &channel, json!(n));
    }
    let whole = net.ask(a, json!({ "history": { "channel": channel, "limit": -1 } }));
    assert_eq!(offsets(&whole), [1, 2, 3, 4, 5]);
    assert_eq!(whole["history"]["publications"][4]["data"], 4);
    let epoch = whole["history"]["epoch"].clone();
    let rows = [
        (json!({}), vec![]),
        (json!({ "limit": 2 }), vec![1, 2]),
        (json!({ "limit": 2, "reverse": true }), vec![5, 4]),
        (
            json!({ "limit": 2, "since": { "offset": 2, "epoch": epoch } }),
            vec![3, 4],
        ),
        (
            json!({ "limit": -1, "since": { "offset": 2 }, "reverse": true }),
            vec![1],
        ),
    ];
    for (mut request, expected) in rows {
        request["channel"] = json!(channel);
        let reply = net.ask(a, json!({ "history": request }));
        assert_eq!(offsets(&reply), expected, "{request}");
        assert_eq!(reply["history"]["offset"], 5);
        assert_eq!(reply["history"]["epoch"], epoch);
    }
    let since = json!({ "offset": 2, "epoch": "another" });
    let request = json!({ "history": { "channel": channel, "limit": 1, "since": since } });
    assert_eq!(net.refused(a, request), 112);
}

fn rpc_has_time_and_echo_only(mut net: Net) {
    let a = net.client(1);
    let time = net.ask(a, json!({ "rpc": { "method": "time" } }));
    assert_eq!(time["rpc"]["data"]["time"], net.now.unix_millis());
    let echo = net.ask(
        a,
        json!({ "rpc": { "method": "echo", "data": { "x": [1, null] } } }),
    );
    assert_eq!(echo["rpc"]["data"], json!({ "x": [1, null] }));
    let nothing = net.ask(a, json!({ "rpc": { "method": "echo" } }));
    assert!(nothing["rpc"]["data"].is_null());
    assert_eq!(
        net.refused(a, json!({ "rpc": { "method": "launch" } })),
        104
    );
    assert_eq!(net.refused(a, json!({ "rpc": {} })), 104);
}

fn commands_are_refused_with_the_right_number(mut net: Net) {
    let chat = net.channel("chat:", 1);
    let market = net.channel("market:", 2);
    let game = net.channel("game:", 3);
    let a = net.client(0);
    net.subscribe(a, &chat);
    let long = "x".repeat(256);
    let rows = [
        (json!({ "subscribe": { "channel": chat } }), 105),
        (json!({ "subscribe": { "channel": "" } }), 107),
        (json!({ "subscribe": { "channel": long } }), 107),
        (json!({ "subscribe": { "channel": "a\nb" } }), 107),
        (json!({ "subscribe": { "channel": "no:such" } }), 102),
        (
            json!({ "subscribe": { "channel": market, "tf": { "op": "and" } } }),
            108,
        ),
        (json!({ "publish": { "channel": market, "data": 1 } }), 103),
        (
            json!({ "publish": { "channel": "no:such", "data": 1 } }),
            102,
        ),
        (json!({ "publish": { "channel": chat } }), 107),
        (json!({ "presence": { "channel": market } }), 108),
        (json!({ "presence_stats": { "channel": market } }), 108),
        (json!({ "presence": { "channel": "no:such" } }), 102),
        (json!({ "history": { "channel": game, "limit": 1 } }), 108),
        (json!({ "unsubscribe": { "channel": "" } }), 107),
        (json!({ "refresh": { "token": "t" } }), 108),
        (
            json!({ "sub_refresh": { "channel": chat, "token": "t" } }),
            108,
        ),
        (json!({ "fly": {} }), 104),
        (json!({}), 104),
    ];
    for (command, code) in rows {
        assert_eq!(net.refused(a, command.clone()), code, "{command}");
    }
    assert!(net.clients[a].close.is_none());
    let others = ["a", "b"].map(|kind| net.channel(kind, 1));
    let limits = HubLimits {
        channels: 2,
        ..HubLimits::default()
    };
    let mut net = Net::with(
        net.workers(),
        1,
        HubConfig {
            limits,
            ..HubConfig::dev()
        },
    );
    let a = net.client(0);
    net.subscribe(a, &others[0]);
    net.subscribe(a, &others[1]);
    assert_eq!(
        net.refused(a, json!({ "subscribe": { "channel": "third" } })),
        106
    );
    net.ask(a, json!({ "unsubscribe": { "channel": others[0] } }));
    net.subscribe(a, "third");
    let b = net.socket(0);
    assert_eq!(
        net.refused(b, json!({ "connect": { "data": "x".repeat(5_000) } })),
        106
    );
    let closed = Net::with(
        net.workers(),
        1,
        HubConfig {
            anonymous: false,
            ..HubConfig::dev()
        },
    );
    nobody_connects_where_tokens_are_needed(closed);
}

fn nobody_connects_where_tokens_are_needed(mut net: Net) {
    let a = net.socket(0);
    assert_eq!(net.refused(a, json!({ "connect": {} })), 101);
    net.tell(a, json!({ "connect": { "token": "any" } }));
    assert_eq!(net.clients[a].close, Some((3500, "invalid token".into())));
}

fn what_breaks_the_protocol_ends_the_connection(mut net: Net) {
    let deep = "[".repeat(10_000);
    let rows = [
        "",
        "nonsense",
        "[]",
        "null",
        "7",
        r#"{"id":-1}"#,
        r#"{"ping":{}}"#,
        deep.as_str(),
    ];
    for row in rows {
        let a = net.client(0);
        net.say(a, row);
        assert_eq!(
            net.clients[a].close,
            Some((3501, "bad request".into())),
            "{row:.20}"
        );
        assert!(net.clients[a].over);
    }
    for early in [r#"{"id":1,"ping":{}}"#, "{}", r#"{"id":1,"fly":{}}"#] {
        let a = net.socket(1);
        net.say(a, early);
        assert_eq!(
            net.clients[a].close,
            Some((3501, "bad request".into())),
            "{early}"
        );
    }
    let a = net.client(1);
    net.tell(a, json!({ "connect": {} }));
    assert_eq!(net.clients[a].close, Some((3501, "bad request".into())));
    let a = net.client(1);
    net.frame(a, 0x82, b"{}");
    assert_eq!(
        net.clients[a].close,
        Some((3506, "inappropriate protocol".into()))
    );
    let a = net.client(1);
    net.frame(a, 0x81, " ".repeat((64 << 10) + 1).as_bytes());
    assert_eq!(net.clients[a].close.as_ref().map(|c| c.0), Some(1009));
    // What stood before the nonsense was answered, what stood behind it was not done.
    let channel = net.channel("chat:", 0);
    let (a, b) = (net.client(0), net.client(1));
    net.subscribe(b, &channel);
    let publish = json!({ "id": 9, "publish": { "channel": channel, "data": 1 } });
    net.say(a, &format!("{{\"id\":5,\"ping\":{{}}}}\n!\n{publish}"));
    assert!(net.reply(a, 5).is_some());
    assert_eq!(net.data(b, &channel), Vec::<Value>::new());
    assert_eq!(net.total().sessions, 1);
}

fn replies_to_a_batch_share_a_frame(mut net: Net) {
    let a = net.client(0);
    let before = net.clients[a].frames.len();
    let batch = "{\"id\":7,\"ping\":{}}\n{\"id\":8,\"rpc\":{\"method\":\"no\"}}\n\n{\"id\":9,\"ping\":{}}\n";
    net.say(a, batch);
    assert_eq!(
        net.clients[a].frames[before..],
        [
            "{\"id\":7,\"ping\":{}}\n{\"id\":8,\"error\":{\"code\":104,\"message\":\"method not found\"}}\n{\"id\":9,\"ping\":{}}"
        ]
    );
    // A channel at home on the same worker is answered in the same frame too.
    let here = net.channel("market:", 0);
    let batch = format!(
        "{{\"id\":20,\"subscribe\":{{\"channel\":\"{here}\"}}}}\n{{\"id\":21,\"history\":{{\"channel\":\"{here}\"}}}}"
    );
    net.say(a, &batch);
    assert_eq!(net.clients[a].frames.len(), before + 2);
    assert!(net.reply(a, 20).is_some() && net.reply(a, 21).is_some());
}

fn a_batch_may_subscribe_and_publish_at_once(mut net: Net) {
    for home in 0..4 {
        let channel = net.channel("chat:", home);
        let a = net.client(0);
        net.say(
            a,
            &format!(
                "{{\"id\":7,\"subscribe\":{{\"channel\":\"{channel}\"}}}}\n{{\"id\":8,\"publish\":{{\"channel\":\"{channel}\",\"data\":1}}}}"
            ),
        );
        // The SDKs drop a push for a channel whose subscribe was not answered yet.
        let inbox: Vec<Value> = net.clients[a].inbox.iter().cloned().collect();
        let at = |wanted: &dyn Fn(&Value) -> bool| inbox.iter().position(wanted).unwrap();
        let subscribed = at(&|v| v["id"] == 7);
        let joined = at(&|v| v["push"]["join"].is_object());
        let published = at(&|v| v["push"]["pub"].is_object());
        assert!(subscribed < joined && joined < published, "{inbox:?}");
        net.cut(a);
    }
}

fn unsubscribing_ends_the_stream_and_may_be_repeated(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let (a, b) = (net.client(0), net.client(2));
    net.subscribe(a, &channel);
    net.publish(b, &channel, json!(1));
    for _ in 0..2 {
        let reply = net.ask(a, json!({ "unsubscribe": { "channel": channel } }));
        assert_eq!(reply["unsubscribe"], json!({}));
    }
    net.publish(b, &channel, json!(2));
    assert_eq!(net.data(a, &channel), [1]);
    assert_eq!(net.total().home_topics, 0);
    assert_eq!(net.total().local_topics, 0);
}

fn a_channel_can_be_left_and_entered_in_one_breath(mut net: Net) {
    let channel = net.channel("chat:", 3);
    let (a, b) = (net.client(0), net.client(1));
    net.eager = false;
    let first = net.tell(a, json!({ "subscribe": { "channel": channel } }));
    net.tell(a, json!({ "unsubscribe": { "channel": channel } }));
    let second = net.tell(a, json!({ "subscribe": { "channel": channel } }));
    net.eager = true;
    net.pump();
    assert!(
        net.reply(a, first).is_some() && net.reply(a, second).unwrap()["subscribe"].is_object()
    );
    net.publish(b, &channel, json!(1));
    assert_eq!(net.data(a, &channel), [1]);
    let stats = net.ask(b, json!({ "presence_stats": { "channel": channel } }));
    assert_eq!(
        stats["presence_stats"],
        json!({ "num_clients": 1, "num_users": 1 })
    );
    net.ask(a, json!({ "unsubscribe": { "channel": channel } }));
    assert_eq!(net.total().home_topics, 0);
}

fn publications_keep_the_order_of_their_channel(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let subscribers: Vec<_> = (0..4).map(|worker| net.client(worker)).collect();
    let publishers: Vec<_> = (0..4).map(|worker| net.client(worker)).collect();
    for &id in &subscribers {
        net.subscribe(id, &channel);
    }
    net.eager = false;
    for n in 0..200 {
        let publisher = n % 4;
        net.tell(
            publishers[publisher],
            json!({ "publish": { "channel": channel, "data": [publisher, n] } }),
        );
        if n % 3 == 0 {
            net.step();
        }
    }
    net.eager = true;
    net.pump();
    let seen = net.data(subscribers[0], &channel);
    assert_eq!(seen.len(), 200);
    for &id in &subscribers[1..] {
        assert_eq!(net.data(id, &channel), seen);
    }
    for publisher in 0..4 {
        let own: Vec<u64> = seen
            .iter()
            .filter(|data| data[0] == publisher)
            .map(|data| data[1].as_u64().unwrap())
            .collect();
        assert!(own.is_sorted() && own.len() == 50);
    }
}

fn line_breaks_in_data_do_not_break_frames(mut net: Net) {
    let channel = net.channel("chat:", 1);
    let a = net.client_with(0, json!({}));
    net.subscribe(a, &channel);
    net.say(
        a,
        &format!("{{\"id\":50,\"publish\":{{\"channel\":\"{channel}\",\n\"data\":{{\n\"a\":\r\n[1,\n2]}}}}}}\n{{\"id\":51,\"rpc\":{{\"method\":\"echo\",\"data\":[\n]}}}}"),
    );
    // The test client splits frames at line breaks, as SDKs do, and fails on half an object.
    assert!(net.reply(a, 50).is_some());
    assert_eq!(net.reply(a, 51).unwrap()["rpc"]["data"], json!([]));
    assert_eq!(net.data(a, &channel), [json!({ "a": [1, 2] })]);
}

fn deep_data_are_refused(mut net: Net) {
    let a = net.client(0);
    let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
    for (n, depth) in [(60, 128), (61, 129), (62, 10_000)] {
        net.say(
            a,
            &format!(
                "{{\"id\":{n},\"publish\":{{\"channel\":\"a\",\"data\":{}}}}}",
                nested(depth)
            ),
        );
    }
    assert!(net.reply(a, 60).unwrap()["publish"].is_object());
    assert_eq!(net.reply(a, 61).unwrap()["error"]["code"], 107);
    assert_eq!(net.reply(a, 62).unwrap()["error"]["code"], 107);
    let b = net.socket(0);
    net.say(
        b,
        &format!("{{\"id\":1,\"connect\":{{\"data\":{}}}}}", nested(1_000)),
    );
    assert_eq!(net.reply(b, 1).unwrap()["error"]["code"], 107);
}

fn the_control_plane_publishes_and_asks(mut net: Net) {
    let channel = net.channel("market:", 2);
    let a = net.client(1);
    net.subscribe(a, &channel);
    for n in 1..=3 {
        net.hub_publish(&channel, json!({ "price": n }));
    }
    assert_eq!(net.data(a, &channel).len(), 3);
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let hub = net.hub.clone();
    let say = |said: &Arc<Mutex<Vec<String>>>| {
        let said = Arc::clone(said);
        move |line: String| said.lock().unwrap().push(line)
    };
    let line = say(&said);
    hub.latest(&channel, move |latest| {
        line(latest.unwrap().unwrap().data().to_owned())
    });
    let page = Page {
        since: Some(1),
        limit: Some(1),
        reverse: false,
    };
    let line = say(&said);
    hub.history(&channel, None, page, move |slice| {
        let slice = slice.unwrap();
        line(format!(
            "{} {}",
            slice.position.offset,
            slice.publications[0].json()
        ));
    });
    let line = say(&said);
    hub.history(&channel, Some("old"), page, move |slice| {
        line(slice.unwrap_err().to_string())
    });
    let line = say(&said);
    hub.presence_stats("chat:x", move |stats| {
        line(format!("{:?}", stats.unwrap().clients))
    });
    let line = say(&said);
    hub.presence(&channel, move |list| line(list.unwrap_err().to_string()));
    net.pump();
    let mut said = said.lock().unwrap().clone();
    said.sort();
    let mut expected = [
        "{\"price\":3}",
        "3 {\"data\":{\"price\":2},\"offset\":2}",
        "unrecoverable position",
        "0",
        "not available",
    ];
    expected.sort_unstable();
    assert_eq!(said, expected);
}
