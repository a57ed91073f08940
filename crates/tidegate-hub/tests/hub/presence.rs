//! Who is there, and who is told of it.

use crate::on_1_and_4_workers;
use serde_json::json;
use tidegate_sim::net::Net;

on_1_and_4_workers!(
    presence_lists_and_counts_clients,
    those_present_are_told_who_comes_and_goes,
    presence_is_right_after_many_abrupt_ends,
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
    let left = net
        .pushes(ids[39])
        .iter()
        .filter(|push| push["leave"].is_object())
        .count();
    assert_eq!(left, 30 * 4);
}
