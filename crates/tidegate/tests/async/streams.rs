//! Messages as streams: read while they arrive, written while they are made, of any length; room reserved
//! beforehand; and what goes out together.

use crate::common::{masked, plain, poll_and_drop};
use futures_util::{SinkExt, StreamExt};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tidegate::testing::{Faults, Faulty, pair, pair_over};
use tidegate::tidegate_proto::{Deflate, MessageKind, Role};
use tidegate::{CloseCode, Closed, Config, Level, Limits, Message, TrySendError, WebSocket};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};

const DEDICATED: Deflate = Deflate::Dedicated {
    bits: 12,
    mem_level: 5,
};

fn small() -> Limits {
    Limits {
        max_message_size: 1_000,
        ..Limits::default()
    }
}

fn config(limits: Limits, deflate: Deflate) -> Config {
    Config {
        limits,
        deflate: deflate.into(),
        ..Config::default()
    }
}

/// Octets that do not repeat soon and shrink a little.
fn octets(len: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"abcdefgh ijklmno"[(state >> 28) as usize]
    };
    (0..len).map(|_| next()).collect()
}

async fn read_all<S: AsyncRead + AsyncWrite + Unpin>(ws: &mut WebSocket<S>) -> Vec<u8> {
    let mut message = ws.next_message().await.unwrap();
    let mut all = Vec::new();
    message.read_to_end(&mut all).await.unwrap();
    all
}

#[tokio::test]
async fn a_message_of_any_length_is_read_and_written_as_a_stream() {
    let slow = Faults {
        chunk: Some(700),
        hesitant: true,
        ..Faults::default()
    };
    for deflate in [Deflate::Off, Deflate::Shared, DEDICATED] {
        for len in [0, 1, 999, 1_001, 40_000, 300_000] {
            let all = octets(len);
            let (here, there) = duplex(5_000);
            let (mut client, mut server) = pair_over(
                Faulty::new(here, slow),
                Faulty::new(there, slow),
                config(small(), deflate),
            );
            let write = async {
                let mut message = client.message_writer(MessageKind::Binary).await.unwrap();
                for piece in all.chunks(7_777) {
                    message.write_all(piece).await.unwrap();
                }
                message.finish().await.unwrap();
                drop(message);
                client.send("behind it").await.unwrap();
                client
            };
            let read = async {
                let got = read_all(&mut server).await;
                (got, server.recv().await)
            };
            let (_client, (got, behind)) = tokio::join!(write, read);
            assert!(got == all, "{deflate:?}, {len} bytes");
            assert_eq!(behind.unwrap(), Message::from("behind it"));
        }
    }
}

#[tokio::test]
async fn whole_messages_can_be_read_as_streams_and_streams_received_whole() {
    let (mut client, mut server) = pair(Config::default());
    client.try_send("whole").unwrap();
    client.try_send("").unwrap();
    let mut message = client.message_writer(MessageKind::Text).await.unwrap();
    message.write_all(b"in ").await.unwrap();
    message.flush().await.unwrap();
    message.write_all(b"parts").await.unwrap();
    message.shutdown().await.unwrap();
    message.finish().await.unwrap(); // no second end
    drop(message);
    {
        let mut message = server.next_message().await.unwrap();
        assert!(message.is_text());
        let mut text = String::new();
        message.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "whole");
        assert_eq!(message.read(&mut [0; 9]).await.unwrap(), 0, "it stays so");
    }
    assert_eq!(read_all(&mut server).await, b"");
    assert_eq!(server.recv().await.unwrap(), Message::from("in parts"));
}

#[tokio::test]
async fn a_reader_dropped_half_way_passes_over_the_rest() {
    for deflate in [Deflate::Off, Deflate::Shared, DEDICATED] {
        for taken in [0, 1, 3_000, 39_999, 40_000] {
            let (mut client, mut server) = pair(config(small(), deflate));
            let talk = async {
                for _ in 0..3 {
                    let mut message = client.message_writer(MessageKind::Binary).await.unwrap();
                    message.write_all(&octets(40_000)).await.unwrap();
                    message.finish().await.unwrap();
                }
                client.send("next").await.unwrap();
            };
            let listen = async {
                for method in 0..3 {
                    let mut message = server.next_message().await.unwrap();
                    let mut some = vec![0; taken];
                    message.read_exact(&mut some).await.unwrap();
                    assert!(some == octets(40_000)[..taken]);
                    drop(message);
                    if method == 1 {
                        server.send("meanwhile").await.unwrap(); // it reads too
                    }
                }
                server.recv().await.unwrap()
            };
            let ((), next) = tokio::join!(talk, listen);
            assert_eq!(next, Message::from("next"), "{deflate:?}, {taken} taken");
        }
    }
}

