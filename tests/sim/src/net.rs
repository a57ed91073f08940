//! A whole hub without a thread, a socket or a clock: several endpoints on virtual time, mail in queues,
//! clients that write masked frames and read plain ones. Mail keeps its order from one worker to another;
//! across workers a seed decides what arrives first.

use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate_hub::{Hub, HubConfig, RawJson, Shard, ShardMail, ShardSize};
use tidegate_proto::frame::{FrameHeader, MAX_HEADER, OpCode};
use tidegate_proto::mask::{MaskKey, apply_mask};
use tidegate_proto::{
    Endpoint, EndpointConfig, MailboxFull, PeerId, PeerInfo, Post, Random, Time, Transport,
    WorkerId,
};

/// A small generator (SplitMix64); a test's whole randomness comes from its seed.
#[derive(Clone)]
pub struct Dice(
    /// Where it stands.
    pub u64,
);

impl Dice {
    /// 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }
}

impl Random for Dice {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.roll() as u8;
        }
    }
}

/// Mail under way: by sender (the control plane is the last) and receiver.
#[derive(Default)]
struct Queues {
    waiting: Vec<Vec<VecDeque<ShardMail>>>,
    /// How much mail a worker's mailbox holds.
    room: usize,
}

impl Queues {
    fn post(&mut self, from: usize, to: WorkerId, mail: ShardMail) -> Result<(), MailboxFull> {
        let to = usize::from(to.0);
        let held: usize = self.waiting.iter().map(|queues| queues[to].len()).sum();
        if held >= self.room {
            return Err(MailboxFull);
        }
        self.waiting[from][to].push_back(mail);
        Ok(())
    }
}

struct Mailer<'a> {
    from: usize,
    queues: &'a Mutex<Queues>,
}

impl Post<ShardMail> for Mailer<'_> {
    fn post(&mut self, worker: WorkerId, mail: ShardMail) -> Result<(), MailboxFull> {
        self.queues.lock().unwrap().post(self.from, worker, mail)
    }
}

/// One end user.
pub struct Client {
    /// Where its session lives.
    pub worker: usize,
    peer: PeerId,
    input: Vec<u8>,
    upgraded: bool,
    next_id: u32,
    /// Answers `{}` to `{}`.
    pub pongs: bool,
    /// Takes what is sent to it.
    pub reads: bool,
    /// Text frames as they came.
    pub frames: Vec<String>,
    /// Binary frames as they came, unless they were pings.
    pub binary: Vec<Vec<u8>>,
    /// Replies and pushes that nobody has asked for yet.
    pub inbox: VecDeque<Value>,
    /// Pings that came.
    pub pings: usize,
    /// The Close that came.
    pub close: Option<(u16, String)>,
    /// The head of the answer to its upgrade.
    pub status: Option<String>,
    /// The connection is gone.
    pub over: bool,
}

/// The hub with everything around it.
pub struct Net {
    /// The time of all.
    pub now: Time,
    /// All that ever were.
    pub clients: Vec<Client>,
    /// The control plane's handle.
    pub hub: Hub,
    endpoints: Vec<Endpoint<Shard>>,
    queues: Arc<Mutex<Queues>>,
    by_peer: BTreeMap<(usize, u32, u32), usize>,
    dice: Dice,
    /// Mail is delivered at once; otherwise only by [`Net::step`].
    pub eager: bool,
}

/// A client by its number.
pub type ClientId = usize;

impl Net {
    /// A hub in development mode.
    pub fn new(workers: usize) -> Net {
        Net::with(workers, 1, HubConfig::dev())
    }

