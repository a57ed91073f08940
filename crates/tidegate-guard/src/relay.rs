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

mod history;
mod settings;

pub use settings::RelaySettings;

use crate::audit::{Event, What};
use crate::behaviour::Act;
use crate::credential::{Bearer, Revocation, Sessions};
use crate::crowd::Place;
use crate::door::{self, Door, Pass, Refused};
use crate::inspect::inspector::{Direction, Finding, Verdict};
use crate::inspect::rate::Meter;
use crate::judges::Judges;
use crate::policy::Route;
use crate::upstream::{Seen, forwarded, told};
use history::History;
use settings::Ready;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidegate_proto::handshake::client::Accepted;
use tidegate_proto::{
    Accept, CloseCode, Closed, Config, Dial, DialError, Handler, Incoming, Level, Opening,
    Outboxes, PeerId, ProtocolError, Rejection, Request, Side, Time, TimerId,
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
    /// Credentials are believed no longer: who came with them is closed, who comes with them is refused.
    Revoke(Revocation),
    /// A user has these roles from now on, and no others.
    Roles(Arc<str>, Arc<[Box<str>]>),
}

/// Hears of what the relay does; called on the worker, so it must not wait.
pub type Witness = Arc<dyn Fn(Event) + Send + Sync>;

/// The gateway of one worker.
pub struct Relay {
    settings: Arc<RelaySettings>,
    counts: Arc<RelayCounts>,
    door: Door,
    witness: Witness,
    sessions: Sessions,
    /// By a client's slot: its places in the crowd.
    places: BTreeMap<u32, Vec<Place>>,
    /// How many clients there have been.
    serial: u64,
    /// By slot: who holds it, and what it is.
    ends: Vec<Option<(PeerId, End)>>,
    /// Whose turn it is among the upstream's addresses.
    turn: usize,
    judges: Judges,
    /// By a client's slot, on routes that watch across messages.
    histories: BTreeMap<u32, History>,
    /// Clients that we have ended, and when they are heard out; the first to come first.
    ended: VecDeque<(Time, PeerId)>,
    /// Those that are heard now.
    heard: Vec<PeerId>,
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
    /// Its number in the audit log; both ends have the same.
    serial: u64,
    /// Until when its first message must have come, which is the token.
    awaits: Option<Time>,
    /// The rule by which we end it.
    ended_by: Option<&'static str>,
    /// Where the client comes from.
    from: IpAddr,
    /// When the client got its 101, and when this end said something last.
    since: Time,
    last: Time,
    /// When it is asked next whether both are idle.
    idle_at: Time,
    messages: Meter,
    octets: Meter,
}

type Out<'a> = Outboxes<'a, RelayMail>;

impl Relay {
    /// A relay that counts in `counts` and tells `witness`; `shared` is the door's part that all workers share.
    pub fn new(
        settings: Arc<RelaySettings>,
        counts: Arc<RelayCounts>,
        shared: door::Shared,
        witness: Witness,
    ) -> Relay {
        Relay {
            door: Door::new(Arc::clone(&settings.policy), shared),
            settings,
            counts,
            witness,
            sessions: Sessions::default(),
            places: BTreeMap::new(),
            serial: 0,
            ends: Vec::new(),
            turn: 0,
            judges: Judges::default(),
            histories: BTreeMap::new(),
            ended: VecDeque::new(),
            heard: Vec::new(),
        }
    }

