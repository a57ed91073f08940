//! Ordinary HTTP requests leave the worker, socket and octets, for whoever serves HTTP, and come back to a
//! worker when they ask for a WebSocket.

use crate::common::*;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;
use tidegate::tidegate_proto::{Accept, Config, Opening, Outboxes, PeerId, Request};
use tidegate::{Adopter, Closed, Handler, Incoming, PlainHttp, Running, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server that hands ordinary HTTP to a tiny one, on a runtime of its own, which answers each request
/// with its request line and gives back who asks for a WebSocket.
fn server(tls: Option<Arc<rustls::ServerConfig>>) -> Running<std::convert::Infallible> {
    let adopter = Arc::new(OnceLock::new());
    let held = Arc::clone(&adopter);
    let (give, mut take) = tokio::sync::mpsc::unbounded_channel::<PlainHttp>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            while let Some(plain) = take.recv().await {
                tokio::spawn(serve(plain, Arc::clone(&held)));
            }
        });
    });
    let mut builder = Server::builder().workers(1).plain_http(move |plain| {
        let _ = give.send(plain);
    });
    if let Some(config) = tls {
        builder = builder.tls(config);
    }
    let server = start(builder);
    let _ = adopter.set(server.adopter());
    server
}

async fn serve(mut plain: PlainHttp, adopter: Arc<OnceLock<Adopter>>) {
    assert!(
        plain.head.starts_with(b"GET "),
        "the head is there to look at"
    );
    assert!(plain.remote.ip().is_loopback());
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if plain
                .io
                .read_buf(&mut read)
                .await
                .expect("the client is there")
                == 0
            {
                assert!(read.is_empty(), "half a head");
                plain.io.shutdown().await.expect("it can still be told");
                return;
            }
        };
        if read[..end].windows(18).any(|w| w == b"Upgrade: websocket") {
            let adopter = adopter.get().expect("the server has started");
            return adopter.adopt(plain.io, read).expect("there is room");
        }
        let line = read
            .split(|octet| *octet == b'\r')
            .next()
            .unwrap_or_default()
            .to_vec();
        read.drain(..end);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", line.len());
        plain
            .io
            .write_all(head.as_bytes())
            .await
            .expect("the client is there");
        plain
            .io
            .write_all(&line)
            .await
            .expect("the client is there");
        plain.io.flush().await.expect("the client is there");
    }
}

fn get<S: std::io::Read + std::io::Write>(client: &mut Client<S>, path: &str) {
    client
        .0
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .expect("it is taken");
    answer(client, path);
}

fn answer<S: std::io::Read + std::io::Write>(client: &mut Client<S>, path: &str) {
    let expected = format!("GET {path} HTTP/1.1");
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    let mut body = vec![0; expected.len()];
    client.0.read_exact(&mut body).expect("a body");
    assert_eq!(body, expected.as_bytes());
}

#[test]
fn an_ordinary_request_is_served_elsewhere_and_the_connection_stays_open() {
    let server = server(None);
    let mut client = Client(connect(server.local_addr()));
    for path in ["/", "/a", "/b?c=d"] {
        get(&mut client, path);
    }
    Client::open(server.local_addr()).echoes(TEXT, b"the slot is free again");
    get(&mut client, "/after");
    client.half_close();
    assert_eq!(client.rest(), b"");
    stop(server);
}

#[test]
fn requests_pipelined_and_cut_anywhere_arrive_whole() {
    let server = server(None);
    let octets = b"GET /one HTTP/1.1\r\nHost: x\r\n\r\nGET /two HTTP/1.1\r\nHost: x\r\n\r\n";
    for cut in [1, 10, 20, 30, 40, octets.len()] {
        let mut client = Client(connect(server.local_addr()));
        client.0.write_all(&octets[..cut]).expect("it is taken");
        std::thread::sleep(Duration::from_millis(10));
        client.0.write_all(&octets[cut..]).expect("it is taken");
        answer(&mut client, "/one");
        answer(&mut client, "/two");
    }
    stop(server);
}

#[test]
fn without_anyone_to_take_it_an_ordinary_request_is_closed() {
    let server = echo(1);
    let mut client = Client(connect(server.local_addr()));
    client
        .0
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it is taken");
    assert_eq!(client.rest(), b"");
    stop(server);
}

#[test]
fn a_connection_outlives_the_workers_that_gave_it_away() {
    let server = server(None);
    let mut client = Client(connect(server.local_addr()));
    get(&mut client, "/");
    // The channel to the HTTP server closes with the server; connections it has taken are its own.
    server.drain(Duration::ZERO);
    server.join().expect("no worker died");
}

#[test]
fn ordinary_requests_over_tls_are_handed_over_with_their_session() {
    let (config, trust) = tls::configs();
    let server = server(Some(config));
    let mut client = tls::connect(server.local_addr(), trust.clone());
    for path in ["/", "/a", "/b"] {
        get(&mut client, path);
    }
    client.0.conn.send_close_notify();
    client.0.flush().expect("it is taken");
    let mut rest = Vec::new();
    // Clean: the other side says close_notify too, else rustls would call this a cut.
    std::io::Read::read_to_end(&mut client.0, &mut rest).expect("a clean end");
    assert_eq!(rest, b"");
    stop(server);
}

#[test]
fn a_connection_that_asks_for_a_websocket_later_gets_it() {
    let server = server(None);
    for gets in [1, 3] {
        let mut client = Client(connect(server.local_addr()));
        for _ in 0..gets {
            get(&mut client, "/");
        }
        let mut client = client.upgrade(server.local_addr());
        client.echoes(TEXT, b"back again");
        client.echoes(BINARY, &octets(1_000_000));
        client.send(CLOSE, &1000_u16.to_be_bytes());
        assert_eq!(client.close_code(), 1000);
        assert_eq!(client.rest(), b"");
    }
    stop(server);
}