    /// A hub with this configuration; the seed decides all that is left to chance.
    pub fn with(workers: usize, seed: u64, config: HubConfig) -> Net {
        let mut dice = Dice(seed);
        let now = Time::from_micros(1_800_000_000_000_000);
        let config = Arc::new(config);
        let endpoints = (0..workers)
            .map(|n| {
                let id = WorkerId(n as u16);
                Endpoint::new(
                    id,
                    workers,
                    EndpointConfig::default(),
                    Box::new(Dice(dice.roll())),
                    now,
                    Shard::new(Arc::clone(&config), id, workers),
                )
            })
            .collect();
        let row = || (0..workers).map(|_| VecDeque::new()).collect();
        let queues = Arc::new(Mutex::new(Queues {
            waiting: (0..=workers).map(|_| row()).collect(),
            room: usize::MAX,
        }));
        let outside = Arc::clone(&queues);
        let hub = Hub::new(Arc::clone(&config), workers, move |to, mail| {
            outside.lock().unwrap().post(workers, to, mail)
        });
        Net {
            now,
            clients: Vec::new(),
            hub,
            endpoints,
            queues,
            by_peer: BTreeMap::new(),
            dice,
            eager: true,
        }
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.endpoints.len()
    }

    /// A channel of this kind whose home is that worker (modulo their number).
    pub fn channel(&self, kind: &str, home: usize) -> String {
        (0..)
            .map(|n| format!("{kind}{n}"))
            .find(|name| {
                let topic = tidegate_hub::TopicName::parse(name).unwrap();
                usize::from(topic.home(self.workers()).0) == home % self.workers()
            })
            .unwrap()
    }

    /// Room in each worker's mailbox.
    pub fn room(&mut self, room: usize) {
        self.queues.lock().unwrap().room = room;
    }

    /// Loses the next publication under way between these workers, and tells nobody; false if there is none.
    pub fn lose(&mut self, from: usize, to: usize) -> bool {
        let mut queues = self.queues.lock().unwrap();
        let waiting = &mut queues.waiting[from][to];
        let at = waiting.iter().position(ShardMail::brings_publication);
        at.and_then(|at| waiting.remove(at)).is_some()
    }

    /// Sends a request for a WebSocket, with these header lines.
    pub fn open(&mut self, worker: usize, target: &str, headers: &str) -> ClientId {
        let worker = worker % self.workers();
        let info = PeerInfo {
            remote: "127.0.0.1:9".parse().unwrap(),
            secure: false,
        };
        let peer = self.endpoints[worker].handle_open(self.now, info);
        let id = self.clients.len();
        self.clients.push(Client {
            worker,
            peer,
            input: Vec::new(),
            upgraded: false,
            next_id: 0,
            pongs: true,
            reads: true,
            frames: Vec::new(),
            binary: Vec::new(),
            inbox: VecDeque::new(),
            pings: 0,
            close: None,
            status: None,
            over: false,
        });
        self.by_peer
            .insert((worker, peer.slot(), peer.generation()), id);
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        self.octets(id, head.into_bytes());
        id
    }

    /// A client that has shaken hands.
    pub fn socket(&mut self, worker: usize) -> ClientId {
        let id = self.open(worker, "/connection/websocket", "");
        assert!(self.clients[id].upgraded);
        id
    }

    /// A client that has connected.
    pub fn client(&mut self, worker: usize) -> ClientId {
        self.client_with(worker, json!({}))
    }

    /// A client that has connected with these fields.
    pub fn client_with(&mut self, worker: usize, connect: Value) -> ClientId {
        let id = self.socket(worker);
        let reply = self.ask(id, json!({ "connect": connect }));
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        id
    }

    /// Sends text as one masked frame.
    pub fn say(&mut self, id: ClientId, text: &str) {
        self.frame(id, 0x81, text.as_bytes());
    }

    /// Sends one masked frame, whose first octet is given.
    pub fn frame(&mut self, id: ClientId, first: u8, payload: &[u8]) {
        let mask = MaskKey::new([1, 2, 3, 4]);
        let header = FrameHeader {
            mask: Some(mask),
            ..FrameHeader::new(OpCode::Binary, payload.len() as u64)
        };
        let mut head = [0; MAX_HEADER];
        let len = header.encode(&mut head);
        head[0] = first;
        let mut octets = [&head[..len], payload].concat();
        apply_mask(mask, &mut octets[len..]);
        self.octets(id, octets);
    }

