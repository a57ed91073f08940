//! Many wires in one thread, by number. It moves octets; what is said, and what follows from an answer, is its user's.

use crate::wire::{Budget, Heard, Wire};
use mio::{Events, Poll, Token};
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// All wires.
pub(crate) struct Crowd {
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    wires: Vec<Option<Wire>>,
    /// What was heard while something was said: it is given with the next turn.
    early: Vec<(usize, Heard)>,
    address: SocketAddr,
}

impl Crowd {
    /// Room for so many clients of the server at this address.
    ///
    /// # Errors
    /// When the system has no event queue to give.
    pub(crate) fn new(clients: usize, address: SocketAddr) -> io::Result<Crowd> {
        Ok(Crowd {
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            scratch: vec![0; 64 << 10],
            wires: (0..clients).map(|_| None).collect(),
            early: Vec::new(),
            address,
        })
    }

    /// Begins a connection in place of this client's last.
    ///
    /// # Errors
    /// When no socket is to be had.
    pub(crate) fn open(&mut self, client: usize, budget: Budget) -> io::Result<()> {
        self.cut(client);
        let wire = Wire::connect(self.address, self.poll.registry(), Token(client), budget)?;
        self.wires[client] = Some(wire);
        Ok(())
    }

    /// Ends this client's connection without a word; what it has not heard yet it never will.
    pub(crate) fn cut(&mut self, client: usize) {
        if let Some(wire) = self.wires[client].take() {
            wire.drop_hard();
            self.early.retain(|(one, _)| *one != client);
        }
    }

    /// Whether this client's own budget has ended its connection.
    pub(crate) fn was_cut(&self, client: usize) -> bool {
        self.wires[client].as_ref().is_some_and(|wire| wire.was_cut)
    }

    /// Says something for a client that has a connection.
    pub(crate) fn say(&mut self, client: usize, value: &Value) {
        let mut heard = Vec::new();
        if let Some(wire) = &mut self.wires[client] {
            wire.say(value, &mut heard);
        }
        self.early
            .extend(heard.into_iter().map(|one| (client, one)));
    }

    /// Reads on for a client that has been passed over.
    pub(crate) fn look(&mut self, client: usize) {
        let mut heard = Vec::new();
        if let Some(wire) = &mut self.wires[client] {
            wire.ready(&mut self.scratch, &mut heard);
        }
        self.early
            .extend(heard.into_iter().map(|one| (client, one)));
    }

    /// Waits for what comes, at most so long; `reads` says who takes it. What was heard, in order.
    ///
    /// # Errors
    /// When the system's event queue fails.
    pub(crate) fn turn(
        &mut self,
        patience: Duration,
        reads: impl Fn(usize) -> bool,
    ) -> io::Result<Vec<(usize, Heard)>> {
        let patience = match self.early.is_empty() {
            true => patience,
            false => Duration::ZERO,
        };
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let mut all = std::mem::take(&mut self.early);
        let mut heard = Vec::new();
        for event in &self.events {
            let client = event.token().0;
            if let Some(wire) = self.wires[client].as_mut().filter(|_| reads(client)) {
                wire.ready(&mut self.scratch, &mut heard);
                all.extend(heard.drain(..).map(|one| (client, one)));
            }
        }
        Ok(all)
    }
}
