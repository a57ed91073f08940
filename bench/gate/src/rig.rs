//! An endpoint in memory with open peers: octets in, what is owed is taken. No copy stands for the kernel.

use crate::source;
use std::collections::VecDeque;
use std::hint::black_box;
use std::io::IoSlice;
use tidegate_proto::{
    Endpoint, EndpointConfig, Handler, MailboxFull, PeerId, PeerInfo, Post, Random, Time,
    Transport, WorkerId,
};

/// The only worker of a server.
pub(crate) struct Rig<H: Handler> {
    endpoint: Endpoint<H>,
    mail: Mailbox<H::Mail>,
}

/// Mail to the worker itself, which comes later and in order.
struct Mailbox<M>(VecDeque<M>);

impl<M> Post<M> for Mailbox<M> {
    fn post(&mut self, _: WorkerId, mail: M) -> Result<(), MailboxFull> {
        self.0.push_back(mail);
        Ok(())
    }
}

/// A server draws hardly anything; a count of calls is as good as chance and the same each time.
struct Counter(u64);

impl Random for Counter {
    fn fill(&mut self, octets: &mut [u8]) {
        for octet in octets {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *octet = (self.0 >> 56) as u8;
        }
    }
}

impl<H: Handler> Rig<H> {
    pub(crate) fn new(handler: H) -> Rig<H> {
        let (settings, random) = (EndpointConfig::default(), Box::new(Counter(1)));
        Rig {
            endpoint: Endpoint::new(WorkerId(0), 1, settings, random, NOW, handler),
            mail: Mailbox(VecDeque::new()),
        }
    }

    /// A peer whose opening handshake is done.
    pub(crate) fn open(&mut self, request: &mut [u8]) -> PeerId {
        let info = PeerInfo {
            remote: ([127, 0, 0, 1], 1).into(),
            secure: false,
        };
        let peer = self.endpoint.handle_open(NOW, info);
        self.receive(peer, request);
        assert!(self.transmit() > 0, "the handshake is answered");
        peer
    }

    /// The octets came from the peer.
    pub(crate) fn receive(&mut self, peer: PeerId, octets: &mut [u8]) {
        self.endpoint
            .handle_bytes(NOW, peer, black_box(octets), &mut self.mail);
    }

    /// The peer has gone.
    pub(crate) fn lose(&mut self, peer: PeerId) {
        self.endpoint.handle_error(NOW, peer, &mut self.mail);
        assert!(self.endpoint.transport(peer) == Transport::Close);
        self.endpoint.release(peer);
    }

    /// What an engine does after a batch of events, but for the writing itself; returns the octets owed.
    pub(crate) fn transmit(&mut self) -> usize {
        while let Some(mail) = self.mail.0.pop_front() {
            self.endpoint.handle_mail(NOW, mail, &mut self.mail);
        }
        let mut octets = 0;
        while let Some(peer) = self.endpoint.poll_dirty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.endpoint.poll_transmit(peer, &mut slices);
            let owed = slices[..filled].iter().map(|slice| slice.len()).sum();
            if owed > 0 {
                self.endpoint.handle_sent(NOW, peer, owed, &mut self.mail);
            }
            octets += owed;
        }
        octets
    }

    /// Takes everything a client would see, as text.
    pub(crate) fn transcript(&mut self) -> String {
        while let Some(mail) = self.mail.0.pop_front() {
            self.endpoint.handle_mail(NOW, mail, &mut self.mail);
        }
        let mut text = String::new();
        while let Some(peer) = self.endpoint.poll_dirty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.endpoint.poll_transmit(peer, &mut slices);
            let octets: Vec<u8> = slices[..filled]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            self.endpoint
                .handle_sent(NOW, peer, octets.len(), &mut self.mail);
            text += &String::from_utf8_lossy(&octets);
        }
        text
    }
}

/// A head that asks for a WebSocket at `path`.
pub(crate) fn request(path: &str) -> Vec<u8> {
    source::request(path, "")
}

/// Nothing happens at any other time.
pub(crate) const NOW: Time = Time::ZERO;
