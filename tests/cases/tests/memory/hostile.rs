//! Peers that mean to cost more than they send: lengths that never come, and bombs.

use crate::server::Server;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tidegate_cases::inflate::deflated;
use tidegate_cases::wire::{self, BINARY, CLOSE, Frame, KEY};
use tidegate_proto::frame::{FrameHeader, MAX_HEADER, OpCode};
use tidegate_proto::mask::MaskKey;

const GIB: u64 = 1 << 30;

/// Opens a WebSocket, with compression if the server will.
fn open(server: &Server, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.addr()).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).expect("an answer");
        head.push(octet[0]);
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        head.escape_ascii()
    );
    stream
}

/// A ping is answered once everything before it has been taken.
fn settle(stream: &mut TcpStream, ping: &[u8]) {
    stream.write_all(ping).expect("sent");
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).expect("a pong");
    assert_eq!(pong, [0x8A, 0]);
}

/// After so many turns of the server's loop it has taken what others had sent before: it takes what is ready in
/// batches, and nobody twice before everybody once.
fn overtaken(witness: &mut TcpStream, ping: &[u8]) {
    for _ in 0..100 {
        settle(witness, ping);
    }
}

#[test]
fn a_thousand_headers_that_announce_a_gib_each_add_no_resident_memory() {
    let server = Server::start();
    let mut header = [0; MAX_HEADER];
    let len = FrameHeader {
        mask: Some(MaskKey::new(KEY)),
        fin: false,
        ..FrameHeader::new(OpCode::Binary, GIB - 1_000)
    }
    .encode(&mut header);
    let ping = Frame::new(wire::PING, "").write(Some(KEY));
    let mut peers: Vec<TcpStream> = (0..1_000).map(|_| open(&server, "/whole")).collect();
    peers.iter_mut().for_each(|peer| settle(peer, &ping));
    let mut witness = open(&server, "/whole");
    settle(&mut witness, &ping);
    let before = server.resident();
    for peer in &mut peers {
        peer.write_all(&header[..len]).expect("sent");
    }
    overtaken(&mut witness, &ping);
    let announced = server.resident().saturating_sub(before);
    for peer in &mut peers {
        peer.write_all(b"x").expect("sent");
    }
    overtaken(&mut witness, &ping);
    let begun = server.resident().saturating_sub(before);
    println!(
        "1,000 headers announce 1 GiB each: {announced} B more are resident; with an octet of each: {begun} B"
    );
    assert!(announced < 1 << 20, "{announced} B for headers alone");
    // A page for the octet and one for what the allocator notes beside it.
    assert!(
        begun < (1 << 20) + 1_000 * 2 * 4_096,
        "{begun} B for an octet each"
    );
    drop(peers);
    server.stop();
}

#[test]
fn a_bomb_of_64_kib_stops_at_the_cap_and_costs_less_than_10_ms() {
    let mut payload = deflated(&vec![0; 63 << 20]);
    assert!(
        (60 << 10..=64 << 10).contains(&payload.len()),
        "{}",
        payload.len()
    );
    payload.truncate(64 << 10);
    let mut bomb = Frame::new(BINARY, payload);
    bomb.rsv = 4; // RSV1: compressed
    let bomb = bomb.write(Some(KEY));
    // By the ratio, as by default, of a message in parts or whole; and by the size of a message alone.
    for path in ["/", "/whole", "/lenient"] {
        let server = Server::start();
        assert_eq!(send_bomb(&server, path, &bomb), 1009, "{path}");
        let before = (server.processor_time(), server.peak());
        for _ in 0..BOMBS {
            assert_eq!(send_bomb(&server, path, &bomb), 1009, "{path}");
        }
        let cost = (server.processor_time() - before.0) / BOMBS;
        let grown = server.peak() - before.1;
        println!(
            "a bomb of 64 KiB at {path}: {cost:?} of processor time each, {grown} B more at the peak"
        );
        assert!(cost < Duration::from_millis(10), "{path}: {cost:?}");
        assert!(grown < KEPT + (4 << 20), "{path}: {grown} B");
        server.stop();
    }
}

/// The code that the server closes with.
fn send_bomb(server: &Server, path: &str, bomb: &[u8]) -> u16 {
    let mut stream = open(server, path);
    stream.write_all(bomb).expect("sent");
    let mut answer = Vec::new();
    // A reset may follow the Close when octets of ours were left unread.
    let _ = stream.read_to_end(&mut answer);
    let frames = wire::read_frames(&answer, false).expect("good frames");
    let close = frames.iter().find(|frame| frame.opcode == CLOSE);
    let payload = &close.expect("a Close").payload;
    u16::from_be_bytes([payload[0], payload[1]])
}

const PATIENCE: Duration = Duration::from_secs(60);
const BOMBS: u32 = 20;
/// What a worker keeps at most of buffers that grew, for the next long message.
const KEPT: u64 = 32 << 20;
