//! What is done in memory for callgrind to count. Each case says how often it was done, for a turn may do several.

use crate::Result;
use crate::rig::{NOW, Rig, request};
use crate::rooms::Rooms;
use crate::source::{self, KEY, NO_KEY};
use std::hint::black_box;
use std::sync::Arc;
use tidegate_guard::{Direction, Inspector, Kind, Rules, Verdict};
use tidegate_hub::{HubConfig, JoinLeave, Namespace, Namespaces, RecoveryMode, Shard, Who};
use tidegate_proto::frame::{FrameHeader, MAX_HEADER, OpCode};
use tidegate_proto::mask::{MaskKey, apply_mask};
use tidegate_proto::{
    Config, Connection, Encoded, Event, Outbox, Random, Resources, Role, WorkerId,
};

/// `tidegate-gate list`
pub(crate) fn list() -> Result<()> {
    for (name, operations, _) in CASES {
        println!("{name} {operations}");
    }
    Ok(())
}

/// `tidegate-gate count CASE OPERATIONS`
pub(crate) fn count(name: &str, operations: &str) -> Result<()> {
    let operations = operations.parse()?;
    let case = CASES.iter().find(|case| case.0 == name);
    let (_, _, run) = case.ok_or("no such case; see `list`")?;
    println!("{}", run(operations));
    Ok(())
}

