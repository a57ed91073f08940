//! The two halves: many senders and one receiver on tasks of their own.

use std::time::Duration;
use tidegate::testing::pair;
use tidegate::{CloseCode, Config, Limits};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_on_many_tasks_lose_and_mix_nothing_while_both_sides_send() {
    let limits = Limits {
        outbox: 4 << 10,
        outbox_high: 2 << 10,
        outbox_low: 512,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let (client, server) = pair(config);
    let (sender, mut receiver) = client.split();
    let (answers, mut asked) = server.split();
    let echo = tokio::spawn(async move {
        while let Ok(message) = asked.recv().await {
            answers.send(message).await.unwrap();
        }
    });
    let mut tasks = JoinSet::new();
    for task in 0..8u32 {
        let sender = sender.clone();
        tasks.spawn(async move {
            for number in 0..200u32 {
                let len = (number % 50) as usize * 20;
                let text = format!("{task} {number} {}", "x".repeat(len));
                sender.send(text).await.unwrap();
            }
        });
    }
    let mut next = [0; 8];
    for _ in 0..8 * 200 {
        let message = receiver.recv().await.unwrap();
        let mut words = message.as_text().unwrap().split(' ');
        let mut word = || words.next().unwrap();
        let task: usize = word().parse().unwrap();
        assert_eq!(word().parse(), Ok(next[task]), "in order for each sender");
        assert_eq!(word().len(), next[task] % 50 * 20);
        next[task] += 1;
    }
    tasks.join_all().await;
    assert!(sender.close(CloseCode::NORMAL, "").await.clean);
    echo.await.unwrap();
    assert!(receiver.recv().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_to_send_is_written_by_the_half_that_waits() {
    let (client, mut server) = pair(Config::default());
    let (sender, mut receiver) = client.split();
    let waits = tokio::spawn(async move { receiver.recv().await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    sender.try_send("written by the other task").unwrap();
    assert_eq!(server.recv().await.unwrap().len(), 25);
    sender.abort();
    assert!(!waits.await.unwrap().unwrap_err().clean, "abort wakes it");
}

#[tokio::test(start_paused = true)]
async fn a_ping_of_one_half_is_answered_while_the_other_receives() {
    let (client, mut server) = pair(Config::default());
    let (sender, mut receiver) = client.split();
    let serve = tokio::spawn(async move {
        server.send("message").await.unwrap();
        server.recv().await.is_err()
    });
    let (rtt, message) = tokio::join!(sender.ping(), receiver.recv());
    assert!(rtt.is_ok() && message.unwrap().len() == 7);
    assert!(sender.close(CloseCode::NORMAL, "").await.clean);
    assert!(serve.await.unwrap());
}