#[test]
fn octets_behind_the_upgrade_arrive_in_order_wherever_they_were_read() {
    let server = server(None);
    let addr = server.local_addr();
    // Less than one read of the HTTP server, and more than it and all buffers hold.
    for payload in [octets(20), octets(3_000_000)] {
        let mut stream = connect(addr);
        let mut sender = stream.try_clone().expect("a second handle");
        let mut all = request(addr, "/").into_bytes();
        all.extend(frame(BINARY, &payload));
        all.extend(frame(TEXT, b"last"));
        let mut client = Client(&mut stream);
        get(&mut client, "/");
        let sending = std::thread::spawn(move || sender.write_all(&all));
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        assert!(client.receive() == (BINARY, payload));
        assert_eq!(client.receive(), (TEXT, b"last".to_vec()));
        sending.join().expect("no panic").expect("all was taken");
    }
    stop(server);
}

#[test]
fn a_tls_session_comes_back_with_its_connection() {
    let (config, trust) = tls::configs();
    let server = server(Some(config));
    let addr = server.local_addr();
    let mut client = tls::connect(addr, trust.clone());
    get(&mut client, "/");
    get(&mut client, "/a");
    let mut client = client.upgrade(addr);
    client.echoes(BINARY, &octets(1_000_000));
    client.echoes(TEXT, b"still here");

    // Frames in the record of the head, in records of the same segment, and in later ones.
    let mut client = tls::connect(addr, trust);
    get(&mut client, "/");
    let mut all = request(addr, "/").into_bytes();
    all.extend(frame(TEXT, b"one"));
    for payload in [&octets(40_000)[..], b"three"] {
        all.extend(frame(BINARY, payload));
    }
    client.0.write_all(&all).expect("it is taken");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.receive(), (TEXT, b"one".to_vec()));
    assert!(client.receive() == (BINARY, octets(40_000)));
    assert_eq!(client.receive(), (BINARY, b"three".to_vec()));
    stop(server);
}

#[test]
fn a_connection_that_comes_back_while_the_server_drains_gets_503() {
    let server = server(None);
    let mut stays = Client::open(server.local_addr());
    let mut client = Client(connect(server.local_addr()));
    get(&mut client, "/");
    server.drain(PATIENCE);
    // Its Close says that draining has begun; it does not answer, so the worker goes on.
    assert_eq!(stays.receive().0, CLOSE);
    let upgrade = request(server.local_addr(), "/");
    client.0.write_all(upgrade.as_bytes()).expect("it is taken");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    drop((client, stays));
    server.join().expect("no worker died");
}

/// Says that somebody is there, and takes him in when it is told to.
struct Busy {
    asks: mpsc::Sender<()>,
    go: mpsc::Receiver<()>,
}

impl Handler for Busy {
    type Mail = std::convert::Infallible;

    fn open(&mut self, _: PeerId, _: &Request, _: &mut Outboxes<'_, Self::Mail>) -> Opening {
        let _ = self.asks.send(());
        let _ = self.go.recv();
        Opening::Accept(Accept::new(Arc::new(Config::default())))
    }

    fn message(&mut self, _: PeerId, _: Incoming<'_>, _: &mut Outboxes<'_, Self::Mail>) {}

    fn mail(&mut self, mail: Self::Mail, _: &mut Outboxes<'_, Self::Mail>) {
        match mail {}
    }

    fn closed(&mut self, _: PeerId, _: &Closed, _: &mut Outboxes<'_, Self::Mail>) {}
}

#[test]
fn when_too_many_wait_a_connection_is_given_back_and_so_it_is_after_the_end() {
    const WAIT: usize = 64;
    let (give, take) = mpsc::channel::<PlainHttp>();
    let (asks, asked) = mpsc::channel();
    let (go, told) = mpsc::channel();
    let busy = Mutex::new(Some(Busy { asks, go: told }));
    let server = Server::builder()
        .workers(1)
        .listen(loopback())
        .plain_http(move |plain| {
            let _ = give.send(plain);
        })
        .start(move |_| busy.lock().expect("whole").take().expect("one worker"))
        .expect("a free port");
    let addr = server.local_addr();
    let mut clients = Vec::new();
    let mut left = Vec::new();
    for _ in 0..WAIT + 3 {
        let mut client = Client(connect(addr));
        client
            .0
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("it is taken");
        clients.push(client);
        left.push(take.recv_timeout(PATIENCE).expect("it is handed over"));
    }
    let adopter = server.adopter();
    let mut adopt = || {
        let io = left.pop().expect("enough").io;
        adopter.adopt(io, request(addr, "/").into_bytes())
    };
    // The worker is held up by a client of its own, so nobody is taken in.
    let mut first = Client(connect(addr));
    first
        .0
        .write_all(request(addr, "/").as_bytes())
        .expect("it is taken");
    asked.recv_timeout(PATIENCE).expect("it is held up");
    for n in 0..WAIT {
        assert!(adopt().is_ok(), "number {n}");
    }
    assert!(adopt().is_err(), "one too many");
    for _ in 0..=WAIT {
        go.send(()).expect("the handler is there");
    }
    let served = &mut clients[WAIT + 2];
    assert!(served.head().starts_with("HTTP/1.1 101 "));
    assert!(adopt().is_ok(), "there is room again");
    drop(go);
    stop(server);
    assert!(adopt().is_err(), "nobody is there to take it");
}
