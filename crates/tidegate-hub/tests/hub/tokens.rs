//! Who may come in: tokens for connections and channels, their end, private channels, the server's own
//! subscriptions.

use crate::on_1_and_4_workers;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate_hub::{
    HubConfig, Namespace, RawJson, Refreshed, Revocation, ServerSubscribe, Target, TokenKeys,
    UnknownKey, Who,
};
use tidegate_sim::net::Net;

on_1_and_4_workers!(
    a_token_says_who_one_is,
    a_silent_connection_ends_with_its_token_unless_it_is_refreshed,
    a_refresh_must_be_of_the_same_user,
    a_subscription_token_opens_a_private_channel,
    a_subscription_ends_with_its_token_unless_it_is_refreshed,
    a_channel_of_some_users_is_closed_to_others,
    the_server_subscribes_to_what_the_token_says_and_recovers_it,
    what_waits_for_the_connect_reply_comes_after_it,
    what_is_revoked_is_closed_and_refused,
    an_unknown_key_is_asked_for,
    the_control_plane_says_when_a_connection_expires,
    options_say_who_may_do_what,
);

/// The net's time in seconds, which starts at a full one.
fn now(net: &Net) -> u64 {
    net.now.unix_seconds()
}

fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(b"secret");
    encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

fn config() -> HubConfig {
    let keys = TokenKeys::new().with_secret(b"secret").unwrap();
    let mut config = HubConfig {
        dev: false,
        anonymous: false,
        tokens: Some(keys),
        ..HubConfig::dev()
    };
    let users = Namespace {
        subscribe: Who::Users,
        publish: Who::Subscribers,
        ..Namespace::open()
    };
    config.namespaces.set("users", users);
    config
}

/// The same number of workers, but with tokens.
fn strict(net: &Net) -> Net {
    Net::with(net.workers(), 1, config())
}

fn user(net: &mut Net, worker: usize, name: &str) -> usize {
    net.client_with(worker, json!({ "token": token(&json!({ "sub": name })) }))
}

fn a_token_says_who_one_is(net: Net) {
    let mut net = strict(&net);
    let channel = net.channel("chat:", 1);
    let claims = json!({ "sub": "ann", "info": { "name": "Ann" }, "exp": now(&net) + 60 });
    let a = net.socket(0);
    let reply = net.ask(
        a,
        json!({ "connect": { "token": token(&claims), "data": { "x": 1 } } }),
    );
    assert_eq!(reply["connect"]["expires"], true);
    assert_eq!(reply["connect"]["ttl"], 60);
    net.subscribe(a, &channel);
    let presence = net.ask(a, json!({ "presence": { "channel": channel } }));
    let all = presence["presence"]["presence"].as_object().unwrap();
    let info = all.values().next().unwrap();
    assert_eq!(
        (&info["user"], &info["conn_info"]),
        (&json!("ann"), &json!({ "name": "Ann" }))
    );
    // Without one nobody comes in; with a bad one he need not come back.
    let b = net.socket(1);
    assert_eq!(net.refused(b, json!({ "connect": {} })), 101);
    let old = token(&json!({ "sub": "ann", "exp": now(&net) }));
    assert_eq!(net.refused(b, json!({ "connect": { "token": old } })), 109);
    net.tell(b, json!({ "connect": { "token": "forged" } }));
    assert_eq!(net.clients[b].close, Some((3500, "invalid token".into())));
    let nobody = net.socket(2);
    let nameless = json!({ "connect": { "token": token(&json!({})) } });
    assert_eq!(net.refused(nobody, nameless), 101);
}

fn a_silent_connection_ends_with_its_token_unless_it_is_refreshed(net: Net) {
    let mut net = strict(&net);
    let exp = now(&net) + 60;
    let connect = json!({ "token": token(&json!({ "sub": "ann", "exp": exp })) });
    let (silent, fresh) = (
        net.client_with(0, connect.clone()),
        net.client_with(1, connect),
    );
    net.pass(Duration::from_secs(50));
    let later = token(&json!({ "sub": "ann", "exp": exp + 60 }));
    let reply = net.ask(fresh, json!({ "refresh": { "token": later } }));
    assert_eq!(
        (&reply["refresh"]["expires"], &reply["refresh"]["ttl"]),
        (&json!(true), &json!(70))
    );
    net.pass(Duration::from_secs(34));
    assert_eq!(net.clients[silent].close, None, "there is some grace");
    net.pass(Duration::from_secs(2));
    assert_eq!(
        net.clients[silent].close,
        Some((3005, "connection expired".into()))
    );
    net.pass(Duration::from_secs(50));
    assert_eq!(net.clients[fresh].close, None);
    net.pass(Duration::from_secs(20));
    assert_eq!(net.clients[fresh].close.as_ref().map(|c| c.0), Some(3005));
}

