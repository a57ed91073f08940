//! Schedules enough to notice a mistake soon; `cargo run -p tidegate-sim` runs as many as one likes.

use serde_json::json;
use std::time::Duration;
use tidegate_hub::{HubConfig, Namespace};
use tidegate_sim::net::Net;
use tidegate_sim::schedule::{self, Tally};

fn seeds(workers: usize, seeds: std::ops::Range<u64>) -> Tally {
    let mut sum = Tally::default();
    for seed in seeds {
        let result = std::panic::catch_unwind(|| schedule::run(workers, seed));
        sum.add(&result.unwrap_or_else(|_| panic!("{workers} workers, seed {seed}")));
    }
    println!("{workers} workers: {sum:?}");
    assert!(
        sum.recoveries > 100,
        "too few recoveries to mean anything: {sum:?}"
    );
    assert!(sum.gaps > 0, "no history was ever too short: {sum:?}");
    assert!(sum.slow > 0, "nobody was ever too slow: {sum:?}");
    assert!(sum.skipped > 100, "nothing was conflated: {sum:?}");
    sum
}

#[test]
fn schedules_on_1_worker_lose_nothing_in_silence() {
    // One worker has no mailbox between home and members that could be full.
    assert_eq!(seeds(1, 0..10).resyncs, 0);
}

#[test]
fn schedules_on_4_workers_lose_nothing_in_silence() {
    let sum = seeds(4, 0..25);
    assert!(sum.resyncs > 0);
    assert!(sum.lost > 20, "too little was lost on the way: {sum:?}");
}

#[test]
fn a_seed_is_a_whole_schedule() {
    assert_eq!(schedule::run(3, 77), schedule::run(3, 77));
}

/// The counts of a large channel are read, not made: they cost the same however many are there. Who comes and
/// goes among so many is counted and not told, though all want to know. And a list that nobody could use is
/// refused instead of built.
#[test]
fn a_hundred_thousand_members_are_counted() {
    let mut config = HubConfig::dev();
    let stadium = Namespace {
        join_leave_limit: 100,
        ..Namespace::open()
    };
    config.namespaces.set("stadium", stadium);
    let mut net = Net::with(4, 1, config);
    let asks = net.client(0);
    let stats = json!({ "presence_stats": { "channel": "stadium:a" } });
    let mut members = Vec::new();
    for all in [100, 100_000] {
        while members.len() < all {
            let id = net.client(members.len());
            net.subscribe(id, "stadium:a");
            members.push(id);
        }
        let start = std::time::Instant::now();
        for _ in 0..1_000 {
            net.ask(asks, stats.clone());
        }
        println!("1,000 counts of {all} members: {:?}", start.elapsed());
    }
    for (gone, member) in members.iter().take(100).enumerate() {
        let counted = net.ask(asks, stats.clone());
        assert_eq!(counted["presence_stats"]["num_clients"], 100_000 - gone);
        net.cut(*member);
    }
    let list = json!({ "presence": { "channel": "stadium:a" } });
    assert_eq!(net.refused(asks, list), 106);
    net.pass(Duration::from_millis(200));
    let told: usize = members.iter().map(|id| net.pushes(*id).len()).sum();
    assert!(told <= 20 * 20, "{told} joins and leaves were told");
    let untold = net
        .hub_ask(|hub, answer| hub.stats(answer))
        .unwrap()
        .total()
        .untold;
    assert_eq!(untold, 100_000 - 20 + 100);
}