type Case = (&'static str, u64, fn(u64) -> u64);

/// Each with a number of operations that takes callgrind about a second.
const CASES: [Case; 16] = [
    ("parse/header", 100_000, |ops| parse_header(ops)),
    ("parse/text/125", 40_000, |ops| parse_text(ops, 125)),
    ("parse/text/16384", 2_000, |ops| parse_text(ops, 16_384)),
    ("unmask/32", 100_000, |ops| unmask(ops, 32)),
    ("unmask/125", 100_000, |ops| unmask(ops, 125)),
    ("unmask/16384", 4_000, |ops| unmask(ops, 16_384)),
    ("encode/header", 100_000, |ops| encode_header(ops)),
    ("encode/shared/125", 40_000, |ops| encode_shared(ops)),
    ("handshake", 2_000, handshake),
    ("echo/1/125", 20_000, |ops| echo(ops, 1)),
    ("echo/64/125", 40_000, |ops| echo(ops, 64)),
    ("fanout/1000/64", 20_000, |ops| fanout(ops, 1_000)),
    ("fanout/hub/json/1000", 20_000, |ops| hub(ops, 1_000)),
    ("publish/hub/json/1", 4_000, |ops| hub(ops, 1)),
    ("judge/server/250", 10_000, |ops| {
        judge(ops, Direction::ToServer)
    }),
    ("judge/client/250", 20_000, |ops| {
        judge(ops, Direction::ToClient)
    }),
];

fn parse_header(ops: u64) -> u64 {
    let frame = source::text(&[b'a'; 200], KEY);
    for _ in 0..ops {
        let parsed = FrameHeader::parse(black_box(&frame));
        assert!(black_box(parsed).is_ok());
    }
    ops
}

/// Whole messages out of full reads, unmasked in place, their text checked.
fn parse_text(ops: u64, len: usize) -> u64 {
    let frame = source::text(&vec![b'a'; len], NO_KEY);
    let mut octets = frame.repeat((READ / frame.len()).max(1));
    let config = Arc::new(Config::default());
    let mut connection = Connection::new(Role::Server, config, Outbox::default(), NOW);
    let mut resources = Resources::new(Box::new(Never));
    let mut messages = 0;
    while messages < ops {
        let mut input = black_box(&mut octets[..]);
        while let Some(event) = connection.receive(NOW, &mut input, &mut resources) {
            let Event::Message(message) = event else {
                panic!("the stream is well-formed messages: {event:?}");
            };
            black_box(message.as_bytes());
            resources.recycle_message(message);
            messages += 1;
        }
    }
    messages
}

fn unmask(ops: u64, len: usize) -> u64 {
    let mut octets = vec![b'a'; len];
    for _ in 0..ops {
        apply_mask(MaskKey::new(KEY), black_box(&mut octets));
    }
    ops
}

fn encode_header(ops: u64) -> u64 {
    let mut out = [0; MAX_HEADER];
    for _ in 0..ops {
        let header = FrameHeader::new(OpCode::Text, black_box(1_000));
        black_box(header.encode(black_box(&mut out)));
    }
    ops
}

fn encode_shared(ops: u64) -> u64 {
    let text = "a".repeat(125);
    for _ in 0..ops {
        black_box(Encoded::text(black_box(&text)));
    }
    ops
}

/// From an accepted socket to an open peer, and its end.
fn handshake(ops: u64) -> u64 {
    let mut rig = Rig::new(Rooms::new(|| {}, || {}));
    let mut head = request("/echo");
    for _ in 0..ops {
        let peer = rig.open(&mut head);
        rig.lose(peer);
    }
    ops
}

/// A turn of the endpoint: `depth` messages in one read, the answers taken at once.
fn echo(ops: u64, depth: usize) -> u64 {
    let mut rig = Rig::new(Rooms::new(|| {}, || {}));
    let peer = rig.open(&mut request("/echo"));
    let mut octets = source::text(&[b'a'; 125], NO_KEY).repeat(depth);
    let turns = ops.div_ceil(depth as u64);
    for _ in 0..turns {
        rig.receive(peer, &mut octets);
        assert_eq!(rig.transmit(), 127 * depth);
    }
    turns * depth as u64
}

/// One message to all in a room; what is counted are deliveries.
fn fanout(ops: u64, members: usize) -> u64 {
    let mut rig = Rig::new(Rooms::new(|| {}, || {}));
    let publisher = rig.open(&mut request("/room"));
    for _ in 1..members {
        rig.open(&mut request("/room"));
    }
    let mut octets = source::text(&[b'a'; 64], NO_KEY);
    let turns = ops.div_ceil(members as u64);
    for _ in 0..turns {
        rig.receive(publisher, &mut octets);
        assert_eq!(rig.transmit(), 66 * members);
    }
    turns * members as u64
}

/// The same through the hub, in its own words: a publish command to a channel without history.
fn hub(ops: u64, members: usize) -> u64 {
    let mut rig = Rig::new(Shard::new(Arc::new(hub_config()), WorkerId(0), 1));
    let command = |text: &str| source::text(text.as_bytes(), NO_KEY);
    let hello = r#"{"id":1,"connect":{}}
{"id":2,"subscribe":{"channel":"gate"}}"#;
    let mut peers = Vec::new();
    for _ in 0..members {
        let peer = rig.open(&mut request("/"));
        rig.receive(peer, &mut command(hello));
        let answer = rig.transcript();
        assert!(
            answer.contains(r#""subscribe":"#),
            "not subscribed: {answer}"
        );
        peers.push(peer);
    }
    let data = "a".repeat(48);
    let publish =
        format!(r#"{{"id":3,"publish":{{"channel":"gate","data":{{"value":"{data}"}}}}}}"#);
    let mut octets = command(&publish);
    let turns = ops.div_ceil(members as u64);
    for _ in 0..turns {
        rig.receive(peers[0], &mut octets);
        assert!(rig.transmit() > data.len() * members, "all get it");
    }
    turns * members as u64
}

/// The guard's verdict on a message of a chat, all rules asked and none of them finding anything.
fn judge(ops: u64, direction: Direction) -> u64 {
    let messages: Vec<String> = (0..64).map(chat).collect();
    let mut inspector = Inspector::new(&Rules::default()).expect("the default rules");
    for message in messages.iter().cycle().take(ops as usize) {
        let verdict = inspector.inspect(direction, Kind::Text, black_box(message.as_bytes()));
        assert_eq!(verdict, Verdict::Pass);
    }
    ops
}

/// 250 octets of JSON: names that come again, numbers that do not, and prose with an apostrophe.
fn chat(number: usize) -> String {
    let (room, user, sent) = (number % 9, 1_000 + number, 1_764_374_400_000 + number);
    let head = format!(
        r#"{{"type":"chat","id":"m-{number:08x}","room":"pier-{room}","user":{{"id":{user},"name":"Ada"}},"sent":{sent},"text":""#
    );
    let prose =
        "We'll meet at half past six, and there is tea for whoever has time to order some. ";
    let room = 250 - head.len() - 2;
    let text: String = prose.chars().cycle().skip(number).take(room).collect();
    format!("{head}{text}\"}}")
}

/// Channels that only deliver: no history, nobody is told who comes and goes.
fn hub_config() -> HubConfig {
    let plain = Namespace {
        history_size: 0,
        recovery: RecoveryMode::Off,
        read_history: Who::Nobody,
        presence: false,
        see_presence: Who::Nobody,
        join_leave: JoinLeave::Off,
        ..Namespace::open()
    };
    HubConfig {
        namespaces: Namespaces::new(plain),
        ..HubConfig::dev()
    }
}

/// A server that masks nothing draws nothing.
struct Never;

impl Random for Never {
    fn fill(&mut self, _: &mut [u8]) {
        unreachable!("a server draws no masking key");
    }
}

/// What an engine reads at once.
const READ: usize = 64 << 10;
