//! The other end of `bench vs-http`, a process of its own: the same updates by WebSocket from our engine, and by SSE, long
//! polling and polling from hyper. It ends when its standard input does.

use super::updates::{Updates, now};
use crate::bench::payload::Payloads;
use crate::error::Failure;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;
use tidegate::Server;
use tidegate::engine::Mailer;
use tidegate_proto::{
    Accept, Closed, Config, Encoded, Handler, Opening, Outboxes, PeerId, Request as Asked, WorkerId,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Serves until standard input ends; says on stdout where.
///
/// # Errors
/// When a port or an event loop cannot be had.
pub(crate) fn run(every: u64, size: usize) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("the server: {error}"));
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let updates = Updates {
        began: now(),
        every,
        size,
    };
    let engine = Server::builder()
        .listen(loopback)
        .workers(1)
        .start(move |_| Live::default())
        .map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let listener = runtime
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .map_err(failed)?;
    let http = listener.local_addr().map_err(failed)?;
    let (tell, told) = watch::channel(0);
    let mailer = engine.mailer();
    std::thread::spawn(move || tick(updates, &tell, &mailer));
    std::thread::spawn(|| {
        // Whoever started us is gone when this ends.
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    println!("{} {} {}", engine.local_addr(), http, updates.began);
    std::io::stdout().flush().map_err(failed)?;
    runtime.block_on(accept(listener, updates, told));
    Ok(())
}

/// Says when an update is due: to the engine by mail, to HTTP by the number of updates there are.
fn tick(updates: Updates, tell: &watch::Sender<u64>, mailer: &Mailer<String>) {
    let mut payloads = Payloads::new(updates.size);
    for number in 0.. {
        let due = updates.due(number);
        std::thread::sleep(Duration::from_nanos(due.saturating_sub(now())));
        let _ = mailer.post(WorkerId(0), updates.text(&mut payloads, number));
        tell.send_replace(number + 1);
    }
}

/// Sends each update to all.
#[derive(Default)]
struct Live {
    peers: Vec<PeerId>,
}

impl Handler for Live {
    type Mail = String;

    fn open(&mut self, _: PeerId, _: &Asked, _: &mut Outboxes<'_, String>) -> Opening {
        Opening::Accept(Accept::new(Arc::new(Config::default())))
    }

    fn opened(&mut self, peer: PeerId, _: &mut Outboxes<'_, String>) {
        self.peers.push(peer);
    }

    fn message(
        &mut self,
        _: PeerId,
        _: tidegate_proto::Incoming<'_>,
        _: &mut Outboxes<'_, String>,
    ) {
    }

    fn mail(&mut self, update: String, out: &mut Outboxes<'_, String>) {
        let frame = Encoded::text(&update);
        for peer in &self.peers {
            out.send(*peer, &frame);
        }
    }

    fn closed(&mut self, peer: PeerId, _: &Closed, _: &mut Outboxes<'_, String>) {
        self.peers.retain(|other| *other != peer);
    }
}

async fn accept(listener: TcpListener, updates: Updates, told: watch::Receiver<u64>) {
    loop {
        // Out of files, say; the next one may fare better.
        let Ok((tcp, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = tcp.set_nodelay(true);
        tokio::spawn(serve(tcp, updates, told.clone()));
    }
}

async fn serve(tcp: TcpStream, updates: Updates, told: watch::Receiver<u64>) {
    let service = service_fn(move |request| answer(request, updates, told.clone()));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
    // A client that leaves is no news.
    let _ = connection.await;
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    updates: Updates,
    mut told: watch::Receiver<u64>,
) -> Result<Response<Body>, Infallible> {
    // What the client has; without it, only what is still to come, and the newest at a poll.
    let there = *told.borrow();
    let query = request.uri().query();
    let has = query.and_then(|query| query.strip_prefix("after=")?.parse().ok());
    let after = has.unwrap_or(there);
    let response = match request.uri().path() {
        "/sse" => respond("text/event-stream", events(updates, told, after)),
        "/poll" => {
            let after = has.unwrap_or(there.saturating_sub(1));
            respond("text/plain", lines(updates, after, there))
        }
        "/long-poll" => {
            // The sender lives as long as the process.
            let _ = told.wait_for(|there| *there > after).await;
            let there = *told.borrow();
            respond("text/plain", lines(updates, after, there))
        }
        _ => {
            let mut response = respond("text/plain", Full::default().boxed_unsync());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    };
    Ok(response)
}

fn respond(kind: &'static str, body: Body) -> Response<Body> {
    let response = Response::builder()
        .header(CONTENT_TYPE, kind)
        .header(CACHE_CONTROL, "no-store");
    response.body(body).expect("the fields are right")
}

/// The updates from `after` on, a line each.
fn lines(updates: Updates, after: u64, there: u64) -> Body {
    let mut payloads = Payloads::new(updates.size);
    let mut text = String::new();
    for number in after..there {
        text += payloads.make(updates.due(number));
        text.push('\n');
    }
    Full::from(text).boxed_unsync()
}

/// The updates from `after` on, an event each, for ever.
fn events(updates: Updates, told: watch::Receiver<u64>, after: u64) -> Body {
    let begin = (told, after, Payloads::new(updates.size));
    let frames = stream::unfold(begin, move |(mut told, after, mut payloads)| async move {
        told.wait_for(|there| *there > after).await.ok()?;
        let there = *told.borrow();
        let mut text = String::new();
        for number in after..there {
            text += "data: ";
            text += payloads.make(updates.due(number));
            text += "\n\n";
        }
        let frame = Ok::<_, Infallible>(Frame::data(Bytes::from(text)));
        Some((frame, (told, there, payloads)))
    });
    StreamBody::new(frames).boxed_unsync()
}
