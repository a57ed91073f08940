//! Our own side of the cases: a connection, and an endpoint whose peer has done its handshake. Their random source is
//! all zeros, for a server draws nothing.

use std::sync::Arc;
use tidegate_proto::{
    Accept, Closed, Config, Connection, Endpoint, EndpointConfig, Event, Handler, Incoming, Limits,
    MailboxFull, Opening, Outbox, Outboxes, PeerId, PeerInfo, Post, Random, Request, Resources,
    Role, Time, WorkerId,
};

/// What an engine reads at once.
pub(crate) const READ: usize = 64 << 10;

/// Nothing happens at any other time.
pub(crate) const NOW: Time = Time::ZERO;

pub(crate) struct Zeros;

impl Random for Zeros {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// No mail goes anywhere.
pub(crate) struct NoPost;

impl Post<()> for NoPost {
    fn post(&mut self, _: WorkerId, (): ()) -> Result<(), MailboxFull> {
        Ok(())
    }
}

pub(crate) fn config() -> Arc<Config> {
    Arc::new(Config {
        limits: Limits::large(),
        ..Config::default()
    })
}

/// A server's connection after its handshake.
pub(crate) struct Ours {
    connection: Connection,
    resources: Resources,
}

impl Ours {
    pub(crate) fn new() -> Ours {
        let connection = Connection::new(Role::Server, config(), Outbox::default(), NOW);
        let resources = Resources::new(Box::new(Zeros));
        Ours {
            connection,
            resources,
        }
    }

    /// Receives what lies in `input`; hands each message to `seen`.
    pub(crate) fn receive(&mut self, mut input: &mut [u8], mut seen: impl FnMut(&[u8])) {
        while let Some(event) = self
            .connection
            .receive(NOW, &mut input, &mut self.resources)
        {
            match event {
                Event::Message(message) => {
                    seen(message.as_bytes());
                    self.resources.recycle_message(message);
                }
                other => panic!("the stream is well-formed messages: {other:?}"),
            }
        }
    }
}

/// What the handler does with a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Count,
    Echo,
}

pub(crate) struct Worker {
    work: Work,
    config: Arc<Config>,
    pub(crate) messages: u64,
}

impl Handler for Worker {
    type Mail = ();

    fn open(&mut self, _: PeerId, _: &Request, _: &mut Outboxes<'_, ()>) -> Opening {
        Opening::Accept(Accept::new(self.config.clone()))
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Outboxes<'_, ()>) {
        self.messages += 1;
        if self.work == Work::Echo {
            out.send_incoming(peer, message);
        }
    }

    fn mail(&mut self, (): (), _: &mut Outboxes<'_, ()>) {}

    fn closed(&mut self, _: PeerId, why: &Closed, _: &mut Outboxes<'_, ()>) {
        panic!("the stream is well-formed: {why:?}");
    }
}

/// An endpoint with one open peer to which nothing is owed.
pub(crate) fn endpoint(work: Work) -> (Endpoint<Worker>, PeerId) {
    let handler = Worker {
        work,
        config: config(),
        messages: 0,
    };
    let random = Box::new(Zeros);
    let settings = EndpointConfig::default();
    let mut endpoint = Endpoint::new(WorkerId(0), 1, settings, random, NOW, handler);
    let info = PeerInfo {
        remote: ([127, 0, 0, 1], 1).into(),
        secure: false,
    };
    let peer = endpoint.handle_open(NOW, info);
    let mut head =
        *b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    endpoint.handle_bytes(NOW, peer, &mut head, &mut NoPost);
    assert!(transmit(&mut endpoint) > 0, "the handshake is answered");
    (endpoint, peer)
}

/// What an engine does after a batch of events, but for the writing itself; returns the octets owed.
pub(crate) fn transmit(endpoint: &mut Endpoint<Worker>) -> usize {
    let mut octets = 0;
    while let Some(peer) = endpoint.poll_dirty() {
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let filled = endpoint.poll_transmit(peer, &mut slices);
        let owed = slices[..filled].iter().map(|slice| slice.len()).sum();
        if owed > 0 {
            endpoint.handle_sent(NOW, peer, owed, &mut NoPost);
        }
        octets += owed;
    }
    octets
}
