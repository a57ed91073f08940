//! R1–R11: floods, bombs, slow ends. What they cost is bounded, and others do not notice.

use crate::support::client::{Ask, Client};
use crate::support::guard::{Guard, Scratch, run};
use crate::support::upstream::Upstream;
use crate::support::wire::{BINARY, CLOSE, KEY, PING, TEXT, field, frame, header, masked, plain};
use crate::support::{PATIENCE, many};
use std::io::Read;
use std::time::{Duration, Instant};

#[test]
fn r1_caps_are_judged_before_the_101_and_a_place_is_free_again() {
    let upstream = Upstream::echo();
    let guard = Guard::with_policy(&upstream.url(), "[connections]\nper_ip = 2\ntotal = 100\n");
    let ask = Ask::new(guard.address, "/");
    let mut two = [Client::open(guard.address), Client::open(guard.address)];
    let third = Client::ask(guard.address, &ask);
    assert_eq!(third.status(), 429, "{}", third.head);
    assert!(field(&third.head, "retry-after").is_some());
    two[0].say(8, b"\x03\xE8");
    two[0].close_code();
    while Client::ask(guard.address, &ask).status() == 429 {}
    let seen = upstream.seen.now();
    assert!(seen.connections <= 4, "{}", seen.connections);
    let full = Guard::with_policy(&upstream.url(), "[connections]\ntotal = 1\n");
    let _one = Client::open(full.address);
    assert_eq!(
        Client::ask(full.address, &Ask::new(full.address, "/")).status(),
        503
    );
}

#[test]
fn r2_who_gives_no_sign_of_life_is_gone_and_who_says_nothing_leaves() {
    // No data, and the pings are not answered: a black hole, as far as anyone can see.
    let upstream = Upstream::echo();
    let guard = Guard::with_policy(&upstream.url(), "[limits]\nping = \"1s\"\npong = \"1s\"\n");
    let mut silent = Client::open(guard.address);
    assert_eq!(silent.frame().opcode(), PING);
    silent.rest();
    let seen = upstream
        .seen
        .wait("an end", |notes| !notes.closes().is_empty());
    assert_eq!(seen.closes(), [1_001]);
    for (key, rule) in [("idle", "idle"), ("lifetime", "lifetime")] {
        let upstream = Upstream::echo();
        let policy = format!("[limits]\n{key} = \"2s\"\n");
        let guard = Guard::with_policy(&upstream.url(), &policy);
        let mut client = Client::open(guard.address);
        let started = Instant::now();
        let close = match key {
            "idle" => client.frame(),
            // Talking does not help.
            _ => loop {
                client.say(TEXT, b"still here");
                let frame = client.frame();
                if frame.opcode() == CLOSE {
                    break frame;
                }
                std::thread::sleep(Duration::from_millis(20));
            },
        };
        assert_eq!((close.opcode(), close.code()), (CLOSE, 1_001), "{key}");
        assert_eq!(&close.payload[2..], rule.as_bytes());
        // Early would be wrong on any machine, late only on a slow one.
        assert!(started.elapsed() >= Duration::from_millis(1_900), "{key}");
        let seen = upstream
            .seen
            .wait("an end", |notes| !notes.closes().is_empty());
        assert_eq!(seen.closes(), [1_001], "{key}");
    }
}

#[test]
fn r2_what_either_side_says_keeps_both_from_being_idle() {
    // Only the upstream speaks, and longer than the limit.
    let upstream = Upstream::start(|mut call| {
        call.answer("");
        for _ in 0..30 {
            call.send(&plain(TEXT, b"news"));
            std::thread::sleep(Duration::from_millis(100));
        }
        call.send(&plain(TEXT, b"the end"));
        call.frames();
    });
    let guard = Guard::with_policy(&upstream.url(), "[limits]\nidle = \"2s\"\n");
    let mut client = Client::open(guard.address);
    let last = loop {
        let frame = client.frame();
        if frame.payload != b"news" {
            break frame;
        }
    };
    assert_eq!(last.payload, b"the end", "{last:?}");
    assert_eq!(client.close_code(), 1_001, "and then nobody says anything");
}

