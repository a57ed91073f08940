//! Everybody is cut at once and comes back at once, while publications go on: is everyone recovered, has anyone lost
//! anything, and how long did it take?

use crate::crowd::Crowd;
use crate::server::{Ground, Server};
use crate::wire::{Budget, Heard};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tidegate_sim::account::Account;

/// What is asked for.
pub(crate) struct Plan {
    /// The program under test.
    pub(crate) binary: PathBuf,
    /// Clients that are cut.
    pub(crate) clients: usize,
    /// Its workers.
    pub(crate) workers: usize,
    /// How often all are cut.
    pub(crate) rounds: usize,
}

/// Subscribers of one channel.
const ROOM: usize = 100;
const PUBLISHERS: usize = 4;
/// Publications of one channel a second.
const RATE: f64 = 2.0;
/// Handshakes under way at once while the clients come for the first time.
const AT_ONCE: usize = 256;
/// How long publications go on before a cut and after the last recovery.
const CALM: Duration = Duration::from_secs(1);
/// Something is wrong if any part takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

const CONFIG: &str = r#"
[clients]
anonymous = true
[admin]
listen = "off"
[namespaces.room]
history_size = 1000
recovery = "stream"
subscribe = "everyone"
publish = "everyone"
"#;

/// How far a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Out,
    Opening,
    Connecting,
    Subscribing,
    In,
}

struct Storm {
    server: Server,
    crowd: Crowd,
    accounts: Vec<Account>,
    steps: Vec<Step>,
    inside: usize,
    /// The values of each channel, in the order in which they were acknowledged.
    published: Vec<Vec<u64>>,
    /// Of each publisher: commands without an answer, with their channel and value.
    asked: Vec<BTreeMap<u64, (usize, u64)>>,
    next: u64,
    begun: Instant,
    calm: bool,
}

/// Runs the plan; the summary is for people and for keeping.
///
/// # Errors
/// What was lost, or did not come back.
pub(crate) fn run(plan: &Plan) -> Result<Value, String> {
    let ground = Ground::new(&plan.binary, plan.workers, CONFIG)?;
    let server = ground.start(None)?;
    let mut storm = Storm::new(server, plan.clients)?;
    let rounds = storm.weather(plan.rounds);
    let rounds = rounds.map_err(|why| format!("{why}\nthe server said:\n{}", ground.said()))?;
    let published: usize = storm.published.iter().map(Vec::len).sum();
    let (cpu, resident) = storm.server.usage();
    Ok(json!({
        "schema": 1, "what": "storm", "clients": plan.clients, "channels": storm.published.len(),
        "workers": plan.workers, "published": published, "lost": 0, "rounds": rounds,
        "server_cpu_s": cpu, "server_rss": resident,
    }))
}

impl Storm {
    fn new(server: Server, clients: usize) -> Result<Storm, String> {
        let channels = clients.div_ceil(ROOM);
        let all = clients + PUBLISHERS;
        let crowd = Crowd::new(all, server.address).map_err(|error| error.to_string())?;
        let accounts = (0..clients).map(|n| Account::new(&format!("room:{}", n % channels)));
        Ok(Storm {
            server,
            crowd,
            accounts: accounts.collect(),
            steps: vec![Step::Out; all],
            inside: 0,
            published: vec![Vec::new(); channels],
            asked: vec![BTreeMap::new(); PUBLISHERS],
            next: 0,
            begun: Instant::now(),
            calm: true,
        })
    }

    fn weather(&mut self, rounds: usize) -> Result<Vec<Value>, String> {
        let clients = self.accounts.len();
        for client in clients..clients + PUBLISHERS {
            self.open(client)?;
        }
        self.arrive()?;
        (self.calm, self.begun) = (false, Instant::now());
        let rounds: Result<Vec<Value>, String> = (0..rounds).map(|_| self.strike()).collect();
        self.pass(CALM)?;
        self.calm = true;
        self.settle()?;
        rounds
    }

    /// All come for the first time, not all in one instant.
    fn arrive(&mut self) -> Result<(), String> {
        let mut opened = 0;
        let all = self.steps.len();
        let clients = self.accounts.len();
        self.until("everybody to come", |storm| {
            while opened < clients && opened + PUBLISHERS < storm.inside + AT_ONCE {
                storm.open(opened)?;
                opened += 1;
            }
            Ok(storm.inside == all)
        })
    }

    /// Cuts all, and waits until all are recovered.
    fn strike(&mut self) -> Result<Value, String> {
        self.pass(CALM)?;
        let clients = self.accounts.len();
        let recoveries =
            |storm: &Storm| -> usize { storm.accounts.iter().map(|a| a.recoveries).sum() };
        let missed = |storm: &Storm| -> u64 {
            let at = |account: &Account| account.position.as_ref().map_or(0, |(offset, _)| *offset);
            storm.accounts.iter().map(at).sum()
        };
        let (recovered, before, cpu) = (recoveries(self), missed(self), self.server.usage().0);
        let cut = Instant::now();
        for client in 0..clients {
            self.crowd.cut(client);
            self.steps[client] = Step::Out;
        }
        self.inside -= clients;
        let closed = Instant::now();
        for client in 0..clients {
            self.open(client)?;
        }
        let opened = closed.elapsed();
        let (mut half, all) = (None, self.steps.len());
        self.until("everybody to come back", |storm| {
            if half.is_none() && storm.inside * 2 >= all {
                half = Some(closed.elapsed());
            }
            Ok(storm.inside == all)
        })?;
        let back = closed.elapsed();
        let recovered = recoveries(self) - recovered;
        if recovered != clients {
            return Err(format!("{recovered} of {clients} were recovered"));
        }
        let seconds = |span: Duration| (span.as_secs_f64() * 1e3).round() / 1e3;
        Ok(json!({
            "closing_s": seconds(closed - cut), "connecting_s": seconds(opened),
            "half_back_s": seconds(half.unwrap_or(back)), "all_recovered_s": seconds(back),
            "delivered_meanwhile": missed(self) - before,
            "server_cpu_s": ((self.server.usage().0 - cpu) * 1e2).round() / 1e2,
        }))
    }

