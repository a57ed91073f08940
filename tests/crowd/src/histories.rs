//! Many subscribers and publishers whose connections break at random octets, while the server is drained, killed and
//! started anew: nobody loses anything in silence, and nothing of an earlier life is taken for the new one's.

use crate::crowd::Crowd;
use crate::server::{Ground, Server};
use crate::wire::{Budget, Heard};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tidegate_sim::account::Account;
use tidegate_sim::ledger::Ledger;
use tidegate_sim::net::Dice;

/// What is asked for.
pub(crate) struct Plan {
    /// The program under test.
    pub(crate) binary: PathBuf,
    /// Subscribers.
    pub(crate) clients: usize,
    /// Its workers.
    pub(crate) workers: usize,
    /// How long things go wrong.
    pub(crate) span: Duration,
    /// All that is left to chance here; what the sockets do with it is theirs.
    pub(crate) seed: u64,
}

const PUBLISHERS: usize = 6;
/// Publications without an answer that a publisher has at most.
const WINDOW: usize = 8;
/// In `long:` a life's publications all fit, so that there every recovery within a life must succeed.
const CHANNELS: [&str; 4] = ["long:0", "long:1", "brief:0", "brief:1"];
const TURN: Duration = Duration::from_millis(3);
const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
[clients]
anonymous = true
[admin]
listen = "off"
[drain]
deadline = "4s"
window = "500ms"
per_second = 100
[namespaces.long]
history_size = 100000
recovery = "stream"
subscribe = "everyone"
publish = "everyone"
read_history = "everyone"
[namespaces.brief]
history_size = 10
recovery = "stream"
subscribe = "everyone"
publish = "everyone"
read_history = "everyone"
[limits]
history_per_channel = "900KiB"
"#;

/// How far a client's connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// It has none, until then.
    Out(Instant),
    Opening,
    Connecting,
    Ready,
}

/// A connection's side of a client.
struct Link {
    step: Step,
    next: u64,
    /// It reads nothing until then.
    stalls: Option<Instant>,
    /// The server has said that it closes.
    told: bool,
}

struct Subscriber {
    account: Account,
    pending: Option<u64>,
}

#[derive(Default)]
struct Publisher {
    pending: BTreeMap<u64, u64>,
    /// The question for a channel's position, in the end.
    asks: BTreeMap<u64, String>,
}

/// What happened, so that a run that is too tame is noticed.
#[derive(Default)]
struct Tally {
    cuts: usize,
    drains: usize,
    kills: usize,
    recoveries: usize,
    gaps: usize,
    resyncs: usize,
    sent_away: usize,
    slow: usize,
}

/// Whether the server is there.
enum State {
    Up(Server),
    /// It was asked to drain, or was killed.
    Ending {
        server: Server,
        drains: bool,
    },
}

struct World<'a> {
    ground: &'a Ground,
    state: Option<State>,
    life: usize,
    /// When the server is to be ended next.
    ends: Instant,
    crowd: Crowd,
    dice: Dice,
    links: Vec<Link>,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    ledger: Ledger,
    value: u64,
    /// Nothing goes wrong any more.
    calm: bool,
    tops: BTreeMap<String, u64>,
    tally: Tally,
}

/// Runs the plan; the summary is for people and for keeping.
///
/// # Errors
/// The promise that was broken, and the seed.
pub(crate) fn run(plan: &Plan) -> Result<Value, String> {
    println!(
        "seed {}, {} subscribers, {} workers, {:?}",
        plan.seed, plan.clients, plan.workers, plan.span
    );
    let ground = Ground::new(&plan.binary, plan.workers, CONFIG)?;
    let done = World::new(&ground, plan).and_then(|mut world| world.run(plan));
    done.map_err(|why| {
        format!(
            "seed {}: {why}\nthe server said:\n{}",
            plan.seed,
            ground.said()
        )
    })
}

