//! F1–F11: frames that break RFC 6455, from clients and from upstreams; F8, masks that nobody can foresee.

use crate::support::client::Client;
use crate::support::guard::Guard;
use crate::support::upstream::Upstream;
use crate::support::wire::{
    BINARY, CLOSE, KEY, PING, TEXT, frame, header, masked, plain, read_frame,
};
use std::collections::HashSet;

type Row = (&'static str, Vec<u8>, u16);

/// What breaks the protocol whoever sends it; `mask` is the sender's way.
fn broken(mask: Option<[u8; 4]>) -> Vec<Row> {
    let f = |first: u8, payload: &[u8]| frame(first, mask, payload);
    let close = |code: u16| f(0x88, &code.to_be_bytes());
    let m = if mask.is_some() { 0x80 } else { 0 };
    let long_form = |length: &[u8], payload: &[u8]| {
        let mut octets = vec![0x82, m | if length.len() == 2 { 126 } else { 127 }];
        octets.extend_from_slice(length);
        octets.extend(mask.into_iter().flatten());
        octets.extend_from_slice(payload);
        octets
    };
    let mut rows = vec![
        ("F2 RSV1", f(0xC1, b"x"), 1_002),
        ("F2 RSV2", f(0xA1, b"x"), 1_002),
        ("F2 RSV3", f(0x91, b"x"), 1_002),
        ("F2 RSV1 on a ping", f(0xC9, b""), 1_002),
        (
            "F2 RSV1 on a continuation",
            [f(0x01, b"a"), f(0xC0, b"b")].concat(),
            1_002,
        ),
        ("F4 a ping in pieces", f(0x09, b""), 1_002),
        ("F4 a long ping", f(0x89, &[0; 126]), 1_002),
        ("F4 a long close", f(0x88, &[0; 126]), 1_002),
        ("F5 2^30 announced", header(0x82, mask, 1 << 30), 1_009),
        (
            "F6 the top bit",
            long_form(&(1u64 << 63).to_be_bytes(), b""),
            1_002,
        ),
        (
            "F6 2^63-1",
            long_form(&(u64::MAX >> 1).to_be_bytes(), b""),
            1_009,
        ),
        ("F7 5 in 16 bits", long_form(&[0, 5], b"12345"), 1_002),
        (
            "F7 200 in 64 bits",
            long_form(&200u64.to_be_bytes(), &[0; 200]),
            1_002,
        ),
        ("F9 half a character", f(0x81, b"\xF0\x9F"), 1_007),
        ("F9 overlong", f(0x81, b"\xC0\xAF"), 1_007),
        ("F9 a surrogate", f(0x81, b"\xED\xA0\x80"), 1_007),
        ("F9 at the first bad octet", f(0x01, b"\xED\xA0"), 1_007),
        ("F9 in a reason", f(0x88, b"\x03\xE8\xFF"), 1_007),
        ("F10 a body of one", f(0x88, b"\x03"), 1_002),
        ("F11 an orphan", f(0x80, b"x"), 1_002),
        (
            "F11 a message in another",
            [f(0x01, b"a"), f(0x81, b"b")].concat(),
            1_002,
        ),
    ];
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        rows.push(("F3 reserved", header(0x80 | opcode, mask, 1 << 40), 1_002));
    }
    for code in [
        0, 999, 1_004, 1_005, 1_006, 1_015, 1_016, 2_000, 2_999, 5_000, 65_535,
    ] {
        rows.push(("F10 a code", close(code), 1_002));
    }
    rows
}

#[test]
fn clients_that_break_the_protocol_are_closed_and_the_upstream_sees_no_message() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let mut rows = broken(Some(KEY));
    rows.push(("F1 unmasked", plain(TEXT, b"x"), 1_002));
    let memory = guard.resident();
    for (n, (name, octets, code)) in rows.iter().enumerate() {
        let mut client = Client::open(guard.address);
        client.send(octets);
        assert_eq!(
            client.close_code(),
            *code,
            "{name}: {}",
            octets.escape_ascii()
        );
        let seen = upstream.seen.wait(name, |notes| notes.closes().len() > n);
        assert_eq!(seen.closes()[n], 1_001, "{name}");
        assert_eq!(seen.data().len(), 0, "{name}");
    }
    assert!(
        guard.resident() < memory + 4_096,
        "announced lengths cost nothing"
    );
}

