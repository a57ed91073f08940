//! Random schedules from a seed: publishers, subscribers that are cut and come back, peers that stop to read,
//! mailboxes that fill, publications that vanish between workers. What was acknowledged is compared with what every subscriber saw.

use crate::account::Account;
use crate::follower::{Follower, Sampler};
use crate::net::{Dice, Net};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidegate_hub::{Delivery, HubConfig, Namespace, Slow};
use tidegate_proto::{Config, Limits};

/// How often things happened, so that a schedule that is too tame is noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Everything missed was sent.
    pub recoveries: usize,
    /// Something was gone, and the subscriber was told.
    pub gaps: usize,
    /// A subscriber was ordered to recover.
    pub resyncs: usize,
    /// A connection was closed because it did not read.
    pub slow: usize,
    /// Values that conflated subscribers were told to have skipped.
    pub skipped: u64,
    /// Publications acknowledged.
    pub published: usize,
    /// Publications lost on their way to a worker, of which nobody was told.
    pub lost: usize,
}

impl Tally {
    /// Adds another schedule's.
    pub fn add(&mut self, other: &Tally) {
        self.recoveries += other.recoveries;
        self.gaps += other.gaps;
        self.resyncs += other.resyncs;
        self.slow += other.slow;
        self.skipped += other.skipped;
        self.published += other.published;
        self.lost += other.lost;
    }
}

struct World {
    net: Net,
    dice: Dice,
    channels: Vec<String>,
    publishers: Vec<usize>,
    followers: Vec<Follower>,
    samplers: Vec<Sampler>,
    /// Client, number of the command, channel, value.
    asked: Vec<(usize, u32, String, u64)>,
    tally: Tally,
}

/// Most steps of a schedule.
const STEPS: u64 = 1_200;
const FOLLOWERS: usize = 8;
const SAMPLERS: usize = 4;

/// Runs one schedule; panics when a promise is broken.
pub fn run(workers: usize, seed: u64) -> Tally {
    let mut world = World::new(workers, seed);
    world.net.eager = false;
    for n in 0..STEPS {
        world.step(n);
    }
    world.calm();
    world.check();
    world.tally
}

fn config() -> HubConfig {
    let mut config = HubConfig::dev();
    let chat = Namespace {
        history_size: 12,
        delivery: Delivery {
            conflate: true,
            key: Some("/key".to_owned()),
            slow: Slow::Close,
            ..Delivery::default()
        },
        ..Namespace::open()
    };
    config.namespaces.set("chat", chat);
    config.position_check = Duration::from_secs(1);
    let limits = Limits {
        outbox: 200 << 10,
        outbox_high: 100 << 10,
        outbox_low: 20 << 10,
        ..config.connection.limits.clone()
    };
    config.connection = Arc::new(Config {
        limits,
        ..(*config.connection).clone()
    });
    config
}

