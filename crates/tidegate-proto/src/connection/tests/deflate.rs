//! Compressed connections: the RFC's own examples, odd and hostile payloads, contexts, budgets, broadcasts.

use super::*;
use crate::deflate::testing::{Words, bomb, inflate_strictly};
use crate::deflate::{
    CodecKey, Compressor, Deflate, DeflateConfig, Negotiated, accept, judge, offer,
};
use crate::handshake::parse_offers;

const SHARED: Negotiated = Negotiated {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: 15,
    client_max_window_bits: 15,
};
const DEDICATED: Deflate = Deflate::Dedicated {
    bits: 15,
    mem_level: 8,
};

pub(super) fn config(mode: Deflate) -> Config {
    Config {
        deflate: DeflateConfig {
            threshold: 1,
            ..DeflateConfig::from(mode)
        },
        ..Config::default()
    }
}

pub(super) fn compressed(role: Role, negotiated: Negotiated, config: Config) -> Harness {
    let mut harness = Harness::with(role, config);
    harness
        .connection
        .set_deflate(negotiated, &mut harness.resources);
    harness
}

/// A client and a server that have agreed as their modes let them.
fn pair(client: Deflate, server: Deflate) -> (Harness, Harness) {
    agreed(config(client), config(server))
}

/// A client and a server that have agreed as their settings let them.
fn agreed(client: Config, server: Config) -> (Harness, Harness) {
    let header = offer(&client.deflate).expect("an offer");
    let offers = parse_offers(header.as_bytes()).expect("a valid header");
    let accepted = accept(&offers, &server.deflate, None).expect("accepted");
    let answer = parse_offers(accepted.header.as_bytes()).expect("a valid header");
    let judged = judge(&answer, &client.deflate)
        .expect("good")
        .expect("accepted");
    (
        compressed(Role::Client, judged, client),
        compressed(Role::Server, accepted.negotiated, server),
    )
}

/// Moves what `from` has written to `to`, in pieces of `step`.
fn pass(from: &mut Harness, to: &mut Harness, step: usize) -> usize {
    from.flush(at(0));
    let written = std::mem::take(&mut from.written);
    for piece in written.chunks(step) {
        to.feed(at(0), piece);
    }
    written.len()
}

fn deflated(level: u8, messages: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut compressor = Compressor::new(CodecKey {
        level,
        bits: 15,
        mem_level: 8,
    });
    let deflate = |message: &&[u8]| {
        let mut out = Vec::new();
        compressor.message(message, &mut out);
        out
    };
    messages.iter().map(deflate).collect()
}

