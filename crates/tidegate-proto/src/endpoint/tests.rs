//! A worker driven by hand on passed-in time: handshakes, messages, mail, timers, slow peers, shutdown.

use super::*;
use crate::config::{Config, Limits};
use crate::connection::Incoming;
use crate::connection::tests::{at, client_frame};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

const REQUEST: &[u8] = b"GET /echo HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

struct Zeros;

impl Random for Zeros {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// Echoes; writes down what it is told.
struct Recorder {
    config: Arc<Config>,
    observe: bool,
    log: Vec<String>,
    wire: Vec<(Direction, Vec<u8>)>,
}

impl Handler for Recorder {
    type Mail = String;

    fn open(&mut self, _: PeerId, request: &Request, _: &mut Outboxes<'_, String>) -> Opening {
        self.log.push(format!("open {}", request.path()));
        if let Some(shown) = request.certificate() {
            self.log.push(format!("shown {shown:?}"));
        }
        if request.path() == "/nowhere" {
            return Opening::Reject(Rejection::new(404, "nothing here"));
        }
        Opening::Accept(Accept {
            observe: self.observe,
            ..Accept::new(self.config.clone())
        })
    }

    fn opened(&mut self, _: PeerId, _: &mut Outboxes<'_, String>) {
        self.log.push("opened".into());
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, String>) {
        match message.as_bytes() {
            b"close me" => out.close(peer, CloseCode::NORMAL, "as you wish"),
            b"wake me" => out.timer(TimerId(7), out.now() + Duration::from_millis(100)),
            b"flood me" => while out.send_binary(peer, &[0; 10_000]) != Level::Full {},
            b"mail me" => out.post(out.worker(), "self".into()).unwrap(),
            _ => {
                out.send_incoming(peer, message);
            }
        }
    }

    fn mail(&mut self, mail: String, _: &mut Outboxes<'_, String>) {
        self.log.push(format!("mail {mail}"));
    }

    fn timeout(&mut self, timer: TimerId, _: &mut Outboxes<'_, String>) {
        self.log.push(format!("timer {}", timer.0));
    }

    fn drained(&mut self, _: PeerId, _: &mut Outboxes<'_, String>) {
        self.log.push("drained".into());
    }

    fn observed(&mut self, _: PeerId, wire: Wire<'_>, _: &mut Outboxes<'_, String>) {
        self.wire.push((wire.direction, wire.bytes.to_vec()));
    }

    fn closed(&mut self, _: PeerId, why: &Closed, _: &mut Outboxes<'_, String>) {
        let code = why.code.map_or(0, CloseCode::get);
        self.log.push(format!("closed {code} {:?}", why.by));
    }
}

#[derive(Default)]
struct Letters(Vec<(WorkerId, String)>);

impl Post<String> for Letters {
    fn post(&mut self, worker: WorkerId, mail: String) -> Result<(), MailboxFull> {
        self.0.push((worker, mail));
        Ok(())
    }
}

struct World {
    endpoint: Endpoint<Recorder>,
    letters: Letters,
}

impl World {
    fn new() -> World {
        World::with(Limits::default(), false)
    }

    fn with(limits: Limits, observe: bool) -> World {
        let config = Config {
            limits,
            ..Config::default()
        };
        let recorder = Recorder {
            config: Arc::new(config),
            observe,
            log: Vec::new(),
            wire: Vec::new(),
        };
        let config = EndpointConfig::default();
        World {
            endpoint: Endpoint::new(WorkerId(0), 1, config, Box::new(Zeros), at(0), recorder),
            letters: Letters::default(),
        }
    }

    fn connect(&mut self) -> PeerId {
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let secure = false;
        self.endpoint
            .handle_open(at(0), PeerInfo { remote, secure })
    }

    fn open(&mut self) -> PeerId {
        let peer = self.connect();
        self.feed(0, peer, REQUEST);
        let response = self.written(0, peer);
        assert!(response.starts_with(b"HTTP/1.1 101 "));
        peer
    }

    fn feed(&mut self, millis: u64, peer: PeerId, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.endpoint
            .handle_bytes(at(millis), peer, &mut bytes, &mut self.letters);
    }

    /// Writes all that is owed to a peer.
    fn written(&mut self, millis: u64, peer: PeerId) -> Vec<u8> {
        let mut written = Vec::new();
        loop {
            let mut slices = [IoSlice::new(&[]); 2];
            let n = self.endpoint.poll_transmit(peer, &mut slices);
            let octets: Vec<u8> = slices[..n].iter().flat_map(|s| s.to_vec()).collect();
            if octets.is_empty() {
                return written;
            }
            self.endpoint
                .handle_sent(at(millis), peer, octets.len(), &mut self.letters);
            written.extend(octets);
        }
    }

    fn pass(&mut self, millis: u64) {
        self.endpoint.handle_timeout(at(millis), &mut self.letters);
    }

