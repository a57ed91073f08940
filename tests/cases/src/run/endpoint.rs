//! A worker's `Endpoint` with one peer, from the first octet of its handshake to the last.

use super::{Seen, start};
use crate::bytes::Step;
use crate::echo::{Act, TableEcho};
use crate::expect::Expect;
use crate::inflate;
use crate::random::{Cuts, Numbers};
use crate::settings::Settings;
use crate::wire;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tidegate_proto::deflate::Negotiated;
use tidegate_proto::{
    Endpoint, MailboxFull, PeerId, PeerInfo, Post, Role, Time, Transport, WorkerId,
};

/// A good request, for rows that begin after it.
fn request(settings: &Settings) -> Vec<u8> {
    let offer = settings
        .offer()
        .map(|offer| format!("Sec-WebSocket-Extensions: {offer}\r\n"));
    format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
        offer.unwrap_or_default()
    )
    .into_bytes()
}

/// How late a worker's timers may be.
const GRAIN: Duration = Duration::from_millis(10);

/// Runs a row that begins with the request.
pub(super) fn run(settings: &Settings, steps: &[Step], cuts: Cuts) -> Result<Seen, String> {
    let mut world = World::new(settings);
    for step in steps {
        world.step(step, cuts);
    }
    world.finish()
}

/// Runs a row that begins after the handshake: a good one goes before it.
pub(super) fn run_open(settings: &Settings, steps: &[Step], cuts: Cuts) -> Result<Seen, String> {
    let mut world = World::new(settings);
    world.feed(request(settings));
    world.fed = 0;
    for step in steps {
        world.step(step, cuts);
    }
    world.finish()
}

struct World {
    endpoint: Endpoint<TableEcho>,
    peer: PeerId,
    negotiated: Option<Negotiated>,
    now: Time,
    written: Vec<u8>,
    fed: usize,
    pieces: usize,
    ended_at: Option<usize>,
    gone: bool,
}

/// There is one worker and nobody writes to it.
struct NoMail;

impl Post<Act> for NoMail {
    fn post(&mut self, _: WorkerId, _: Act) -> Result<(), MailboxFull> {
        Err(MailboxFull)
    }
}

impl World {
    fn new(settings: &Settings) -> World {
        let now = start();
        let (worker, random) = (WorkerId(0), Box::new(Numbers(11)));
        let handler = TableEcho::with(settings.clone());
        let mut endpoint = Endpoint::new(worker, 1, settings.endpoint(), random, now, handler);
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let peer = endpoint.handle_open(
            now,
            PeerInfo {
                remote,
                secure: false,
            },
        );
        World {
            endpoint,
            peer,
            negotiated: settings.negotiated(),
            now,
            written: Vec::new(),
            fed: 0,
            pieces: 0,
            ended_at: None,
            gone: false,
        }
    }

    fn step(&mut self, step: &Step, cuts: Cuts) {
        match step {
            Step::Bytes(bytes) => cuts
                .pieces(bytes)
                .into_iter()
                .for_each(|piece| self.feed(piece)),
            Step::Wait(span) => self.wait(*span),
            Step::Close(code, reason) => {
                let act = Act::Close(*code, reason.clone());
                self.endpoint.handle_mail(self.now, act, &mut NoMail);
            }
            Step::Send(text) => {
                self.endpoint
                    .handle_mail(self.now, Act::Send(text.clone()), &mut NoMail)
            }
            Step::Eof => self.endpoint.handle_eof(self.now, self.peer, &mut NoMail),
        }
        self.serve();
    }

    fn feed(&mut self, mut piece: Vec<u8>) {
        if self.gone {
            return;
        }
        self.fed += piece.len();
        self.pieces += 1;
        let mut input = &mut piece[..];
        // In every other piece those that belong to a message come to where it is put together.
        while self.pieces % 2 == 0 {
            let Some(room) = self.endpoint.room(self.peer, 1, input.len()) else {
                break;
            };
            let (fit, rest) = std::mem::take(&mut input).split_at_mut(room.len());
            room.copy_from_slice(fit);
            input = rest;
            self.endpoint
                .handle_filled(self.now, self.peer, fit.len(), &mut NoMail);
        }
        self.endpoint
            .handle_bytes(self.now, self.peer, input, &mut NoMail);
        if self.ended_at.is_none() && !self.endpoint.handler().closed.is_empty() {
            self.ended_at = Some(self.fed);
        }
        self.serve();
    }

