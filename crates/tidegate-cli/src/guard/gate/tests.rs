//! O5: how a worker's clients leave. The gate on an endpoint of its own, its upstream's answers, and a clock that only the
//! test moves.

use super::*;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tidegate_guard::Upstream;
use tidegate_guard::behaviour::Behaviours;
use tidegate_guard::credential::Unsigned;
use tidegate_proto::handshake::key::accept_for;
use tidegate_proto::{
    Endpoint, EndpointConfig, MailboxFull, PeerInfo, Post, Random, Time, Transport, WorkerId,
};

struct Chance(u64);

impl Random for Chance {
    fn fill(&mut self, octets: &mut [u8]) {
        for octet in octets {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *octet = (self.0 >> 56) as u8;
        }
    }
}

struct NoMail;

impl Post<RelayMail> for NoMail {
    fn post(&mut self, _: WorkerId, _: RelayMail) -> Result<(), MailboxFull> {
        Err(MailboxFull)
    }
}

/// One worker and its clients, who answer what they are told at once.
struct World {
    now: Time,
    gate: Endpoint<Gate>,
    clients: Vec<PeerId>,
    /// When each client was sent its Close, with the code.
    closes: Vec<(Time, u16)>,
}

const POLICY: &str = "\
    [connections]\ntotal = 100000\nper_ip = 100000\nhandshakes = { per_second = 100000, burst = 100000 }\n";

impl World {
    fn new(pace: Pace) -> World {
        let upstream = Upstream {
            addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9))],
            server_name: None,
        };
        let policy = Arc::new(Policy::parse(POLICY).expect("a policy"));
        let shared = Shared {
            verifier: Arc::new(|_, _| Err(Unsigned::Wrong)),
            tickets: Arc::default(),
            crowd: Arc::default(),
            unwritten: Arc::default(),
            behaviours: Arc::new(Behaviours::new(0)),
        };
        let gate = Gate::new(
            Arc::new(RelaySettings::new(policy, upstream)),
            Arc::default(),
            Arc::new(Admission::new()),
            Arc::default(),
            pace,
            (shared, Arc::new(|_| {})),
        );
        let now = Time::from_micros(1_800_000_000_000_000);
        let config = EndpointConfig::default();
        World {
            now,
            gate: Endpoint::new(WorkerId(0), 1, config, Box::new(Chance(7)), now, gate),
            clients: Vec::new(),
            closes: Vec::new(),
        }
    }

    /// What a client's request is answered.
    fn ask(&mut self) -> String {
        let info = PeerInfo {
            remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 8)),
            secure: false,
        };
        let client = self.gate.handle_open(self.now, info);
        self.hear(
            client,
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        if let Some(call) = self.gate.poll_dial() {
            let request = String::from_utf8(self.said(call.peer)).expect("ASCII");
            let key = request.split("Sec-WebSocket-Key: ").nth(1);
            let key = key.and_then(|rest| rest.lines().next()).expect("a key");
            let accept = accept_for(key.as_bytes());
            let answer = format!(
                "HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {}\r\n\r\n",
                String::from_utf8_lossy(&accept)
            );
            self.hear(call.peer, answer.as_bytes());
        }
        self.clients.push(client);
        String::from_utf8(self.said(client)).expect("ASCII")
    }

    fn hear(&mut self, peer: PeerId, octets: &[u8]) {
        let mut octets = octets.to_vec();
        self.gate
            .handle_bytes(self.now, peer, &mut octets, &mut NoMail);
    }

    /// What a peer is sent now.
    fn said(&mut self, peer: PeerId) -> Vec<u8> {
        let mut said = Vec::new();
        loop {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.gate.poll_transmit(peer, &mut slices);
            let octets: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
            if octets.is_empty() {
                return said;
            }
            self.gate
                .handle_sent(self.now, peer, octets.len(), &mut NoMail);
            said.extend(octets);
        }
    }

    /// Everybody reads what they are sent; who is told to go says so, too, and goes.
    fn settle(&mut self) {
        while let Some(peer) = self.gate.poll_dirty() {
            let said = self.said(peer);
            if let [0x88, _, high, low, ..] = said[..] {
                if self.clients.contains(&peer) {
                    self.closes
                        .push((self.now, u16::from_be_bytes([high, low])));
                }
                self.hear(peer, &[0x88, 0x82, 0, 0, 0, 0, high, low]);
            }
            if self.gate.transport(peer) == Transport::Close {
                self.gate.release(peer);
            }
        }
    }

    fn drain(&mut self) {
        self.gate.handle_drain(self.now, &mut NoMail);
        self.settle();
    }

    /// Lets time pass for as long as something falls due.
    fn pass(&mut self, most: Duration) {
        let end = self.now + most;
        while let Some(due) = self.gate.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.gate.handle_timeout(self.now, &mut NoMail);
            self.settle();
        }
    }
}

/// Seconds from the drain's beginning to each Close.
fn drained(clients: u32, drain: Duration, workers: u32) -> Vec<f64> {
    let mut world = World::new(Pace::usual(drain).share(workers));
    for _ in 0..clients {
        let answer = world.ask();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    }
    let begun = world.now;
    world.drain();
    let answer = world.ask();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    world.pass(drain);
    assert!(world.closes.iter().all(|(_, code)| *code == 1012));
    assert_eq!(world.closes.len(), clients as usize);
    let since = |at: &Time| at.since(begun).as_secs_f64();
    world.closes.iter().map(|(at, _)| since(at)).collect()
}

#[test]
fn o5_a_drain_is_spread_evenly_over_its_time() {
    let minute = Duration::from_secs(60);
    for (clients, drain, workers, time) in [
        (2_000, minute, 1, 2.0),
        (2_000, minute, 2, 4.0), // half of the pace: the other worker has as many
        (2_000, Duration::from_secs(2), 1, 1.0),
        (500, minute, 8, 4.0),
    ] {
        let at = drained(clients, drain, workers);
        let last = at[at.len() - 1];
        assert!(
            (0.9 * time..=1.1 * time).contains(&last),
            "{last} of {time}"
        );
        let slices = (time * 10.0) as u32;
        for slice in 0..slices {
            let (from, to) = (f64::from(slice) * 0.1, f64::from(slice + 1) * 0.1);
            let here = at.iter().filter(|at| (from..to).contains(*at)).count();
            let share = f64::from(clients) / f64::from(slices);
            assert!(
                (here as f64 - share).abs() <= 1.0 + share / 10.0,
                "{here} from {from} s on, of {share}"
            );
        }
    }
}

#[test]
fn o5_a_few_leave_at_once() {
    let at = drained(40, Duration::from_secs(60), 1);
    assert!(at.iter().all(|at| *at == 0.0), "{at:?}");
}
