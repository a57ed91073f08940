//! Each public future is dropped at every poll, and the octets on the wire and the messages are compared
//! with those of a run in which none was.

use crate::common::{masked, plain, poll_and_drop};
use std::sync::Arc;
use tidegate::testing::{Faults, Faulty};
use tidegate::tidegate_proto::Role;
use tidegate::{CloseCode, Config, Limits, Message, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::yield_now;

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
