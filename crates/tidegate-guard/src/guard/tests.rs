//! A guarded echo on a hand-driven endpoint.

use super::*;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::frame::{FrameHeader, MAX_HEADER, OpCode};
use tidegate_proto::mask::MaskKey;
use tidegate_proto::{
    Accept, Config, Endpoint, EndpointConfig, MailboxFull, PeerInfo, Post, Random, Streaming, Time,
    WorkerId,
};

struct Zeros;

impl Random for Zeros {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

struct NoMail;

impl Post<()> for NoMail {
    fn post(&mut self, _: WorkerId, (): ()) -> Result<(), MailboxFull> {
        Err(MailboxFull)
    }
}

/// Counts what reaches it.
#[derive(Default)]
struct Count {
    messages: usize,
    parts: usize,
    closed: Vec<Option<u16>>,
}

impl Handler for Count {
    type Mail = ();

    fn open(&mut self, _: PeerId, request: &Request, _: &mut Outboxes<'_, ()>) -> Opening {
        let mut accept = Accept::new(Arc::new(Config::default()));
        if request.path() == "/stream" {
            accept.streaming = Some(Streaming::from(100));
        }
        Opening::Accept(accept)
    }

    fn part(&mut self, _: PeerId, part: Part<'_>, _: &mut Outboxes<'_, ()>) {
        self.parts += part.bytes.len();
    }

    fn message(&mut self, _: PeerId, _: Incoming<'_>, _: &mut Outboxes<'_, ()>) {
        self.messages += 1;
    }

    fn mail(&mut self, (): (), _: &mut Outboxes<'_, ()>) {}

    fn closed(&mut self, _: PeerId, why: &Closed, _: &mut Outboxes<'_, ()>) {
        self.closed.push(why.code.map(CloseCode::get));
    }
}

/// A client frame under the key of zeros.
fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        mask: Some(MaskKey::new([0; 4])),
        ..FrameHeader::new(opcode, payload.len() as u64)
    };
    let mut octets = [0; MAX_HEADER];
    let len = header.encode(&mut octets);
    [&octets[..len], payload].concat()
}

struct World {
    endpoint: Endpoint<Guard<Count>>,
    now: Time,
}

impl World {
    fn new(budget: Budget) -> World {
        let now = Time::from_micros(1_000_000_000);
        let guard = Guard::new(Count::default(), budget);
        let config = EndpointConfig::default();
        let endpoint = Endpoint::new(WorkerId(0), 1, config, Box::new(Zeros), now, guard);
        World { endpoint, now }
    }

    fn open(&mut self) -> PeerId {
        self.open_at("/")
    }

    fn open_at(&mut self, path: &str) -> PeerId {
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let secure = false;
        let peer = self
            .endpoint
            .handle_open(self.now, PeerInfo { remote, secure });
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .into_bytes();
        self.endpoint
            .handle_bytes(self.now, peer, &mut request, &mut NoMail);
        peer
    }

    fn feed(&mut self, peer: PeerId, mut octets: Vec<u8>) {
        self.endpoint
            .handle_bytes(self.now, peer, &mut octets, &mut NoMail);
    }

    fn written(&self, peer: PeerId) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 8];
        let n = self.endpoint.poll_transmit(peer, &mut slices);
        slices[..n].iter().flat_map(|s| s.to_vec()).collect()
    }

    fn count(&self) -> &Count {
        self.endpoint.handler().inner()
    }
}

fn tight() -> Budget {
    Budget {
        messages: Rate::new(10, 20).unwrap(),
        bytes: Rate::new(1_000, 2_000).unwrap(),
    }
}

#[test]
fn nothing_after_a_close_verdict_passes() {
    let mut world = World::new(tight());
    let peer = world.open();
    world.feed(peer, frame(OpCode::Text, b"x").repeat(30));
    assert_eq!(world.count().messages, 20);
    assert!(
        world
            .written(peer)
            .ends_with(b"\x88\x13\x03\xF0too many messages")
    );
    world.now = world.now + Duration::from_secs(60);
    world.feed(peer, frame(OpCode::Text, b"x"));
    assert_eq!(world.count().messages, 20);
    world.feed(peer, frame(OpCode::Close, b"\x03\xF0"));
    assert_eq!(world.count().closed, [Some(1008)]);
}

#[test]
fn bytes_are_counted_whatever_the_messages_size() {
    let mut world = World::new(tight());
    let peer = world.open();
    world.feed(peer, frame(OpCode::Binary, &[0; 1_500]));
    world.feed(peer, frame(OpCode::Binary, &[0; 1_500]));
    assert_eq!(world.count().messages, 1);
    assert!(world.written(peer).ends_with(b"too many bytes"));
}

#[test]
fn a_peer_within_its_budget_never_notices_and_budgets_are_not_shared_or_inherited() {
    let mut world = World::new(tight());
    let (first, second) = (world.open(), world.open());
    for _ in 0..100 {
        world.feed(first, frame(OpCode::Text, b"x"));
        world.feed(second, frame(OpCode::Text, b"x"));
        world.now = world.now + Duration::from_millis(100);
    }
    assert_eq!(world.count().messages, 200);
    world.feed(first, frame(OpCode::Text, b"x").repeat(25));
    world.endpoint.handle_error(world.now, first, &mut NoMail);
    world.endpoint.release(first);
    let third = world.open();
    assert_eq!(third.slot(), first.slot());
    world.feed(third, frame(OpCode::Text, b"x").repeat(20));
    assert!(!world.written(third).ends_with(b"too many messages"));
}

#[test]
fn a_streamed_message_is_counted_once_and_by_its_bytes() {
    let mut world = World::new(tight());
    let peer = world.open_at("/stream");
    let message = frame(OpCode::Binary, &[0; 1_500]);
    for piece in message.chunks(100) {
        world.feed(peer, piece.to_vec());
    }
    assert_eq!((world.count().messages, world.count().parts), (0, 1_500));
    for piece in message.chunks(100) {
        world.feed(peer, piece.to_vec());
    }
    assert!(world.count().parts <= 2_000);
    assert!(world.written(peer).ends_with(b"too many bytes"));
}