    /// Where a request counts as coming from: its socket's address, or what a proxy of ours says.
    pub fn origin_of(
        &self,
        peer: PeerId,
        request: &Request,
        out: &Outboxes<'_, RelayMail>,
    ) -> IpAddr {
        let proxies = &self.settings.policy.trusted_proxies;
        proxies.client(address(peer, out), request)
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
        end_of(&mut self.ends, peer)
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

    /// The call that asks the upstream what the client has asked us.
    fn call(
        &mut self,
        request: &Request,
        from: IpAddr,
        ready: &Ready,
        pass: &Pass,
    ) -> Result<Dial, Rejection> {
        let upstream = &self.settings.upstream;
        if upstream.addresses.is_empty() {
            return Err(Rejection::new(502, "the upstream's name has no address"));
        }
        self.turn = self.turn.wrapping_add(1);
        let shows = self.settings.policy.client_cert;
        let seen = Seen {
            from,
            secure: request.secure(),
            authority: request.authority(),
            certificate: request.certificate().filter(|_| shows),
        };
        let headers =
            forwarded(request, &seen).map_err(|error| Rejection::new(400, error.to_string()))?;
        let target = match &pass.query {
            Some(query) => format!("{}?{query}", pass.path),
            None => pass.path.clone(),
        };
        Ok(Dial {
            to: upstream.addresses[self.turn % upstream.addresses.len()],
            server_name: upstream.server_name.clone(),
            authority: request.authority().to_owned(),
            target,
            origin: request.origin().map(str::to_owned),
            subprotocols: pass.subprotocols.clone(),
            headers,
            config: Arc::clone(&ready.server),
            timeout: self.settings.patience,
        })
    }

    /// The upstream's answer is right: the client gets its 101.
    fn pair(&mut self, upstream: PeerId, client: PeerId, accepted: &Accepted, out: &mut Out<'_>) {
        if self.end(client).is_some_and(|end| end.ended_by.is_some()) {
            self.take(client);
            self.leave(client);
            out.reject(client, &Rejection::new(401, "the credential has ended"));
            return out.close(upstream, CloseCode::GOING_AWAY, "the client has left");
        }
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
            self.leave(client);
            return out.close(upstream, CloseCode::GOING_AWAY, "the client has left");
        }
        self.counts.paired.add(1);
        self.begin(client, out);
    }

    /// The client has its 101: its credential runs from here, or is awaited.
    fn begin(&mut self, client: PeerId, out: &mut Out<'_>) {
        let now = out.now();
        let Some(end) = self.end_mut(client) else {
            return;
        };
        let (other, route, serial) = (end.other, Arc::clone(&end.route), end.serial);
        let from = end.from;
        (end.since, end.last) = (now, now);
        if let Some(lifetime) = route.limits.lifetime {
            out.timer(timer(LIFETIME, client), now + lifetime);
        }
        if let Some(idle) = route.limits.idle {
            end.idle_at = now + idle;
            out.timer(timer(IDLE, client), end.idle_at);
        }
        if let (Some(_), Some(auth)) = (end.awaits, &route.auth) {
            let until = now + auth.first_message;
            end.awaits = Some(until);
            out.timer(timer(TOKEN, client), until);
            // The upstream may speak first, and nobody has earned to hear it yet.
            other.into_iter().for_each(|other| out.hold(other));
        }
        let identity = self.sessions.get(client).map(|bearer| {
            out.timer(timer(END, client), bearer.ends);
            bearer.subject.clone()
        });
        let what = What::Open {
            route: route.name.clone(),
            remote: from,
            identity,
        };
        self.tell(out, serial, what);
    }

    fn tell(&self, out: &Out<'_>, serial: u64, what: What) {
        (self.witness)(Event {
            at: out.now(),
            connection: Event::number(out.worker(), serial),
            what,
        });
    }

    /// A request goes no further.
    fn deny(&self, refused: Refused, from: IpAddr, out: &Out<'_>) -> Opening {
        self.counts.denied.add(1);
        let what = What::Refused {
            route: refused.route,
            remote: from,
            status: refused.rejection.sent_status(),
            rule: refused.rule.into(),
        };
        self.tell(out, 0, what);
        Opening::Reject(*refused.rejection)
    }

    /// We end a client, by a rule.
    fn end_by(&mut self, peer: PeerId, rule: &'static str, out: &mut Out<'_>) {
        let Some(end) = self.end_mut(peer) else {
            return;
        };
        end.ended_by = Some(rule);
        let (code, accepted) = (end_code(&end.route, rule), end.accept.is_none());
        // Who has no 101 yet gets none: `pair` sees to it.
        if accepted {
            out.close(peer, code, rule);
        }
    }

