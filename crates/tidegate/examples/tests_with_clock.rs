//! How to test a handler without sockets and without waiting: `cargo test --example tests_with_clock`. The handler
//! sends a line each minute and stops when it is told to.

use std::time::Duration;
use tidegate::{Closed, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{MissedTickBehavior, interval};

/// The handler under test; a real program passes a socket.
async fn ticker<S: AsyncRead + AsyncWrite + Unpin>(mut ws: WebSocket<S>) -> Closed {
    let mut minute = interval(Duration::from_secs(60));
    minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
    minute.tick().await; // the first is at once
    loop {
        let done = tokio::select! {
            _ = minute.tick() => ws.send("a minute").await,
            message = ws.recv() => match message {
                Ok(stop) if stop.as_text() == Some("stop") => {
                    return ws.close(tidegate::CloseCode::NORMAL, "as you wish").await;
                }
                Ok(_) => Ok(()),
                Err(closed) => Err(closed),
            },
        };
        if let Err(closed) = done {
            return closed;
        }
    }
}

fn main() {
    println!("its tests are the example: cargo test --example tests_with_clock");
    let _ = ticker::<tokio::io::DuplexStream>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate::testing::{Clock, Faults, Faulty, pair, pair_over};
    use tidegate::{CloseCode, Config};
    use tokio::io::duplex;

    #[tokio::test]
    async fn a_line_comes_each_minute() {
        let clock = Clock::pause();
        let (mut client, server) = pair(Config::default());
        tokio::spawn(ticker(server));
        for _ in 0..3 {
            // The client answers pings while it waits; time jumps by itself.
            assert_eq!(client.recv().await.unwrap().as_text(), Some("a minute"));
        }
        assert_eq!(clock.elapsed().as_secs(), 180);
        client.send("stop").await.unwrap();
        let closed = client.recv().await.unwrap_err();
        assert_eq!((closed.clean, &*closed.reason), (true, "as you wish"));
    }

    #[tokio::test]
    async fn a_client_that_vanishes_ends_the_handler() {
        let clock = Clock::pause();
        let (client, server) = pair(Config::default());
        let handler = tokio::spawn(ticker(server));
        clock.advance(Duration::from_secs(30)).await;
        drop(client);
        assert!(!handler.await.unwrap().clean);
    }

    #[tokio::test]
    async fn a_transport_that_dribbles_makes_no_difference() {
        let _clock = Clock::pause();
        let dribble = Faults {
            chunk: Some(1),
            hesitant: true,
            ..Faults::default()
        };
        let (here, there) = duplex(64);
        let (mut client, server) = pair_over(here, Faulty::new(there, dribble), Config::default());
        let handler = tokio::spawn(ticker(server));
        assert_eq!(client.recv().await.unwrap().as_text(), Some("a minute"));
        assert!(client.close(CloseCode::NORMAL, "").await.clean);
        assert!(handler.await.unwrap().clean);
    }
}
