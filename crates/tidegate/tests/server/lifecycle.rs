//! Starting, draining, mail and panics of a whole server.

use crate::common::*;
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};
use tidegate::{
    Accept, Closed, Config, Encoded, Handler, Incoming, MailboxFull, Opening, Outboxes, PeerId,
    Request, Server, WorkerId,
};

/// Passes every message to all peers of all workers; "panic" kills its worker.
struct Room {
    peers: Vec<PeerId>,
    told: Sender<(WorkerId, String)>,
}

impl Room {
    fn new(told: Sender<(WorkerId, String)>) -> Room {
        Room {
            peers: Vec::new(),
            told,
        }
    }
}

impl Handler for Room {
    type Mail = String;

    fn open(&mut self, peer: PeerId, _: &Request, out: &mut Outboxes<'_, String>) -> Opening {
        self.peers.push(peer);
        let _ = self.told.send((out.worker(), "open".to_owned()));
        Opening::Accept(Accept::new(Arc::new(Config::default())))
    }

    fn message(&mut self, _: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, String>) {
        let text = String::from_utf8(message.into_vec()).expect("the test sends text");
        assert_ne!(text, "panic", "as you wish");
        for worker in 0..out.workers() {
            out.post(WorkerId(worker as u16), text.clone())
                .expect("the mailbox has room");
        }
    }

    fn mail(&mut self, mail: String, out: &mut Outboxes<'_, String>) {
        let _ = self.told.send((out.worker(), mail.clone()));
        let frame = Encoded::text(&mail);
        for peer in &self.peers {
            out.send(*peer, &frame);
        }
    }

    fn closed(&mut self, peer: PeerId, _: &Closed, out: &mut Outboxes<'_, String>) {
        self.peers.retain(|other| *other != peer);
        let _ = self.told.send((out.worker(), "closed".to_owned()));
    }
}

#[test]
fn mail_reaches_the_peers_of_every_worker_in_order() {
    let (told, heard) = channel();
    let server = Server::builder()
        .listen(loopback())
        .workers(2)
        .start(move |_| Room::new(told.clone()))
        .expect("a free port");
    let mut clients: Vec<_> = (0..20).map(|_| Client::open(server.local_addr())).collect();
    let mut homes: Vec<_> = heard.try_iter().map(|(worker, _)| worker.0).collect();
    homes.sort_unstable();
    homes.dedup();
    assert_eq!(
        homes,
        [0, 1],
        "by chance once in 2^19 all are on one worker"
    );
    for n in 0..100 {
        clients[0].send(TEXT, format!("message {n}").as_bytes());
    }
    for client in &mut clients {
        for n in 0..100 {
            assert_eq!(
                client.receive(),
                (TEXT, format!("message {n}").into_bytes())
            );
        }
    }
    stop(server);
}

#[test]
fn the_mailer_wakes_sleeping_workers() {
    let (told, heard) = channel();
    let server = Server::builder()
        .listen(loopback())
        .workers(2)
        .start(move |_| Room::new(told.clone()))
        .expect("a free port");
    let mailer = server.mailer();
    assert_eq!(mailer.workers(), 2);
    for n in 0..50_u16 {
        if n % 10 == 0 {
            std::thread::sleep(Duration::from_millis(5)); // let them fall asleep
        }
        mailer
            .post(WorkerId(n % 2), n.to_string())
            .expect("there is room");
        let (worker, mail) = heard.recv_timeout(PATIENCE).expect("it arrives");
        assert_eq!((worker, mail), (WorkerId(n % 2), n.to_string()));
    }
    assert_eq!(mailer.post(WorkerId(2), String::new()), Err(MailboxFull));
    stop(server);
}