#[tokio::test]
async fn a_next_message_that_was_dropped_finds_the_same_message_again() {
    let (mut client, mut server) = pair(config(small(), Deflate::Off));
    let talk = async {
        let mut message = client.message_writer(MessageKind::Binary).await.unwrap();
        message.write_all(&octets(50_000)).await.unwrap();
        message.finish().await.unwrap();
    };
    let listen = async {
        tokio::task::yield_now().await;
        // A ping meets the long message first and leaves it where it is.
        assert!(server.ping().await.is_err());
        read_all(&mut server).await
    };
    let ((), got) = tokio::join!(talk, listen);
    assert!(got == octets(50_000));
}

#[tokio::test]
async fn recv_refuses_what_is_too_long_also_when_another_method_met_it_first() {
    for met_by_send in [false, true] {
        let (here, mut peer) = duplex(1 << 20);
        let config = Arc::new(config(small(), Deflate::Off));
        let mut ws = WebSocket::from_upgraded(here, Role::Server, config, b"");
        // 1,001 octets announced, one of them here.
        peer.write_all(b"\x82\xFE\x03\xE9\0\0\0\0x").await.unwrap();
        if met_by_send {
            ws.send("out").await.unwrap();
            ws.flush().await.unwrap();
        }
        peer.shutdown().await.unwrap();
        let closed = ws.recv().await.unwrap_err();
        assert_eq!(closed.code, Some(CloseCode::TOO_BIG), "{met_by_send}");
        let mut wire = Vec::new();
        peer.read_to_end(&mut wire).await.unwrap();
        let close = &wire[if met_by_send { 5 } else { 0 }..];
        assert_eq!((close[0], &close[2..4]), (0x88, &b"\x03\xF1"[..]));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_the_rules_or_breaks_off_says_which() {
    let rows: [(Vec<u8>, &[u8], ErrorKind); 3] = [
        (
            [masked(0x01, b"good "), masked(0x80, b"bad \xFF")].concat(),
            b"good ",
            ErrorKind::InvalidData,
        ),
        (
            [masked(0x01, b"cut \xC3"), masked(0x80, b"")].concat(),
            b"cut \xC3",
            ErrorKind::InvalidData,
        ),
        (masked(0x01, b"torn"), b"torn", ErrorKind::UnexpectedEof),
    ];
    for (wire, good, kind) in rows {
        let (here, mut peer) = duplex(1 << 10);
        let mut ws = WebSocket::from_upgraded(here, Role::Server, Arc::default(), b"");
        peer.write_all(&wire).await.unwrap();
        peer.shutdown().await.unwrap();
        let mut message = ws.next_message().await.unwrap();
        let mut got = Vec::new();
        let error = message.read_to_end(&mut got).await.unwrap_err();
        assert_eq!((&*got, error.kind()), (good, kind));
        let closed = error.get_ref().unwrap().downcast_ref::<Closed>().unwrap();
        assert!(!closed.clean);
        drop(message);
        assert_eq!(ws.recv().await.as_ref(), Err(ws.closed().unwrap()));
    }
}

#[tokio::test]
async fn short_writes_are_gathered_and_flush_sends_what_there_is() {
    let (here, mut peer) = duplex(1 << 20);
    let mut ws = WebSocket::from_upgraded(here, Role::Server, Arc::default(), b"");
    let mut message = ws.message_writer(MessageKind::Text).await.unwrap();
    for word in ["many ", "short ", "words"] {
        message.write_all(word.as_bytes()).await.unwrap();
    }
    message.flush().await.unwrap();
    message.flush().await.unwrap(); // nothing more
    message.write_all(b"!").await.unwrap();
    message.finish().await.unwrap();
    drop(message);
    drop(ws);
    let mut wire = Vec::new();
    peer.read_to_end(&mut wire).await.unwrap();
    let frames = [
        plain(0x01, b"many short words"),
        plain(0x00, b"!"),
        plain(0x80, b""),
    ];
    assert_eq!(wire, frames.concat());
}

#[tokio::test]
async fn a_writer_that_is_dropped_unfinished_closes_with_1011() {
    let (mut client, mut server) = pair(Config::default());
    let mut message = client.message_writer(MessageKind::Text).await.unwrap();
    message.write_all(b"half a ").await.unwrap();
    message.flush().await.unwrap();
    drop(message);
    assert!(client.send("x").await.is_err());
    let (closed, seen) = tokio::join!(client.recv(), server.recv());
    assert_eq!(seen.unwrap_err().code, Some(CloseCode::INTERNAL));
    assert_eq!(closed.unwrap_err().code, Some(CloseCode::INTERNAL));
}

#[tokio::test]
async fn text_that_is_none_is_refused_and_can_be_mended() {
    let (mut client, mut server) = pair(Config::default());
    let mut message = client.message_writer(MessageKind::Text).await.unwrap();
    message.write_all(b"caf\xC3").await.unwrap();
    let error = message.finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    message.write_all(b"\xA9").await.unwrap();
    message.finish().await.unwrap();
    drop(message);
    assert_eq!(server.recv().await.unwrap(), Message::from("café"));
    let mut message = client.message_writer(MessageKind::Text).await.unwrap();
    message.write_all(b"\xFF").await.unwrap();
    let error = message.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn other_senders_wait_for_the_end_of_a_message_in_parts() {
    let (client, mut server) = pair(Config::default());
    let (sender, mut receiver) = client.split();
    let mut message = sender.message_writer(MessageKind::Binary).await.unwrap();
    message.write_all(&[1; 10]).await.unwrap();
    let refused = sender.clone().try_send("in between").unwrap_err();
    assert!(matches!(refused, TrySendError::Full(_)));
    let other = sender.clone();
    let waits = tokio::spawn(async move {
        other.send("after it").await.unwrap();
        let mut second = other.message_writer(MessageKind::Text).await.unwrap();
        second.write_all(b"and another").await.unwrap();
        second.finish().await.unwrap();
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!waits.is_finished());
    message.write_all(&[2; 10]).await.unwrap();
    message.finish().await.unwrap();
    drop(message);
    waits.await.unwrap();
    let whole = [[1; 10], [2; 10]].concat();
    assert_eq!(server.recv().await.unwrap(), Message::from(whole));
    assert_eq!(server.recv().await.unwrap(), Message::from("after it"));
    assert_eq!(server.recv().await.unwrap(), Message::from("and another"));
    server.try_send("done").unwrap();
    let listen = async { [receiver.next().await, receiver.next().await] };
    let (end, got) = tokio::join!(server.close(CloseCode::NORMAL, ""), listen);
    assert!(end.clean);
    assert_eq!(got, [Some(Ok(Message::from("done"))), None]);
}

#[tokio::test]
async fn a_reader_of_one_half_and_senders_of_the_other_do_not_wait_for_each_other() {
    let (client, mut server) = pair(config(small(), Deflate::Off));
    let (sender, mut receiver) = client.split();
    let serve = tokio::spawn(async move {
        let mut message = server.message_writer(MessageKind::Binary).await.unwrap();
        message.write_all(&octets(20_000)).await.unwrap();
        message.flush().await.unwrap();
        message.write_all(&octets(30_000)).await.unwrap();
        message.finish().await.unwrap();
        drop(message);
        let mut received = 0;
        while server.recv().await.is_ok() {
            received += 1;
        }
        received
    });
    let mut message = receiver.next_message().await.unwrap();
    let mut got = vec![0; 20_000];
    let (read, sent) = tokio::join!(message.read_exact(&mut got), sender.send("a"));
    read.unwrap();
    sent.unwrap();
    let mut rest = Vec::new();
    let (rtt, read) = tokio::join!(sender.ping(), message.read_to_end(&mut rest));
    assert!(rtt.is_ok(), "the reader comes to the pong");
    read.unwrap();
    assert!(got == octets(20_000) && rest == octets(30_000));
    drop(message);
    assert!(sender.close(CloseCode::NORMAL, "").await.clean);
    assert_eq!(serve.await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_reserved_is_kept_from_others_and_used_without_waiting() {
    let limits = Limits {
        outbox: 1_000,
        outbox_high: 900,
        outbox_low: 100,
        ..Limits::default()
    };
    let (here, mut peer) = duplex(1 << 10);
    let config = Arc::new(config(limits, Deflate::Off));
    let ws = WebSocket::from_upgraded(here, Role::Server, config, b"");
    let (sender, _receiver) = ws.split();
    let permit = sender.reserve(500).await.unwrap();
    assert_eq!(permit.room(), 500);
    let refused = sender.try_send(vec![1; 600]).unwrap_err();
    assert!(matches!(refused, TrySendError::Full(_)));
    assert_eq!(sender.try_send(vec![1; 300]), Ok(Level::Low));
    assert_eq!(permit.send(vec![2; 500]), Ok(Level::Low));
    // Used up; and a permit that is dropped gives its room back.
    drop(sender.reserve(100).await.unwrap());
    sender.flush().await.unwrap();
    let permit = sender.reserve(900).await.unwrap();
    assert!(sender.try_send(vec![3; 30]).is_err());
    drop(permit);
    assert_eq!(sender.try_send(vec![3; 30]), Ok(Level::Low));
    let short = sender.reserve(3).await.unwrap();
    let refused = short.send("four").unwrap_err();
    assert_eq!(refused, TrySendError::Full(Message::from("four")));
    let late = sender.reserve(3).await.unwrap();
    sender.abort();
    let refused = late.send("end").unwrap_err();
    assert_eq!(refused, TrySendError::Closed(Message::from("end")));
    assert!(sender.reserve(1).await.is_err());
    let mut wire = Vec::new();
    peer.read_to_end(&mut wire).await.unwrap();
    assert_eq!(wire.len(), 304 + 504);
}

#[tokio::test]
async fn reserve_waits_for_room() {
    let limits = Limits {
        outbox: 100,
        outbox_high: 90,
        outbox_low: 10,
        ..Limits::default()
    };
    let (here, mut peer) = duplex(16);
    let config = Arc::new(config(limits, Deflate::Off));
    let mut ws = WebSocket::from_upgraded(here, Role::Server, config, b"");
    ws.try_send(vec![1; 60]).unwrap();
    let mut wire = vec![0; 62];
    assert!(poll_and_drop(ws.reserve(30), 1).is_none());
    let (permit, read) = tokio::join!(ws.reserve(30), peer.read_exact(&mut wire));
    read.unwrap();
    permit.unwrap().send(vec![2; 30]).unwrap();
}

/// Counts the calls of the system that it stands for.
struct Counted<S> {
    io: S,
    writes: Arc<AtomicUsize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

async fn counted() -> (
    WebSocket<Counted<DuplexStream>>,
    DuplexStream,
    Arc<AtomicUsize>,
) {
    let (io, peer) = duplex(1 << 20);
    let writes = Arc::default();
    let io = Counted {
        io,
        writes: Arc::clone(&writes),
    };
    let ws = WebSocket::from_upgraded(io, Role::Server, Arc::default(), b"");
    (ws, peer, writes)
}

#[tokio::test]
async fn answers_to_a_burst_that_are_fed_go_out_with_one_write() {
    let (mut ws, mut peer, writes) = counted().await;
    let burst: Vec<u8> = (0..64u8).flat_map(|n| masked(0x82, &[n])).collect();
    peer.write_all(&burst).await.unwrap();
    for _ in 0..64 {
        let message = ws.recv().await.unwrap();
        ws.feed(message).await.unwrap();
    }
    assert_eq!(writes.load(Ordering::Relaxed), 0);
    assert!(poll_and_drop(ws.recv(), 1).is_none());
    assert_eq!(writes.load(Ordering::Relaxed), 1);
    let mut wire = vec![0; 64 * 3];
    peer.read_exact(&mut wire).await.unwrap();
    let expected: Vec<u8> = (0..64u8).flat_map(|n| plain(0x82, &[n])).collect();
    assert_eq!(wire, expected);
}

#[tokio::test]
async fn a_ping_in_a_burst_is_answered_before_the_next_message_is_handed_out() {
    let (mut ws, mut peer, _) = counted().await;
    let burst = [masked(0x81, b"a"), masked(0x89, b"?"), masked(0x81, b"b")];
    peer.write_all(&burst.concat()).await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Message::from("a"));
    assert_eq!(ws.recv().await.unwrap(), Message::from("b"));
    let mut wire = [0; 3];
    peer.read_exact(&mut wire).await.unwrap();
    assert_eq!(wire, plain(0x8A, b"?")[..]);
}

#[tokio::test]
async fn the_halves_are_stream_and_sink() {
    let limits = Limits {
        outbox: 100,
        outbox_high: 90,
        outbox_low: 10,
        ..Limits::default()
    };
    let (client, server) = pair(config(limits, Deflate::Off));
    let (mut sender, mut receiver) = client.split();
    let (mut answers, asked) = server.split();
    let serve = tokio::spawn(async move {
        let mut echoed = 0;
        let mut asked = asked.map(|message| message.inspect(|_| echoed += 1));
        answers.send_all(&mut asked).await.unwrap();
        drop(asked);
        echoed
    });
    let mut other = sender.clone();
    let talk = async {
        for n in 0..20u8 {
            let to = if n % 2 == 0 { &mut sender } else { &mut other };
            SinkExt::feed(to, vec![n; 60].into()).await.unwrap();
            if n % 2 == 1 {
                SinkExt::flush(to).await.unwrap();
            }
        }
        SinkExt::flush(&mut sender).await.unwrap();
    };
    let listen = async {
        let mut got = Vec::new();
        while got.len() < 20 {
            got.push(receiver.next().await.unwrap().unwrap().as_bytes()[0]);
        }
        got
    };
    let ((), mut got) = tokio::join!(talk, listen);
    got.sort_unstable();
    assert_eq!(got, (0..20).collect::<Vec<u8>>());
    SinkExt::close(&mut sender).await.unwrap();
    assert!(receiver.next().await.is_none());
    assert_eq!(serve.await.unwrap(), 20);
}
