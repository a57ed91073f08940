//! One client of each way: it receives updates and gives them to the [`Book`]. It measures nothing itself.

use super::Way;
use super::book::Book;
use super::counted::{Counted, Octets};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegate::Client;

/// What all clients of a way share.
pub(super) struct Shared {
    pub(super) websocket: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) interval: Duration,
    pub(super) octets: Arc<Octets>,
    pub(super) book: Mutex<Book>,
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut Book) -> T) -> T {
        act(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Receives until it is dropped.
///
/// # Errors
/// What went wrong; no way ends by itself.
pub(super) async fn run(way: Way, id: usize, shared: Arc<Shared>) -> Result<()> {
    match way {
        Way::WebSocket => websocket(id, &shared).await,
        Way::Sse => sse(id, &shared).await,
        Way::LongPolling => kept_alive(id, &shared, "/long-poll", Duration::ZERO).await,
        Way::Polling => kept_alive(id, &shared, "/poll", shared.interval).await,
        Way::PollingAnew => anew(id, &shared).await,
    }
}

async fn websocket(id: usize, shared: &Shared) -> Result<()> {
    let io = Counted::connect(shared.websocket, &shared.octets).await?;
    let url = format!("ws://{}/", shared.websocket);
    let mut ws = Client::new().connect_over(io, &url).await?;
    shared.with(Book::requested);
    loop {
        let message = ws.recv().await?;
        shared.with(|book| book.update(id, message.as_bytes()));
    }
}

async fn sse(id: usize, shared: &Shared) -> Result<()> {
    let mut sender = connect(shared).await?;
    let mut body = get(&mut sender, shared, "/sse").await?;
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            text.extend_from_slice(&data);
        }
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        for line in text[..whole].split(|byte| *byte == b'\n') {
            if let Some(update) = line.strip_prefix(b"data: ") {
                shared.with(|book| book.update(id, update));
            }
        }
        text.drain(..whole);
    }
    Err("the server ended the stream".into())
}

async fn kept_alive(id: usize, shared: &Shared, path: &str, interval: Duration) -> Result<()> {
    let mut sender = connect(shared).await?;
    let mut pace = pace(interval);
    loop {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        ask(id, &mut sender, shared, path).await?;
    }
}

async fn anew(id: usize, shared: &Shared) -> Result<()> {
    let mut pace = pace(shared.interval);
    loop {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let mut sender = connect(shared).await?;
        ask(id, &mut sender, shared, "/poll").await?;
    }
}

/// Clients do not all ask at once.
fn pace(interval: Duration) -> Option<tokio::time::Interval> {
    if interval.is_zero() {
        return None;
    }
    let mut random = [0; 4];
    let _ = getrandom::fill(&mut random);
    let part = f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX);
    let begin = tokio::time::Instant::now() + interval.mul_f64(part);
    Some(tokio::time::interval_at(begin, interval))
}

/// Asks for what is new and takes it all.
async fn ask(
    id: usize,
    sender: &mut SendRequest<Empty<Bytes>>,
    shared: &Shared,
    path: &str,
) -> Result<()> {
    let target = match shared.with(|book| book.next(id)) {
        Some(next) => format!("{path}?after={next}"),
        None => path.to_owned(),
    };
    let body = get(sender, shared, &target)
        .await?
        .collect()
        .await?
        .to_bytes();
    for line in body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        shared.with(|book| book.update(id, line));
    }
    Ok(())
}

async fn connect(shared: &Shared) -> Result<SendRequest<Empty<Bytes>>> {
    let io = Counted::connect(shared.http, &shared.octets).await?;
    let (sender, connection) = handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn get(
    sender: &mut SendRequest<Empty<Bytes>>,
    shared: &Shared,
    target: &str,
) -> Result<Incoming> {
    sender.ready().await?;
    let request = Request::get(target)
        .header(HOST, shared.http.to_string())
        .body(Empty::new())?;
    shared.with(Book::requested);
    let response = sender.send_request(request).await?;
    match response.status().is_success() {
        true => Ok(response.into_body()),
        false => Err(format!("the server answered {}", response.status()).into()),
    }
}