/// What a client with its context, or without one, sends, and what becomes of it.
fn rows() -> Vec<(bool, Row)> {
    use ProtocolError::*;
    let f = client_frame;
    const HELLO: &[u8] = b"\xF2\x48\xCD\xC9\xC9\x07\x00";
    const AGAIN: &[u8] = b"\xF2\x00\x11\x00\x00";
    let bad_text = deflated(6, &[b"ok \xFF ok, and much that follows it"]).remove(0);
    let cut_text = deflated(6, &["ends in 🌊".as_bytes().split_last().expect("some").1]).remove(0);
    let wave = deflated(6, &["one 🌊 two".as_bytes()]).remove(0);
    let (head, tail) = wave.split_at(wave.len() / 2);
    vec![
        // RFC 7692 §7.2.3.1 to §7.2.3.6
        (false, row("hello", &[f(0xC1, HELLO)]).text("Hello")),
        (
            false,
            row(
                "hello in two frames",
                &[f(0x41, &HELLO[..3]), f(0x80, &HELLO[3..])],
            )
            .text("Hello"),
        ),
        (
            true,
            row(
                "hello again, by reference",
                &[f(0xC1, HELLO), f(0xC1, AGAIN)],
            )
            .text("Hello")
            .text("Hello"),
        ),
        (
            false,
            row("stored", &[f(0xC1, b"\x00\x05\x00\xFA\xFFHello\x00")]).text("Hello"),
        ),
        (
            false,
            row(
                "a final block",
                &[f(0xC1, b"\xF3\x48\xCD\xC9\xC9\x07\x00\x00")],
            )
            .text("Hello"),
        ),
        (
            false,
            row(
                "two blocks",
                &[f(
                    0xC1,
                    b"\xF2\x48\x05\x00\x00\x00\xFF\xFF\xCA\xC9\xC9\x07\x00",
                )],
            )
            .text("Hello"),
        ),
        (false, row("empty", &[f(0xC1, b"\x00")]).text("")),
        (
            false,
            row("empty, from zlib", &[f(0xC2, b"\x02\x00")]).binary(b""),
        ),
        (
            false,
            row(
                "empty, in empty frames",
                &[f(0x42, b""), f(0x00, b""), f(0x80, b"\x00")],
            )
            .binary(b""),
        ),
        (false, row("nothing at all", &[f(0xC1, b"")]).text("")),
        (
            false,
            row(
                "no octet after the final block",
                &[f(0xC1, b"\xF3\x48\xCD\xC9\xC9\x07\x00")],
            )
            .text("Hello"),
        ),
        // messages beside each other
        (
            false,
            row("two by themselves", &[f(0xC1, HELLO), f(0xC2, HELLO)])
                .text("Hello")
                .binary(b"Hello"),
        ),
        (
            false,
            row(
                "no reference without a context",
                &[f(0xC1, HELLO), f(0xC1, AGAIN)],
            )
            .text("Hello")
            .fails(1007, DeflateCorrupt),
        ),
        (
            true,
            row(
                "an uncompressed message does not move the window",
                &[f(0xC1, HELLO), f(0x81, b"between"), f(0xC1, AGAIN)],
            )
            .text("Hello")
            .text("between")
            .text("Hello"),
        ),
        (
            true,
            row(
                "an empty one does not either",
                &[
                    f(0xC1, HELLO),
                    f(0xC1, b"\x00"),
                    f(0xC1, b""),
                    f(0xC1, AGAIN),
                ],
            )
            .text("Hello")
            .text("")
            .text("")
            .text("Hello"),
        ),
        (
            true,
            row(
                "a final block loses the window",
                &[
                    f(0xC1, HELLO),
                    f(0xC1, b"\xF3\x48\xCD\xC9\xC9\x07\x00\x00"),
                    f(0xC1, HELLO),
                ],
            )
            .text("Hello")
            .text("Hello")
            .text("Hello"),
        ),
        (
            true,
            row(
                "a reference across a final block",
                &[f(0xC1, b"\xF3\x48\xCD\xC9\xC9\x07\x00"), f(0xC1, AGAIN)],
            )
            .text("Hello")
            .fails(1007, DeflateCorrupt),
        ),
        (
            true,
            row(
                "a reference to what follows the final block",
                &[
                    f(
                        0xC1,
                        b"\xF3\x48\xCD\xC9\xC9\x07\x00\xF2\x48\xCD\xC9\xC9\x07\x00",
                    ),
                    f(0xC1, AGAIN),
                ],
            )
            .text("HelloHello")
            .text("Hello"),
        ),
        (
            false,
            row(
                "a ping inside",
                &[f(0x41, &HELLO[..3]), f(0x89, b"?"), f(0x80, &HELLO[3..])],
            )
            .pong(b"?")
            .text("Hello"),
        ),
        (
            false,
            row("a character across frames", &[f(0x41, head), f(0x80, tail)]).text("one 🌊 two"),
        ),
        // RSV1 elsewhere
        (
            false,
            row(
                "RSV1 on a continuation",
                &[f(0x41, &HELLO[..3]), f(0xC0, &HELLO[3..])],
            )
            .fails(1002, ReservedBits),
        ),
        (
            false,
            row("RSV1 on a ping", &[f(0xC9, b"x")]).fails(1002, ReservedBits),
        ),
        (
            false,
            row("RSV1 on a close", &[f(0xC8, b"\x03\xE8")]).fails(1002, ReservedBits),
        ),
        (
            false,
            row("RSV2 too", &[f(0xE1, HELLO)]).fails(1002, ReservedBits),
        ),
        // bad payloads
        (
            false,
            row("corrupt", &[f(0xC1, b"\xFF\xFF\xFF")]).fails(1007, DeflateCorrupt),
        ),
        (
            false,
            row("cut short", &[f(0xC1, &HELLO[..5])]).fails(1007, DeflateCorrupt),
        ),
        (
            false,
            row(
                "the tail is there",
                &[f(0xC1, b"\xF2\x48\xCD\xC9\xC9\x07\x00\x00\x00\xFF\xFF")],
            )
            .fails(1007, DeflateCorrupt),
        ),
        (
            false,
            row("text that is not UTF-8", &[f(0xC1, &bad_text)]).fails(1007, TextNotUtf8),
        ),
        (
            false,
            row("the same as binary", &[f(0xC2, &bad_text)])
                .binary(b"ok \xFF ok, and much that follows it"),
        ),
        (
            false,
            row("text that ends in a character", &[f(0xC1, &cut_text)]).fails(1007, TextNotUtf8),
        ),
        (
            false,
            row("a bomb", &[f(0xC2, &bomb(32 << 20))]).fails(1009, InflatesTooMuch),
        ),
        (
            false,
            row(
                "the message before a bomb",
                &[f(0xC1, HELLO), f(0xC2, &bomb(32 << 20))],
            )
            .text("Hello")
            .fails(1009, InflatesTooMuch),
        ),
    ]
}

