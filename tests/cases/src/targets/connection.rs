//! A connection under hostile I/O: pieces of any size, slow and partial writes, timers, closes at any
//! moment. What it writes is read by the opposite role, which must find nothing wrong with it.

use crate::random::{Cuts, Numbers};
use crate::wire;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;
use tidegate_proto::{
    CloseCode, Closed, Config, Connection, Encoded, Event, Level, Limits, Outbox, ProtocolError,
    Resources, Role, Time,
};

/// The first octet is role and seed, the rest is what the peer sends.
pub(super) fn run(data: &[u8]) {
    let Some((&first, octets)) = data.split_first() else {
        return;
    };
    let role = if first & 1 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let whole = calm(role, octets, Cuts::Whole);
    for cuts in [Cuts::Each, Cuts::Random(u64::from(first))] {
        assert_eq!(
            calm(role, octets, cuts),
            whole,
            "the pieces make a difference: {cuts:?}"
        );
    }
    Storm::new(role, u64::from(first)).run(octets);
}

/// Small limits, so that short inputs reach them.
fn config() -> Arc<Config> {
    Arc::new(Config {
        limits: Limits {
            max_message_size: 700,
            max_frame_size: 700,
            max_fragments: 5,
            max_empty_fragments: 3,
            outbox: 600,
            outbox_high: 300,
            outbox_low: 100,
            control_burst: 40,
            control_per_second: 10,
        },
        ..Config::default()
    })
}

/// What an application hears: messages, and the end.
type Heard = (
    Vec<(bool, Vec<u8>)>,
    Option<(Option<u16>, Option<ProtocolError>)>,
);

/// Octets in, in pieces, everything written at once.
fn calm(role: Role, octets: &[u8], cuts: Cuts) -> Heard {
    let mut resources = Resources::new(Box::new(Numbers(1)));
    let mut connection = Connection::new(role, config(), Outbox::default(), Time::ZERO);
    let mut heard: Heard = (Vec::new(), None);
    for mut piece in cuts.pieces(octets) {
        let mut input = &mut piece[..];
        while let Some(event) = connection.receive(Time::ZERO, &mut input, &mut resources) {
            assert!(heard.1.is_none(), "something after the end");
            match event {
                Event::Message(message) => heard
                    .0
                    .push((message.is_text(), message.as_bytes().to_vec())),
                Event::Part(_) => unreachable!("nobody asked for parts"),
                Event::Closed(closed) => {
                    heard.1 = Some((closed.code.map(CloseCode::get), closed.cause))
                }
            }
        }
        assert!(input.is_empty());
        write_all(&mut connection, &mut resources);
    }
    for (text, payload) in &heard.0 {
        assert!(payload.len() <= 700, "a message beyond the limit");
        assert!(
            !text || std::str::from_utf8(payload).is_ok(),
            "text that is no UTF-8"
        );
    }
    heard
}

fn write_all(connection: &mut Connection, resources: &mut Resources) {
    loop {
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = connection.poll_transmit(&mut slices);
        let len: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
        if len == 0 {
            return;
        }
        connection.handle_sent(Time::ZERO, len, resources);
    }
}

/// Everything at once.
struct Storm {
    role: Role,
    now: Time,
    numbers: Numbers,
    connection: Connection,
    resources: Resources,
    /// What our application managed to send.
    sent: Vec<(bool, Vec<u8>)>,
    written: Vec<u8>,
    closed: Vec<Closed>,
    dead: bool,
}

impl Storm {
    fn new(role: Role, seed: u64) -> Storm {
        Storm {
            role,
            now: Time::ZERO,
            numbers: Numbers(seed),
            connection: Connection::new(role, config(), Outbox::default(), Time::ZERO),
            resources: Resources::new(Box::new(Numbers(seed ^ 77))),
            sent: Vec::new(),
            written: Vec::new(),
            closed: Vec::new(),
            dead: false,
        }
    }

    fn run(mut self, octets: &[u8]) {
        let seed = self.numbers.next_word();
        for piece in Cuts::Random(seed).pieces(octets) {
            self.receive(piece);
            for _ in 0..self.numbers.below(4) {
                self.something_happens();
            }
            self.holds();
        }
        if !self.dead {
            write_rest(&mut self);
        }
        self.read_back();
    }

    fn receive(&mut self, mut piece: Vec<u8>) {
        let mut input = &mut piece[..];
        while let Some(event) = self
            .connection
            .receive(self.now, &mut input, &mut self.resources)
        {
            assert!(self.closed.is_empty(), "something after the end");
            match event {
                Event::Message(message) => drop(message),
                Event::Part(_) => unreachable!("nobody asked for parts"),
                Event::Closed(closed) => self.closed.push(closed),
            }
        }
        assert!(input.is_empty());
    }

