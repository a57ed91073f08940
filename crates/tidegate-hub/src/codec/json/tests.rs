//! Rows for the parser and the writer.

use super::*;
use crate::history::{Recovery, Slice};
use crate::presence::PresenceStats;
use crate::publication::{Draft, Epoch, Payload, Position, Publication, RawJson};
use crate::reply::Unsubscribed;
use crate::topic::TopicName;
use std::sync::Arc;
use tidegate_proto::Time;

fn read(message: &str) -> Vec<Result<Numbered<'_>, BadFrame>> {
    commands(message).collect()
}

/// The message's only command, which has the number 1.
fn one(message: &str) -> Result<Command<'_>, ClientError> {
    match read(message).as_slice() {
        [Ok(Numbered { id: 1, command })] => command.clone(),
        other => panic!("{message}: {other:?}"),
    }
}

#[test]
fn every_command_is_read() {
    assert_eq!(
        read("{}"),
        [Ok(Numbered {
            id: 0,
            command: Ok(Command::Pong)
        })]
    );
    assert_eq!(
        one(r#"{"id":1,"connect":{"name":"js","version":"1","flag":1,"dict":{}}}"#),
        Ok(Command::Connect(Connect::default()))
    );
    let Ok(Command::Connect(connect)) = one(
        r#"{"id":1,"connect":{"token":"t","data":{"a": [1]},"subs":{"c":{"recover":true,"offset":7,"epoch":"e"},"d":{}}}}"#,
    ) else {
        panic!()
    };
    assert_eq!(connect.token, "t");
    assert_eq!(connect.data.unwrap().as_bytes(), br#"{"a": [1]}"#);
    assert_eq!(connect.recover, [("c".into(), (7, "e".into()))]);
    assert_eq!(
        one(
            r#"{"id":1,"subscribe":{"channel":"ä\u0041","recover":true,"offset":7,"epoch":"e","flag":3}}"#
        ),
        Ok(Command::Subscribe(Subscribe {
            channel: "äA".into(),
            recover: Some((7, "e".into())),
            reject_unrecovered: true,
            ..Subscribe::default()
        }))
    );
    assert_eq!(
        one(
            r#"{"id":1,"subscribe":{"channel":"a","token":"t","offset":7,"delta":"fossil","join_leave":true}}"#
        ),
        Ok(Command::Subscribe(Subscribe {
            channel: "a".into(),
            token: "t".into(),
            delta: true,
            join_leave: true,
            ..Subscribe::default()
        }))
    );
    for unavailable in [r#""tf":{"op":"eq"}"#, r#""type":4"#] {
        let message = format!(r#"{{"id":1,"subscribe":{{"channel":"a",{unavailable}}}}}"#);
        let Ok(Command::Subscribe(subscribe)) = one(&message) else {
            panic!()
        };
        assert!(subscribe.unavailable);
    }
    assert_eq!(
        one(r#"{"id":1,"unsubscribe":{"channel":"a"}}"#),
        Ok(Command::Unsubscribe {
            channel: "a".into()
        })
    );
    let Ok(Command::Publish { channel, data }) =
        one(r#"{"id":1,"publish":{"channel":"a","data":null}}"#)
    else {
        panic!()
    };
    assert_eq!((&*channel, data.as_bytes()), ("a", &b"null"[..]));
    assert_eq!(
        one(r#"{"id":1,"history":{"channel":"a","limit":-1,"since":{"offset":3},"reverse":true}}"#),
        Ok(Command::History(HistoryOf {
            channel: "a".into(),
            limit: -1,
            since: Some((3, "".into())),
            reverse: true,
        }))
    );
    assert_eq!(
        one(r#"{"id":1,"presence":{"channel":"a"}}"#),
        Ok(Command::Presence {
            channel: "a".into()
        })
    );
    assert_eq!(
        one(r#"{"id":1,"presence_stats":{"channel":"a"}}"#),
        Ok(Command::PresenceStats {
            channel: "a".into()
        })
    );
    assert_eq!(one(r#"{"id":1,"ping":{}}"#), Ok(Command::Ping));
    assert_eq!(
        one(r#"{"id":1,"refresh":{"token":"x"}}"#),
        Ok(Command::Refresh { token: "x".into() })
    );
    assert_eq!(
        one(r#"{"id":1,"sub_refresh":{"channel":"x","token":"y"}}"#),
        Ok(Command::SubRefresh {
            channel: "x".into(),
            token: "y".into()
        })
    );
    assert!(matches!(
        one(r#"{"id":1,"rpc":{"method":"time","data":{}}}"#),
        Ok(Command::Rpc { data: Some(_), .. })
    ));
    assert_eq!(
        read(r#"{"send":{"data":1}}"#),
        [Ok(Numbered {
            id: 0,
            command: Ok(Command::Send)
        })]
    );
}

#[test]
fn batches_are_separated_by_white_space_only() {
    let batch = "{\"id\":1,\"ping\":{}}\n{}\r\n\n {\"id\":2,\n\"ping\":{}}\n";
    let ids: Vec<u32> = read(batch)
        .into_iter()
        .map(|item| item.unwrap().id)
        .collect();
    assert_eq!(ids, [1, 0, 2]);
}

#[test]
fn what_is_no_command_ends_the_connection() {
    let deep = "[".repeat(10_000);
    let rows = [
        "",
        " ",
        "\n",
        "{",
        "x",
        "1",
        "null",
        "[]",
        "[{}]",
        "\"a\"",
        deep.as_str(),
        r#"{"id":-1,"ping":{}}"#,
        r#"{"id":4294967296,"ping":{}}"#,
        r#"{"id":"1","ping":{}}"#,
        r#"{"id":1,"id":2,"ping":{}}"#,
        r#"{"ping":{}}"#,
        r#"{"id":0,"subscribe":{"channel":"a"}}"#,
        r#"{"send":{},"publish":{"channel":"a","data":1}}"#,
        r#"{"id":1,"ping":{},}"#,
    ];
    for row in rows {
        assert_eq!(read(row), [Err(BadFrame)], "{row:.60}");
    }
    let items = read("{}\n{\"id\":1,\"ping\":{}}\nx\n{}");
    assert_eq!(items.len(), 3);
    assert_eq!(items[2], Err(BadFrame));
}

#[test]
fn what_is_a_senseless_command_is_error_107() {
    let rows = [
        r#"{"id":1,"ping":{},"presence":{"channel":"a"}}"#,
        r#"{"id":1,"subscribe":{}}"#,
        r#"{"id":1,"subscribe":[]}"#,
        r#"{"id":1,"subscribe":{"channel":7}}"#,
        r#"{"id":1,"subscribe":{"channel":"a","recover":true,"offset":-1}}"#,
        r#"{"id":1,"publish":{"channel":"a"}}"#,
        r#"{"id":1,"history":{"channel":"a","limit":1e99}}"#,
        r#"{"id":1,"ping":7}"#,
    ];
    for row in rows {
        assert_eq!(one(row), Err(ClientError::BAD_REQUEST), "{row}");
    }
}

#[test]
fn a_method_that_we_do_not_know_is_error_104() {
    for row in [r#"{"id":1}"#, r#"{"id":1,"fly":{}}"#] {
        assert_eq!(one(row), Err(ClientError::METHOD_NOT_FOUND), "{row}");
    }
}

#[test]
fn depth_costs_neither_stack_nor_time() {
    let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
    let skipped = format!(r#"{{"id":1,"ping":{{"new":{}}}}}"#, nested(30_000));
    assert_eq!(one(&skipped), Ok(Command::Ping));
    let data = format!(
        r#"{{"id":1,"publish":{{"channel":"a","data":{}}}}}"#,
        nested(10_000)
    );
    let Ok(Command::Publish { data, .. }) = one(&data) else {
        panic!()
    };
    assert!(data.json().is_err());
    assert_eq!(depth(r#"{"a]}\"[{":["}",[]]}"#), 3);
    assert_eq!(depth("7"), 0);
}

#[test]
fn arbitrary_octets_are_survived() {
    assert_eq!(fuzz_commands(b"\xff"), 0);
    assert_eq!(
        fuzz_commands(b"{}\n{}\n{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":[[]]}}"),
        3
    );
    let sample = br#"{"id":1,"subscribe":{"channel":"a\u00e4","offset":1,"epoch":"x"}}"#;
    for cut in 0..sample.len() {
        fuzz_commands(&sample[..cut]);
        for byte in [0, b'"', b'{', b'}', b'\\', 0x80, 0xff] {
            let mut changed = sample.to_vec();
            changed[cut] = byte;
            fuzz_commands(&changed);
        }
    }
}

fn written(reply: &Reply<'_>) -> String {
    let mut out = String::new();
    write_reply(&mut out, 9, reply);
    serde_json::from_str::<serde_json::Value>(&out).expect("every reply is JSON");
    out
}

#[test]
fn every_reply_is_written() {
    let position = Position {
        offset: 8,
        epoch: Epoch(0xab),
    };
    let topic = TopicName::parse("c").unwrap();
    let draft = Draft {
        data: &Payload::Json(RawJson::parse("1").unwrap()),
        info: None,
        tags: &Tags::new(),
    };
    let missed: Vec<Publication> = [7, 8]
        .map(|offset| Publication::new(&topic, Some(offset), Time::ZERO, &draft, true))
        .into();
    let subscribed = |position, recoverable, recovery| {
        Reply::Subscribed(Subscribed {
            position,
            recoverable,
            recovery,
            ..Subscribed::default()
        })
    };
    let sub = Subscribed {
        position: Some(position),
        ttl: Some(3),
        data: RawJson::parse("{}").ok(),
        newest: vec![missed[1].clone()],
        ..Subscribed::default()
    };
    let conflated = Subscribed {
        newest: missed.clone(),
        ..Subscribed::default()
    };
    let subs = [(topic, sub)];
    let info = Arc::new(ClientInfo::new(0, "u", None));
    let rows: Vec<(Reply<'_>, &str)> = vec![
        (
            Reply::Connected(Connected {
                client: "c",
                version: "v",
                session: "s",
                node: "n",
                ping_seconds: 25,
                ttl: None,
                time: Time::from_micros(4_000),
                subs: &[],
            }),
            r#"{"id":9,"connect":{"client":"c","version":"v","ping":25,"pong":true,"session":"s","node":"n","time":4}}"#,
        ),
        (
            Reply::Connected(Connected {
                client: "c",
                version: "v",
                session: "s",
                node: "n",
                ping_seconds: 25,
                ttl: Some(60),
                time: Time::from_micros(4_000),
                subs: &subs,
            }),
            r#"{"id":9,"connect":{"client":"c","version":"v","ping":25,"pong":true,"session":"s","node":"n","time":4,"expires":true,"ttl":60,"subs":{"c":{"positioned":true,"epoch":"00000000000000ab","offset":8,"data":{},"publications":[{"data":1,"offset":8}],"expires":true,"ttl":3}}}}"#,
        ),
        (
            Reply::Refreshed {
                client: "c".into(),
                version: "v",
                ttl: Some(7),
            },
            r#"{"id":9,"refresh":{"client":"c","version":"v","expires":true,"ttl":7}}"#,
        ),
        (
            Reply::SubRefreshed { ttl: Some(7) },
            r#"{"id":9,"sub_refresh":{"expires":true,"ttl":7}}"#,
        ),
        (subscribed(None, false, None), r#"{"id":9,"subscribe":{}}"#),
        (
            Reply::Subscribed(conflated),
            r#"{"id":9,"subscribe":{"publications":[{"data":1},{"data":1}]}}"#,
        ),
        (
            subscribed(None, false, Some((0, Recovery::Lost))),
            r#"{"id":9,"subscribe":{"was_recovering":true}}"#,
        ),
        (
            subscribed(Some(position), false, None),
            r#"{"id":9,"subscribe":{"positioned":true,"epoch":"00000000000000ab","offset":8}}"#,
        ),
        (
            subscribed(Some(position), true, Some((5, Recovery::Lost))),
            r#"{"id":9,"subscribe":{"recoverable":true,"positioned":true,"epoch":"00000000000000ab","offset":8,"was_recovering":true}}"#,
        ),
        (
            subscribed(
                Some(position),
                true,
                Some((6, Recovery::Complete(missed.clone()))),
            ),
            r#"{"id":9,"subscribe":{"recoverable":true,"positioned":true,"epoch":"00000000000000ab","offset":6,"was_recovering":true,"recovered":true,"publications":[{"data":1,"offset":7},{"data":1,"offset":8}]}}"#,
        ),
        (
            subscribed(Some(position), true, Some((8, Recovery::Complete(vec![])))),
            r#"{"id":9,"subscribe":{"recoverable":true,"positioned":true,"epoch":"00000000000000ab","offset":8,"was_recovering":true,"recovered":true}}"#,
        ),
        (Reply::Unsubscribed, r#"{"id":9,"unsubscribe":{}}"#),
        (Reply::Published, r#"{"id":9,"publish":{}}"#),
        (Reply::Pong, r#"{"id":9,"ping":{}}"#),
        (Reply::Rpc("[1]"), r#"{"id":9,"rpc":{"data":[1]}}"#),
        (
            Reply::Presence(vec![]),
            r#"{"id":9,"presence":{"presence":{}}}"#,
        ),
        (
            Reply::Presence(vec![info]),
            r#"{"id":9,"presence":{"presence":{"00000000-0000-0000-0000-000000000000":{"client":"00000000-0000-0000-0000-000000000000","user":"u"}}}}"#,
        ),
        (
            Reply::PresenceStats(PresenceStats {
                clients: 2,
                users: 1,
            }),
            r#"{"id":9,"presence_stats":{"num_clients":2,"num_users":1}}"#,
        ),
        (
            Reply::History(Slice {
                position,
                publications: missed,
            }),
            r#"{"id":9,"history":{"publications":[{"data":1,"offset":7},{"data":1,"offset":8}],"epoch":"00000000000000ab","offset":8}}"#,
        ),
        (
            Reply::Error(ClientError::PERMISSION_DENIED),
            r#"{"id":9,"error":{"code":103,"message":"permission denied"}}"#,
        ),
        (
            Reply::Error(ClientError::TOO_MANY_REQUESTS),
            r#"{"id":9,"error":{"code":111,"message":"too many requests","temporary":true}}"#,
        ),
    ];
    for (reply, expected) in rows {
        assert_eq!(written(&reply), expected);
    }
}

fn pushed(channel: &str, push: Push) -> String {
    let mut out = String::new();
    write_push(&mut out, channel, &push);
    out
}

#[test]
fn pushes_are_written() {
    let info = Arc::new(ClientInfo::new(0, "", None));
    assert_eq!(
        pushed("a\"", Push::Join(Arc::clone(&info))),
        r#"{"push":{"channel":"a\"","join":{"info":{"client":"00000000-0000-0000-0000-000000000000","user":""}}}}"#
    );
    assert!(pushed("a", Push::Leave(info)).contains(r#""leave":{"info":"#));
    assert_eq!(
        pushed("a", Push::Unsubscribed(Unsubscribed::INSUFFICIENT_STATE)),
        r#"{"push":{"channel":"a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
    );
    let result = Subscribed {
        position: Some(Position::default()),
        recoverable: true,
        ..Subscribed::default()
    };
    assert_eq!(
        pushed("a", Push::Subscribed(Box::new(result))),
        r#"{"push":{"channel":"a","subscribe":{"recoverable":true,"positioned":true,"epoch":"0000000000000000","offset":0}}}"#
    );
}