fn check(with_context: bool, row: &Row, step: usize, tail: &[u8]) {
    // With room for its inflater, and with the octets of its window alone.
    for context_budget in [64 << 20, 0] {
        check_within(context_budget, with_context, row, step, tail);
    }
}

fn check_within(context_budget: usize, with_context: bool, row: &Row, step: usize, tail: &[u8]) {
    let negotiated = Negotiated {
        client_no_context_takeover: !with_context,
        ..SHARED
    };
    let mut config = config(Deflate::Shared);
    config.deflate.context_budget = context_budget;
    let mut server = compressed(Role::Server, negotiated, config);
    let sent = [&row.sent, tail].concat();
    for piece in sent.chunks(step) {
        server.feed(at(0), piece);
        server.flush(at(0));
    }
    let how = format!("{} in {step}s", row.name);
    let over = row.close.is_some();
    let expected = row.messages.len() + usize::from(!over && !tail.is_empty());
    assert_eq!(server.messages.len(), expected, "{how}");
    assert_eq!(
        &server.messages[..row.messages.len()],
        &row.messages[..],
        "{how}"
    );
    assert_eq!(server.close_code(), row.close, "{how}");
    assert_eq!(server.written, row.written, "{how}");
    server.connection.handle_end(&mut server.resources);
    let kept = server.resources.codecs.kept_by_connections();
    assert_eq!(kept, 0, "{how}");
}

#[test]
fn the_table_of_payloads_holds_whole_octet_by_octet_and_with_a_tail() {
    let tail = client_frame(0x81, b"tail");
    for (with_context, row) in rows() {
        for step in [1 << 30, 1, 2, 3, 7, 1_000] {
            check(with_context, &row, step, b"");
            check(with_context, &row, step, &tail);
        }
    }
}

#[test]
fn without_the_extension_rsv1_fails() {
    let mut server = Harness::with(Role::Server, config(Deflate::Shared));
    server.feed(at(0), &client_frame(0xC1, b"\x00"));
    assert_eq!(server.closed[0].cause, Some(ProtocolError::ReservedBits));
}

#[test]
fn what_is_sent_is_what_the_rfc_shows() {
    for frame in [None, Some(Encoded::text("Hello"))] {
        let mut server = compressed(Role::Server, SHARED, config(Deflate::Shared));
        let (connection, r) = (&mut server.connection, &mut server.resources);
        for _ in 0..2 {
            let level = match &frame {
                None => connection.send_text("Hello", r),
                Some(frame) => connection.send(frame, r),
            };
            assert_eq!(level, Level::Low);
        }
        server.flush(at(0));
        // "Hello" does not shrink: it goes plain, as the RFC allows.
        assert_eq!(server.written, b"\x81\x05Hello\x81\x05Hello");
    }
    let mut server = compressed(Role::Server, Negotiated::default(), config(DEDICATED));
    server.connection.send_text("Hello", &mut server.resources);
    server.flush(at(0));
    assert_eq!(server.written, b"\xC1\x07\xF2\x48\xCD\xC9\xC9\x07\x00");
}

