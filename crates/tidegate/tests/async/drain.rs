//! A program that stops: each client is told so at its own moment, and nothing outlives the deadline.

use std::time::Duration;
use tidegate::testing::pair;
use tidegate::tidegate_proto::handshake::Refusal;
use tidegate::{
    AcceptError, Acceptor, Client, CloseCode, Config, ConnectError, Drain, Farewell, Message,
};
use tokio::io::duplex;
use tokio::task::JoinSet;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn clients_are_told_one_by_one_over_the_window() {
    let drain = Drain::new();
    let (mut servers, mut clients) = (JoinSet::new(), JoinSet::new());
    let start = Instant::now();
    for _ in 0..50 {
        let (mut client, server) = pair(Config::default());
        let mut server = server.watch(&drain);
        servers.spawn(async move { server.recv().await.unwrap_err() });
        clients.spawn(async move {
            let closed = client.recv().await.unwrap_err();
            (closed.code, closed.reason, start.elapsed())
        });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(drain.present(), 50);
    let farewell = Farewell {
        reason: "back soon".into(),
        ..Farewell::restart()
    };
    assert_eq!(drain.close(farewell).await, 0);
    assert!(
        start.elapsed() < Duration::from_secs(17),
        "the window, and a linger"
    );
    let mut told = clients.join_all().await;
    told.sort_by_key(|(_, _, at)| *at);
    for (n, (code, reason, at)) in told.iter().enumerate() {
        assert_eq!(
            (*code, reason.as_str()),
            (Some(CloseCode::RESTART), "back soon")
        );
        // Each in its fiftieth of ten seconds; timers have the grain of a millisecond.
        let part = Duration::from_millis(200);
        let begin = Duration::from_secs(5) + part * n as u32;
        let grain = Duration::from_millis(2);
        assert!(*at >= begin && *at <= begin + part + grain, "{n}: {at:?}");
    }
    assert!(servers.join_all().await.iter().all(|closed| closed.clean));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_polls_is_dropped_at_the_deadline() {
    let drain = Drain::new();
    let (mut client, server) = pair(Config::default());
    let mut stuck = server.watch(&drain);
    let start = Instant::now();
    assert_eq!(drain.close(Farewell::going_away()).await, 1);
    assert_eq!(start.elapsed(), Duration::from_secs(30));
    let closed = stuck.recv().await.unwrap_err();
    assert!(!closed.clean, "cut without a word");
    assert_eq!(drain.present(), 0, "though the program still holds it");
    assert_eq!(client.recv().await.unwrap_err().code, None);
}

#[tokio::test(start_paused = true)]
async fn what_was_queued_goes_before_the_farewell_and_halves_are_told_too() {
    let drain = Drain::new();
    let (mut client, server) = pair(Config::default());
    let (sender, mut receiver) = server.watch(&drain).split();
    sender.try_send("last words").unwrap();
    let farewell = Farewell {
        window: Duration::ZERO,
        ..Farewell::going_away()
    };
    let talk = async {
        assert_eq!(client.recv().await.unwrap(), Message::from("last words"));
        client.recv().await.unwrap_err().code
    };
    let (left, seen, end) = tokio::join!(drain.close(farewell), talk, receiver.recv());
    assert_eq!((left, seen), (0, Some(CloseCode::GOING_AWAY)));
    assert!(end.unwrap_err().clean);
}

#[tokio::test(start_paused = true)]
async fn handshakes_that_come_while_it_closes_are_refused() {
    let drain = Drain::new();
    let acceptor = Acceptor::new().drain(&drain);
    let handshake = || async {
        let (here, there) = duplex(4 << 10);
        let client = Client::new();
        let connect = client.connect_over(here, "ws://a/");
        tokio::join!(connect, acceptor.accept(there))
    };
    let (client, server) = handshake().await;
    assert!(client.is_ok() && drain.present() == 1);
    drop(server);
    assert_eq!(drain.present(), 0);

    assert_eq!(drain.close(Farewell::restart()).await, 0);
    let (client, server) = handshake().await;
    let Err(ConnectError::Refused(refused)) = client else {
        panic!("not refused");
    };
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers.first("retry-after"), Some(&b"5"[..]));
    assert!(matches!(
        server,
        Err(AcceptError::Refused(Refusal { status: 503, .. }))
    ));
}
