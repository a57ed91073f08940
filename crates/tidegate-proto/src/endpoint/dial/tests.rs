//! A relay of a few lines on a hand-driven endpoint: clients that wait, upstreams that answer well or badly.

use super::*;
use crate::close::{CloseCode, Closed};
use crate::connection::Incoming;
use crate::connection::tests::{at, client_frame};
use crate::endpoint::{
    Accept, EndpointConfig, MailboxFull, Opening, Rejection, Transport, WorkerId,
};
use crate::handshake::Request;
use crate::handshake::key;
use crate::time::Random;
use std::io::IoSlice;
use std::net::Ipv4Addr;

/// Random enough to tell two masks apart.
struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

struct NoMail;

impl Post<()> for NoMail {
    fn post(&mut self, _: WorkerId, (): ()) -> Result<(), MailboxFull> {
        Err(MailboxFull)
    }
}

/// One client, one upstream; writes down what it is told.
#[derive(Default)]
struct Relay {
    config: Arc<Config>,
    client: Option<PeerId>,
    upstream: Option<PeerId>,
    log: Vec<String>,
}

impl Relay {
    fn name(&self, peer: PeerId) -> &'static str {
        match Some(peer) == self.client {
            true => "client",
            false => "upstream",
        }
    }
}

impl Handler for Relay {
    type Mail = ();

    fn open(&mut self, peer: PeerId, _: &Request, out: &mut Outboxes<'_, ()>) -> Opening {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let (host, path) = ("up.example".into(), "/up".into());
        let dial = Dial {
            subprotocols: vec!["chat".into()],
            ..Dial::new(to, host, path, self.config.clone())
        };
        self.client = Some(peer);
        self.upstream = Some(out.dial(&dial).expect("a good request"));
        Opening::Hold(Duration::from_secs(7))
    }

    fn opened(&mut self, peer: PeerId, _: &mut Outboxes<'_, ()>) {
        self.log.push(format!("opened {}", self.name(peer)));
    }

    fn dialed(
        &mut self,
        _: PeerId,
        answer: Result<&Accepted, &DialError>,
        out: &mut Outboxes<'_, ()>,
    ) {
        let client = self.client.expect("it asked");
        match answer {
            Ok(_) => out
                .accept(client, Accept::new(self.config.clone()))
                .expect("a good answer"),
            Err(error) => {
                self.log.push(format!("no upstream: {error}"));
                out.reject(client, &Rejection::new(502, "no upstream"));
            }
        }
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, ()>) {
        let text = String::from_utf8_lossy(message.as_bytes()).into_owned();
        self.log.push(format!("{} says {text}", self.name(peer)));
        match (self.client, self.upstream) {
            (Some(client), _) if text == "hold client" => out.hold(client),
            (Some(client), _) if text == "release client" => out.release(client),
            (Some(client), _) if text == "close client" => {
                out.close(client, CloseCode::NORMAL, "");
            }
            (Some(client), Some(upstream)) => {
                let other = if peer == client { upstream } else { client };
                out.send_incoming(other, message);
            }
            _ => {}
        }
    }

    fn mail(&mut self, (): (), _: &mut Outboxes<'_, ()>) {}

    fn closed(&mut self, peer: PeerId, why: &Closed, _: &mut Outboxes<'_, ()>) {
        let code = why.code.map_or(0, CloseCode::get);
        self.log
            .push(format!("closed {} {code} {:?}", self.name(peer), why.by));
    }
}

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

struct World {
    endpoint: Endpoint<Relay>,
    client: PeerId,
    upstream: PeerId,
    /// What the upstream was sent first.
    request: String,
}

impl World {
    /// A client that waits behind `request`, and an upstream that has been asked.
    fn new(request: &[u8]) -> World {
        let config = EndpointConfig::default();
        let relay = Relay::default();
        let random = Box::new(Counting(0));
        let mut endpoint = Endpoint::new(WorkerId(0), 1, config, random, at(0), relay);
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 8));
        let secure = false;
        let client = endpoint.handle_open(at(0), PeerInfo { remote, secure });
        endpoint.handle_bytes(at(0), client, &mut request.to_vec(), &mut NoMail);
        assert!(endpoint.wants_dial());
        let call = endpoint.poll_dial().expect("a call");
        assert_eq!((call.to.port(), call.server_name), (9, None));
        assert!(endpoint.poll_dial().is_none());
        let mut world = World {
            endpoint,
            client,
            upstream: call.peer,
            request: String::new(),
        };
        world.request = String::from_utf8(world.written(call.peer)).expect("ASCII");
        world
    }

    /// Both ends are open.
    fn open() -> World {
        let mut world = World::new(REQUEST);
        world.feed(0, world.upstream, &world.answer(""));
        assert!(
            world
                .written(world.client)
                .starts_with(b"HTTP/1.1 101 Switching")
        );
        world.endpoint.handler.log.clear();
        world
    }

    /// A right 101 with further lines.
    fn answer(&self, lines: &str) -> Vec<u8> {
        let key = self.request.split("Sec-WebSocket-Key: ").nth(1);
        let key = key.and_then(|rest| rest.split("\r\n").next()).expect("one");
        let accept = key::accept_for(key.as_bytes());
        let accept = std::str::from_utf8(&accept).expect("base64");
        format!(
            "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
        )
        .into_bytes()
    }

    fn feed(&mut self, millis: u64, peer: PeerId, octets: &[u8]) {
        let mut octets = octets.to_vec();
        self.endpoint
            .handle_bytes(at(millis), peer, &mut octets, &mut NoMail);
    }

    fn written(&mut self, peer: PeerId) -> Vec<u8> {
        let mut written = Vec::new();
        loop {
            let mut slices = [IoSlice::new(&[]); 4];
            let n = self.endpoint.poll_transmit(peer, &mut slices);
            let octets: Vec<u8> = slices[..n].iter().flat_map(|s| s.to_vec()).collect();
            if octets.is_empty() {
                return written;
            }
            let now = self.endpoint.core.now;
            self.endpoint
                .handle_sent(now, peer, octets.len(), &mut NoMail);
            written.extend(octets);
        }
    }

    fn pass(&mut self, millis: u64) {
        self.endpoint.handle_timeout(at(millis), &mut NoMail);
    }

    fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.endpoint.handler.log)
    }
}

fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8][..], payload].concat()
}

#[test]
fn a_client_waits_for_its_upstream_and_then_both_are_open() {
    let mut world = World::new(REQUEST);
    assert!(
        world
            .request
            .starts_with("GET /up HTTP/1.1\r\nHost: up.example\r\n")
    );
    assert!(
        world
            .request
            .contains("\r\nSec-WebSocket-Protocol: chat\r\n")
    );
    assert!(
        !world.request.contains("dGhlIHNhbXBsZSBub25jZQ=="),
        "the key is our own"
    );
    assert_eq!(world.written(world.client), b"");
    // What comes before the 101 waits; a 103 on the way changes nothing; frames behind the 101 count.
    world.feed(0, world.client, &client_frame(0x81, b"early"));
    assert_eq!(world.written(world.upstream), b"");
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_vec();
    let rest = [hints, world.answer(""), server_frame(0x81, b"hi")].concat();
    for octet in rest {
        world.feed(1, world.upstream, &[octet]);
    }
    assert_eq!(
        world.log(),
        ["opened client", "client says early", "upstream says hi"]
    );
    let to_client = world.written(world.client);
    assert!(to_client.starts_with(b"HTTP/1.1 101 ") && to_client.ends_with(b"\x81\x02hi"));
    let frame = world.written(world.upstream);
    assert_eq!((frame[0], frame[1]), (0x81, 0x85), "masked, once");
    assert_ne!(
        frame[2..6],
        client_frame(0x81, b"early")[2..6],
        "by a key of our own"
    );
}

#[test]
fn what_is_no_right_101_opens_nothing() {
    let refused = b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n";
    let rows: [(&[u8], &str); 5] = [
        (b"HTTP/1.1 101 Yes\r\n\r\n", "Upgrade is not"),
        (
            b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\n\r\n",
            "refused with 200",
        ),
        (refused, "refused with 426"),
        (b"\x16\x03\x01", "not HTTP"),
        (
            b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            "does not fit our key",
        ),
    ];
    for (answer, why) in rows {
        let mut world = World::new(REQUEST);
        world.feed(0, world.client, &client_frame(0x81, b"early"));
        world.feed(0, world.upstream, answer);
        let log = world.log();
        assert!(log.len() == 1 && log[0].contains(why), "{log:?}");
        assert!(world.written(world.client).starts_with(b"HTTP/1.1 502 "));
        assert_eq!(world.written(world.upstream), b"");
        assert_eq!(world.endpoint.transport(world.upstream), Transport::Close);
    }
    let more = [
        ("Sec-WebSocket-Protocol: other\r\n", "was not offered"),
        (
            "Sec-WebSocket-Extensions: permessage-deflate\r\n",
            "was not offered",
        ),
    ];
    for (lines, why) in more {
        let mut world = World::new(REQUEST);
        world.feed(0, world.upstream, &world.answer(lines));
        assert!(world.log()[0].contains(why), "{lines}");
    }
}

#[test]
fn an_upstream_that_is_away_cuts_or_dawdles_is_told_apart() {
    let mut away = World::new(REQUEST);
    away.endpoint
        .handle_error(at(0), away.upstream, &mut NoMail);
    assert_eq!(
        away.log(),
        ["no upstream: it cannot be reached, or TLS failed"]
    );
    let mut cuts = World::new(REQUEST);
    cuts.feed(0, cuts.upstream, b"HTTP/1.1 101 Yes\r\n");
    cuts.endpoint.handle_eof(at(0), cuts.upstream, &mut NoMail);
    assert_eq!(
        cuts.log(),
        ["no upstream: it closed the connection before it answered"]
    );
    let mut dawdles = World::new(REQUEST);
    dawdles.feed(4_900, dawdles.upstream, b"HTTP/1.1 101 Yes\r\n");
    dawdles.pass(5_020);
    assert_eq!(dawdles.log(), ["no upstream: it did not answer in time"]);
    for mut world in [away, cuts, dawdles] {
        assert!(world.written(world.client).starts_with(b"HTTP/1.1 502 "));
        world.endpoint.release(world.upstream);
        assert_eq!(world.endpoint.peers(), 1);
    }
}

