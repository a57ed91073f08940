//! Each load against a server that does what it should, and what the document then says.

use crate::support::{Served, bench};
use std::sync::Arc;
use tidegate::{
    Accept, Closed, Config, Encoded, Handler, Incoming, Opening, Outboxes, PeerId, Request, Server,
};

const SHORT: [&str; 5] = ["-d", "0.4", "-w", "0.1", "--json"];

fn words<'a>(mode: &'a str, more: &[&'a str], url: &'a str) -> Vec<&'a str> {
    [&[mode], more, &SHORT, &[url]].concat()
}

#[test]
fn an_echo_is_counted_and_its_server_found() {
    let server = Served::start(&[]);
    let url = format!("ws://{}/echo", server.at);
    for more in [
        &["-c", "10"][..],
        &["-c", "3", "--depth", "16", "--binary"],
        &["-c", "2", "-s", "0"],
        &["-c", "2", "-s", "70000"],
        &["-c", "4", "--rate", "300"],
        &["-c", "2", "-s", "1000", "--deflate"],
        &["-c", "2", "-s", "1000", "--deflate=takeover"],
    ] {
        let ended = bench(&words("echo", more, &url));
        assert_eq!(ended.code, Some(0), "{more:?}: {ended:?}");
        let json = ended.json();
        let number = |name: &str| {
            json[name]
                .as_f64()
                .unwrap_or_else(|| panic!("{name}: {json}"))
        };
        assert_eq!(
            (&json["schema"], &json["mode"]),
            (&1.into(), &"echo".into())
        );
        assert_eq!((number("errors"), number("lost")), (0.0, 0.0));
        assert!(
            number("messages") > 0.0 && number("seconds") >= 0.4,
            "{json}"
        );
        assert!(json["latency_us"]["count"].as_u64() > Some(0), "{json}");
        assert!(json["latency_us"]["p50"].as_f64() <= json["latency_us"]["max"].as_f64());
        assert_eq!(json["server_pids"], serde_json::json!([server.pid()]));
        assert!(number("server_cpu_ns") > 0.0 && number("server_cpu_ns_per_unit") > 0.0);
        assert_eq!(json.get("late").is_some(), more.contains(&"--rate"));
        if json["deflate"].is_string() {
            let each = number("bytes_sent") / number("messages");
            assert!(each < 700.0, "it shrinks to {each}");
        }
    }
}

#[test]
fn a_channel_of_the_hub_reaches_everybody_in_both_forms() {
    let server = Served::start(&[]);
    let url = format!("ws://{}/connection/websocket", server.at);
    for dialect in ["centrifuge-json", "centrifuge-protobuf"] {
        // The hub gives each client a budget of messages: a load without a rate would exceed it.
        let more = ["--dialect", dialect, "-c", "20", "--rate", "50"];
        let ended = bench(&words("fanout", &more, &url));
        assert_eq!(ended.code, Some(0), "{dialect}: {ended:?}");
        let json = ended.json();
        let number = |name: &str| {
            json[name]
                .as_u64()
                .unwrap_or_else(|| panic!("{name}: {json}"))
        };
        assert!(number("published") > 0, "{json}");
        assert_eq!(number("delivered"), 20 * number("published"));
        assert_eq!((number("lost"), number("errors")), (0, 0));
    }
}

/// Sends what one sends to all, but the last of them misses each tenth.
#[derive(Default)]
struct Forgetful {
    peers: Vec<PeerId>,
    forgets: bool,
    count: u64,
}

impl Handler for Forgetful {
    type Mail = ();

    fn open(&mut self, _: PeerId, _: &Request, _: &mut Outboxes<'_, ()>) -> Opening {
        Opening::Accept(Accept::new(Arc::new(Config::default())))
    }

    fn opened(&mut self, peer: PeerId, _: &mut Outboxes<'_, ()>) {
        self.peers.push(peer);
    }

    fn message(&mut self, _: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, ()>) {
        self.count += 1;
        let frame = Encoded::binary(message.as_bytes());
        let misses = self.forgets && self.count % 10 == 5;
        let peers = &self.peers[..self.peers.len() - usize::from(misses)];
        for peer in peers {
            out.send(*peer, &frame);
        }
    }

