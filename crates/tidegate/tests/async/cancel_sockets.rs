//! As `cancel`, for the futures that need real sockets, TLS or an HTTP server: each is polled when it is woken, dropped
//! at every poll, and then the octets on the wire and what is left on the other side are looked at.

use crate::common::leave_after;
use crate::net::{Certificate, listen};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate::client::Http;
use tidegate::testing::{Faults, Faulty};
use tidegate::upgrade::Upgrade;
use tidegate::{
    Accept, Acceptor, Client, CloseCode, Closed, Config, Handler, Message, Opening, Outboxes,
    PeerId, Proxy, Server, WebSocket, tls,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;

/// More polls than any future here takes; a loop that gets there shows nothing.
const MOST: usize = 500;

/// A relay before `target` that keeps what clients say and knows how many of them there are.
#[derive(Clone)]
struct Relay {
    port: u16,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    present: watch::Sender<usize>,
}

impl Relay {
    async fn start(target: u16) -> Relay {
        let (listener, port) = listen().await;
        let relay = Relay {
            port,
            heard: Arc::default(),
            present: watch::Sender::new(0),
        };
        let this = relay.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                this.present.send_modify(|n| *n += 1);
                let this = this.clone();
                tokio::spawn(async move {
                    let heard = pass(client, target).await;
                    this.heard.lock().unwrap().push(heard);
                    this.present.send_modify(|n| *n -= 1);
                });
            }
        });
        relay
    }

    /// What every client that came has said, once all are gone.
    async fn all(&self) -> Vec<Vec<u8>> {
        let mut present = self.present.subscribe();
        present.wait_for(|n| *n == 0).await.unwrap();
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

/// Passes octets both ways until the client is gone; what it said.
async fn pass(client: TcpStream, target: u16) -> Vec<u8> {
    let server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
    let ((mut from, mut to), (mut back, mut on)) = (client.into_split(), server.into_split());
    let answers = tokio::spawn(async move { copy(&mut back, &mut to).await });
    let mut heard = Vec::new();
    let mut some = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut some).await {
        heard.extend_from_slice(&some[..n]);
        if on.write_all(&some[..n]).await.is_err() {
            break;
        }
    }
    drop(on);
    answers.abort();
    heard
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut ws: WebSocket<S>) {
    while let Ok(message) = ws.recv().await {
        if ws.send(message).await.is_err() {
            return;
        }
    }
}

/// Echoes on every WebSocket of every connection, whichever HTTP it speaks.
async fn echo_server(tls: Option<TlsAcceptor>) -> u16 {
    async fn serve<S>(io: S, acceptor: Acceptor)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut incoming = acceptor.incoming(io);
        while let Some(accepted) = incoming.next().await {
            // Of one whose client has left there is only an error.
            let Ok(ws) = accepted else { continue };
            tokio::spawn(echo(ws));
        }
    }
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            match tls.clone() {
                None => drop(tokio::spawn(serve(tcp, Acceptor::new()))),
                Some(tls) => drop(tokio::spawn(async move {
                    if let Ok(io) = tls.accept(tcp).await {
                        serve(io, Acceptor::new().secure(true)).await;
                    }
                })),
            }
        }
    });
    port
}

/// A proxy that opens a tunnel to whatever port it is asked for.
async fn proxy() -> u16 {
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match client.read_u8().await {
                        Ok(octet) => head.push(octet),
                        Err(_) => return,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let port = head.split([' ', ':']).nth(2).unwrap().parse().unwrap();
                let answer = b"HTTP/1.1 200 Connection established\r\n\r\n";
                if client.write_all(answer).await.is_ok() {
                    pass(client, port).await;
                }
            });
        }
    });
    port
}

async fn talks<S: AsyncRead + AsyncWrite + Unpin>(mut ws: WebSocket<S>) {
    ws.send("hello").await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Message::from("hello"));
    assert!(ws.close(CloseCode::NORMAL, "").await.clean);
}

/// Drops `connect` at every poll until it is ready before that. Each time the same client connects again at once, and
/// all transports end. What was said on those that were dropped.
async fn dropped_everywhere<S>(
    relay: &Relay,
    connect: impl AsyncFn() -> WebSocket<S>,
) -> Vec<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut heard = Vec::new();
    for polls in 1..MOST {
        let opened = leave_after(connect(), polls).await;
        let over = opened.is_some();
        drop(opened);
        talks(connect().await).await;
        let mut all = relay.all().await;
        let last = all
            .iter()
            .position(|said| said.len() == longest(&all))
            .unwrap();
        all.swap_remove(last); // the one that talked
        heard.extend(all);
        if over {
            assert!(polls > 1, "it was ready at once");
            return heard;
        }
    }
    panic!("it was never ready");
}