#[test]
fn a_client_that_leaves_or_talks_while_it_waits_is_given_up() {
    let mut gone = World::new(REQUEST);
    gone.endpoint.handle_eof(at(0), gone.client, &mut NoMail);
    assert_eq!(gone.log(), ["closed client 0 Transport"]);
    let mut reset = World::new(REQUEST);
    reset
        .endpoint
        .handle_error(at(0), reset.client, &mut NoMail);
    assert_eq!(reset.log(), ["closed client 0 Transport"]);
    for world in [&gone, &reset] {
        assert_eq!(world.endpoint.transport(world.client), Transport::Close);
    }
    let talks = [REQUEST, &[0x82; 4_097]].concat();
    let mut talks = World::new(&talks);
    assert_eq!(talks.log(), ["closed client 0 Peer"]);
    assert!(talks.written(talks.client).starts_with(b"HTTP/1.1 400 "));
    let mut waits = World::new(REQUEST);
    waits.endpoint.handler.config = Arc::default();
    waits
        .endpoint
        .handle_error(at(0), waits.upstream, &mut NoMail);
    let mut late = World::new(REQUEST);
    if let Some(Stage::Dialing(dialing)) = late
        .endpoint
        .core
        .peers
        .get_mut(late.upstream)
        .map(|p| &mut p.stage)
    {
        dialing.deadline = at(60_000);
    }
    late.pass(7_020);
    assert_eq!(late.log(), ["closed client 0 Us"]);
    assert!(late.written(late.client).starts_with(b"HTTP/1.1 504 "));
}

#[test]
fn a_held_peer_is_not_read_on_in_the_same_read_and_nothing_is_lost() {
    let mut world = World::open();
    let three = [
        client_frame(0x81, b"hold client"),
        client_frame(0x81, b"two"),
        client_frame(0x81, b"three"),
    ]
    .concat();
    world.feed(0, world.client, &three);
    assert_eq!(world.log(), ["client says hold client"]);
    assert!(!world.endpoint.wants_read(world.client));
    // Its silence means nothing while nobody listens.
    world.feed(30_000, world.upstream, &server_frame(0x81, b"a"));
    world.pass(40_000);
    assert!(world.written(world.client).ends_with(b"\x81\x01a"));
    world
        .endpoint
        .handle_eof(at(40_000), world.client, &mut NoMail);
    world.log();
    world.feed(
        40_000,
        world.upstream,
        &server_frame(0x81, b"release client"),
    );
    assert_eq!(
        world.log(),
        [
            "upstream says release client",
            "client says two",
            "client says three",
            "closed client 0 Transport"
        ]
    );
}

#[test]
fn a_released_peer_is_read_again_and_its_silence_counts_from_then() {
    let mut world = World::open();
    world.feed(0, world.client, &client_frame(0x81, b"hold client"));
    world.feed(
        30_000,
        world.upstream,
        &server_frame(0x81, b"release client"),
    );
    while world
        .endpoint
        .poll_dirty()
        .is_some_and(|peer| peer != world.client)
    {}
    assert!(world.endpoint.wants_read(world.client));
    world.pass(54_900);
    assert_eq!(world.written(world.client), b"");
    world.pass(55_020);
    assert_eq!(world.written(world.client), b"\x89\x00");
}

#[test]
fn a_held_peer_that_is_closed_is_read_for_its_answer_alone() {
    let mut world = World::open();
    let octets = [
        client_frame(0x81, b"hold client"),
        client_frame(0x81, b"two"),
        client_frame(0x88, b"\x03\xE8"),
    ];
    world.feed(0, world.client, &octets.concat());
    world.feed(0, world.upstream, &server_frame(0x81, b"close client"));
    assert_eq!(
        world.log(),
        [
            "client says hold client",
            "upstream says close client",
            "closed client 1000 Us"
        ]
    );
}

#[test]
fn a_dialed_peer_waits_for_the_servers_end_of_the_transport() {
    let mut world = World::open();
    world.feed(0, world.upstream, &server_frame(0x88, b"\x03\xE8"));
    assert_eq!(world.log(), ["closed upstream 1000 Peer"]);
    let close = world.written(world.upstream);
    assert_eq!((close[0], close[1], close.len()), (0x88, 0x82, 8));
    assert_eq!(world.endpoint.transport(world.upstream), Transport::Open);
    world
        .endpoint
        .handle_eof(at(0), world.upstream, &mut NoMail);
    assert_eq!(world.endpoint.transport(world.upstream), Transport::Close);
}
