//! Each public future is dropped at every poll, and the octets on the wire and the messages are compared
//! with those of a run in which none was.

use crate::common::{masked, plain, poll_and_drop};
use std::sync::Arc;
use tidegate::testing::{Faults, Faulty, pair};
use tidegate::tidegate_proto::handshake::Refusal;
use tidegate::tidegate_proto::{MessageKind, Role};
use tidegate::{
    Acceptor, Client, CloseCode, Config, Drain, Farewell, Limits, Message, WebSocket, accept,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{unconstrained, yield_now};

/// Hardly ever dropped: tokio asks for a pause after 128 operations.
const WHOLE: usize = 500;
/// More polls than any future here takes.
const MOST: usize = 60;

const SLOW: Faults = Faults {
    chunk: Some(1),
    hesitant: true,
    holds_until_flush: false,
    stuck_flush: false,
    cut_after: None,
    reset_after: None,
};

type Slow = WebSocket<Faulty<DuplexStream>>;

fn server(limits: Limits) -> (Slow, DuplexStream) {
    let (here, peer) = duplex(1 << 20);
    let config = Config {
        limits,
        ..Config::default()
    };
    let ws = WebSocket::from_upgraded(Faulty::new(here, SLOW), Role::Server, Arc::new(config), b"");
    (ws, peer)
}

/// Repeats a future, dropped after `polls` polls each time, until it is ready.
macro_rules! until_ready {
    ($polls:expr, $future:expr) => {
        loop {
            if let Some(output) = poll_and_drop($future, $polls) {
                break output;
            }
            yield_now().await; // so that tokio's budget is renewed
        }
    };
}

async fn drained(mut peer: DuplexStream) -> Vec<u8> {
    let mut wire = Vec::new();
    peer.read_to_end(&mut wire).await.unwrap();
    wire
}

/// Receives all there is; what came, how it ended, and what was written meanwhile.
async fn receive_all(polls: usize) -> (Vec<Message>, String, Vec<u8>) {
    let (mut ws, mut peer) = server(Limits::default());
    let frames = [
        masked(0x81, b"one"),
        masked(0x01, b"tw"),
        masked(0x89, b"ping!"),
        masked(0x80, b"o"),
        masked(0x82, b""),
        masked(0x8A, b"unsolicited"),
        masked(0x82, &[7; 100]),
        masked(0x88, b"\x03\xe8bye"),
    ];
    peer.write_all(&frames.concat()).await.unwrap();
    let mut messages = Vec::new();
    let closed = loop {
        // The peer ends its half only after our Close was seen; here it has ended it already.
        match until_ready!(polls, ws.recv()) {
            Ok(message) => messages.push(message),
            Err(closed) => break closed,
        }
        if messages.len() == 4 {
            peer.shutdown().await.unwrap();
        }
    };
    drop(ws);
    (messages, format!("{closed:?}"), drained(peer).await)
}

#[tokio::test]
async fn recv_loses_nothing_wherever_it_is_dropped() {
    let whole = receive_all(WHOLE).await;
    assert_eq!(whole.0.len(), 4);
    assert_eq!(
        whole.2,
        [plain(0x8A, b"ping!"), plain(0x88, b"\x03\xe8")].concat()
    );
    for polls in 1..MOST {
        assert_eq!(
            receive_all(polls).await,
            whole,
            "dropped after {polls} polls"
        );
    }
}

#[tokio::test]
async fn a_send_that_was_polled_is_sent_whole_and_one_that_was_not_is_not_sent() {
    for polls in 0..MOST {
        let (mut ws, peer) = server(Limits::default());
        let first = poll_and_drop(ws.send("first message"), polls);
        let second = poll_and_drop(ws.send(vec![2; 9]), polls);
        ws.send("last").await.unwrap();
        drop(ws);
        let mut expected = Vec::new();
        if polls > 0 {
            expected.extend(plain(0x81, b"first message"));
            expected.extend(plain(0x82, &[2; 9]));
        } else {
            assert!(first.is_none() && second.is_none());
        }
        expected.extend(plain(0x81, b"last"));
        assert_eq!(drained(peer).await, expected, "dropped after {polls} polls");
    }
}

#[tokio::test]
async fn a_send_dropped_while_it_waits_for_room_has_sent_nothing() {
    let limits = Limits {
        outbox: 64,
        outbox_high: 32,
        outbox_low: 8,
        ..Limits::default()
    };
    let mut waited = 0;
    for polls in 0..MOST {
        let (mut ws, peer) = server(limits.clone());
        ws.try_send(vec![1; 40]).unwrap();
        let before = ws.queued();
        let done = poll_and_drop(ws.send("too early"), polls);
        // One octet goes out at each second poll: room comes when 34 are out.
        let queued = polls > 0 && ws.queued() + 34 < before + 11;
        let late = ws.queued() <= 8 + 11;
        waited += usize::from(polls > 0 && done.is_none() && !late);
        assert!(done.is_none() || late, "sent before there was room");
        ws.flush().await.unwrap();
        drop(ws);
        let wire = drained(peer).await;
        let alone = plain(0x82, &[1; 40]);
        let both = [alone.clone(), plain(0x81, b"too early")].concat();
        assert!(wire == alone || wire == both, "dropped after {polls} polls");
        assert!(late || wire == alone, "it was dropped while it waited");
        assert!(!queued || late);
    }
    assert!(waited > 10, "the futures did wait");
}

#[tokio::test]
async fn flush_and_writable_lose_nothing_wherever_they_are_dropped() {
    for polls in 1..MOST {
        let (mut ws, peer) = server(Limits::default());
        ws.try_send("queued").unwrap();
        until_ready!(polls, ws.writable()).unwrap();
        until_ready!(polls, ws.flush()).unwrap();
        assert_eq!(ws.queued(), 0);
        drop(ws);
        assert_eq!(drained(peer).await, plain(0x81, b"queued"));
    }
}

#[tokio::test]
async fn a_ping_that_was_dropped_is_sent_whole_and_its_pong_is_taken() {
    for polls in 1..MOST {
        let (mut ws, mut peer) = server(Limits::default());
        let answer = poll_and_drop(ws.ping(), polls);
        assert!(answer.is_none(), "nobody answered yet");
        peer.write_all(&masked(0x8A, &1u64.to_be_bytes()))
            .await
            .unwrap();
        peer.write_all(&masked(0x81, b"after it")).await.unwrap();
        assert_eq!(
            until_ready!(polls, ws.recv()).unwrap(),
            Message::from("after it")
        );
        assert!(ws.rtt().is_some());
        until_ready!(polls, ws.flush()).unwrap();
        drop(ws);
        assert_eq!(drained(peer).await, plain(0x89, &1u64.to_be_bytes()));
    }
}

#[tokio::test]
async fn a_close_that_was_dropped_can_be_called_again() {
    for polls in 1..MOST {
        let (mut ws, mut peer) = server(Limits::default());
        ws.try_send("before it").unwrap();
        peer.write_all(&masked(0x81, b"dropped")).await.unwrap();
        peer.write_all(&masked(0x88, b"\x0f\xa0")).await.unwrap();
        peer.shutdown().await.unwrap();
        let code = CloseCode::new(4000).unwrap();
        let closed = until_ready!(polls, ws.close(code, "done"));
        assert!(closed.clean, "{closed:?}");
        drop(ws);
        let expected = [plain(0x81, b"before it"), plain(0x88, b"\x0f\xa0done")].concat();
        assert_eq!(drained(peer).await, expected, "dropped after {polls} polls");
    }
}

/// Reads all messages as streams; each with its kind, how it ended, and what was written meanwhile.
async fn read_all(polls: usize) -> (Vec<(bool, Vec<u8>)>, String, Vec<u8>) {
    let (mut ws, mut peer) = server(Limits::default());
    let frames = [
        masked(0x81, b"one"),
        masked(0x01, b"tw"),
        masked(0x89, b"ping!"),
        masked(0x80, b"o"),
        masked(0x82, b""),
        masked(0x82, &[7; 100]),
        masked(0x88, b"\x03\xe8bye"),
    ];
    peer.write_all(&frames.concat()).await.unwrap();
    let mut messages = Vec::new();
    for _ in 0..4 {
        let kept = loop {
            // A reader that was handed out is kept; a future that was not ready is dropped.
            let mut future = Box::pin(ws.next_message());
            let ready = poll_and_drop(future.as_mut(), polls);
            drop(future);
            match ready {
                Some(reader) => break reader.unwrap(),
                None => yield_now().await,
            }
        };
        let mut reader = kept;
        let mut all = Vec::new();
        loop {
            let mut some = [0; 7];
            match until_ready!(polls, reader.read(&mut some)).unwrap() {
                0 => break,
                n => all.extend_from_slice(&some[..n]),
            }
        }
        messages.push((reader.is_text(), all));
    }
    peer.shutdown().await.unwrap();
    let closed = until_ready!(polls, ws.recv()).unwrap_err();
    drop(ws);
    (messages, format!("{closed:?}"), drained(peer).await)
}

#[tokio::test]
async fn next_message_and_its_reads_lose_nothing_wherever_they_are_dropped() {
    let whole = read_all(WHOLE).await;
    let lengths: Vec<usize> = whole.0.iter().map(|(_, message)| message.len()).collect();
    assert_eq!(lengths, [3, 3, 0, 100]);
    assert_eq!(
        whole.2,
        [plain(0x8A, b"ping!"), plain(0x88, b"\x03\xe8")].concat()
    );
    for polls in 1..MOST {
        assert_eq!(read_all(polls).await, whole, "dropped after {polls} polls");
    }
}

/// Writes a message in parts with a queue that is soon full; what went over the wire.
async fn write_all(polls: usize) -> Vec<u8> {
    let limits = Limits {
        outbox: 60_000,
        outbox_high: 20_000,
        outbox_low: 1_000,
        ..Limits::default()
    };
    let (here, peer) = duplex(1 << 20);
    let faults = Faults {
        chunk: Some(999),
        ..SLOW
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let io = Faulty::new(here, faults);
    let mut ws = WebSocket::from_upgraded(io, Role::Server, Arc::new(config), b"");
    until_ready!(polls, async { ws.writable().await }).unwrap();
    let mut message = ws.message_writer(MessageKind::Binary).await.unwrap();
    for len in [10, 20_000, 5, 70_000, 16_384, 3] {
        let mut left = &vec![len as u8; len][..];
        while !left.is_empty() {
            let n = until_ready!(polls, message.write(left)).unwrap();
            left = &left[n..];
        }
        if len == 5 {
            until_ready!(polls, message.flush()).unwrap();
        }
    }
    until_ready!(polls, message.finish()).unwrap();
    drop(message);
    until_ready!(polls, ws.flush()).unwrap();
    drop(ws);
    drained(peer).await
}

#[tokio::test]
async fn a_message_writer_writes_the_same_wherever_its_futures_are_dropped() {
    let whole = write_all(WHOLE).await;
    assert!(whole.len() > 20_000 + 70_000 + 16_384);
    for polls in 1..12 {
        let wire = write_all(polls).await;
        assert!(wire == whole, "dropped after {polls} polls");
    }
}

#[tokio::test]
async fn a_message_writer_that_is_dropped_before_it_is_ready_has_begun_nothing() {
    for polls in 0..MOST {
        let (mut ws, peer) = server(Limits {
            outbox: 64,
            outbox_high: 32,
            outbox_low: 8,
            ..Limits::default()
        });
        ws.try_send(vec![1; 40]).unwrap();
        let mut begun = false;
        if let Some(writer) = poll_and_drop(ws.message_writer(MessageKind::Text), polls) {
            writer.unwrap().finish().await.unwrap();
            begun = true;
        }
        ws.send("next").await.unwrap();
        drop(ws);
        let mut expected = plain(0x82, &[1; 40]);
        if begun {
            expected.extend(plain(0x81, b""));
        }
        expected.extend(plain(0x81, b"next"));
        assert_eq!(drained(peer).await, expected, "dropped after {polls} polls");
    }
}

#[tokio::test]
async fn feed_and_reserve_take_nothing_before_they_are_ready() {
    let limits = Limits {
        outbox: 64,
        outbox_high: 32,
        outbox_low: 8,
        ..Limits::default()
    };
    let mut waited = 0;
    for polls in 0..MOST {
        let (mut ws, peer) = server(limits.clone());
        ws.try_send(vec![1; 40]).unwrap();
        let fed = poll_and_drop(ws.feed("fed"), polls).is_some();
        let reserved = poll_and_drop(ws.reserve(20), polls).is_some();
        waited += usize::from(!fed && polls > 0) + usize::from(!reserved && polls > 0);
        // What a permit had kept is free again: all of the room can be had.
        ws.flush().await.unwrap();
        ws.reserve(60).await.unwrap().send(vec![2; 60]).unwrap();
        ws.flush().await.unwrap();
        drop(ws);
        let mut expected = plain(0x82, &[1; 40]);
        if fed {
            expected.extend(plain(0x81, b"fed"));
        }
        expected.extend(plain(0x82, &[2; 60]));
        assert_eq!(drained(peer).await, expected, "dropped after {polls} polls");
    }
    assert!(waited > 10, "the futures did wait");
}

/// Both halves, every future of theirs dropped after `polls` polls and asked again.
async fn both_halves(polls: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (ws, mut peer) = server(Limits::default());
    let frames = [
        masked(0x81, b"one"),
        masked(0x8A, &1u64.to_be_bytes()),
        masked(0x82, &[7; 100]),
        masked(0x88, b"\x0f\xa0"),
    ];
    let (sender, mut receiver) = ws.split();
    let mut got = Vec::new();
    // Once polled a send is queued whole: asked again it would be sent again.
    let _ = poll_and_drop(sender.send("sent"), polls);
    until_ready!(polls, sender.flush()).unwrap();
    let _ = poll_and_drop(sender.feed("fed"), polls);
    until_ready!(polls, sender.writable()).unwrap();
    let permit = until_ready!(polls, async { sender.reserve(8).await }).unwrap();
    permit.send("reserved").unwrap();
    let writing = async { sender.message_writer(MessageKind::Text).await };
    let mut writer = poll_and_drop(writing, WHOLE).unwrap().unwrap();
    assert_eq!(until_ready!(polls, writer.write(b"parts")).unwrap(), 5);
    until_ready!(polls, writer.finish()).unwrap();
    drop(writer);
    let _ = poll_and_drop(sender.ping(), polls);
    until_ready!(polls, sender.flush()).unwrap();
    peer.write_all(&frames.concat()).await.unwrap();
    got.push(
        until_ready!(polls, receiver.recv())
            .unwrap()
            .into_bytes()
            .to_vec(),
    );
    let mut reader = loop {
        let mut future = Box::pin(receiver.next_message());
        let ready = poll_and_drop(future.as_mut(), polls);
        drop(future);
        match ready {
            Some(reader) => break reader.unwrap(),
            None => yield_now().await,
        }
    };
    let mut all = vec![0; 100];
    for octet in all.chunks_mut(30) {
        let mut filled = 0;
        while filled < octet.len() {
            filled += until_ready!(polls, reader.read(&mut octet[filled..])).unwrap();
        }
    }
    got.push(all);
    drop(reader);
    assert!(sender.rtt().is_some());
    peer.shutdown().await.unwrap();
    let code = CloseCode::new(4000).unwrap();
    let closed = until_ready!(polls, sender.close(code, "done"));
    assert!(closed.clean, "{closed:?}");
    assert_eq!(until_ready!(polls, receiver.recv()).unwrap_err(), closed);
    drop((sender, receiver));
    (got, drained(peer).await)
}

#[tokio::test]
async fn the_halves_lose_nothing_wherever_their_futures_are_dropped() {
    let whole = both_halves(WHOLE).await;
    assert_eq!(whole.0, [b"one".to_vec(), vec![7; 100]]);
    let frames = [
        plain(0x81, b"sent"),
        plain(0x81, b"fed"),
        plain(0x81, b"reserved"),
        plain(0x01, b"parts"),
        plain(0x80, b""),
        plain(0x89, &1u64.to_be_bytes()),
        plain(0x88, b"\x0f\xa0done"),
    ];
    assert_eq!(whole.1, frames.concat());
    for polls in 1..MOST {
        let dropped = both_halves(polls).await;
        assert_eq!(dropped, whole, "dropped after {polls} polls");
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

#[tokio::test]
async fn accept_and_connect_leave_nothing_but_what_they_had_written() {
    let (here, mut peer) = duplex(1 << 12);
    peer.write_all(REQUEST).await.unwrap();
    drop(accept(here).await.unwrap());
    let answer = drained(peer).await;
    let mut cut = 0;
    for polls in (0..1_000).step_by(7) {
        let (here, mut peer) = duplex(1 << 12);
        peer.write_all(REQUEST).await.unwrap();
        let accepted = poll_and_drop(unconstrained(accept(Faulty::new(here, SLOW))), polls);
        let whole = accepted.is_some();
        drop(accepted);
        let written = drained(peer).await; // it ends: the transport is gone
        assert!(answer.starts_with(&written), "dropped after {polls} polls");
        assert!(!whole || written == answer);
        cut += usize::from(!written.is_empty() && written != answer);

        let (here, peer) = duplex(1 << 12);
        let client = Client::new();
        let connecting = client.connect_over(Faulty::new(here, SLOW), "ws://example.com/");
        assert!(poll_and_drop(unconstrained(connecting), polls).is_none());
        let written = drained(peer).await;
        assert!(b"GET / HTTP/1.1\r\n".starts_with(&written[..written.len().min(16)]));
    }
    assert!(cut > 10, "answers were cut");
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_is_dropped_has_written_a_part_of_its_answer_and_no_more() {
    let refusal = Refusal::new(403, "members only");
    let opened = async |faults| {
        let (here, mut peer) = duplex(1 << 12);
        peer.write_all(REQUEST).await.unwrap();
        let io = Faulty::new(here, faults);
        (Acceptor::new().receive(io).await.unwrap(), peer)
    };
    let (opening, peer) = opened(Faults::default()).await;
    drop(opening.accept().await.unwrap());
    let accepted = drained(peer).await;
    let (opening, peer) = opened(Faults::default()).await;
    let (_, refused) = tokio::join!(opening.reject(&refusal), drained(peer));
    assert!(accepted.starts_with(b"HTTP/1.1 101 ") && refused.starts_with(b"HTTP/1.1 403 "));
    let mut cut = 0;
    for polls in (0..1_000).step_by(7) {
        let (opening, peer) = opened(SLOW).await;
        drop(poll_and_drop(unconstrained(opening.accept()), polls));
        let written = drained(peer).await; // it ends: the transport is gone
        assert!(
            accepted.starts_with(&written),
            "dropped after {polls} polls"
        );
        cut += usize::from(!written.is_empty() && written != accepted);
        let (opening, peer) = opened(SLOW).await;
        let _ = poll_and_drop(unconstrained(opening.reject(&refusal)), polls);
        let written = drained(peer).await;
        assert!(refused.starts_with(&written), "dropped after {polls} polls");
        cut += usize::from(!written.is_empty() && written != refused);
    }
    assert!(cut > 20, "answers were cut");
}

#[tokio::test(start_paused = true)]
async fn a_drain_goes_on_when_nobody_waits_for_it_any_more() {
    for polls in 0..4 {
        let drain = Drain::new();
        let (mut client, server) = pair(Config::default());
        let mut server = server.watch(&drain);
        tokio::spawn(async move { server.recv().await });
        let waited = poll_and_drop(drain.close(Farewell::restart()), polls);
        assert_eq!((waited, drain.is_closing()), (None, polls > 0));
        if polls > 0 {
            let closed = client.recv().await.unwrap_err();
            assert_eq!(closed.code, Some(CloseCode::RESTART));
        } else {
            client.send("it is still open").await.unwrap();
        }
        drop(client);
        // Called again it waits for the end.
        assert_eq!(drain.close(Farewell::restart()).await, 0);
    }
}
