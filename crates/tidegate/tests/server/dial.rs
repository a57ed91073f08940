//! Workers that call upstreams: over TCP and TLS, those that answer and those that do not, many at once.

use crate::common::{
    BINARY, Client, PATIENCE, TEXT, connect, loopback, octets, request, stop, tls,
};
use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tidegate::tidegate_proto::handshake::client::Accepted;
use tidegate::tidegate_proto::{Dial, DialError};
use tidegate::{
    Accept, CloseCode, Closed, Config, Echo, Handler, Incoming, Level, Opening, Outboxes, PeerId,
    Rejection, Request, Running, Server,
};

/// Two peers and what one of them says: all that a relay is.
struct Relay {
    to: SocketAddr,
    secure: bool,
    config: Arc<Config>,
    others: HashMap<PeerId, PeerId>,
}

impl Handler for Relay {
    type Mail = ();

    fn open(&mut self, peer: PeerId, request: &Request, out: &mut Outboxes<'_, ()>) -> Opening {
        let (authority, path) = (request.authority().into(), request.path().into());
        let upstream = out.dial(&Dial {
            server_name: self.secure.then(|| "localhost".into()),
            ..Dial::new(self.to, authority, path, self.config.clone())
        });
        let upstream = upstream.expect("what was asked can be asked again");
        self.others.insert(peer, upstream);
        self.others.insert(upstream, peer);
        Opening::Hold(PATIENCE)
    }

    fn dialed(
        &mut self,
        peer: PeerId,
        answer: Result<&Accepted, &DialError>,
        out: &mut Outboxes<'_, ()>,
    ) {
        let client = self.others[&peer];
        match answer {
            Ok(_) => out
                .accept(client, Accept::new(self.config.clone()))
                .expect("nothing was offered"),
            Err(error) => {
                out.reject(client, &Rejection::new(502, error.to_string()));
                self.others.remove(&client);
                self.others.remove(&peer);
            }
        }
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, ()>) {
        if out.send_incoming(self.others[&peer], message) == Level::High {
            out.hold(peer);
        }
    }

    fn drained(&mut self, peer: PeerId, out: &mut Outboxes<'_, ()>) {
        out.release(self.others[&peer]);
    }

    fn mail(&mut self, (): (), _: &mut Outboxes<'_, ()>) {}

    fn closed(&mut self, peer: PeerId, why: &Closed, out: &mut Outboxes<'_, ()>) {
        if let Some(other) = self.others.remove(&peer) {
            out.close(other, why.code.unwrap_or(CloseCode::GOING_AWAY), "");
        }
    }
}

fn relay(to: SocketAddr, tls: Option<Arc<tidegate::rustls::ClientConfig>>) -> Running<()> {
    let secure = tls.is_some();
    let mut server = Server::builder().listen(loopback()).workers(2);
    if let Some(tls) = tls {
        server = server.upstream_tls(tls);
    }
    server
        .start(move |_| Relay {
            to,
            secure,
            config: Arc::default(),
            others: HashMap::new(),
        })
        .expect("a free port")
}

/// What a client is answered.
fn head_of(relay: &Running<()>) -> String {
    let mut client = Client(connect(relay.local_addr()));
    client
        .0
        .write_all(request(relay.local_addr(), "/").as_bytes())
        .expect("it is taken");
    client.head()
}

#[test]
fn messages_pass_through_many_pairs_and_every_size() {
    let echo = crate::common::echo(2);
    let relay = relay(echo.local_addr(), None);
    let mut clients: Vec<_> = (0..40).map(|_| Client::open(relay.local_addr())).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.echoes(TEXT, format!("I am {n}").as_bytes());
    }
    for len in [0, 1, 125, 126, 65_535, 65_536, 400_000, 1_000_000] {
        clients[7].echoes(BINARY, &octets(len));
    }
    clients[0].send(0x8, &[0x03, 0xE8]);
    assert_eq!(clients[0].close_code(), 1000);
    drop(clients);
    stop(relay);
    stop(echo);
}

/// Neither end may read for a while: what is on its way waits, and then arrives whole and in order.
#[test]
fn a_slow_reader_stops_its_sender_and_nothing_is_lost() {
    let echo = crate::common::echo(1);
    let relay = relay(echo.local_addr(), None);
    let mut client = Client::open(relay.local_addr());
    let mut writer = client.0.try_clone().expect("a second handle");
    let messages = 300;
    let sending = std::thread::spawn(move || {
        for n in 0..messages {
            let payload = vec![n as u8; 100_000];
            writer
                .write_all(&crate::common::frame(BINARY, &payload))
                .expect("it is taken, later");
        }
    });
    for n in 0..messages {
        let (opcode, payload) = client.receive();
        assert_eq!((opcode, payload.len()), (BINARY, 100_000));
        assert!(payload.iter().all(|octet| *octet == n as u8), "in order");
    }
    sending.join().expect("all was sent");
    stop(relay);
    stop(echo);
}

#[test]
fn an_upstream_that_is_away_or_wrong_is_a_502_and_the_next_client_gets_the_same() {
    let free = TcpListener::bind(loopback()).expect("a port");
    let nobody = free.local_addr().expect("bound");
    drop(free);
    let away = relay(nobody, None);
    for _ in 0..3 {
        let head = head_of(&away);
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    }
    stop(away);
    let deaf = TcpListener::bind(loopback()).expect("a port");
    let to = deaf.local_addr().expect("bound");
    let hanging_up = std::thread::spawn(move || drop(deaf.accept().expect("a call")));
    let relay = relay(to, None);
    let head = head_of(&relay);
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    hanging_up.join().expect("it hung up");
    stop(relay);
}

#[test]
fn an_upstream_behind_tls_is_reached_if_its_certificate_is_trusted() {
    let (server, trusting) = tls::configs();
    let (_, strangers) = tls::configs();
    let echo = Server::builder()
        .listen(loopback())
        .workers(1)
        .tls(server)
        .start(|_| Echo::default())
        .expect("a free port");
    let good = relay(echo.local_addr(), Some(trusting));
    let mut client = Client::open(good.local_addr());
    client.echoes(TEXT, b"through TLS");
    client.echoes(BINARY, &octets(900_000));
    let distrusting = relay(echo.local_addr(), Some(strangers));
    let head = head_of(&distrusting);
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    drop(client);
    stop(good);
    stop(distrusting);
    stop(echo);
}
