//! A WebSocket that came through an HTTP server, served by a worker of the engine: the worker judges the request and
//! holds the peer, this side only carries octets.

use super::{Upgrade, UpgradedIo, refused};
use crate::engine::{Bridge, Bridged};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tidegate_proto::handshake::Refusal;
use tidegate_proto::handshake::connect::Translated;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::time::timeout;

impl Upgrade {
    /// Hands the WebSocket to a worker of a [`crate::Server`] ([`crate::Adopter::bridge`]): its
    /// [`crate::Handler`] judges the request and serves the peer like any other, also to those that fan out to
    /// all. The answer is the worker's, with its subprotocol and compression; fields of [`Upgrade::header`] are
    /// added. `remote` is whom the worker takes for the client.
    ///
    /// The socket stays with the HTTP server and tokio: octets pass to the worker in batches, at most 256 KiB of
    /// them each way, on a task of their own.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the worker's peer is a connection that was lost.
    pub async fn hand_to(self, bridge: &Bridge, remote: SocketAddr) -> Response<Full<Bytes>> {
        let head = self.request.head().to_vec();
        let Ok(mut worker) = bridge.open(remote, self.acceptor.secure, head) else {
            return busy();
        };
        let answering = timeout(self.acceptor.head.timeout, read_answer(&mut worker));
        let Ok(Ok((answer, rest))) = answering.await else {
            return busy();
        };
        if !answer.is_open() {
            return pass_refusal(&answer, worker, rest).await;
        }
        let mut response = Response::new(Full::default());
        self.say_yes(&mut response, None);
        response
            .headers_mut()
            .remove(http::header::SEC_WEBSOCKET_PROTOCOL); // the worker has chosen
        append(&mut response, &answer);
        let (on, patience) = (self.on, self.acceptor.head.timeout);
        tokio::spawn(async move {
            if let Ok(Ok(upgraded)) = timeout(patience, on).await {
                carry(UpgradedIo::new(upgraded), worker, &rest).await;
            }
        });
        response
    }
}

fn busy() -> Response<Full<Bytes>> {
    refused(&Refusal::new(
        503,
        "no room for a WebSocket now; try again later",
    ))
}

/// The worker's answer, and what came behind its head.
async fn read_answer(worker: &mut Bridged) -> io::Result<(Translated, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(1 << 9);
    loop {
        if worker.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(answer) = Translated::read(&bytes).map_err(io::Error::other)? {
            let rest = bytes.split_off(answer.head_length);
            return Ok((answer, rest));
        }
    }
}

async fn pass_refusal(
    answer: &Translated,
    mut worker: Bridged,
    mut body: Vec<u8>,
) -> Response<Full<Bytes>> {
    // It is short, and in the worker's outbox already.
    let _ = timeout(LAST_ANSWER, worker.read_to_end(&mut body)).await;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_REQUEST);
    append(&mut response, answer);
    response
}

fn append(response: &mut Response<Full<Bytes>>, answer: &Translated) {
    for (name, value) in answer.fields() {
        let field = (HeaderName::try_from(name), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = field {
            response.headers_mut().append(name, value);
        }
    }
}

/// Octets both ways until both sides have ended. How it ended is for the ends to say.
async fn carry(mut client: UpgradedIo, mut worker: Bridged, early: &[u8]) {
    if client.write_all(early).await.is_err() {
        return;
    }
    let _ = copy_bidirectional(&mut client, &mut worker).await;
}

/// How long a refusal's body may take.
const LAST_ANSWER: Duration = Duration::from_secs(1);
