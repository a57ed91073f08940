//! The worker's reading side: sockets are read into the one buffer, or a long message's own, and the octets go to the
//! endpoint at once.

use super::conn::{Conn, Mark};
use super::session::{Decrypted, SPEAKS_TLS};
use super::worker::Worker;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use tidegate_proto::{Endpoint, Handler, PeerId, Time, Transport};

/// Octets read of one peer before the next has its turn.
const PEER_A_TURN: usize = 256 << 10;
/// TLS handshakes a turn: each costs a signature, some hundred times a message.
const HANDSHAKES_A_TURN: usize = 8;
/// Of a long message so much at least is read to where it belongs: to copy less costs less than another read.
const LEAST_IN_PLACE: usize = 32 << 10;
/// Where a read that does not fill the buffer has emptied the socket, and news of more will come. It saves
/// the read that finds nothing. mio's Windows back end needs that read.
const SHORT_READ_IS_DRY: bool = cfg!(unix);

impl<H: Handler> Worker<H> {
    /// Reads a peer until its socket is dry, its budget is spent or it is not to be read.
    pub(super) fn receive(&mut self, now: Time, peer: PeerId) {
        let mut budget = PEER_A_TURN;
        while self.may_receive(peer, budget) {
            let Some(conn) = self.conns.get_mut(peer) else {
                return;
            };
            // The middle of a long message is read to where it belongs, all else into the one buffer.
            let room = match conn.tls {
                None => self.endpoint.room(peer, LEAST_IN_PLACE, budget),
                Some(_) => None,
            };
            let in_place = room.is_some();
            let into = room.unwrap_or(&mut self.buffer);
            let most = into.len();
            let n = match (&conn.stream).read(into) {
                Ok(0) => return self.end(peer),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return conn.clear(Mark::Readable);
                }
                Err(error) => {
                    if conn.is(Mark::Connecting) {
                        tracing::debug!(%error, "an upstream cannot be reached");
                    }
                    conn.clear(Mark::Readable);
                    return self.endpoint.handle_error(now, peer, &mut self.post);
                }
            };
            if n < most && SHORT_READ_IS_DRY && !conn.is(Mark::HungUp) {
                conn.clear(Mark::Readable);
            }
            budget = budget.saturating_sub(n);
            self.turn.unflushed += n;
            if conn.tls.is_some() {
                self.deliver_tls(now, peer, n);
            } else if in_place {
                self.endpoint.handle_filled(now, peer, n, &mut self.post);
            } else {
                self.endpoint
                    .handle_bytes(now, peer, &mut self.buffer[..n], &mut self.post);
            }
        }
    }

    /// Whether to read on. A peer that may not for now is found again by `resume`; one whose budget is
    /// spent waits in the ready list.
    fn may_receive(&mut self, peer: PeerId, budget: usize) -> bool {
        let Some(conn) = self.conns.get_mut(peer) else {
            return false;
        };
        if !conn.is(Mark::Readable) || conn.is(Mark::Ended) || !wants_read(&self.endpoint, peer) {
            return false;
        }
        let handshaking = conn.tls.as_ref().is_some_and(|tls| tls.is_handshaking());
        if budget == 0 || (handshaking && self.turn.handshakes == HANDSHAKES_A_TURN) {
            if !conn.is(Mark::Queued) {
                conn.set(Mark::Queued);
                self.ready.push_back(peer);
            }
            return false;
        }
        self.turn.handshakes += usize::from(handshaking);
        true
    }

    /// Puts a peer back into the ready list that was not read for a while, once it may be again.
    pub(super) fn resume(&mut self, peer: PeerId) {
        let Some(conn) = self.conns.get_mut(peer) else {
            return;
        };
        let waits = conn.is(Mark::Readable) && !conn.is(Mark::Queued) && !conn.is(Mark::Ended);
        if waits && wants_read(&self.endpoint, peer) {
            conn.set(Mark::Queued);
            self.ready.push_back(peer);
        }
    }

    /// The peer will send no more. The endpoint hears of it after the peer got what it is owed.
    pub(super) fn end(&mut self, peer: PeerId) {
        if let Some(conn) = self.conns.get_mut(peer) {
            conn.set(Mark::Ended);
            self.ended.push(peer);
        }
    }

    /// Decrypts the first `n` octets of the buffer and hands over what they hold.
    fn deliver_tls(&mut self, now: Time, peer: PeerId, n: usize) {
        let Some(conn) = self.conns.get_mut(peer) else {
            return;
        };
        let Some(tls) = &mut conn.tls else {
            return;
        };
        let (endpoint, post) = (&mut self.endpoint, &mut self.post);
        let (records, plain) = (&mut self.buffer[..n], &mut self.plain);
        let handshaking = tls.is_handshaking();
        let decrypted = match handshaking {
            false => tls.decrypt(records, plain, |plain| {
                endpoint.handle_bytes(now, peer, plain, post);
            }),
            true => {
                // What came right behind the handshake waits until it is known who has sent it.
                let mut behind = Vec::new();
                let decrypted =
                    tls.decrypt(records, plain, |plain| behind.extend_from_slice(plain));
                if let Some(certificate) = tls.client_certificate() {
                    endpoint.handle_certificate(peer, certificate.into());
                }
                if !behind.is_empty() {
                    endpoint.handle_bytes(now, peer, &mut behind, post);
                }
                decrypted
            }
        };
        if tls.wants_write() || (handshaking && !tls.is_handshaking()) {
            self.owed.push(peer); // TLS itself has something to say, or what waited for it may go
        }
        match decrypted {
            Decrypted::More => {}
            Decrypted::End => self.end(peer),
            Decrypted::Broken(error) => {
                tracing::debug!(%error, "TLS failed");
                endpoint.handle_error(now, peer, post);
            }
            Decrypted::PlainHttp => {
                refuse_plain_http(conn);
                endpoint.handle_error(now, peer, post);
            }
        }
    }
}

/// The endpoint wants more octets of this peer and can use them.
fn wants_read<H: Handler>(endpoint: &Endpoint<H>, peer: PeerId) -> bool {
    let leaves = matches!(
        endpoint.transport(peer),
        Transport::Close | Transport::PlainHttp
    );
    !leaves && endpoint.wants_read(peer)
}

/// Tells a client on the TLS port that it should speak TLS. Nothing was sent before, so a fresh socket's
/// buffer takes it; if not, the client sees the end alone.
fn refuse_plain_http(conn: &mut Conn) {
    conn.tls = None;
    let _ = (&conn.stream).write(SPEAKS_TLS);
    let _ = conn.stream.shutdown(Shutdown::Write);
}
