//! Reconnect on virtual time, over transports in memory and scripted failures.

use super::*;
use crate::client::Stage;
use crate::testing::pair;
use crate::{Config, Message};
use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::DuplexStream;

/// What each attempt comes to; the last one is repeated.
#[derive(Clone, Copy)]
enum Step {
    Open,
    Refuse,
    /// An answer with this status and `Retry-After`.
    Status(u16, u64),
}

/// Always the highest lot: waits are as long as they may be.
struct Highest;

impl Random for Highest {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0xff);
    }
}

type Log = Arc<Mutex<Vec<(u128, String)>>>;
type Servers = Arc<Mutex<Vec<WebSocket<DuplexStream>>>>;

fn refused(status: u16, after: u64) -> ConnectError {
    let head = format!("HTTP/1.1 {status} x\r\nRetry-After: {after}\r\n\r\n");
    let request = tidegate_proto::handshake::ClientRequest::new("a", "/", [0; 16]);
    let mut handshake = tidegate_proto::handshake::ClientHandshake::new(&request).unwrap();
    let answer = handshake.parse_response(head.as_bytes(), &Default::default());
    match answer.unwrap() {
        tidegate_proto::handshake::client::Answer::Refused(refused) => {
            let refused = crate::client::Refused::new(Vec::new(), refused, Vec::new());
            ConnectError::Refused(Box::new(refused))
        }
        other => panic!("{other:?}"),
    }
}

/// Goes through `steps`; attempts are logged with the time in milliseconds, servers' ends are kept.
fn scripted(steps: &[Step]) -> (Reconnect<DuplexStream>, Log, Servers) {
    let (log, servers) = (Log::default(), Servers::default());
    let (seen, kept) = (log.clone(), servers.clone());
    let (steps, start) = (steps.to_vec(), Instant::now());
    let mut at = 0;
    let connect = move |attempt: Attempt| {
        let step = steps[at.min(steps.len() - 1)];
        at += 1;
        seen.lock()
            .unwrap()
            .push((start.elapsed().as_millis(), attempt.url));
        let kept = kept.clone();
        async move {
            match step {
                Step::Open => {
                    let (client, server) = pair(Config::default());
                    kept.lock().unwrap().push(server);
                    Ok(client)
                }
                Step::Refuse => Err(ConnectError::Io {
                    stage: Stage::Tcp,
                    source: io::ErrorKind::ConnectionRefused.into(),
                }),
                Step::Status(status, after) => Err(refused(status, after)),
            }
        }
    };
    let reconnect = Reconnect::over(Client::new(), "ws://a/", connect).random(Highest);
    (reconnect, log, servers)
}

fn times(log: &Log) -> Vec<u128> {
    log.lock().unwrap().iter().map(|(at, _)| *at).collect()
}