#[test]
fn bad_text_fails_before_its_message_has_ended() {
    let text = [&b"ok \xFF "[..], &Words::new(1).bytes(50_000)].concat();
    let payload = deflated(1, &[&text]).remove(0);
    let mut server = compressed(Role::Server, SHARED, config(Deflate::Shared));
    let frame = client_frame(0xC1, &payload);
    server.feed(at(0), &frame[..frame.len() / 2]);
    assert_eq!(server.close_code(), Some(1007));
}

#[test]
fn an_inflated_message_is_bound_as_any_other() {
    let message = Words::new(2).bytes(200_000);
    let payload = deflated(6, &[&message]).remove(0);
    assert!(payload.len() < 100_000);
    for (max, expected) in [(199_999, Some(1009)), (200_000, None)] {
        let mut config = config(Deflate::Shared);
        config.limits.max_message_size = max;
        let mut server = compressed(Role::Server, SHARED, config);
        server.feed(at(0), &client_frame(0xC2, &payload));
        assert_eq!(server.close_code(), expected);
        assert!(server.resources.buffered_bytes() < 600_000);
    }
    // What does not compress is a little longer compressed, and still no longer than allowed.
    let noise = Words::new(3).noise(200_000);
    let payload = deflated(1, &[&noise]).remove(0);
    assert!(payload.len() > noise.len());
    let mut config = config(Deflate::Shared);
    config.limits.max_message_size = noise.len();
    let mut server = compressed(Role::Server, SHARED, config.clone());
    server.feed(at(0), &client_frame(0xC2, &payload));
    assert_eq!(server.messages.len(), 1);
    // A header alone that announces more is refused at once.
    let mut server = compressed(Role::Server, SHARED, config);
    let huge = client_frame(0xC2, &vec![0; 230_000]);
    server.feed(at(0), &huge[..14]);
    assert_eq!(server.close_code(), Some(1009));
}

#[test]
fn every_pair_of_modes_talks_both_ways_whatever_is_compressed() {
    let modes = [
        Deflate::Shared,
        DEDICATED,
        Deflate::Dedicated {
            bits: 9,
            mem_level: 1,
        },
        Deflate::Dedicated {
            bits: 12,
            mem_level: 5,
        },
    ];
    let mut words = Words::new(4);
    for client_mode in modes {
        for server_mode in modes {
            let (mut client, mut server) = pair(client_mode, server_mode);
            let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
            for i in 0..60 {
                let (from, to, expected) = match words.below(2) {
                    0 => (&mut client, &mut server, &mut to_server),
                    _ => (&mut server, &mut client, &mut to_client),
                };
                let len = [3, 40, 900, 70_000][words.below(4)];
                let (connection, r) = (&mut from.connection, &mut from.resources);
                let text = words.text(len);
                let noise = words.noise(len);
                let (level, message) = match words.below(6) {
                    0 => (connection.send_text(&text, r), (true, text.into_bytes())),
                    1 => (
                        connection.send(&Encoded::text(&text), r),
                        (true, text.into_bytes()),
                    ),
                    2 => {
                        let frame = Encoded::binary(text.as_bytes()).uncompressed();
                        (connection.send(&frame, r), (false, text.into_bytes()))
                    }
                    3 => (connection.send_binary(&noise, r), (false, noise)),
                    4 => (connection.send_text("", r), (true, Vec::new())),
                    _ => {
                        connection.release_codecs(r);
                        (
                            connection.send_binary(text.as_bytes(), r),
                            (false, text.into_bytes()),
                        )
                    }
                };
                assert_ne!(level, Level::Full);
                expected.push(message);
                if words.below(3) == 0 {
                    to.connection.release_codecs(&mut to.resources);
                }
                pass(from, to, [1 << 20, 1_000, 17][i % 3]);
            }
            assert!(
                server.messages == to_server,
                "{client_mode:?} to {server_mode:?}"
            );
            assert!(
                client.messages == to_client,
                "{server_mode:?} to {client_mode:?}"
            );
            assert!(client.closed.is_empty() && server.closed.is_empty());
        }
    }
}

