//! Peers that we call: from the handler's wish to reach an upstream to its verified 101, or to why not. It
//! connects nothing itself and resolves no name.
//!
//! ```text
//!  Outboxes::dial ─► poll_dial ─► the driver connects ─► our request ─► 101, judged ─► Open, Handler::dialed(Ok)
//!                        └─ refused, cut, too slow, wrong 101 ──────────────────────► Dead, Handler::dialed(Err)
//! ```
//! Nothing but our own request is sent before the 101 was judged (RFC 6455 §4.1), and no octet behind it is
//! read as anything but frames.

use super::peers::{Peer, PeerId, PeerInfo, Stage};
use super::{Core, Endpoint, Handler, Outboxes, Post};
use crate::config::Config;
use crate::connection::{Connection, Outbox, Role};
use crate::deflate;
use crate::handshake::client::{
    Accepted, Answer, ClientHandshake, ClientRequest, HandshakeError, RequestError,
};
use crate::handshake::{Fields, parse_offers};
use crate::time::Time;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Whom to call, and what to ask for. The masks of what is then sent come from the driver's random source.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Where the transport goes.
    pub to: SocketAddr,
    /// The name that the server's certificate must be for; `None` for a transport without TLS.
    pub server_name: Option<Arc<str>>,
    /// `Host`: `host` or `host:port`.
    pub authority: String,
    /// Path and query, percent-encoded, beginning with `/`.
    pub target: String,
    /// `Origin`, unchanged.
    pub origin: Option<String>,
    /// Subprotocols to offer, in order of preference.
    pub subprotocols: Vec<String>,
    /// Further fields; none of the handshake's own.
    pub headers: Vec<(String, String)>,
    /// Limits and timeouts of the connection; what is offered of compression.
    pub config: Arc<Config>,
    /// From the wish to the last octet of the 101; then it has failed. Default of [`Dial::new`]: 5 s.
    pub timeout: Duration,
}

impl Dial {
    /// A call without TLS that offers nothing.
    pub fn new(to: SocketAddr, authority: String, target: String, config: Arc<Config>) -> Dial {
        Dial {
            to,
            server_name: None,
            authority,
            target,
            origin: None,
            subprotocols: Vec::new(),
            headers: Vec::new(),
            config,
            timeout: Duration::from_secs(5),
        }
    }

    fn handshake(&self, key: [u8; 16]) -> Result<ClientHandshake, RequestError> {
        let subprotocols: Vec<&str> = self.subprotocols.iter().map(String::as_str).collect();
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let offer = deflate::offer(&self.config.deflate);
        ClientHandshake::new(&ClientRequest {
            origin: self.origin.as_deref(),
            subprotocols: &subprotocols,
            extensions: offer.as_deref(),
            headers: &headers,
            ..ClientRequest::new(&self.authority, &self.target, key)
        })
    }
}

/// What the driver is asked to connect.
#[derive(Clone, Debug)]
pub struct Call {
    /// The peer this will be: octets and events of the transport go to the endpoint under this name.
    pub peer: PeerId,
    /// Where to.
    pub to: SocketAddr,
    /// TLS, with a certificate for this name.
    pub server_name: Option<Arc<str>>,
}

/// Why no WebSocket came of a [`Dial`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DialError {
    /// The transport could not be opened, or broke: nobody listens, TLS failed.
    Transport,
    /// The server closed the transport before it had answered.
    Cut,
    /// No answer within [`Dial::timeout`].
    Timeout,
    /// Another answer than a 101.
    Refused {
        /// The status, 200 to 999.
        status: u16,
        /// The answer's fields.
        headers: Fields,
    },
    /// A 101, or no HTTP at all, that breaks the rules. The server erred.
    Handshake(HandshakeError),
    /// The 101 agrees on a compression that was not offered so, or cannot be. The server erred.
    Compression(deflate::BadAnswer),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Transport => f.write_str("it cannot be reached, or TLS failed"),
            DialError::Cut => f.write_str("it closed the connection before it answered"),
            DialError::Timeout => f.write_str("it did not answer in time"),
            DialError::Refused { status, .. } => write!(f, "it refused with {status}"),
            DialError::Handshake(error) => error.fmt(f),
            DialError::Compression(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DialError {}

/// A call under way.
pub(super) struct Dialing {
    handshake: ClientHandshake,
    /// Our request, as far as it is not written.
    pub(super) outbox: Outbox,
    octets: Vec<u8>,
    pub(super) deadline: Time,
    config: Arc<Config>,
    server_name: Option<Arc<str>>,
}

impl Core {
    /// Makes a peer of a wish; the driver is asked to connect it.
    pub(super) fn dial(&mut self, dial: &Dial) -> Result<PeerId, RequestError> {
        //= rfc6455#4.1  the key is a nonce of 16 octets, selected randomly for each connection.
        let mut key = [0; 16];
        self.resources.random().fill(&mut key);
        let handshake = dial.handshake(key)?;
        let mut outbox = Outbox::default();
        outbox.push(handshake.request(), b"", &mut self.resources);
        let stage = Stage::Dialing(Box::new(Dialing {
            handshake,
            outbox,
            octets: Vec::new(),
            deadline: self.now + dial.timeout,
            config: Arc::clone(&dial.config),
            server_name: dial.server_name.clone(),
        }));
        let info = PeerInfo {
            remote: dial.to,
            secure: dial.server_name.is_some(),
        };
        let peer = self.peers.insert(Peer::new(info, stage));
        self.calls.push_back(peer);
        self.arm(peer);
        Ok(peer)
    }

    /// Gives up a call; the handler knows.
    pub(super) fn hang_up(&mut self, peer: PeerId) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.kill(&mut self.resources);
        }
        self.touch(peer);
    }
}

