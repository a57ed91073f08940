//! The control plane: a thread with a runtime of its own for ordinary HTTP, the API, the admin listener,
//! keys and reloads. It reaches the workers by mail only, and never holds one up.

pub(crate) mod admin;
pub(crate) mod answer;
pub(crate) mod api;
mod channels;
pub(crate) mod connection;
mod given_up;
mod guarded;
pub(crate) mod http2;
pub(crate) mod jwks;
pub(crate) mod keyring;
mod market;
mod process;
mod query;
pub(crate) mod reload;
mod site;
mod upgrade;
pub(crate) mod upstream;

pub(crate) use channels::Channels;
pub(crate) use process::Process;
pub(crate) use site::{Names, Site, page};

use admin::{Admin, Bound, Monitor};
use reload::Reloader;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tidegate::engine::{Adopter, PlainHttp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;
use upstream::Feed;

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

impl Arrivals {
    /// The next one; `None` once all doors are gone.
    pub(crate) async fn next(&mut self) -> Option<PlainHttp> {
        self.0.recv().await
    }
}

/// The running control plane.
pub(crate) struct Control {
    stop: watch::Sender<bool>,
    end: watch::Sender<bool>,
    orders: mpsc::UnboundedSender<Order>,
    thread: JoinHandle<()>,
}

/// What the main thread asks the control plane for.
enum Order {
    Reload,
}

/// What the control plane runs on and serves.
pub(crate) struct Parts {
    /// Who arrives on the main port.
    pub(crate) arrivals: Arrivals,
    /// What they are answered.
    pub(crate) site: Site,
    /// Takes those who ask for a WebSocket.
    pub(crate) adopter: Adopter,
    /// The admin listener.
    pub(crate) admin: Option<(Bound, Arc<Admin>)>,
    /// Reads the configuration again.
    pub(crate) reloader: Arc<Reloader>,
    /// Looks at the hub.
    pub(crate) monitor: Arc<Monitor>,
    /// Whether the demo's market is published.
    pub(crate) market: bool,
    /// What is published from elsewhere.
    pub(crate) feeds: Vec<Feed>,
    /// How long requests under way may take when it stops.
    pub(crate) drain: Duration,
}

impl Control {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub(crate) fn start(parts: Parts) -> io::Result<Control> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let (orders, ordered) = mpsc::unbounded_channel();
        let thread = thread::Builder::new()
            .name("control".into())
            .spawn(move || runtime.block_on(run(parts, ordered, stopped, ended)))?;
        Ok(Control {
            stop,
            end,
            orders,
            thread,
        })
    }

    /// Reads the configuration again, soon.
    pub(crate) fn reload(&self) {
        // It has panicked if it does not listen any more; that is told at the end.
        let _ = self.orders.send(Order::Reload);
    }

    /// Requests under way are answered, idle connections closed. The admin listener stays until
    /// [`Control::join`]: who asks hears that we drain.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until it has stopped; `false` if it panicked.
    pub(crate) fn join(self) -> bool {
        self.end.send_replace(true);
        self.thread.join().is_ok()
    }
}

/// Tasks that end with the control plane.
fn in_background(
    parts: &mut Parts,
    ordered: mpsc::UnboundedReceiver<Order>,
    ended: watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let hub = parts.site.channels.hub();
    if parts.market {
        tasks.spawn(market::run(hub.clone()));
    }
    for feed in parts.feeds.drain(..) {
        tasks.spawn(upstream::run(feed, hub.clone()));
    }
    if let Some((bound, admin)) = parts.admin.take() {
        tasks.spawn(admin::serve(bound, admin, ended));
    }
    tasks.spawn(jwks::run(Arc::clone(&parts.reloader.keyring), hub));
    tasks.spawn(obey(ordered, Arc::clone(&parts.reloader)));
    let monitor = Arc::clone(&parts.monitor);
    tasks.spawn(async move { monitor.run().await });
    tasks
}

async fn obey(mut ordered: mpsc::UnboundedReceiver<Order>, reloader: Arc<Reloader>) {
    while let Some(Order::Reload) = ordered.recv().await {
        // What came of it is in the log.
        let _ = reloader.reload().await;
    }
}

async fn run(
    mut parts: Parts,
    ordered: mpsc::UnboundedReceiver<Order>,
    mut stopped: watch::Receiver<bool>,
    mut ended: watch::Receiver<bool>,
) {
    let mut tasks = in_background(&mut parts, ordered, ended.clone());
    let Parts {
        mut arrivals,
        site,
        adopter,
        drain,
        ..
    } = parts;
    let (site, mut connections) = (Arc::new(site), JoinSet::new());
    let mut http2_connections = JoinSet::new();
    loop {
        let room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            Some(_) = http2_connections.join_next() => {}
            arrived = arrivals.next(), if room => match arrived {
                Some(plain) if plain.is_http2() => {
                    // They stay as long as their WebSockets, so they have places of their own.
                    if http2_connections.len() < MAX_HTTP2_CONNECTIONS {
                        let bridge = adopter.bridge();
                        http2_connections.spawn(http2::serve(plain, site.clone(), bridge, stopped.clone()));
                    }
                }
                Some(plain) => { connections.spawn(connection::serve(plain, site.clone(), adopter.clone(), stopped.clone())); }
                None => break,
            },
        }
    }
    drop(arrivals);
    // What is left at the deadline is dropped, and with it closed.
    let _ = timeout(drain, async {
        while connections.join_next().await.is_some() {}
        while http2_connections.join_next().await.is_some() {}
    })
    .await;
    // The sender is gone only with the main thread.
    let _ = ended.wait_for(|end| *end).await;
    tasks.abort_all();
}

/// HTTP connections served at once; more wait in the door.
const MAX_CONNECTIONS: usize = 512;
/// HTTP/2 connections served at once, their WebSockets included; more are closed.
const MAX_HTTP2_CONNECTIONS: usize = 4_096;
const MAX_WAITING: usize = 128;
