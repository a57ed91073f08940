//! Rows for the parser and the writer, written octet by octet from the protocol's field numbers.

use super::*;
use crate::publication::{Draft, Epoch, Payload, Position};
use crate::reply::Unsubscribed;
use crate::topic::TopicName;
use std::sync::Arc;
use tidegate_proto::Time;

/// A field of text or octets.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [
        &[number << 3 | 2, u8::try_from(content.len()).unwrap()],
        content,
    ]
    .concat()
}

fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[u8::try_from(message.len()).unwrap()], message].concat()
}

/// The message's commands, told apart from the message.
fn read(message: &[u8], each: impl Fn(&Result<Numbered<'_>, BadFrame>)) -> usize {
    let mut count = 0;
    commands(message, |item, _| {
        each(&item);
        count += 1;
        true
    });
    count
}

/// The only command in the message, which has the number 1.
fn one(command: &[u8], check: impl Fn(&Result<Command<'_>, ClientError>)) {
    let message = framed(&[number(1, 1), command.to_vec()].concat());
    let count = read(&message, |item| {
        let Ok(Numbered { id: 1, command }) = item else {
            panic!("{item:?}")
        };
        check(command);
    });
    assert_eq!(count, 1);
}

#[test]
fn every_command_is_read() {
    let position = [number(3, 1), field(6, b"e"), number(7, 9)].concat();
    let entry = [field(1, b"c"), field(2, &position)].concat();
    let connect = [
        field(1, b"t"),
        field(2, b"{}"),
        field(3, &entry),
        field(4, b"js"),
    ]
    .concat();
    one(&field(4, &connect), |command| {
        let Ok(Command::Connect(connect)) = command else {
            panic!("{command:?}")
        };
        assert_eq!(connect.token, "t");
        assert_eq!(connect.data.unwrap().as_bytes(), b"{}");
        assert_eq!(connect.recover, [("c".into(), (9, "e".into()))]);
    });
    let subscribe = [
        field(1, b"c"),
        field(2, b"t"),
        position,
        number(11, 1),
        number(14, 2),
    ];
    one(&field(5, &subscribe.concat()), |command| {
        let expected = Subscribe {
            channel: "c".into(),
            token: "t".into(),
            recover: Some((9, "e".into())),
            join_leave: true,
            reject_unrecovered: true,
            ..Subscribe::default()
        };
        assert_eq!(*command, Ok(Command::Subscribe(expected)));
    });
    // A filter, whatever is in it.
    let filtered = [field(1, b"c"), field(13, b"\xff\xff")].concat();
    one(&field(5, &filtered), |command| {
        assert!(matches!(command, Ok(Command::Subscribe(s)) if s.unavailable));
    });
    one(&field(6, &field(1, b"c")), |command| {
        let expected = Command::Unsubscribe {
            channel: "c".into(),
        };
        assert_eq!(*command, Ok(expected));
    });
    let publish = [field(1, b"c"), field(2, b"\x00\xff")].concat();
    one(&field(7, &publish), |command| {
        let Ok(Command::Publish { channel, data }) = command else {
            panic!()
        };
        assert_eq!((&**channel, data.as_bytes()), ("c", &b"\x00\xff"[..]));
        assert!(data.json().is_err() && data.payload(true).is_ok());
    });
    one(&field(8, &field(1, b"c")), |command| {
        assert_eq!(
            *command,
            Ok(Command::Presence {
                channel: "c".into()
            })
        );
    });
    one(&field(9, &field(1, b"c")), |command| {
        assert_eq!(
            *command,
            Ok(Command::PresenceStats {
                channel: "c".into()
            })
        );
    });
    let history = [
        field(1, b"c"),
        number(7, 5),
        field(8, &number(1, 3)),
        number(9, 1),
    ]
    .concat();
    one(&field(10, &history), |command| {
        let expected = HistoryOf {
            channel: "c".into(),
            limit: 5,
            since: Some((3, "".into())),
            reverse: true,
        };
        assert_eq!(*command, Ok(Command::History(expected)));
    });
    one(&field(11, b""), |command| {
        assert_eq!(*command, Ok(Command::Ping))
    });
    let rpc = [field(1, b"1"), field(2, b"time")].concat();
    one(&field(13, &rpc), |command| {
        assert!(matches!(command, Ok(Command::Rpc { method, data: Some(_) }) if method == "time"));
    });
    one(&field(14, &field(1, b"t")), |command| {
        assert_eq!(*command, Ok(Command::Refresh { token: "t".into() }));
    });
    let sub_refresh = [field(1, b"c"), field(2, b"t")].concat();
    one(&field(15, &sub_refresh), |command| {
        let expected = Command::SubRefresh {
            channel: "c".into(),
            token: "t".into(),
        };
        assert_eq!(*command, Ok(expected));
    });
}

#[test]
fn pongs_sends_and_batches_are_read() {
    let send = framed(&field(12, &field(1, b"x")));
    let ping = framed(&[number(1, 7), field(11, b"")].concat());
    let batch = [vec![0], send, ping].concat();
    let count = read(&batch, |item| {
        let command = item.as_ref().unwrap().command.as_ref().unwrap();
        assert!(matches!(
            command,
            Command::Pong | Command::Send | Command::Ping
        ));
    });
    assert_eq!(count, 3);
}

#[test]
fn what_is_no_command_ends_the_connection() {
    let rows: [&[u8]; 7] = [
        b"",
        b"\x05\x08\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x02\x0b\x0c",
        b"\x02\x5a\x00",
        b"\x01\x08",
        b"\x04\x2a\x02\x0a\xff",
    ];
    for row in rows {
        let count = read(row, |item| assert_eq!(*item, Err(BadFrame), "{row:?}"));
        assert_eq!(count, 1, "{row:?}");
    }
    // What stands behind the error is not read.
    let count = read(b"\x00\x02\x5a\x00\x00\x00", |_| {});
    assert_eq!(count, 2);
}

#[test]
fn a_method_that_we_do_not_know_is_error_104_and_two_at_once_107() {
    for (row, error) in [
        (vec![], ClientError::METHOD_NOT_FOUND),
        (field(3, b""), ClientError::METHOD_NOT_FOUND),
        (
            [field(11, b""), field(8, b"")].concat(),
            ClientError::BAD_REQUEST,
        ),
    ] {
        one(&row, |command| {
            assert_eq!(command.as_ref(), Err(&error));
        });
    }
}

#[test]
fn publications_for_a_client_without_a_position_have_no_offset() {
    let topic = TopicName::parse("c").unwrap();
    let draft = Draft {
        data: &Payload::Binary([7].into()),
        info: None,
        tags: &Tags::new(),
    };
    let result = Subscribed {
        newest: vec![Publication::new(&topic, Some(5), Time::ZERO, &draft, true)],
        ..Subscribed::default()
    };
    let mut out = Vec::new();
    write_reply(&mut out, 9, &Reply::Subscribed(result));
    let publication = field(7, &field(4, &[7]));
    assert_eq!(
        out,
        framed(&[number(1, 9), field(6, &publication)].concat())
    );
}

#[test]
fn arbitrary_octets_are_survived() {
    let subscribe = [field(1, b"c"), field(13, &field(6, &field(6, b"x")))].concat();
    let sample = framed(&[number(1, 1), field(5, &subscribe)].concat());
    assert_eq!(fuzz_commands(&sample), 1);
    for cut in 0..sample.len() {
        fuzz_commands(&sample[..cut]);
        for byte in [0, 1, 0x0a, 0x7f, 0x80, 0xff] {
            let mut changed = sample.clone();
            changed[cut] = byte;
            fuzz_commands(&changed);
        }
    }
}

#[test]
fn a_publication_is_written_with_its_data_where_it_says() {
    let topic = TopicName::parse("ch").unwrap();
    let info = Arc::new(ClientInfo::new(0, "u", RawJson::parse("7").ok().as_ref()));
    for data in [&b""[..], b"\x01\x02", &[9; 300]] {
        let payload = Payload::Binary(data.into());
        let draft = Draft {
            data: &payload,
            info: Some(&info),
            tags: &Tags::from([("k".to_owned(), "v".to_owned())]),
        };
        let at = Time::from_micros(2_000);
        let publication = Publication::new(&topic, Some(5), at, &draft, true);
        assert_eq!(publication.octets(), data);
        let frame = publication.frame(super::super::Form::Protobuf).unwrap();
        let mut octets = frame.payload();
        let one = split(&mut octets).unwrap();
        assert!(octets.is_empty());
        let push = schema::Reply::decode(one).unwrap().push.unwrap();
        assert_eq!(push.channel, "ch");
        let read = push.publication.unwrap();
        assert_eq!((read.data.as_slice(), read.offset), (data, 5));
        let info = read.info.unwrap();
        assert_eq!(
            (info.user.as_str(), info.conn_info.as_slice()),
            ("u", &b"7"[..])
        );
        assert_eq!(read.tags["k"], "v");
    }
}

#[test]
fn replies_and_pushes_are_written() {
    let written = |reply: &Reply<'_>| {
        let mut out = Vec::new();
        write_reply(&mut out, 9, reply);
        out
    };
    assert_eq!(
        written(&Reply::Published),
        framed(&[number(1, 9), field(8, b"")].concat())
    );
    let error = [number(1, 111), field(2, b"too many requests"), number(3, 1)].concat();
    assert_eq!(
        written(&Reply::Error(ClientError::TOO_MANY_REQUESTS)),
        framed(&[number(1, 9), field(2, &error)].concat())
    );
    let result = Subscribed {
        position: Some(Position {
            offset: 8,
            epoch: Epoch(0xab),
        }),
        recoverable: true,
        recovery: Some((6, Recovery::Complete(Vec::new()))),
        ttl: Some(3),
        ..Subscribed::default()
    };
    let expected = [
        number(1, 1),
        number(2, 3),
        number(3, 1),
        field(6, b"00000000000000ab"),
        number(8, 1),
        number(9, 6),
        number(10, 1),
        number(12, 1),
    ];
    assert_eq!(
        written(&Reply::Subscribed(result)),
        framed(&[number(1, 9), field(6, &expected.concat())].concat())
    );
    let mut out = Vec::new();
    let why = Unsubscribed {
        code: 100,
        reason: "r",
    };
    write_push(&mut out, "c", &Push::Unsubscribed(why));
    let push = [
        field(2, b"c"),
        field(7, &[number(2, 100), field(3, b"r")].concat()),
    ]
    .concat();
    assert_eq!(out, framed(&field(4, &push)));
}