    /// Everyone has everything, in order.
    fn settle(&mut self) -> Result<(), String> {
        self.until("all answers and publications", |storm| {
            let answered = storm.asked.iter().all(BTreeMap::is_empty);
            Ok(answered && (0..storm.accounts.len()).all(|n| storm.has_all(n)))
        })?;
        for (client, account) in self.accounts.iter().enumerate() {
            let values = &self.published[client % self.published.len()];
            let mut owed = values.clone();
            owed.sort_unstable(); // acknowledged by several publishers, so in another order
            let mut got: Vec<u64> = account
                .seen
                .iter()
                .filter_map(|(_, n)| n.as_u64())
                .collect();
            got.sort_unstable();
            if got != owed || account.gaps > 0 {
                return Err(format!(
                    "client {client} has {} of {} publications, {} gaps",
                    got.len(),
                    owed.len(),
                    account.gaps
                ));
            }
        }
        Ok(())
    }

    fn has_all(&self, client: usize) -> bool {
        let top = self.published[client % self.published.len()].len() as u64;
        self.accounts[client]
            .position
            .as_ref()
            .is_some_and(|(offset, _)| *offset == top)
    }

    fn open(&mut self, client: usize) -> Result<(), String> {
        self.steps[client] = Step::Opening;
        self.crowd
            .open(client, Budget::ENDLESS)
            .map_err(|error| format!("client {client}: {error}"))
    }

    fn pass(&mut self, span: Duration) -> Result<(), String> {
        let end = Instant::now() + span;
        self.until("time to pass", |_| Ok(Instant::now() >= end))
    }

    /// Turns until it is so.
    fn until(
        &mut self,
        what: &str,
        mut so: impl FnMut(&mut Storm) -> Result<bool, String>,
    ) -> Result<(), String> {
        let begun = Instant::now();
        while !so(self)? {
            if begun.elapsed() > PATIENCE {
                return Err(format!(
                    "waited {PATIENCE:?} for {what}; {} of {} are in",
                    self.inside,
                    self.steps.len()
                ));
            }
            self.publish();
            let heard = self.crowd.turn(Duration::from_millis(5), |_| true);
            for (client, heard) in heard.map_err(|error| error.to_string())? {
                self.hear(client, heard)?;
            }
        }
        Ok(())
    }

    /// What is due by now is published, by one publisher after the other.
    fn publish(&mut self) {
        let channels = self.published.len();
        let rate = RATE * channels as f64;
        while !self.calm && (self.next as f64) < self.begun.elapsed().as_secs_f64() * rate {
            let (value, publisher) = (self.next, self.next as usize % PUBLISHERS);
            let channel = value as usize % channels;
            let id = value + 10;
            let data = json!({ "n": value, "ballast": "x".repeat(64) });
            let publish = json!({ "channel": format!("room:{channel}"), "data": data });
            self.asked[publisher].insert(id, (channel, value));
            self.next += 1;
            let client = self.accounts.len() + publisher;
            self.crowd
                .say(client, &json!({ "id": id, "publish": publish }));
        }
    }

    fn hear(&mut self, client: usize, heard: Heard) -> Result<(), String> {
        match heard {
            Heard::Upgraded => {
                self.steps[client] = Step::Connecting;
                self.crowd.say(client, &json!({ "id": 1, "connect": {} }));
                Ok(())
            }
            Heard::Ping => Ok(()),
            Heard::Value(value) if client >= self.accounts.len() => self.publisher(client, &value),
            Heard::Value(value) => self.subscriber(client, &value),
            Heard::Closed(code) => Err(format!("client {client} was closed with {code}")),
            Heard::Over => Err(format!(
                "client {client} lost its connection while it was {:?}",
                self.steps[client]
            )),
        }
        .map_err(|why: String| format!("client {client}: {why}"))
    }

    fn publisher(&mut self, client: usize, value: &Value) -> Result<(), String> {
        if value["error"].is_object() {
            return Err(format!("refused: {value}"));
        }
        let id = value["id"].as_u64().unwrap_or(0);
        if id == 1 {
            self.steps[client] = Step::In;
            self.inside += 1;
        } else if let Some((channel, n)) = self.asked[client - self.accounts.len()].remove(&id) {
            self.published[channel].push(n);
        }
        Ok(())
    }

    fn subscriber(&mut self, client: usize, value: &Value) -> Result<(), String> {
        let account = &mut self.accounts[client];
        match (value["id"].as_u64(), self.steps[client]) {
            (Some(1), Step::Connecting) if value["connect"].is_object() => {
                self.steps[client] = Step::Subscribing;
                let subscribe = account.request();
                self.crowd
                    .say(client, &json!({ "id": 2, "subscribe": subscribe }));
                Ok(())
            }
            (Some(2), Step::Subscribing) if value["subscribe"].is_object() => {
                self.steps[client] = Step::In;
                self.inside += 1;
                account.answer(&value["subscribe"])
            }
            (None, Step::In) => account.push(&value["push"]),
            (_, step) => Err(format!("while {step:?}: {value}")),
        }
    }
}
