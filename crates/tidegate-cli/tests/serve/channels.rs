//! The hub through both of its doors: WebSocket in, plain HTTP out, with the same locks.

use crate::support::http::{Answer, get, request};
use crate::support::process::Server;
use crate::support::ws::Ws;
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A connected client.
fn client(address: SocketAddr) -> Ws {
    let mut ws = Ws::open(address, "/connection/websocket");
    ws.ask(1, "connect", json!({}));
    ws
}

#[test]
fn what_a_client_publishes_is_there_over_http() {
    let server = Server::start(&["--workers", "4"]);
    let mut ws = client(server.address);
    assert_eq!(get(server.address, "/channels/tea/latest").status, 404);
    for n in 1..=5 {
        ws.ask(
            n + 1,
            "publish",
            json!({ "channel": "tea", "data": { "cup": n } }),
        );
    }

    let latest = get(server.address, "/channels/tea/latest");
    assert_eq!(
        (latest.status, latest.header("content-type")),
        (200, Some("application/json"))
    );
    let body = latest.json();
    assert_eq!(body["channel"], "tea");
    assert_eq!(body["data"], json!({ "cup": 5 }));
    let (newest, epoch) = (
        body["offset"].as_u64().expect("an offset"),
        body["epoch"].as_str().expect("an epoch"),
    );

    let history = |query: &str| get(server.address, &format!("/channels/tea/history{query}"));
    let cups = |answer: &Answer| -> Vec<u64> {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        assert_eq!(
            (&body["channel"], &body["offset"], &body["epoch"]),
            (&json!("tea"), &json!(newest), &json!(epoch))
        );
        let list = body["publications"].as_array().expect("a list").clone();
        assert!(
            list.iter()
                .all(|one| one["time"].as_u64() > Some(1_700_000_000_000))
        );
        list.iter()
            .map(|one| one["data"]["cup"].as_u64().expect("a cup"))
            .collect()
    };
    assert_eq!(cups(&history("")), [1, 2, 3, 4, 5]);
    assert_eq!(cups(&history("?limit=2")), [1, 2]);
    assert_eq!(cups(&history(&format!("?since={}", newest - 2))), [4, 5]);
    assert_eq!(
        cups(&history(&format!(
            "?since={}&epoch={epoch}&limit=1",
            newest - 2
        ))),
        [4]
    );
    assert_eq!(cups(&history(&format!("?since={newest}"))), [0; 0]);
    for bad in ["?limit=0", "?limit=301", "?since=x", "?epoch=abc"] {
        let answer = history(bad);
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.is_one_line(), "{bad}");
    }
}

#[test]
fn an_offset_of_another_epoch_is_not_taken_for_one_of_this() {
    let server = Server::start(&[]);
    client(server.address).ask(2, "publish", json!({ "channel": "tea", "data": 1 }));
    let answer = get(
        server.address,
        "/channels/tea/history?since=0&epoch=0123456789abcdef",
    );
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.is_one_line());
}

#[test]
fn latest_has_an_entity_tag() {
    let server = Server::start(&[]);
    let mut ws = client(server.address);
    ws.ask(2, "publish", json!({ "channel": "tea", "data": 1 }));
    let first = get(server.address, "/channels/tea/latest");
    let etag = first.header("etag").expect("an entity tag");
    let ask = || {
        request(
            server.address,
            "GET",
            "/channels/tea/latest",
            &format!("If-None-Match: {etag}\r\n"),
        )
    };
    assert_eq!((ask().status, ask().body.len()), (304, 0));
    ws.ask(3, "publish", json!({ "channel": "tea", "data": 1 }));
    assert_eq!(
        ask().status,
        200,
        "the same data, published anew, is something new"
    );
}

#[test]
fn http_has_the_locks_of_the_websocket() {
    let server = Server::start(&[]);
    let rows = [
        ("/channels/unknown:x/latest", 404),
        ("/channels/unknown:x/history", 404),
        ("/channels/game:arena/latest", 404),
        ("/channels/game:arena/history", 404),
        ("/channels//latest", 400),
        ("/channels/%ff/latest", 400),
        ("/channels/%07/latest", 400),
    ];
    for (path, status) in rows {
        let answer = get(server.address, path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.is_one_line(), "{path}");
    }
}

#[test]
fn a_name_with_odd_characters_is_the_same_channel_through_both_doors() {
    let server = Server::start(&[]);
    let name = "chat:a/b é?";
    client(server.address).ask(2, "publish", json!({ "channel": name, "data": "here" }));
    let answer = get(server.address, "/channels/chat%3Aa%2Fb%20%C3%A9%3F/latest");
    assert_eq!(
        (&answer.json()["channel"], &answer.json()["data"]),
        (&json!(name), &json!("here"))
    );
}

#[test]
fn the_market_lives_and_both_doors_show_the_same_prices() {
    let server = Server::start(&[]);
    let mut ws = client(server.address);
    for (n, symbol) in ["BTC-USD", "ETH-USD", "EUR-USD", "GOLD", "OIL", "TIDE"]
        .iter()
        .enumerate()
    {
        let channel = format!("market:{symbol}");
        let path = format!("/channels/{channel}/latest");
        let deadline = Instant::now() + Duration::from_secs(10);
        let answer = loop {
            let answer = get(server.address, &path);
            if answer.status == 200 || Instant::now() > deadline {
                break answer.json();
            }
        };
        assert_eq!(answer["data"]["symbol"], *symbol);
        assert!(
            answer["data"]["price"]
                .as_f64()
                .is_some_and(|price| price > 0.0),
            "{answer}"
        );
        assert!(
            answer["data"]["ts"]
                .as_u64()
                .is_some_and(|ts| ts > 1_700_000_000_000),
            "{answer}"
        );
        // The WebSocket's history holds the very same publication.
        let since = json!({ "offset": answer["offset"].as_u64().expect("an offset") - 1, "epoch": answer["epoch"] });
        let command = json!({ "channel": channel, "limit": 1, "since": since });
        let reply = ws.ask(n as u64 + 2, "history", command);
        assert_eq!(reply["publications"][0]["data"], answer["data"]);
    }
    ws.say(&json!({ "id": 99, "publish": { "channel": "market:GOLD", "data": 1 } }));
    assert_eq!(
        ws.reply(99)["error"]["code"],
        103,
        "prices are not the clients' to make"
    );
}

#[test]
fn a_peer_that_floods_the_hub_is_closed_with_1008_and_its_neighbour_is_not() {
    let server = Server::start(&["--workers", "1"]);
    let mut neighbour = client(server.address);
    let mut flood = client(server.address);
    for _ in 0..2_500 {
        flood.say(&json!({ "send": { "data": {} } }));
    }
    assert_eq!(flood.expect().close_code(), 1008);
    neighbour.ask(2, "publish", json!({ "channel": "calm", "data": 1 }));
}