#[test]
fn waits_double_up_to_the_cap_and_are_drawn_from_nothing_on() {
    let backoff = Backoff::default();
    let highest: Vec<u128> = (0..9)
        .map(|n| backoff.wait(n, u64::MAX).as_millis())
        .collect();
    assert_eq!(
        highest,
        [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]
    );
    assert_eq!(backoff.wait(u32::MAX, u64::MAX), backoff.cap);
    for failures in 0..40 {
        assert_eq!(backoff.wait(failures, 0), Duration::ZERO);
        assert!(backoff.wait(failures, u64::MAX / 2) <= backoff.wait(failures, u64::MAX) / 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_attempt_is_made_at_once_and_failures_are_waited_out() {
    let (mut reconnect, log, _servers) =
        scripted(&[Step::Refuse, Step::Refuse, Step::Refuse, Step::Open]);
    reconnect.next().await.expect("the fourth opens");
    assert_eq!(times(&log), [0, 500, 1_500, 3_500]);
    assert_eq!(
        reconnect.failures(),
        3,
        "a connection must last to be a good one"
    );
}

#[tokio::test(start_paused = true)]
async fn waits_begin_anew_after_a_connection_that_lasted_and_not_after_one_that_did_not() {
    let (mut reconnect, log, _servers) = scripted(&[Step::Refuse, Step::Refuse, Step::Open]);
    let ws = reconnect.next().await.unwrap();
    sleep(Duration::from_secs(4)).await; // not long enough
    drop(ws);
    let ws = reconnect.next().await.unwrap();
    sleep(Duration::from_secs(5)).await;
    drop(ws);
    reconnect.next().await.unwrap();
    // 0, 500, 1500; after 4 s a third failure: 2 s; after 5 s the first one: 500 ms.
    assert_eq!(times(&log), [0, 500, 1_500, 7_500, 13_000]);
}

#[tokio::test(start_paused = true)]
async fn what_would_fail_again_ends_it() {
    let (mut reconnect, log, _servers) = scripted(&[Step::Refuse, Step::Status(403, 1)]);
    let error = reconnect.next().await.unwrap_err();
    assert_eq!(error.refused().map(|refused| refused.status), Some(403));
    assert_eq!(times(&log), [0, 500]);
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_after_an_error() {
    let (mut reconnect, _log, _servers) = scripted(&[Step::Open, Step::Status(404, 1)]);
    let next = |reconnect: &mut Reconnect<DuplexStream>| {
        let mut pinned = Pin::new(reconnect);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        pinned.as_mut().poll_next(&mut cx)
    };
    assert!(matches!(next(&mut reconnect), Poll::Ready(Some(Ok(_)))));
    assert!(next(&mut reconnect).is_pending(), "it waits");
    sleep(Duration::from_secs(1)).await;
    assert!(matches!(next(&mut reconnect), Poll::Ready(Some(Err(_)))));
    assert!(matches!(next(&mut reconnect), Poll::Ready(None)));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_heeded_up_to_ten_caps() {
    let (mut reconnect, log, _servers) = scripted(&[
        Step::Status(503, 30),
        Step::Status(503, 100_000),
        Step::Open,
    ]);
    reconnect.next().await.unwrap();
    assert_eq!(times(&log), [0, 30_000, 230_000]);
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_after_as_many_failures_as_it_is_told() {
    let (reconnect, log, _servers) = scripted(&[Step::Refuse]);
    let backoff = Backoff {
        max_failures: Some(3),
        ..Backoff::default()
    };
    let error = reconnect.backoff(backoff).next().await.unwrap_err();
    assert!(error.is_retryable(), "it would have been tried again");
    assert_eq!(times(&log).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_hooks_run_in_order_and_what_prepare_changes_is_for_one_attempt() {
    let (reconnect, log, servers) = scripted(&[Step::Refuse, Step::Open]);
    let mut reconnect = reconnect
        .prepare(|attempt| {
            let (connections, failures) = (attempt.connections, attempt.failures);
            attempt.url = format!("{}?{connections}.{failures}", attempt.url);
        })
        .resume(|mut ws, attempt| async move {
            ws.send(format!("resume {}", attempt.connections)).await?;
            Ok(ws)
        });
    let first = reconnect.next().await.unwrap();
    drop(first);
    let _second = reconnect.next().await.unwrap();
    let urls: Vec<String> = log
        .lock()
        .unwrap()
        .iter()
        .map(|(_, url)| url.clone())
        .collect();
    assert_eq!(urls, ["ws://a/?0.0", "ws://a/?0.1", "ws://a/?1.2"]);
    let mut servers = std::mem::take(&mut *servers.lock().unwrap());
    for (n, server) in servers.iter_mut().enumerate() {
        let message = server.recv().await.unwrap();
        assert_eq!(message, Message::from(format!("resume {n}")));
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_within_the_resume_hook_is_a_failure() {
    let (reconnect, log, _servers) = scripted(&[Step::Open]);
    let mut calls = 0;
    let mut reconnect = reconnect.resume(move |mut ws, _| {
        calls += 1;
        async move {
            if calls < 3 {
                ws.abort();
                return Err(ws.recv().await.unwrap_err());
            }
            Ok(ws)
        }
    });
    reconnect.next().await.unwrap();
    assert_eq!(times(&log), [0, 500, 1_500]);
}

#[tokio::test(start_paused = true)]
async fn dropping_next_loses_neither_the_wait_nor_the_attempt() {
    let (mut reconnect, log, _servers) = scripted(&[Step::Refuse, Step::Open]);
    let mut opened = None;
    while opened.is_none() {
        let step = Duration::from_millis(100);
        opened = tokio::time::timeout(step, reconnect.next()).await.ok();
    }
    assert!(opened.unwrap().unwrap().is_open());
    assert_eq!(times(&log), [0, 500]);
}

#[tokio::test(start_paused = true)]
async fn next_goes_on_where_it_was_dropped_at_every_poll_its_resume_hook_too() {
    let (reconnect, log, servers) = scripted(&[Step::Refuse, Step::Open]);
    let mut reconnect = reconnect.resume(|mut ws, attempt| async move {
        for part in ["one", "two"] {
            tokio::task::yield_now().await;
            ws.send(format!("{part} {}", attempt.connections)).await?;
        }
        Ok(ws)
    });
    for connection in 0..2 {
        let mut polls = 0;
        let _open = loop {
            polls += 1;
            // Polled once, then dropped.
            let once = std::future::poll_fn(|cx| {
                let next = std::pin::pin!(reconnect.next());
                Poll::Ready(next.poll(cx))
            });
            if let Poll::Ready(open) = once.await {
                break open.unwrap();
            }
            sleep(Duration::from_millis(1)).await;
        };
        assert!(polls > 2, "it was ready after {polls} polls");
        let mut server = servers.lock().unwrap().pop().unwrap();
        for part in ["one", "two"] {
            let message = server.recv().await.unwrap();
            assert_eq!(message, Message::from(format!("{part} {connection}")));
        }
    }
    assert_eq!(log.lock().unwrap().len(), 3, "no attempt was made twice");
}
