//! F12, a property: one verdict per message, whatever its wrapping. Fragments, pings between them, deflate with and without
//! a context, cuts at any octet; a seed says which. The compressor is not ours.

use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::{DataFormat, MZFlush};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate_guard::audit::{Event, What};
use tidegate_guard::behaviour::Behaviours;
use tidegate_guard::credential::Unsigned;
use tidegate_guard::door::Shared;
use tidegate_guard::{Budget, Guard, Policy};
use tidegate_proto::{
    Accept, Config, Deflate, DeflateConfig, Endpoint, EndpointConfig, Handler, Incoming,
    MailboxFull, Opening, Outboxes, PeerId, PeerInfo, Post, Random, Request, Time, WorkerId,
};

/// What is said, in texts, in JSON, in keys; harmless and not.
const SAID: &[&str] = &[
    r#"{"id":"42","text":"hello, see you at 10"}"#,
    r#"{"id":"1' UNION SELECT password FROM users -- "}"#,
    r#"{"name":"<script>alert(1)</script>"}"#,
    r#"{"file":"../../../../etc/passwd"}"#,
    r#"{"host":"x; cat /etc/passwd"}"#,
    r#"{"user":{"$gt":""}}"#,
    r#"{"__proto__":{"admin":true}}"#,
    r#"{"q":"${jndi:ldap://evil.example/a}"}"#,
    r#"{"t":"{{7*7}}{{config.items()}}"}"#,
    r#"{"x":"<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]>"}"#,
    r#"{"id":1,"id":2}"#,
    r#"{"n":1e999}"#,
    r#"{"nested":"{\"id\":\"1' OR '1'='1\"}"}"#,
    r#"{"u":"\u0027 UNION SELECT 1 -- "}"#,
    "1' UNION SELECT password FROM users -- ",
    "gr\u{fc}\u{df}e \u{1F600} \u{2764}",
    "{",
    "",
];

/// A small generator: the same seed gives the same wrappings.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

impl Random for Chance {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.below(256) as u8);
    }
}

struct NoMail;

impl Post<()> for NoMail {
    fn post(&mut self, _: WorkerId, (): ()) -> Result<(), MailboxFull> {
        Err(MailboxFull)
    }
}

/// What came through, and what was said of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Outcome {
    /// Text or not, and the octets; of each message that the handler got.
    messages: Vec<(bool, Vec<u8>)>,
    /// Rule, mode and place.
    verdicts: Vec<(String, &'static str, String)>,
    closed: Option<u16>,
}

type Notes = Arc<Mutex<Outcome>>;

/// The handler behind the guard: it keeps what it gets. The path says how it compresses.
struct Keeper(Notes);

impl Handler for Keeper {
    type Mail = ();

    fn open(&mut self, _: PeerId, request: &Request, _: &mut Outboxes<'_, ()>) -> Opening {
        let deflate = match request.path() {
            "/shared" => Deflate::Shared,
            "/dedicated" => Deflate::Dedicated {
                bits: 15,
                mem_level: 8,
            },
            _ => Deflate::Off,
        };
        Opening::Accept(Accept::new(Arc::new(Config {
            deflate: DeflateConfig::from(deflate),
            ..Config::default()
        })))
    }

    fn message(&mut self, _: PeerId, message: Incoming<'_>, _: &mut Outboxes<'_, ()>) {
        let is_text = matches!(message, Incoming::Text(_));
        let kept = (is_text, message.as_bytes().to_vec());
        self.0.lock().expect("no panic").messages.push(kept);
    }

    fn mail(&mut self, (): (), _: &mut Outboxes<'_, ()>) {}

    fn closed(&mut self, _: PeerId, why: &tidegate_proto::Closed, _: &mut Outboxes<'_, ()>) {
        let code = why.code.map(tidegate_proto::CloseCode::get);
        self.0.lock().expect("no panic").closed = code;
    }
}

/// Compresses one connection's messages, or each by itself.
struct Compressor {
    state: Box<CompressorOxide>,
    takeover: bool,
}

impl Compressor {
    fn new(takeover: bool) -> Compressor {
        let mut state = Box::new(CompressorOxide::new(create_comp_flags_from_zip_params(
            6, 0, 0,
        )));
        state.set_format_and_level(DataFormat::Raw, 6);
        Compressor { state, takeover }
    }

