//! [`Relay`]: the gateway. A client and an upstream, two full endpoints and never a tunnel: each message is
//! received whole, inflated and judged on one side before it is framed anew, by us, on the other.
//!
//! ```text
//!  client ──► open: Hold ──► dial ──► upstream's 101 is judged ──► 101 to the client
//!     │                        └─ away, wrong, refused ──────────► 502, 504, or its refusal
//!     ├──── a whole message ────────────────────────────────────► framed anew, masked by our own key
//!     ├──── the other's outbox is high ─► hold, until it has drained
//!     └──── one side ends ─► the other is told in its own terms (`farewell`)
//! ```
//! Nothing reaches the upstream before its 101 was verified, and after a client's close verdict nothing of it
//! does. Pings and pongs end here: each side answers for itself.

mod settings;

pub use settings::RelaySettings;

use crate::inspect::rate::Meter;
use crate::policy::{Found, Route};
use crate::upstream::{forwarded, told};
use settings::Ready;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidegate_proto::handshake::client::Accepted;
use tidegate_proto::{
    Accept, CloseCode, Closed, Config, Dial, DialError, Handler, Incoming, Level, Opening,
    Outboxes, PeerId, ProtocolError, Rejection, Request, Side,
};

/// What one relay has done so far. Only its worker writes; anybody may read.
#[derive(Default, Debug)]
pub struct RelayCounts {
    /// Requests that the policy refused.
    pub denied: Number,
    /// Pairs that came about.
    pub paired: Number,
    /// Upstreams that could not be reached, cut us off, or did not answer in time.
    pub away: Number,
    /// Upstreams that refused.
    pub refused: Number,
    /// Upstreams whose answer was no right 101.
    pub wrong: Number,
    /// Messages passed to upstreams, and their octets.
    pub up: [Number; 2],
    /// Messages passed to clients, and their octets.
    pub down: [Number; 2],
    /// Upstreams that broke the protocol or a limit in mid-session.
    pub broken: Number,
    /// Clients that did.
    pub offended: Number,
    /// Clients that sent more than their budget.
    pub flooded: Number,
}

/// A number that one thread adds to.
#[derive(Default, Debug)]
pub struct Number(AtomicU64);

