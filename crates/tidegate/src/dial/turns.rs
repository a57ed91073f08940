//! No more than one connection to a server in its handshake, the others wait for their turn (RFC 6455 §4.1). It
//! opens nothing and knows no clock: whoever waits bounds the wait.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Whose turn it is, for each server. Shared by the clones of a client.
#[derive(Default, Debug)]
pub(crate) struct Turns {
    /// Servers that somebody is at or waits for; the others are dead entries, swept out when one comes new.
    gates: Mutex<HashMap<Server, Weak<Semaphore>>>,
}

/// What counts as one server.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Server {
    /// Its address, whatever the name that led there.
    At(SocketAddr),
    /// Behind a proxy its address is not known.
    //= rfc6455#4.1  then each name counts as another server.
    Named(String, u16),
}

/// It is its holder's turn, until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    /// Waits until nobody else is at `server`. First come, first served.
    ///
    /// # Cancel safety
    /// Dropped, it gives its place in the queue up.
    pub(crate) async fn wait(&self, server: Server) -> Turn {
        let permit = self.gate(server).acquire_owned().await;
        Turn {
            _permit: permit.expect("no gate is ever closed"),
        }
    }

    fn gate(&self, server: Server) -> Arc<Semaphore> {
        // No code of ours panics under the lock; were it to, the map would still be a map.
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(&server).and_then(Weak::upgrade) {
            return gate;
        }
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::new(Semaphore::new(1));
        gates.insert(server, Arc::downgrade(&gate));
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::{Instant, sleep, timeout};

    fn at(port: u16) -> Server {
        Server::At(SocketAddr::from(([192, 0, 2, 1], port)))
    }

    /// Handshakes of a second each, all asked for at once: when each is done, in seconds.
    async fn done(servers: &[Server]) -> Vec<u64> {
        let turns = Arc::new(Turns::default());
        let start = Instant::now();
        let handshake = |server: &Server| {
            let (turns, server) = (turns.clone(), server.clone());
            tokio::spawn(async move {
                let _turn = turns.wait(server).await;
                sleep(Duration::from_secs(1)).await;
                start.elapsed().as_secs()
            })
        };
        let running: Vec<_> = servers.iter().map(handshake).collect();
        let mut done = Vec::new();
        for handshake in running {
            done.push(handshake.await.expect("it does not panic"));
        }
        done
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_with_one_server_follow_each_other_in_their_order() {
        assert_eq!(done(&[at(1), at(1), at(1)]).await, [1, 2, 3]);
        let name = |port| Server::Named("a.example".to_owned(), port);
        assert_eq!(done(&[name(1), name(1), name(2)]).await, [1, 2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_with_several_servers_run_side_by_side() {
        let other = Server::At(SocketAddr::from(([192, 0, 2, 2], 1)));
        assert_eq!(done(&[at(1), at(2), other, at(1)]).await, [1, 1, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_neither_keeps_its_turn_nor_its_place() {
        let turns = Turns::default();
        let turn = turns.wait(at(1)).await;
        let second = Duration::from_secs(1);
        assert!(timeout(second, turns.wait(at(1))).await.is_err());
        drop(turn);
        assert!(timeout(second, turns.wait(at(1))).await.is_ok());
        assert!(timeout(second, turns.wait(at(1))).await.is_ok());
    }

    #[tokio::test]
    async fn servers_that_nobody_is_at_are_forgotten() {
        let turns = Turns::default();
        for port in 1..=100 {
            drop(turns.wait(at(port)).await);
        }
        assert_eq!(turns.gates.lock().unwrap().len(), 1);
    }
}