#[test]
fn r5_a_frame_has_a_limit_of_its_own() {
    // An upstream is held to it as well, so this one says nothing.
    let upstream = Upstream::playing("", Vec::new());
    let guard = Guard::with_policy(&upstream.url(), "[limits]\nframe_size = \"1KiB\"\n");
    let mut client = Client::open(guard.address);
    let piece = [7; 1_024];
    client.send(&frame(BINARY, Some(KEY), &piece));
    client.send(&frame(0, Some(KEY), &piece));
    client.send(&frame(0x80, Some(KEY), &piece));
    let seen = upstream
        .seen
        .wait("a message", |notes| notes.data().len() == 1);
    assert_eq!(seen.data()[0].payload.len(), 3 * 1_024);
    client.send(&header(0x82, Some(KEY), 1_025));
    assert_eq!(client.close_code(), 1_009);
    let upstream = Upstream::playing("", header(0x82, None, 1_025));
    let guard = Guard::with_policy(&upstream.url(), "[limits]\nframe_size = \"1KiB\"\n");
    assert_eq!(Client::open(guard.address).close_code(), 1_014);
    let seen = upstream
        .seen
        .wait("a Close", |notes| !notes.closes().is_empty());
    assert_eq!(seen.closes(), [1_009]);
}

#[test]
fn r10_a_storm_is_let_in_at_its_rate_and_all_are_back() {
    let upstream = Upstream::echo();
    let (clients, rate) = (many(60, 5_000), many(40, 500));
    let policy = format!(
        "[connections]\nper_ip = 10000\nhandshakes = {{ per_second = {rate}, burst = 10 }}\n"
    );
    let guard = Guard::with_policy(&upstream.url(), &policy);
    let (ask, before) = (Ask::new(guard.address, "/"), guard.resident());
    let mut outside = clients;
    let (mut inside, mut refused) = (Vec::new(), 0);
    let deadline = Instant::now() + PATIENCE;
    while outside > 0 {
        assert!(Instant::now() < deadline, "{outside} are still outside");
        for _ in 0..outside {
            let client = Client::ask(guard.address, &ask);
            match client.status() {
                101 => inside.push(client),
                503 => {
                    let wait = field(&client.head, "retry-after").expect("a time to come back");
                    let wait: u64 = wait.parse().expect("seconds");
                    assert!((1..=6).contains(&wait), "{wait}");
                    refused += 1;
                }
                other => panic!("{other}: {}", client.head),
            }
        }
        outside = clients - inside.len();
    }
    assert!(refused > 0, "{clients} at once are more than 10");
    let called = upstream.seen.now().connections;
    assert_eq!(called, clients, "who was refused cost the upstream nothing");
    let grown = guard.resident().saturating_sub(before);
    assert!(grown < 8_192 + 8 * clients as u64, "{grown} KiB");
    for client in &mut inside {
        client.say(TEXT, b"back");
        assert_eq!(client.frame().payload, b"back");
    }
}

#[test]
fn r12_what_is_built_to_be_costly_is_judged_within_its_budget() {
    let deep = [vec![b'['; 10_000], vec![b']'; 10_000]].concat();
    let parentheses = format!("{{\"id\":\"{}\"}}", "(".repeat(60_000)).into_bytes();
    let escapes = format!("{{\"id\":\"{}\"}}", "%2525".repeat(12_000)).into_bytes();
    let quotes = format!("{{\"id\":\"{}\"}}", "' or '".repeat(10_000)).into_bytes();
    let rows = [
        (deep, "json-depth", 1_007),
        (parentheses, "overlimit", 1_008),
        (escapes, "overlimit", 1_008),
        (quotes, "", 1_008),
    ];
    for (message, rule, code) in rows {
        let upstream = Upstream::echo();
        let policy = "[rules]\nmode = \"block\"\nbudget = \"64KiB\"\n";
        let guard = Guard::with_policy(&upstream.url(), policy);
        let (used, mut before) = (guard.ticks(), None);
        for _ in 0..20 {
            let mut client = Client::open(guard.address);
            client.say(TEXT, &message);
            let close = client.next();
            assert_eq!((close.opcode(), close.code()), (CLOSE, code), "{rule}");
            let said = String::from_utf8_lossy(&close.payload[2..]).into_owned();
            assert!(rule.is_empty() || said == rule, "{said} is not {rule}");
            before.get_or_insert_with(|| guard.resident());
        }
        // 20 messages of 60 KB: a second of processor time would be 50 ms each.
        assert!(
            guard.ticks() - used < 100,
            "{rule}: {}",
            guard.ticks() - used
        );
        is_flat(&guard, before.expect("20 were judged"));
        assert_eq!(upstream.seen.now().data().len(), 0);
    }
    // And a schema that has no end is refused when the policy is read.
    let endless =
        r##"{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##;
    let schema = Scratch::new("endless.json", endless);
    let policy = format!("[schema.to_server]\ndefault = \"{}\"\n", schema.path());
    let policy = Scratch::new("endless.toml", &policy);
    let flags = ["--upstream", "ws://127.0.0.1:1", "--policy", policy.path()];
    let (code, _, said) = run(&[&flags[..], &["--check-config"]].concat());
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(":2:11: the default schema: "), "{said}");
}