impl<'a> World<'a> {
    fn new(ground: &'a Ground, plan: &Plan) -> Result<World<'a>, String> {
        let server = ground.start(None)?;
        let all = plan.clients + PUBLISHERS;
        let crowd = Crowd::new(all, server.address).map_err(|error| error.to_string())?;
        let (now, mut dice) = (Instant::now(), Dice(plan.seed));
        let link = |_| Link {
            step: Step::Out(now),
            next: 1,
            stalls: None,
            told: false,
        };
        let subscriber = |n: usize| Subscriber {
            account: Account::new(CHANNELS[n % CHANNELS.len()]),
            pending: None,
        };
        Ok(World {
            ground,
            state: Some(State::Up(server)),
            life: 0,
            ends: now + life(&mut dice),
            crowd,
            links: (0..all).map(link).collect(),
            subscribers: (0..plan.clients).map(subscriber).collect(),
            publishers: (0..PUBLISHERS).map(|_| Publisher::default()).collect(),
            ledger: Ledger::default(),
            dice,
            value: 0,
            calm: false,
            tops: BTreeMap::new(),
            tally: Tally::default(),
        })
    }

    fn run(&mut self, plan: &Plan) -> Result<Value, String> {
        let begun = Instant::now();
        while begun.elapsed() < plan.span {
            self.turn()?;
        }
        self.calm = true;
        self.settle()?;
        self.ledger.settle(self.life, &self.tops)?;
        let (acknowledged, seen) = self.ledger.counts();
        for subscriber in &self.subscribers {
            self.tally.recoveries += subscriber.account.recoveries;
            self.tally.gaps += subscriber.account.gaps;
            self.tally.resyncs += subscriber.account.resyncs;
        }
        let tally = &self.tally;
        if tally.cuts == 0 || tally.recoveries == 0 || acknowledged == 0 {
            return Err("too little happened to mean anything".to_owned());
        }
        Ok(json!({
            "schema": 1, "what": "histories", "seed": plan.seed, "subscribers": plan.clients,
            "workers": plan.workers, "seconds": plan.span.as_secs(), "violations": 0,
            "lives": self.life + 1, "drains": tally.drains, "kills": tally.kills, "cuts": tally.cuts,
            "acknowledged": acknowledged, "seen": seen, "recoveries": tally.recoveries, "gaps_told": tally.gaps,
            "resyncs": tally.resyncs, "sent_away": tally.sent_away, "slow": tally.slow,
        }))
    }

    /// One turn of everything.
    fn turn(&mut self) -> Result<(), String> {
        self.mind_server()?;
        let now = Instant::now();
        for client in 0..self.links.len() {
            self.mind_link(client, now)?;
        }
        if !self.calm {
            self.publish();
            self.mishap(now);
        }
        let links = &self.links;
        let heard = self
            .crowd
            .turn(TURN, |client| links[client].stalls.is_none());
        for (client, heard) in heard.map_err(|error| error.to_string())? {
            self.hear(client, heard)
                .map_err(|why| format!("client {client}, life {}: {why}", self.life))?;
        }
        Ok(())
    }

    /// Ends the server when its time has come, and starts it anew when it has ended.
    fn mind_server(&mut self) -> Result<(), String> {
        match self.state.take() {
            Some(State::Up(mut server)) => {
                if let Some(status) = server.ended() {
                    return Err(format!("the server ended by itself: {status}"));
                }
                if self.calm || Instant::now() < self.ends {
                    self.state = Some(State::Up(server));
                    return Ok(());
                }
                let drains = self.dice.below(3) > 0;
                server.signal(if drains { Signal::TERM } else { Signal::KILL });
                *(if drains {
                    &mut self.tally.drains
                } else {
                    &mut self.tally.kills
                }) += 1;
                self.state = Some(State::Ending { server, drains });
            }
            Some(State::Ending { mut server, drains }) => {
                let Some(status) = server.ended() else {
                    self.state = Some(State::Ending { server, drains });
                    return Ok(());
                };
                if drains && !status.success() {
                    return Err(format!("a drain ended with {status}"));
                }
                self.restart(&server)?;
            }
            None => {}
        }
        Ok(())
    }

    fn restart(&mut self, before: &Server) -> Result<(), String> {
        let now = Instant::now();
        for client in 0..self.links.len() {
            // What is still in a socket was sent by the life that is over; it may be read or not.
            self.lost(client, now);
        }
        let server = self.ground.start(Some(before.address))?;
        self.life += 1;
        self.ends = Instant::now() + life(&mut self.dice);
        self.state = Some(State::Up(server));
        Ok(())
    }

    fn is_up(&self) -> bool {
        matches!(self.state, Some(State::Up(_)))
    }

    fn mind_link(&mut self, client: usize, now: Instant) -> Result<(), String> {
        let link = &mut self.links[client];
        if link.stalls.is_some_and(|until| until <= now) {
            link.stalls = None;
            self.crowd.look(client);
        }
        match self.links[client].step {
            Step::Out(until) if until <= now && self.is_up() => {
                let budget = self.budget();
                self.links[client].step = Step::Opening;
                self.crowd
                    .open(client, budget)
                    .map_err(|error| format!("client {client}: {error}"))
            }
            Step::Ready if client < self.subscribers.len() => {
                self.subscribe(client);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// After how many octets the next connection breaks: inside of the handshake, a reply, a publication.
    fn budget(&mut self) -> Budget {
        if self.calm {
            return Budget::ENDLESS;
        }
        match self.dice.below(4) {
            0 => Budget {
                read: 1 + self.dice.below(1_000),
                ..Budget::ENDLESS
            },
            1 => Budget {
                read: 1 + self.dice.below(60_000),
                ..Budget::ENDLESS
            },
            2 => Budget {
                written: 1 + self.dice.below(2_000),
                ..Budget::ENDLESS
            },
            _ => Budget::ENDLESS,
        }
    }

    /// A subscriber that is not one, and has not asked, asks.
    fn subscribe(&mut self, client: usize) {
        let subscriber = &mut self.subscribers[client];
        if subscriber.account.subscribed || subscriber.pending.is_some() {
            return;
        }
        let id = self.links[client].number();
        subscriber.pending = Some(id);
        let request = subscriber.account.request();
        self.crowd
            .say(client, &json!({ "id": id, "subscribe": request }));
    }

    fn publish(&mut self) {
        for publisher in 0..PUBLISHERS {
            let client = self.subscribers.len() + publisher;
            let full = self.publishers[publisher].pending.len() >= WINDOW;
            if self.links[client].step != Step::Ready || full || self.dice.below(4) > 0 {
                continue;
            }
            let channel = CHANNELS[self.dice.below(CHANNELS.len())];
            let most = if channel.starts_with("brief") {
                6_000
            } else {
                100
            };
            let ballast = "x".repeat(self.dice.below(most));
            let (id, value) = (self.links[client].number(), self.value);
            self.value += 1;
            self.ledger.asked(publisher, channel, value);
            self.publishers[publisher].pending.insert(id, value);
            let data = json!({ "n": value, "ballast": ballast });
            let publish = json!({ "channel": channel, "data": data });
            self.crowd
                .say(client, &json!({ "id": id, "publish": publish }));
        }
    }

    /// Somebody is cut, stops to read, or subscribes anew.
    fn mishap(&mut self, now: Instant) {
        let client = self.dice.below(self.links.len());
        match self.dice.below(12) {
            0..=2 => {
                self.tally.cuts += 1;
                self.lost(client, now);
            }
            3..=4 => {
                let pause = Duration::from_millis(self.dice.below(700) as u64);
                self.links[client].stalls = Some(now + pause);
            }
            5 if client < self.subscribers.len() && self.links[client].step == Step::Ready => {
                let id = self.links[client].number();
                let subscriber = &mut self.subscribers[client];
                if subscriber.pending.is_none() {
                    subscriber.account.subscribed = false;
                    let channel = &subscriber.account.channel;
                    let command = json!({ "id": id, "unsubscribe": { "channel": channel } });
                    self.crowd.say(client, &command);
                }
            }
            _ => {}
        }
    }

    /// A client has no connection any more; it comes back soon.
    fn lost(&mut self, client: usize, now: Instant) {
        self.crowd.cut(client);
        let pause = Duration::from_millis(self.dice.below(60) as u64);
        self.links[client] = Link {
            step: Step::Out(now + pause),
            next: 1,
            stalls: None,
            told: false,
        };
        match client.checked_sub(self.subscribers.len()) {
            None => {
                self.subscribers[client].pending = None;
                self.subscribers[client].account.subscribed = false;
            }
            Some(publisher) => self.publishers[publisher] = Publisher::default(),
        }
    }

    fn hear(&mut self, client: usize, heard: Heard) -> Result<(), String> {
        if matches!(self.links[client].step, Step::Out(_)) {
            return Ok(());
        }
        match heard {
            Heard::Upgraded => {
                self.links[client].step = Step::Connecting;
                let id = self.links[client].number();
                self.crowd.say(client, &json!({ "id": id, "connect": {} }));
                Ok(())
            }
            Heard::Ping => Ok(()),
            Heard::Value(value) if self.links[client].step == Step::Connecting => {
                self.links[client].step = Step::Ready;
                match value["connect"].is_object() {
                    true => Ok(()),
                    false => Err(format!("connect was answered {value}")),
                }
            }
            Heard::Value(value) => match client.checked_sub(self.subscribers.len()) {
                None => self.subscriber(client, &value),
                Some(publisher) => self.publisher(publisher, &value),
            },
            Heard::Closed(code) => {
                self.links[client].told = true;
                match code {
                    3001 if !self.is_up() => self.tally.sent_away += 1,
                    3008 => self.tally.slow += 1,
                    _ => return Err(format!("closed with {code}")),
                }
                Ok(())
            }
            Heard::Over => self.over(client),
        }
    }

    /// A connection ended: because it was cut here, or its server is no more, or after a Close.
    fn over(&mut self, client: usize) -> Result<(), String> {
        let cut = self.crowd.was_cut(client);
        self.tally.cuts += usize::from(cut);
        if !cut && !self.links[client].told && self.is_up() {
            let step = self.links[client].step;
            return Err(format!("ended for no reason while it was {step:?}"));
        }
        self.lost(client, Instant::now());
        Ok(())
    }

    fn subscriber(&mut self, client: usize, value: &Value) -> Result<(), String> {
        let (life, subscriber) = (self.life, &mut self.subscribers[client]);
        let account = &mut subscriber.account;
        let id = value["id"].as_u64();
        if id.is_some() && id == subscriber.pending {
            subscriber.pending = None;
            if value["error"].is_object() {
                let busy = value["error"]["code"] == 111;
                return busy
                    .then_some(())
                    .ok_or_else(|| format!("refused: {value}"));
            }
            let (before, gaps) = (account.position.clone(), account.gaps);
            account.answer(&value["subscribe"])?;
            let (_, epoch) = account.position.clone().unwrap_or_default();
            self.ledger.epoch(&account.channel, &epoch, life)?;
            let same = before.is_some_and(|(_, before)| before == epoch);
            if same && account.gaps > gaps && account.channel.starts_with("long") {
                return Err(format!(
                    "not recovered, though all is kept: {}",
                    value["subscribe"]
                ));
            }
        } else if account.subscribed && value["push"]["channel"] == account.channel.as_str() {
            account.push(&value["push"])?;
        }
        let account = &mut self.subscribers[client].account;
        let (_, epoch) = account.position.clone().unwrap_or_default();
        for (offset, n) in account.seen.drain(..) {
            let n = n.as_u64().ok_or("a publication that nobody wrote")?;
            self.ledger.saw(&account.channel, &epoch, offset, n)?;
        }
        Ok(())
    }

    fn publisher(&mut self, publisher: usize, value: &Value) -> Result<(), String> {
        let Some(id) = value["id"].as_u64() else {
            return Ok(());
        };
        let this = &mut self.publishers[publisher];
        if let Some(channel) = this.asks.remove(&id) {
            let offset = value["history"]["offset"].as_u64();
            self.tops.insert(
                channel,
                offset.ok_or_else(|| format!("no position: {value}"))?,
            );
        } else if let Some(n) = this.pending.remove(&id) {
            match (
                value["publish"].is_object(),
                value["error"]["code"].as_u64(),
            ) {
                (true, _) => self.ledger.acknowledged(n, self.life)?,
                (false, Some(111)) => {}
                _ => return Err(format!("not published: {value}")),
            }
        }
        Ok(())
    }

    /// Everyone comes back, all is answered, and everyone is where the channels are.
    fn settle(&mut self) -> Result<(), String> {
        let now = Instant::now();
        for client in 0..self.links.len() {
            if client < self.subscribers.len() {
                self.lost(client, now);
            }
        }
        self.until("everybody to be back", |world| {
            let ready = world.links.iter().all(|link| link.step == Step::Ready);
            let subscribed = world.subscribers.iter().all(|s| s.account.subscribed);
            let answered = world.publishers.iter().all(|p| p.pending.is_empty());
            world.is_up() && ready && subscribed && answered
        })?;
        let client = self.subscribers.len();
        for channel in CHANNELS {
            let id = self.links[client].number();
            self.publishers[0].asks.insert(id, channel.to_owned());
            let history = json!({ "channel": channel, "limit": 0 });
            self.crowd
                .say(client, &json!({ "id": id, "history": history }));
        }
        self.until("everybody to have everything", |world| {
            let at = |s: &Subscriber| s.account.position.as_ref().map(|(offset, _)| *offset);
            let tops = &world.tops;
            let top = |s: &Subscriber| tops.get(&s.account.channel).copied();
            world
                .subscribers
                .iter()
                .all(|s| at(s).is_some() && at(s) == top(s))
        })
    }

    fn until(&mut self, what: &str, so: impl Fn(&World<'_>) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !so(self) {
            if begun.elapsed() > PATIENCE {
                let out = self
                    .links
                    .iter()
                    .filter(|link| link.step != Step::Ready)
                    .count();
                return Err(format!(
                    "waited {PATIENCE:?} for {what}; {out} are not ready"
                ));
            }
            self.turn()?;
        }
        Ok(())
    }
}

impl Link {
    /// A number for the next command.
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// How long a server lives.
fn life(dice: &mut Dice) -> Duration {
    Duration::from_millis(600 + dice.below(2_500) as u64)
}
