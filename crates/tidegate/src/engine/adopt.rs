//! The way back in: connections that had left for ordinary HTTP and then ask for a WebSocket after all. It
//! never looks at what they say.

use super::bridge::{Bridge, Bridges};
use super::conn::Mark;
use super::plain::PlainIo;
use super::worker::Worker;
use mio::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidegate_proto::{Handler, Time, WorkerId};

/// Gives connections back to the workers of the server that had given them away. Cloning is a reference count.
#[derive(Clone)]
pub struct Adopter {
    adoptions: Arc<Adoptions>,
    bridges: Arc<Bridges>,
}

impl Adopter {
    pub(super) fn new(adoptions: Arc<Adoptions>, bridges: Arc<Bridges>) -> Adopter {
        Adopter { adoptions, bridges }
    }

    /// For what cannot be given back whole: a WebSocket that is a stream of an HTTP/2 connection.
    pub fn bridge(&self) -> Bridge {
        Bridge::new(Arc::clone(&self.bridges))
    }

    /// Gives `io` to the next worker in turn, as if it had just been accepted and `first` were the first
    /// octets read from it: a whole request head and what was read behind it. What `io` has not yielded yet
    /// comes after `first`. All rules and limits of a fresh connection hold. It never blocks.
    ///
    /// Call it on the runtime that `io` was used on, and only for a connection of this server.
    ///
    /// # Errors
    /// Gives the connection back when 64 wait for each worker, or the workers have ended. Answer 503 and
    /// close it.
    pub fn adopt(&self, mut io: PlainIo, first: Vec<u8>) -> Result<(), PlainIo> {
        if io.detach().is_err() {
            return Err(io);
        }
        self.adoptions.put(Returned { io, first })
    }
}

impl std::fmt::Debug for Adopter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adopter").finish_non_exhaustive()
    }
}

/// A connection on its way back.
struct Returned {
    io: PlainIo,
    first: Vec<u8>,
}

/// Who has come back and waits, by worker.
pub(super) struct Adoptions {
    queues: Box<[Queue]>,
    /// Counts up; says whose turn it is.
    turn: AtomicUsize,
    wake: Box<dyn Fn(WorkerId) + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Somebody waits; saves the worker the lock in most turns.
    any: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    returned: Vec<Returned>,
    closed: bool,
}

impl Adoptions {
    pub(super) fn new(workers: usize, wake: Box<dyn Fn(WorkerId) + Send + Sync>) -> Adoptions {
        Adoptions {
            queues: (0..workers).map(|_| Queue::default()).collect(),
            turn: AtomicUsize::new(0),
            wake,
        }
    }

    /// Leaves a connection with the worker whose turn it is, or with the next one who has room.
    fn put(&self, mut returned: Returned) -> Result<(), PlainIo> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let workers = self.queues.len();
        for n in 0..workers {
            let index = turn.wrapping_add(n) % workers;
            match self.queues[index].put(returned) {
                Ok(()) => {
                    (self.wake)(WorkerId(index as u16)); // the server has at most 65,535 workers
                    return Ok(());
                }
                Err(refused) => returned = refused,
            }
        }
        Err(returned.io)
    }

    fn take(&self, worker: WorkerId) -> Vec<Returned> {
        self.queues[usize::from(worker.0)].take()
    }

    /// The worker is gone: who waits for it is dropped, nobody else is taken.
    pub(super) fn close(&self, worker: WorkerId) {
        let queue = &self.queues[usize::from(worker.0)];
        queue.lock().closed = true;
        drop(queue.take()); // outside the lock, as it closes sockets
    }
}

impl Queue {
    fn put(&self, returned: Returned) -> Result<(), Returned> {
        let mut waiting = self.lock();
        if waiting.closed || waiting.returned.len() == MAX_WAITING {
            return Err(returned);
        }
        waiting.returned.push(returned);
        self.any.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn take(&self) -> Vec<Returned> {
        if !self.any.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let mut waiting = self.lock();
        self.any.store(false, Ordering::SeqCst);
        std::mem::take(&mut waiting.returned)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code of ours panics under the lock; were it to, the list would still be a list.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Handler> Worker<H> {
    /// Takes in everyone who has come back.
    pub(super) fn adopt(&mut self, now: Time) {
        for Returned { io, first } in self.shared.adoptions.take(self.id) {
            self.take_in(now, io, first);
        }
    }

    /// Makes a peer of a connection that has been read already.
    fn take_in(&mut self, now: Time, io: PlainIo, mut octets: Vec<u8>) {
        let Some(parts) = io.take_apart(&mut octets) else {
            return;
        };
        let Ok(remote) = parts.socket.peer_addr() else {
            return; // the client has left already
        };
        let stream = TcpStream::from_std(parts.socket);
        let certificate = parts.tls.as_ref().and_then(|tls| tls.client_certificate());
        let certificate = certificate.map(Arc::from);
        let tls_has_something_to_say = parts.tls.as_ref().is_some_and(|tls| tls.wants_write());
        let Some(peer) = self.admit(now, stream, remote, parts.tls) else {
            return;
        };
        if let Some(certificate) = certificate {
            self.endpoint.handle_certificate(peer, certificate);
        }
        self.endpoint
            .handle_bytes(now, peer, &mut octets, &mut self.post);
        if tls_has_something_to_say {
            self.owed.push(peer);
        }
        if parts.ended {
            return self.end(peer);
        }
        // What the socket holds came before it was watched here; it is read without waiting for an event.
        if let Some(conn) = self.conns.get_mut(peer) {
            conn.set(Mark::Readable);
        }
        self.resume(peer);
    }
}

/// Connections that wait for one worker at most.
const MAX_WAITING: usize = 64;