fn a_refresh_must_be_of_the_same_user(net: Net) {
    let mut net = strict(&net);
    let ann = user(&mut net, 0, "ann");
    assert_eq!(net.refused(ann, json!({ "refresh": {} })), 107);
    let of_bob = token(&json!({ "sub": "bob" }));
    net.tell(ann, json!({ "refresh": { "token": of_bob } }));
    assert_eq!(net.clients[ann].close.as_ref().map(|c| c.0), Some(3500));
    let ann = user(&mut net, 1, "ann");
    let old = token(&json!({ "sub": "ann", "exp": now(&net) - 1 }));
    net.tell(ann, json!({ "refresh": { "token": old } }));
    assert_eq!(net.clients[ann].close.as_ref().map(|c| c.0), Some(3005));
}

fn a_subscription_token_opens_a_private_channel(net: Net) {
    let mut net = strict(&net);
    let channel = net.channel("$chat:", 3);
    let ann = user(&mut net, 0, "ann");
    let with =
        |claims: Value| json!({ "subscribe": { "channel": channel, "token": token(&claims) } });
    let refused = [
        (json!({ "subscribe": { "channel": channel } }), 103),
        (with(json!({ "sub": "ann", "channel": "$chat:x" })), 103),
        (with(json!({ "sub": "bob", "channel": channel })), 103),
        (with(json!({ "sub": "ann" })), 103),
        (
            with(json!({ "sub": "ann", "channel": channel, "exp": now(&net) })),
            109,
        ),
        (
            json!({ "subscribe": { "channel": channel, "token": "x" } }),
            103,
        ),
    ];
    for (command, code) in refused {
        assert_eq!(net.refused(ann, command.clone()), code, "{command}");
    }
    let good = with(json!({ "sub": "ann", "channel": channel, "info": { "role": "host" } }));
    let reply = net.ask(ann, good);
    assert!(reply["subscribe"].is_object(), "{reply}");
    assert!(reply["subscribe"]["expires"].is_null());
    net.pushes(ann);
    net.publish(ann, &channel, json!(1));
    let push = net.pushes(ann).pop().unwrap();
    assert_eq!(push["pub"]["info"]["chan_info"], json!({ "role": "host" }));
    assert_eq!(push["pub"]["info"]["user"], "ann");
}

fn a_subscription_ends_with_its_token_unless_it_is_refreshed(net: Net) {
    let mut net = strict(&net);
    let channel = net.channel("$chat:", 2);
    let start = now(&net);
    let until =
        |seconds| token(&json!({ "sub": "ann", "channel": channel, "exp": start + seconds }));
    let (a, b) = (user(&mut net, 0, "ann"), user(&mut net, 1, "ann"));
    for id in [a, b] {
        let reply = net.ask(
            id,
            json!({ "subscribe": { "channel": channel, "token": until(30) } }),
        );
        assert_eq!(reply["subscribe"]["ttl"], 30, "{reply}");
    }
    let sub_refresh = json!({ "sub_refresh": { "channel": channel, "token": until(90) } });
    let reply = net.ask(b, sub_refresh.clone());
    assert_eq!(reply["sub_refresh"], json!({ "expires": true, "ttl": 90 }));
    net.pushes(a);
    net.pass(Duration::from_secs(54));
    assert!(net.pushes(a).is_empty());
    net.pass(Duration::from_secs(2));
    let end = json!({ "code": 2501, "reason": "subscription expired" });
    assert!(
        net.pushes(a)
            .contains(&json!({ "channel": channel, "unsubscribe": end }))
    );
    assert_eq!(net.clients[a].close, None, "the connection lives on");
    assert_eq!(net.refused(a, sub_refresh), 107);
    let stats = json!({ "presence_stats": { "channel": channel } });
    assert_eq!(net.ask(b, stats)["presence_stats"]["num_clients"], 1);
}

