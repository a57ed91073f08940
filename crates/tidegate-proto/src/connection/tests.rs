//! Connections fed whole, octet by octet and with a tail: the same messages, answers and close codes.

#[cfg(feature = "deflate")]
mod deflate;
#[cfg(feature = "deflate")]
mod properties;
#[cfg(feature = "deflate")]
mod streams;

use super::*;
use crate::mask::{MaskKey, apply_mask};
use crate::time::Random;
use std::time::Duration;

/// Counts up: tests need difference, not secrecy.
struct Counter(u8);

impl Random for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

pub(crate) fn resources() -> Resources {
    Resources::new(Box::new(Counter(0)))
}

pub(crate) fn at(millis: u64) -> Time {
    Time::from_micros(millis * 1_000)
}

/// A frame as a client sends it.
pub(crate) fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = MaskKey::new([0x37, 0xFA, 0x21, 0x3D]);
    let header = FrameHeader {
        mask: Some(key),
        ..FrameHeader::new(OpCode::Text, payload.len() as u64)
    };
    let mut octets = [0; MAX_HEADER];
    let len = header.encode(&mut octets);
    octets[0] = first;
    let mut frame = octets[..len].to_vec();
    frame.extend_from_slice(payload);
    apply_mask(key, &mut frame[len..]);
    frame
}

/// A connection, what it delivered and what it wrote.
struct Harness {
    connection: Connection,
    resources: Resources,
    messages: Vec<(bool, Vec<u8>)>,
    /// The parts of a message that has not ended.
    unfinished: Option<(bool, Vec<u8>)>,
    /// Longest part, and how many parts.
    longest_part: usize,
    parts: usize,
    closed: Vec<Closed>,
    written: Vec<u8>,
}

impl Harness {
    fn new(role: Role, limits: Limits) -> Harness {
        let config = Config {
            limits,
            ..Config::default()
        };
        Harness::with(role, config)
    }

    fn with(role: Role, config: Config) -> Harness {
        Harness {
            connection: Connection::new(role, Arc::new(config), Outbox::default(), at(0)),
            resources: resources(),
            messages: Vec::new(),
            unfinished: None,
            longest_part: 0,
            parts: 0,
            closed: Vec::new(),
            written: Vec::new(),
        }
    }

    fn server() -> Harness {
        Harness::new(Role::Server, Limits::default())
    }

    /// Octets come to where they belong as long as the connection says where that is; returns the others.
    fn fill<'b>(&mut self, now: Time, mut bytes: &'b [u8]) -> &'b [u8] {
        while let Some(room) = self.connection.room(1, bytes.len()) {
            let (fit, rest) = bytes.split_at(room.len());
            room.copy_from_slice(fit);
            bytes = rest;
            if let Some(event) = self.connection.filled(now, fit.len(), &mut self.resources) {
                assert!(
                    !matches!(event, Event::Part(_)),
                    "what comes in parts is not assembled"
                );
                self.see(event);
            }
        }
        bytes
    }

    fn feed(&mut self, now: Time, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let mut input = &mut bytes[..];
        while let Some(event) = self
            .connection
            .receive(now, &mut input, &mut self.resources)
        {
            self.see(event);
        }
        assert!(input.is_empty(), "everything is taken");
    }

    fn see(&mut self, event: Event<'_>) {
        match &event {
            Event::Message(message) => {
                let row = (message.is_text(), message.as_bytes().to_vec());
                self.messages.push(row);
            }
            Event::Part(piece) => {
                let part = piece.part();
                assert_eq!(part.first, self.unfinished.is_none());
                let is_text = part.kind == MessageKind::Text;
                let message = self.unfinished.get_or_insert((is_text, Vec::new()));
                assert_eq!(message.0, is_text);
                message.1.extend_from_slice(part.bytes);
                self.longest_part = self.longest_part.max(part.bytes.len());
                self.parts += 1;
                if part.last {
                    self.messages.extend(self.unfinished.take());
                }
            }
            Event::Closed(closed) => self.closed.push(closed.clone()),
        }
        self.resources.recycle_event(event);
    }

    fn flush(&mut self, now: Time) {
        loop {
            let mut slices = [IoSlice::new(&[]); 4];
            let n = self.connection.poll_transmit(&mut slices);
            let octets: Vec<u8> = slices[..n].concat_slices();
            if octets.is_empty() {
                return;
            }
            self.written.extend_from_slice(&octets);
            self.connection
                .handle_sent(now, octets.len(), &mut self.resources);
        }
    }

    fn close_code(&self) -> Option<u16> {
        self.closed.first()?.code.map(CloseCode::get)
    }
}