    fn something_happens(&mut self) {
        match self.numbers.below(24) {
            0..=5 => self.send(),
            6..=13 => self.write_some(),
            14..=17 => {
                self.now = self.now + Duration::from_millis(self.numbers.below(9_000) as u64);
                self.time_passes();
            }
            18 => self.connection.close(
                self.now,
                CloseCode::GOING_AWAY,
                &"é".repeat(90),
                &mut self.resources,
            ),
            19 if self.numbers.one_in(8) => {
                let closed = self.connection.handle_eof(self.now, &mut self.resources);
                self.closed.extend(closed);
            }
            20 if self.numbers.one_in(8) => {
                let closed = self.connection.handle_end(&mut self.resources);
                self.closed.extend(closed);
                self.dead = true;
            }
            _ => {}
        }
    }

    fn send(&mut self) {
        let len = self.numbers.below(200);
        let payload = vec![b'a' + self.numbers.below(26) as u8; len];
        let text = std::str::from_utf8(&payload).expect("letters");
        let is_text = self.numbers.one_in(2);
        let level = match (is_text, self.numbers.one_in(2)) {
            (true, true) => self.connection.send_text(text, &mut self.resources),
            (true, false) => self
                .connection
                .send(&Encoded::text(text), &mut self.resources),
            (false, true) => self.connection.send_binary(&payload, &mut self.resources),
            (false, false) => self
                .connection
                .send(&Encoded::binary(&payload), &mut self.resources),
        };
        if matches!(level, Level::Low | Level::High) {
            self.sent.push((is_text, payload));
        }
    }

    /// The transport takes a part of what is owed.
    fn write_some(&mut self) {
        let mut slices = [IoSlice::new(&[]); 2];
        let filled = self.connection.poll_transmit(&mut slices);
        let octets: Vec<u8> = slices[..filled]
            .iter()
            .flat_map(|s| s.iter().copied())
            .collect();
        let taken = self.numbers.below(octets.len() + 1);
        self.written.extend_from_slice(&octets[..taken]);
        self.connection
            .handle_sent(self.now, taken, &mut self.resources);
    }

    fn time_passes(&mut self) {
        while self
            .connection
            .poll_timeout()
            .is_some_and(|due| due <= self.now)
        {
            let before = self.connection.poll_timeout();
            let closed = self
                .connection
                .handle_timeout(self.now, &mut self.resources);
            self.dead |= self.connection.poll_timeout().is_none();
            self.closed.extend(closed);
            assert!(
                self.connection.poll_timeout() != before,
                "a timer that comes again at once"
            );
        }
    }

    /// What holds at every moment.
    fn holds(&self) {
        assert!(self.closed.len() <= 1, "the end is told twice");
        // 600 of messages, a frame that may exceed it alone, pongs, pings and a Close.
        let queued = self.connection.queued();
        assert!(
            queued <= 600 + 220 + 16 * 131 + 3_000,
            "{queued} octets wait"
        );
        assert!(
            self.closed.is_empty() || !self.connection.is_open(),
            "told that it ended, and open"
        );
    }

    /// The opposite role takes all that was written, and gets the messages that were sent.
    fn read_back(mut self) {
        let masked = self.role == Role::Client;
        let mut frames = Vec::new();
        let mut rest = &self.written[..];
        while let Some((frame, len)) =
            wire::read_frame(rest, masked).expect("only good frames are sent")
        {
            frames.push(frame);
            rest = &rest[len..];
        }
        let closes = frames
            .iter()
            .filter(|frame| frame.opcode == wire::CLOSE)
            .count();
        assert!(closes <= 1, "two Closes were sent");
        let last = frames
            .last()
            .is_some_and(|frame| frame.opcode == wire::CLOSE);
        assert!(
            closes == 0 || last && rest.is_empty(),
            "something was sent after a Close"
        );
        let opposite = if masked { Role::Server } else { Role::Client };
        let heard = lenient(opposite, &mut self.written);
        assert_eq!(
            heard,
            self.sent[..heard.len()],
            "what was sent is not what arrived"
        );
        if !self.dead && self.closed.is_empty() {
            assert_eq!(heard.len(), self.sent.len(), "messages were lost");
        }
    }
}

fn write_rest(storm: &mut Storm) {
    while storm.connection.queued() > 0 {
        storm.write_some();
    }
}

/// A reader with the usual limits, which must find no fault.
fn lenient(role: Role, octets: &mut [u8]) -> Vec<(bool, Vec<u8>)> {
    let mut resources = Resources::new(Box::new(Numbers(3)));
    let config = Config {
        limits: Limits {
            control_burst: u16::MAX,
            ..Limits::default()
        },
        ..Config::default()
    };
    let mut reader = Connection::new(role, Arc::new(config), Outbox::default(), Time::ZERO);
    let mut heard = Vec::new();
    let mut input = octets;
    while let Some(event) = reader.receive(Time::ZERO, &mut input, &mut resources) {
        match event {
            Event::Message(message) => heard.push((message.is_text(), message.as_bytes().to_vec())),
            Event::Part(_) => unreachable!("nobody asked for parts"),
            Event::Closed(closed) => {
                assert_eq!(closed.cause, None, "the opposite role finds fault")
            }
        }
    }
    heard
}