    fn log(&self) -> Vec<&str> {
        self.endpoint
            .handler()
            .log
            .iter()
            .map(String::as_str)
            .collect()
    }
}

#[test]
fn a_handshake_and_an_echo_in_one_read_or_octet_by_octet() {
    let sent = [REQUEST, &client_frame(0x81, b"Hello")].concat();
    for step in [sent.len(), 1, 10, 150] {
        let mut world = World::new();
        let peer = world.connect();
        for piece in sent.chunks(step) {
            world.feed(0, peer, piece);
        }
        let written = world.written(0, peer);
        assert!(written.starts_with(b"HTTP/1.1 101 "));
        assert!(written.ends_with(b"\r\n\r\n\x81\x05Hello"));
        assert_eq!(world.log(), ["open /echo", "opened"]);
    }
}

#[test]
fn refusals_are_written_and_then_the_transport_is_closed() {
    let rows: [(&str, &[u8], &[u8]); 4] = [
        ("GET /nowhere HTTP/1.1", b"", b"HTTP/1.1 404 "),
        (
            "GET / HTTP/1.1",
            b"Origin: https://evil.example\r\n",
            b"HTTP/1.1 403 ",
        ),
        ("POST / HTTP/1.1", b"", b"HTTP/1.1 405 "),
        (
            "GET / HTTP/1.1",
            b"Sec-WebSocket-Key: again\r\n",
            b"HTTP/1.1 400 ",
        ),
    ];
    for (line, extra, expected) in rows {
        let mut world = World::new();
        let peer = world.connect();
        let rest = &REQUEST[b"GET /echo HTTP/1.1\r\n".len()..];
        let request = [line.as_bytes(), b"\r\n", extra, rest].concat();
        world.feed(0, peer, &request);
        let written = world.written(10, peer);
        assert!(
            written.starts_with(expected),
            "{}",
            String::from_utf8_lossy(&written)
        );
        assert_eq!(world.endpoint.transport(peer), Transport::ShutdownWrite);
        world.pass(1_030);
        assert_eq!(world.endpoint.transport(peer), Transport::Close);
        world.endpoint.release(peer);
        assert_eq!(world.endpoint.peers(), 0);
        assert!(!world.log().contains(&"opened"));
    }
}

#[test]
fn what_asks_for_no_websocket_is_handed_over_with_its_octets() {
    let mut world = World::new();
    let peer = world.connect();
    let request = b"GET /page HTTP/1.1\r\nHost: example.com\r\n\r\nbody";
    world.feed(0, peer, &request[..9]);
    world.feed(0, peer, &request[9..]);
    assert_eq!(world.endpoint.poll_dirty(), Some(peer));
    assert_eq!(world.endpoint.transport(peer), Transport::PlainHttp);
    assert_eq!(world.endpoint.take_plain_http(peer), request);
    assert_eq!(world.endpoint.peers(), 0);
}

#[test]
fn a_slow_head_is_answered_408_and_a_silent_one_is_closed() {
    let mut world = World::new();
    let (slow, silent) = (world.connect(), world.connect());
    world.feed(9_000, slow, b"GET / HT");
    world.pass(9_990);
    assert_eq!(world.endpoint.transport(silent), Transport::Open);
    world.pass(10_020);
    assert!(world.written(10_020, slow).starts_with(b"HTTP/1.1 408 "));
    assert_eq!(world.endpoint.transport(silent), Transport::Close);
}

#[test]
fn a_peer_is_closed_once_however_it_ends() {
    let mut world = World::new();
    let polite = world.open();
    world.feed(0, polite, &client_frame(0x88, b"\x03\xE8"));
    world.endpoint.handle_eof(at(0), polite, &mut world.letters);
    assert_eq!(world.written(0, polite), b"\x88\x02\x03\xE8");
    assert_eq!(world.endpoint.transport(polite), Transport::Close);

    let asked = world.open();
    world.feed(0, asked, &client_frame(0x81, b"close me"));
    world.feed(0, asked, &client_frame(0x81, b"ignored"));
    world.feed(0, asked, &client_frame(0x88, b"\x03\xE8"));
    world
        .endpoint
        .handle_error(at(0), asked, &mut world.letters);

    let reset = world.open();
    world
        .endpoint
        .handle_error(at(0), reset, &mut world.letters);
    world
        .endpoint
        .handle_error(at(0), reset, &mut world.letters);

    let closed: Vec<&str> = world
        .log()
        .into_iter()
        .filter(|line| line.starts_with("closed"))
        .collect();
    assert_eq!(
        closed,
        ["closed 1000 Peer", "closed 1000 Us", "closed 0 Transport"]
    );
    for peer in [polite, asked, reset] {
        assert_eq!(world.endpoint.transport(peer), Transport::Close);
        world.endpoint.release(peer);
    }
    assert_eq!(world.endpoint.peers(), 0);
}

#[test]
fn an_id_never_names_a_later_peer_in_the_same_slot() {
    let mut world = World::new();
    let first = world.open();
    world
        .endpoint
        .handle_error(at(0), first, &mut world.letters);
    world.endpoint.release(first);
    let second = world.open();
    assert_eq!(first.slot(), second.slot());
    assert_ne!(first, second);
    world.feed(0, first, &client_frame(0x81, b"from the grave"));
    assert_eq!(world.written(0, second), b"");
    assert_eq!(world.endpoint.transport(first), Transport::Close);
}

#[test]
fn timers_and_mail_reach_the_handler() {
    let mut world = World::new();
    let peer = world.open();
    world.feed(0, peer, &client_frame(0x81, b"wake me"));
    world.feed(0, peer, &client_frame(0x81, b"mail me"));
    let (worker, letter) = world.letters.0.pop().unwrap();
    assert_eq!(worker, WorkerId(0));
    world
        .endpoint
        .handle_mail(at(1), letter, &mut world.letters);
    world.pass(99);
    assert_eq!(world.log().last(), Some(&"mail self"));
    world.pass(110);
    assert_eq!(world.log().last(), Some(&"timer 7"));
}

#[test]
fn a_peer_whose_outbox_is_full_is_closed_with_1013_and_others_are_not() {
    let mut world = World::new();
    let (slow, other) = (world.open(), world.open());
    world.feed(0, slow, &client_frame(0x81, b"flood me"));
    assert_eq!(world.log().last(), Some(&"closed 1013 Peer"));
    let written = world.written(0, slow);
    assert!(written.len() < 1_100_000);
    let close = b"\x03\xF5too slow to take its messages";
    assert!(written.ends_with(close));
    world.feed(0, other, &client_frame(0x81, b"fine"));
    assert_eq!(world.written(0, other), b"\x81\x04fine");
}

#[test]
fn a_high_outbox_stops_the_reading_until_it_has_drained() {
    let limits = Limits {
        outbox_high: 1_000,
        outbox_low: 100,
        ..Limits::default()
    };
    let mut world = World::with(limits, false);
    let peer = world.open();
    assert!(world.endpoint.wants_read(peer));
    world.feed(0, peer, &client_frame(0x82, &[0; 1_200]));
    assert!(!world.endpoint.wants_read(peer));
    world.written(0, peer);
    assert!(world.endpoint.wants_read(peer));
    assert_eq!(world.log().last(), Some(&"drained"));
}

#[test]
fn the_observer_sees_exactly_the_octets_of_both_ways() {
    let mut world = World::with(Limits::default(), true);
    let peer = world.connect();
    let frame = client_frame(0x81, b"Hello");
    let sent = [REQUEST, &frame, &frame].concat();
    world.feed(0, peer, &sent[..sent.len() - 4]);
    world.feed(0, peer, &sent[sent.len() - 4..]);
    let written = world.written(0, peer);
    let of = |direction| -> Vec<u8> {
        let wire = &world.endpoint.handler().wire;
        wire.iter()
            .filter(|(d, _)| *d == direction)
            .flat_map(|(_, b)| b.clone())
            .collect()
    };
    assert_eq!(of(Direction::Received), sent);
    assert_eq!(of(Direction::Sent), written);
}

#[test]
fn a_draining_worker_closes_its_peers_and_refuses_new_ones() {
    let mut world = World::new();
    let (open, silent) = (world.open(), world.connect());
    world.endpoint.handle_drain(at(0), &mut world.letters);
    assert!(
        world
            .written(0, open)
            .starts_with(b"\x88\x19\x03\xE9server is")
    );
    assert_eq!(world.endpoint.transport(silent), Transport::Close);
    let late = world.connect();
    world.feed(0, late, REQUEST);
    assert!(world.written(0, late).starts_with(b"HTTP/1.1 503 "));
    for peer in [open, silent, late] {
        world.endpoint.handle_error(at(0), peer, &mut world.letters);
        world.endpoint.release(peer);
    }
    assert!(world.endpoint.is_drained());
}

#[test]
fn an_idle_peer_is_pinged_and_then_dropped() {
    let mut world = World::new();
    let peer = world.open();
    world.pass(24_000);
    assert_eq!(world.written(24_000, peer), b"");
    world.pass(25_010);
    assert_eq!(world.endpoint.poll_dirty(), Some(peer));
    assert_eq!(world.written(25_010, peer), b"\x89\x00");
    world.feed(26_000, peer, &client_frame(0x8A, b""));
    world.pass(50_900);
    assert_eq!(world.written(50_900, peer), b"");
    world.pass(51_010);
    assert_eq!(world.written(51_010, peer), b"\x89\x00");
    world.pass(61_030);
    assert_eq!(world.endpoint.transport(peer), Transport::Close);
    assert_eq!(world.log().last(), Some(&"closed 0 Transport"));
}

#[test]
fn a_certificate_of_the_transport_is_the_requests_and_only_before_it_is_answered() {
    let mut world = World::new();
    let peer = world.connect();
    world.endpoint.handle_certificate(peer, [1, 2].into());
    let (first, rest) = REQUEST.split_at(30);
    world.feed(0, peer, first);
    world.feed(1, peer, rest);
    assert_eq!(world.log(), ["open /echo", "shown [1, 2]", "opened"]);
    world.endpoint.handle_certificate(peer, [3].into());
    world.open();
    assert_eq!(world.log()[3..], ["open /echo", "opened"], "another's");
}