    /// The content rules let a message not pass: its pair ends, and the client hears by which rule.
    fn block(&mut self, peer: PeerId, finding: &Finding, out: &mut Out<'_>) {
        self.tell_findings(peer, std::slice::from_ref(finding), out);
        let client = match self.end(peer) {
            Some(end) if end.is_client => Some(peer),
            Some(end) => end.other,
            None => None,
        };
        let Some(client) = client else {
            return;
        };
        if let Some(end) = self.end_mut(client) {
            end.ended_by = Some(finding.rule);
        }
        out.close(client, finding.close, finding.rule);
        self.hear_out(client, out);
        if let Some(upstream) = self.other(client) {
            self.part(client, upstream, "the client has gone", out);
        }
    }

    /// We have ended a client. It is not read any more, so that who floods on takes no turns from others; but for one moment,
    /// when what it sent before it could know, and its answer to our Close, have had time to come.
    fn hear_out(&mut self, client: PeerId, out: &mut Out<'_>) {
        out.mute(client);
        let at = out.now() + ANSWERED;
        if self.ended.is_empty() && self.heard.is_empty() {
            out.timer(TimerId(QUIET << 56), at);
        }
        self.ended.push_back((at, client));
    }

    /// Those whose time has come are heard until the timers' next tick.
    fn quieten(&mut self, out: &mut Out<'_>) {
        for client in self.heard.drain(..) {
            out.mute(client);
        }
        let now = out.now();
        while let Some((at, client)) = self.ended.front().copied() {
            if at > now {
                break;
            }
            self.ended.pop_front();
            out.release(client);
            self.heard.push(client);
        }
        let next = match self.heard.is_empty() {
            true => self.ended.front().map(|(at, _)| *at),
            false => Some(now),
        };
        if let Some(at) = next {
            out.timer(TimerId(QUIET << 56), at);
        }
    }

    /// The two have nothing more to do with each other: what comes of either from now on goes nowhere.
    fn part(&mut self, client: PeerId, upstream: PeerId, reason: &str, out: &mut Out<'_>) {
        for peer in [client, upstream] {
            if let Some(end) = self.end_mut(peer) {
                end.other = None;
            }
        }
        out.close(upstream, CloseCode::GOING_AWAY, reason);
    }

    fn tell_findings(&self, peer: PeerId, findings: &[Finding], out: &Out<'_>) {
        let Some(end) = self.end(peer) else {
            return;
        };
        for finding in findings {
            let what = What::verdict(&end.route, finding, end.is_client);
            self.tell(out, end.serial, what);
        }
    }

    /// Its places are free, and its session is over.
    fn leave(&mut self, peer: PeerId) {
        self.sessions.leave(peer);
        self.places.remove(&peer.slot());
        self.histories.remove(&peer.slot());
    }

    /// Whether what is known from before lets a client in.
    fn admits(&mut self, pass: &Pass, from: IpAddr, now: Time) -> Result<(), Refused> {
        if pass.route.behaviour.is_none() {
            return Ok(());
        }
        let judge = self.judges.of(&pass.route, self.door.behaviours());
        let Some(counters) = &judge.counters else {
            return Ok(());
        };
        let history = History::new(from);
        match counters
            .lock()
            .admits(&history.who(pass.bearer.as_ref()), now)
        {
            true => Ok(()),
            false => {
                let rejection = door::crowded("too many failures before; try again later");
                Err(door::refused(
                    Some(&pass.route),
                    "behaviour-failures",
                    rejection,
                ))
            }
        }
    }

