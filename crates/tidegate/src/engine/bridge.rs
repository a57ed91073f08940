//! Peers whose octets come through an HTTP server instead of a socket of the worker's own: a WebSocket that is a
//! stream of an HTTP/2 connection. Octets travel as batches, so many at most in each direction; what they mean
//! is the endpoint's matter as with any peer.
//!
//! ```text
//!   HTTP server ──write──► batch ──► worker ──► Endpoint      256 KiB of credit, given back when they are
//!               ◄──read─── batch ◄── worker ◄── Endpoint      consumed; a batch wakes the other side once
//! ```

use super::worker::Worker;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, IoSlice, Read};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use tidegate_proto::{Handler, PeerId, PeerInfo, Time, Transport, WorkerId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Octets on their way in one direction at most.
const CREDIT: usize = 256 << 10;
/// New peers that wait for one worker at most.
const MAX_WAITING: usize = 64;
/// Batches taken from one peer before the others have their turn.
const BATCHES_A_TURN: usize = 2;
/// Pieces copied from an outbox at once.
const SLICES: usize = 64;

/// Makes peers of a server out of streams that some HTTP server holds. Cloning is a reference count.
#[derive(Clone)]
pub struct Bridge(Arc<Bridges>);

impl Bridge {
    pub(super) fn new(bridges: Arc<Bridges>) -> Bridge {
        Bridge(bridges)
    }

    /// A peer of the next worker in turn, as if a connection had just been accepted from `remote` and `head` were
    /// the first octets read from it: an HTTP/1.1 request for a WebSocket, say out of
    /// [`tidegate_proto::handshake::connect::to_http1`]. The answer is read from what comes back, then frames are
    /// written and read. All rules and limits of an accepted connection hold. It never blocks.
    ///
    /// # Errors
    /// [`BridgeFull`] when 64 wait for each worker, or the workers have ended. Answer 503.
    pub fn open(
        &self,
        remote: SocketAddr,
        secure: bool,
        head: Vec<u8>,
    ) -> Result<Bridged, BridgeFull> {
        let info = PeerInfo { remote, secure };
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let workers = self.0.news.len();
        let places = (0..workers).map(|n| turn.wrapping_add(n) % workers);
        for worker in places {
            let link = Arc::new(Link {
                worker,
                peer: OnceLock::new(),
                state: Mutex::new(State {
                    inbound: head.clone(),
                    announced: true,
                    ..State::default()
                }),
            });
            if self.0.announce(worker, News::Open(Arc::clone(&link), info)) {
                return Ok(Bridged {
                    link,
                    bridges: Arc::clone(&self.0),
                });
            }
        }
        Err(BridgeFull)
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").finish_non_exhaustive()
    }
}

/// No worker takes another peer just now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BridgeFull;

impl fmt::Display for BridgeFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no worker takes another peer now: answer 503")
    }
}

impl std::error::Error for BridgeFull {}

/// The HTTP server's end of a bridged peer: what is written to it comes from the client, what is read from it is
/// for the client. Dropped, it is to the worker a connection that was lost.
pub struct Bridged {
    link: Arc<Link>,
    bridges: Arc<Bridges>,
}

/// What both ends of a bridge share.
struct Link {
    worker: usize,
    /// Set by the worker.
    peer: OnceLock<PeerId>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// From the client; the worker takes all of it at once.
    inbound: Vec<u8>,
    /// Taken by the worker and not consumed yet.
    taken: usize,
    /// The client will send no more.
    inbound_ended: bool,
    /// The HTTP server has let go.
    lost: bool,
    /// The worker has been told that there is news.
    announced: bool,
    /// Waits for room in `inbound`.
    writer: Option<Waker>,
    /// For the client.
    outbound: VecDeque<u8>,
    /// Nothing will follow `outbound`.
    outbound_ended: bool,
    /// The worker waits for room in `outbound`.
    starved: bool,
    /// The peer is gone.
    closed: bool,
    /// Waits for something in `outbound`.
    reader: Option<Waker>,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of ours panics under the lock; were it to, the buffers would still be buffers.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker is told.
enum News {
    Open(Arc<Link>, PeerInfo),
    /// Something came from the client, or there is room again.
    Stirred(Arc<Link>),
}

/// News for all workers.
pub(super) struct Bridges {
    news: Box<[Queue]>,
    /// Counts up; says whose turn it is.
    turn: AtomicUsize,
    wake: Box<dyn Fn(WorkerId) + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// There is news; saves the worker the lock in most turns.
    any: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    news: Vec<News>,
    opening: usize,
    closed: bool,
}

impl Bridges {
    pub(super) fn new(workers: usize, wake: Box<dyn Fn(WorkerId) + Send + Sync>) -> Bridges {
        Bridges {
            news: (0..workers).map(|_| Queue::default()).collect(),
            turn: AtomicUsize::new(0),
            wake,
        }
    }