    fn compress(&mut self, payload: &[u8]) -> Vec<u8> {
        if !self.takeover {
            *self = Compressor::new(false);
        }
        let (mut out, mut rest) = (vec![0; payload.len() * 2 + 128], payload);
        let mut len = 0;
        loop {
            let done = deflate(&mut self.state, rest, &mut out[len..], MZFlush::Sync);
            len += done.bytes_written;
            rest = &rest[done.bytes_consumed..];
            if rest.is_empty() && len < out.len() {
                break;
            }
            out.resize(out.len() * 2, 0);
        }
        out.truncate(len);
        //= rfc7692#7.2.1  the sync flush's empty block is left out.
        assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]), "{payload:?}");
        out.truncate(len - 4);
        if out.is_empty() {
            out.push(0);
        }
        out
    }
}

struct World {
    endpoint: Endpoint<Guard<Keeper>>,
    notes: Notes,
    now: Time,
}

/// One client's connection.
struct Client {
    peer: PeerId,
    compressor: Option<Compressor>,
}

impl World {
    fn new(rules: &str, seed: u64) -> World {
        let notes = Notes::default();
        let policy = format!(
            "{rules}[rates]\nmessages = {{ per_second = 1000000, burst = 1000000 }}\n\
             bytes = {{ per_second = \"1GiB\", burst = \"1GiB\" }}\n"
        );
        let policy = Policy::parse(&policy).expect("a policy");
        let shared = Shared {
            verifier: Arc::new(|_, _| Err(Unsigned::Wrong)),
            tickets: Arc::default(),
            crowd: Arc::default(),
            unwritten: Arc::new(AtomicBool::new(false)),
            behaviours: Arc::new(Behaviours::new(1)),
        };
        let told = Arc::clone(&notes);
        let witness = Arc::new(move |event: Event| {
            if let What::Verdict {
                rule, mode, field, ..
            } = event.what
            {
                let place = field.unwrap_or_default().into_string();
                let verdict = (rule.into_owned(), mode.name(), place);
                told.lock().expect("no panic").verdicts.push(verdict);
            }
        });
        let guard = Guard::new(Keeper(Arc::clone(&notes)), Budget::default());
        let guard = guard.with_policy(Arc::new(policy), shared, witness, false);
        let now = Time::from_micros(1_000_000_000);
        let (config, random) = (EndpointConfig::default(), Box::new(Chance(seed)));
        World {
            endpoint: Endpoint::new(WorkerId(0), 1, config, random, now, guard),
            notes,
            now,
        }
    }

    fn open(&mut self, path: &str) -> Client {
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let secure = false;
        let peer = self
            .endpoint
            .handle_open(self.now, PeerInfo { remote, secure });
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        )
        .into_bytes();
        self.endpoint
            .handle_bytes(self.now, peer, &mut request, &mut NoMail);
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let n = self.endpoint.poll_transmit(peer, &mut slices);
        let answer: Vec<u8> = slices[..n]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        let agreed = answer.contains("permessage-deflate");
        assert_eq!(agreed, path != "/", "{answer}");
        let alone = answer.contains("client_no_context_takeover");
        assert_eq!(agreed && !alone, path == "/dedicated", "{answer}");
        Client {
            peer,
            compressor: agreed.then(|| Compressor::new(!alone)),
        }
    }

    /// What became of these octets.
    fn outcome(&mut self, client: &Client, chunks: Vec<Vec<u8>>) -> Outcome {
        *self.notes.lock().expect("no panic") = Outcome::default();
        // Pings have a budget by the second.
        self.now = self.now + Duration::from_millis(100);
        for mut chunk in chunks {
            self.endpoint
                .handle_bytes(self.now, client.peer, &mut chunk, &mut NoMail);
        }
        self.notes.lock().expect("no panic").clone()
    }
}