    /// What a message shows together with those before it; false when it goes no further.
    fn behaves(&mut self, peer: PeerId, message: &[u8], out: &mut Out<'_>) -> bool {
        let now = out.now();
        let Some(end) = end_of(&mut self.ends, peer) else {
            return false;
        };
        let judge = self.judges.of(&end.route, self.door.behaviours());
        let client = if end.is_client { Some(peer) } else { end.other };
        let (Some(counters), Some(client)) = (&judge.counters, client) else {
            return true;
        };
        let Some(history) = self.histories.get_mut(&client.slot()) else {
            return true;
        };
        let bearer = self.sessions.get(client);
        let (who, conversation) = history.parts(bearer);
        let direction = direction(end.is_client);
        let act = counters
            .lock()
            .message(direction, &who, conversation, message, now);
        match act {
            Act::Pass => true,
            Act::Monitor(finding) => {
                self.tell_findings(peer, &[finding], out);
                true
            }
            Act::Drop(finding) => {
                self.tell_findings(peer, &[finding], out);
                false
            }
            Act::Close(finding) => {
                self.block(peer, &finding, out);
                false
            }
        }
    }

    /// Nobody has said anything for too long; or it is looked again later.
    fn idle(&mut self, slot: u32, out: &mut Out<'_>) {
        let now = out.now();
        let Some(Some((client, end))) = self.ends.get(slot as usize) else {
            return;
        };
        let (client, limit) = (*client, end.route.limits.idle);
        let (true, Some(idle)) = (end.is_client && end.idle_at <= now, limit) else {
            return;
        };
        let heard = end.other.and_then(|other| self.end(other));
        let last = heard.map_or(end.last, |other| other.last.max(end.last));
        if last + idle <= now {
            return self.end_by(client, "idle", out);
        }
        if let Some(end) = self.end_mut(client) {
            end.idle_at = last + idle;
            out.timer(timer(IDLE, client), end.idle_at);
        }
    }

    /// It has lasted as long as it may.
    fn outlived(&mut self, slot: u32, out: &mut Out<'_>) {
        let Some(Some((client, end))) = self.ends.get(slot as usize) else {
            return;
        };
        let client = *client;
        let over = |lifetime| end.since > Time::ZERO && end.since + lifetime <= out.now();
        if end.is_client && end.route.limits.lifetime.is_some_and(over) {
            self.end_by(client, "lifetime", out);
        }
    }

    /// The first message is the token. It goes no further, whatever it is.
    fn first_message(&mut self, peer: PeerId, message: &Incoming<'_>, out: &mut Out<'_>) {
        let Some(route) = self.end(peer).map(|end| Arc::clone(&end.route)) else {
            return;
        };
        let token = std::str::from_utf8(message.as_bytes()).unwrap_or_default();
        let found = self.door.first_message(&route, token, out.now());
        let bearer = match found {
            Ok(bearer) => bearer,
            Err(bad) => return self.end_by(peer, bad.name(), out),
        };
        match self.door.place(&route, &bearer) {
            Ok(place) => self.places.entry(peer.slot()).or_default().push(place),
            Err(refused) => return self.end_by(peer, refused.rule, out),
        }
        self.believe(peer, bearer, out);
    }

    fn believe(&mut self, peer: PeerId, bearer: Bearer, out: &mut Out<'_>) {
        out.timer(timer(END, peer), bearer.ends);
        let identity = Some(bearer.subject.clone());
        self.sessions.enter(peer, bearer);
        let Some(end) = self.end_mut(peer) else {
            return;
        };
        end.awaits = None;
        let (other, serial, route) = (end.other, end.serial, end.route.name.clone());
        let remote = end.from;
        other.into_iter().for_each(|other| out.release(other));
        self.tell(
            out,
            serial,
            What::Open {
                route,
                remote,
                identity,
            },
        );
    }

    /// Closes who came with what is revoked, and remembers it for who comes.
    fn revoke(&mut self, revocation: Revocation, out: &mut Out<'_>) {
        for peer in self.sessions.hit_by(&revocation) {
            self.end_by(peer, "revoked", out);
        }
        // When the list is full the control plane has said so before.
        let _ = self.door.revocations().add(revocation);
    }

    /// Closes who has lost the role that their route asks.
    fn change_roles(&mut self, subject: &str, roles: &[Box<str>], out: &mut Out<'_>) {
        for peer in self.sessions.change_roles(subject, roles) {
            let asked = self.end(peer).and_then(|end| end.route.auth.as_ref());
            let Some(asked) = asked.map(|auth| auth.roles.clone()) else {
                continue;
            };
            if !self
                .sessions
                .get(peer)
                .is_some_and(|bearer| bearer.has_one_of(&asked))
            {
                self.end_by(peer, "role", out);
            }
        }
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
        self.leave(client);
        out.reject(client, &refusal(error));
    }
}