#[test]
fn a_context_makes_small_messages_smaller_and_an_opt_out_does_not_disturb_it() {
    let (_, mut server) = pair(DEDICATED, DEDICATED);
    let (mut client, _) = pair(DEDICATED, DEDICATED);
    let text = Words::new(5).text(600);
    let mut sizes = Vec::new();
    for secret in [false, false, true, false] {
        let frame = Encoded::text(&text);
        let frame = if secret { frame.uncompressed() } else { frame };
        server.connection.send(&frame, &mut server.resources);
        sizes.push(pass(&mut server, &mut client, 50));
    }
    assert!(sizes[1] * 10 < sizes[0], "{sizes:?}");
    assert_eq!(sizes[2], text.len() + 4, "{sizes:?}");
    assert!(sizes[3] <= sizes[1] + 2, "{sizes:?}");
    assert_eq!(client.messages, vec![(true, text.into_bytes()); 4]);
}

/// Who gives up whose context, and whether client and server then refer to what they sent before.
#[test]
fn a_context_that_was_given_up_is_used_by_nobody() {
    let with = |server_alone, client_alone| {
        let mut config = config(DEDICATED);
        config.deflate.server_no_context_takeover = server_alone;
        config.deflate.client_no_context_takeover = client_alone;
        config
    };
    let rows = [
        (
            "nobody gives up",
            with(false, false),
            with(false, false),
            (true, true),
        ),
        (
            "the client its own",
            with(false, true),
            with(false, false),
            (false, true),
        ),
        (
            "the client the server's",
            with(true, false),
            with(false, false),
            (true, false),
        ),
        (
            "the server the client's",
            with(false, false),
            with(false, true),
            (false, true),
        ),
        (
            "the server its own",
            with(false, false),
            with(true, false),
            (true, false),
        ),
        ("both", with(true, false), with(false, true), (false, false)),
    ];
    let text = Words::new(5).text(600);
    for (name, client, server, (client_refers, server_refers)) in rows {
        let (mut client, mut server) = agreed(client, server);
        assert_eq!(
            refers(&mut client, &mut server, &text),
            client_refers,
            "{name}: client"
        );
        assert_eq!(
            refers(&mut server, &mut client, &text),
            server_refers,
            "{name}: server"
        );
    }
}

/// Whether the second of two equal messages is a reference to the first.
fn refers(from: &mut Harness, to: &mut Harness, text: &str) -> bool {
    let mut sizes = [0; 2];
    for size in &mut sizes {
        from.connection.send_text(text, &mut from.resources);
        *size = pass(from, to, 50);
    }
    assert_eq!(to.messages, vec![(true, text.as_bytes().to_vec()); 2]);
    sizes[1] * 10 < sizes[0]
}

/// A client has said in its offer that it takes no context over, and the server's answer left that out.
#[test]
fn a_client_holds_to_what_it_offered_whatever_the_answer() {
    let mut alone = config(DEDICATED);
    alone.deflate.client_no_context_takeover = true;
    let mut client = compressed(Role::Client, Negotiated::default(), alone);
    let mut server = compressed(Role::Server, Negotiated::default(), config(DEDICATED));
    let text = Words::new(5).text(600);
    assert!(!refers(&mut client, &mut server, &text));
    assert!(refers(&mut server, &mut client, &text));
}

#[test]
fn short_messages_and_noise_go_uncompressed() {
    let mut server = compressed(Role::Server, SHARED, Deflate::Shared.into_config());
    let mut words = Words::new(6);
    let rows = [
        (words.bytes(255), false),
        (words.bytes(256), true),
        (words.noise(5_000), false),
    ];
    for (message, is_compressed) in rows {
        for shared in [false, true] {
            let r = &mut server.resources;
            match shared {
                false => server.connection.send_binary(&message, r),
                true => server.connection.send(&Encoded::binary(&message), r),
            };
            server.flush(at(0));
            let written = std::mem::take(&mut server.written);
            assert_eq!(written[0] & 0x40 != 0, is_compressed, "{} B", message.len());
        }
    }
}

