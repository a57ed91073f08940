//! Random schedules from a seed: publishers, subscribers that are cut and come back, mailboxes that fill.
//! The checker knows what was acknowledged and what each subscriber has seen.

use crate::net::{Dice, Net};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tidegate_hub::HubConfig;

/// A subscriber as an SDK is one: it keeps its position over connections and asks to recover from it.
struct Follower {
    client: usize,
    channel: String,
    position: Option<(u64, Value)>,
    pending: Option<u32>,
    subscribed: bool,
    /// Everything it was given, by offset, in the order of arrival since its last admitted gap.
    seen: Vec<(u64, Value)>,
    gaps: usize,
    recoveries: usize,
    resyncs: usize,
}

impl Follower {
    fn subscribe(&mut self, net: &mut Net) {
        let mut request = json!({ "channel": self.channel });
        if let Some((offset, epoch)) = &self.position {
            request["recover"] = json!(true);
            request["offset"] = json!(offset);
            request["epoch"] = epoch.clone();
        }
        self.subscribed = false;
        self.pending = Some(net.tell(self.client, json!({ "subscribe": request })));
    }

    fn take(&mut self, publication: &Value) {
        let offset = publication["offset"].as_u64().unwrap();
        let (position, _) = self.position.as_mut().expect("a push before any position");
        assert_eq!(
            offset,
            *position + 1,
            "a gap, a double or a wrong order in {}",
            self.channel
        );
        *position = offset;
        self.seen.push((offset, publication["data"].clone()));
    }

    /// Reads what came, as the SDKs do: in order, and pushes only while subscribed.
    fn read(&mut self, net: &mut Net) {
        for value in std::mem::take(&mut net.clients[self.client].inbox) {
            if self.pending.is_some() && value["id"].as_u64() == self.pending.map(u64::from) {
                self.pending = None;
                if value["error"]["code"] == 111 {
                    continue; // temporary: it will try again
                }
                self.answer(&value["subscribe"]);
            } else if value["push"]["channel"] == self.channel.as_str() && self.subscribed {
                let push = &value["push"];
                if push["pub"].is_object() {
                    self.take(&push["pub"]);
                } else if push["unsubscribe"].is_object() {
                    assert_eq!(push["unsubscribe"]["code"], 2500);
                    self.resyncs += 1;
                    self.subscribed = false;
                }
            }
        }
    }

    fn answer(&mut self, result: &Value) {
        let reply = (result["offset"].as_u64().unwrap(), result["epoch"].clone());
        self.subscribed = true;
        if result["recovered"] == true {
            self.recoveries += 1;
            assert_eq!(self.position.as_ref(), Some(&reply));
            for publication in result["publications"].as_array().into_iter().flatten() {
                self.take(publication);
            }
        } else {
            if self.position.is_some() {
                self.gaps += 1;
                assert_eq!(result["was_recovering"], true);
            }
            self.seen.clear();
            self.position = Some(reply);
        }
    }
}