fn end_of(ends: &mut [Option<(PeerId, End)>], peer: PeerId) -> Option<&mut End> {
    let (holder, end) = ends.get_mut(peer.slot() as usize)?.as_mut()?;
    (*holder == peer).then_some(end)
}

/// The address of a peer's socket.
fn address(peer: PeerId, out: &Out<'_>) -> IpAddr {
    let remote = out.remote(peer);
    remote.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |remote| remote.ip())
}

/// The close code when we end a client by a rule about its credential.
fn end_code(route: &Route, rule: &str) -> CloseCode {
    let asked = route
        .auth
        .as_ref()
        .and_then(|auth| CloseCode::new(auth.end_code));
    match rule {
        "role" => CloseCode::POLICY,
        "idle" | "lifetime" => CloseCode::GOING_AWAY,
        _ => asked.unwrap_or(CloseCode::POLICY),
    }
}

/// The name of a breach of the protocol in the audit log.
fn rule_of(cause: ProtocolError) -> &'static str {
    match broke_a_rule(cause) {
        true => "protocol",
        false => "silence",
    }
}

fn direction(from_client: bool) -> Direction {
    match from_client {
        true => Direction::ToServer,
        false => Direction::ToClient,
    }
}

fn timer(kind: u64, peer: PeerId) -> TimerId {
    TimerId((kind << 56) | u64::from(peer.slot()))
}

/// Timers: a credential ends; its time to come is over.
const END: u64 = 3;
const TOKEN: u64 = 4;
/// Nothing was said for long; it has lasted long.
const IDLE: u64 = 5;
const LIFETIME: u64 = 6;
/// Clients that we have ended are heard out.
const QUIET: u64 = 7;

