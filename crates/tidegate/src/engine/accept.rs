//! The worker's door: accepts connections, so many a turn, and waits a while when files run out.

use super::conn::Conn;
use super::listener::NODELAY_IS_INHERITED;
use super::session::Session;
use super::worker::{LISTENER, Worker};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;
use tidegate_proto::{Handler, PeerId, PeerInfo, Time};

/// Connections accepted before those who are already here have their turn.
const ACCEPTS_A_TURN: usize = 128;
/// How long nothing is accepted after the kernel could not give us a socket.
const PAUSE: Duration = Duration::from_millis(100);
/// How often that is said in the log at most.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// The listening socket and what is known of its queue.
pub(super) struct Gate {
    listener: Option<TcpListener>,
    /// Somebody may wait in the queue; the kernel says so only once.
    knocked: bool,
    /// Nothing is accepted until then.
    resumes: Option<Time>,
    complained: Option<Time>,
}

/// Who was at the door.
enum Arrival {
    Nobody,
    Client(TcpStream, SocketAddr),
    /// One that left again, or a signal; ask once more.
    Again,
    Trouble(io::Error),
}

impl Gate {
    /// # Errors
    /// When the operating system does not take the listener into its event queue.
    pub(super) fn new(mut listener: TcpListener, registry: &Registry) -> io::Result<Gate> {
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Gate {
            listener: Some(listener),
            knocked: false,
            resumes: None,
            complained: None,
        })
    }

    /// The kernel says that somebody waits.
    pub(super) fn knock(&mut self) {
        self.knocked = true;
    }

    /// Somebody may wait and could be let in now.
    pub(super) fn is_pending(&self) -> bool {
        self.knocked && self.resumes.is_none() && self.listener.is_some()
    }

    /// When accepting goes on after a pause.
    pub(super) fn resumes(&self) -> Option<Time> {
        self.resumes
    }

    fn next(&self) -> Arrival {
        let Some(listener) = &self.listener else {
            return Arrival::Nobody;
        };
        match listener.accept() {
            Ok((stream, remote)) => Arrival::Client(stream, remote),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => Arrival::Nobody,
                ErrorKind::Interrupted
                | ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset => Arrival::Again,
                _ => Arrival::Trouble(error),
            },
        }
    }

    /// No socket could be had: the client stays in the queue, and trying at once would only spin.
    fn pause(&mut self, now: Time, error: &io::Error) {
        self.resumes = Some(now + PAUSE);
        if self
            .complained
            .is_none_or(|at| now.since(at) >= COMPLAIN_EVERY)
        {
            self.complained = Some(now);
            tracing::warn!(%error, "connections cannot be accepted; trying again every 100 ms");
        }
    }
}

impl<H: Handler> Worker<H> {
    /// Accepts who waits, up to a turn's measure.
    pub(super) fn accept(&mut self, now: Time) {
        if self.gate.resumes.is_some_and(|at| at <= now) {
            self.gate.resumes = None;
        }
        for _ in 0..ACCEPTS_A_TURN {
            if !self.gate.is_pending() {
                return;
            }
            self.accept_one(now);
        }
    }

    /// Accepts everyone who waits, then closes the door.
    pub(super) fn accept_the_rest(&mut self, now: Time) {
        self.gate.knocked = true;
        self.gate.resumes = None;
        while self.gate.is_pending() {
            self.accept_one(now);
        }
        if let Some(mut listener) = self.gate.listener.take() {
            let _ = self.poll.registry().deregister(&mut listener); // closing it does the same
        }
    }

    fn accept_one(&mut self, now: Time) {
        match self.gate.next() {
            Arrival::Client(stream, remote) => self.welcome(now, stream, remote),
            Arrival::Nobody => self.gate.knocked = false,
            Arrival::Again => {}
            Arrival::Trouble(error) => self.gate.pause(now, &error),
        }
    }

    /// Makes a peer of a new connection.
    fn welcome(&mut self, now: Time, stream: TcpStream, remote: SocketAddr) {
        let tls = match self.shared.tls.as_ref().map(Session::new).transpose() {
            Ok(tls) => tls.map(Box::new),
            Err(error) => return tracing::error!(%error, "a TLS session could not be made"),
        };
        if !NODELAY_IS_INHERITED {
            let _ = stream.set_nodelay(true); // without it replies are late, not wrong
        }
        self.admit(now, stream, remote, tls);
    }

    /// Makes a peer of a connection; if the system is out of memory for that, the connection is dropped.
    pub(super) fn admit(
        &mut self,
        now: Time,
        mut stream: TcpStream,
        remote: SocketAddr,
        tls: Option<Box<Session>>,
    ) -> Option<PeerId> {
        let secure = tls.is_some();
        let peer = self.endpoint.handle_open(now, PeerInfo { remote, secure });
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(peer.slot() as usize);
        match self.poll.registry().register(&mut stream, token, interest) {
            Ok(()) => {
                self.conns.insert(Conn::new(stream, peer, tls));
                Some(peer)
            }
            Err(error) => {
                self.endpoint.release(peer);
                tracing::warn!(%error, "a connection could not be watched and is dropped");
                None
            }
        }
    }
}