/// Runs one schedule; how often something was recovered, lost and admitted, ordered to recover.
fn run(workers: usize, seed: u64) -> [usize; 3] {
    let mut config = HubConfig::dev();
    let mut small = tidegate_hub::Namespace::open();
    small.history_size = 12;
    config.namespaces.set("chat", small);
    let mut net = Net::with(workers, seed, config);
    let mut dice = Dice(seed ^ 0xabcd);
    let channels: Vec<String> = (0..3)
        .map(|home| net.channel(&format!("chat:{home}-"), home + 1))
        .collect();
    let publishers: Vec<usize> = (0..3).map(|n| net.client(n)).collect();
    let mut followers: Vec<Follower> = (0..8)
        .map(|n| Follower {
            client: net.client(n),
            channel: channels[n % channels.len()].clone(),
            position: None,
            pending: None,
            subscribed: false,
            seen: Vec::new(),
            gaps: 0,
            recoveries: 0,
            resyncs: 0,
        })
        .collect();
    let mut asked: Vec<(usize, u32, String, u64)> = Vec::new();
    net.eager = false;
    for n in 0..1_500_u64 {
        match dice.below(20) {
            0..=6 => {
                let (publisher, channel) = (publishers[dice.below(3)], &channels[dice.below(3)]);
                let number = net.tell(
                    publisher,
                    json!({ "publish": { "channel": channel, "data": n } }),
                );
                asked.push((publisher, number, channel.clone(), n));
            }
            7 => {
                let follower = &mut followers[dice.below(8)];
                follower.read(&mut net);
                net.cut(follower.client);
                follower.client = net.socket(dice.below(workers));
                net.tell(follower.client, json!({ "connect": {} }));
                follower.subscribed = false;
                follower.pending = None;
                if dice.below(2) == 0 {
                    follower.subscribe(&mut net);
                }
            }
            8 => net.room([0, 2, 8, usize::MAX][dice.below(4)]),
            9 => {
                net.pass(Duration::from_millis(10 * dice.below(4) as u64));
            }
            10 => {
                let follower = &mut followers[dice.below(8)];
                follower.read(&mut net);
                if follower.subscribed {
                    net.tell(
                        follower.client,
                        json!({ "unsubscribe": { "channel": follower.channel } }),
                    );
                    follower.subscribed = false;
                    follower.subscribe(&mut net);
                }
            }
            11..=12 => {
                let follower = &mut followers[dice.below(8)];
                follower.read(&mut net);
                if !follower.subscribed && follower.pending.is_none() {
                    follower.subscribe(&mut net);
                }
            }
            _ => {
                for _ in 0..dice.below(8) {
                    net.step();
                }
            }
        }
    }
    // Calm: everything arrives, everyone comes back.
    net.room(usize::MAX);
    net.eager = true;
    for _ in 0..4 {
        net.pump();
        net.pass(Duration::from_millis(100));
        for follower in &mut followers {
            follower.read(&mut net);
            if !follower.subscribed && follower.pending.is_none() {
                follower.subscribe(&mut net);
            }
        }
    }
    check(&mut net, &asked, &followers);
    let left = net.total();
    assert_eq!((left.in_flight, left.spooled), (0, 0));
    for channel in &channels {
        let members = followers.iter().filter(|f| f.channel == *channel).count();
        let stats = net.ask(
            publishers[0],
            json!({ "presence_stats": { "channel": channel } }),
        );
        assert_eq!(stats["presence_stats"]["num_clients"], members);
    }
    [
        followers.iter().map(|f| f.recoveries).sum(),
        followers.iter().map(|f| f.gaps).sum(),
        followers.iter().map(|f| f.resyncs).sum(),
    ]
}

/// Acknowledged publications are exactly those in the channel, and a follower has seen each of them from
/// its last admitted gap on, once, in order.
fn check(net: &mut Net, asked: &[(usize, u32, String, u64)], followers: &[Follower]) {
    let mut taken: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (publisher, number, channel, data) in asked {
        let reply = net
            .reply(*publisher, *number)
            .expect("every publish is answered");
        if reply["publish"].is_object() {
            taken.entry(channel).or_default().push(*data);
        } else {
            assert_eq!(reply["error"]["code"], 111);
        }
    }
    for follower in followers {
        assert!(follower.subscribed);
        let taken = &taken[follower.channel.as_str()];
        let (offset, _) = follower.position.as_ref().unwrap();
        assert_eq!(
            *offset,
            taken.len() as u64,
            "acknowledged and numbered differ"
        );
        let mut seen: Vec<u64> = follower
            .seen
            .iter()
            .map(|(_, d)| d.as_u64().unwrap())
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), follower.seen.len(), "something came twice");
        assert!(
            seen.iter().all(|data| taken.contains(data)),
            "something came from nowhere"
        );
    }
}

fn seeds(workers: usize, seeds: std::ops::Range<u64>) {
    let mut sums = [0; 3];
    for seed in seeds {
        let result = std::panic::catch_unwind(|| run(workers, seed));
        let counts = result.unwrap_or_else(|_| panic!("workers {workers}, seed {seed}"));
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    let [recoveries, gaps, resyncs] = sums;
    println!("{recoveries} recoveries, {gaps} admitted losses, {resyncs} orders to recover");
    assert!(
        recoveries > 100,
        "{recoveries}: the schedule recovers too seldom to mean anything"
    );
    assert!(
        gaps > 0,
        "no history was ever too short: the schedule is too tame"
    );
    // One worker has no mailbox between home and members that could be full.
    assert_eq!(resyncs > 0, workers > 1, "{resyncs}");
}

#[test]
fn random_schedules_on_1_worker_lose_nothing() {
    seeds(1, 0..10);
}

#[test]
fn random_schedules_on_4_workers_lose_nothing() {
    seeds(4, 0..30);
}