fn a_channel_of_some_users_is_closed_to_others(net: Net) {
    let mut net = strict(&net);
    let (ann, bob) = (user(&mut net, 0, "ann"), user(&mut net, 1, "bob"));
    net.subscribe(ann, "chat:x#ann,carl");
    assert_eq!(
        net.refused(
            bob,
            json!({ "subscribe": { "channel": "chat:x#ann,carl" } })
        ),
        103
    );
    for command in ["publish", "history", "presence"] {
        let command = json!({ command: { "channel": "chat:x#ann,carl", "data": 1 } });
        assert_eq!(net.refused(bob, command), 103);
    }
}

fn the_server_subscribes_to_what_the_token_says_and_recovers_it(net: Net) {
    let net_workers = net.workers();
    let mut net = Net::with(
        net_workers,
        1,
        HubConfig {
            personal: Some("users".to_owned()),
            ..config()
        },
    );
    let (news, other) = (net.channel("chat:", 1), net.channel("market:", 2));
    let claims = json!({ "sub": "ann", "channels": [news], "subs": { &other: {} } });
    let connect = json!({ "token": token(&claims) });
    let a = net.socket(0);
    let reply = net.ask(a, json!({ "connect": connect }));
    let subs = reply["connect"]["subs"].as_object().unwrap();
    let names: Vec<&str> = subs.keys().map(String::as_str).collect();
    assert_eq!(names.len(), 3);
    assert!(names.contains(&"users:#ann"));
    assert_eq!(subs[&news]["offset"], 0);
    let epoch = subs[&news]["epoch"].clone();
    net.hub_publish(&news, json!(1));
    net.hub_publish("users:#ann", json!("hello"));
    assert_eq!(
        net.data(a, &news),
        [1],
        "and the other push is not of this channel"
    );
    net.cut(a);
    net.hub_publish(&news, json!(2));
    let b = net.socket(2);
    let mut connect = connect;
    connect["subs"] = json!({ &news: { "recover": true, "offset": 1, "epoch": epoch } });
    let reply = net.ask(b, json!({ "connect": connect }));
    let sub = &reply["connect"]["subs"][&news];
    assert_eq!(sub["recovered"], true, "{reply}");
    assert_eq!(sub["publications"][0]["data"], 2);
    assert_eq!(net.total().sessions, 1);
}

/// Mail is held back, so that a home answers late: publications and the client's next commands wait.
fn what_waits_for_the_connect_reply_comes_after_it(net: Net) {
    let mut net = strict(&net);
    let channels: Vec<String> = (0..4)
        .map(|home| net.channel(&format!("chat:{home}-"), home))
        .collect();
    let connect = json!({ "token": token(&json!({ "sub": "ann", "channels": channels })) });
    let a = net.socket(0);
    net.eager = false;
    // The second command is in the same message, the third is in one of its own.
    let connect = json!({ "id": 1, "connect": connect });
    let rpc = |id: u32| json!({ "id": id, "rpc": { "method": "echo", "data": id } });
    net.say(a, &format!("{connect}\n{}", rpc(2)));
    net.say(a, &rpc(3).to_string());
    for channel in &channels {
        net.hub_publish(channel, json!(channel));
    }
    net.eager = true;
    net.pump();
    let order: Vec<&str> = net.clients[a]
        .inbox
        .iter()
        .map(|value| match value["id"].as_u64() {
            Some(1) => "connect",
            Some(2) => "rpc",
            Some(3) => "another",
            _ if value["push"]["pub"].is_object() => "publication",
            _ => "news",
        })
        .filter(|what| *what != "news")
        .collect();
    assert_eq!(order[0], "connect");
    let replies = order.iter().filter(|what| **what != "publication");
    let replies: Vec<&&str> = replies.collect();
    assert_eq!(replies, [&"connect", &"rpc", &"another"]);
    // What was published before the home heard of the client is not for it; the rest is, once.
    let subs = net.clients[a].inbox[0]["connect"]["subs"].clone();
    for channel in &channels {
        let before = subs[channel]["offset"].as_u64().unwrap();
        let pushed = net.clients[a].inbox.iter();
        let pushed = pushed
            .filter(|v| v["push"]["pub"]["data"] == channel.as_str())
            .count();
        assert_eq!(before + pushed as u64, 1, "{channel}");
    }
}

