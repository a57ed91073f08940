//! Messages in parts: received piece by piece, sent part by part, with other frames between and behind.

use super::deflate::{compressed, config};
use super::*;
use crate::deflate::testing::{Words, bomb};
use crate::deflate::{Deflate, Negotiated};

const SHARED: Negotiated = Negotiated {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: 15,
    client_max_window_bits: 15,
};

fn streaming(from: usize, limit: Option<u64>) -> Harness {
    let mut server = Harness::server();
    server.connection.set_streaming(Streaming { from, limit });
    server
}

#[test]
fn long_messages_come_in_parts_and_short_ones_whole() {
    let mut words = Words::new(1);
    let long = words.text(100_000);
    let rows: Vec<(Vec<u8>, Vec<u8>, bool)> = vec![
        (client_frame(0x81, b"short"), b"short".to_vec(), false),
        (client_frame(0x82, &[7; 1_000]), vec![7; 1_000], false),
        (client_frame(0x82, &[7; 1_001]), vec![7; 1_001], true),
        (
            client_frame(0x81, long.as_bytes()),
            long.clone().into_bytes(),
            true,
        ),
        (
            [client_frame(0x02, &[1; 600]), client_frame(0x80, &[2; 600])].concat(),
            [[1; 600], [2; 600]].concat(),
            true,
        ),
        (
            [
                client_frame(0x02, &[1; 600]),
                client_frame(0x00, &[2; 600]),
                client_frame(0x80, b""),
            ]
            .concat(),
            [[1; 600], [2; 600]].concat(),
            true,
        ),
    ];
    for (sent, message, in_parts) in rows {
        for step in [1 << 20, 1, 13, 4_096] {
            let mut server = streaming(1_000, None);
            for piece in sent.chunks(step) {
                server.feed(at(0), piece);
            }
            assert_eq!(server.messages.len(), 1);
            assert!(
                server.messages[0].1 == message,
                "{} B in {step}s",
                message.len()
            );
            assert_eq!(server.parts > 0, in_parts, "{} B in {step}s", message.len());
            assert!(server.resources.buffered_bytes() < 10_000);
        }
    }
}

#[test]
fn a_compressed_message_comes_in_parts_of_bounded_length() {
    let message = Words::new(2).text(3_000_000);
    let mut client = compressed(Role::Client, SHARED, config(Deflate::Shared));
    client.connection.send_text(&message, &mut client.resources);
    client.flush(at(0));
    assert!(client.written.len() < message.len() / 2);
    for step in [1 << 30, 64 << 10, 100] {
        let mut server = compressed(Role::Server, SHARED, config(Deflate::Shared));
        server.connection.set_streaming(Streaming::from(1_000));
        for piece in client.written.chunks(step) {
            server.feed(at(0), piece);
        }
        assert!(
            server.messages == [(true, message.clone().into_bytes())],
            "in {step}s"
        );
        assert!(
            server.parts > 150 && server.longest_part <= 16 << 10,
            "{}",
            server.parts
        );
        assert!(server.resources.buffered_bytes() <= 64 << 10);
    }
}

#[test]
fn a_stream_fails_at_its_limit_at_bad_text_and_at_bombs() {
    let rows = [
        (client_frame(0x82, &[0; 5_001])[..14].to_vec(), Some(1009)),
        (client_frame(0x82, &[0; 5_000]), None),
        (
            [
                client_frame(0x02, &[0; 3_000]),
                client_frame(0x80, &[0; 2_001])[..9].to_vec(),
            ]
            .concat(),
            Some(1009),
        ),
        (
            client_frame(0x81, &[&[b'x'; 3_000][..], b"\xFF"].concat()),
            Some(1007),
        ),
        (
            client_frame(0x81, &[&[b'x'; 3_000][..], b"\xF0\x9F"].concat()),
            Some(1007),
        ),
        (
            b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0".to_vec(),
            Some(1009),
        ),
        (client_frame(0xC2, &bomb(8 << 20)), Some(1009)),
    ];
    for (sent, code) in rows {
        for step in [1 << 20, 7] {
            let mut server = compressed(Role::Server, SHARED, config(Deflate::Shared));
            let limit = Some(5_000);
            server
                .connection
                .set_streaming(Streaming { from: 1_000, limit });
            for piece in sent.chunks(step) {
                server.feed(at(0), piece);
            }
            assert_eq!(server.close_code(), code);
            assert_eq!(server.messages.len(), usize::from(code.is_none()));
        }
    }
    // Without a limit a header may announce all that the protocol allows, and a bomb stops by its ratio.
    let mut server = streaming(1_000, None);
    server.feed(
        at(0),
        b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0some",
    );
    assert_eq!((server.close_code(), server.parts), (None, 1));
    let mut server = compressed(Role::Server, SHARED, config(Deflate::Shared));
    server.connection.set_streaming(Streaming::from(1_000));
    server.feed(at(0), &client_frame(0xC2, &bomb(8 << 20)));
    assert_eq!(server.closed[0].cause, Some(ProtocolError::InflatesTooMuch));
}