trait IntoConfig {
    fn into_config(self) -> Config;
}

impl IntoConfig for Deflate {
    fn into_config(self) -> Config {
        Config {
            deflate: self.into(),
            ..Config::default()
        }
    }
}

#[test]
fn nobody_refers_further_back_than_was_agreed() {
    let mut words = Words::new(6);
    let far = [words.noise(900), words.noise(3_000)];
    let message = [&far[0][..], &far[1], &far[0]].concat();
    for (role, server_max_window_bits, client_max_window_bits) in
        [(Role::Server, 9, 15), (Role::Client, 15, 9)]
    {
        let agreed = Negotiated {
            server_max_window_bits,
            client_max_window_bits,
            ..Negotiated::default()
        };
        let mut config = config(DEDICATED);
        config.deflate.level = 6;
        let mut harness = compressed(role, agreed, config);
        let sender = &mut harness.connection;
        sender.send_binary(&message, &mut harness.resources);
        harness.flush(at(0));
        let (header, len) = FrameHeader::parse(&harness.written).unwrap().unwrap();
        assert!(header.rsv1);
        let mut stream = harness.written.split_off(len);
        apply_mask(header.mask.unwrap_or_default(), &mut stream);
        stream.extend([0x00, 0x00, 0xFF, 0xFF]);
        assert!(inflate_strictly(&stream, 9) == message, "{role:?}");
    }
}

#[test]
fn a_window_of_8_bits_is_received_compressed_and_sent_uncompressed() {
    let eight = Negotiated {
        client_max_window_bits: 8,
        server_max_window_bits: 8,
        ..Negotiated::default()
    };
    for role in [Role::Client, Role::Server] {
        let mut harness = compressed(role, eight, config(DEDICATED));
        let text = Words::new(7).text(1_000);
        harness.connection.send_text(&text, &mut harness.resources);
        let level = harness
            .connection
            .send(&Encoded::text(&text), &mut harness.resources);
        assert_eq!(level, Level::Low);
        harness.flush(at(0));
        assert_eq!(harness.written[0], 0x81);
    }
    // A peer that promised 8 bits and uses 9, as old zlibs do; its context is kept as octets in between.
    let noise = Words::new(8).noise(400);
    let payloads = deflated(6, &[&noise, &noise[..50]]);
    assert!(payloads[1].len() < 10, "it refers 400 octets back");
    let mut server = compressed(Role::Server, eight, config(DEDICATED));
    for payload in payloads {
        server.feed(at(0), &client_frame(0xC2, &payload));
        server.connection.release_codecs(&mut server.resources);
    }
    let expected = [(false, noise.clone()), (false, noise[..50].to_vec())];
    assert!(server.messages == expected, "{:?}", server.closed);
}

#[test]
fn a_broadcast_is_deflated_once_and_shared() {
    let text = Words::new(9).text(40_000);
    let frame = Encoded::text(&text);
    let mut r = resources();
    let config = Arc::new(config(Deflate::Shared));
    let mut peers: Vec<Connection> = (0..100)
        .map(|i| {
            let outbox = Outbox::default();
            let mut connection = Connection::new(Role::Server, config.clone(), outbox, at(0));
            let negotiated = Negotiated {
                server_max_window_bits: if i % 2 == 0 { 15 } else { 10 },
                ..SHARED
            };
            connection.set_deflate(negotiated, &mut r);
            connection
        })
        .collect();
    for peer in &mut peers {
        assert_eq!(peer.send(&frame, &mut r), Level::Low);
    }
    assert_eq!(r.messages_deflated(), 2, "once for each window");
    let own: usize = peers.iter().map(|p| p.outbox.capacity()).sum();
    assert_eq!(own, 0, "all frames are shared");
    let mut slices = [IoSlice::new(&[]); 2];
    for peer in &peers {
        assert_eq!(peer.poll_transmit(&mut slices), 1);
        assert!(slices[0].len() < text.len());
    }
}