impl Number {
    fn add(&self, n: u64) {
        // One writer: no read-modify-write is needed.
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(n);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Mail for a relay.
#[derive(Clone, Debug)]
pub enum RelayMail {
    /// Other settings hold for who comes from now on; limits of open pairs stay.
    Settings(Arc<RelaySettings>),
}

/// The gateway of one worker.
pub struct Relay {
    settings: Arc<RelaySettings>,
    counts: Arc<RelayCounts>,
    /// By slot: who holds it, and what it is.
    ends: Vec<Option<(PeerId, End)>>,
    /// Whose turn it is among the upstream's addresses.
    turn: usize,
}

/// One end of a pair.
#[derive(Clone)]
struct End {
    /// The other one, as long as it is there.
    other: Option<PeerId>,
    is_client: bool,
    /// It is held until the other's outbox has drained.
    held: bool,
    /// A client's settings, until it is accepted.
    accept: Option<Arc<Config>>,
    /// What holds for the pair.
    route: Arc<Route>,
    messages: Meter,
    octets: Meter,
}

type Out<'a> = Outboxes<'a, RelayMail>;

impl Relay {
    /// A relay that counts in `counts`.
    pub fn new(settings: Arc<RelaySettings>, counts: Arc<RelayCounts>) -> Relay {
        Relay {
            settings,
            counts,
            ends: Vec::new(),
            turn: 0,
        }
    }

    /// Whether the peer is one that we have called.
    pub fn is_upstream(&self, peer: PeerId) -> bool {
        self.end(peer).is_some_and(|end| !end.is_client)
    }

    /// The other end of a pair, as long as both are there.
    pub fn other(&self, peer: PeerId) -> Option<PeerId> {
        self.end(peer)?.other
    }

    /// No pair is left.
    pub fn is_empty(&self) -> bool {
        self.ends.iter().all(Option::is_none)
    }

    fn end(&self, peer: PeerId) -> Option<&End> {
        let (holder, end) = self.ends.get(peer.slot() as usize)?.as_ref()?;
        (*holder == peer).then_some(end)
    }

    fn end_mut(&mut self, peer: PeerId) -> Option<&mut End> {
        let (holder, end) = self.ends.get_mut(peer.slot() as usize)?.as_mut()?;
        (*holder == peer).then_some(end)
    }

    fn put(&mut self, peer: PeerId, end: End) {
        let slot = peer.slot() as usize;
        if self.ends.len() <= slot {
            self.ends.resize(slot + 1, None);
        }
        self.ends[slot] = Some((peer, end));
    }

    /// Forgets a peer; the other one is alone from now on.
    fn take(&mut self, peer: PeerId) -> Option<End> {
        self.end(peer)?;
        let (_, end) = self.ends[peer.slot() as usize].take()?;
        if let Some(other) = end.other.and_then(|other| self.end_mut(other)) {
            other.other = None;
        }
        Some(end)
    }

    /// What the policy says of a request: its route, or why not.
    fn judge(&self, request: &Request, from: IpAddr) -> Result<(Ready, String), Rejection> {
        let policy = &self.settings.policy;
        // RFC 9112 lets the target win over Host; two names in one request only serve to confuse.
        let named = request.header_str("host").unwrap_or_default();
        if !named.eq_ignore_ascii_case(request.authority()) {
            let why = "the request target and Host name two hosts";
            return Err(Rejection::new(400, why));
        }
        let host = request.host();
        let Found { route, path } = policy
            .route(&host, request.path())
            .map_err(|no| no.rejection())?;
        if !request.secure() && !policy.allow_plain && !from.is_loopback() {
            return Err(Rejection::new(403, "only wss:// is spoken here"));
        }
        //= rfc6455#10.2  an Origin that is not acceptable is answered 403.
        route
            .origins
            .judge(request)
            .map_err(|fault| Rejection::new(403, fault.to_string()))?;
        let spoken = |name: &str| route.subprotocols.allows(name);
        if route.subprotocols.required && !request.subprotocols().any(spoken) {
            let why = "none of the subprotocols offered is spoken here";
            return Err(Rejection::new(400, why));
        }
        let ready = self.settings.ready(route);
        let target = match request.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        Ok((ready, target))
    }

    /// The call that asks the upstream what the client has asked us.
    fn call(
        &mut self,
        request: &Request,
        from: IpAddr,
        ready: &Ready,
        target: String,
    ) -> Result<Dial, Rejection> {
        let upstream = &self.settings.upstream;
        if upstream.addresses.is_empty() {
            return Err(Rejection::new(502, "the upstream's name has no address"));
        }
        self.turn = self.turn.wrapping_add(1);
        let headers =
            forwarded(request, from).map_err(|error| Rejection::new(400, error.to_string()))?;
        let subprotocols = request.subprotocols();
        let subprotocols = subprotocols.filter(|name| ready.route.subprotocols.allows(name));
        Ok(Dial {
            to: upstream.addresses[self.turn % upstream.addresses.len()],
            server_name: upstream.server_name.clone(),
            authority: request.authority().to_owned(),
            target,
            origin: request.origin().map(str::to_owned),
            subprotocols: subprotocols.map(str::to_owned).collect(),
            headers,
            config: Arc::clone(&ready.server),
            timeout: self.settings.patience,
        })
    }

    /// The upstream's answer is right: the client gets its 101.
    fn pair(&mut self, upstream: PeerId, client: PeerId, accepted: &Accepted, out: &mut Out<'_>) {
        let config = self.end_mut(client).and_then(|end| end.accept.take());
        let Some(config) = config else {
            return out.close(upstream, CloseCode::GOING_AWAY, "the client has left");
        };
        let accept = Accept {
            subprotocol: accepted.subprotocol.clone(),
            ..Accept::new(config)
        };
        if out.accept(client, accept).is_err() {
            // What the upstream chose was offered by the client, so this is a mistake of ours.
            self.take(client);
            return out.close(upstream, CloseCode::GOING_AWAY, "the client has left");
        }
        self.counts.paired.add(1);
    }

    fn not_paired(&mut self, client: PeerId, error: &DialError, out: &mut Out<'_>) {
        let counts = &self.counts;
        let count = match error {
            DialError::Refused { .. } => &counts.refused,
            DialError::Handshake(_) | DialError::Compression(_) => &counts.wrong,
            _ => &counts.away,
        };
        count.add(1);
        self.take(client);
        out.reject(client, &refusal(error));
    }
}

/// What a client is told when its upstream gave no right 101.
fn refusal(error: &DialError) -> Rejection {
    match error {
        DialError::Timeout => Rejection::new(504, "the server behind this gateway did not answer"),
        DialError::Refused { status, headers } if (300..=599).contains(status) => {
            let refusal = Rejection::new(*status, "the server behind this gateway refused");
            told(headers).fold(refusal, |refusal, (name, value)| {
                let plain = refusal.clone();
                refusal.with_header(name, value).unwrap_or(plain)
            })
        }
        _ => Rejection::new(502, "the server behind this gateway gave no valid answer"),
    }
}

/// What is said to the one side when the other has ended so.
///
/// | the client ended | the upstream is told | the upstream ended | the client is told |
/// |---|---|---|---|
/// | with a Close | the same | with a Close | the same |
/// | broke a rule, silent, gone | 1001 | broke a rule | 1014 |
/// | | | silent, gone | 1013 |
fn farewell(why: &Closed, client_ended: bool) -> (CloseCode, &str) {
    if why.clean && why.by == Side::Peer {
        return (why.code.unwrap_or(CloseCode::NORMAL), &why.reason);
    }
    if client_ended {
        return (CloseCode::GOING_AWAY, "the client has gone");
    }
    match why.cause {
        Some(cause) if broke_a_rule(cause) => {
            (CloseCode::BAD_GATEWAY, "the server gave no valid answer")
        }
        _ => (CloseCode::TRY_AGAIN, "the server has gone"),
    }
}

/// Whether a peer did what it must not, and did not just leave undone what it should.
fn broke_a_rule(cause: ProtocolError) -> bool {
    !matches!(
        cause,
        ProtocolError::Unresponsive | ProtocolError::CloseTimeout | ProtocolError::SlowConsumer
    )
}

impl Handler for Relay {
    type Mail = RelayMail;

    fn open(&mut self, peer: PeerId, request: &Request, out: &mut Out<'_>) -> Opening {
        let from = out
            .remote(peer)
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |remote| remote.ip());
        let call = self.judge(request, from).and_then(|(ready, target)| {
            let dial = self.call(request, from, &ready, target)?;
            Ok((ready, dial))
        });
        let (ready, dial) = match call {
            Ok(call) => call,
            Err(refusal) => {
                self.counts.denied.add(1);
                return Opening::Reject(refusal);
            }
        };
        let upstream = match out.dial(&dial) {
            Ok(upstream) => upstream,
            Err(error) => {
                let why = format!("the request cannot be passed on: {error}");
                return Opening::Reject(Rejection::new(400, why));
            }
        };
        let end = End {
            other: Some(upstream),
            is_client: true,
            held: false,
            accept: Some(ready.client),
            route: ready.route,
            messages: Meter::default(),
            octets: Meter::default(),
        };
        let upstream_end = End {
            other: Some(peer),
            is_client: false,
            accept: None,
            ..end.clone()
        };
        self.put(peer, end);
        self.put(upstream, upstream_end);
        // The call has a deadline of its own; this one only sees to it that no mistake keeps a client for ever.
        Opening::Hold(self.settings.patience + Duration::from_secs(1))
    }

    fn dialed(&mut self, peer: PeerId, answer: Result<&Accepted, &DialError>, out: &mut Out<'_>) {
        let client = self.end(peer).and_then(|end| end.other);
        match (client, answer) {
            (Some(client), Ok(accepted)) => self.pair(peer, client, accepted, out),
            (Some(client), Err(error)) => {
                self.take(peer);
                self.not_paired(client, error, out);
            }
            (None, Ok(_)) => out.close(peer, CloseCode::GOING_AWAY, "the client has left"),
            (None, Err(_)) => drop(self.take(peer)),
        }
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Out<'_>) {
        let (now, len) = (out.now(), message.as_bytes().len() as u64);
        let Some(end) = self.end_mut(peer) else {
            return;
        };
        let Some(other) = end.other else {
            return;
        };
        // What an upstream says was asked for, so only clients have a budget.
        if end.is_client {
            let budget = end.route.budget;
            let fits = end.messages.take(budget.messages, 1, now)
                && end.octets.take(budget.bytes, len, now);
            if !fits {
                self.counts.flooded.add(1);
                return out.close(peer, CloseCode::POLICY, "more than this client's budget");
            }
        }
        let [messages, octets] = match end.is_client {
            true => &self.counts.up,
            false => &self.counts.down,
        };
        messages.add(1);
        octets.add(len);
        if out.send_incoming(other, &message) == Level::High {
            out.hold(peer);
            if let Some(end) = self.end_mut(peer) {
                end.held = true;
            }
        }
    }

    fn mail(&mut self, mail: RelayMail, _: &mut Out<'_>) {
        match mail {
            RelayMail::Settings(settings) => self.settings = settings,
        }
    }

    fn drained(&mut self, peer: PeerId, out: &mut Out<'_>) {
        let other = self.end(peer).and_then(|end| end.other);
        if let Some(end) = other.and_then(|other| self.end_mut(other)) {
            if std::mem::take(&mut end.held) {
                other.into_iter().for_each(|other| out.release(other));
            }
        }
    }

    /// A client is told to come back, and its upstream that it goes; an upstream waits for its client's turn.
    fn drain(&mut self, peer: PeerId, out: &mut Out<'_>) {
        let Some(end) = self.end_mut(peer).filter(|end| end.is_client) else {
            return;
        };
        let upstream = end.other.take();
        out.close(peer, CloseCode::RESTART, "the gateway restarts");
        if let Some(upstream) = upstream {
            if let Some(end) = self.end_mut(upstream) {
                end.other = None;
            }
            out.close(upstream, CloseCode::GOING_AWAY, "the gateway restarts");
        }
    }

    fn closed(&mut self, peer: PeerId, why: &Closed, out: &mut Out<'_>) {
        let Some(end) = self.take(peer) else {
            return;
        };
        if why.cause.is_some_and(broke_a_rule) {
            match end.is_client {
                true => self.counts.offended.add(1),
                false => self.counts.broken.add(1),
            }
        }
        let Some(other) = end.other else {
            return;
        };
        if end.accept.is_some() {
            // The call is given up, and nothing more is said of it.
            self.take(other);
        }
        let (code, reason) = farewell(why, end.is_client);
        out.close(other, code, reason);
    }
}

#[cfg(test)]
mod tests;