fn frame(first: u8, payload: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut key = [0; 4];
    chance.fill(&mut key);
    let mut octets = vec![first];
    match payload.len() {
        short @ 0..=125 => octets.push(0x80 | short as u8),
        long => {
            octets.push(0x80 | 126);
            octets.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    octets.extend_from_slice(&key);
    octets.extend(payload.iter().zip(key.iter().cycle()).map(|(o, k)| o ^ k));
    octets
}

/// A message in one of its wrappings, cut into what comes with one read.
fn wrapped(
    is_text: bool,
    payload: &[u8],
    client: &mut Client,
    chance: &mut Chance,
) -> Vec<Vec<u8>> {
    let compressor = client
        .compressor
        .as_mut()
        .filter(|_| !payload.is_empty() && chance.below(4) > 0);
    let compressed = compressor.map(|compressor| compressor.compress(payload));
    let body = compressed.as_deref().unwrap_or(payload);
    let mut cuts: Vec<usize> = (0..chance.below(8))
        .map(|_| chance.below(body.len() + 1))
        .collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    let mut octets = Vec::new();
    let last = cuts.len() - 2;
    for (n, pair) in cuts.windows(2).enumerate() {
        let opcode = match (n, is_text) {
            (0, true) => 1,
            (0, false) => 2,
            _ => 0,
        };
        let fin = if n == last { 0x80 } else { 0 };
        let rsv1 = if n == 0 && compressed.is_some() {
            0x40
        } else {
            0
        };
        if chance.below(4) == 0 {
            octets.extend(frame(0x89, b"between", chance));
        }
        octets.extend(frame(fin | rsv1 | opcode, &body[pair[0]..pair[1]], chance));
    }
    match chance.below(4) {
        0 => octets.iter().map(|octet| vec![*octet]).collect(),
        1 => {
            let most = 1 + chance.below(40);
            octets.chunks(most).map(<[u8]>::to_vec).collect()
        }
        _ => vec![octets],
    }
}

fn whole(is_text: bool, payload: &[u8], chance: &mut Chance) -> Vec<Vec<u8>> {
    vec![frame(if is_text { 0x81 } else { 0x82 }, payload, chance)]
}

/// Every message in `count` wrappings: what comes through, and what is said of it, is what it is for the message in one
/// frame. With `block`, each is the first of its connection.
fn property(rules: &str, block: bool, count: usize, seed: u64) {
    let (mut world, mut chance) = (World::new(rules, seed), Chance(seed));
    let said: Vec<(bool, &[u8])> = SAID
        .iter()
        .flat_map(|said| [(true, said.as_bytes()), (false, said.as_bytes())])
        .collect();
    let expected: Vec<Outcome> = said
        .iter()
        .map(|(is_text, payload)| {
            let client = world.open("/");
            world.outcome(&client, whole(*is_text, payload, &mut chance))
        })
        .collect();
    let found = expected
        .iter()
        .filter(|one| !one.verdicts.is_empty())
        .count();
    assert!(found >= 20 && found < expected.len(), "{expected:?}");
    let passed = expected
        .iter()
        .filter(|one| !one.messages.is_empty())
        .count();
    assert_eq!(passed == expected.len(), !block, "{expected:?}");
    let paths = ["/", "/shared", "/dedicated"];
    let mut clients = paths.map(|path| world.open(path));
    for round in 0..count {
        let (which, what) = (chance.below(3), chance.below(said.len()));
        let (is_text, payload) = said[what];
        if block {
            world
                .endpoint
                .handle_error(world.now, clients[which].peer, &mut NoMail);
            world.endpoint.release(clients[which].peer);
            clients[which] = world.open(paths[which]);
        }
        let chunks = wrapped(is_text, payload, &mut clients[which], &mut chance);
        let outcome = world.outcome(&clients[which], chunks);
        assert_eq!(
            outcome,
            expected[what],
            "seed {seed}, round {round}, {}: {}",
            paths[which],
            payload.escape_ascii()
        );
    }
}

const WATCH: &str = "[rules]\nmode = \"monitor\"\n";
const BLOCK: &str = "[rules]\nmode = \"block\"\n";

#[test]
fn f12_a_message_has_one_verdict_whatever_its_wrapping() {
    property(WATCH, false, 10_000, 0x5EED);
}

#[test]
fn f12_what_is_blocked_is_blocked_in_every_wrapping() {
    property(BLOCK, true, 2_000, 0xB10C);
}

/// `cargo xtask test --full`
#[test]
#[ignore = "a million of them take minutes"]
fn f12_a_million_wrappings() {
    property(WATCH, false, 900_000, 1);
    property(BLOCK, true, 100_000, 2);
}