fn what_is_revoked_is_closed_and_refused(net: Net) {
    let mut net = strict(&net);
    let stamped = |id: &str, user: &str| json!({ "token": token(&json!({ "sub": user, "jti": id, "iat": 1_700_000_000 })) });
    let lost = net.client_with(0, stamped("lost", "ann"));
    let kept = net.client_with(1, stamped("kept", "ann"));
    let bob = net.client_with(2, stamped("b", "bob"));
    let revoke = |net: &mut Net, revocation| {
        net.hub_ask(|hub, answer| hub.revoke(revocation, answer))
            .unwrap()
    };
    let by_id = Revocation {
        token: Some("lost".to_owned()),
        ..Revocation::default()
    };
    assert_eq!(revoke(&mut net, by_id), 1);
    assert_eq!(net.clients[lost].close.as_ref().map(|c| c.0), Some(3500));
    assert_eq!(net.clients[kept].close, None);
    let again = net.socket(3);
    net.tell(again, json!({ "connect": stamped("lost", "ann") }));
    assert_eq!(net.clients[again].close.as_ref().map(|c| c.0), Some(3500));
    let by_age = Revocation {
        user: Some("ann".to_owned()),
        issued_before: Some(net.now),
        ..Revocation::default()
    };
    assert_eq!(revoke(&mut net, by_age), 1);
    assert_eq!(net.clients[kept].close.as_ref().map(|c| c.0), Some(3500));
    assert_eq!(net.clients[bob].close, None);
}

fn an_unknown_key_is_asked_for(net: Net) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&asked);
    let config = HubConfig {
        tokens: Some(TokenKeys::new().fetched()),
        unknown_key: Some(UnknownKey::new(move |kid| {
            hook.lock().unwrap().push(kid.to_owned())
        })),
        ..config()
    };
    let mut net = Net::with(net.workers(), 1, config);
    let a = net.socket(0);
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k7".to_owned());
    let key = EncodingKey::from_secret(b"secret");
    let token = encode(&header, &json!({ "sub": "a" }), &key).unwrap();
    let reply = net.ask(a, json!({ "connect": { "token": token } }));
    assert_eq!(
        (&reply["error"]["code"], &reply["error"]["temporary"]),
        (&json!(100), &json!(true))
    );
    assert_eq!(*asked.lock().unwrap(), ["k7"]);
}

fn the_control_plane_says_when_a_connection_expires(net: Net) {
    let mut net = strict(&net);
    let (a, b) = (user(&mut net, 0, "ann"), user(&mut net, 1, "bob"));
    let soon = net.now + Duration::from_secs(10);
    let refresh = |net: &mut Net, user: &str, to| {
        net.hub_ask(|hub, answer| hub.refresh(Target::user(user), to, answer))
            .unwrap()
    };
    assert_eq!(refresh(&mut net, "ann", Refreshed::Until(soon)), 1);
    assert_eq!(refresh(&mut net, "nobody", Refreshed::Expired), 0);
    net.pass(Duration::from_secs(36));
    assert_eq!(net.clients[a].close.as_ref().map(|c| c.0), Some(3005));
    assert_eq!(refresh(&mut net, "bob", Refreshed::Expired), 1);
    assert_eq!(net.clients[b].close.as_ref().map(|c| c.0), Some(3005));
}

fn options_say_who_may_do_what(net: Net) {
    let mut open = config();
    open.anonymous = true;
    let mut net = Net::with(net.workers(), 1, open);
    let channel = net.channel("users:", 2);
    let (ann, ghost) = (user(&mut net, 0, "ann"), net.client(1));
    assert_eq!(
        net.refused(ghost, json!({ "subscribe": { "channel": channel } })),
        103
    );
    let publish = json!({ "publish": { "channel": channel, "data": 1 } });
    assert_eq!(
        net.refused(ann, publish.clone()),
        103,
        "not yet a subscriber"
    );
    net.subscribe(ann, &channel);
    assert!(net.ask(ann, publish)["publish"].is_object());
    // The server may let in whom the options do not, one by one.
    let options = || ServerSubscribe {
        info: RawJson::parse("{\"guest\":true}").ok(),
        ..ServerSubscribe::default()
    };
    let subscribe = |net: &mut Net, target| {
        net.hub_ask(|hub, answer| hub.subscribe(target, &channel, options(), answer))
            .unwrap()
    };
    let none = subscribe(&mut net, Target::default());
    assert_eq!(none, 0, "all anonymous clients at once are never meant");
    let all = net
        .hub_ask(|hub, answer| hub.clients(Some(""), false, 9, answer))
        .unwrap();
    let one = Target {
        client: Some(all[0].client.clone()),
        ..Target::default()
    };
    assert_eq!(subscribe(&mut net, one), 1);
    let publish = json!({ "publish": { "channel": channel, "data": 2 } });
    assert!(
        net.ask(ghost, publish)["publish"].is_object(),
        "a subscriber now"
    );
}
