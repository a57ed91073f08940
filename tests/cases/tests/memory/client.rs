//! The client: one thread sends a message without end, the other reads its echo and compares. Each has a
//! connection of its own for its direction, because neither may wait for the other.

use crate::pattern::{PERIOD, Pattern};
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tidegate_cases::random::Numbers;
use tidegate_proto::deflate::{self, Negotiated};
use tidegate_proto::frame::{FrameHeader, MAX_HEADER, OpCode};
use tidegate_proto::handshake::client::{Answer, ClientHandshake, ClientRequest};
use tidegate_proto::handshake::parse_offers;
use tidegate_proto::mask::{MaskKey, apply_mask};
use tidegate_proto::{
    CloseCode, Config, Connection, Deflate, Event, HeadLimits, Level, MessageKind, Outbox,
    Resources, Role, Streaming, Time,
};

/// How the message is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sending {
    /// Octets in a single frame, whose length takes the 64-bit form.
    OneBinaryFrame,
    /// Text in frames that end anywhere, also within a character.
    Text,
    /// The same, compressed.
    DeflatedText,
}

/// Octets on the wire, heads and masks included.
#[derive(Debug)]
pub(crate) struct OnTheWire {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// Sends `total` octets and sees them come back; of a text a few more, so that it ends with a whole character.
pub(crate) fn echo(addr: SocketAddr, sending: Sending, total: u64) -> OnTheWire {
    let total = match sending {
        Sending::OneBinaryFrame => total,
        _ => total.next_multiple_of(PERIOD as u64),
    };
    let stream = TcpStream::connect(addr).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let (negotiated, rest) = handshake(&stream, sending);
    let writer = stream.try_clone().expect("a second handle");
    let writing = thread::spawn(move || match sending {
        Sending::OneBinaryFrame => one_frame(&writer, total),
        _ => in_parts(&writer, negotiated, total),
    });
    let received = read_echo(stream, negotiated, rest, sending, total);
    let sent = writing.join().expect("all was sent");
    OnTheWire { sent, received }
}

/// What was agreed on compression, and what came behind the answer.
fn handshake(mut stream: &TcpStream, sending: Sending) -> (Option<Negotiated>, Vec<u8>) {
    let config = config();
    let offer = deflate::offer(&config.deflate);
    let request = ClientRequest {
        extensions: offer
            .as_deref()
            .filter(|_| sending == Sending::DeflatedText),
        ..ClientRequest::new("localhost", "/", *b"the sample nonce")
    };
    let mut handshake = ClientHandshake::new(&request).expect("a good request");
    stream.write_all(handshake.request()).expect("sent");
    let mut octets = Vec::new();
    loop {
        let mut buffer = [0; 4_096];
        let n = stream.read(&mut buffer).expect("an answer");
        assert_ne!(n, 0, "the server hung up");
        octets.extend_from_slice(&buffer[..n]);
        match handshake.parse_response(&octets, &HeadLimits::default()) {
            Ok(Answer::Incomplete) => {}
            Ok(Answer::Accepted(accepted)) => {
                let answer = accepted.extensions.as_deref();
                let negotiated = answer.map(|answer| agreed(answer, &config));
                assert_eq!(negotiated.is_some(), sending == Sending::DeflatedText);
                return (negotiated, octets.split_off(accepted.head_length));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn agreed(answer: &str, config: &Config) -> Negotiated {
    let elements = parse_offers(answer.as_bytes()).expect("a list of extensions");
    let judged = deflate::judge(&elements, &config.deflate);
    judged.expect("a good answer").expect("accepted")
}

fn config() -> Arc<Config> {
    Arc::new(Config {
        deflate: Deflate::Shared.into(),
        ..Config::default()
    })
}

/// The opposite ends of one connection need no more than their own direction of it.
fn connection(negotiated: Option<Negotiated>) -> (Connection, Resources) {
    let mut resources = Resources::new(Box::new(Numbers(7)));
    let mut connection = Connection::new(Role::Client, config(), Outbox::default(), Time::ZERO);
    connection.set_streaming(Streaming::from(0));
    if let Some(negotiated) = negotiated {
        connection.set_deflate(negotiated, &mut resources);
    }
    (connection, resources)
}

fn one_frame(mut stream: &TcpStream, total: u64) -> u64 {
    let mut key = MaskKey::new([0x37, 0xFA, 0x21, 0x3D]);
    let header = FrameHeader {
        mask: Some(key),
        ..FrameHeader::new(OpCode::Binary, total)
    };
    let mut head = [0; MAX_HEADER];
    let len = header.encode(&mut head);
    stream.write_all(&head[..len]).expect("sent");
    let mut pattern = Pattern::new(false);
    let mut buffer = Vec::new();
    while pattern.at() < total {
        let left = usize::try_from(total - pattern.at()).unwrap_or(usize::MAX);
        buffer.clear();
        buffer.extend_from_slice(pattern.take(left));
        key = apply_mask(key, &mut buffer);
        stream.write_all(&buffer).expect("sent");
    }
    len as u64 + total
}

fn in_parts(stream: &TcpStream, negotiated: Option<Negotiated>, total: u64) -> u64 {
    let (mut connection, mut resources) = connection(negotiated);
    let mut pattern = Pattern::new(true);
    let mut sent = 0;
    let begun = connection.begin(MessageKind::Text, &mut resources);
    begun.expect("nothing else was begun");
    while pattern.at() < total {
        // Of no length that characters or the period have.
        let part = pattern.take(PART.min((total - pattern.at()) as usize));
        let level = connection.part(part, &mut resources).expect("begun");
        assert!(matches!(level, Level::Low | Level::High));
        sent += flush(&mut connection, stream, &mut resources);
    }
    connection.finish(&mut resources).expect("whole characters");
    sent + flush(&mut connection, stream, &mut resources)
}

fn flush(connection: &mut Connection, mut stream: &TcpStream, resources: &mut Resources) -> u64 {
    let mut sent = 0;
    loop {
        let mut slices = [IoSlice::new(&[]); 8];
        if connection.poll_transmit(&mut slices) == 0 {
            return sent;
        }
        let n = slices[0].len();
        stream.write_all(&slices[0]).expect("sent");
        connection.handle_sent(Time::ZERO, n, resources);
        sent += n as u64;
    }
}

/// Reads to the server's Close.
fn read_echo(
    mut stream: TcpStream,
    negotiated: Option<Negotiated>,
    mut octets: Vec<u8>,
    sending: Sending,
    total: u64,
) -> u64 {
    let (mut connection, mut resources) = connection(negotiated);
    let mut pattern = Pattern::new(sending != Sending::OneBinaryFrame);
    let (mut received, mut messages) = (0, 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        received += octets.len() as u64;
        let mut input = &mut octets[..];
        while let Some(event) = connection.receive(Time::ZERO, &mut input, &mut resources) {
            match event {
                Event::Part(piece) => {
                    let part = piece.part();
                    pattern.check(part.bytes);
                    messages += usize::from(part.last);
                    resources.recycle_piece(piece);
                }
                Event::Closed(closed) => {
                    assert_eq!(closed.code, Some(CloseCode::NORMAL), "{closed}");
                    assert_eq!((messages, pattern.at()), (1, total));
                    flush(&mut connection, &stream, &mut resources);
                    return received;
                }
                Event::Message(_) => panic!("a message that came whole"),
            }
        }
        let n = stream.read(&mut buffer).expect("the echo");
        assert_ne!(n, 0, "the server hung up at {}", pattern.at());
        octets.clear();
        octets.extend_from_slice(&buffer[..n]);
    }
}

/// Longest wait for a single read or write.
const PATIENCE: Duration = Duration::from_secs(120);
/// Octets of a part.
const PART: usize = 60_013;