    fn wait(&mut self, span: Duration) {
        let until = self.now + span + GRAIN;
        while let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.endpoint.handle_timeout(self.now, &mut NoMail);
            self.serve();
        }
        self.now = until;
    }

    /// Does what an engine does: writes what is owed, and drops the transport when told to.
    fn serve(&mut self) {
        while let Some(peer) = self.endpoint.poll_dirty() {
            loop {
                let mut slices = [IoSlice::new(&[]); 4];
                let filled = self.endpoint.poll_transmit(peer, &mut slices);
                let octets: Vec<u8> = slices[..filled]
                    .iter()
                    .flat_map(|s| s.iter().copied())
                    .collect();
                if octets.is_empty() {
                    break;
                }
                self.written.extend_from_slice(&octets);
                self.endpoint
                    .handle_sent(self.now, peer, octets.len(), &mut NoMail);
            }
            if !self.gone && self.endpoint.transport(peer) == Transport::Close {
                self.gone = true;
                self.endpoint.release(peer);
            }
        }
    }

    fn finish(mut self) -> Result<Seen, String> {
        let mut seen = Seen {
            ended_at: self.ended_at,
            ..Seen::default()
        };
        let transport = self.endpoint.transport(self.peer);
        match (&self.written[..], transport) {
            ([], Transport::PlainHttp) => {
                seen.handshake.push(Expect::Plain);
                return Ok(seen);
            }
            ([], Transport::Open) => seen.handshake.push(Expect::Incomplete),
            ([], _) => {}
            _ => self.answer(&mut seen)?,
        }
        if transport != Transport::Open {
            self.wait(Duration::from_secs(15));
            if !self.gone {
                return Err("the transport is still there 15 s after the end".into());
            }
        }
        let handler = self.endpoint.handler();
        seen.messages = handler.messages.clone();
        seen.closed = handler.closed.clone();
        Ok(seen)
    }

    /// Reads the HTTP answer, and the frames or the body behind it.
    fn answer(&self, seen: &mut Seen) -> Result<(), String> {
        let (lines, body) = read_answer(&self.written)?;
        let status = status_of(&lines)?;
        let named = |line: &String| {
            line.strip_prefix("Sec-WebSocket-Protocol: ")
                .map(str::to_owned)
        };
        seen.handshake
            .push(Expect::Answer(status, lines.iter().find_map(named)));
        if status == 101 {
            seen.frames = wire::read_frames(body, false)?;
            let agreed = lines
                .iter()
                .any(|line| line.starts_with("Sec-WebSocket-Extensions: "));
            let negotiated = self.negotiated.as_ref().filter(|_| agreed);
            seen.compressed = inflate::frames(&mut seen.frames, negotiated, Role::Server)?;
        } else {
            check_refusal(&lines, body)?;
        }
        seen.answer = lines;
        Ok(())
    }
}

/// The lines of a head and what follows it.
pub(crate) fn read_answer(bytes: &[u8]) -> Result<(Vec<String>, &[u8]), String> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or("the answer's head does not end")?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "the answer is no text")?;
    Ok((
        head.split("\r\n").map(str::to_owned).collect(),
        &bytes[end + 4..],
    ))
}

pub(crate) fn status_of(lines: &[String]) -> Result<u16, String> {
    let status = lines[0]
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    let status = status.and_then(|digits| digits.parse().ok());
    status.ok_or_else(|| format!("no status line: {:?}", lines[0]))
}

/// A refusal closes, and its body is as long as it says: one line.
pub(crate) fn check_refusal(lines: &[String], body: &[u8]) -> Result<(), String> {
    let closes = |line: &String| line.starts_with("Connection: close");
    let length = format!("Content-Length: {}", body.len());
    if !lines.iter().any(closes) || !lines.contains(&length) {
        return Err(format!(
            "a refusal must close and say its length: {lines:?}"
        ));
    }
    let one_line = body.ends_with(b"\n") && body.iter().filter(|&&b| b == b'\n').count() == 1;
    one_line
        .then_some(())
        .ok_or("a refusal's body is one line".into())
}