impl World {
    fn new(workers: usize, seed: u64) -> World {
        let mut net = Net::with(workers, seed, config());
        let channels: Vec<String> = (0..3)
            .map(|home| net.channel(&format!("chat:{home}-"), home + 1))
            .collect();
        let publishers = (0..3).map(|n| net.client(n)).collect();
        let channel = |n: usize| &channels[n % channels.len()];
        let followers = (0..FOLLOWERS).map(|n| Follower::new(net.client(n), channel(n)));
        let followers = followers.collect();
        let samplers = (0..SAMPLERS).map(|n| Sampler::new(net.client(n), channel(n)));
        let samplers = samplers.collect();
        World {
            net,
            dice: Dice(seed ^ 0xabcd),
            channels,
            publishers,
            followers,
            samplers,
            asked: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn step(&mut self, n: u64) {
        match self.dice.below(24) {
            0..=6 => self.publish(n),
            7 => self.cut(),
            8 => self.net.room([0, 2, 8, usize::MAX][self.dice.below(4)]),
            9 => {
                let span = Duration::from_millis(10 * self.dice.below(8) as u64);
                self.net.pass(span);
            }
            10..=12 => self.follow(),
            13 => self.sample(),
            14 => self.stop_or_read(),
            15 => self.lose(),
            _ => {
                for _ in 0..self.dice.below(8) {
                    self.net.step();
                }
            }
        }
    }

    /// A publication vanishes on its way to a worker; the hub must notice by itself.
    fn lose(&mut self) {
        let workers = self.net.workers();
        let (from, to) = (self.dice.below(workers), self.dice.below(workers));
        self.tally.lost += usize::from(self.net.lose(from, to));
    }

    fn publish(&mut self, n: u64) {
        let publisher = self.publishers[self.dice.below(3)];
        let channel = self.channels[self.dice.below(3)].clone();
        // Now and then so much that whoever does not read is soon full.
        let ballast = "x".repeat([0, 1, 40_000][self.dice.below(3)]);
        let data = json!({ "n": n, "key": n % 3, "ballast": ballast });
        let command = json!({ "publish": { "channel": channel, "data": data } });
        let number = self.net.tell(publisher, command);
        self.asked.push((publisher, number, channel, n));
    }

    fn connect(&mut self) -> usize {
        let worker = self.dice.below(self.net.workers());
        let client = self.net.socket(worker);
        self.net.tell(client, json!({ "connect": {} }));
        client
    }

    fn cut(&mut self) {
        let n = self.dice.below(FOLLOWERS + SAMPLERS);
        if n < FOLLOWERS {
            self.followers[n].read(&mut self.net);
            self.net.cut(self.followers[n].client);
            let client = self.connect();
            self.followers[n].reconnected(client);
            if self.dice.below(2) == 0 {
                self.followers[n].subscribe(&mut self.net);
            }
        } else {
            let n = n - FOLLOWERS;
            self.samplers[n].read(&mut self.net);
            self.net.cut(self.samplers[n].client);
            let client = self.connect();
            self.samplers[n].reconnected(client);
        }
    }

    fn follow(&mut self) {
        let n = self.dice.below(FOLLOWERS);
        self.revive(n);
        let follower = &mut self.followers[n];
        follower.read(&mut self.net);
        if follower.is_idle() {
            follower.subscribe(&mut self.net);
        } else if follower.account.subscribed && self.dice.below(4) == 0 {
            follower.resubscribe(&mut self.net);
        }
    }

    /// A follower whose connection the hub has closed comes back with another, as the SDKs do.
    fn revive(&mut self, n: usize) {
        let client = self.followers[n].client;
        let state = &self.net.clients[client];
        if state.close.is_none() && !state.over {
            return;
        }
        // One that has not read until the server gave up did not read the Close either.
        let code = state.close.as_ref().map_or(3008, |(code, _)| *code);
        assert_eq!(code, 3008, "only slowness is a reason to close anyone here");
        self.tally.slow += 1;
        self.followers[n].read(&mut self.net);
        let client = self.connect();
        self.followers[n].reconnected(client);
    }

    fn sample(&mut self) {
        let n = self.dice.below(SAMPLERS);
        let sampler = &mut self.samplers[n];
        sampler.read(&mut self.net);
        if sampler.is_idle() {
            sampler.subscribe(&mut self.net, [1, 10, 60][self.dice.below(3)]);
        }
    }

    /// Somebody stops to read, or reads again.
    fn stop_or_read(&mut self) {
        let clients = self.followers.iter().map(|one| one.client);
        let clients: Vec<usize> = clients
            .chain(self.samplers.iter().map(|s| s.client))
            .collect();
        let client = clients[self.dice.below(clients.len())];
        let reads = self.dice.below(4) == 0;
        self.net.clients[client].reads = reads;
        if reads {
            self.net.write(client);
        }
    }

    /// Everything arrives, everyone reads and comes back.
    fn calm(&mut self) {
        self.net.room(usize::MAX);
        self.net.eager = true;
        for _ in 0..8 {
            self.net.pump();
            for client in 0..self.net.clients.len() {
                self.net.clients[client].reads = true;
                self.net.write(client);
            }
            self.net.pass(Duration::from_millis(1_100));
            for n in 0..FOLLOWERS {
                self.revive(n);
                self.followers[n].read(&mut self.net);
                if self.followers[n].is_idle() {
                    self.followers[n].subscribe(&mut self.net);
                }
            }
            for n in 0..SAMPLERS {
                self.samplers[n].read(&mut self.net);
                if self.samplers[n].is_idle() {
                    self.samplers[n].subscribe(&mut self.net, 10);
                }
            }
        }
        for sampler in &self.samplers {
            assert_eq!(
                self.net.clients[sampler.client].close, None,
                "a sampler is never too slow"
            );
        }
    }

    /// Acknowledged publications are exactly those in the channel, and a follower has seen each of them
    /// from its last admitted gap on, once, in order.
    fn check(&mut self) {
        let mut taken: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (publisher, number, channel, n) in std::mem::take(&mut self.asked) {
            let reply = self.net.reply(publisher, number);
            let reply = reply.expect("every publish is answered");
            if reply["publish"].is_object() {
                self.tally.published += 1;
                taken.entry(channel).or_default().push(n);
            } else {
                assert_eq!(reply["error"]["code"], 111);
            }
        }
        for follower in &self.followers {
            let account = &follower.account;
            check_account(account, &taken[&account.channel]);
            self.tally.recoveries += account.recoveries;
            self.tally.gaps += account.gaps;
            self.tally.resyncs += account.resyncs;
        }
        self.check_samplers();
        let left = self.net.total();
        assert_eq!((left.in_flight, left.spooled), (0, 0));
        for channel in self.channels.clone() {
            let followers = self
                .followers
                .iter()
                .filter(|f| f.account.channel == channel)
                .count();
            let samplers = self
                .samplers
                .iter()
                .filter(|s| s.channel == channel)
                .count();
            let stats = json!({ "presence_stats": { "channel": channel } });
            let stats = self.net.ask(self.publishers[0], stats);
            assert_eq!(stats["presence_stats"]["num_clients"], followers + samplers);
        }
    }

    /// From its last subscription on, a sampler's values and skips add up to what it was owed, its values of
    /// a key keep their order, and its last one is the newest.
    fn check_samplers(&mut self) {
        // What comes now comes to all, and nothing before it is under way.
        let marks: Vec<(usize, u64)> = self
            .samplers
            .iter()
            .map(|sampler| (sampler.seen.len(), sampler.skipped))
            .collect();
        let last: u64 = 40;
        for channel in self.channels.clone() {
            for n in 0..last {
                let data = json!({ "n": STEPS + n, "key": n % 3, "ballast": "" });
                self.net.publish(self.publishers[0], &channel, data);
            }
        }
        self.net.pass(Duration::from_millis(1_100));
        for (sampler, (seen, skipped)) in self.samplers.iter_mut().zip(marks) {
            sampler.read(&mut self.net);
            assert!(sampler.subscribed);
            let got = (sampler.seen.len() - seen) as u64 + sampler.skipped - skipped;
            assert_eq!(got, last, "of {last} publications");
            for key in 0..3 {
                let of_key = sampler.seen.iter().filter(|data| data["key"] == key);
                let values: Vec<u64> = of_key.filter_map(|data| data["n"].as_u64()).collect();
                assert_eq!(values.last().map(|n| n % 3), Some(key));
                assert!(*values.last().unwrap() >= STEPS + last - 3);
            }
            self.tally.skipped += sampler.skipped_in_all;
        }
    }
}

fn check_account(account: &Account, taken: &[u64]) {
    assert!(account.subscribed);
    let (offset, _) = account.position.as_ref().expect("a position");
    assert_eq!(
        *offset,
        taken.len() as u64,
        "acknowledged and numbered differ"
    );
    let numbers = account.seen.iter().map(|(_, n): &(u64, Value)| n.as_u64());
    let mut seen: Vec<u64> = numbers.map(|n| n.expect("a number")).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), account.seen.len(), "something came twice");
    let known = seen.iter().all(|n| taken.contains(n));
    assert!(known, "something came from nowhere");
}