#[test]
fn upstreams_that_break_the_protocol_get_the_code_and_their_clients_1014() {
    let mut rows = broken(None);
    rows.push(("F1 masked", masked(TEXT, b"x"), 1_002));
    for (name, octets, code) in rows {
        let upstream = Upstream::playing("", octets.clone());
        let guard = Guard::start(&upstream.url(), None, &["--workers", "1"]);
        let mut client = Client::open(guard.address);
        assert_eq!(
            client.close_code(),
            1_014,
            "{name}: {}",
            octets.escape_ascii()
        );
        let seen = upstream.seen.wait(name, |notes| !notes.closes().is_empty());
        assert_eq!(seen.closes(), [code], "{name}");
    }
}

#[test]
fn f9_f10_what_is_right_at_its_edge_passes() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let mut client = Client::open(guard.address);
    for (first, piece) in [(0x01, &b"\xF0\x9F"[..]), (0x00, b"\x98"), (0x80, b"\x80")] {
        client.send(&frame(first, Some(KEY), piece));
    }
    let echoed = client.frame();
    assert_eq!(
        (echoed.first, &*echoed.payload),
        (0x81, "\u{1F600}".as_bytes())
    );
    for code in [1_000u16, 1_003, 1_007, 1_014, 3_000, 4_999] {
        let mut client = Client::open(guard.address);
        client.say(CLOSE, &code.to_be_bytes());
        assert_eq!(client.close_code(), code);
    }
}

#[test]
fn f11_nothing_passes_after_a_close() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let mut client = Client::open(guard.address);
    let more = [
        masked(CLOSE, b"\x03\xE8"),
        masked(TEXT, b"late"),
        masked(PING, b""),
    ]
    .concat();
    client.send(&more);
    assert_eq!(client.close_code(), 1_000);
    let seen = upstream
        .seen
        .wait("the Close", |notes| !notes.closes().is_empty());
    assert_eq!(seen.frames.len(), 1, "{:?}", seen.frames);
}

/// No key is the client's, none comes again but by chance, and no octet is likelier than another.
#[test]
fn f8_masks_towards_the_upstream_are_random() {
    let upstream = Upstream::start(|mut call| {
        call.answer("");
        while let Ok(Some(frame)) = read_frame(&mut call.stream) {
            call.seen
                .note(|notes| notes.octets.extend(frame.mask.into_iter().flatten()));
        }
    });
    // The budget is for floods, of which this is one.
    let policy = "[rates]\nmessages = { per_second = 10000000, burst = 10000000 }\n";
    let guard = Guard::with_policy(&upstream.url(), policy);
    let mut client = Client::open(guard.address);
    const FRAMES: usize = 100_000;
    let thousand = masked(BINARY, b"x").repeat(1_000);
    for _ in 0..FRAMES / 1_000 {
        client.send(&thousand);
    }
    let seen = upstream
        .seen
        .wait("all frames", |notes| notes.octets.len() >= 4 * FRAMES);
    let keys: Vec<&[u8]> = seen.octets.chunks(4).take(FRAMES).collect();
    assert!(!keys[..1_000].contains(&&KEY[..]), "the client's own key");
    // 10^5 of 2^32: 1.2 pairs are expected, and more than 12 come once in 10^9 runs.
    let distinct: HashSet<&[u8]> = keys.iter().copied().collect();
    assert!(
        keys.len() - distinct.len() <= 12,
        "{} came again",
        keys.len() - distinct.len()
    );
    let mut counts = [0f64; 256];
    seen.octets
        .iter()
        .for_each(|octet| counts[usize::from(*octet)] += 1.0);
    let expected = seen.octets.len() as f64 / 256.0;
    let chi: f64 = counts
        .iter()
        .map(|n| (n - expected).powi(2) / expected)
        .sum();
    // 255 degrees of freedom: beyond 330.5 once in a thousand runs, beyond 420 once in 10^9.
    assert!(chi < 420.0, "{chi}");
}
