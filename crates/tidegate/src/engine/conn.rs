//! The sockets of a worker's peers, by slot; knows nothing of what passes through them.

use super::session::Session;
use mio::net::TcpStream;
use tidegate_proto::PeerId;

/// A peer's socket and what the loop has to remember of it. Cost: 32 bytes, and the TLS session.
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) peer: PeerId,
    pub(super) tls: Option<Box<Session>>,
    marks: u8,
}

/// What the loop remembers of a socket between two events: mio tells of each change only once.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    /// There may be something to read.
    Readable = 1,
    /// The client has half-closed or reset: read until that shows.
    HungUp = 2,
    /// The end was read.
    Ended = 4,
    /// It stands in the ready list.
    Queued = 8,
    /// The kernel takes no more; wait until it says so.
    Blocked = 16,
    /// Our side is half-closed.
    HalfClosed = 32,
    /// We called, and nobody has answered yet.
    Connecting = 64,
}

impl Conn {
    pub(super) fn new(stream: TcpStream, peer: PeerId, tls: Option<Box<Session>>) -> Conn {
        Conn {
            stream,
            peer,
            tls,
            marks: 0,
        }
    }

    pub(super) fn is(&self, mark: Mark) -> bool {
        self.marks & mark as u8 != 0
    }

    pub(super) fn set(&mut self, mark: Mark) {
        self.marks |= mark as u8;
    }

    /// The connection stands. The kernel may call a socket writable that is not connected yet.
    pub(super) fn is_connected(&mut self) -> bool {
        if self.is(Mark::Connecting) && self.stream.peer_addr().is_ok() {
            self.clear(Mark::Connecting);
        }
        !self.is(Mark::Connecting)
    }

    pub(super) fn clear(&mut self, mark: Mark) {
        self.marks &= !(mark as u8);
    }
}

/// The table of sockets; a peer's place is its slot.
#[derive(Default)]
pub(super) struct Conns {
    slots: Vec<Option<Conn>>,
}

impl Conns {
    pub(super) fn insert(&mut self, conn: Conn) {
        let slot = conn.peer.slot() as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some(conn);
    }

    /// The peer's socket, unless it is gone; never that of a later peer in its slot.
    pub(super) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Conn> {
        self.at(peer.slot() as usize)
            .filter(|conn| conn.peer == peer)
    }

    /// The socket in a slot.
    pub(super) fn at(&mut self, slot: usize) -> Option<&mut Conn> {
        self.slots.get_mut(slot)?.as_mut()
    }

    pub(super) fn remove(&mut self, peer: PeerId) -> Option<Conn> {
        self.get_mut(peer)?;
        self.slots[peer.slot() as usize].take()
    }

    pub(super) fn peers(&self) -> Vec<PeerId> {
        self.slots.iter().flatten().map(|conn| conn.peer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_table_is_small() {
        let mio_s_own_checks = if cfg!(debug_assertions) { 8 } else { 0 };
        assert_eq!(size_of::<Option<Conn>>(), 32 + mio_s_own_checks);
    }
}
