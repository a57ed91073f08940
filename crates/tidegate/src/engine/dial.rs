//! The worker's way out: connects the upstreams that its handler calls. It retries nothing, looks no name up,
//! and keeps no connection for later.

use super::conn::{Conn, Mark};
use super::session::Session;
use super::worker::Worker;
use mio::net::TcpStream;
use mio::{Interest, Token};
use rustls::pki_types::ServerName;
use std::io;
use tidegate_proto::{Call, Handler, Time};

/// Calls begun in a turn; the rest has the next one.
const CALLS_A_TURN: usize = 128;

impl<H: Handler> Worker<H> {
    /// Begins the calls that wait.
    pub(super) fn dial(&mut self, now: Time) {
        for _ in 0..CALLS_A_TURN {
            let Some(call) = self.endpoint.poll_dial() else {
                return;
            };
            if let Err(error) = self.connect(&call) {
                tracing::debug!(to = %call.to, %error, "an upstream cannot be called");
                self.endpoint.handle_error(now, call.peer, &mut self.post);
            }
        }
    }

    /// Begins to connect; the socket's first event tells what came of it.
    fn connect(&mut self, call: &Call) -> io::Result<()> {
        let tls = match &call.server_name {
            None => None,
            Some(name) => Some(Box::new(self.upstream_session(name)?)),
        };
        let mut stream = TcpStream::connect(call.to)?;
        let _ = stream.set_nodelay(true); // without it messages are late, not wrong
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(call.peer.slot() as usize);
        self.poll
            .registry()
            .register(&mut stream, token, interest)?;
        let mut conn = Conn::new(stream, call.peer, tls);
        conn.set(Mark::Connecting);
        conn.set(Mark::Blocked);
        self.conns.insert(conn);
        Ok(())
    }

    fn upstream_session(&self, name: &str) -> io::Result<Session> {
        let Some(config) = &self.shared.upstream_tls else {
            return Err(io::Error::other(
                "no TLS settings for upstreams: see ServerBuilder::upstream_tls",
            ));
        };
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        Session::client(config, name).map_err(io::Error::other)
    }
}
