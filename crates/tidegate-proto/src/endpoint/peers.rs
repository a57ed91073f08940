//! The table of a worker's peers; a [`PeerId`] never names a later peer in the same slot.

use super::dial::Dialing;
use super::hold::{Asked, Held};
use crate::connection::{Connection, Outbox, Resources, Transport};
use crate::handshake::HeadScan;
use crate::time::Time;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

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
    /// It is not read for now; octets that came before that was so wait here.
    pub(super) held: Option<Box<Held>>,
}

/// How far a peer has come.
pub(super) enum Stage {
    /// Its request head is awaited.
    Head {
        octets: Vec<u8>,
        scan: HeadScan,
        deadline: Time,
        /// What the client has shown of itself.
        certificate: Option<Arc<[u8]>>,
    },
    /// The handler has not decided yet.
    Asked(Box<Asked>),
    /// We call it; its 101 is awaited.
    Dialing(Box<Dialing>),
    /// A WebSocket is open or closing.
    Open(Connection),
    /// An HTTP refusal is being written, then the transport is closed.
    Refused { outbox: Outbox, deadline: Time },
    /// No WebSocket was asked for; these octets came.
    Plain(Vec<u8>),
    /// The transport is to be closed now.
    Dead,
}

impl Peer {
    pub(super) fn new(info: PeerInfo, stage: Stage) -> Peer {
        Peer {
            info,
            stage,
            dirty: false,
            observe: false,
            eof: false,
            armed: None,
            held: None,
        }
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.info.remote
    }

    pub(super) fn transport(&self) -> Transport {
        match &self.stage {
            Stage::Head { .. } | Stage::Asked(_) | Stage::Dialing(_) => Transport::Open,
            Stage::Open(connection) => match connection.transport() {
                Transport::ShutdownWrite if self.eof => Transport::Close,
                // A client waits for the server's end of the transport; it has come.
                Transport::Open if self.eof && connection.is_over() => Transport::Close,
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
            Stage::Dialing(dialing) => !dialing.outbox.is_empty(),
            Stage::Refused { outbox, .. } => !outbox.is_empty(),
            _ => false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.stage {
            Stage::Head { deadline, .. } | Stage::Refused { deadline, .. } => Some(*deadline),
            Stage::Asked(asked) => Some(asked.deadline),
            Stage::Dialing(dialing) => Some(dialing.deadline),
            // It cannot be heard while it is held, so its silence means nothing.
            Stage::Open(connection) if self.is_held() && connection.is_open() => None,
            Stage::Open(connection) => connection.poll_timeout(),
            Stage::Plain(_) | Stage::Dead => None,
        }
    }

    /// Nothing more will be sent or received.
    pub(super) fn kill(&mut self, resources: &mut Resources) {
        match &mut self.stage {
            Stage::Refused { outbox, .. } => outbox.clear(resources),
            Stage::Dialing(dialing) => dialing.outbox.clear(resources),
            _ => {}
        }
        self.stage = Stage::Dead;
    }

    /// The handler holds it.
    #[inline]
    pub(super) fn is_held(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.by_handler)
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