fn longest(all: &[Vec<u8>]) -> usize {
    all.iter().map(Vec::len).max().unwrap_or_default()
}

/// Without the key, which is another one each time.
fn keyless(request: &[u8]) -> Vec<u8> {
    const FIELD: &[u8] = b"Sec-WebSocket-Key: ";
    let mut request = request.to_vec();
    let field = request.windows(FIELD.len()).position(|w| w == FIELD);
    if let Some(at) = field {
        let end = request.len().min(at + FIELD.len() + 24);
        request[at + FIELD.len()..end].fill(b'x');
    }
    request
}

#[tokio::test]
async fn a_connect_that_is_dropped_has_said_a_part_of_its_request_and_is_gone() {
    let relay = Relay::start(echo_server(None).await).await;
    let url = format!("ws://localhost:{}/", relay.port);
    let client = Client::new().proxy(Proxy::none()).one_at_a_time(true);
    talks(client.connect(&url).await.unwrap()).await;
    let whole = keyless(&relay.all().await[0]);
    let end = whole.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    for way in ["connect", "open_with"] {
        let connect = async || match way {
            "connect" => client.connect(&url).await.unwrap(),
            _ => client.open_with(&url, |io, _| io).await.unwrap().0,
        };
        let heard = dropped_everywhere(&relay, connect).await;
        assert!(heard.iter().any(|said| said.len() == end), "{way}");
        for said in heard {
            assert!(whole[..end].starts_with(&keyless(&said)), "{way}");
        }
    }
}

#[tokio::test]
async fn a_connect_through_a_proxy_that_is_dropped_is_gone_with_its_tunnel() {
    let relay = Relay::start(proxy().await).await;
    let url = format!("ws://127.0.0.1:{}/", echo_server(None).await);
    let way = Proxy::url(&format!("127.0.0.1:{}", relay.port)).unwrap();
    let client = Client::new().proxy(way);
    let connect = async || client.connect(&url).await.unwrap();
    for said in dropped_everywhere(&relay, connect).await {
        assert!(said.is_empty() || said.starts_with(b"CONNECT 127.0.0.1:"));
    }
}

#[tokio::test]
async fn a_connect_over_tls_that_is_dropped_is_gone_over_either_http() {
    let certificate = Certificate::new();
    let tls = TlsAcceptor::from(tls::with_http2(&certificate.server));
    let relay = Relay::start(echo_server(Some(tls)).await).await;
    let url = format!("wss://localhost:{}/", relay.port);
    for http in [Http::Http1, Http::Http2] {
        // Anew each time: nothing is remembered, so all the way is gone.
        let connect = async || {
            let client = Client::new().proxy(Proxy::none()).http(http);
            client
                .tls(certificate.client.clone())
                .connect(&url)
                .await
                .unwrap()
        };
        dropped_everywhere(&relay, connect).await;
    }
}

#[tokio::test]
async fn a_connect_that_is_dropped_holds_up_nobody_who_shares_its_connection() {
    let relay = Relay::start(echo_server(None).await).await;
    let url = format!("ws://127.0.0.1:{}/", relay.port);
    for polls in 1..MOST {
        let client = Client::new().proxy(Proxy::none());
        let client = client.http(Http::Http2).share_http2(true);
        let opened = leave_after(client.connect(&url), polls).await;
        let over = opened.is_some();
        drop(opened);
        talks(client.connect(&url).await.unwrap()).await;
        drop(client);
        relay.all().await; // each connection ends with its last WebSocket and the client
        if over {
            assert!(polls > 3);
            return;
        }
    }
    panic!("it was never ready");
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

#[tokio::test]
async fn the_first_of_a_connection_that_is_dropped_takes_the_transport_along() {
    let (mut answer, mut cut) = (Vec::new(), 0);
    for polls in (1..2_000).rev() {
        let (here, mut peer) = duplex(1 << 12);
        peer.write_all(REQUEST).await.unwrap();
        let slow = Faults {
            chunk: Some(1),
            hesitant: true,
            ..Faults::default()
        };
        let mut incoming = Acceptor::new().incoming(Faulty::new(here, slow));
        let first = leave_after(incoming.next(), polls).await;
        if let Some(first) = first {
            drop(first.unwrap().unwrap());
        } else {
            assert!(incoming.next().await.is_none(), "it is not to be resumed");
        }
        let mut written = Vec::new();
        peer.read_to_end(&mut written).await.unwrap();
        if answer.is_empty() {
            answer = written; // of the one that had all the polls it wants
            assert!(answer.starts_with(b"HTTP/1.1 101 "));
            continue;
        }
        assert!(answer.starts_with(&written), "dropped after {polls} polls");
        cut += usize::from(!written.is_empty() && written != answer);
    }
    assert!(cut > 20, "answers were cut");
}

/// Serves each connection with hyper until the test ends.
async fn hyper_server<F, Fut>(answer: F) -> u16
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answering = answer(request);
                async move { Ok::<_, Infallible>(answering.await) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            let serving = http.serve_connection(TokioIo::new(tcp), service);
            tokio::spawn(serving.with_upgrades());
        }
    });
    port
}

