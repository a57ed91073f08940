//! Ordinary HTTP requests leave the worker, socket and octets, for whoever serves HTTP.

use crate::common::*;
use std::io::Write;
use tidegate::{PlainHttp, Running, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server that hands ordinary HTTP to a tiny one, on a runtime of its own, which answers each request
/// with its request line.
fn server(tls: Option<std::sync::Arc<rustls::ServerConfig>>) -> Running<std::convert::Infallible> {
    let (give, mut take) = tokio::sync::mpsc::unbounded_channel::<PlainHttp>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            while let Some(plain) = take.recv().await {
                tokio::spawn(serve(plain));
            }
        });
    });
    let mut builder = Server::builder().workers(1).plain_http(move |plain| {
        let _ = give.send(plain);
    });
    if let Some(config) = tls {
        builder = builder.tls(config);
    }
    start(builder)
}

async fn serve(mut plain: PlainHttp) {
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
        std::thread::sleep(std::time::Duration::from_millis(10));
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
    server.drain(std::time::Duration::ZERO);
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
