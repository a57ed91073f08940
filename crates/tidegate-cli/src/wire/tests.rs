//! Two workers driven by hand: what the observer does when mailboxes are full, watchers many or time is up.

use super::*;
use crate::hosts::Hosts;
use crate::routes::{Routes, RoutesMail, Shared};
use crate::settings::DoorRules;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tidegate_hub::HubConfig;
use tidegate_proto::{Endpoint, EndpointConfig, MailboxFull, PeerInfo, Post, Random};

/// Not random, but never the same twice.
struct Counter(u8);

impl Random for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 = self.0.wrapping_add(1);
        bytes.fill(self.0);
    }
}

/// Mail on its way, and whether there is room for the observer's.
#[derive(Default)]
struct Letters {
    waiting: VecDeque<(WorkerId, RoutesMail)>,
    full: bool,
}

impl Post<RoutesMail> for Letters {
    fn post(&mut self, worker: WorkerId, mail: RoutesMail) -> Result<(), MailboxFull> {
        if self.full && matches!(mail, RoutesMail::Wire(_)) {
            return Err(MailboxFull);
        }
        self.waiting.push_back((worker, mail));
        Ok(())
    }
}

struct World {
    workers: Vec<Endpoint<Routes>>,
    letters: Letters,
    now: Time,
}

impl World {
    fn new() -> World {
        let now = Time::from_micros(1_800_000_000_000_000);
        let rules = Arc::new(DoorRules::of_hosts(Hosts::new(
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            &[],
        )));
        let shared = Shared::new(2);
        let config = Arc::new(HubConfig::dev());
        let worker = |n: u16| {
            let routes = Routes::new(
                Arc::clone(&rules),
                shared.clone(),
                Arc::clone(&config),
                WorkerId(n),
                2,
                true,
                None,
            );
            let random = Box::new(Counter(n as u8));
            Endpoint::new(
                WorkerId(n),
                2,
                EndpointConfig::default(),
                random,
                now,
                routes,
            )
        };
        World {
            workers: vec![worker(0), worker(1)],
            letters: Letters::default(),
            now,
        }
    }

    fn open(&mut self, worker: usize, target: &str) -> (usize, PeerId) {
        let info = PeerInfo {
            remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
            secure: false,
        };
        let peer = self.workers[worker].handle_open(self.now, info);
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        self.feed((worker, peer), head.as_bytes());
        (worker, peer)
    }

    fn hub(&mut self, worker: usize) -> (usize, PeerId) {
        let client = self.open(worker, &format!("/connection/websocket?wire={SECRET}"));
        self.written(client);
        self.deliver();
        client
    }

    fn watcher(&mut self, worker: usize) -> (usize, PeerId) {
        let client = self.open(worker, &format!("/wire?key={SECRET}"));
        assert!(self.written(client).starts_with(b"HTTP/1.1 101 "));
        self.deliver();
        client
    }

    fn feed(&mut self, (worker, peer): (usize, PeerId), octets: &[u8]) {
        let mut octets = octets.to_vec();
        self.workers[worker].handle_bytes(self.now, peer, &mut octets, &mut self.letters);
    }

    /// All mail there is, and the mail that causes.
    fn deliver(&mut self) {
        while let Some((worker, mail)) = self.letters.waiting.pop_front() {
            self.workers[usize::from(worker.0)].handle_mail(self.now, mail, &mut self.letters);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + Duration::from_millis(10);
            for worker in &mut self.workers {
                worker.handle_timeout(self.now, &mut self.letters);
            }
            self.deliver();
        }
    }

    /// Writes what a peer is owed.
    fn written(&mut self, (worker, peer): (usize, PeerId)) -> Vec<u8> {
        let mut written = Vec::new();
        loop {
            let mut slices = [IoSlice::new(&[]); 8];
            let n = self.workers[worker].poll_transmit(peer, &mut slices);
            let octets: Vec<u8> = slices[..n]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            if octets.is_empty() {
                return written;
            }
            self.workers[worker].handle_sent(self.now, peer, octets.len(), &mut self.letters);
            written.extend_from_slice(&octets);
        }
    }
}

