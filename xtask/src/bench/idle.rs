//! `cargo xtask bench idle`: what an idle connection costs the server, plain and, where asked, one that has agreed on
//! compression and used it. Opens N connections with its own small client; measures the server's resident memory from outside. Never guesses: what can't be told apart is called so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bench::{children, runs};
use crate::server::{self, Server};
use crate::sh::Result;

/// `cargo xtask bench idle [--connections N] [--deflate] [--record]`
pub(crate) fn job(words: &[&str]) -> Result<()> {
    let mut words = words.iter();
    let (mut connections, mut kinds, mut record) = (10_000, vec![Kind::Plain], false);
    while let Some(word) = words.next() {
        match *word {
            "--connections" => {
                let number = words.next().ok_or("--connections wants a number")?;
                connections = number.parse()?;
            }
            "--deflate" => kinds.push(Kind::Deflate),
            "--record" => record = true,
            other => return Err(format!("bench idle: unknown word {other}").into()),
        }
    }
    children::raise_open_files(connections + 200)?;
    let binary = server::build(true)?;
    let mut runs = Vec::new();
    for kind in kinds {
        let server = Server::start(&binary, &["--workers", "1"])?;
        let run = measure(&server, kind, connections)?;
        server.stop()?;
        println!("{}", run.text());
        runs.push(run);
    }
    if record {
        runs.iter().try_for_each(Run::record)?;
    }
    match &runs[..] {
        [plain, deflate] => beside(plain, deflate),
        _ => Ok(()),
    }
}

/// What compression adds to an idle connection, judged.
fn beside(plain: &Run, deflate: &Run) -> Result<()> {
    let more = deflate.total() - plain.total();
    println!(
        "compression adds {more:.0} B to an idle connection ({:.0} and {:.0} B); at most {MOST_FOR_DEFLATE} are allowed",
        plain.total(),
        deflate.total()
    );
    if more > MOST_FOR_DEFLATE {
        return Err("an idle connection with compression costs too much".into());
    }
    Ok(())
}

/// What the connections have agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Plain,
    /// permessage-deflate in the mode `Shared`; each has received and sent a compressed message.
    Deflate,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Deflate => "deflate shared",
        }
    }

    /// A message and a ping, and their answers.
    fn turn(self, stream: &mut TcpStream) -> Result<()> {
        match self {
            Self::Plain => echo_and_ping(stream),
            Self::Deflate => compressed_echo_and_ping(stream),
        }
    }
}

/// Memory of the server at three moments.
struct Run {
    kind: Kind,
    connections: usize,
    baseline: Memory,
    half: Memory,
    all: Memory,
    took: Duration,
}

fn measure(server: &Server, kind: Kind, connections: usize) -> Result<Run> {
    // What a first connection sets up once (buffers, pages of code) is no cost of a connection.
    for _ in 0..WARM_UP {
        drop(one_connection(server.port(), kind)?);
    }
    settle(server)?;
    let baseline = Memory::of(server.pid())?;
    let start = Instant::now();
    let mut held = Vec::with_capacity(connections);
    for _ in 0..connections / 2 {
        held.push(one_connection(server.port(), kind)?);
    }
    let half = Memory::of(server.pid())?;
    for _ in connections / 2..connections {
        held.push(one_connection(server.port(), kind)?);
    }
    let took = start.elapsed();
    settle(server)?;
    let all = Memory::of(server.pid())?;
    if took + SETTLE > PING_INTERVAL {
        return Err(format!(
            "opening the connections took {took:?}: by now keepalive pings are under way; try fewer"
        )
        .into());
    }
    // Every one of them is still served: echo once more on some.
    for stream in held.iter_mut().step_by(connections.div_ceil(100).max(1)) {
        kind.turn(stream)?;
    }
    Ok(Run {
        kind,
        connections,
        baseline,
        half,
        all,
        took,
    })
}

fn settle(server: &Server) -> Result<()> {
    std::thread::sleep(SETTLE);
    Memory::of(server.pid()).map(drop)
}

/// Opens one connection to `/echo`; it has sent a message and a ping and read both answers.
fn one_connection(port: u16, kind: Kind) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (query, offer) = match kind {
        Kind::Plain => ("?deflate=off", ""),
        Kind::Deflate => (
            "?deflate=shared",
            "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        ),
    };
    write!(
        stream,
        "GET /echo{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    if !head.starts_with("HTTP/1.1 101") || !head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
        return Err(format!("no WebSocket at /echo:\n{head}").into());
    }
    if head.contains("permessage-deflate") != (kind == Kind::Deflate) {
        return Err(format!("not what was asked of compression:\n{head}").into());
    }
    kind.turn(&mut stream)?;
    Ok(stream)
}

/// A message that the server has to inflate, and that comes back deflated. Ours is a stored block, which needs no
/// compressor here; that the answer inflates to the same is for other tests to show.
fn compressed_echo_and_ping(stream: &mut TcpStream) -> Result<()> {
    let message = [b'x'; 600];
    let len = message.len() as u16;
    let mut payload = vec![0];
    payload.extend(len.to_le_bytes());
    payload.extend((!len).to_le_bytes());
    payload.extend(message);
    payload.push(0);
    let mut sent = vec![0xC1, 0x80 | 126];
    sent.extend((payload.len() as u16).to_be_bytes());
    sent.extend([0; 4]); // a key of zeros changes nothing
    sent.extend(payload);
    sent.extend(frame(0x89, b"ping"));
    stream.write_all(&sent)?;
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    if head[0] != 0xC1 || head[1] > 125 {
        return Err("the echo did not come back compressed".into());
    }
    let mut deflated = vec![0; usize::from(head[1])];
    stream.read_exact(&mut deflated)?;
    let mut pong = [0; 6];
    stream.read_exact(&mut pong)?;
    if &pong != b"\x8A\x04ping" {
        return Err("the ping was not answered".into());
    }
    Ok(())
}

