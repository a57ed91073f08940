//! Long messages and compression through a whole worker: hundreds of megabytes each way in a few buffers.

use super::*;
use crate::config::Config;
use crate::connection::tests::{at, client_frame};
use crate::connection::{Encoded, Incoming, MessageKind, Part, Streaming};
use crate::deflate::testing::{Words, bomb};
use crate::frame::{FrameHeader, MAX_HEADER, OpCode};
use crate::handshake::parse_offers;
use crate::mask::{MaskKey, apply_mask};
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;

struct Zeros;

impl Random for Zeros {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// Echoes; long messages part by part.
struct Echo {
    config: Arc<Config>,
    streaming: Option<Streaming>,
    compresses: bool,
    closed: Vec<Closed>,
}

impl Handler for Echo {
    type Mail = ();

    fn open(&mut self, _: PeerId, _: &Request, _: &mut Outboxes<'_, ()>) -> Opening {
        Opening::Accept(Accept {
            streaming: self.streaming,
            ..Accept::new(self.config.clone())
        })
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, ()>) {
        out.send_incoming(peer, message);
    }

    fn part(&mut self, peer: PeerId, part: Part<'_>, out: &mut Outboxes<'_, ()>) {
        if part.first {
            match self.compresses {
                true => out.begin(peer, part.kind),
                false => out.begin_uncompressed(peer, part.kind),
            }
            .expect("one at a time");
        }
        out.part(peer, part.bytes).expect("begun");
        if part.last {
            out.finish(peer).expect("begun");
        }
    }

    fn mail(&mut self, (): (), _: &mut Outboxes<'_, ()>) {}

    fn closed(&mut self, _: PeerId, why: &Closed, _: &mut Outboxes<'_, ()>) {
        self.closed.push(why.clone());
    }
}

struct Nowhere;

impl Post<()> for Nowhere {
    fn post(&mut self, _: WorkerId, (): ()) -> Result<(), MailboxFull> {
        Err(MailboxFull)
    }
}

struct World {
    endpoint: Endpoint<Echo>,
    peer: PeerId,
    answer: Vec<u8>,
    /// Most bytes of capacity seen in the worker's buffers.
    peak: usize,
}

impl World {
    fn new(deflate: Deflate, streaming: Option<Streaming>, offer: &str, agent: &str) -> World {
        World::with(deflate.into(), streaming, offer, agent)
    }

    fn with(
        deflate: DeflateConfig,
        streaming: Option<Streaming>,
        offer: &str,
        agent: &str,
    ) -> World {
        let config = Config {
            deflate,
            ..Config::default()
        };
        let echo = Echo {
            config: Arc::new(config),
            streaming,
            compresses: true,
            closed: Vec::new(),
        };
        let config = EndpointConfig::default();
        let random = Box::new(Zeros);
        let mut endpoint = Endpoint::new(WorkerId(0), 1, config, random, at(0), echo);
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let secure = false;
        let peer = endpoint.handle_open(at(0), PeerInfo { remote, secure });
        let mut request = String::from(
            "GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
        );
        for (name, value) in [("Sec-WebSocket-Extensions", offer), ("User-Agent", agent)] {
            if !value.is_empty() {
                request += &format!("{name}: {value}\r\n");
            }
        }
        request += "\r\n";
        let mut world = World {
            endpoint,
            peer,
            answer: Vec::new(),
            peak: 0,
        };
        world.feed(&mut request.into_bytes());
        let mut answer = Vec::new();
        while world.written(1 << 20, &mut answer) {}
        world.answer = answer;
        world
    }

    /// The extensions in the answer.
    fn extensions(&self) -> Option<&str> {
        let answer = std::str::from_utf8(&self.answer).expect("the head is ASCII");
        let (_, rest) = answer.split_once("Sec-WebSocket-Extensions: ")?;
        rest.split("\r\n").next()
    }

    fn feed(&mut self, octets: &mut [u8]) {
        self.endpoint
            .handle_bytes(at(0), self.peer, octets, &mut Nowhere);
        let core = &self.endpoint.core;
        let connection = core.peers.connection(self.peer);
        let held = core.peers.get(self.peer).and_then(|p| p.held.as_ref());
        let held = held.map_or(0, |held| held.octets.len());
        let used = connection.map_or(0, Connection::capacity) + held;
        self.peak = self.peak.max(used + core.resources.buffered_bytes());
    }