impl<H: Handler> Endpoint<H> {
    /// The next transport to be opened. Name it by [`Call::peer`] from then on: [`Endpoint::handle_error`]
    /// if it cannot be opened; once it is, write what [`Endpoint::poll_transmit`] gives.
    pub fn poll_dial(&mut self) -> Option<Call> {
        while let Some(peer) = self.core.calls.pop_front() {
            if let Some(entry) = self.core.peers.get(peer) {
                if let Stage::Dialing(dialing) = &entry.stage {
                    return Some(Call {
                        peer,
                        to: entry.info.remote,
                        server_name: dialing.server_name.clone(),
                    });
                }
            }
        }
        None
    }

    /// Whether [`Endpoint::poll_dial`] may have something to say.
    pub fn wants_dial(&self) -> bool {
        !self.core.calls.is_empty()
    }

    /// Octets of an answer came.
    pub(super) fn answer(&mut self, peer: PeerId, input: &[u8], mail: &mut dyn Post<H::Mail>) {
        let limits = &self.core.config.head;
        let Some(Stage::Dialing(dialing)) = self.core.peers.get_mut(peer).map(|p| &mut p.stage)
        else {
            return;
        };
        dialing.octets.extend_from_slice(input);
        match dialing.handshake.parse_response(&dialing.octets, limits) {
            Ok(Answer::Incomplete) => {}
            Ok(Answer::Accepted(accepted)) => self.answered(peer, &accepted, mail),
            Ok(Answer::Refused(refused)) => {
                let error = DialError::Refused {
                    status: refused.status,
                    headers: refused.headers,
                };
                self.dial_failed(peer, error, mail);
            }
            Err(error) => self.dial_failed(peer, DialError::Handshake(error), mail),
        }
    }

    /// The 101 is right so far; what of its compression?
    fn answered(&mut self, peer: PeerId, accepted: &Accepted, mail: &mut dyn Post<H::Mail>) {
        let now = self.core.now;
        let Some(Stage::Dialing(dialing)) = self.core.peers.get_mut(peer).map(|p| &mut p.stage)
        else {
            return;
        };
        let config = Arc::clone(&dialing.config);
        let mut rest = dialing.octets.split_off(accepted.head_length);
        let value = accepted.extensions.as_deref().unwrap_or_default();
        let elements = match value {
            "" => Vec::new(),
            value => parse_offers(value.as_bytes()).expect("the handshake has judged it"),
        };
        let agreed = match deflate::judge(&elements, &config.deflate) {
            Ok(agreed) => agreed,
            Err(error) => return self.dial_failed(peer, DialError::Compression(error), mail),
        };
        let outbox = std::mem::take(&mut dialing.outbox);
        let mut connection = Connection::new(Role::Client, config, outbox, now);
        #[cfg(feature = "deflate")]
        if let Some(agreed) = agreed {
            connection.set_deflate(agreed, &mut self.core.resources);
        }
        #[cfg(not(feature = "deflate"))]
        let _ = (agreed, &mut connection);
        if let Some(entry) = self.core.peers.get_mut(peer) {
            entry.stage = Stage::Open(connection);
        }
        let mut out = Outboxes::new(&mut self.core, mail);
        self.handler.dialed(peer, Ok(accepted), &mut out);
        self.settle(mail);
        if !rest.is_empty() {
            self.frames(peer, &mut rest, mail);
        }
    }

    /// No WebSocket came of a call.
    pub(super) fn dial_failed(
        &mut self,
        peer: PeerId,
        error: DialError,
        mail: &mut dyn Post<H::Mail>,
    ) {
        self.core.hang_up(peer);
        let mut out = Outboxes::new(&mut self.core, mail);
        self.handler.dialed(peer, Err(&error), &mut out);
    }
}

#[cfg(test)]
mod tests;