    fn octets(&mut self, id: ClientId, mut octets: Vec<u8>) {
        let (worker, peer) = (self.clients[id].worker, self.clients[id].peer);
        if self.clients[id].over {
            return;
        }
        let queues = Arc::clone(&self.queues);
        let mut mailer = Mailer {
            from: worker,
            queues: &queues,
        };
        self.endpoints[worker].handle_bytes(self.now, peer, &mut octets, &mut mailer);
        self.pump();
    }

    /// Sends a command without waiting; its number is returned.
    pub fn tell(&mut self, id: ClientId, mut command: Value) -> u32 {
        self.clients[id].next_id += 1;
        let number = self.clients[id].next_id;
        command["id"] = json!(number);
        self.say(id, &command.to_string());
        number
    }

    /// Sends a command and takes its reply.
    pub fn ask(&mut self, id: ClientId, command: Value) -> Value {
        let number = self.tell(id, command);
        self.reply(id, number)
            .unwrap_or_else(|| panic!("no reply; closed: {:?}", self.clients[id].close))
    }

    /// The reply to a command, if it has come.
    pub fn reply(&mut self, id: ClientId, number: u32) -> Option<Value> {
        let inbox = &mut self.clients[id].inbox;
        let at = inbox.iter().position(|value| value["id"] == number)?;
        inbox.remove(at)
    }

    /// The error number of a command's reply.
    pub fn refused(&mut self, id: ClientId, command: Value) -> u64 {
        let reply = self.ask(id, command);
        reply["error"]["code"]
            .as_u64()
            .unwrap_or_else(|| panic!("{reply}"))
    }

    /// Subscribes; the result.
    pub fn subscribe(&mut self, id: ClientId, channel: &str) -> Value {
        let reply = self.ask(id, json!({ "subscribe": { "channel": channel } }));
        assert!(reply["subscribe"].is_object(), "{reply}");
        reply["subscribe"].clone()
    }

    /// Publishes, and is told that it was.
    pub fn publish(&mut self, id: ClientId, channel: &str, data: Value) {
        let reply = self.ask(
            id,
            json!({ "publish": { "channel": channel, "data": data } }),
        );
        assert!(reply["publish"].is_object(), "{reply}");
    }

    /// All pushes so far, taken.
    pub fn pushes(&mut self, id: ClientId) -> Vec<Value> {
        let (pushes, rest): (Vec<Value>, Vec<Value>) = std::mem::take(&mut self.clients[id].inbox)
            .into_iter()
            .partition(|value| value["push"].is_object());
        self.clients[id].inbox = rest.into();
        pushes.into_iter().map(|mut v| v["push"].take()).collect()
    }

    /// The data of all publications so far in the channel, taken.
    pub fn data(&mut self, id: ClientId, channel: &str) -> Vec<Value> {
        let pushes = self.pushes(id);
        pushes
            .into_iter()
            .filter(|push| push["channel"] == channel && push["pub"].is_object())
            .map(|mut push| push["pub"]["data"].take())
            .collect()
    }

    /// Publishes from the control plane.
    pub fn hub_publish(&mut self, channel: &str, data: Value) {
        let data = RawJson::parse(&data.to_string()).unwrap();
        self.hub
            .publish(channel, data, |result| assert!(result.is_ok()));
        self.pump();
    }

