//! One HTTP connection from its arrival to its end, or to the request that makes it a WebSocket; what is
//! answered is the site's matter.

use super::answer::{self, Answers};
use super::guarded::Guarded;
use super::upgrade::{Watched, Wish};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tidegate::engine::{Adopter, PlainHttp, PlainIo};
use tidegate_proto::handshake::server::{Refusal, refuse};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::debug;

/// Serves one connection until its client has enough, is silent for long, has stayed for long enough, or
/// asks for a WebSocket: then a worker gets it.
pub(crate) async fn serve<A: Answers>(
    plain: PlainHttp,
    site: Arc<A>,
    adopter: Adopter,
    mut stopped: watch::Receiver<bool>,
) {
    let wish = Wish::default();
    let stream = TokioIo::new(wish.watch(plain.io));
    let answering = Answering {
        site,
        wish: wish.clone(),
    };
    let mut connection = builder().serve_connection(stream, answering);
    let ended = tokio::select! {
        result = drive(&mut connection, &wish) => Some(result),
        _ = stopped.wait_for(|stop| *stop) => None,
        () = sleep(MAX_AGE) => None,
    };
    let ended = match ended {
        Some(result) => Ok(result),
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            timeout(LAST_ANSWER, drive(&mut connection, &wish)).await
        }
    };
    match ended {
        Ok(Ok(End::Closed)) | Err(_) => {}
        Ok(Ok(End::WantsWebSocket)) => give_back(connection, &wish, &adopter).await,
        Ok(Err(error)) => debug!(%error, "HTTP connection ended"),
    }
}

type Connection<A> = http1::Connection<TokioIo<Watched<PlainIo>>, Answering<A>>;

/// How hyper's part in a connection ended.
enum End {
    Closed,
    /// Its last request asks for a WebSocket. Everything before that is answered.
    WantsWebSocket,
}

/// Limits of HTTP on every listener of ours.
pub(super) fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD);
    builder
}

/// Answers requests from the site; one for a WebSocket is left to wait, for hyper must not answer it.
struct Answering<A> {
    site: Arc<A>,
    wish: Wish,
}

impl<A: Answers> Service<Request<Incoming>> for Answering<A> {
    type Response = Response<A::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<A::Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if self.wish.notice(&request) {
            return Box::pin(pending());
        }
        let site = Arc::clone(&self.site);
        Box::pin(async move { Ok(answer(&site, request).await) })
    }
}

/// Runs hyper until it has finished or has nothing left to do but the request that is not for it.
async fn drive<A: Answers>(connection: &mut Connection<A>, wish: &Wish) -> hyper::Result<End> {
    poll_fn(|cx| match Pin::new(&mut *connection).poll(cx) {
        Poll::Ready(result) => Poll::Ready(result.map(|()| End::Closed)),
        Poll::Pending if wish.granted().is_some() => Poll::Ready(Ok(End::WantsWebSocket)),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Mails the connection to a worker, socket, request and all that was read behind it.
async fn give_back<A: Answers>(connection: Connection<A>, wish: &Wish, adopter: &Adopter) {
    let parts = connection.into_parts();
    let mut octets = wish.granted().unwrap_or_default().to_vec();
    octets.extend_from_slice(&parts.read_buf);
    match adopter.adopt(parts.io.into_inner().into_inner(), octets) {
        Ok(()) => debug!("an HTTP connection asks for a WebSocket; back to a worker"),
        Err(io) => refuse_upgrade(io).await,
    }
}

/// No worker has room, or the server ends.
async fn refuse_upgrade(mut io: PlainIo) {
    debug!("no worker takes an HTTP connection that asks for a WebSocket; 503");
    let mut answer = Vec::new();
    refuse(
        &Refusal::new(503, "no room for a WebSocket now; try again later"),
        &mut answer,
    );
    let said = pin!(async {
        io.write_all(&answer).await?;
        io.shutdown().await
    });
    let _ = timeout(LAST_ANSWER, said).await; // a client that does not take it has gone
}

pub(super) async fn answer<A: Answers>(
    site: &Arc<A>,
    request: Request<Incoming>,
) -> Response<A::Body> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answer = Guarded::new(Arc::clone(site).answer(request)).await;
    let answer = answer.unwrap_or_else(answer::mistake);
    debug!(%method, path, status = answer.status().as_u16(), "HTTP");
    answer
}

/// From the end of one answer, or the connection's start, to the end of the next head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_FIELDS: usize = 100;
pub(super) const MAX_HEAD: usize = 16 << 10;
/// After this a connection closes with its next answer, so that a client that never reads cannot stay.
const MAX_AGE: Duration = Duration::from_secs(120);
pub(super) const LAST_ANSWER: Duration = Duration::from_secs(10);
