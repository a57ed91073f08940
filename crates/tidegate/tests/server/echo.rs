//! Messages through a real server on real sockets, one client at a time.

use crate::common::*;
use std::io::{Read, Write};

#[test]
fn messages_of_all_lengths_come_back_with_their_kind() {
    let server = echo(1);
    let mut client = Client::open(server.local_addr());
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
        client.echoes(BINARY, &octets(len));
        client.echoes(TEXT, "é".repeat(len / 2).as_bytes());
    }
    stop(server);
}

#[test]
fn a_thousand_messages_in_one_write_come_back_in_order() {
    let server = echo(1);
    let mut client = Client::open(server.local_addr());
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
fn frames_right_behind_the_handshake_are_not_lost() {
    let server = echo(1);
    let addr = server.local_addr();
    let mut client = Client(connect(addr));
    let mut octets = request(addr, "/").into_bytes();
    octets.extend(frame(TEXT, b"early"));
    client.0.write_all(&octets).expect("it is taken");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.receive(), (TEXT, b"early".to_vec()));
    stop(server);
}

#[test]
fn a_client_that_half_closes_still_gets_its_replies() {
    let server = echo(1);
    let mut client = Client::open(server.local_addr());
    client.send(TEXT, b"last words");
    client.half_close();
    assert_eq!(client.receive(), (TEXT, b"last words".to_vec()));
    assert_eq!(client.rest(), b"");
    stop(server);
}

#[test]
fn a_close_is_answered_and_then_tcp_ends() {
    let server = echo(1);
    let mut client = Client::open(server.local_addr());
    client.send(CLOSE, &1000_u16.to_be_bytes());
    assert_eq!(client.close_code(), 1000);
    assert_eq!(client.rest(), b"");
    stop(server);
}

#[test]
fn the_absolute_form_request_with_odd_key_bits_is_accepted() {
    let server = echo(1);
    let port = server.local_addr().port();
    let request = format!(
        "GET ws://websocketexample.com:{port}/ HTTP/1.1\r\nHost: localhost:{port}\r\n\
         Connection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: b6gjhT32u488lpuRwKaOWs==\r\n\r\n"
    );
    let mut client = Client(connect(server.local_addr()));
    client.0.write_all(request.as_bytes()).expect("it is taken");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let accept = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-accept")
            .then(|| value.trim())
    });
    assert_eq!(accept, Some("5ve17g5QZPLmIlvOfHgI1HwZ4iI="));
    client.echoes(TEXT, b"hello");
    stop(server);
}

#[test]
fn five_hundred_connections_on_four_workers_each_get_their_own_messages() {
    let server = echo(4);
    let mut clients: Vec<_> = (0..500)
        .map(|_| Client::open(server.local_addr()))
        .collect();
    for round in 0..3_usize {
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(BINARY, &(n * 3 + round).to_be_bytes());
        }
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(
                client.receive(),
                (BINARY, (n * 3 + round).to_be_bytes().to_vec())
            );
        }
    }
    stop(server);
}

#[test]
fn a_message_sent_octet_by_octet_comes_back_whole() {
    let server = echo(1);
    let mut client = Client::open(server.local_addr());
    for octet in frame(TEXT, b"drop by drop") {
        client.0.write_all(&[octet]).expect("it is taken");
    }
    assert_eq!(client.receive(), (TEXT, b"drop by drop".to_vec()));
    stop(server);
}

#[test]
fn much_more_than_a_turn_s_measure_flows_both_ways() {
    let server = echo(1);
    let client = Client::open(server.local_addr());
    let mut sender = client.0.try_clone().expect("a second handle");
    let message = octets(40_000);
    let wire = frame(BINARY, &message);
    let sending = std::thread::spawn(move || {
        for _ in 0..500 {
            sender.write_all(&wire).expect("it is taken"); // 20 MB while the reader reads
        }
    });
    let mut client = client;
    for _ in 0..500 {
        let (_, got) = client.receive();
        assert!(got == message);
    }
    sending.join().expect("the sender is done");
    let mut none = [0];
    client.0.set_nonblocking(true).expect("an option");
    assert!(client.0.read(&mut none).is_err(), "nothing is left over");
    stop(server);
}

#[test]
fn an_echo_compresses_as_the_query_says() {
    let server = echo(1);
    let addr = server.local_addr();
    let alone = "server_no_context_takeover; client_no_context_takeover";
    let rows = [
        ("/", Some("permessage-deflate".to_owned())),
        ("/?deflate=dedicated", Some("permessage-deflate".to_owned())),
        (
            "/?deflate=shared",
            Some(format!("permessage-deflate; {alone}")),
        ),
        ("/?deflate=off", None),
    ];
    for (path, answer) in rows {
        let head = head_for(addr, path);
        let field = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
        assert_eq!(field, answer.as_deref(), "{path}: {head}");
    }
    assert!(head_for(addr, "/?deflate=on").starts_with("HTTP/1.1 400 "));
    stop(server);
}

/// The answer to a client that offers compression.
fn head_for(addr: std::net::SocketAddr, path: &str) -> String {
    let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    let request = request(addr, path).replace("\r\n\r\n", offer);
    let mut client = Client(connect(addr));
    client.0.write_all(request.as_bytes()).expect("it is taken");
    client.head()
}
