//! Storm control: caps and budgets at the door, and a drain that sends clients away one after the other.

use crate::support::process::{Scratch, Server, configured};
use crate::support::ws::Ws;
use rustix::process::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

fn started(name: &str, limits: &str) -> (Server, Scratch) {
    let text = format!("[clients]\nanonymous = true\n[admin]\nlisten = \"off\"\n{limits}");
    let config = Scratch::new(&format!("storm-{name}.toml"), &text);
    (configured(&config), config)
}

fn open(server: &Server) -> Result<Ws, (u16, u32)> {
    open_with(server, "")
}

fn open_with(server: &Server, fields: &str) -> Result<Ws, (u16, u32)> {
    let fields = format!("Host: {}\r\n{fields}", server.address);
    Ws::try_open(server.address, "/connection/websocket", &fields).map_err(|answer| {
        let after = answer
            .header("retry-after")
            .and_then(|seconds| seconds.parse().ok());
        (answer.status, after.expect("Retry-After"))
    })
}

#[test]
fn an_address_may_have_so_many_connections_and_no_more() {
    let (server, _config) = started("address", "[limits]\nconnections_per_ip = 3\n");
    let mut held: Vec<Ws> = (0..3).map(|_| open(&server).expect("room")).collect();
    let (status, after) = open(&server).err().expect("refused");
    assert_eq!(status, 429);
    assert!((5..=30).contains(&after), "{after}");
    drop(held.pop());
    let deadline = Instant::now() + Duration::from_secs(20);
    while open(&server).is_err() {
        assert!(Instant::now() < deadline, "the place is never free again");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn behind_a_proxy_of_ours_the_clients_address_counts() {
    let text = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[limits]\nconnections_per_ip = 1\n";
    let (server, _config) = started("proxy", text);
    let from = |address: &str| open_with(&server, &format!("X-Forwarded-For: {address}\r\n"));
    let first = from("192.0.2.1").expect("room");
    let _other = from("192.0.2.2").expect("another address");
    for same in ["192.0.2.1", "198.51.100.7, 192.0.2.1", "192.0.2.1:4711"] {
        assert_eq!(from(same).err().expect("refused").0, 429, "{same}");
    }
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(20);
    while from("192.0.2.1").is_err() {
        assert!(Instant::now() < deadline, "the place is never free again");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_full_server_says_when_to_come_back() {
    let (server, _config) = started("full", "[limits]\nconnections = 2\n");
    let held: Vec<Ws> = (0..2).map(|_| open(&server).expect("room")).collect();
    let (status, after) = open(&server).err().expect("refused");
    assert_eq!(status, 503);
    assert!((5..=30).contains(&after), "{after}");
    drop(held);
}

#[test]
fn a_rush_is_let_in_by_the_budget() {
    let (server, _config) = started(
        "rush",
        "[limits]\nhandshakes = { per_second = 1, burst = 5 }\n",
    );
    let began = Instant::now();
    let results: Vec<_> = (0..30).map(|_| open(&server)).collect();
    let let_in = results.iter().filter(|result| result.is_ok()).count();
    let most = 5 + began.elapsed().as_secs() as usize + 1;
    assert!((5..=most).contains(&let_in), "{let_in} of at most {most}");
    for refused in results.into_iter().filter_map(Result::err) {
        assert_eq!(refused.0, 503);
        assert!((1..=5).contains(&refused.1), "{}", refused.1);
    }
}

#[test]
fn a_drain_sends_clients_away_one_after_the_other() {
    let drain = "[drain]\ndeadline = \"60s\"\nwindow = \"30s\"\nper_second = 10\n";
    let (server, _config) = started("drain", drain);
    let clients: Vec<Ws> = (0..20)
        .map(|n| {
            let mut client = open(&server).expect("room");
            client.ask(n + 1, "connect", json!({}));
            client
        })
        .collect();
    server.signal(Signal::TERM);
    let waiting: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                let last = std::iter::from_fn(|| client.next())
                    .last()
                    .expect("a Close");
                (Instant::now(), last.close_code())
            })
        })
        .collect();
    let mut ends: Vec<_> = waiting
        .into_iter()
        .map(|thread| thread.join().expect("no panic"))
        .collect();
    ends.sort();
    assert!(
        ends.iter().all(|(_, code)| *code == 3001),
        "hub clients come back by themselves: {ends:?}"
    );
    // Two workers with 5 a second each have 20 clients between them: no timer comes early.
    let took = ends[19].0 - ends[0].0;
    assert!(
        took > Duration::from_millis(900),
        "all at once, within {took:?}"
    );
    assert_eq!(server.wait(Duration::from_secs(60)).status.code(), Some(0));
}
