//! The relay between clients that are octets and a real server, all in one thread, on a clock that only the test moves.
//! Reading and writing take time on it, as on one worker; whoever floods has its turn like all others.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate_guard::audit::{Event, What};
use tidegate_guard::behaviour::Behaviours;
use tidegate_guard::door::Shared;
use tidegate_guard::{Policy, Relay, RelayCounts, RelayMail, RelaySettings, Upstream};
use tidegate_proto::frame::{FrameHeader, MAX_HEADER, OpCode};
use tidegate_proto::mask::{MaskKey, apply_mask};
use tidegate_proto::{
    Accept, Closed, Config, Endpoint, EndpointConfig, Handler, Incoming, Limits, MailboxFull,
    Opening, Outboxes, PeerId, PeerInfo, Post, Random, Request, Time, Transport, WorkerId,
};

/// A small generator: masks and keys that are the same in every run.
struct Chance(u64);

impl Random for Chance {
    fn fill(&mut self, octets: &mut [u8]) {
        for octet in octets {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            *octet = self.0 as u8;
        }
    }
}

struct NoMail;

impl<M> Post<M> for NoMail {
    fn post(&mut self, _: WorkerId, _: M) -> Result<(), MailboxFull> {
        Err(MailboxFull)
    }
}

/// What the server behind has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) closed: Vec<Option<u16>>,
    /// Keeps what it is told, not only how much.
    pub(crate) keeps: bool,
    pub(crate) octets: usize,
}

/// The server behind: it says everything again, and to `say:TEXT` it answers TEXT.
struct Echo(Arc<Mutex<Seen>>);

impl Handler for Echo {
    type Mail = ();

    fn open(&mut self, _: PeerId, _: &Request, _: &mut Outboxes<'_, ()>) -> Opening {
        Opening::Accept(Accept::new(Arc::new(Config {
            limits: Limits {
                max_message_size: 16 << 20,
                outbox: 64 << 20,
                ..Limits::hub()
            },
            ..Config::default()
        })))
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, ()>) {
        let mut seen = self.0.lock().expect("no panic");
        seen.octets += message.as_bytes().len();
        if seen.keeps {
            seen.messages.push(message.as_bytes().to_vec());
        }
        drop(seen);
        let _ = match message {
            Incoming::Text(text) => {
                let said = text.as_str();
                out.send_text(peer, said.strip_prefix("say:").unwrap_or(said))
            }
            binary @ Incoming::Binary(_) => out.send_incoming(peer, binary),
        };
    }

