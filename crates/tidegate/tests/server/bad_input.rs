//! Clients that do wrong, and what it costs the others: nothing.

use crate::common::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tidegate::{EndpointConfig, HeadLimits, Server};

#[test]
fn garbage_instead_of_a_head_is_answered_400_and_closed() {
    let server = echo(1);
    let mut client = Client(connect(server.local_addr()));
    client
        .0
        .write_all(b"\x00\x01garbage\r\n\r\n")
        .expect("it is taken");
    let answer = String::from_utf8(client.rest()).expect("it is ASCII");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    stop(server);
}

fn impatient() -> tidegate::Running<std::convert::Infallible> {
    let head = HeadLimits {
        timeout: Duration::from_millis(300),
        ..HeadLimits::default()
    };
    start(Server::builder().workers(1).endpoint(EndpointConfig {
        head,
        ..EndpointConfig::default()
    }))
}

#[test]
fn a_head_that_takes_too_long_is_answered_408_and_closed() {
    let server = impatient();
    let addr = server.local_addr();
    let mut slow = Client(connect(addr));
    slow.0
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n")
        .expect("it is taken");
    let mut silent = Client(connect(addr));
    let begin = Instant::now();
    let mut good = Client::open(addr);
    good.echoes(TEXT, b"not held up");
    let answer = String::from_utf8(slow.rest()).expect("it is ASCII");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(silent.rest(), b"", "who says nothing is told nothing");
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    good.echoes(TEXT, b"its own head came in time");
    stop(server);
}

#[test]
fn trickling_a_head_does_not_move_its_deadline() {
    let server = impatient();
    let mut slow = Client(connect(server.local_addr()));
    let mut head = request(server.local_addr(), "/").into_bytes();
    head.truncate(head.len() - 4);
    let begin = Instant::now();
    for octet in head {
        if slow.0.write_all(&[octet]).is_err() || begin.elapsed() > Duration::from_secs(1) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let answer = String::from_utf8_lossy(&slow.rest()).into_owned();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
        "{answer}"
    );
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    stop(server);
}

#[test]
fn an_unmasked_frame_is_answered_1002_and_tcp_ends_within_the_linger() {
    let server = echo(1);
    let mut client = Client::open(server.local_addr());
    client.0.write_all(b"\x81\x05Hello").expect("it is taken");
    let begin = Instant::now();
    assert_eq!(client.close_code(), 1002);
    assert_eq!(client.rest(), b"");
    assert!(
        begin.elapsed() < Duration::from_millis(1_900),
        "{:?}",
        begin.elapsed()
    );
    stop(server);
}

#[test]
fn two_thousand_resets_at_every_state_leave_the_server_well() {
    if !alone("bad_input::two_thousand_resets_at_every_state_leave_the_server_well") {
        return;
    }
    let server = echo(2);
    let addr = server.local_addr();
    let mut witness = Client::open(addr);
    let upgrade = request(addr, "/");
    for n in 0..2_000_usize {
        let mut client = Client(connect(addr));
        // Nothing; half a head; a head; a head and half a message; a Close; a message whose echo is unread.
        let octets = match n % 6 {
            0 => Vec::new(),
            1 => upgrade.as_bytes()[..40].to_vec(),
            2 => upgrade.clone().into_bytes(),
            3 => [upgrade.as_bytes(), &frame(BINARY, &octets(5_000))[..2_500]].concat(),
            4 => [upgrade.as_bytes(), &frame(CLOSE, &1000_u16.to_be_bytes())].concat(),
            _ => [upgrade.as_bytes(), &frame(BINARY, &octets(5_000))].concat(),
        };
        client.0.write_all(&octets).expect("it is taken");
        if n % 2 == 0 {
            let _ = client.0.set_read_timeout(Some(Duration::from_millis(1)));
            let _ = client.0.read(&mut [0; 16]);
        }
        client.reset();
        if n % 500 == 0 {
            witness.echoes(TEXT, b"still here");
        }
    }
    witness.echoes(TEXT, b"still here");
    let idle = cpu_time_over(Duration::from_millis(300));
    assert!(
        idle < Duration::from_millis(60),
        "the workers spin: {idle:?} of CPU in 300 ms"
    );
    stop(server);
}

#[test]
fn a_client_that_never_reads_is_not_read_either_and_the_others_do_not_notice() {
    if !alone(
        "bad_input::a_client_that_never_reads_is_not_read_either_and_the_others_do_not_notice",
    ) {
        return;
    }
    let server = echo(1);
    let addr = server.local_addr();
    let mut deaf = Client::open(addr);
    deaf.0
        .set_write_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout");
    let wire = frame(BINARY, &octets(60_000));
    let before = resident();
    let mut sent = 0_usize;
    // At last the kernel's buffers on both ways and our outbox are full, and nothing more is taken.
    let stuck = loop {
        match deaf.0.write(&wire[sent % wire.len()..]) {
            Ok(n) => sent += n,
            Err(_) => break true,
        }
        if sent > 64 << 20 {
            break false;
        }
    };
    assert!(
        stuck,
        "the server took {sent} octets and could send none back"
    );
    let grown = resident().saturating_sub(before);
    assert!(
        grown < 2 << 20,
        "{grown} octets for a peer whose outbox is high at 256 KiB"
    );
    let mut good = Client::open(addr);
    let begin = Instant::now();
    for _ in 0..100 {
        good.echoes(TEXT, b"am I held up?");
    }
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    // It begins to read: everything comes, nothing was lost. The rest of its last frame first.
    let expected = sent / wire.len();
    for _ in 0..expected {
        let (_, got) = deaf.receive();
        assert!(got.len() == 60_000);
    }
    deaf.0
        .write_all(&wire[sent % wire.len()..])
        .expect("it is taken again");
    assert_eq!(deaf.receive().1.len(), 60_000);
    stop(server);
}

/// Octets of this process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux says so");
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|field| field.parse::<usize>().ok());
    pages.expect("a number") * rustix::param::page_size()
}

#[test]
fn without_files_to_spare_the_server_waits_without_spinning_and_then_goes_on() {
    if !alone(
        "bad_input::without_files_to_spare_the_server_waits_without_spinning_and_then_goes_on",
    ) {
        return;
    }
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use socket2::{Domain, Socket, Type};
    let server = echo(1);
    let addr = server.local_addr();
    let mut first = Client::open(addr);
    let sockets: Vec<_> = (0..20)
        .map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket"))
        .collect();
    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(3),
        ..limit
    };
    setrlimit(Resource::Nofile, none).expect("it may be lowered");
    for socket in &sockets {
        socket.connect(&addr.into()).expect("the backlog has room");
    }
    first.echoes(TEXT, b"who is in is served");
    let used = cpu_time_over(Duration::from_millis(300));
    assert!(
        used < Duration::from_millis(60),
        "accepting spins: {used:?} of CPU in 300 ms"
    );
    setrlimit(Resource::Nofile, limit).expect("it may be raised again");
    for socket in sockets {
        let client = Client(TcpStream::from(socket));
        client
            .0
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout");
        client.upgrade(addr).echoes(TEXT, b"at last");
    }
    stop(server);
}