#[test]
fn an_idle_connection_with_shared_codecs_holds_none() {
    assert!(size_of::<Extras>() <= 256, "{}", size_of::<Extras>());
    let mut r = resources();
    let config = Arc::new(config(Deflate::Shared));
    let message = Words::new(10).bytes(2_000);
    let sent = client_frame(0xC2, &deflated(1, &[&message])[0]);
    let idle: Vec<Connection> = (0..1_000)
        .map(|_| {
            let outbox = Outbox::default();
            let mut connection = Connection::new(Role::Server, config.clone(), outbox, at(0));
            connection.set_deflate(SHARED, &mut r);
            let mut wire = sent.clone();
            let mut input = &mut wire[..];
            match connection.receive(at(0), &mut input, &mut r) {
                Some(Event::Message(got)) => {
                    assert_eq!(got.as_bytes(), message);
                    r.recycle_message(got);
                }
                other => panic!("{other:?}"),
            }
            connection.send_binary(&message, &mut r);
            let waiting = connection.queued();
            connection.handle_sent(at(0), waiting, &mut r);
            let compression = connection.compression().expect("it was agreed");
            assert!(compression.holds_no_codec());
            connection
        })
        .collect();
    assert_eq!(r.codecs.kept_by_connections(), 0);
    assert!(
        r.compression_bytes() < 500_000,
        "one codec each way for all"
    );
    assert_eq!(idle.len(), 1_000);
}

#[test]
fn dedicated_contexts_stay_within_the_budget_and_come_back() {
    let mut config = config(DEDICATED);
    config.deflate.context_budget = 1_000_000;
    let config = Arc::new(config);
    let mut r = resources();
    let text = Words::new(11).text(3_000);
    let payload = deflated(1, &[text.as_bytes()]).remove(0);
    let negotiated = Negotiated {
        client_max_window_bits: 10,
        ..Negotiated::default()
    };
    let mut peers: Vec<Connection> = (0..20)
        .map(|_| {
            let mut peer = Connection::new(Role::Server, config.clone(), Outbox::default(), at(0));
            peer.set_deflate(negotiated, &mut r);
            peer
        })
        .collect();
    for _ in 0..3 {
        for peer in &mut peers {
            let mut wire = client_frame(0xC1, &payload);
            let mut input = &mut wire[..];
            match peer.receive(at(0), &mut input, &mut r) {
                Some(Event::Message(got)) => assert_eq!(got.as_bytes(), text.as_bytes()),
                other => panic!("{other:?}"),
            }
            assert_ne!(peer.send_text(&text, &mut r), Level::Gone);
            assert!(r.codecs.kept_by_connections() <= 1_000_000);
        }
    }
    assert!(
        r.codecs.kept_by_connections() > 500_000,
        "some have contexts"
    );
    // The first ping sees that the codecs were used, the second that they were not.
    for at_second in [25, 50] {
        for peer in &mut peers {
            let used = r.codecs.kept_by_connections();
            assert!(peer.handle_timeout(at(at_second * 1_000), &mut r).is_none());
            if at_second == 25 {
                assert_eq!(r.codecs.kept_by_connections(), used);
            }
            let mut pong = client_frame(0x8A, b"");
            peer.receive(at(at_second * 1_000), &mut &mut pong[..], &mut r);
        }
    }
    assert_eq!(
        r.codecs.kept_by_connections(),
        20 * 2_048,
        "only what peers may refer to"
    );
    for peer in &mut peers {
        peer.handle_end(&mut r);
    }
    assert_eq!(r.codecs.kept_by_connections(), 0);
}

#[test]
fn a_refused_message_leaves_no_trace_in_the_context() {
    let mut config = config(DEDICATED);
    config.limits.outbox = 40_000;
    let (mut client, _) = pair(DEDICATED, DEDICATED);
    let mut server = compressed(Role::Server, Negotiated::default(), config);
    let mut words = Words::new(12);
    let (sent, refused) = (words.noise(30_000), words.noise(30_000));
    let (connection, r) = (&mut server.connection, &mut server.resources);
    assert_eq!(connection.send_binary(&sent, r), Level::Low);
    assert_eq!(connection.send_binary(&refused, r), Level::Full);
    // It repeats what the peer never got: nothing may refer to that.
    assert_eq!(connection.send_binary(&refused[..500], r), Level::Low);
    pass(&mut server, &mut client, 1 << 20);
    let expected = [(false, sent), (false, refused[..500].to_vec())];
    assert!(client.messages == expected, "{:?}", client.closed);
}

