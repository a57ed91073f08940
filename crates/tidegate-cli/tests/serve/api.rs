//! The HTTP API over plain sockets: keys, methods, errors, idempotency. The `cent` client has tests of its own.

use crate::support::http::{Answer, post, request};
use crate::support::process::{Scratch, Server, configured};
use crate::support::ws::{CLOSE, Ws};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

const CONFIG: &str = "[clients]\nanonymous = true\n[api]\nkeys = [\"one\", \"two\"]\nmax_body = \"8KiB\"\n\
    [channels]\nsubscribe = \"everyone\"\nhistory_size = 10\nrecovery = \"stream\"\npresence = true\n\
    see_presence = \"everyone\"\n[admin]\nlisten = \"off\"\n";

fn started(name: &str) -> (Server, Scratch) {
    let config = Scratch::new(&format!("api-{name}.toml"), CONFIG);
    (configured(&config), config)
}

fn call(server: &Server, method: &str, params: Value) -> Value {
    let answer = post(
        server.address,
        &format!("/api/{method}"),
        "X-API-Key: two\r\n",
        &params.to_string(),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

fn result(server: &Server, method: &str, params: Value) -> Value {
    let reply = call(server, method, params);
    assert!(reply.get("error").is_none(), "{method}: {reply}");
    reply["result"].clone()
}

fn member(server: &Server, channel: &str) -> (Ws, String) {
    let mut client = Ws::open(server.address, "/connection/websocket");
    let id = client.ask(1, "connect", json!({}))["client"]
        .as_str()
        .expect("an id")
        .to_owned();
    client.ask(2, "subscribe", json!({ "channel": channel }));
    (client, id)
}

#[test]
fn only_a_key_opens_it() {
    let (server, _config) = started("keys");
    let status = |headers: &str| post(server.address, "/api/info", headers, "{}").status;
    for good in [
        "X-API-Key: one\r\n",
        "x-api-key: two\r\n",
        "Authorization: apikey one\r\n",
    ] {
        assert_eq!(status(good), 200, "{good}");
    }
    for bad in [
        "",
        "X-API-Key: three\r\n",
        "X-API-Key: on\r\n",
        "Authorization: Bearer one\r\n",
    ] {
        assert_eq!(status(bad), 401, "{bad}");
    }
    assert_eq!(
        request(server.address, "GET", "/api/info", "X-API-Key: one\r\n").status,
        405
    );
}

#[test]
fn what_is_published_arrives_and_is_kept() {
    let (server, _config) = started("publish");
    let (mut client, _) = member(&server, "news");
    let position = result(
        &server,
        "publish",
        json!({ "channel": "news", "data": { "n": 1 }, "tags": { "a": "b" } }),
    );
    assert_eq!(position["offset"], 1);
    let push: Value = serde_json::from_str(client.expect().text()).expect("JSON");
    assert_eq!(push["push"]["pub"]["data"], json!({ "n": 1 }));
    assert_eq!(push["push"]["pub"]["tags"]["a"], "b");
    let history = result(
        &server,
        "history",
        json!({ "channel": "news", "limit": 10 }),
    );
    assert_eq!(history["publications"][0]["data"]["n"], 1);
    assert!(history["publications"][0]["time"].as_u64() > Some(1_700_000_000_000));
    assert_eq!(
        (&history["offset"], &history["epoch"]),
        (&position["offset"], &position["epoch"])
    );
    let top = result(&server, "history", json!({ "channel": "news" }));
    assert_eq!(
        (&top["publications"], &top["offset"]),
        (&json!([]), &json!(1))
    );
    result(&server, "history_remove", json!({ "channel": "news" }));
    let empty = result(
        &server,
        "history",
        json!({ "channel": "news", "limit": -1 }),
    );
    assert_eq!(empty["publications"], json!([]));
}

#[test]
fn the_same_key_publishes_once() {
    let (server, _config) = started("idempotent");
    let publish = |data: u32, key: &str| {
        result(
            &server,
            "publish",
            json!({ "channel": "news", "data": data, "idempotency_key": key }),
        )
    };
    let first = publish(1, "a");
    assert_eq!(publish(2, "a"), first);
    assert_eq!(publish(3, "b")["offset"], 2);
    let history = result(
        &server,
        "history",
        json!({ "channel": "news", "limit": -1 }),
    );
    let data: Vec<&Value> = history["publications"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|p| &p["data"])
        .collect();
    assert_eq!(data, [&json!(1), &json!(3)]);
}

#[test]
fn a_broadcast_and_a_batch_answer_one_by_one() {
    let (server, _config) = started("batch");
    let broadcast = result(
        &server,
        "broadcast",
        json!({ "channels": ["a", "no:such", "b"], "data": 1 }),
    );
    let responses = broadcast["responses"].as_array().expect("a list");
    assert_eq!(responses.len(), 3);
    assert_eq!(responses[0]["result"]["offset"], 1);
    assert_eq!(responses[1]["error"]["code"], 102);
    assert_eq!(responses[2]["result"]["offset"], 1);
    for parallel in [false, true] {
        let commands = json!([
            { "publish": { "channel": "c", "data": 1 } },
            { "publish": { "channel": "no:such", "data": 1 } },
            { "nothing": {} },
            { "presence_stats": { "channel": "c" } },
            { "batch": { "commands": [] } },
        ]);
        let batch = call(
            &server,
            "batch",
            json!({ "commands": commands, "parallel": parallel }),
        );
        let replies = batch["replies"].as_array().expect("a list");
        assert!(replies[0]["publish"]["offset"].is_u64(), "{batch}");
        assert_eq!(replies[1]["error"]["code"], 102);
        assert_eq!(replies[2]["error"]["code"], 104);
        assert_eq!(
            replies[3]["presence_stats"],
            json!({ "num_clients": 0, "num_users": 0 })
        );
        assert_eq!(replies[4]["error"]["code"], 107);
    }
}

#[test]
fn clients_can_be_seen_moved_and_sent_away() {
    let (server, _config) = started("clients");
    let (mut client, id) = member(&server, "room");
    let presence = result(&server, "presence", json!({ "channel": "room" }));
    assert!(presence["presence"].get(&id).is_some(), "{presence}");
    let stats = result(&server, "presence_stats", json!({ "channel": "room" }));
    assert_eq!(stats["num_clients"], 1);
    let channels = result(&server, "channels", json!({ "pattern": "ro*" }));
    assert_eq!(channels["channels"]["room"]["num_clients"], 1);
    let info = result(&server, "info", json!({}));
    assert_eq!(info["nodes"][0]["num_clients"], 1);
    let whom = |more: Value| {
        let mut target = json!({ "user": "", "client": id });
        target
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        target
    };
    result(
        &server,
        "subscribe",
        whom(json!({ "channel": "other", "data": { "hello": true } })),
    );
    let push: Value = serde_json::from_str(client.expect().text()).expect("JSON");
    assert_eq!(push["push"]["channel"], "other");
    assert!(push["push"].get("subscribe").is_some(), "{push}");
    result(&server, "unsubscribe", whom(json!({ "channel": "other" })));
    let push: Value = serde_json::from_str(client.expect().text()).expect("JSON");
    assert_eq!(push["push"]["unsubscribe"]["code"], 2000, "{push}");
    let why = json!({ "disconnect": { "code": 4321, "reason": "go" } });
    result(&server, "disconnect", whom(why));
    let close = std::iter::from_fn(|| client.next())
        .find(|frame| frame.opcode == CLOSE)
        .expect("a Close");
    assert_eq!(close.close_code(), 4321);
    assert_eq!(&close.payload[2..], b"go");
}

#[test]
fn what_makes_no_sense_is_told_and_harms_nobody() {
    let (server, _config) = started("nonsense");
    let error = |method: &str, params: Value| call(&server, method, params)["error"].clone();
    assert_eq!(error("publish", json!({ "channel": "news" }))["code"], 107);
    assert_eq!(
        error("publish", json!({ "channel": "", "data": 1 }))["code"],
        107
    );
    assert_eq!(
        error("publish", json!({ "channel": 7, "data": 1 }))["code"],
        107
    );
    assert_eq!(error("publish", json!([]))["code"], 107);
    assert_eq!(error("disconnect", json!({}))["code"], 107);
    assert_eq!(
        error(
            "disconnect",
            json!({ "user": "a", "disconnect": { "code": 1000 } })
        )["code"],
        107
    );
    assert_eq!(error("nothing", json!({}))["code"], 104);
    let raw =
        |body: &str| -> Answer { post(server.address, "/api/publish", "X-API-Key: one\r\n", body) };
    assert_eq!(raw("{").json()["error"]["code"], 107);
    let deep = format!(
        r#"{{"channel":"a","data":{}{}}}"#,
        "[".repeat(3_000),
        "]".repeat(3_000)
    );
    assert_eq!(raw(&deep).json()["error"]["code"], 107);
    assert_eq!(raw(&"x".repeat(9_000)).status, 413);
    result(
        &server,
        "publish",
        json!({ "channel": "news", "data": null }),
    );
}

#[test]
fn the_older_form_with_the_method_inside_is_taken() {
    let (server, _config) = started("older");
    let body =
        json!({ "method": "publish", "params": { "channel": "news", "data": 1 } }).to_string();
    let answer = post(
        server.address,
        "/api",
        "Authorization: apikey one\r\n",
        &body,
    );
    assert_eq!(answer.json()["result"]["offset"], 1, "{}", answer.text());
}

#[test]
fn a_revoked_token_is_sent_away_and_stays_out() {
    let text =
        "[api]\nkeys = [\"two\"]\n[tokens]\nhmac_secret = \"pearl\"\n[admin]\nlisten = \"off\"\n";
    let config = Scratch::new("api-revoked.toml", text);
    let server = configured(&config);
    let open = |user: &str, id: &str| {
        let claims = json!({ "sub": user, "jti": id, "iat": 1_700_000_000 });
        let key = EncodingKey::from_secret(b"pearl");
        let token = encode(&Header::default(), &claims, &key).expect("a token");
        let mut client = Ws::open(server.address, "/connection/websocket");
        client.say(&json!({ "id": 1, "connect": { "token": token } }));
        client
    };
    let mut phone = open("ann", "phone");
    let mut laptop = open("ann", "laptop");
    let mut bob = open("bob", "laptop of bob");
    for client in [&mut phone, &mut laptop, &mut bob] {
        assert!(client.reply(1)["connect"]["client"].is_string());
    }
    result(&server, "revoke_token", json!({ "uid": "phone" }));
    assert_eq!(phone.expect().close_code(), 3500);
    assert_eq!(open("ann", "phone").expect().close_code(), 3500);
    laptop.ask(2, "ping", json!({}));
    result(&server, "invalidate_user_tokens", json!({ "user": "ann" }));
    assert_eq!(laptop.expect().close_code(), 3500);
    assert_eq!(open("ann", "tablet").expect().close_code(), 3500);
    bob.ask(2, "ping", json!({}));
    for method in ["revoke_token", "invalidate_user_tokens"] {
        assert_eq!(call(&server, method, json!({}))["error"]["code"], 107);
    }
}