    /// Tells a worker; false when it takes no more new peers, or is gone. It is woken once a batch of news.
    fn announce(&self, worker: usize, news: News) -> bool {
        let queue = &self.news[worker];
        let mut waiting = queue.lock();
        let opens = matches!(news, News::Open(..));
        if waiting.closed || (opens && waiting.opening == MAX_WAITING) {
            return false;
        }
        waiting.opening += usize::from(opens);
        waiting.news.push(news);
        let first = !queue.any.swap(true, Ordering::SeqCst);
        drop(waiting);
        if first {
            (self.wake)(WorkerId(worker as u16)); // the server has at most 65,535 workers
        }
        true
    }

    fn take(&self, worker: WorkerId) -> Vec<News> {
        let queue = &self.news[usize::from(worker.0)];
        if !queue.any.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let mut waiting = queue.lock();
        queue.any.store(false, Ordering::SeqCst);
        waiting.opening = 0;
        std::mem::take(&mut waiting.news)
    }

    /// The worker is gone: who waits for it is told so, nobody else is taken.
    pub(super) fn close(&self, worker: WorkerId) {
        let queue = &self.news[usize::from(worker.0)];
        queue.lock().closed = true;
        queue.any.store(true, Ordering::SeqCst);
        for news in self.take(worker) {
            if let News::Open(link, _) = news {
                hang_up(&link);
            }
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a link from the worker's side.
fn hang_up(link: &Link) {
    let mut state = link.lock();
    state.closed = true;
    let wakers = [state.reader.take(), state.writer.take()];
    drop(state);
    wakers.into_iter().flatten().for_each(Waker::wake);
}

impl Bridged {
    /// Tells the worker about a change it does not know of yet.
    fn announce(&self, mut state: MutexGuard<'_, State>) {
        let news = !std::mem::replace(&mut state.announced, true);
        drop(state);
        if news {
            // A worker that is gone has closed the link.
            let _ = self
                .bridges
                .announce(self.link.worker, News::Stirred(Arc::clone(&self.link)));
        }
    }
}

impl AsyncRead for Bridged {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.link.lock();
        if state.outbound.is_empty() {
            if state.outbound_ended || state.closed {
                return Poll::Ready(Ok(()));
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = state.outbound.read(buf.initialize_unfilled())?;
        buf.advance(n);
        if state.outbound.is_empty() {
            state.outbound = VecDeque::new(); // an idle peer owns no buffer
        }
        if state.starved && state.outbound.len() <= CREDIT / 2 {
            state.starved = false;
            self.announce(state);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bridged {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.link.lock();
        if state.closed || state.inbound_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = CREDIT.saturating_sub(state.inbound.len() + state.taken);
        if room == 0 && !buf.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = room.min(buf.len());
        state.inbound.extend_from_slice(&buf[..n]);
        self.announce(state);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.link.lock();
        state.inbound_ended = true;
        self.announce(state);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Bridged {
    fn drop(&mut self) {
        let mut state = self.link.lock();
        state.lost = true;
        self.announce(state);
    }
}

impl fmt::Debug for Bridged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridged").finish_non_exhaustive()
    }
}

/// The worker's end of a bridge.
pub(super) struct Pier {
    link: Arc<Link>,
    /// Taken from the link; waits until the endpoint reads the peer again.
    batch: Vec<u8>,
    /// The endpoint has been told that no more will come.
    ended: bool,
}

impl Drop for Pier {
    fn drop(&mut self) {
        hang_up(&self.link);
    }
}

/// A worker's bridged peers.
pub(super) type Piers = HashMap<PeerId, Pier>;

/// What a look at a link has found.
enum Inbound {
    Batch(Vec<u8>),
    Nothing,
    Ended,
    Lost,
}

impl Pier {
    fn take(&mut self) -> Inbound {
        if !self.batch.is_empty() {
            return Inbound::Batch(std::mem::take(&mut self.batch));
        }
        let mut state = self.link.lock();
        state.announced = false;
        if state.lost {
            return Inbound::Lost;
        }
        if !state.inbound.is_empty() {
            let batch = std::mem::take(&mut state.inbound);
            state.taken = batch.len();
            return Inbound::Batch(batch);
        }
        match state.inbound_ended && !self.ended {
            true => Inbound::Ended,
            false => Inbound::Nothing,
        }
    }

    /// The batch was used up: its credit is given back.
    fn consumed(&self) {
        let mut state = self.link.lock();
        state.taken = 0;
        let writer = state.writer.take();
        drop(state);
        writer.into_iter().for_each(Waker::wake);
    }

    /// Copies as much of `slices` as there is credit for; how much that was.
    fn send(&self, slices: &[IoSlice<'_>]) -> usize {
        let mut state = self.link.lock();
        let mut sent = 0;
        for slice in slices {
            let room = CREDIT - state.outbound.len();
            let n = room.min(slice.len());
            state.outbound.extend(&slice[..n]);
            sent += n;
            if n < slice.len() {
                state.starved = true;
                break;
            }
        }
        sent
    }

    /// Tells the HTTP server that there is something to read.
    fn tell(&self) {
        let reader = self.link.lock().reader.take();
        reader.into_iter().for_each(Waker::wake);
    }
}

impl<H: Handler> Worker<H> {
    /// Takes in new bridged peers, and what came from those that are here.
    pub(super) fn bridge(&mut self, now: Time) {
        for news in self.shared.bridges.take(self.id) {
            match news {
                News::Open(link, info) => {
                    let peer = self.endpoint.handle_open(now, info);
                    let _ = link.peer.set(peer); // nobody else does
                    let pier = Pier {
                        link,
                        batch: Vec::new(),
                        ended: false,
                    };
                    self.piers.insert(peer, pier);
                    self.receive_bridged(now, peer);
                }
                News::Stirred(link) => {
                    if let Some(&peer) = link.peer.get() {
                        self.receive_bridged(now, peer);
                        self.owed.push(peer); // there may be room again
                    }
                }
            }
        }
    }

    /// Hands the endpoint what came, if it reads this peer now.
    fn receive_bridged(&mut self, now: Time, peer: PeerId) {
        for _ in 0..BATCHES_A_TURN {
            if !self.endpoint.wants_read(peer) {
                return self.notice_loss(now, peer);
            }
            let Some(pier) = self.piers.get_mut(&peer) else {
                return;
            };
            match pier.take() {
                Inbound::Nothing => return,
                Inbound::Batch(mut batch) => {
                    self.turn.unflushed += batch.len();
                    self.endpoint
                        .handle_bytes(now, peer, &mut batch, &mut self.post);
                    pier.consumed();
                }
                Inbound::Ended => {
                    pier.ended = true;
                    return self.ended.push(peer);
                }
                Inbound::Lost => {
                    return self.endpoint.handle_error(now, peer, &mut self.post);
                }
            }
        }
        self.owed.push(peer); // the others have their turn, then this one again
    }

    /// A peer that is not read may be lost all the same.
    fn notice_loss(&mut self, now: Time, peer: PeerId) {
        let lost = self.piers.get_mut(&peer).is_some_and(|pier| {
            let mut state = pier.link.lock();
            state.announced = false;
            state.lost
        });
        if lost {
            self.endpoint.handle_error(now, peer, &mut self.post);
        }
    }

    /// Sends what a bridged peer is owed, then does what the endpoint wants of its transport.
    pub(super) fn visit_bridged(&mut self, now: Time, peer: PeerId) {
        self.transmit_bridged(now, peer);
        let mut slices = [IoSlice::new(&[]); 1];
        let all_sent = self.endpoint.poll_transmit(peer, &mut slices) == 0;
        match self.endpoint.transport(peer) {
            Transport::Open => self.receive_bridged(now, peer),
            Transport::ShutdownWrite => {
                if let Some(pier) = self.piers.get(&peer).filter(|_| all_sent) {
                    pier.link.lock().outbound_ended = true;
                    pier.tell();
                }
                self.receive_bridged(now, peer);
            }
            // It asked for no WebSocket: the HTTP server made a mistake.
            Transport::Close | Transport::PlainHttp => self.close_bridged(peer),
        }
    }

    fn transmit_bridged(&mut self, now: Time, peer: PeerId) {
        let mut sent = false;
        while let Some(pier) = self.piers.get(&peer) {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.endpoint.poll_transmit(peer, &mut slices);
            let n = match filled {
                0 => 0,
                filled => pier.send(&slices[..filled]),
            };
            if n == 0 {
                break;
            }
            sent = true;
            self.turn.written += n;
            self.endpoint.handle_sent(now, peer, n, &mut self.post);
        }
        if let Some(pier) = self.piers.get(&peer).filter(|_| sent) {
            pier.tell();
        }
    }

    /// Lets go of a bridged peer and frees its slot.
    pub(super) fn close_bridged(&mut self, peer: PeerId) {
        self.piers.remove(&peer);
        self.endpoint.release(peer);
    }
}

#[cfg(test)]
mod tests;