#[test]
fn r3_r4_r5_floods_of_frames_end_with_1008_in_flat_memory() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let pings = masked(PING, b"flood").repeat(50_000);
    let head = frame(0x01, Some(KEY), b"");
    let empties = [
        head.clone(),
        frame(0x00, Some(KEY), b"").repeat(many(200_000, 1_000_000)),
    ]
    .concat();
    let ones = [head, frame(0x00, Some(KEY), b"x").repeat(131_000)].concat();
    let before = guard.resident();
    for (name, octets) in [("R3", pings), ("R4", empties), ("R5", ones)] {
        let mut client = Client::open(guard.address);
        let mut writer = client.stream.try_clone().expect("a second handle");
        let writing = std::thread::spawn(move || {
            let _ = std::io::Write::write_all(&mut writer, &octets);
        });
        let code = client.close_code();
        assert_eq!(code, 1_008, "{name}");
        drop(client);
        writing.join().expect("it ends");
    }
    is_flat(&guard, before);
    assert_eq!(upstream.seen.now().data().len(), 0);
}

/// The guard's memory in KiB after an honest message: for the first one the detectors are compiled, which is some 7 MiB.
fn settled(guard: &Guard) -> u64 {
    settled_at(guard, "/")
}

/// The same where only this path has an echo.
fn settled_at(guard: &Guard, path: &str) -> u64 {
    let mut client = Client::opened(guard.address, &Ask::new(guard.address, path));
    client.say(TEXT, b"honest");
    assert_eq!(client.frame().payload, b"honest");
    guard.resident()
}

/// After a flood the guard holds no more than it would after a few honest messages, give or take the allocator's pages.
fn is_flat(guard: &Guard, before: u64) {
    let grown = guard.resident().saturating_sub(before);
    assert!(grown < 8_192, "{grown} KiB");
}

#[test]
fn m12_a_flood_of_large_messages_ends_with_1008_in_flat_memory() {
    let upstream = Upstream::echo();
    let guard = Guard::before(&upstream.url());
    let before = settled(&guard);
    let mut client = Client::open(guard.address);
    let mut writer = client.stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        let message = masked(BINARY, &[7; 60_000]);
        while std::io::Write::write_all(&mut writer, &message).is_ok() {}
    });
    let code = loop {
        let frame = client.next();
        if frame.opcode() == CLOSE {
            break frame.code();
        }
    };
    assert_eq!(code, 1_008);
    is_flat(&guard, before);
    drop(client);
    writing.join().expect("it ends");
}

