//! The client's handshake over HTTP/1.1 on a transport that is open; it follows no redirect.

use super::error::{ConnectError, Refused, Stage};
use crate::dial::{Deadline, failed};
use std::io;
use std::time::Duration;
use tidegate_proto::HeadLimits;
use tidegate_proto::handshake::body;
use tidegate_proto::handshake::client::{self, Accepted, Answer, ClientHandshake};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// Sends the request and reads the answer: what was accepted, and the octets that came behind the head.
///
/// # Errors
/// [`ConnectError`] of [`Stage::Http`].
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    mut handshake: ClientHandshake,
    limits: &HeadLimits,
    deadline: &Deadline,
) -> Result<(Accepted, Vec<u8>), ConnectError> {
    let answering = answer(io, &mut handshake, limits);
    let (answer, mut bytes) = deadline.within(Stage::Http, answering).await??;
    match answer {
        Answer::Accepted(accepted) => {
            let early = bytes.split_off(accepted.head_length);
            Ok((accepted, early))
        }
        Answer::Refused(refused) => {
            let body = bytes.split_off(refused.body_start);
            let request = handshake.request().to_vec();
            let until = deadline.of(Stage::Http);
            let refused = read_refusal(io, request, refused, body, until).await;
            Err(ConnectError::Refused(Box::new(refused)))
        }
        Answer::Incomplete => unreachable!("read until it was whole"),
    }
}

/// The first whole answer, and all bytes read.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    handshake: &mut ClientHandshake,
    limits: &HeadLimits,
) -> Result<(Answer, Vec<u8>), ConnectError> {
    let failed = failed(Stage::Http);
    io.write_all(handshake.request()).await.map_err(&failed)?;
    io.flush().await.map_err(&failed)?;
    let mut bytes = Vec::with_capacity(1 << 10);
    loop {
        if io.read_buf(&mut bytes).await.map_err(&failed)? == 0 {
            let text = "the server closed the connection before its answer was complete";
            return Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        match handshake.parse_response(&bytes, limits)? {
            Answer::Incomplete => {}
            answer => return Ok((answer, bytes)),
        }
    }
}

/// A refusal with its body as far as that comes soon and is short; a body that breaks off is better than none.
pub(crate) async fn read_refusal<S: AsyncRead + Unpin>(
    io: &mut S,
    request: Vec<u8>,
    refused: client::Refused,
    mut bytes: Vec<u8>,
    until: Instant,
) -> Refused {
    let until = until.min(Instant::now() + BODY_TIME);
    let read = async {
        while !body::read(&refused.headers, &bytes, MAX_BODY).is_whole && bytes.len() < MAX_RAW {
            if !matches!(io.read_buf(&mut bytes).await, Ok(n) if n > 0) {
                return;
            }
        }
    };
    let _ = timeout_at(until, read).await; // what came until then is what there is
    let body = body::read(&refused.headers, &bytes, MAX_BODY).octets;
    Refused::new(request, refused, body)
}

/// Most bytes of a refusal's body that are kept.
pub(super) const MAX_BODY: usize = 4 << 10;
/// Most bytes read for that; chunks cost more than they hold.
const MAX_RAW: usize = 16 << 10;
/// Longest wait for it.
pub(super) const BODY_TIME: Duration = Duration::from_secs(1);