#[test]
fn a_port_that_is_taken_is_an_error_at_start() {
    let server = echo(2);
    let error = Server::builder()
        .listen(server.local_addr())
        .start(|_| tidegate::Echo::default())
        .expect_err("the port is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    stop(server);
}

#[test]
fn draining_says_1001_to_everyone_and_then_the_server_ends() {
    let server = echo(2);
    let addr = server.local_addr();
    let mut clients: Vec<_> = (0..10).map(|_| Client::open(addr)).collect();
    let mut undecided = Client(connect(addr));
    undecided
        .0
        .write_all(b"GET / HTTP/1.1\r\n")
        .expect("it is taken");
    clients[0].echoes(TEXT, b"at work");
    server.drain(Duration::from_secs(4));
    for client in &mut clients {
        assert_eq!(client.close_code(), 1001);
        client.send(CLOSE, &1001_u16.to_be_bytes());
        assert_eq!(client.rest(), b"");
    }
    undecided
        .0
        .write_all(
            request(addr, "/")
                .split_once("\r\n")
                .expect("lines")
                .1
                .as_bytes(),
        )
        .expect("taken");
    assert!(undecided.head().starts_with("HTTP/1.1 503 "));
    drop(undecided);
    let begin = Instant::now();
    server.join().expect("no worker died");
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    assert!(
        std::net::TcpStream::connect(addr).is_err(),
        "nobody listens any more"
    );
}

#[test]
fn who_does_not_answer_is_dropped_at_the_deadline_and_the_handler_hears_of_it() {
    let (told, heard) = channel();
    let server = Server::builder()
        .listen(loopback())
        .workers(1)
        .start(move |_| Room::new(told.clone()))
        .expect("a free port");
    let mut deaf = Client::open(server.local_addr());
    let begin = Instant::now();
    server.drain(Duration::from_millis(300));
    server.join().expect("no worker died");
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(
        heard
            .try_iter()
            .filter(|(_, what)| what == "closed")
            .count(),
        1
    );
    assert_eq!(deaf.close_code(), 1001);
}

#[test]
fn a_connection_in_the_backlog_is_served_before_the_door_closes() {
    let server = echo(1);
    let addr = server.local_addr();
    let mut waiting: Vec<_> = (0..20).map(|_| Client(connect(addr))).collect();
    for client in &mut waiting {
        client
            .0
            .write_all(request(addr, "/").as_bytes())
            .expect("it is taken");
    }
    server.drain(Duration::from_secs(1));
    for client in &mut waiting {
        let head = client.head();
        assert!(
            head.starts_with("HTTP/1.1 101 ") || head.starts_with("HTTP/1.1 503 "),
            "{head}"
        );
    }
    drop(waiting);
    server.join().expect("no worker died");
}

#[test]
fn a_panic_takes_one_worker_along_and_join_says_which() {
    let (told, heard) = channel();
    let server = Server::builder()
        .listen(loopback())
        .workers(2)
        .start(move |_| Room::new(told.clone()))
        .expect("a free port");
    let mut clients = Vec::new();
    for _ in 0..20 {
        let client = Client::open(server.local_addr());
        let (worker, _) = heard.recv_timeout(PATIENCE).expect("it was opened");
        clients.push((worker, client));
    }
    let (victim, mut culprit) = clients.pop().expect("twenty are there");
    culprit.send(TEXT, b"panic");
    assert_eq!(culprit.rest(), b"");
    for (worker, client) in &mut clients {
        if *worker == victim {
            assert_eq!(client.rest(), b"");
        } else {
            client.echoes(TEXT, b"we go on");
            break;
        }
    }
    let mut newcomers = (0..10).map(|_| Client::open(server.local_addr()));
    assert!(newcomers.all(|mut client| client.try_receive_nothing()));
    server.drain(Duration::ZERO);
    let error = server.join().expect_err("one died");
    assert_eq!(error.died.len(), 1);
    assert_eq!(error.died[0].0, victim);
    assert!(error.to_string().contains("as you wish"), "{error}");
}

trait Nothing {
    fn try_receive_nothing(&mut self) -> bool;
}

impl Nothing for Client<std::net::TcpStream> {
    /// It is open and quiet.
    fn try_receive_nothing(&mut self) -> bool {
        self.0.set_nonblocking(true).expect("an option");
        self.try_receive()
            .is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}
