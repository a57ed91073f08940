//! The table against a server that listens somewhere: one connection a row, over plain TCP, judged by what
//! it sends back. It expects an echo, and waits for nothing longer than [`PATIENCE`].

use crate::expect::{self, Ending, Expect};
use crate::inflate;
use crate::random::Cuts;
use crate::run::{Seen, check_refusal, read_answer, status_of};
use crate::table::{Case, Stage};
use crate::wire::{self, CLOSE, Frame, KEY, TEXT};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;
use tidegate_proto::Role;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Where an echo listens and how its URLs look.
#[derive(Clone, Debug)]
pub struct Target {
    /// Address and port.
    pub addr: SocketAddr,
    /// The path of the echo.
    pub path: String,
    /// It is a server of [`crate::echo::TableEcho`], so it takes settings from the query.
    pub takes_settings: bool,
    /// Requests for no WebSocket are answered by an HTTP server, not just closed.
    pub serves_http: bool,
}

/// Whether a row can be run against `target`: it judges servers, is nothing but octets, and asks for no
/// settings that the server does not take.
pub fn can_run(case: &Case, target: &Target) -> bool {
    let settings = case.settings.is_default() || target.takes_settings;
    // A row with its own head names its own path; only a table echo is told its settings beforehand.
    let head = case.stage == Stage::Open || target.takes_settings;
    case.role == Role::Server && case.is_only_octets() && settings && head
}

/// Runs one row over one connection.
///
/// # Errors
/// What differs, or what the socket said.
pub fn run(case: &Case, target: &Target, cuts: Cuts) -> Result<(), String> {
    let mut socket = Socket::connect(target.addr).map_err(|error| error.to_string())?;
    if case.stage == Stage::Open {
        socket.open(case, target)?;
    }
    socket.send(case, cuts);
    let expected = socket.see_it_through(case)?;
    let received = socket.received(just_closes(case, target))?;
    match case.stage {
        Stage::Open => judge_frames(case, &expected, received),
        Stage::Handshake => judge_head(case, &expected, received, target),
    }
}

/// A server without HTTP answers what asks for no WebSocket by closing; whether it had read the last octets by
/// then decides between an end and a reset.
fn just_closes(case: &Case, target: &Target) -> bool {
    case.expected.contains(&Expect::Plain) && !target.serves_http
}

struct Socket {
    stream: TcpStream,
    octets: Vec<u8>,
    /// Where the answer to our own handshake ends.
    head: usize,
    reset: bool,
}

impl Socket {
    fn connect(addr: SocketAddr) -> io::Result<Socket> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Socket {
            stream,
            octets: Vec::new(),
            head: 0,
            reset: false,
        })
    }

    /// A good handshake.
    fn open(&mut self, case: &Case, target: &Target) -> Result<(), String> {
        let (path, query) = (&target.path, case.settings.query());
        let offer = case.settings.offer();
        let offer = offer.map(|offer| format!("Sec-WebSocket-Extensions: {offer}\r\n"));
        let request = format!(
            "GET {path}?{query} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
            target.addr,
            offer.unwrap_or_default()
        );
        self.stream
            .write_all(request.as_bytes())
            .map_err(|error| error.to_string())?;
        while !self.octets.windows(4).any(|window| window == b"\r\n\r\n") {
            if !self.read_more()? {
                return Err("the server hung up on a good handshake".into());
            }
        }
        let (lines, rest) = read_answer(&self.octets)?;
        expect::same("the answer to a good handshake", &101, &status_of(&lines)?)?;
        self.head = self.octets.len() - rest.len();
        Ok(())
    }

    /// Sends the row. A server that has seen enough may close before it has all; that is no fault.
    fn send(&mut self, case: &Case, cuts: Cuts) {
        let octets = case.octets();
        // A packet for each of a million octets would prove no more.
        let pieces = match octets.len() {
            0..=4_096 => cuts.pieces(&octets),
            _ => Cuts::Every(30_011).pieces(&octets),
        };
        for piece in pieces {
            if self.stream.write_all(&piece).is_err() {
                self.reset = true;
                return;
            }
        }
    }

    /// Says what ends the row and reads to the end of the stream. Returns what is expected with that.
    fn see_it_through(&mut self, case: &Case) -> Result<Vec<Expect>, String> {
        let mut expected = case.expected.clone();
        if case.takes_a_tail() && self.speaks_frames(case) {
            // Another message must still be echoed, and a Close answered.
            let tail = [
                Frame::new(TEXT, "tail"),
                Frame::new(CLOSE, 1000u16.to_be_bytes()),
            ];
            for frame in &tail {
                drop(self.stream.write_all(&frame.write(Some(KEY))));
            }
            let payload = "tail".into();
            expected.push(Expect::Message {
                text: true,
                payload,
            });
            expected.push(Expect::Ends(Ending::Peer(Some(1000), String::new())));
        } else if case.ending().is_none() {
            // Nothing is owed but what came before: the server shows it by ending with us.
            drop(self.stream.shutdown(Shutdown::Write));
        }
        while self.read_more()? {}
        Ok(expected)
    }

    fn speaks_frames(&self, case: &Case) -> bool {
        let upgraded = |expect: &Expect| matches!(expect, Expect::Answer(101, _));
        case.stage == Stage::Open || case.expected.iter().any(upgraded)
    }

    /// Reads once; false at the end of the stream.
    fn read_more(&mut self) -> Result<bool, String> {
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(n) => {
                self.octets.extend_from_slice(&buffer[..n]);
                Ok(true)
            }
            // We went on sending to a server that had closed: what it said before may be lost with it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                self.reset = true;
                Ok(false)
            }
            Err(error) => Err(format!("after {} octets: {error}", self.octets.len())),
        }
    }

    fn received(&self, may_say_nothing: bool) -> Result<&[u8], String> {
        let received = &self.octets[self.head..];
        if self.reset && received.is_empty() && !may_say_nothing {
            return Err("the connection was reset before the server had said anything".into());
        }
        Ok(received)
    }
}

fn judge_frames(case: &Case, expected: &[Expect], received: &[u8]) -> Result<(), String> {
    let mut frames = wire::read_frames(received, false)?;
    let negotiated = case.settings.negotiated();
    let compressed = inflate::frames(&mut frames, negotiated.as_ref(), Role::Server)?;
    expect::check_frames(expected, &frames, true)?;
    expect::check_compressed(expected, compressed)
}

fn judge_head(
    case: &Case,
    expected: &[Expect],
    received: &[u8],
    target: &Target,
) -> Result<(), String> {
    let mut seen = Seen::default();
    let mut rest: &[u8] = &[];
    if received.is_empty() {
        let incomplete = expected.contains(&Expect::Incomplete);
        seen.handshake.push(if incomplete {
            Expect::Incomplete
        } else {
            Expect::Plain
        });
    } else {
        let (lines, body) = read_answer(received)?;
        let status = status_of(&lines)?;
        if expected.contains(&Expect::Plain) {
            // Whoever serves HTTP here, it is no WebSocket.
            let upgraded = status == 101 || status == 426 && !target.serves_http;
            return (!upgraded)
                .then_some(())
                .ok_or(format!("status {status} to plain HTTP"));
        }
        let named = |line: &String| {
            line.strip_prefix("Sec-WebSocket-Protocol: ")
                .map(str::to_owned)
        };
        seen.handshake
            .push(Expect::Answer(status, lines.iter().find_map(named)));
        if status == 101 {
            rest = body;
        } else {
            check_refusal(&lines, body)?;
        }
        seen.answer = lines;
    }
    crate::run::check_handshake(expected, &seen)?;
    judge_frames(case, expected, rest)
}
