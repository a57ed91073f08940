//! The control plane: a thread with a runtime of its own for ordinary HTTP and the demo's market. It reaches
//! the workers by mail only, and never holds one up.

mod answer;
mod channels;
mod connection;
mod guarded;
mod market;
mod query;
mod site;
mod upgrade;

pub(crate) use channels::Channels;
pub(crate) use site::Site;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tidegate::engine::{Adopter, PlainHttp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

/// Where workers leave connections that speak ordinary HTTP.
#[derive(Clone)]
pub(crate) struct Door(mpsc::Sender<PlainHttp>);

/// The other end of a [`Door`].
pub(crate) struct Arrivals(mpsc::Receiver<PlainHttp>);

/// A door and its other end. At most [`MAX_WAITING`] connections stand in it; one more is closed.
pub(crate) fn door() -> (Door, Arrivals) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    (Door(sender), Arrivals(receiver))
}

impl Door {
    /// Takes a connection over; it never blocks.
    pub(crate) fn admit(&self, connection: PlainHttp) {
        if self.0.try_send(connection).is_err() {
            debug!("no room for an HTTP connection; closed");
        }
    }
}

/// The running control plane.
pub(crate) struct Control {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Control {
    /// Starts the thread: it serves `site` to whoever arrives, gives back to `adopter` who asks for a
    /// WebSocket then, and feeds a market to the hub if `market`.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub(crate) fn start(
        arrivals: Arrivals,
        site: Site,
        adopter: Adopter,
        market: bool,
        drain: Duration,
    ) -> io::Result<Control> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let thread = thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                runtime.block_on(run(
                    arrivals,
                    Arc::new(site),
                    adopter,
                    market,
                    stopped,
                    drain,
                ));
            })?;
        Ok(Control { stop, thread })
    }

    /// Requests under way are answered, idle connections closed, the market ends.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until it has stopped; `false` if it panicked.
    pub(crate) fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}

async fn run(
    mut arrivals: Arrivals,
    site: Arc<Site>,
    adopter: Adopter,
    market: bool,
    mut stopped: watch::Receiver<bool>,
    drain: Duration,
) {
    let mut connections = JoinSet::new();
    let feed = market.then(|| tokio::spawn(market::run(site.channels.hub())));
    loop {
        let room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            arrived = arrivals.0.recv(), if room => match arrived {
                Some(plain) => { connections.spawn(connection::serve(plain, site.clone(), adopter.clone(), stopped.clone())); }
                None => break,
            },
        }
    }
    if let Some(feed) = feed {
        feed.abort();
    }
    drop(arrivals);
    // What is left at the deadline is dropped, and with it closed.
    let _ = timeout(drain, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

/// HTTP connections served at once; more wait in the door.
const MAX_CONNECTIONS: usize = 512;
const MAX_WAITING: usize = 128;