fn upgrade(mut request: Request<Incoming>) -> Upgrade {
    Acceptor::new().upgrade(&mut request).unwrap()
}

#[tokio::test]
async fn a_pending_upgrade_that_is_dropped_drops_the_connection_behind_its_answer() {
    let (opened, mut whole) = (Arc::new(Mutex::new(false)), Vec::new());
    for polls in 0..MOST {
        let seen = Arc::clone(&opened);
        let port = hyper_server(move |request| {
            let seen = Arc::clone(&seen);
            async move {
                let (response, pending) = upgrade(request).accept();
                tokio::spawn(async move {
                    if let Some(ws) = leave_after(pending, polls).await {
                        *seen.lock().unwrap() = true;
                        ws.unwrap().send("open").await.unwrap();
                    }
                });
                response
            }
        })
        .await;
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tcp.write_all(REQUEST).await.unwrap();
        let mut said = Vec::new();
        tcp.read_to_end(&mut said).await.unwrap(); // it ends
        let over = *opened.lock().unwrap();
        // The date may be another one.
        let end = said.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let (head, rest) = said.split_at(end);
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        assert_eq!(rest, if over { &b"\x81\x04open"[..] } else { b"" });
        whole.push(head.len());
        if over {
            assert!(polls > 0 && whole.iter().all(|length| *length == whole[0]));
            return;
        }
    }
    panic!("it was never ready");
}

/// Tells when somebody comes (`true`) and goes.
struct Telling(UnboundedSender<bool>);

impl Handler for Telling {
    type Mail = Infallible;

    fn open(
        &mut self,
        _: PeerId,
        _: &tidegate::Request,
        _: &mut Outboxes<'_, Infallible>,
    ) -> Opening {
        let _ = self.0.send(true);
        Opening::Accept(Accept::new(Arc::new(Config::default())))
    }

    fn message(&mut self, _: PeerId, _: tidegate::Incoming<'_>, _: &mut Outboxes<'_, Infallible>) {}

    fn mail(&mut self, mail: Infallible, _: &mut Outboxes<'_, Infallible>) {
        match mail {}
    }

    fn closed(&mut self, _: PeerId, _: &Closed, _: &mut Outboxes<'_, Infallible>) {
        let _ = self.0.send(false);
    }
}

#[tokio::test]
async fn a_hand_over_that_is_dropped_is_a_lost_connection_to_the_worker() {
    let (tell, mut told) = unbounded_channel();
    let engine = Server::builder()
        .listen("127.0.0.1:0".parse().unwrap())
        .workers(1)
        .start(move |_| Telling(tell.clone()))
        .unwrap();
    let bridge = engine.adopter().bridge();
    let remote = SocketAddr::from(([127, 0, 0, 1], 9));
    let client = Client::new().proxy(Proxy::none());
    for polls in 0..MOST {
        let bridge = bridge.clone();
        let port = hyper_server(move |request| {
            let (upgrade, bridge) = (upgrade(request), bridge.clone());
            async move {
                let answer = leave_after(upgrade.hand_to(&bridge, remote), polls).await;
                answer.unwrap_or_else(|| {
                    let mut dropped = Response::new(Full::default());
                    *dropped.status_mut() = StatusCode::IM_A_TEAPOT;
                    dropped
                })
            }
        })
        .await;
        match client.connect(&format!("ws://127.0.0.1:{port}/")).await {
            Err(error) => assert_eq!(error.refused().unwrap().status, 418, "{error}"),
            Ok(mut ws) => {
                assert!(polls > 0);
                assert!(ws.close(CloseCode::NORMAL, "").await.clean);
                break;
            }
        }
    }
    // All that came go, without a drain's help; the last one was whole.
    let (mut came, mut gone) = (0, 0);
    while came == 0 || came != gone {
        match told.recv().await.unwrap() {
            true => came += 1,
            false => gone += 1,
        }
    }
    engine.drain(Duration::ZERO);
    spawn_blocking(move || engine.join())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(told.recv().await, None, "and nobody else came");
}