#[test]
fn one_peer_never_sees_what_another_has_sent() {
    let secret = b"the password is swordfish, and the word is secret";
    let payloads = deflated(6, &[secret, secret]);
    let config = Arc::new(config(Deflate::Shared));
    let mut r = resources();
    let mut peer = || {
        let mut connection =
            Connection::new(Role::Server, config.clone(), Outbox::default(), at(0));
        connection.set_deflate(SHARED, &mut r);
        connection
    };
    let (mut honest, mut spy) = (peer(), peer());
    let mut wire = client_frame(0xC2, &payloads[0]);
    let event = honest.receive(at(0), &mut &mut wire[..], &mut r);
    assert!(matches!(event, Some(Event::Message(m)) if m.as_bytes() == secret));
    // The spy asks for the same by reference to what the codec inflated last.
    let mut wire = client_frame(0xC2, &payloads[1]);
    match spy.receive(at(0), &mut &mut wire[..], &mut r) {
        Some(Event::Closed(closed)) => {
            assert_eq!(closed.cause, Some(ProtocolError::DeflateCorrupt));
        }
        other => panic!("{other:?}"),
    }
    // And what is sent to the spy does not depend on what others were sent.
    let mut sent = Vec::new();
    for others_first in [false, true] {
        let mut r = resources();
        let mut connection =
            Connection::new(Role::Server, config.clone(), Outbox::default(), at(0));
        connection.set_deflate(SHARED, &mut r);
        if others_first {
            honest = Connection::new(Role::Server, config.clone(), Outbox::default(), at(0));
            honest.set_deflate(SHARED, &mut r);
            honest.send_binary(&secret.repeat(3), &mut r);
        }
        connection.send_binary(&secret.repeat(2), &mut r);
        let mut slices = [IoSlice::new(&[]); 1];
        connection.poll_transmit(&mut slices);
        sent.push(slices[0].to_vec());
    }
    assert_eq!(sent[0], sent[1]);
}

#[test]
fn a_codec_at_work_comes_back_however_the_message_ends() {
    let payload = deflated(1, &[&Words::new(13).bytes(5_000)]).remove(0);
    let frame = client_frame(0xC2, &payload);
    let end: [fn(&mut Harness); 4] = [
        |s| drop(s.connection.handle_end(&mut s.resources)),
        |s| drop(s.connection.handle_eof(at(0), &mut s.resources)),
        |s| s.feed(at(0), &client_frame(0x88, b"\x03\xE8")),
        |s| {
            s.connection
                .close(at(0), CloseCode::NORMAL, "", &mut s.resources);
            s.feed(at(0), &[0; 10]);
        },
    ];
    for end in end {
        let mut server = compressed(Role::Server, SHARED, config(Deflate::Shared));
        server.feed(at(0), &client_frame(0x42, &payload[..100]));
        assert_eq!(server.resources.codecs.pooled_bytes(), 0, "it is at work");
        end(&mut server);
        assert!(server.resources.codecs.pooled_bytes() > 0, "it came back");
        assert!(server.messages.is_empty());
    }
    // After our Close the rest of a compressed message is passed over, and the peer's Close is read.
    let mut server = compressed(Role::Server, SHARED, config(Deflate::Shared));
    server.feed(at(0), &frame[..frame.len() / 2]);
    server
        .connection
        .close(at(0), CloseCode::NORMAL, "", &mut server.resources);
    server.feed(at(0), &frame[frame.len() / 2..]);
    server.feed(at(0), &frame);
    server.feed(at(0), &client_frame(0x88, b"\x03\xE8"));
    assert!(server.closed[0].clean && server.messages.is_empty());
}
