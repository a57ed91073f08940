//! The worker's writing side: what a peer is owed goes out in one write, then its transport's wish is granted.

use super::conn::Mark;
use super::plain::{PlainHttp, PlainIo};
use super::session::Session;
use super::worker::Worker;
use mio::net::TcpStream;
use std::io::{ErrorKind, IoSlice, Write};
use std::net::Shutdown;
use tidegate_proto::{Handler, PeerId, Time, Transport};

/// Peers looked after in one flush, and octets written; the rest waits for the next turn, after new events.
const VISITS_A_FLUSH: usize = 4096;
const OCTETS_A_FLUSH: usize = 8 << 20;
/// Pieces of one vectored write.
const SLICES: usize = 64;
/// Where a write that is not taken whole has filled the socket, and news of room will come. It saves the
/// write that is not taken at all. mio's Windows back end needs that write.
const SHORT_WRITE_IS_FULL: bool = cfg!(unix);

/// How writing to a peer ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// Nothing is owed any more.
    All,
    /// The kernel takes no more for now.
    Blocked,
    /// The flush has written enough; the peer is looked after again in the next turn.
    Enough,
    /// The transport is broken.
    Failed,
}

impl<H: Handler> Worker<H> {
    /// Looks after everyone who is owed something.
    pub(super) fn flush(&mut self, now: Time) {
        self.turn.unflushed = 0;
        self.turn.written = 0;
        let mut visits = 0;
        let mut owed = std::mem::take(&mut self.owed);
        for peer in owed.drain(..) {
            visits += 1;
            self.visit(now, peer);
        }
        // Keeps the list's memory, and whom the visits have put into a new one.
        owed.append(&mut self.owed);
        self.owed = owed;
        while visits < VISITS_A_FLUSH && self.turn.written < OCTETS_A_FLUSH {
            visits += 1;
            if let Some(peer) = self.endpoint.poll_dirty() {
                self.visit(now, peer);
            } else if let Some(peer) = self.ended.pop() {
                self.endpoint.handle_eof(now, peer, &mut self.post);
            } else {
                return;
            }
        }
        // Enough for one turn. Naming one more peer keeps the worker awake; the endpoint remembers the rest.
        self.owed.extend(
            self.endpoint
                .poll_dirty()
                .or_else(|| self.ended.last().copied()),
        );
    }

    /// Writes what a peer is owed, then does with its transport what the endpoint wants.
    fn visit(&mut self, now: Time, peer: PeerId) {
        if !self.piers.is_empty() && self.piers.contains_key(&peer) {
            return self.visit_bridged(now, peer);
        }
        let written = self.transmit(now, peer);
        match written {
            Written::Enough => return self.owed.push(peer),
            Written::Failed => self.endpoint.handle_error(now, peer, &mut self.post),
            Written::All | Written::Blocked => {}
        }
        match self.endpoint.transport(peer) {
            Transport::ShutdownWrite if written == Written::All => self.end_our_side(peer),
            Transport::Open | Transport::ShutdownWrite => self.resume(peer),
            Transport::Close => self.close(peer),
            Transport::PlainHttp => self.hand_over(peer),
        }
    }

    fn transmit(&mut self, now: Time, peer: PeerId) -> Written {
        loop {
            let Some(conn) = self.conns.get_mut(peer) else {
                return Written::All;
            };
            if conn.is(Mark::Blocked) {
                return Written::Blocked;
            }
            if let Some(tls) = &mut conn.tls {
                // First what was encrypted before.
                match tls.flush(&conn.stream) {
                    // Plaintext waits for the end of the handshake, which looks after the peer again.
                    Ok(true) if tls.is_handshaking() => return Written::Blocked,
                    Ok(true) => {}
                    Ok(false) => {
                        conn.set(Mark::Blocked);
                        return Written::Blocked;
                    }
                    Err(_) => return Written::Failed,
                }
            }
            if self.turn.written >= OCTETS_A_FLUSH {
                return Written::Enough;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.endpoint.poll_transmit(peer, &mut slices);
            if filled == 0 {
                return Written::All;
            }
            let owed: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            let slices = &slices[..filled];
            let written = match (&mut conn.tls, slices) {
                (Some(tls), _) => {
                    tls.write(slices, &mut self.plain, &mut self.records, &conn.stream)
                }
                (None, [slice]) => (&conn.stream).write(slice),
                (None, _) => (&conn.stream).write_vectored(slices),
            };
            match written {
                Ok(0) => return Written::Failed,
                Ok(n) => {
                    if n < owed && SHORT_WRITE_IS_FULL && conn.tls.is_none() {
                        conn.set(Mark::Blocked);
                    }
                    self.turn.written += n;
                    self.endpoint.handle_sent(now, peer, n, &mut self.post);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => conn.set(Mark::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Written::Failed,
            }
        }
    }

    /// Everything is written: sends FIN. Where both have said Close, and all that the peer sent was read, to close the
    /// socket does that and no reset, and spares the wait for the peer's FIN. A TLS peer has its close_notify still
    /// to send.
    fn end_our_side(&mut self, peer: PeerId) {
        let conn = self.conns.get_mut(peer);
        let nothing_comes = conn.is_some_and(|c| c.tls.is_none() && !c.is(Mark::Readable));
        if nothing_comes && self.endpoint.peer_has_closed(peer) {
            return self.close(peer);
        }
        self.half_close(peer);
        self.resume(peer);
    }

    /// Sends FIN, behind close_notify.
    fn half_close(&mut self, peer: PeerId) {
        let Some(conn) = self.conns.get_mut(peer) else {
            return;
        };
        if conn.is(Mark::HalfClosed) {
            return;
        }
        if let Some(tls) = &mut conn.tls {
            if !say_goodbye(tls, &conn.stream) {
                return conn.set(Mark::Blocked); // writable again, the peer is visited, and we come by here
            }
        }
        conn.set(Mark::HalfClosed);
        // It fails when the client has reset; then reading says so.
        let _ = conn.stream.shutdown(Shutdown::Write);
    }

    /// Closes a peer's socket and frees its slot.
    pub(super) fn close(&mut self, peer: PeerId) {
        if let Some(mut conn) = self.conns.remove(peer) {
            if let Some(tls) = &mut conn.tls {
                say_goodbye(tls, &conn.stream);
            }
        }
        self.endpoint.release(peer);
    }

    /// Gives a connection that wants ordinary HTTP to whom it concerns; without such a one it is closed.
    fn hand_over(&mut self, peer: PeerId) {
        let head = self.endpoint.take_plain_http(peer);
        let Some(mut conn) = self.conns.remove(peer) else {
            return;
        };
        let Some(give) = &self.shared.plain_http else {
            return;
        };
        if self.poll.registry().deregister(&mut conn.stream).is_err() {
            return; // the socket cannot be freed from this loop, so nobody else could use it
        }
        let stream = std::net::TcpStream::from(conn.stream);
        let Ok(remote) = stream.peer_addr() else {
            return; // the client has left already
        };
        let secure = conn.tls.is_some();
        let io = PlainIo::new(stream, conn.tls, head.clone());
        give(PlainHttp {
            io,
            head,
            remote,
            secure,
        });
    }
}

/// Sends close_notify; false when the socket does not take it yet.
fn say_goodbye(tls: &mut Session, stream: &TcpStream) -> bool {
    tls.say_goodbye();
    tls.flush(stream).unwrap_or(true) // a broken socket has nothing to wait for
}
