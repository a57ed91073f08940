//! Compressed messages: those that come in are the same in any pieces and stay within their bounds; those that
//! go out are read by an inflater that is not ours, and by the opposite role.

use crate::inflate;
use crate::random::{Cuts, Numbers};
use crate::wire;
use std::io::IoSlice;
use std::sync::Arc;
use tidegate_proto::deflate::{Deflate, DeflateConfig, Negotiated};
use tidegate_proto::{
    CloseCode, Config, Connection, Event, Limits, Outbox, ProtocolError, Resources, Role, Time,
};

/// Longest message.
const LONGEST: usize = 20_000;

/// The first octet is role, takeover and seed, the rest is what the peer sends, and what we send.
pub(super) fn run(data: &[u8]) {
    let Some((&first, octets)) = data.split_first() else {
        return;
    };
    let role = match first & 1 {
        0 => Role::Server,
        _ => Role::Client,
    };
    let negotiated = Negotiated {
        server_no_context_takeover: first & 2 != 0,
        client_no_context_takeover: first & 4 != 0,
        server_max_window_bits: 9 + (first >> 3) % 7,
        client_max_window_bits: 9 + (first >> 5),
    };
    let whole = receive(role, negotiated, octets, Cuts::Whole);
    for cuts in [Cuts::Each, Cuts::Random(u64::from(first))] {
        let pieces = receive(role, negotiated, octets, cuts);
        assert_eq!(pieces.0, whole.0, "the pieces make a difference: {cuts:?}");
        assert!(
            alike(&pieces.1, &whole.1),
            "{cuts:?}: {:?}, {:?}",
            pieces.1,
            whole.1
        );
    }
    send(role, negotiated, octets);
}

fn connection(role: Role, negotiated: Negotiated, resources: &mut Resources) -> Connection {
    let mode = Deflate::Dedicated {
        bits: 15,
        mem_level: 4,
    };
    let config = Config {
        limits: Limits {
            max_message_size: LONGEST,
            max_fragments: 50,
            ..Limits::default()
        },
        deflate: DeflateConfig {
            threshold: 0,
            ..mode.into()
        },
        ..Config::default()
    };
    let mut connection = Connection::new(role, Arc::new(config), Outbox::default(), Time::ZERO);
    connection.set_deflate(negotiated, resources);
    connection
}

/// Messages, and how it ended.
type Heard = (Vec<Vec<u8>>, End);
type End = Option<(Option<u16>, Option<ProtocolError>)>;

/// The same end; or two faults of one message, of which the pieces decide which is seen first.
fn alike(one: &End, other: &End) -> bool {
    let of_content = |end: &End| {
        use ProtocolError::{DeflateCorrupt, InflatesTooMuch, MessageTooBig, TextNotUtf8};
        let cause = end.as_ref().and_then(|(_, cause)| *cause);
        matches!(
            cause,
            Some(DeflateCorrupt | InflatesTooMuch | MessageTooBig | TextNotUtf8)
        )
    };
    one == other || of_content(one) && of_content(other)
}

fn receive(role: Role, negotiated: Negotiated, octets: &[u8], cuts: Cuts) -> Heard {
    let mut resources = Resources::new(Box::new(Numbers(1)));
    let mut connection = connection(role, negotiated, &mut resources);
    let mut heard: Heard = (Vec::new(), None);
    for mut piece in cuts.pieces(octets) {
        let mut input = &mut piece[..];
        while let Some(event) = connection.receive(Time::ZERO, &mut input, &mut resources) {
            assert!(heard.1.is_none(), "something after the end");
            match event {
                Event::Message(message) => {
                    let payload = message.as_bytes().to_vec();
                    assert!(payload.len() <= LONGEST, "a message beyond the limit");
                    if message.is_text() {
                        std::str::from_utf8(&payload).expect("text is UTF-8");
                    }
                    heard.0.push(payload);
                }
                Event::Part(_) => unreachable!("nobody asked for parts"),
                Event::Closed(closed) => {
                    heard.1 = Some((closed.code.map(CloseCode::get), closed.cause));
                }
            }
        }
        assert!(input.is_empty());
        written(&mut connection, &mut resources);
    }
    heard
}

/// Sends `octets` in messages of several lengths.
fn send(role: Role, negotiated: Negotiated, octets: &[u8]) {
    let mut resources = Resources::new(Box::new(Numbers(2)));
    let mut sender = connection(role, negotiated, &mut resources);
    let len = 1 + octets.len() / 3;
    let messages: Vec<&[u8]> = octets.chunks(len).chain([octets, b""]).collect();
    let mut stream = Vec::new();
    for message in &messages {
        sender.send_binary(message, &mut resources);
        stream.extend(written(&mut sender, &mut resources));
    }
    let mut frames = wire::read_frames(&stream, role == Role::Client).expect("good frames");
    inflate::frames(&mut frames, Some(&negotiated), role).expect("another inflater reads it");
    assert!(
        frames
            .iter()
            .map(|frame| &frame.payload[..])
            .eq(messages.iter().copied())
    );
    let opposite = match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    };
    let (heard, end) = receive(opposite, negotiated, &stream, Cuts::Whole);
    assert_eq!(end, None, "the opposite role finds fault");
    assert!(heard.iter().map(Vec::as_slice).eq(messages));
}

fn written(connection: &mut Connection, resources: &mut Resources) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = connection.poll_transmit(&mut slices);
        let octets: Vec<u8> = slices[..filled]
            .iter()
            .flat_map(|s| s.iter().copied())
            .collect();
        if octets.is_empty() {
            return all;
        }
        connection.handle_sent(Time::ZERO, octets.len(), resources);
        all.extend(octets);
    }
}