trait Concat {
    fn concat_slices(&self) -> Vec<u8>;
}

impl Concat for [IoSlice<'_>] {
    fn concat_slices(&self) -> Vec<u8> {
        self.iter()
            .flat_map(|slice| slice.iter().copied())
            .collect()
    }
}

/// Octets a client sends, and what a server makes of them.
struct Row {
    name: &'static str,
    sent: Vec<u8>,
    messages: Vec<(bool, Vec<u8>)>,
    written: Vec<u8>,
    close: Option<u16>,
}

fn row(name: &'static str, frames: &[Vec<u8>]) -> Row {
    Row {
        name,
        sent: frames.concat(),
        messages: Vec::new(),
        written: Vec::new(),
        close: None,
    }
}

impl Row {
    fn text(mut self, text: &str) -> Row {
        self.messages.push((true, text.as_bytes().to_vec()));
        self
    }

    fn binary(mut self, bytes: &[u8]) -> Row {
        self.messages.push((false, bytes.to_vec()));
        self
    }

    fn pong(mut self, payload: &[u8]) -> Row {
        self.written.extend([0x8A, payload.len() as u8]);
        self.written.extend_from_slice(payload);
        self
    }

    /// The connection fails: the code, and a Close frame that carries it.
    fn fails(mut self, code: u16, error: ProtocolError) -> Row {
        let reason = error.to_string();
        self.written.extend([0x88, reason.len() as u8 + 2]);
        self.written.extend(code.to_be_bytes());
        self.written.extend(reason.as_bytes());
        self.close = Some(code);
        self
    }

    /// The peer's Close is answered by this one.
    fn closes(mut self, code: Option<u16>) -> Row {
        let body: Vec<u8> = code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
        self.written.extend([0x88, body.len() as u8]);
        self.written.extend(body);
        self.close = code;
        self
    }
}