fn echo_and_ping(stream: &mut TcpStream) -> Result<()> {
    let message = [b'x'; 125];
    let mut sent = frame(0x81, &message);
    sent.extend(frame(0x89, b"ping"));
    stream.write_all(&sent)?;
    let mut expected = vec![0x81, 125];
    expected.extend(message);
    expected.extend([0x8a, 4]);
    expected.extend(b"ping");
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got)?;
    if got == expected {
        Ok(())
    } else {
        Err("the echo and the pong are not what was sent".into())
    }
}

/// A frame of at most 125 octets as a client sends it. The mask is fixed: no proxy stands between.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first, 0x80 | payload.len() as u8];
    bytes.extend(MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

/// Resident memory of a process, in bytes, in all and by kind of mapping.
struct Memory {
    resident: u64,
    kinds: BTreeMap<&'static str, u64>,
}

impl Memory {
    fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(kilobytes);
        let resident = resident.ok_or("no VmRSS in /proc: bench idle runs on Linux")?;
        let mut kinds = BTreeMap::new();
        let mut kind = "other";
        for line in fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
            if let Some(bytes) = line.strip_prefix("Rss:").and_then(kilobytes) {
                *kinds.entry(kind).or_insert(0) += bytes;
            } else if line
                .split_whitespace()
                .next()
                .is_some_and(|word| word.contains('-'))
            {
                kind = kind_of(line);
            }
        }
        Ok(Self { resident, kinds })
    }
}

/// Which kind of mapping a head line of smaps tells of.
fn kind_of(line: &str) -> &'static str {
    match line.split_whitespace().nth(5) {
        Some("[heap]") => "heap (small allocations of the main thread)",
        None => "anonymous (arenas of other threads, large blocks, thread stacks)",
        Some(name) if name.starts_with('/') => "program and libraries",
        Some(_) => "other",
    }
}

fn kilobytes(text: &str) -> Option<u64> {
    Some(text.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

impl Run {
    fn per_connection(&self, bytes: u64, baseline: u64) -> f64 {
        (bytes as f64 - baseline as f64) / self.connections as f64
    }

    /// RSS beyond the baseline, per connection.
    fn total(&self) -> f64 {
        self.per_connection(self.all.resident, self.baseline.resident)
    }

    /// The same for the second half alone: what the next connection costs.
    fn slope(&self) -> f64 {
        let rest = self.connections - self.connections / 2;
        (self.all.resident as f64 - self.half.resident as f64) / rest as f64
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} idle connections ({}), opened in {:.1} s; each had a message echoed and a ping answered, keepalive armed",
            self.connections,
            self.kind.name(),
            self.took.as_secs_f64()
        );
        let _ = writeln!(text, "resident before  {:>12} B", self.baseline.resident);
        let _ = writeln!(text, "resident after   {:>12} B", self.all.resident);
        let _ = writeln!(
            text,
            "per connection   {:>12.0} B   (the second half alone: {:.0} B)",
            self.total(),
            self.slope()
        );
        for (kind, bytes) in &self.all.kinds {
            let before = self.baseline.kinds.get(kind).copied().unwrap_or(0);
            let _ = writeln!(
                text,
                "  {:>8.0} B  {kind}",
                self.per_connection(*bytes, before)
            );
        }
        text.push_str("The kernel's own memory (sockets, epoll) is not in it. A socket buffer holds nothing here.\n");
        text
    }

    fn record(&self) -> Result<()> {
        let mut line = json!({
            "kind": self.kind.name(), "workers": 1, "connections": self.connections,
            "rss_before": self.baseline.resident, "rss_after": self.all.resident,
            "bytes_per_connection": self.total().round(), "bytes_per_connection_second_half": self.slope().round(),
        });
        for (key, value) in runs::facts("idle")? {
            line[key] = value;
        }
        let path = runs::folder()?.join("idle.jsonl");
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)?;
        writeln!(file, "{line}")?;
        println!("recorded in {}", path.display());
        Ok(())
    }
}

/// Bytes that compression may add to an idle connection.
const MOST_FOR_DEFLATE: f64 = 256.0;
const WARM_UP: usize = 200;
const SETTLE: Duration = Duration::from_millis(1500);
/// The server pings after so much silence; by then more than an echo would have been measured.
const PING_INTERVAL: Duration = Duration::from_secs(25);

#[cfg(test)]
mod tests {
    use super::{frame, kind_of};

    #[test]
    fn a_frame_is_masked() {
        assert_eq!(
            frame(0x81, b"Hello"),
            [
                0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58
            ]
        );
    }

    #[test]
    fn mappings_are_told_apart() {
        assert!(kind_of("55d0-55e0 rw-p 00000000 00:00 0    [heap]").starts_with("heap"));
        assert!(kind_of("7f00-7f01 rw-p 00000000 00:00 0").starts_with("anonymous"));
        assert!(
            kind_of("7f00-7f01 r-xp 00000000 08:01 12 /usr/lib/libc.so.6").starts_with("program")
        );
    }
}
