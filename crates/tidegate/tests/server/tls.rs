//! wss on real sockets, with rustls as the client.

use crate::common::*;
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use tidegate::{EndpointConfig, HeadLimits, Server};

#[test]
fn messages_of_all_lengths_come_back_over_tls() {
    let (config, trust) = tls::configs();
    let server = start(Server::builder().workers(1).tls(config));
    let mut client = tls::connect(server.local_addr(), trust).upgrade(server.local_addr());
    assert_eq!(client.0.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    for len in [0, 1, 125, 16_384, 65_536, 1 << 20] {
        client.echoes(BINARY, &octets(len));
        client.echoes(TEXT, "é".repeat(len / 2).as_bytes());
    }
    stop(server);
}

#[test]
fn a_thousand_messages_in_one_write_come_back_in_order_over_tls() {
    let (config, trust) = tls::configs();
    let server = start(Server::builder().workers(1).tls(config));
    let mut client = tls::connect(server.local_addr(), trust).upgrade(server.local_addr());
    let burst: Vec<u8> = (0..1000)
        .flat_map(|n: u32| frame(BINARY, &n.to_be_bytes()))
        .collect();
    client.0.write_all(&burst).expect("it is taken");
    for n in 0..1000_u32 {
        assert_eq!(client.receive(), (BINARY, n.to_be_bytes().to_vec()));
    }
    stop(server);
}

#[test]
fn more_clients_than_a_turn_takes_handshakes_of_are_all_served() {
    let (config, trust) = tls::configs();
    let server = start(Server::builder().workers(1).tls(config));
    let addr = server.local_addr();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let trust = trust.clone();
            std::thread::spawn(move || {
                let clients: Vec<_> = (0..10).map(|_| tls::connect(addr, trust.clone())).collect();
                for client in clients {
                    client.upgrade(addr).echoes(TEXT, b"in time");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("its clients were served");
    }
    stop(server);
}

#[test]
fn the_end_is_said_in_tls_too() {
    let (config, trust) = tls::configs();
    let server = start(Server::builder().workers(1).tls(config));
    let mut client = tls::connect(server.local_addr(), trust).upgrade(server.local_addr());
    client.send(CLOSE, &1000_u16.to_be_bytes());
    assert_eq!(client.close_code(), 1000);
    let mut rest = Vec::new();
    client
        .0
        .read_to_end(&mut rest)
        .expect("close_notify came, else rustls calls it a cut");
    assert_eq!(rest, b"");
    stop(server);
}

#[test]
fn a_client_that_says_close_notify_still_gets_its_replies() {
    let (config, trust) = tls::configs();
    let server = start(Server::builder().workers(1).tls(config));
    let mut client = tls::connect(server.local_addr(), trust).upgrade(server.local_addr());
    client
        .0
        .write_all(&frame(TEXT, b"last words"))
        .expect("it is taken");
    client.0.conn.send_close_notify();
    client.0.flush().expect("it is taken");
    assert_eq!(client.receive(), (TEXT, b"last words".to_vec()));
    stop(server);
}

#[test]
fn plain_http_on_the_tls_port_is_told_so() {
    let (config, _) = tls::configs();
    let server = start(Server::builder().workers(1).tls(config));
    let mut client = Client(connect(server.local_addr()));
    client
        .0
        .write_all(request(server.local_addr(), "/").as_bytes())
        .expect("it is taken");
    let answer = String::from_utf8(client.rest()).expect("it is text");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.ends_with("This port speaks TLS: use wss:// or https://.\n"),
        "{answer}"
    );
    stop(server);
}

#[test]
fn garbage_and_resets_in_the_handshake_harm_nobody_else() {
    let (config, trust) = tls::configs();
    let server = start(Server::builder().workers(1).tls(config));
    let addr = server.local_addr();
    let mut witness = tls::connect(addr, trust).upgrade(addr);
    for n in 0..200_usize {
        let mut client = Client(connect(addr));
        let octets: &[u8] = match n % 3 {
            0 => b"\x16\x03\x01\x00\x05\x01\x00\x00",
            1 => b"\x16\x03\x01\xFF\xFF",
            _ => b"\x80\x00\x00\x00",
        };
        client.0.write_all(octets).expect("it is taken");
        if n % 2 == 0 {
            client.reset();
        }
    }
    witness.echoes(TEXT, b"still here");
    stop(server);
}

#[test]
fn the_head_s_deadline_includes_the_tls_handshake() {
    let (config, _) = tls::configs();
    let head = HeadLimits {
        timeout: Duration::from_millis(300),
        ..HeadLimits::default()
    };
    let endpoint = EndpointConfig {
        head,
        ..EndpointConfig::default()
    };
    let server = start(Server::builder().workers(1).tls(config).endpoint(endpoint));
    let mut client = Client(connect(server.local_addr()));
    client.0.write_all(b"\x16\x03\x01").expect("it is taken");
    let begin = Instant::now();
    client.rest();
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    stop(server);
}

#[test]
fn a_tls_client_that_never_reads_is_not_read_either() {
    let (config, trust) = tls::configs();
    let server = start(Server::builder().workers(1).tls(config));
    let addr = server.local_addr();
    let mut deaf = tls::connect(addr, trust.clone()).upgrade(addr);
    deaf.0
        .sock
        .set_write_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout");
    let wire = frame(BINARY, &octets(60_000));
    let taken = (0..1_000)
        .take_while(|_| deaf.0.write_all(&wire).is_ok())
        .count();
    assert!(
        taken < 1_000,
        "the server took 60 MB and could send none back"
    );
    let mut deaf = Client(tls::ReadsFirst(deaf.0));
    let mut good = tls::connect(addr, trust).upgrade(addr);
    for _ in 0..50 {
        good.echoes(TEXT, b"am I held up?");
    }
    // Of the last frames a part may still wait in the client's own session.
    let sure = taken - 4;
    for n in 0..taken {
        if n == sure {
            deaf.0.0.flush().expect("it is taken again");
        }
        let (_, got) = deaf.receive();
        assert!(got.len() == 60_000);
    }
    stop(server);
}
