//! The probes: what is asked through a door, and what is said of the outcome in one or two words. A probe judges nothing; what
//! the guard must say stands beside it.

use super::upstream::Upstream;
use crate::sh::Result;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub(super) struct Probe {
    pub(super) name: &'static str,
    pub(super) run: fn(u16, &Upstream) -> Result<String>,
    pub(super) wanted: &'static [&'static str],
}

const fn probe(
    name: &'static str,
    run: fn(u16, &Upstream) -> Result<String>,
    wanted: &'static [&'static str],
) -> Probe {
    Probe { name, run, wanted }
}

pub(super) const ALL: &[Probe] = &[
    probe(
        "version 99, upstream 426, then a forbidden GET",
        |port, up| second(port, up, &ask("GET", "/ws/426").replace(": 13", ": 99")),
        &["426, closed"],
    ),
    probe(
        "upstream 200 with `Upgrade`, then the same",
        |port, up| second(port, up, &ask("GET", "/ws/200")),
        &["502, closed"],
    ),
    probe(
        "POST, upstream a bare 101, then the same",
        |port, up| second(port, up, &ask("POST", "/ws/bare")),
        &["405, closed"],
    ),
    probe(
        "GET, upstream a bare 101, then the same",
        |port, up| second(port, up, &ask("GET", "/ws/bare")),
        &["502, closed"],
    ),
    probe(
        "101 with a wrong `Sec-WebSocket-Accept`, then the same",
        |port, up| second(port, up, &ask("GET", "/ws/wrong")),
        &["502, closed"],
    ),
    probe("a GET sent along before the answer", along, &["held"]),
    probe(
        "no `Sec-WebSocket-Key`",
        |port, up| passed(port, up, &ask("GET", "/ws/right").replace(KEY, "")),
        &["400"],
    ),
    probe(
        "a key of two octets",
        |port, up| passed(port, up, &ask("GET", "/ws/right").replace(SAMPLE, "AAA=")),
        &["400"],
    ),
    probe(
        "no `Sec-WebSocket-Version`",
        |port, up| passed(port, up, &ask("GET", "/ws/right").replace(VERSION, "")),
        &["426"],
    ),
    probe("`Upgrade: h2c`", h2c, &["stripped"]),
    probe(
        "`Origin: https://evil.example`",
        |port, up| {
            let line = format!("{VERSION}Origin: https://evil.example\r\n");
            passed(port, up, &ask("GET", "/ws/right").replace(VERSION, &line))
        },
        &["403"],
    ),
    probe(
        "an unmasked frame",
        |port, up| framed(port, up, b"\x81\x06marker"),
        &["1002"],
    ),
    probe(
        "RSV1 without an extension",
        |port, up| framed(port, up, b"\xC1\x86\0\0\0\0marker"),
        &["1002"],
    ),
    probe(
        "opcode 3",
        |port, up| framed(port, up, b"\x83\x86\0\0\0\0marker"),
        &["1002"],
    ),
    probe(
        "text that is no UTF-8",
        |port, up| framed(port, up, b"\x81\x88\0\0\0\0\xC0\x80marker"),
        &["1007"],
    ),
    probe(
        "a ping of 200 octets",
        |port, up| {
            let payload = [&b"marker"[..], &[b'x'; 194]].concat();
            let octets = [&b"\x89\xFE\0\xC8\0\0\0\0"[..], &payload].concat();
            framed(port, up, &octets)
        },
        &["1002"],
    ),
];

const SAMPLE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";

/// A right request for a WebSocket.
fn ask(method: &str, path: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{KEY}{VERSION}\r\n"
    )
}

/// What all doors were told to refuse.
const FORBIDDEN: &[u8] = b"GET /secret HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

fn connect(port: u16, up: &Upstream) -> Result<TcpStream> {
    up.forget();
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A request, its answer, and then a forbidden one over the same connection.
fn second(port: u16, up: &Upstream, request: &str) -> Result<String> {
    let mut stream = connect(port, up)?;
    stream.write_all(request.as_bytes())?;
    let first = status(&head(&mut stream));
    let _ = stream.write_all(FORBIDDEN); // it may be closed already
    let then = head(&mut stream);
    if up.saw(b"GET /secret", Duration::ZERO) {
        return Ok(format!("reached (after {first})"));
    }
    Ok(match then.as_str() {
        "" => format!("{first}, closed"),
        then => format!("{first}, then {}", status(then)),
    })
}

/// A forbidden request in the same packet, while the upstream has not answered yet.
fn along(port: u16, up: &Upstream) -> Result<String> {
    let mut stream = connect(port, up)?;
    stream.write_all(&[ask("GET", "/ws/late").as_bytes(), FORBIDDEN].concat())?;
    head(&mut stream);
    head(&mut stream);
    Ok(match up.saw(b"GET /secret", Duration::ZERO) {
        true => "reached".to_owned(),
        false => "held".to_owned(),
    })
}

/// Whether a request comes through at all.
fn passed(port: u16, up: &Upstream, request: &str) -> Result<String> {
    let mut stream = connect(port, up)?;
    stream.write_all(request.as_bytes())?;
    let status = status(&head(&mut stream));
    Ok(match up.saw(b"/ws/right", Duration::ZERO) {
        true => format!("forwarded ({status})"),
        false => status,
    })
}

fn h2c(port: u16, up: &Upstream) -> Result<String> {
    let mut stream = connect(port, up)?;
    let request = "GET /ws/page HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: h2c\r\n\
        Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    stream.write_all(request.as_bytes())?;
    let status = status(&head(&mut stream));
    Ok(
        match (
            up.saw(b"h2c", Duration::ZERO),
            up.saw(b"/ws/page", Duration::ZERO),
        ) {
            (true, _) => "forwarded".to_owned(),
            (false, true) => "stripped".to_owned(),
            (false, false) => status,
        },
    )
}

/// A frame through an open WebSocket.
fn framed(port: u16, up: &Upstream, octets: &[u8]) -> Result<String> {
    let mut stream = connect(port, up)?;
    stream.write_all(ask("GET", "/ws/right").as_bytes())?;
    let answer = status(&head(&mut stream));
    if answer != "101" {
        return Err(format!("no WebSocket: {answer}").into());
    }
    up.forget();
    stream.write_all(octets)?;
    // The key is of zeros, so what is passed on as it is can be read. The guard would mask anew, but it answers with a Close.
    stream.set_read_timeout(Some(FRAME))?;
    let mut close = [0; 4];
    let closed = stream.read_exact(&mut close).is_ok() && close[0] == 0x88;
    Ok(match (up.saw(b"marker", Duration::ZERO), closed) {
        (true, _) => "forwarded".to_owned(),
        (false, true) => u16::from_be_bytes([close[2], close[3]]).to_string(),
        (false, false) => "dropped".to_owned(),
    })
}

/// A head, and the body after it where one is announced; empty at the end, or when nothing comes.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut octet) {
            Ok(1) => head.push(octet[0]),
            _ => break,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let _ = stream.read_exact(&mut vec![0; length.unwrap_or(0)]);
    head
}

fn status(head: &str) -> String {
    match head.split(' ').nth(1) {
        Some(status) => status.to_owned(),
        None => "closed".to_owned(),
    }
}

/// For an answer; what has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(3);
/// For a frame to come through, or a Close to come back.
const FRAME: Duration = Duration::from_millis(1_500);