/// A masked ping with the mask 0.
const PING: &[u8] = b"\x89\x84\0\0\0\0tide";
const SECRET: &str = "00112233445566778899aabbccddeeff";

fn ends_with_close(octets: &[u8], why: Dismissal) -> bool {
    let close = [&why.code().to_be_bytes()[..], why.reason().as_bytes()].concat();
    octets.ends_with(&close) && octets[octets.len() - close.len() - 2] == 0x88
}

#[test]
fn a_watcher_sees_what_was_and_what_comes_wherever_all_of_it_lives() {
    for (recorder, watcher) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut world = World::new();
        let hub = world.hub(recorder);
        let watcher = world.watcher(watcher);
        let backlog = world.written(watcher);
        assert!(
            backlog.windows(5).any(|w| w == b"GET /"),
            "the head is shown"
        );
        assert!(
            backlog.windows(13).any(|w| w == b"HTTP/1.1 101 "),
            "the answer is shown"
        );
        world.feed(hub, PING);
        world.written(hub);
        world.deliver();
        let live = world.written(watcher);
        assert!(
            live.windows(PING.len()).any(|w| w == PING),
            "what came is shown"
        );
        assert!(live.ends_with(b"\x8a\x04tide"), "what went is shown");
    }
}

#[test]
fn lost_octets_close_the_watcher_instead_of_leaving_a_gap() {
    let mut world = World::new();
    let hub = world.hub(0);
    let watcher = world.watcher(1);
    world.written(watcher);
    world.letters.full = true;
    world.feed(hub, PING);
    world.deliver();
    assert_eq!(world.written(watcher), b"");
    world.letters.full = false;
    world.feed(hub, PING);
    world.deliver();
    assert_eq!(world.written(watcher), b"", "nothing follows the gap");
    world.pass(Duration::from_secs(1));
    assert!(ends_with_close(&world.written(watcher), Dismissal::Lost));
}

#[test]
fn a_connection_without_room_to_be_recorded_is_served_all_the_same() {
    let mut world = World::new();
    world.letters.full = true;
    let hub = world.open(0, &format!("/connection/websocket?wire={SECRET}"));
    assert!(world.written(hub).starts_with(b"HTTP/1.1 101 "));
    world.letters.full = false;
    let watcher = world.watcher(0);
    world.pass(PATIENCE + Duration::from_secs(1));
    assert!(ends_with_close(
        &world.written(watcher),
        Dismissal::NothingRecorded
    ));
}

#[test]
fn a_watcher_of_nothing_waits_a_while_and_then_goes() {
    let mut world = World::new();
    let watcher = world.watcher(1);
    world.pass(PATIENCE - Duration::from_millis(100));
    assert_eq!(world.written(watcher), b"");
    world.pass(Duration::from_secs(1));
    assert!(ends_with_close(
        &world.written(watcher),
        Dismissal::NothingRecorded
    ));
}

#[test]
fn a_fifth_watcher_of_a_secret_is_sent_away() {
    let mut world = World::new();
    world.hub(0);
    for n in 0..4 {
        let watcher = world.watcher(n % 2);
        assert!(!ends_with_close(&world.written(watcher), Dismissal::Full));
    }
    let fifth = world.watcher(0);
    assert!(ends_with_close(&world.written(fifth), Dismissal::Full));
}

#[test]
fn what_is_recorded_and_watched_is_bounded() {
    let mut world = World::new();
    for n in 0..=MAX_RECORDED {
        let client = world.open(0, &format!("/wire?key={n:032x}"));
        let expected: &[u8] = if n < MAX_RECORDED {
            b"HTTP/1.1 101 "
        } else {
            b"HTTP/1.1 503 "
        };
        assert!(world.written(client).starts_with(expected), "{n}");
    }
}

#[test]
fn everything_is_forgotten_when_all_are_gone() {
    let mut world = World::new();
    let (hub, watcher) = (world.hub(0), world.watcher(1));
    for (worker, peer) in [hub, watcher] {
        world.workers[worker].handle_error(world.now, peer, &mut world.letters);
        world.workers[worker].release(peer);
    }
    world.pass(FAREWELL + Duration::from_secs(1));
    for worker in &world.workers {
        assert!(worker.handler().observes_nothing());
    }
}