    fn mail(&mut self, (): (), _: &mut Outboxes<'_, ()>) {}

    fn closed(&mut self, peer: PeerId, _: &Closed, _: &mut Outboxes<'_, ()>) {
        self.peers.retain(|other| *other != peer);
    }
}

#[test]
fn what_is_not_delivered_is_counted_to_the_last_one() {
    for forgets in [false, true] {
        let server = Server::builder()
            .listen("127.0.0.1:0".parse().expect("an address"))
            .workers(1)
            .start(move |_| Forgetful {
                forgets,
                ..Forgetful::default()
            })
            .expect("it starts");
        let url = format!("ws://{}/", server.local_addr());
        // More than one under way, or the first that is missing would be the last.
        let more = ["-b", "-c", "5", "--rate", "500", "-s", "64"];
        let ended = bench(&words("fanout", &more, &url));
        let json = ended.json();
        let number = |name: &str| {
            json[name]
                .as_u64()
                .unwrap_or_else(|| panic!("{name}: {json}"))
        };
        assert_eq!(
            number("delivered") + number("lost"),
            5 * number("published")
        );
        assert_eq!(number("errors"), 0, "{json}");
        match forgets {
            false => assert_eq!((ended.code, number("lost")), (Some(0), 0), "{ended:?}"),
            true => {
                assert_eq!(number("lost"), (number("published") + 5) / 10);
                // The last publication may be one of those: then it is awaited in vain.
                assert!(matches!(ended.code, Some(1 | 124)), "{ended:?}");
            }
        }
        server.drain(std::time::Duration::ZERO);
        server.join().expect("it ends");
    }
}

#[test]
fn handshakes_idle_connections_and_floods_are_counted() {
    let server = Served::start(&[]);
    let url = format!("ws://{}/echo", server.at);
    let json = bench(&words("handshake", &["-c", "4"], &url)).json();
    assert!(json["handshakes"].as_u64() > Some(0), "{json}");
    assert!(json.get("size").is_none() && json["errors"] == 0, "{json}");

    let json = bench(&words("idle", &["-c", "300"], &url)).json();
    let number = |name: &str| {
        json[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {json}"))
    };
    let each = (number("rss_held") - number("rss_before")) / 300.0;
    assert!((number("rss_per_connection") - each).abs() < 1e-6);
    assert_eq!(json["errors"], 0);

    let json = bench(&words("flood", &["-c", "2"], &url)).json();
    assert!(json["messages"].as_u64() > Some(0), "{json}");
    assert_eq!((&json["lost"], &json["errors"]), (&0.into(), &0.into()));
}

#[test]
fn tls_is_spoken_and_a_certificate_is_judged() {
    let server = Served::start(&["--dev-cert"]);
    let url = format!("wss://{}/echo", server.at.replace("127.0.0.1", "localhost"));
    let ended = bench(&words("echo", &["-k", "-c", "3", "--depth", "8"], &url));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.json()["tls"], true);
    let ended = bench(&words("handshake", &["-k", "-c", "2"], &url));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    bench(&["echo", &url]).failed(3, "certificate");
}

#[test]
fn five_ways_bring_the_same_updates() {
    let page = std::env::temp_dir().join(format!("tidegate-bench-{}.html", std::process::id()));
    let file = page.to_str().expect("UTF-8");
    let ended = bench(&[
        "vs-http", "-c", "5", "-r", "50", "-i", "60", "-d", "0.6", "-w", "0.1", "--json", "--html",
        file,
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let json = ended.json();
    let ways = json["ways"].as_array().expect("ways");
    let names: Vec<&str> = ways.iter().filter_map(|way| way["way"].as_str()).collect();
    let all = [
        "websocket",
        "sse",
        "long-polling",
        "polling",
        "polling-new-connections",
    ];
    assert_eq!(names, all);
    for way in ways {
        assert!(way["updates"].as_u64() > Some(0), "{way}");
        assert_eq!(
            (&way["lost"], &way["errors"]),
            (&0.into(), &0.into()),
            "{way}"
        );
        assert!(
            way["server_cpu_ns_per_update"].as_f64() > Some(0.0),
            "{way}"
        );
    }
    let bytes = |at: usize| ways[at]["bytes_per_update"].as_f64().expect("bytes");
    // A header of two octets, and nothing is asked for.
    assert!((bytes(0) - 102.0).abs() < 1.0, "{json}");
    assert!((1..5).all(|at| bytes(at) > bytes(0)), "{json}");
    assert_eq!(
        (&ways[0]["requests"], &ways[0]["connections"]),
        (&0.into(), &0.into())
    );
    assert!(ways[4]["connections"].as_u64() > Some(0), "{json}");
    let html = std::fs::read_to_string(&page).expect("a page");
    let _ = std::fs::remove_file(&page);
    assert!(html.contains("<svg") && html.contains("polling, new connections"));
}
