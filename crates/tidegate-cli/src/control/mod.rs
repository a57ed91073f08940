//! The control plane: a thread with a runtime of its own for ordinary HTTP and the demo's market. It reaches
//! the workers by mail only, and never holds one up.

mod answer;
mod channels;
mod guarded;
mod market;
mod query;
mod site;

pub(crate) use channels::Channels;
pub(crate) use site::Site;

use answer::Answer;
use guarded::Guarded;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tidegate::engine::PlainHttp;
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
    /// Starts the thread: it serves `site` to whoever arrives, and a market to the hub if `market`.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub(crate) fn start(
        arrivals: Arrivals,
        site: Site,
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
                runtime.block_on(run(arrivals, Arc::new(site), market, stopped, drain));
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
                Some(plain) => { connections.spawn(serve(plain, site.clone(), stopped.clone())); }
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

/// Serves one connection until its client has enough, is silent for long, or has stayed for long enough.
async fn serve(plain: PlainHttp, site: Arc<Site>, mut stopped: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let site = site.clone();
        async move { Ok::<Answer, Infallible>(answer(&site, &request).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(MAX_FIELDS)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(plain.io), service)
    );
    let ended = tokio::select! {
        result = connection.as_mut() => Some(result),
        _ = stopped.wait_for(|stop| *stop) => None,
        () = tokio::time::sleep(MAX_AGE) => None,
    };
    let result = match ended {
        Some(result) => Ok(result),
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER, connection).await
        }
    };
    if let Ok(Err(error)) = result {
        debug!(%error, "HTTP connection ended");
    }
}

async fn answer<B>(site: &Site, request: &Request<B>) -> Answer {
    let answer = Guarded::new(site.answer(request)).await.unwrap_or_else(|| {
        answer::line(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server made a mistake; it was logged",
        )
    });
    debug!(method = %request.method(), path = request.uri().path(), status = answer.status().as_u16(), "HTTP");
    answer
}

/// HTTP connections served at once; more wait in the door.
const MAX_CONNECTIONS: usize = 512;
const MAX_WAITING: usize = 128;
/// From the end of one answer, or the connection's start, to the end of the next head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_FIELDS: usize = 100;
const MAX_HEAD: usize = 16 << 10;
/// After this a connection closes with its next answer, so that a client that never reads cannot stay.
const MAX_AGE: Duration = Duration::from_secs(120);
const LAST_ANSWER: Duration = Duration::from_secs(10);