#[test]
fn a_stream_may_have_many_fragments_but_not_many_empty_ones() {
    let mut server = streaming(100, None);
    server.feed(at(0), &client_frame(0x02, &[1; 200]));
    let fragment = client_frame(0x00, &[1; 200]);
    for _ in 0..5_000 {
        server.feed(at(0), &fragment);
    }
    assert_eq!(server.close_code(), None);
    let empty = client_frame(0x00, b"");
    for _ in 0..20_000 {
        server.feed(at(0), &empty);
    }
    assert_eq!(server.close_code(), Some(1008));
}

/// Sends a message in parts; returns what the peer has got.
fn send_in_parts(sender: &mut Harness, receiver: &mut Harness, kind: MessageKind, parts: &[&[u8]]) {
    let r = &mut sender.resources;
    assert_eq!(sender.connection.begin(kind, r), Ok(Level::Low));
    for part in parts {
        let level = sender.connection.part(part, &mut sender.resources);
        assert_eq!(level, Ok(Level::Low));
        sender.flush(at(0));
    }
    assert_eq!(
        sender.connection.finish(&mut sender.resources),
        Ok(Level::Low)
    );
    sender.flush(at(0));
    receiver.feed(at(0), &std::mem::take(&mut sender.written));
}

#[test]
fn what_is_sent_in_parts_arrives_as_one_message() {
    let text = Words::new(3).text(20_000);
    let cuts = [0, 1, 1, 100, 7_003, 7_004, text.len()];
    let parts: Vec<&[u8]> = cuts
        .windows(2)
        .map(|w| &text.as_bytes()[w[0]..w[1]])
        .collect();
    let dedicated = Deflate::Dedicated {
        bits: 15,
        mem_level: 8,
    };
    let agreed = [
        None,
        Some((SHARED, Deflate::Shared)),
        Some((Negotiated::default(), dedicated)),
    ];
    for agreed in agreed {
        for (from, to) in [(Role::Server, Role::Client), (Role::Client, Role::Server)] {
            let make = |role| match agreed {
                None => Harness::with(role, Config::default()),
                Some((negotiated, mode)) => compressed(role, negotiated, config(mode)),
            };
            let (mut sender, mut receiver) = (make(from), make(to));
            let mut expected = Vec::new();
            for parts in [&parts[..], &[], &[b""], &[b"Hello"]] {
                let kind = MessageKind::Text;
                send_in_parts(&mut sender, &mut receiver, kind, parts);
                expected.push((true, parts.concat()));
                sender
                    .connection
                    .send_binary(&text.as_bytes()[..700], &mut sender.resources);
                expected.push((false, text.as_bytes()[..700].to_vec()));
            }
            sender.flush(at(0));
            receiver.feed(at(0), &std::mem::take(&mut sender.written));
            assert!(receiver.messages == expected, "{agreed:?} from {from:?}");
        }
    }
}

#[test]
fn control_frames_pass_a_stream_and_messages_wait_for_its_end() {
    for is_compressed in [false, true] {
        let make = |role| match is_compressed {
            false => Harness::with(role, Config::default()),
            true => compressed(role, SHARED, config(Deflate::Shared)),
        };
        let (mut server, mut client) = (make(Role::Server), make(Role::Client));
        let wait = Words::new(4).text(500);
        let (connection, r) = (&mut server.connection, &mut server.resources);
        connection.begin(MessageKind::Binary, r).unwrap();
        connection.part(b"one ", r).unwrap();
        assert_eq!(connection.send_text(&wait, r), Level::Low);
        assert_eq!(connection.send(&Encoded::text(&wait), r), Level::Low);
        server.feed(at(0), &client_frame(0x89, b"?"));
        server.flush(at(0));
        let passed = std::mem::take(&mut server.written);
        assert!(passed.ends_with(b"\x8A\x01?"));
        client.feed(at(0), &passed);
        assert!(client.messages.is_empty());
        let (connection, r) = (&mut server.connection, &mut server.resources);
        connection.part(b"two", r).unwrap();
        connection.finish(r).unwrap();
        server.flush(at(0));
        client.feed(at(0), &server.written);
        let wait = (true, wait.into_bytes());
        assert!(client.messages == [(false, b"one two".to_vec()), wait.clone(), wait]);
    }
}

#[test]
fn what_waits_behind_a_stream_counts_against_the_outbox() {
    let limits = Limits {
        outbox: 10_000,
        ..Limits::default()
    };
    let mut server = Harness::new(Role::Server, limits);
    let (connection, r) = (&mut server.connection, &mut server.resources);
    connection.begin(MessageKind::Binary, r).unwrap();
    connection.part(&[0; 4_000], r).unwrap();
    assert_eq!(connection.send_binary(&[0; 4_000], r), Level::Low);
    assert_eq!(connection.send_binary(&[0; 4_000], r), Level::Full);
    assert_eq!(connection.part(&[0; 4_000], r), Ok(Level::Full));
    server.flush(at(0));
    let (connection, r) = (&mut server.connection, &mut server.resources);
    assert_eq!(
        connection.part(&[0; 4_000], r),
        Ok(Level::Low),
        "a refused part can be sent later"
    );
}