    /// Writes at most `room` octets of what is owed; false when nothing was.
    fn written(&mut self, room: usize, to: &mut Vec<u8>) -> bool {
        let mut slices = [IoSlice::new(&[]); 1];
        if self.endpoint.poll_transmit(self.peer, &mut slices) == 0 {
            return false;
        }
        let octets = &slices[0][..slices[0].len().min(room)];
        to.extend_from_slice(octets);
        let n = octets.len();
        self.endpoint.handle_sent(at(0), self.peer, n, &mut Nowhere);
        true
    }
}

/// The octets of an endless message, and their check.
struct Pattern(u64);

impl Pattern {
    /// Two of three octets are the same for a while, so that it compresses, but no more than real text.
    fn octet(at: u64) -> u8 {
        match at % 3 {
            0 => (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8,
            _ => (at / 4_096) as u8,
        }
    }

    fn fill(&mut self, octets: &mut [u8]) {
        for octet in octets {
            *octet = Pattern::octet(self.0);
            self.0 += 1;
        }
    }

    fn check(&mut self, octets: &[u8]) {
        for octet in octets {
            assert_eq!(*octet, Pattern::octet(self.0), "at {}", self.0);
            self.0 += 1;
        }
    }
}

const MIB: u64 = 1 << 20;
const READ: usize = 64 << 10;

/// What a client got of the echo.
#[derive(Default)]
struct Got {
    checked: u64,
    messages: usize,
}

fn take_echo(client: &mut Connection, resources: &mut Resources, wire: &mut [u8], got: &mut Got) {
    let mut input = wire;
    while let Some(event) = client.receive(at(0), &mut input, resources) {
        match event {
            Event::Part(piece) => {
                let part = piece.part();
                let mut pattern = Pattern(got.checked);
                pattern.check(part.bytes);
                got.checked = pattern.0;
                got.messages += usize::from(part.last);
                resources.recycle_piece(piece);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn client(deflate: Deflate, world: &World) -> (Connection, Resources) {
    let config = Arc::new(Config {
        deflate: deflate.into(),
        ..Config::default()
    });
    let mut resources = Resources::new(Box::new(Zeros));
    let mut client = Connection::new(Role::Client, config.clone(), Outbox::default(), at(0));
    client.set_streaming(Streaming::from(0));
    if let Some(answer) = world.extensions() {
        let elements = parse_offers(answer.as_bytes()).expect("a valid header");
        let agreed = deflate::judge(&elements, &config.deflate).expect("a good answer");
        client.set_deflate(agreed.expect("accepted"), &mut resources);
    }
    (client, resources)
}

#[test]
fn a_message_of_300_mib_in_one_frame_is_echoed_in_a_few_buffers() {
    let streaming = Some(Streaming::from(64 << 10));
    let mut world = World::new(Deflate::Off, streaming, "", "");
    let (mut client, mut resources) = client(Deflate::Off, &world);
    let total = 300 * MIB;
    let key = MaskKey::new([1, 2, 3, 4]);
    let header = FrameHeader {
        mask: Some(key),
        ..FrameHeader::new(OpCode::Binary, total)
    };
    let mut head = [0; MAX_HEADER];
    let n = header.encode(&mut head);
    world.feed(&mut head[..n]);
    let (mut pattern, mut mask, mut got) = (Pattern(0), key, Got::default());
    let (mut octets, mut wire) = (vec![0; READ], Vec::new());
    while got.messages == 0 {
        if pattern.0 < total && world.endpoint.wants_read(world.peer) {
            let n = READ.min((total - pattern.0) as usize);
            pattern.fill(&mut octets[..n]);
            mask = apply_mask(mask, &mut octets[..n]);
            world.feed(&mut octets[..n]);
        } else {
            // Slower than it reads: the outbox fills and the reading has to stop now and then.
            world.written(READ / 2, &mut wire);
            take_echo(&mut client, &mut resources, &mut wire, &mut got);
            wire.clear();
        }
    }
    assert_eq!(got.checked, total);
    assert!(world.peak < 1 << 20, "{} B", world.peak);
    assert!(world.endpoint.handler().closed.is_empty());
}

#[test]
fn a_compressed_message_of_200_mib_is_echoed_compressed_in_a_few_buffers() {
    let dedicated = Deflate::Dedicated {
        bits: 15,
        mem_level: 8,
    };
    for mode in [Deflate::Shared, dedicated] {
        let offer = deflate::offer(&mode.into()).expect("an offer");
        let mut world = World::new(mode, Some(Streaming::from(1_000)), &offer, "");
        let (mut client, mut resources) = client(mode, &world);
        let total = 100 * MIB;
        let (mut pattern, mut got) = (Pattern(0), Got::default());
        let (mut octets, mut wire) = (vec![0; READ], Vec::new());
        let (mut sent, mut received) = (0, 0);
        client.begin(MessageKind::Binary, &mut resources).unwrap();
        while got.messages == 0 {
            let mut slices = [IoSlice::new(&[]); 1];
            if world.endpoint.wants_read(world.peer) && client.poll_transmit(&mut slices) > 0 {
                let n = slices[0].len().min(READ);
                wire.extend_from_slice(&slices[0][..n]);
                client.handle_sent(at(0), n, &mut resources);
                sent += n;
                world.feed(&mut wire);
                wire.clear();
            } else if world.written(READ, &mut wire) {
                received += wire.len();
                take_echo(&mut client, &mut resources, &mut wire, &mut got);
                wire.clear();
            } else if pattern.0 < total {
                pattern.fill(&mut octets);
                let level = client.part(&octets, &mut resources).unwrap();
                assert_ne!(level, Level::Full);
                if pattern.0 == total {
                    client.finish(&mut resources).unwrap();
                }
            }
        }
        assert_eq!(got.checked, total);
        assert!(sent < total as usize / 2 && received < total as usize / 2);
        assert!(world.peak < 1 << 20, "{} B", world.peak);
    }
}

#[test]
fn what_inflates_faster_than_it_is_taken_waits_and_is_not_lost() {
    let mut world = World::with(
        lenient(),
        Some(Streaming::from(1_000)),
        "permessage-deflate",
        "",
    );
    world.endpoint.handler.compresses = false;
    let zeros = 40 << 20;
    let mut frames = client_frame(0xC2, &bomb(zeros));
    frames.extend(client_frame(0x82, b"and on"));
    let mut wire = Vec::new();
    world.feed(&mut frames);
    assert!(!world.endpoint.wants_read(world.peer), "the rest waits");
    let mut rounds = 0;
    while world.written(READ, &mut wire) {
        rounds += 1;
    }
    assert!(world.endpoint.handler().closed.is_empty());
    assert!(world.endpoint.wants_read(world.peer));
    assert!(rounds > 100, "{rounds}");
    assert!(world.peak < 2 << 20, "{} B", world.peak);
    assert!(wire.ends_with(b"\x82\x06and on"));
    assert!(wire.len() > zeros);
    // The peer's end of the transport does not lose what waits either.
    world.feed(&mut client_frame(0xC2, &bomb(2 << 20)));
    world.feed(&mut client_frame(0x88, b"\x03\xE8"));
    assert!(!world.endpoint.wants_read(world.peer));
    world.endpoint.handle_eof(at(0), world.peer, &mut Nowhere);
    assert_eq!(world.endpoint.handler().closed.len(), 1);
}

/// Settings that take zeros as they come.
fn lenient() -> DeflateConfig {
    DeflateConfig {
        max_ratio: 2_000,
        ..Deflate::Shared.into()
    }
}

#[test]
fn a_handler_that_asks_for_parts_and_takes_none_closes_with_1009() {
    struct Deaf(Echo);
    impl Handler for Deaf {
        type Mail = ();
        fn open(&mut self, peer: PeerId, request: &Request, out: &mut Outboxes<'_, ()>) -> Opening {
            self.0.open(peer, request, out)
        }
        fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, ()>) {
            self.0.message(peer, message, out);
        }
        fn mail(&mut self, (): (), _: &mut Outboxes<'_, ()>) {}
        fn closed(&mut self, _: PeerId, _: &Closed, _: &mut Outboxes<'_, ()>) {}
    }
    let echo = Echo {
        config: Arc::default(),
        streaming: Some(Streaming::from(10)),
        compresses: true,
        closed: Vec::new(),
    };
    let config = EndpointConfig::default();
    let mut endpoint = Endpoint::new(WorkerId(0), 1, config, Box::new(Zeros), at(0), Deaf(echo));
    let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let secure = false;
    let peer = endpoint.handle_open(at(0), PeerInfo { remote, secure });
    let mut request =
        b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            .to_vec();
    endpoint.handle_bytes(at(0), peer, &mut request, &mut Nowhere);
    let mut frames = [client_frame(0x82, b"short"), client_frame(0x82, &[0; 11])].concat();
    endpoint.handle_bytes(at(0), peer, &mut frames, &mut Nowhere);
    let mut slices = [IoSlice::new(&[]); 4];
    let n = endpoint.poll_transmit(peer, &mut slices);
    let written: Vec<u8> = slices[..n].iter().flat_map(|s| s.to_vec()).collect();
    let close = b"\x82\x05short\x88\x22\x03\xF1long messages are not taken here";
    assert!(written.ends_with(close), "{}", written.escape_ascii());
}

#[test]
fn compression_is_agreed_as_the_handler_allows_and_the_peer_can() {
    const SAFARI: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 12_2) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.2 Safari/605.1.15";
    const SHARED: Option<&str> =
        Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    let dedicated = Deflate::Dedicated {
        bits: 12,
        mem_level: 5,
    };
    let rows = [
        (Deflate::Off, "permessage-deflate", "", None),
        (Deflate::Shared, "", "", None),
        (Deflate::Shared, "permessage-deflate", "", SHARED),
        (Deflate::Shared, "permessage-deflate", SAFARI, None),
        (
            Deflate::Shared,
            "permessage-deflate; server_max_window_bits=8",
            "",
            None,
        ),
        (
            Deflate::Shared,
            "x-unknown, permessage-deflate; x=1, permessage-deflate",
            "",
            SHARED,
        ),
        (
            dedicated,
            "permessage-deflate; client_max_window_bits",
            "",
            Some("permessage-deflate; client_max_window_bits=12"),
        ),
    ];
    for (mode, offer, agent, expected) in rows {
        let mut world = World::new(mode, None, offer, agent);
        assert!(world.answer.starts_with(b"HTTP/1.1 101 "));
        assert_eq!(world.extensions(), expected, "{offer}");
        let mut nowhere = Nowhere;
        let mut out = Outboxes::new(&mut world.endpoint.core, &mut nowhere);
        assert_eq!(out.deflate(world.peer).is_some(), expected.is_some());
        let text = Words::new(1).text(5_000);
        assert_eq!(out.send(world.peer, &Encoded::text(&text)), Level::Low);
        let mut written = Vec::new();
        while world.written(1 << 20, &mut written) {}
        assert_eq!(written[0] & 0x40 != 0, expected.is_some());
    }
}

#[test]
fn when_the_budget_is_used_up_further_peers_share_codecs() {
    let mode = Deflate::Dedicated {
        bits: 15,
        mem_level: 8,
    };
    let mut world = World::new(mode, None, "permessage-deflate", "");
    assert_eq!(world.extensions(), Some("permessage-deflate"));
    let core = &mut world.endpoint.core;
    let context = deflate::context_bytes(&deflate::Negotiated::default());
    let config = DeflateConfig {
        context_budget: 2 * context - 1,
        ..mode.into()
    };
    let wire =
        b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let (Head::Upgrade(request), _) = server::parse(wire, false, &HeadLimits::default()) else {
        panic!("a valid request");
    };
    let negotiated = |core: &Core| core.negotiate(&request, &config).map(|a| a.negotiated);
    let agreed = negotiated(core).expect("accepted");
    assert!(agreed.client_no_context_takeover);
    let roomy = DeflateConfig {
        context_budget: 2 * context,
        ..mode.into()
    };
    let agreed = core.negotiate(&request, &roomy).expect("accepted");
    assert!(!agreed.negotiated.client_no_context_takeover);
    world.endpoint.handle_error(at(0), world.peer, &mut Nowhere);
    assert_eq!(world.endpoint.resources().compression_bytes(), 0);
}