#[test]
fn r8_a_message_that_trickles_in_is_over_at_its_deadline() {
    let upstream = Upstream::echo();
    let policy = "[limits]\nmessage_deadline = \"1s\"\n";
    let guard = Guard::with_policy(&upstream.url(), policy);
    let before = guard.resident();
    let mut client = Client::open(guard.address);
    // An octet now and then keeps it alive, and yet not for longer.
    let mut writer = client.stream.try_clone().expect("a second handle");
    let trickling = std::thread::spawn(move || {
        for octet in masked(BINARY, &[7; 2_000]) {
            if std::io::Write::write_all(&mut writer, &[octet]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(client.close_code(), 1_008);
    drop(client);
    trickling.join().expect("it ends");
    is_flat(&guard, before);
    assert_eq!(upstream.seen.now().data().len(), 0);
}

#[test]
fn r6_a_bomb_is_refused_long_before_it_is_inflated() {
    let upstream = Upstream::echo();
    let policy = "[compression]\ndeflate = \"on\"\n";
    let guard = Guard::with_policy(&upstream.url(), policy);
    let ask = Ask::new(guard.address, "/").with("Sec-WebSocket-Extensions", "permessage-deflate");
    let mut client = Client::opened(guard.address, &ask);
    assert!(field(&client.head, "sec-websocket-extensions").is_some());
    let (used, before) = (guard.ticks(), guard.resident());
    // Zeros, 258 to each 20 bits or so: a fixed block of matches by hand.
    client.send(&frame(0xC2, Some(KEY), &zeros(60_000)));
    assert_eq!(client.close_code(), 1_009);
    assert!(guard.ticks() - used < 20);
    // It would be 60 MB.
    is_flat(&guard, before);
    assert_eq!(upstream.seen.now().data().len(), 0);
}

/// A deflate stream of about `len` octets that inflates to a thousand times as much.
fn zeros(len: usize) -> Vec<u8> {
    // One fixed block: a literal 0, then matches of length 258 (code 285, 11000101) at distance 1 (00000).
    let (mut bits, mut n, mut out) = (0u64, 0, Vec::with_capacity(len));
    let mut put = |value: u64, count: u32, out: &mut Vec<u8>| {
        bits |= value << n;
        n += count;
        while n >= 8 {
            out.push(bits as u8);
            bits >>= 8;
            n -= 8;
        }
    };
    put(0b1, 1, &mut out); // final
    put(0b01, 2, &mut out); // fixed
    put(u64::from(0b0011_0000u8.reverse_bits()), 8, &mut out); // literal 0
    while out.len() < len {
        put(u64::from(0b1100_0101u8.reverse_bits()), 8, &mut out);
        put(0, 5, &mut out);
    }
    put(0, 7, &mut out); // end of block
    put(0, 7, &mut out);
    out
}

#[test]
fn r7_a_reader_that_stalls_stops_its_upstream_and_costs_a_bounded_piece() {
    let upstream = Upstream::start(|mut call| {
        call.answer("");
        if call.head.starts_with("GET /echo ") {
            return call.echo();
        }
        let piece = plain(BINARY, &vec![7; 60_000]).repeat(10);
        for _ in 0..200 {
            call.send(&piece);
        }
        call.send(&plain(TEXT, b"the end"));
        call.frames();
    });
    // One worker, so that the neighbour has the same one.
    let guard = Guard::start(&upstream.url(), None, &["--workers", "1"]);
    let before = settled_at(&guard, "/echo");
    let mut stalled = Client::open(guard.address);
    // Another pair goes on while 120 MB wait behind the stalled one.
    let mut lively = Client::opened(guard.address, &Ask::new(guard.address, "/echo"));
    for _ in 0..100 {
        lively.say(TEXT, b"still here");
        assert_eq!(lively.frame().payload, b"still here");
        std::thread::sleep(Duration::from_millis(5)); // time for the flood to pile up, if it could
    }
    assert!(
        guard.resident() < before + 16_384,
        "{} KiB",
        guard.resident() - before
    );
    // And when it reads again, nothing is missing.
    let mut messages = 0;
    loop {
        let frame = stalled.next();
        match frame.payload.len() {
            60_000 => messages += 1,
            _ => break assert_eq!(frame.payload, b"the end"),
        }
    }
    assert_eq!(messages, 2_000);
}

#[test]
fn r7_an_upstream_that_stalls_stops_its_client() {
    let upstream = Upstream::start(|mut call| {
        call.answer("");
        std::thread::sleep(Duration::from_secs(2)); // an upstream that is busy elsewhere
        call.echo();
    });
    let policy = "[rates]\nbytes = { per_second = \"1GiB\", burst = \"1GiB\" }\n";
    let guard = Guard::with_policy(&upstream.url(), policy);
    let before = guard.resident();
    let mut client = Client::open(guard.address);
    let mut writer = client.stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        let message = masked(BINARY, &vec![3; 60_000]);
        for _ in 0..500 {
            std::io::Write::write_all(&mut writer, &message).expect("it is taken, later");
        }
    });
    for _ in 0..500 {
        assert_eq!(client.next().payload.len(), 60_000);
    }
    writing.join().expect("all was sent");
    assert!(
        guard.resident() < before + 16_384,
        "{} KiB",
        guard.resident() - before
    );
}

#[test]
fn r11_resets_at_every_stage_leave_an_idle_guard() {
    let upstream = Upstream::echo();
    let policy = "[connections]\nhandshakes = { per_second = 100000, burst = 100000 }\n";
    let guard = Guard::with_policy(&upstream.url(), policy);
    let ask = Ask::new(guard.address, "/").octets();
    let before = settled(&guard);
    for n in 0..many(300, 10_000) {
        let mut client = Client::connect(guard.address);
        let stage = n % 6;
        match stage {
            0 => {}
            1 => client.send(&ask[..20]),
            2 => client.send(&ask),
            3 => client.send(&[&ask[..], &masked(TEXT, b"early")].concat()),
            _ => {
                client.send(&ask);
                client.read_head();
                client.send(&masked(TEXT, b"x")[..if stage == 4 { 3 } else { 7 }]);
            }
        }
        let socket = socket2::SockRef::from(&client.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    }
    let mut client = Client::open(guard.address);
    client.say(TEXT, b"alive");
    assert_eq!(client.frame().payload, b"alive");
    assert!(!guard.log().contains("panicked"), "{}", guard.log());
    is_flat(&guard, before);
    let used = guard.ticks();
    client
        .stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    let _ = client.stream.read(&mut [0]); // half a second of nothing
    assert!(guard.ticks() - used < 25, "it spins");
}