fn rows() -> Vec<Row> {
    use ProtocolError::*;
    let f = client_frame;
    let mut unmasked = f(0x81, b"x");
    unmasked = vec![unmasked[0], 1, b'x'];
    vec![
        row("text", &[f(0x81, b"Hello")]).text("Hello"),
        row("empty text", &[f(0x81, b"")]).text(""),
        row("empty binary", &[f(0x82, b"")]).binary(b""),
        row("two messages", &[f(0x81, b"a"), f(0x82, b"b")])
            .text("a")
            .binary(b"b"),
        row("16-bit length", &[f(0x82, &[9; 126])]).binary(&[9; 126]),
        row("64-bit length", &[f(0x82, &vec![9; 70_000])]).binary(&vec![9; 70_000]),
        row(
            "fragments",
            &[f(0x01, b"Hel"), f(0x00, b""), f(0x80, b"lo")],
        )
        .text("Hello"),
        row(
            "a character cut by fragments",
            &[f(0x01, b"\xF0\x9F"), f(0x80, b"\x98\x80")],
        )
        .text("😀"),
        row(
            "a ping between fragments",
            &[f(0x01, b"He"), f(0x89, b"?"), f(0x80, b"y")],
        )
        .pong(b"?")
        .text("Hey"),
        row("ping, empty", &[f(0x89, b"")]).pong(b""),
        row("ping of 125", &[f(0x89, &[5; 125])]).pong(&[5; 125]),
        row("pong unasked", &[f(0x8A, b"hi"), f(0x81, b"x")]).text("x"),
        row("close, empty", &[f(0x88, b"")]).closes(None),
        row("close 1000", &[f(0x88, b"\x03\xE8bye")]).closes(Some(1000)),
        row("close 4999", &[f(0x88, b"\x13\x87")]).closes(Some(4999)),
        row(
            "nothing after a close passes",
            &[f(0x88, b"\x03\xE8"), f(0x81, b"late")],
        )
        .closes(Some(1000)),
        row(
            "close between fragments",
            &[f(0x01, b"x"), f(0x88, b"\x03\xE8")],
        )
        .closes(Some(1000)),
        row("close of one octet", &[f(0x88, b"\x03")]).fails(1002, CloseBodyOfOneByte),
        row("close 1005", &[f(0x88, b"\x03\xED")]).fails(1002, BadCloseCode { code: 1005 }),
        row("close reason not UTF-8", &[f(0x88, b"\x03\xE8\xFF")]).fails(1007, CloseReasonNotUtf8),
        row("unmasked", &[unmasked]).fails(1002, Unmasked),
        row("RSV1", &[f(0xC1, b"x")]).fails(1002, ReservedBits),
        row("RSV2", &[f(0xA1, b"x")]).fails(1002, ReservedBits),
        row("RSV3", &[f(0x91, b"x")]).fails(1002, ReservedBits),
        row("opcode 3", &[f(0x83, b"x")]).fails(1002, ReservedOpCode { code: 3 }),
        row("opcode 15", &[f(0x8F, b"x")]).fails(1002, ReservedOpCode { code: 15 }),
        row("ping in pieces", &[f(0x09, b"x")]).fails(
            1002,
            FragmentedControl {
                opcode: OpCode::Ping,
            },
        ),
        row("ping of 126", &[f(0x89, &[0; 126])]).fails(
            1002,
            ControlTooLong {
                opcode: OpCode::Ping,
            },
        ),
        row("orphan continuation", &[f(0x80, b"x")]).fails(1002, OrphanContinuation),
        row("text inside text", &[f(0x01, b"x"), f(0x81, b"y")]).fails(1002, InterleavedMessage),
        row("length not minimal", &[b"\x82\xFE\x00\x05".to_vec()]).fails(1002, LengthNotMinimal),
        row(
            "length with its top bit",
            &[b"\x82\xFF\x80\0\0\0\0\0\0\0".to_vec()],
        )
        .fails(1002, LengthTooLarge),
        row(
            "2^63-1 octets",
            &[b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0".to_vec()],
        )
        .fails(1009, MessageTooBig),
        row("overlong UTF-8", &[f(0x81, b"\xC0\x80")]).fails(1007, TextNotUtf8),
        row("text ends inside a character", &[f(0x81, b"\xF0\x9F")]).fails(1007, TextNotUtf8),
        row(
            "bad octet in a later fragment",
            &[f(0x01, b"ok"), f(0x00, b"\xFF")],
        )
        .fails(1007, TextNotUtf8),
        row(
            "messages before an error are delivered",
            &[f(0x81, b"ok"), f(0x83, b"")],
        )
        .text("ok")
        .fails(1002, ReservedOpCode { code: 3 }),
    ]
}

fn check(row: &Row, step: usize, tail: &[u8]) {
    let mut server = Harness::server();
    let sent = [&row.sent, tail].concat();
    for piece in sent.chunks(step) {
        server.feed(at(0), piece);
        server.flush(at(0));
    }
    let how = format!("{} in {step}s", row.name);
    let delivered = &server.messages[..row.messages.len().min(server.messages.len())];
    assert_eq!(delivered, &row.messages[..], "{how}");
    assert_eq!(server.close_code(), row.close, "{how}");
    let over = row.close.is_some() || row.name == "close, empty";
    assert_eq!(server.closed.len(), usize::from(over), "{how}");
    if over || tail.is_empty() {
        assert_eq!(server.messages.len(), row.messages.len(), "{how}");
        assert_eq!(server.written, row.written, "{how}");
    } else {
        assert_eq!(server.messages.len(), row.messages.len() + 1, "{how}");
    }
}

#[test]
fn the_table_holds_whole_octet_by_octet_and_with_a_tail() {
    let tail = client_frame(0x81, b"tail");
    for row in rows() {
        for step in [usize::MAX, 1, 2, 3, 7, 1_000] {
            check(&row, step.min(row.sent.len() + tail.len()), b"");
            check(&row, step.min(row.sent.len() + tail.len()), &tail);
        }
    }
}

#[test]
fn bad_text_fails_before_its_frame_has_ended() {
    let mut frame = client_frame(0x81, b"abc\xFFdef");
    frame.truncate(frame.len() - 3);
    let mut server = Harness::server();
    server.feed(at(0), &frame);
    assert_eq!(server.close_code(), Some(1007));
}

#[test]
fn a_client_masks_and_refuses_masked_frames() {
    let mut client = Harness::new(Role::Client, Limits::default());
    client.connection.send_text("Hello", &mut client.resources);
    client
        .connection
        .send(&Encoded::text("Hello"), &mut client.resources);
    client.flush(at(0));
    assert_eq!(client.written[..6], [0x81, 0x85, 1, 2, 3, 4]);
    let mut server = Harness::server();
    server.feed(at(0), &client.written);
    assert_eq!(server.messages, vec![(true, b"Hello".to_vec()); 2]);

    client.feed(at(0), b"\x81\x02ok");
    assert_eq!(client.messages, [(true, b"ok".to_vec())]);
    client.feed(at(0), &client_frame(0x81, b"x"));
    assert_eq!(client.closed[0].cause, Some(ProtocolError::Masked));
}

#[test]
fn sizes_and_counts_are_limited_before_memory_is_spent() {
    let limits = Limits {
        max_message_size: 1_000,
        max_fragments: 4,
        ..Limits::default()
    };
    let fragments = |n: usize, payload: &[u8]| {
        let mut sent = client_frame(0x02, payload);
        for _ in 1..n {
            sent.extend(client_frame(0x00, payload));
        }
        sent
    };
    let rows = [
        (client_frame(0x82, &[0; 1_000]), None),
        (client_frame(0x82, &[0; 1_001])[..8].to_vec(), Some(1009)),
        (fragments(4, b""), None),
        (fragments(5, b""), Some(1008)),
        (fragments(2, &[0; 500]), Some(1009)),
        (fragments(4, &[0; 200]), Some(1009)),
    ];
    for (sent, expected) in rows {
        let mut server = Harness::new(Role::Server, limits.clone());
        server.feed(at(0), &sent);
        assert_eq!(server.close_code(), expected);
    }
    let many = Limits {
        max_fragments: 1_000,
        ..limits.clone()
    };
    let mut server = Harness::new(Role::Server, many);
    server.feed(at(0), &fragments(20, b"x"));
    assert_eq!(server.close_code(), Some(1008), "too heavy by their number");
    let short = Limits {
        max_frame_size: 100,
        ..limits
    };
    let rows = [
        (client_frame(0x82, &[0; 100]), None),
        (client_frame(0x82, &[0; 101]), Some(1009)),
        (client_frame(0x82, &[0; 101])[..8].to_vec(), Some(1009)),
        (fragments(3, &[0; 100]), None),
    ];
    for (sent, expected) in rows {
        let mut server = Harness::new(Role::Server, short.clone());
        server.feed(at(0), &sent);
        assert_eq!(server.close_code(), expected, "frames of 100");
    }
}

#[test]
fn pongs_are_in_order_while_few_wait_and_then_only_the_newest() {
    let mut server = Harness::server();
    for i in 0..100u8 {
        server.feed(at(0), &client_frame(0x89, &[i]));
    }
    server.flush(at(0));
    let payloads: Vec<u8> = server.written.chunks(3).map(|pong| pong[2]).collect();
    let expected: Vec<u8> = (0..16).chain([99]).collect();
    assert_eq!(payloads, expected);
}

#[test]
fn once_the_transport_has_failed_nothing_is_owed_not_even_the_newest_pong() {
    let mut harness = Harness::server();
    for n in 0..=MAX_PONGS {
        harness.feed(at(0), &client_frame(0x89, &[n]));
    }
    // A part of it went out, then the transport failed in the middle of a frame.
    let resources = &mut harness.resources;
    harness.connection.handle_sent(at(0), 4, resources);
    harness.connection.handle_end(resources);
    harness.connection.handle_sent(at(0), 0, resources);
    assert_eq!(harness.connection.queued(), 0);
}

#[test]
fn a_flood_of_control_frames_is_closed_with_1008_and_a_steady_stream_is_not() {
    let mut flood = Harness::server();
    for _ in 0..1_001 {
        flood.feed(at(0), &client_frame(0x89, b""));
    }
    assert_eq!(flood.close_code(), Some(1008));

    let mut steady = Harness::server();
    for i in 0..5_000 {
        steady.feed(at(i * 5), &client_frame(0x89, b""));
    }
    assert_eq!(steady.close_code(), None);
}

#[test]
fn our_close_waits_for_the_peers_and_not_for_ever() {
    let mut server = Harness::server();
    server
        .connection
        .close(at(0), CloseCode::GOING_AWAY, "bye", &mut server.resources);
    assert_eq!(
        server.connection.send_text("late", &mut server.resources),
        Level::Gone
    );
    server.flush(at(0));
    assert_eq!(server.written, b"\x88\x05\x03\xE9bye");
    assert_eq!(server.connection.transport(), Transport::Open);
    server.feed(at(10), &client_frame(0x81, b"dropped"));
    server.feed(at(20), &client_frame(0x88, b"\x03\xE9"));
    assert!(server.messages.is_empty());
    assert_eq!(
        (server.closed[0].by, server.closed[0].clean),
        (Side::Us, true)
    );
    assert_eq!(server.connection.transport(), Transport::ShutdownWrite);

    let mut mute = Harness::server();
    mute.connection
        .close(at(0), CloseCode::NORMAL, "", &mut mute.resources);
    assert_eq!(mute.connection.poll_timeout(), Some(at(5_000)));
    assert!(
        mute.connection
            .handle_timeout(at(4_999), &mut mute.resources)
            .is_none()
    );
    let closed = mute
        .connection
        .handle_timeout(at(5_000), &mut mute.resources)
        .unwrap();
    assert_eq!(
        (closed.clean, closed.cause),
        (false, Some(ProtocolError::CloseTimeout))
    );
    assert_eq!(mute.connection.transport(), Transport::Close);
}

#[test]
fn a_message_in_progress_when_we_close_is_skipped() {
    let message = client_frame(0x82, &[7; 5_000]);
    let mut server = Harness::server();
    server.feed(at(0), &message[..1_000]);
    server
        .connection
        .close(at(0), CloseCode::NORMAL, "", &mut server.resources);
    server.feed(at(0), &message[1_000..]);
    server.feed(at(0), &client_frame(0x88, b"\x03\xE8"));
    assert!(server.messages.is_empty());
    assert!(server.closed[0].clean);
}

#[test]
fn after_an_error_the_peer_has_a_second_to_read_the_code() {
    let mut server = Harness::server();
    server.feed(at(0), &client_frame(0x83, b""));
    assert_eq!(server.connection.transport(), Transport::ShutdownWrite);
    server.flush(at(100));
    assert_eq!(server.connection.poll_timeout(), Some(at(1_100)));
    assert!(
        server
            .connection
            .handle_timeout(at(1_100), &mut server.resources)
            .is_none()
    );
    assert_eq!(server.connection.transport(), Transport::Close);
}

#[test]
fn silence_is_pinged_and_then_given_up() {
    let mut server = Harness::server();
    assert_eq!(server.connection.poll_timeout(), Some(at(25_000)));
    assert!(
        server
            .connection
            .handle_timeout(at(25_000), &mut server.resources)
            .is_none()
    );
    server.flush(at(25_000));
    assert_eq!(server.written, b"\x89\x00");
    let closed = server
        .connection
        .handle_timeout(at(35_000), &mut server.resources)
        .unwrap();
    assert_eq!(closed.by, Side::Transport);
    assert_eq!(closed.cause, Some(ProtocolError::Unresponsive));
    assert_eq!(server.connection.transport(), Transport::Close);
}

#[test]
fn what_is_owed_is_written_though_the_peer_sends_no_more() {
    let mut server = Harness::server();
    server.feed(at(0), &client_frame(0x88, b"\x03\xE8"));
    assert!(
        server
            .connection
            .handle_eof(at(0), &mut server.resources)
            .is_none()
    );
    server.flush(at(0));
    assert_eq!(server.written, b"\x88\x02\x03\xE8");

    let mut cut = Harness::server();
    let closed = cut
        .connection
        .handle_eof(at(0), &mut cut.resources)
        .unwrap();
    assert_eq!(
        (closed.by, closed.code, closed.clean),
        (Side::Transport, None, false)
    );
}

#[test]
fn a_full_outbox_refuses_and_a_high_one_says_so() {
    let limits = Limits {
        outbox: 1_000,
        outbox_high: 400,
        outbox_low: 100,
        ..Limits::default()
    };
    let mut server = Harness::new(Role::Server, limits);
    let r = &mut server.resources;
    assert_eq!(server.connection.send_binary(&[0; 300], r), Level::Low);
    assert_eq!(server.connection.send_binary(&[0; 300], r), Level::High);
    assert!(server.connection.is_high());
    assert_eq!(server.connection.send_binary(&[0; 600], r), Level::Full);
    assert!(
        !server
            .connection
            .handle_sent(at(0), 500, &mut server.resources)
    );
    assert!(
        server
            .connection
            .handle_sent(at(0), 50, &mut server.resources)
    );
    assert!(!server.connection.is_high());
    server.flush(at(0));
    let huge = vec![0; 5_000];
    let level = server.connection.send_binary(&huge, &mut server.resources);
    assert_eq!(level, Level::High, "alone a message may exceed the limit");
}

#[test]
fn idle_state_is_small() {
    assert!(
        size_of::<Connection>() <= 176,
        "{}",
        size_of::<Connection>()
    );
    assert!(size_of::<Event<'_>>() <= 64);
    assert_eq!(
        Duration::from_secs(25),
        Config::default().timeouts.ping_interval.unwrap()
    );
}

#[test]
fn a_peer_that_takes_its_octets_slowly_is_alive_though_it_is_not_read() {
    let mut server = Harness::server();
    let level = server
        .connection
        .send_binary(&[0; 300 << 10], &mut server.resources);
    assert_eq!(level, Level::High);
    for second in 1..200 {
        server
            .connection
            .handle_sent(at(second * 1_000), 1_000, &mut server.resources);
        assert!(
            server
                .connection
                .handle_timeout(at(second * 1_000), &mut server.resources)
                .is_none()
        );
    }
    assert!(server.connection.is_open());
    let since = |second: u64| at((199 + second) * 1_000);
    assert!(
        server
            .connection
            .handle_timeout(since(25), &mut server.resources)
            .is_none()
    );
    let closed = server
        .connection
        .handle_timeout(since(35), &mut server.resources)
        .unwrap();
    assert_eq!(closed.cause, Some(ProtocolError::Unresponsive));
}

#[test]
fn empty_fragments_have_a_limit_of_their_own() {
    let limits = Limits {
        max_empty_fragments: 2,
        ..Limits::default()
    };
    let f = |first: u8| client_frame(first, b"");
    let fine = [f(0x01), f(0x00), client_frame(0x00, b"x"), f(0x80), f(0x81)].concat();
    let mut server = Harness::new(Role::Server, limits.clone());
    server.feed(at(0), &fine);
    assert_eq!((server.messages.len(), server.close_code()), (2, None));
    let mut server = Harness::new(Role::Server, limits);
    server.feed(at(0), &[f(0x01), f(0x00), f(0x00), f(0x80)].concat());
    assert_eq!(
        (server.messages.len(), server.close_code()),
        (0, Some(1_008))
    );
    let cause = server.closed[0].cause;
    assert_eq!(cause, Some(ProtocolError::TooManyEmptyFragments));
}

#[test]
fn a_message_that_comes_too_slowly_is_closed_with_1008_and_the_next_one_has_its_own_time() {
    let mut config = Config::default();
    config.timeouts.message = Some(std::time::Duration::from_secs(5));
    let mut server = Harness::with(Role::Server, config);
    // Whole messages know no such deadline, nor does the silence between them.
    server.feed(at(0), &client_frame(0x81, b"whole"));
    assert_eq!(server.connection.poll_timeout(), Some(at(25_000)));
    let cut = client_frame(0x82, &[7; 100]);
    server.feed(at(1_000), &cut[..20]);
    assert_eq!(server.connection.poll_timeout(), Some(at(6_000)));
    server.feed(at(5_000), &cut[20..]);
    assert_eq!(server.connection.poll_timeout(), Some(at(30_000)));
    for (n, octet) in cut[..99].iter().enumerate() {
        server.feed(at(6_000 + 50 * n as u64), &[*octet]);
    }
    // The header of six octets makes no message; the seventh octet came at 6.3 s.
    let deadline = server.connection.poll_timeout().expect("one");
    assert_eq!(deadline, at(11_250));
    let closed = server
        .connection
        .handle_timeout(deadline, &mut server.resources);
    let cause = closed.and_then(|closed| closed.cause);
    assert_eq!(cause, Some(ProtocolError::MessageTooSlow));
    assert_eq!(server.messages.len(), 2);
}

/// All that is owed, which is then taken as written.
fn owed(connection: &mut Connection, resources: &mut Resources) -> Vec<u8> {
    let mut written = Vec::new();
    while connection.queued() > 0 {
        let mut slices = [IoSlice::new(&[]); 4];
        let filled = connection.poll_transmit(&mut slices);
        let octets: Vec<u8> = slices[..filled]
            .iter()
            .flat_map(|s| s.iter().copied())
            .collect();
        assert!(filled > 0 && slices[..filled].iter().all(|slice| !slice.is_empty()));
        if let Some(only) = connection.poll_transmit_one() {
            assert_eq!(only, octets);
        } else {
            assert!(filled > 1);
        }
        connection.handle_sent(at(0), octets.len(), resources);
        written.extend(octets);
    }
    assert!(connection.poll_transmit_one().is_none());
    written
}

#[test]
fn a_message_copied_behind_others_is_the_frame_that_any_way_makes() {
    let (mut quick, mut plain) = (resources(), resources());
    let server = || Connection::new(Role::Server, Arc::default(), Outbox::default(), at(0));
    let (mut by_hand, mut by_send) = (server(), server());
    assert_eq!(
        by_hand.send_behind(MessageKind::Text, b"a"),
        None,
        "behind what?"
    );
    // Sizes on both sides of each form of the length, and of what a buffer holds; each round begins with a small one.
    for len in [
        0,
        1,
        125,
        126,
        127,
        1_000,
        16 << 10,
        60_000,
        65_535,
        65_536,
        100_000,
    ] {
        let payload = vec![b'x'; len];
        for connection in [&mut by_hand, &mut by_send] {
            connection.send_text("first", &mut quick);
        }
        let behind = by_hand.send_behind(MessageKind::Binary, &payload);
        if behind.is_none() {
            by_hand.send_binary(&payload, &mut quick);
        }
        assert_eq!(
            by_send.send(&Encoded::binary(&payload), &mut plain),
            behind.unwrap_or(by_hand.level())
        );
        assert!(
            len > 900 || behind.is_some(),
            "{len} finds room in the smallest buffer"
        );
        let (ours, theirs) = (
            owed(&mut by_hand, &mut quick),
            owed(&mut by_send, &mut plain),
        );
        assert!(ours == theirs, "{len}");
        // And alone, in the buffer that the round before has left warm.
        by_hand.send_binary(&payload, &mut quick);
        by_send.send(&Encoded::binary(&payload), &mut plain);
        let (ours, theirs) = (
            owed(&mut by_hand, &mut quick),
            owed(&mut by_send, &mut plain),
        );
        assert!(ours == theirs, "{len} alone");
    }
}

#[test]
fn the_quick_way_to_send_knows_the_limits_and_who_may_not_take_it() {
    let mut r = resources();
    let limits = Limits {
        outbox: 200,
        outbox_high: 100,
        outbox_low: 50,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let mut server = Connection::new(Role::Server, Arc::new(config), Outbox::default(), at(0));
    assert_eq!(server.send_text("a", &mut r), Level::Low);
    assert_eq!(
        server.send_behind(MessageKind::Text, &[b'b'; 50]),
        Some(Level::Low)
    );
    assert_eq!(
        server.send_behind(MessageKind::Text, &[b'c'; 50]),
        Some(Level::High)
    );
    assert!(server.is_high());
    assert_eq!(server.send_behind(MessageKind::Text, &[b'd'; 100]), None);
    assert_eq!(server.send_binary(&[b'd'; 100], &mut r), Level::Full);
    server.close(at(0), CloseCode::NORMAL, "", &mut r);
    assert_eq!(server.send_behind(MessageKind::Text, b"e"), None);

    let mut client = Connection::new(Role::Client, Arc::default(), Outbox::default(), at(0));
    client.send_text("a", &mut r);
    assert_eq!(
        client.send_behind(MessageKind::Text, b"b"),
        None,
        "its frames are masked"
    );
}

#[test]
fn who_reads_the_clock_late_says_so_before_the_silence_is_judged() {
    let mut r = resources();
    let mut server = Connection::new(Role::Server, Arc::default(), Outbox::default(), at(0));
    let mut frame = client_frame(0x82, b"hi");
    let message = server.receive_whole(&mut &mut frame[..]);
    assert!(matches!(message, Some(Ok(Message::Binary(b"hi")))));
    server.heard(at(20_000));
    assert_eq!(server.poll_timeout(), Some(at(45_000)));
    assert!(server.handle_timeout(at(44_000), &mut r).is_none());
    assert_eq!(server.queued(), 0, "no ping yet");
}
