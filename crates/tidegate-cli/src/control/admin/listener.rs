//! The admin listener's socket and its connections; what is answered is `Admin`'s matter.

use crate::control::answer::{self, Answers};
use crate::control::connection::builder;
use crate::control::guarded::Guarded;
use crate::settings::AdminListen;
use hyper::Request;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, warn};

/// A socket that listens, and where.
pub(crate) struct Bound {
    listener: TcpListener,
    /// With the port the system chose if none was given.
    pub(crate) address: SocketAddr,
}

/// Binds. When the port is taken and nobody named it, another one is found.
///
/// # Errors
/// What binding says.
pub(crate) fn bind(listen: AdminListen) -> io::Result<Bound> {
    let listener = match TcpListener::bind(listen.address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && !listen.asked_for => {
            TcpListener::bind(SocketAddr::new(listen.address.ip(), 0))?
        }
        result => result?,
    };
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok(Bound { listener, address })
}

/// Serves until `stopped`, and a little longer, so that whoever asks whether we are ready hears that we are
/// not.
pub(crate) async fn serve<A: Answers>(
    bound: Bound,
    admin: Arc<A>,
    mut stopped: watch::Receiver<bool>,
) {
    let listener = match tokio::net::TcpListener::from_std(bound.listener) {
        Ok(listener) => listener,
        Err(error) => return warn!(%error, "the admin listener cannot be served"),
    };
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            () = end(&mut stopped) => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, _)) => { connections.spawn(connection(stream, Arc::clone(&admin))); }
                Err(error) => {
                    debug!(%error, "an admin connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

/// What is seen of the flag must not be kept while others are served.
async fn end(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn connection<A: Answers>(stream: TcpStream, admin: Arc<A>) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let admin = Arc::clone(&admin);
        async move {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let answer = Guarded::new(admin.answer(request)).await;
            let answer = answer.unwrap_or_else(answer::mistake);
            debug!(%method, path, status = answer.status().as_u16(), "admin");
            Ok::<_, Infallible>(answer)
        }
    });
    let mut served = pin!(builder().serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        result = served.as_mut() => if let Err(error) = result {
            debug!(%error, "admin connection ended");
        },
        () = sleep(MAX_AGE) => {
            served.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(LAST_ANSWER, served).await;
        }
    }
}

const MAX_CONNECTIONS: usize = 64;
/// After this a connection closes with its next answer.
const MAX_AGE: Duration = Duration::from_secs(600);
const LAST_ANSWER: Duration = Duration::from_secs(10);
