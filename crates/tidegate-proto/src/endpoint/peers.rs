//! The table of a worker's peers; a [`PeerId`] never names a later peer in the same slot.

use crate::connection::{Connection, Outbox, Resources, Transport};
use crate::handshake::HeadScan;
use crate::time::Time;
use std::fmt;
use std::net::SocketAddr;

/// Names a worker; they are numbered from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkerId(pub u16);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a peer for as long as the process lives: worker, slot, and the slot's generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerId {
    worker: WorkerId,
    slot: u32,
    generation: u32,
}

impl PeerId {
    /// The worker that owns the peer's connection, for life.
    pub fn worker(self) -> WorkerId {
        self.worker
    }

    /// The peer's place on its worker; small numbers, used again after the peer is gone.
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// Which peer in that slot it is.
    pub fn generation(self) -> u32 {
        self.generation
    }
}

/// Where a transport comes from.
#[derive(Clone, Copy, Debug)]
pub struct PeerInfo {
    /// The peer's address.
    pub remote: SocketAddr,
    /// The transport is TLS.
    pub secure: bool,
}

/// One peer, from accepted transport to closed one.
pub(super) struct Peer {
    pub(super) info: PeerInfo,
    pub(super) stage: Stage,
    /// It stands in the dirty list.
    pub(super) dirty: bool,
    pub(super) observe: bool,
    /// It will send no more: what is owed is written, then its transport is closed.
    pub(super) eof: bool,
    /// The earliest timer armed for it.
    pub(super) armed: Option<Time>,
    /// Octets that came while a streaming peer's outbox was high; they wait until it has drained.
    pub(super) held: Option<Box<[u8]>>,
}

/// How far a peer has come.
pub(super) enum Stage {
    /// Its request head is awaited.
    Head {
        octets: Vec<u8>,
        scan: HeadScan,
        deadline: Time,
    },
    /// The handler decides, or a WebSocket is open or closing.
    Open(Connection),
    /// An HTTP refusal is being written, then the transport is closed.
    Refused { outbox: Outbox, deadline: Time },
    /// No WebSocket was asked for; these octets came.
    Plain(Vec<u8>),
    /// The transport is to be closed now.
    Dead,
}

impl Peer {
    pub(super) fn remote(&self) -> SocketAddr {
        self.info.remote
    }

    pub(super) fn transport(&self) -> Transport {
        match &self.stage {
            Stage::Head { .. } => Transport::Open,
            Stage::Open(connection) => match connection.transport() {
                Transport::ShutdownWrite if self.eof => Transport::Close,
                transport => transport,
            },
            Stage::Refused { .. } if self.eof => Transport::Close,
            Stage::Refused { .. } => Transport::ShutdownWrite,
            Stage::Plain(_) => Transport::PlainHttp,
            Stage::Dead => Transport::Close,
        }
    }

    /// Octets are owed to it.
    pub(super) fn is_owed(&self) -> bool {
        match &self.stage {
            Stage::Open(connection) => connection.queued() > 0,
            Stage::Refused { outbox, .. } => !outbox.is_empty(),
            _ => false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.stage {
            Stage::Head { deadline, .. } | Stage::Refused { deadline, .. } => Some(*deadline),
            Stage::Open(connection) => connection.poll_timeout(),
            Stage::Plain(_) | Stage::Dead => None,
        }
    }

    /// Nothing more will be sent or received.
    pub(super) fn kill(&mut self, resources: &mut Resources) {
        if let Stage::Refused { outbox, .. } = &mut self.stage {
            outbox.clear(resources);
        }
        self.stage = Stage::Dead;
    }
}

struct Slot {
    generation: u32,
    peer: Option<Peer>,
}

/// All peers of a worker.
pub(super) struct Peers {
    worker: WorkerId,
    slots: Vec<Slot>,
    free: Vec<u32>,
    count: usize,
}

impl Peers {
    pub(super) fn new(worker: WorkerId) -> Peers {
        Peers {
            worker,
            slots: Vec::new(),
            free: Vec::new(),
            count: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn insert(&mut self, peer: Peer) -> PeerId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                peer: None,
            });
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.peer = Some(peer);
        self.count += 1;
        PeerId {
            worker: self.worker,
            slot,
            generation: entry.generation,
        }
    }

    pub(super) fn remove(&mut self, id: PeerId) -> Option<Peer> {
        let entry = self.entry(id)?;
        let peer = entry.peer.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(id.slot);
        self.count -= 1;
        Some(peer)
    }

    pub(super) fn get(&self, id: PeerId) -> Option<&Peer> {
        let entry = self.slots.get(id.slot as usize)?;
        let same = entry.generation == id.generation && id.worker == self.worker;
        entry.peer.as_ref().filter(|_| same)
    }

    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.entry(id)?.peer.as_mut()
    }

    pub(super) fn connection(&self, id: PeerId) -> Option<&Connection> {
        match &self.get(id)?.stage {
            Stage::Open(connection) => Some(connection),
            _ => None,
        }
    }

    pub(super) fn connection_mut(&mut self, id: PeerId) -> Option<&mut Connection> {
        match &mut self.get_mut(id)?.stage {
            Stage::Open(connection) => Some(connection),
            _ => None,
        }
    }

    pub(super) fn ids(&self) -> Vec<PeerId> {
        let id = |(slot, entry): (usize, &Slot)| {
            entry.peer.as_ref().map(|_| PeerId {
                worker: self.worker,
                slot: slot as u32,
                generation: entry.generation,
            })
        };
        self.slots.iter().enumerate().filter_map(id).collect()
    }

    fn entry(&mut self, id: PeerId) -> Option<&mut Slot> {
        let worker = self.worker;
        let entry = self.slots.get_mut(id.slot as usize)?;
        (entry.generation == id.generation && id.worker == worker).then_some(entry)
    }
}