    fn mail(&mut self, (): (), _: &mut Outboxes<'_, ()>) {}

    fn closed(&mut self, _: PeerId, why: &Closed, _: &mut Outboxes<'_, ()>) {
        let code = why.code.map(tidegate_proto::CloseCode::get);
        self.0.lock().expect("no panic").closed.push(code);
    }
}

/// A client, seen from the wire.
pub(crate) struct Client {
    peer: PeerId,
    /// What it sent and the relay has not read yet.
    sent: VecDeque<u8>,
    /// It sends this again and again.
    pub(crate) flood: Vec<u8>,
    /// Of that, octets that were read so far.
    pub(crate) taken: usize,
    /// Takes what is written to it.
    pub(crate) reads: bool,
    got: Vec<u8>,
    /// The status line and fields of its answer.
    pub(crate) head: Option<String>,
    /// Frames that came: the first octet, and the payload.
    pub(crate) frames: VecDeque<(u8, Vec<u8>)>,
    /// When each of its messages was sent, until its echo came.
    asked: VecDeque<Time>,
    /// How long each echo took, in microseconds.
    pub(crate) delays: Vec<u64>,
    pub(crate) over: bool,
}

/// All of it.
pub(crate) struct World {
    pub(crate) now: Time,
    nanos: u64,
    relay: Endpoint<Relay>,
    behind: Endpoint<Echo>,
    pub(crate) clients: Vec<Client>,
    /// The relay's calls: our end, and the server's. What is on its way between the two.
    calls: BTreeMap<(u32, u32), Call>,
    pub(crate) seen: Arc<Mutex<Seen>>,
    /// Rule and verdict of each event.
    pub(crate) events: Arc<Mutex<Vec<String>>>,
    pub(crate) counts: Arc<RelayCounts>,
    /// Whose turn comes first.
    turn: usize,
}

struct Call {
    ours: PeerId,
    theirs: PeerId,
    to_us: VecDeque<u8>,
    over: bool,
}

/// What one worker takes for it, in nanoseconds: a system call, and an octet that is parsed, judged and copied.
const SYSTEM_CALL: u64 = 5_000;
const OCTET: u64 = 2;
/// As the engine has it: octets of one peer before the next has its turn, and of one read.
pub(crate) const TURN: usize = 256 << 10;
const READ: usize = 64 << 10;

impl World {
    pub(crate) fn new(policy: &str) -> World {
        let policy = Arc::new(Policy::parse(policy).expect("a policy"));
        let upstream = Upstream {
            addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9))],
            server_name: None,
        };
        let shared = Shared {
            // Who has the keys is not here; every signature is right.
            verifier: Arc::new(|_, _| Ok(())),
            tickets: Arc::default(),
            crowd: Arc::default(),
            unwritten: Arc::new(AtomicBool::new(false)),
            behaviours: Arc::new(Behaviours::new(7)),
        };
        let events: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = Arc::clone(&events);
        let witness = Arc::new(move |event: Event| {
            let line = match event.what {
                What::Refused { rule, status, .. } => format!("refused {status} {rule}"),
                What::Verdict { rule, mode, .. } => format!("{} {rule}", mode.name()),
                What::Close {
                    rule: Some(rule), ..
                } => format!("closed {rule}"),
                _ => return,
            };
            told.lock().expect("no panic").push(line);
        });
        let counts = Arc::new(RelayCounts::default());
        let settings = Arc::new(RelaySettings::new(policy, upstream));
        let relay = Relay::new(settings, Arc::clone(&counts), shared, witness);
        let seen: Arc<Mutex<Seen>> = Arc::default();
        seen.lock().expect("no panic").keeps = true;
        let now = Time::from_micros(1_800_000_000_000_000);
        let end = EndpointConfig::default;
        let echo = Echo(Arc::clone(&seen));
        World {
            now,
            nanos: 0,
            relay: Endpoint::new(WorkerId(0), 1, end(), Box::new(Chance(5)), now, relay),
            behind: Endpoint::new(WorkerId(0), 1, end(), Box::new(Chance(6)), now, echo),
            clients: Vec::new(),
            calls: BTreeMap::new(),
            seen,
            events,
            counts,
            turn: 0,
        }
    }

    /// A client that has asked for a WebSocket with these fields, and was answered.
    pub(crate) fn ask(&mut self, fields: &str) -> usize {
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 8));
        let secure = false;
        let peer = self
            .relay
            .handle_open(self.now, PeerInfo { remote, secure });
        let head = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
        );
        self.clients.push(Client {
            peer,
            sent: head.into_bytes().into(),
            flood: Vec::new(),
            taken: 0,
            reads: true,
            got: Vec::new(),
            head: None,
            frames: VecDeque::new(),
            asked: VecDeque::new(),
            delays: Vec::new(),
            over: false,
        });
        self.settle();
        self.clients.len() - 1
    }

    /// A client that was let in.
    pub(crate) fn open(&mut self) -> usize {
        let id = self.ask("");
        assert_eq!(self.status(id), 101, "{:?}", self.clients[id].head);
        id
    }

    pub(crate) fn status(&self, id: usize) -> u16 {
        let head = self.clients[id].head.as_ref().expect("an answer");
        head[9..12].parse().expect("a status")
    }

    /// Sends octets, and lets happen what follows.
    pub(crate) fn send(&mut self, id: usize, octets: &[u8]) {
        self.clients[id].sent.extend(octets);
        self.settle();
    }

    pub(crate) fn say(&mut self, id: usize, text: &str) {
        self.send(id, &frame(0x81, text.as_bytes()));
    }

    /// The next text that came.
    pub(crate) fn heard(&mut self, id: usize) -> Option<String> {
        let (first, payload) = self.clients[id].frames.pop_front()?;
        (first == 0x81).then(|| String::from_utf8(payload).expect("UTF-8"))
    }

    /// Code and reason of the Close that came, which is the last of all.
    pub(crate) fn close(&self, id: usize) -> Option<(u16, String)> {
        let (first, payload) = self.clients[id].frames.back()?;
        (*first == 0x88).then(|| {
            let code = u16::from_be_bytes([payload[0], payload[1]]);
            (code, String::from_utf8_lossy(&payload[2..]).into_owned())
        })
    }

    pub(crate) fn mail(&mut self, mail: RelayMail) {
        self.relay.handle_mail(self.now, mail, &mut NoMail);
        self.settle();
    }

    /// Everything that can happen now happens.
    pub(crate) fn settle(&mut self) {
        while self.round() {}
    }

    /// Lets time pass; what falls due happens in order.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        self.settle();
        while let Some(due) = [self.relay.poll_timeout(), self.behind.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
            .filter(|due| *due <= end)
        {
            self.now = self.now.max(due);
            self.relay.handle_timeout(self.now, &mut NoMail);
            self.behind.handle_timeout(self.now, &mut NoMail);
            self.settle();
        }
        self.now = self.now.max(end);
    }

    /// Clients `talkers` say a message each `every`, one after another, for so long; floods go on meanwhile.
    pub(crate) fn talk(&mut self, talkers: &[usize], every: Duration, span: Duration) {
        let end = self.now + span;
        let step = every / u32::try_from(talkers.len()).expect("few");
        let (mut due, mut next) = (self.now, 0);
        let message = frame(0x81, &[b'x'; 250]);
        while self.now < end {
            while due <= self.now {
                let client = &mut self.clients[talkers[next % talkers.len()]];
                client.sent.extend(&message);
                client.asked.push_back(due);
                (due, next) = (due + step, next + 1);
            }
            if self.relay.poll_timeout().is_some_and(|at| at <= self.now) {
                self.relay.handle_timeout(self.now, &mut NoMail);
            }
            if !self.round() {
                self.now = self.now.max(due);
            }
        }
    }

    fn spend(&mut self, nanos: u64) {
        self.nanos += nanos;
        self.now = self.now + Duration::from_micros(self.nanos / 1_000);
        self.nanos %= 1_000;
    }

    /// One round of the worker: each peer with something to read has its turn, then each with something to be written.
    fn round(&mut self) -> bool {
        let mut moved = false;
        let clients = self.clients.len();
        self.turn += 1;
        for n in 0..clients {
            moved |= self.read_client((n + self.turn) % clients);
        }
        let calls: Vec<_> = self.calls.keys().copied().collect();
        for key in calls {
            moved |= self.read_call(key);
        }
        self.dial();
        while let Some(peer) = self.relay.poll_dirty() {
            moved |= self.write(peer);
        }
        moved | self.server()
    }

    fn read_client(&mut self, id: usize) -> bool {
        let (peer, mut left) = (self.clients[id].peer, TURN);
        let before = left;
        while left > 0 && !self.clients[id].over && self.relay.wants_read(peer) {
            let client = &mut self.clients[id];
            if client.sent.len() < READ && !client.flood.is_empty() {
                // The kernel has more of it, always.
                while client.sent.len() < READ {
                    client.sent.extend(&client.flood);
                }
            }
            let n = client.sent.len().min(READ).min(left);
            if n == 0 {
                break;
            }
            let mut octets: Vec<u8> = client.sent.drain(..n).collect();
            client.taken += n;
            left -= n;
            self.spend(SYSTEM_CALL + n as u64 * OCTET);
            self.relay
                .handle_bytes(self.now, peer, &mut octets, &mut NoMail);
        }
        left < before
    }

    fn read_call(&mut self, key: (u32, u32)) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        if call.over || call.to_us.is_empty() || !self.relay.wants_read(call.ours) {
            return false;
        }
        let ours = call.ours;
        let n = call.to_us.len().min(TURN);
        let mut octets: Vec<u8> = call.to_us.drain(..n).collect();
        self.spend(SYSTEM_CALL + n as u64 * OCTET);
        self.relay
            .handle_bytes(self.now, ours, &mut octets, &mut NoMail);
        true
    }

    fn dial(&mut self) {
        while let Some(call) = self.relay.poll_dial() {
            let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
            let secure = false;
            let theirs = self
                .behind
                .handle_open(self.now, PeerInfo { remote, secure });
            let ours = call.peer;
            let call = Call {
                ours,
                theirs,
                to_us: VecDeque::new(),
                over: false,
            };
            self.calls.insert((ours.slot(), ours.generation()), call);
            // The transport is open: our request goes out.
            self.write(ours);
        }
    }

    /// What the relay owes a peer goes out.
    fn write(&mut self, peer: PeerId) -> bool {
        let client = self.clients.iter().position(|client| client.peer == peer);
        if client.is_some_and(|id| !self.clients[id].reads) {
            return false;
        }
        let mut moved = false;
        loop {
            let octets = owed(&self.relay, peer);
            if octets.is_empty() {
                break;
            }
            moved = true;
            self.spend(SYSTEM_CALL);
            self.relay
                .handle_sent(self.now, peer, octets.len(), &mut NoMail);
            match client {
                Some(id) => self.arrive(id, &octets),
                None => self.pass_on(peer, octets),
            }
        }
        match self.relay.transport(peer) {
            Transport::Open | Transport::PlainHttp => {}
            Transport::ShutdownWrite => self.relay.handle_eof(self.now, peer, &mut NoMail),
            Transport::Close => {
                self.relay.release(peer);
                if let Some(id) = client {
                    self.clients[id].over = true;
                }
                if let Some(call) = self.calls.get_mut(&(peer.slot(), peer.generation())) {
                    call.over = true;
                    let theirs = call.theirs;
                    self.behind.handle_eof(self.now, theirs, &mut NoMail);
                }
            }
        }
        moved
    }

    fn pass_on(&mut self, ours: PeerId, mut octets: Vec<u8>) {
        if let Some(call) = self.calls.get(&(ours.slot(), ours.generation())) {
            let theirs = call.theirs;
            self.behind
                .handle_bytes(self.now, theirs, &mut octets, &mut NoMail);
        }
    }

    /// The server answers at once: it is another machine, and its time is not ours.
    fn server(&mut self) -> bool {
        let mut moved = false;
        while let Some(theirs) = self.behind.poll_dirty() {
            loop {
                let octets = owed(&self.behind, theirs);
                if octets.is_empty() {
                    break;
                }
                moved = true;
                self.behind
                    .handle_sent(self.now, theirs, octets.len(), &mut NoMail);
                let mut calls = self.calls.values_mut();
                if let Some(call) = calls.find(|call| call.theirs == theirs && !call.over) {
                    call.to_us.extend(octets);
                }
            }
            if self.behind.transport(theirs) == Transport::Close {
                self.behind.release(theirs);
            }
        }
        moved
    }

    fn arrive(&mut self, id: usize, octets: &[u8]) {
        let now = self.now;
        let client = &mut self.clients[id];
        client.got.extend(octets);
        if client.head.is_none() {
            let end = client.got.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = end else { return };
            let head = client.got.drain(..end + 4).collect();
            client.head = Some(String::from_utf8(head).expect("ASCII"));
        }
        while let Some((first, payload)) = next_frame(&mut client.got) {
            match (first, client.asked.pop_front()) {
                (0x81, Some(asked)) => {
                    client.delays.push(now.since(asked).as_micros() as u64);
                }
                (_, asked) => {
                    if let Some(asked) = asked {
                        client.asked.push_front(asked);
                    }
                    client.frames.push_back((first, payload));
                }
            }
        }
    }
}

/// What an endpoint would write to a peer now.
fn owed<H: Handler>(endpoint: &Endpoint<H>, peer: PeerId) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 16];
    let filled = endpoint.poll_transmit(peer, &mut slices);
    slices[..filled].iter().flat_map(|s| s.to_vec()).collect()
}

fn next_frame(got: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (len, start) = match *got.get(1)? {
        126 => (
            u16::from_be_bytes(got.get(2..4)?.try_into().ok()?).into(),
            4,
        ),
        127 => (
            u64::from_be_bytes(got.get(2..10)?.try_into().ok()?) as usize,
            10,
        ),
        n => (usize::from(n), 2),
    };
    let payload = got.get(start..start + len)?.to_vec();
    let first = got[0];
    got.drain(..start + len);
    Some((first, payload))
}

/// A frame as a client sends it.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
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
    octets
}