#[test]
fn a_stream_that_is_sent_wrongly_is_told_so_and_harms_nothing() {
    let mut server = Harness::server();
    let (connection, r) = (&mut server.connection, &mut server.resources);
    assert_eq!(connection.part(b"x", r), Err(StreamMisuse::NotBegun));
    assert_eq!(connection.finish(r), Err(StreamMisuse::NotBegun));
    connection.begin(MessageKind::Text, r).unwrap();
    assert_eq!(
        connection.begin(MessageKind::Text, r),
        Err(StreamMisuse::AlreadyBegun)
    );
    assert_eq!(connection.part(b"a\xFF", r), Err(StreamMisuse::NotUtf8));
    connection.part(b"\xF0\x9F", r).unwrap();
    assert_eq!(connection.finish(r), Err(StreamMisuse::NotUtf8));
    connection.part(b"\x8C\x8A", r).unwrap();
    connection.finish(r).unwrap();
    server.flush(at(0));
    assert_eq!(server.written, b"\x01\x02\xF0\x9F\x00\x02\x8C\x8A\x80\x00");
    let (connection, r) = (&mut server.connection, &mut server.resources);
    connection.begin(MessageKind::Binary, r).unwrap();
    connection.part(b"torso", r).unwrap();
    connection.send_text("waits", r);
    connection.close(at(0), CloseCode::GOING_AWAY, "", r);
    assert_eq!(connection.part(b"late", r), Ok(Level::Gone));
    assert_eq!(connection.finish(r), Ok(Level::Gone));
    server.written.clear();
    server.flush(at(0));
    assert_eq!(server.written, b"\x02\x05torso\x88\x02\x03\xE9");
}

#[test]
fn contexts_survive_streams_and_what_waits_behind_them() {
    let dedicated = Deflate::Dedicated {
        bits: 15,
        mem_level: 8,
    };
    let negotiated = Negotiated::default();
    let mut server = compressed(Role::Server, negotiated, config(dedicated));
    let mut client = compressed(Role::Client, negotiated, config(dedicated));
    let mut words = Words::new(5);
    let mut expected = Vec::new();
    for round in 0..20 {
        let mut text = || words.text(400);
        let [before, part, behind, after] = [text(), text(), text(), text()];
        let (connection, r) = (&mut server.connection, &mut server.resources);
        connection.send_text(&before, r);
        match round % 2 {
            0 => connection.begin(MessageKind::Text, r).unwrap(),
            _ => connection.begin_uncompressed(MessageKind::Text, r).unwrap(),
        };
        connection.part(part.as_bytes(), r).unwrap();
        connection.send_text(&behind, r);
        connection.send(&Encoded::text(&behind), r);
        connection.finish(r).unwrap();
        connection.send_text(&before, r);
        connection.send_text(&after, r);
        for text in [&before, &part, &behind, &behind, &before, &after] {
            expected.push((true, text.clone().into_bytes()));
        }
        server.flush(at(0));
        client.feed(at(0), &std::mem::take(&mut server.written));
    }
    assert!(client.closed.is_empty(), "{:?}", client.closed);
    assert!(client.messages == expected);
}

#[test]
fn the_rule_for_long_messages_may_change_from_call_to_call() {
    let frames = [
        client_frame(0x82, &[1; 900]),
        client_frame(0x82, &[2; 900]),
        client_frame(0x02, &[3; 500]),
        client_frame(0x80, &[4; 600]),
        client_frame(0x82, &[5; 900]),
    ];
    // Octet by octet: an odd octet is received under one rule, an even one under the other.
    let limits = Limits {
        max_message_size: 1_000,
        ..Limits::default()
    };
    let mut server = Harness::new(Role::Server, limits);
    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    for (i, octet) in frames.concat().iter().enumerate() {
        let mut octet = [*octet];
        let mut input = &mut octet[..];
        let rule = Streaming::from(if i % 2 == 0 { 0 } else { 1_000 });
        let (connection, resources) = (&mut server.connection, &mut server.resources);
        while let Some(event) = connection.receive_streaming(at(0), rule, &mut input, resources) {
            match event {
                Event::Message(message) => whole.extend_from_slice(message.as_bytes()),
                Event::Part(piece) => parts.extend_from_slice(piece.part().bytes),
                Event::Closed(closed) => panic!("{closed}"),
            }
        }
    }
    // Which rule judged a frame is a matter of where its header ended.
    let mut sum: Vec<u8> = [whole, parts].concat();
    sum.sort_unstable();
    let expected: Vec<u8> = [(1, 900), (2, 900), (3, 500), (4, 600), (5, 900)]
        .iter()
        .flat_map(|(octet, n)| std::iter::repeat_n(*octet, *n))
        .collect();
    assert!(sum == expected);
    // Without it the third message, of 1,100 octets, is too long.
    let mut strict = Harness::new(Role::Server, server.connection.config.limits.clone());
    strict.feed(at(0), &frames.concat());
    assert_eq!(
        (strict.messages.len(), strict.close_code()),
        (2, Some(1009))
    );
}
