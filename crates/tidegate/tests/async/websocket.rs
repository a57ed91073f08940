//! What a `WebSocket` promises: messages both ways, room, liveness, a bounded end.

use crate::common::{masked, plain};
use futures_util::{SinkExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tidegate::testing::{Faults, Faulty, pair};
use tidegate::tidegate_proto::{ProtocolError, Role, Side};
use tidegate::{
    CloseCode, Config, Level, Limits, Message, PingError, Timeouts, TrySendError, WebSocket,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

fn server(config: Config) -> (WebSocket<DuplexStream>, DuplexStream) {
    let (here, peer) = duplex(1 << 20);
    let ws = WebSocket::from_upgraded(here, Role::Server, Arc::new(config), b"");
    (ws, peer)
}

#[tokio::test]
async fn messages_go_both_ways_whole_and_in_order() {
    let (mut client, mut server) = pair(Config::default());
    let big = vec![3u8; 300_000];
    let echo = async {
        for _ in 0..3 {
            let message = server.recv().await.unwrap();
            server.send(message).await.unwrap();
        }
    };
    let talk = async {
        for message in [Message::from("a"), Message::from(big), Message::from("")] {
            client.send(message.clone()).await.unwrap();
            assert_eq!(client.recv().await.unwrap(), message);
        }
    };
    tokio::join!(echo, talk);
}

#[tokio::test]
async fn what_came_behind_the_handshake_is_not_lost() {
    let (here, _peer) = duplex(64);
    let early = [masked(0x81, b"early"), masked(0x81, b"too")].concat();
    let mut ws = WebSocket::from_upgraded(here, Role::Server, Arc::default(), &early);
    assert_eq!(ws.recv().await.unwrap(), Message::from("early"));
    assert_eq!(ws.recv().await.unwrap(), Message::from("too"));
}

#[tokio::test]
async fn try_send_tells_the_level_and_gives_the_message_back() {
    let limits = Limits {
        outbox: 100,
        outbox_high: 40,
        outbox_low: 10,
        ..Limits::default()
    };
    let (mut ws, mut peer) = server(Config {
        limits,
        ..Config::default()
    });
    assert_eq!(ws.try_send(vec![0; 20]), Ok(Level::Low));
    assert_eq!(ws.try_send(vec![0; 40]), Ok(Level::High));
    let refused = ws
        .try_send("one more that is too long for the room left")
        .unwrap_err();
    assert!(matches!(refused, TrySendError::Full(_)));
    assert_eq!(ws.queued(), 64, "nothing of it was queued");
    ws.writable().await.unwrap();
    assert_eq!(ws.try_send(refused.into_message()), Ok(Level::High));
    ws.flush().await.unwrap();
    let mut wire = vec![0; 64 + 45];
    peer.read_exact(&mut wire).await.unwrap();
    ws.abort();
    assert!(matches!(ws.try_send("x"), Err(TrySendError::Closed(_))));
}

#[tokio::test]
async fn send_hands_over_what_the_transport_holds_until_it_is_flushed() {
    let (here, mut peer) = duplex(64);
    let faults = Faults {
        holds_until_flush: true,
        ..Faults::default()
    };
    let io = Faulty::new(here, faults);
    let mut ws = WebSocket::from_upgraded(io, Role::Server, Arc::default(), b"");
    ws.send("now").await.unwrap();
    let mut wire = [0; 5];
    peer.read_exact(&mut wire).await.unwrap();
    assert_eq!(wire, plain(0x81, b"now")[..]);
}

#[tokio::test(start_paused = true)]
async fn ping_waits_for_its_pong_and_keeps_what_came_before_it() {
    let (mut client, mut server) = pair(Config::default());
    let answer = async {
        tokio::time::sleep(Duration::from_millis(70)).await;
        server.send("first").await.unwrap();
        server.recv().await
    };
    let ask = async {
        let rtt = client.ping().await.unwrap();
        assert_eq!(rtt, Duration::from_millis(70));
        assert_eq!(client.rtt(), Some(rtt));
        assert_eq!(client.recv().await.unwrap(), Message::from("first"));
        client.close(CloseCode::NORMAL, "").await
    };
    let (seen, closed) = tokio::join!(answer, ask);
    assert!(seen.unwrap_err().clean && closed.clean);
}

#[tokio::test]
async fn a_ping_behind_too_many_unread_messages_says_so() {
    let (mut ws, mut peer) = server(Config::default());
    for _ in 0..16 {
        peer.write_all(&masked(0x81, b"unread")).await.unwrap();
    }
    assert_eq!(ws.ping().await, Err(PingError::Unread));
    for _ in 0..16 {
        assert_eq!(ws.recv().await.unwrap(), Message::from("unread"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_given_up() {
    let (mut ws, mut peer) = server(Config::default());
    let start = Instant::now();
    let closed = ws.recv().await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 35);
    assert_eq!(closed.cause, Some(ProtocolError::Unresponsive));
    assert_eq!(closed.by, Side::Transport);
    let mut wire = Vec::new();
    peer.read_to_end(&mut wire).await.unwrap();
    assert_eq!(
        wire,
        plain(0x89, b""),
        "the transport was closed after a ping"
    );
}

#[tokio::test(start_paused = true)]
async fn a_send_to_a_peer_that_takes_nothing_ends_too() {
    let (here, _peer) = duplex(16);
    let mut ws = WebSocket::from_upgraded(here, Role::Server, Arc::default(), b"");
    let closed = ws.send(vec![0; 1_000]).await.unwrap_err();
    assert_eq!(closed.cause, Some(ProtocolError::Unresponsive));
}

#[tokio::test(start_paused = true)]
async fn close_is_bounded_whatever_the_peer_does() {
    let faults = [
        Faults::default(),
        Faults {
            stuck_flush: true,
            ..Faults::default()
        },
    ];
    for (role, faults) in [Role::Server, Role::Client].into_iter().zip(faults) {
        let (here, _silent) = duplex(1 << 10);
        let mut ws = WebSocket::from_upgraded(Faulty::new(here, faults), role, Arc::default(), b"");
        let start = Instant::now();
        let closed = ws.close(CloseCode::NORMAL, "bye").await;
        assert_eq!(closed.cause, Some(ProtocolError::CloseTimeout));
        assert!(start.elapsed() <= Duration::from_millis(6_010), "{role:?}");
        assert!(ws.transport().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_keeps_its_half_open_after_close_is_cut_after_the_linger() {
    let (mut ws, mut peer) = server(Config::default());
    peer.write_all(&masked(0x88, b"\x03\xe8bye")).await.unwrap();
    let start = Instant::now();
    let closed = ws.recv().await.unwrap_err();
    assert!(closed.clean && closed.reason == "bye");
    assert_eq!(
        start.elapsed().as_secs(),
        Timeouts::default().linger.as_secs()
    );
    let mut wire = Vec::new();
    peer.read_to_end(&mut wire).await.unwrap();
    assert_eq!(wire, plain(0x88, b"\x03\xe8"));
}

#[tokio::test]
async fn a_violation_is_told_to_the_peer_and_is_the_end() {
    let (mut ws, mut peer) = server(Config::default());
    peer.write_all(&plain(0x81, b"not masked")).await.unwrap();
    peer.shutdown().await.unwrap();
    let closed = ws.recv().await.unwrap_err();
    assert_eq!(closed.cause, Some(ProtocolError::Unmasked));
    assert_eq!(ws.recv().await.unwrap_err(), closed, "it stays so");
    assert_eq!(ws.send("x").await.unwrap_err(), closed);
    let mut wire = Vec::new();
    peer.read_to_end(&mut wire).await.unwrap();
    assert_eq!(wire[..4], [0x88, wire.len() as u8 - 2, 0x03, 0xEA]);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_breaks_is_an_end_without_a_code() {
    let rows = [
        Faults {
            cut_after: Some(3),
            ..Faults::default()
        },
        Faults {
            reset_after: Some(2),
            ..Faults::default()
        },
    ];
    for faults in rows {
        let (here, mut peer) = duplex(64);
        let io = Faulty::new(here, faults);
        let mut ws = WebSocket::from_upgraded(io, Role::Server, Arc::default(), b"");
        peer.write_all(&masked(0x89, b"ping")).await.unwrap();
        let start = Instant::now();
        let closed = ws.recv().await.unwrap_err();
        assert!(start.elapsed().is_zero(), "it is seen at once: {faults:?}");
        assert_eq!(
            (closed.code, closed.clean, closed.by),
            (None, false, Side::Transport)
        );
    }
}

#[tokio::test]
async fn the_stream_ends_and_the_sink_closes() {
    let (mut client, mut server) = pair(Config::default());
    let serve = async {
        let mut got = Vec::new();
        while let Some(message) = server.next().await {
            got.push(message.unwrap());
        }
        got
    };
    let talk = async {
        client.feed(Message::from("a")).await.unwrap();
        SinkExt::send(&mut client, Message::from("b"))
            .await
            .unwrap();
        SinkExt::close(&mut client).await.unwrap();
        client.next().await
    };
    let (got, end) = tokio::join!(serve, talk);
    assert_eq!(got, [Message::from("a"), Message::from("b")]);
    assert!(end.is_none());
    assert!(client.closed().unwrap().clean);
}

#[tokio::test]
async fn a_message_that_the_sink_took_without_room_is_sent_when_there_is_some() {
    let limits = Limits {
        outbox: 100,
        outbox_high: 90,
        outbox_low: 10,
        ..Limits::default()
    };
    let config = Arc::new(Config {
        limits,
        ..Config::default()
    });
    let (here, mut peer) = duplex(16);
    let mut ws = WebSocket::from_upgraded(here, Role::Server, config, b"");
    SinkExt::feed(&mut ws, vec![1; 50].into()).await.unwrap();
    SinkExt::feed(&mut ws, vec![2; 80].into()).await.unwrap();
    assert_eq!(ws.queued(), 52 + 80);
    let mut wire = vec![0; 52 + 82];
    let (flushed, read) = tokio::join!(SinkExt::flush(&mut ws), peer.read_exact(&mut wire));
    flushed.unwrap();
    read.unwrap();
    assert_eq!(ws.queued(), 0);
    assert_eq!(wire[52..], plain(0x82, &[2; 80]));
}

#[test]
fn a_websocket_may_change_threads_and_is_small() {
    fn is_send<T: Send + Sync>(_: &T) {}
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (client, _server) = runtime.block_on(async { pair(Config::default()) });
    is_send(&client);
    let own = size_of::<WebSocket<()>>();
    assert!(own <= 640, "{own} bytes");
}