    /// What the control plane is answered, when `ask` hands it the way to answer.
    pub fn hub_ask<T: Send + 'static>(
        &mut self,
        ask: impl FnOnce(&Hub, Box<dyn FnOnce(T) + Send>),
    ) -> T {
        let (send, answers) = std::sync::mpsc::channel();
        let hub = self.hub.clone();
        ask(&hub, Box::new(move |answer| send.send(answer).unwrap()));
        self.pump();
        answers.try_recv().expect("an answer")
    }

    /// The connection breaks, without a Close.
    pub fn cut(&mut self, id: ClientId) {
        let (worker, peer) = (self.clients[id].worker, self.clients[id].peer);
        if self.clients[id].over {
            return;
        }
        self.clients[id].over = true;
        let queues = Arc::clone(&self.queues);
        let mut mailer = Mailer {
            from: worker,
            queues: &queues,
        };
        self.endpoints[worker].handle_error(self.now, peer, &mut mailer);
        self.endpoints[worker].release(peer);
        self.pump();
    }

    /// Lets time pass; everything due happens in order.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let due = self
                .endpoints
                .iter()
                .filter_map(Endpoint::poll_timeout)
                .min();
            match due {
                Some(due) if due <= end => self.timeouts(due.max(self.now)),
                _ => break,
            }
        }
        self.now = end;
    }

    fn timeouts(&mut self, now: Time) {
        self.now = now;
        for worker in 0..self.workers() {
            let queues = Arc::clone(&self.queues);
            let mut mailer = Mailer {
                from: worker,
                queues: &queues,
            };
            if self.endpoints[worker]
                .poll_timeout()
                .is_some_and(|at| at <= now)
            {
                self.endpoints[worker].handle_timeout(now, &mut mailer);
            }
        }
        self.pump();
    }

    /// The server goes down.
    pub fn drain(&mut self) {
        for worker in 0..self.workers() {
            let queues = Arc::clone(&self.queues);
            let mut mailer = Mailer {
                from: worker,
                queues: &queues,
            };
            self.endpoints[worker].handle_drain(self.now, &mut mailer);
        }
        self.pump();
    }

    /// Moves octets, and mail too if the net is eager, until nothing moves.
    pub fn pump(&mut self) {
        loop {
            self.transmit();
            if !(self.eager && self.step()) {
                break;
            }
        }
        self.transmit();
    }

    /// Delivers one piece of mail; false if there is none.
    pub fn step(&mut self) -> bool {
        let workers = self.workers();
        let ready: Vec<(usize, usize)> = {
            let queues = self.queues.lock().unwrap();
            (0..=workers)
                .flat_map(|from| (0..workers).map(move |to| (from, to)))
                .filter(|(from, to)| !queues.waiting[*from][*to].is_empty())
                .collect()
        };
        if ready.is_empty() {
            return false;
        }
        let (from, to) = ready[self.dice.below(ready.len())];
        let mail = self.queues.lock().unwrap().waiting[from][to].pop_front();
        let queues = Arc::clone(&self.queues);
        let mut mailer = Mailer {
            from: to,
            queues: &queues,
        };
        self.endpoints[to].handle_mail(self.now, mail.unwrap(), &mut mailer);
        self.transmit();
        true
    }

    fn transmit(&mut self) {
        for worker in 0..self.workers() {
            while let Some(peer) = self.endpoints[worker].poll_dirty() {
                let key = (worker, peer.slot(), peer.generation());
                if let Some(&id) = self.by_peer.get(&key) {
                    self.write(id);
                }
            }
        }
    }

    /// Writes what is owed to a client, which then reads it.
    pub fn write(&mut self, id: ClientId) {
        let (worker, peer) = (self.clients[id].worker, self.clients[id].peer);
        let queues = Arc::clone(&self.queues);
        let mut mailer = Mailer {
            from: worker,
            queues: &queues,
        };
        loop {
            if !self.clients[id].reads || self.clients[id].over {
                return;
            }
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.endpoints[worker].poll_transmit(peer, &mut slices);
            let octets: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
            if octets.is_empty() {
                break;
            }
            self.endpoints[worker].handle_sent(self.now, peer, octets.len(), &mut mailer);
            self.clients[id].input.extend(octets);
            self.read(id);
        }
        match self.endpoints[worker].transport(peer) {
            Transport::Open | Transport::PlainHttp => {}
            Transport::ShutdownWrite => {
                self.endpoints[worker].handle_eof(self.now, peer, &mut mailer);
                self.write(id);
            }
            Transport::Close => {
                self.clients[id].over = true;
                self.endpoints[worker].release(peer);
            }
        }
    }

    /// A client that does not read takes so many octets nevertheless, and leaves the rest.
    pub fn take_some(&mut self, id: ClientId, most: usize) {
        let (worker, peer) = (self.clients[id].worker, self.clients[id].peer);
        let queues = Arc::clone(&self.queues);
        let mut mailer = Mailer {
            from: worker,
            queues: &queues,
        };
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = self.endpoints[worker].poll_transmit(peer, &mut slices);
        let mut octets: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
        octets.truncate(most);
        self.endpoints[worker].handle_sent(self.now, peer, octets.len(), &mut mailer);
        self.clients[id].input.extend(octets);
        self.read(id);
    }

    fn read(&mut self, id: ClientId) {
        if !self.clients[id].upgraded {
            let input = &self.clients[id].input;
            let Some(end) = input.windows(4).position(|w| w == b"\r\n\r\n") else {
                return;
            };
            let head = String::from_utf8(input[..end].to_vec()).unwrap();
            self.clients[id].upgraded = head.starts_with("HTTP/1.1 101 ");
            self.clients[id].status = Some(head);
            if !self.clients[id].upgraded {
                return;
            }
            self.clients[id].input.drain(..end + 4);
        }
        while let Some((opcode, payload)) = self.clients[id].next_frame() {
            match opcode {
                1 => self.text(id, String::from_utf8(payload).unwrap()),
                2 if payload == [0] => {
                    self.clients[id].pings += 1;
                    self.frame(id, 0x82, &[0]);
                }
                2 => self.clients[id].binary.push(payload),
                8 => {
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    let reason = String::from_utf8(payload[2..].to_vec()).unwrap();
                    self.clients[id].close = Some((code, reason));
                    self.frame(id, 0x88, &payload[..2]);
                }
                other => panic!("opcode {other}"),
            }
        }
    }

    fn text(&mut self, id: ClientId, text: String) {
        for line in text.split('\n') {
            let value: Value = serde_json::from_str(line).expect(line);
            if value == json!({}) {
                self.clients[id].pings += 1;
                if self.clients[id].pongs {
                    self.say(id, "{}");
                }
            } else {
                self.clients[id].inbox.push_back(value);
            }
        }
        self.clients[id].frames.push(text);
    }

    /// What a worker holds.
    pub fn size(&self, worker: usize) -> ShardSize {
        self.endpoints[worker].handler().size()
    }

    /// The sum over all workers.
    pub fn total(&self) -> ShardSize {
        let mut sum = ShardSize::default();
        for size in self.endpoints.iter().map(|e| e.handler().size()) {
            sum.sessions += size.sessions;
            sum.local_topics += size.local_topics;
            sum.home_topics += size.home_topics;
            sum.streams += size.streams;
            sum.history += size.history;
            sum.in_flight += size.in_flight;
            sum.spooled += size.spooled;
        }
        sum
    }
}

impl Client {
    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let input = &self.input;
        let (len, start) = match *input.get(1)? {
            126 => (
                u16::from_be_bytes(input.get(2..4)?.try_into().ok()?) as usize,
                4,
            ),
            127 => (
                u64::from_be_bytes(input.get(2..10)?.try_into().ok()?) as usize,
                10,
            ),
            n => (usize::from(n), 2),
        };
        let opcode = input[0] & 15;
        let payload = input.get(start..start + len)?.to_vec();
        self.input.drain(..start + len);
        Some((opcode, payload))
    }
}