/// So long after we have ended a client it has answered, on most networks.
const ANSWERED: Duration = Duration::from_millis(50);

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
        let (remote, from) = (address(peer, out), self.origin_of(peer, request, out));
        let judged = self.door.judge(request, remote, out.now());
        let judged = judged.and_then(|pass| {
            self.admits(&pass, from, out.now())?;
            Ok(pass)
        });
        let pass = match judged {
            Ok(pass) => pass,
            Err(refused) => return self.deny(refused, from, out),
        };
        let ready = self.settings.ready(&pass.route);
        let dial = match self.call(request, from, &ready, &pass) {
            Ok(dial) => dial,
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
        self.serial += 1;
        let end = End {
            other: Some(upstream),
            is_client: true,
            held: false,
            accept: Some(ready.client),
            route: ready.route,
            serial: self.serial,
            // The moment is set once there is a 101.
            awaits: pass.awaits_token.then_some(Time::ZERO),
            ended_by: None,
            from,
            since: Time::ZERO,
            last: Time::ZERO,
            idle_at: Time::ZERO,
            messages: Meter::default(),
            octets: Meter::default(),
        };
        let upstream_end = End {
            other: Some(peer),
            is_client: false,
            accept: None,
            awaits: None,
            ..end.clone()
        };
        if end.route.behaviour.is_some() {
            self.histories.insert(peer.slot(), History::new(from));
        }
        if let Some(bearer) = pass.bearer {
            self.sessions.enter(peer, bearer);
        }
        self.places.insert(peer.slot(), pass.places);
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
        if self.end(peer).is_some_and(|end| end.awaits.is_some()) {
            return self.first_message(peer, &message, out);
        }
        let Some(end) = end_of(&mut self.ends, peer) else {
            return;
        };
        let Some(other) = end.other else {
            return;
        };
        end.last = now;
        // What an upstream says was asked for, so only clients have a budget.
        if end.is_client {
            let budget = end.route.budget;
            let fits = end.messages.take(budget.messages, 1, now)
                && end.octets.take(budget.bytes, len, now);
            if !fits {
                end.ended_by = Some("budget");
                let (serial, what) = (end.serial, What::flood(&end.route));
                self.counts.flooded.add(1);
                self.tell(out, serial, what);
                out.close(peer, CloseCode::POLICY, "more than this client's budget");
                return self.hear_out(peer, out);
            }
        }
        let is_client = end.is_client;
        let judge = self.judges.of(&end.route, self.door.behaviours());
        let verdict = judge.judge(direction(is_client), &message);
        let watched = judge.counters.is_some() && !matches!(verdict, Verdict::Block(_));
        if watched && !self.behaves(peer, message.as_bytes(), out) {
            return;
        }
        let level = match verdict {
            Verdict::Pass => out.send_incoming(other, message),
            Verdict::Monitor(findings) => {
                self.tell_findings(peer, &findings, out);
                out.send_incoming(other, message)
            }
            Verdict::Replace(masked, findings) => {
                self.tell_findings(peer, &findings, out);
                match (message, std::str::from_utf8(&masked)) {
                    (Incoming::Text(_), Ok(text)) => out.send_text(other, text),
                    _ => out.send_binary(other, &masked),
                }
            }
            Verdict::Block(finding) => return self.block(peer, &finding, out),
        };
        let [messages, octets] = match is_client {
            true => &self.counts.up,
            false => &self.counts.down,
        };
        messages.add(1);
        octets.add(len);
        if level == Level::High {
            out.hold(peer);
            if let Some(end) = self.end_mut(peer) {
                end.held = true;
            }
        }
    }

    fn mail(&mut self, mail: RelayMail, out: &mut Out<'_>) {
        match mail {
            RelayMail::Settings(settings) => {
                self.door.set_policy(Arc::clone(&settings.policy));
                self.settings = settings;
                self.judges.forget_unused();
            }
            RelayMail::Revoke(revocation) => self.revoke(revocation, out),
            RelayMail::Roles(subject, roles) => self.change_roles(&subject, &roles, out),
        }
    }

    /// A credential has ended, or its time to come has. A timer of an earlier client in the slot finds nothing.
    fn timeout(&mut self, timer: TimerId, out: &mut Out<'_>) {
        let (kind, slot) = (timer.0 >> 56, timer.0 as u32);
        let now = out.now();
        let holder = self.ends.get(slot as usize).and_then(Option::as_ref);
        let late = holder
            .filter(|(_, end)| {
                end.awaits
                    .is_some_and(|until| until > Time::ZERO && until <= now)
            })
            .map(|(peer, _)| *peer);
        match kind {
            END => {
                let ended = self.sessions.ended(slot, now);
                ended
                    .into_iter()
                    .for_each(|peer| self.end_by(peer, "token_expired", out));
            }
            TOKEN => late
                .into_iter()
                .for_each(|peer| self.end_by(peer, "token_missing", out)),
            IDLE => self.idle(slot, out),
            LIFETIME => self.outlived(slot, out),
            QUIET => self.quieten(out),
            _ => {}
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
        let Some(upstream) = self
            .end(peer)
            .filter(|end| end.is_client)
            .map(|end| end.other)
        else {
            return;
        };
        out.close(peer, CloseCode::RESTART, "the gateway restarts");
        if let Some(upstream) = upstream {
            self.part(peer, upstream, "the gateway restarts", out);
        }
    }

    fn closed(&mut self, peer: PeerId, why: &Closed, out: &mut Out<'_>) {
        let Some(end) = self.take(peer) else {
            return;
        };
        if end.is_client {
            self.leave(peer);
            let what = What::Close {
                route: end.route.name.clone(),
                code: why.code.map(CloseCode::get),
                rule: end.ended_by.or(why.cause.map(rule_of)).map(Into::into),
            };
            self.tell(out, end.serial, what);
        }
        if why.cause.is_some_and(broke_a_rule) {
            match end.is_client {
                true => {
                    self.counts.offended.add(1);
                    self.hear_out(peer, out);
                }
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
