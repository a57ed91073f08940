//! What an upgrade's path leads to: the echo, the hub or the observer. It never looks into messages.

use crate::admission::{Admission, Crowded};
use crate::counts::{ByRoute, Count, Counts, WorkerCounts};
use crate::leaving::{Leaving, Pace};
use crate::settings::DoorRules;
use crate::wire::{Observer, Secret, WireMail};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tidegate::engine::Echo;
use tidegate_guard::{Guard, Witness, door};
use tidegate_hub::{HubConfig, Shard, ShardMail};
use tidegate_proto::{
    Accept, CloseCode, Closed, Handler, Incoming, Opening, Outboxes, PeerId, Rejection, Request,
    TimerId, Wire, WorkerId,
};
use tracing::debug;

/// All routes of one worker.
pub(crate) struct Routes {
    /// By slot; who holds the slot, and what it was connected to.
    peers: Vec<Option<(PeerId, Route)>>,
    open: usize,
    /// Where clients come from for whom a proxy of ours speaks; all others have their socket's address.
    behind: HashMap<PeerId, IpAddr>,
    rules: Arc<DoorRules>,
    shared: Shared,
    worker: usize,
    workers: u32,
    leaving: Leaving<PeerId>,
    echo: Echo,
    /// Behind a budget for each peer: a flood is closed with 1008 before it costs the others.
    hub: Guard<Shard>,
    /// Only in development mode.
    observer: Option<Observer>,
}

/// What the routes of all workers share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// How many are here.
    pub(crate) admission: Arc<Admission>,
    /// What has happened.
    pub(crate) counts: Arc<Counts>,
}

impl Shared {
    /// Nobody is here, nothing has happened.
    pub(crate) fn new(workers: usize) -> Shared {
        Shared {
            admission: Arc::new(Admission::new()),
            counts: Arc::new(Counts::new(workers)),
        }
    }
}

/// Mail between the routes of workers.
pub(crate) enum RoutesMail {
    /// Other rules hold for who comes from now on.
    Rules(Arc<DoorRules>),
    /// For the hub.
    Hub(ShardMail),
    /// For the observer.
    Wire(WireMail),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Echo,
    Hub,
    Wire,
}

impl Route {
    /// By the decoded path of the request.
    fn of(path: &str) -> Option<Route> {
        match path {
            "/" | "/echo" => Some(Route::Echo),
            "/connection/websocket" => Some(Route::Hub),
            "/wire" => Some(Route::Wire),
            _ => None,
        }
    }

    /// This route's part of a count.
    fn of_counts(self, counts: &ByRoute) -> &Count {
        match self {
            Route::Echo => &counts.echo,
            Route::Hub => &counts.hub,
            Route::Wire => &counts.wire,
        }
    }
}

type Out<'a> = Outboxes<'a, RoutesMail>;

impl Routes {
    /// The routes of `worker`; with an observer if `dev`.
    pub(crate) fn new(
        rules: Arc<DoorRules>,
        shared: Shared,
        config: Arc<HubConfig>,
        worker: WorkerId,
        workers: usize,
        dev: bool,
        guard: Option<(door::Shared, Witness)>,
    ) -> Routes {
        let hub = Guard::new(Shard::new(config, worker, workers), rules.budget);
        let hub = match (guard, &rules.guard) {
            // JSON commands come several to a message, one a line.
            (Some((shared, witness)), Some(policy)) => {
                hub.with_policy(Arc::clone(policy), shared, witness, true)
            }
            _ => hub,
        };
        Routes {
            peers: Vec::new(),
            open: 0,
            behind: HashMap::new(),
            shared,
            worker: usize::from(worker.0),
            workers: u32::try_from(workers).unwrap_or(u32::MAX),
            leaving: Leaving::default(),
            echo: Echo::default(),
            hub,
            rules,
            observer: dev.then(Observer::new),
        }
    }

    fn counts(&self) -> &WorkerCounts {
        self.shared.counts.worker(self.worker)
    }

    /// Whether a request may name this host.
    fn check_host(&self, request: &Request) -> Result<(), Rejection> {
        if self.rules.hosts.allow(request.authority()) {
            return Ok(());
        }
        self.counts().refused_address.add(1);
        Err(Rejection::new(421, WRONG_HOST))
    }

    /// Which pages may connect can be changed while the server runs, so it is checked here and not by the
    /// endpoint, which lets every Origin through to us.
    fn check_origin(&self, request: &Request) -> Result<(), Rejection> {
        //= rfc6455#10.2  an Origin that is not acceptable is answered 403.
        self.rules
            .origins
            .check(request)
            .inspect_err(|_| self.counts().refused_origin.add(1))
    }

    /// Whether there is room for one more.
    fn check_room(
        &mut self,
        peer: PeerId,
        request: &Request,
        out: &mut Out<'_>,
    ) -> Result<(), Rejection> {
        let socket = address(peer, out);
        let from = self.rules.proxies.client(socket, request);
        let rules = &self.rules.admission;
        let entered = self.shared.admission.enter(rules, from, out.now());
        entered.map_err(|crowded: Crowded| {
            self.counts().refused_crowded.add(1);
            debug!(limit = crowded.name(), %from, "connection refused");
            crowded.rejection(out.random())
        })?;
        if from != socket {
            self.behind.insert(peer, from);
        }
        Ok(())
    }

    /// A client that was let in is gone.
    fn leave_room(&mut self, peer: PeerId, out: &Out<'_>) {
        let from = self.behind.remove(&peer);
        let from = from.unwrap_or_else(|| address(peer, out));
        self.shared.admission.leave(from);
    }

    /// The handshake was fine; what do the rules and the route say?
    fn decide(
        &mut self,
        peer: PeerId,
        route: Route,
        request: &Request,
        out: &mut Out<'_>,
    ) -> Opening {
        // The root's echo is for whoever tries a WebSocket by hand: it has nothing that a foreign page could want.
        // Before the hub the guard's policy says which hosts and pages there are, if there is one.
        let guarded = route == Route::Hub && self.rules.guard.is_some();
        let checked = match request.path() {
            _ if guarded => Ok(()),
            "/" => self.check_origin(request),
            _ => self
                .check_host(request)
                .and_then(|()| self.check_origin(request)),
        };
        let checked = checked.and_then(|()| self.check_room(peer, request, out));
        if let Err(rejection) = checked {
            return Opening::Reject(rejection);
        }
        let echo = &mut self.echo;
        let opening = match route {
            Route::Echo => out.nest(|none| match none {}, |out| echo.open(peer, request, out)),
            Route::Hub => self.open_hub(peer, request, out),
            Route::Wire => self.open_wire(peer, request),
        };
        if let Opening::Reject(_) = opening {
            self.leave_room(peer, out);
            self.counts().refused_other.add(1);
        }
        opening
    }

    /// The hub's clients are told to come back, others that the server goes away.
    fn send_away(&mut self, peer: PeerId, out: &mut Out<'_>) {
        match self.route(peer) {
            Some(Route::Hub) => {
                let hub = &mut self.hub;
                out.nest(RoutesMail::Hub, |out| hub.drain(peer, out));
            }
            Some(_) => out.close(peer, CloseCode::GOING_AWAY, "server is shutting down"),
            None => {}
        }
    }

    fn send_those_due(&mut self, out: &mut Out<'_>) {
        while let Some(peer) = self.leaving.due(out.now()) {
            self.send_away(peer, out);
        }
        if let Some(next) = self.leaving.next() {
            out.timer(LEAVING, next);
        }
    }

    /// This worker's share of the pace.
    fn pace(&self) -> Pace {
        self.rules.pace.share(self.workers)
    }

    fn open_hub(&mut self, peer: PeerId, request: &Request, out: &mut Out<'_>) -> Opening {
        let secret = match self.wanted_secret(request, "wire") {
            Ok(secret) => secret,
            Err(rejection) => return Opening::Reject(rejection),
        };
        let hub = &mut self.hub;
        let mut opening = out.nest(RoutesMail::Hub, |out| hub.open(peer, request, out));
        if let (Opening::Accept(accept), Some(secret), Some(observer)) =
            (&mut opening, secret, &mut self.observer)
        {
            accept.observe = out.nest(RoutesMail::Wire, |out| observer.record(peer, secret, out));
        }
        opening
    }

    fn open_wire(&mut self, peer: PeerId, request: &Request) -> Opening {
        let secret = self.wanted_secret(request, "key");
        let Some(observer) = &mut self.observer else {
            return Opening::Reject(nothing_here());
        };
        match secret {
            Ok(Some(secret)) => match observer.admit(peer, secret) {
                Some(config) => Opening::Accept(Accept::new(config)),
                None => {
                    Opening::Reject(Rejection::new(503, "the observer is full; try again later"))
                }
            },
            Ok(None) => Opening::Reject(Rejection::new(403, BAD_SECRET)),
            Err(rejection) => Opening::Reject(rejection),
        }
    }

    /// The observer's secret in the query; none is looked for where nothing is observed.
    fn wanted_secret(&self, request: &Request, name: &str) -> Result<Option<Secret>, Rejection> {
        if self.observer.is_none() {
            return Ok(None);
        }
        let Some(text) = request.query_param(name) else {
            return Ok(None);
        };
        let secret = Secret::parse(&text).ok_or_else(|| Rejection::new(403, BAD_SECRET))?;
        Ok(Some(secret))
    }

    #[cfg(test)]
    pub(crate) fn observes_nothing(&self) -> bool {
        self.observer.as_ref().is_none_or(Observer::is_empty)
    }

    fn remember(&mut self, peer: PeerId, route: Route) {
        let slot = peer.slot() as usize;
        if self.peers.len() <= slot {
            self.peers.resize(slot + 1, None);
        }
        self.peers[slot] = Some((peer, route));
        self.open += 1;
    }

    fn route(&self, peer: PeerId) -> Option<Route> {
        let (holder, route) = (*self.peers.get(peer.slot() as usize)?)?;
        (holder == peer).then_some(route)
    }
}

impl Handler for Routes {
    type Mail = RoutesMail;

    fn open(&mut self, peer: PeerId, request: &Request, out: &mut Out<'_>) -> Opening {
        let Some(route) = Route::of(request.path()) else {
            self.counts().refused_address.add(1);
            return Opening::Reject(nothing_here());
        };
        let opening = self.decide(peer, route, request, out);
        match &opening {
            // None of the routes holds anybody.
            Opening::Accept(_) | Opening::Hold(_) => {
                self.remember(peer, route);
                route.of_counts(&self.counts().opened).add(1);
                debug!(?route, remote = ?out.remote(peer), "connection opened");
            }
            Opening::Reject(no) => debug!(?route, status = no.status, "connection refused"),
        }
        opening
    }

    fn opened(&mut self, peer: PeerId, out: &mut Out<'_>) {
        match (self.route(peer), &mut self.observer) {
            (Some(Route::Hub), _) => {
                let hub = &mut self.hub;
                out.nest(RoutesMail::Hub, |out| hub.opened(peer, out));
            }
            (Some(Route::Wire), Some(observer)) => {
                out.nest(RoutesMail::Wire, |out| observer.attach(peer, out));
            }
            _ => {}
        }
    }

    fn message(&mut self, peer: PeerId, message: Incoming<'_>, out: &mut Out<'_>) {
        let route = self.route(peer);
        if let Some(route) = route {
            let counts = self.counts();
            route.of_counts(&counts.messages).add(1);
            route
                .of_counts(&counts.bytes)
                .add(message.as_bytes().len() as u64);
        }
        let (echo, hub) = (&mut self.echo, &mut self.hub);
        match route {
            Some(Route::Echo) => {
                out.nest(|none| match none {}, |out| echo.message(peer, message, out))
            }
            Some(Route::Hub) => out.nest(RoutesMail::Hub, |out| hub.message(peer, message, out)),
            Some(Route::Wire) => {
                out.close(peer, CloseCode::UNSUPPORTED, "the observer only speaks")
            }
            None => {}
        }
    }

    fn mail(&mut self, mail: RoutesMail, out: &mut Out<'_>) {
        match (mail, &mut self.observer) {
            (RoutesMail::Hub(mail), _) => {
                let hub = &mut self.hub;
                out.nest(RoutesMail::Hub, |out| hub.mail(mail, out));
            }
            (RoutesMail::Wire(mail), Some(observer)) => {
                out.nest(RoutesMail::Wire, |out| observer.mail(mail, out));
            }
            (RoutesMail::Wire(_), None) => {}
            (RoutesMail::Rules(rules), _) => {
                self.hub.set_budget(rules.budget);
                rules
                    .guard
                    .iter()
                    .for_each(|policy| self.hub.set_policy(Arc::clone(policy)));
                self.rules = rules;
            }
        }
    }

    fn timeout(&mut self, timer: TimerId, out: &mut Out<'_>) {
        match (timer.0 >> 56, &mut self.observer) {
            (0, _) => {
                let hub = &mut self.hub;
                out.nest(RoutesMail::Hub, |out| hub.timeout(timer, out));
            }
            _ if timer == LEAVING => self.send_those_due(out),
            (_, Some(observer)) => out.nest(RoutesMail::Wire, |out| observer.timeout(timer, out)),
            _ => {}
        }
    }

    fn drained(&mut self, peer: PeerId, out: &mut Out<'_>) {
        if self.route(peer) == Some(Route::Hub) {
            let hub = &mut self.hub;
            out.nest(RoutesMail::Hub, |out| hub.drained(peer, out));
        }
    }

    /// This may come after `closed`: our answer to a Close is written when the handler has heard of it.
    fn observed(&mut self, peer: PeerId, wire: Wire<'_>, out: &mut Out<'_>) {
        if let Some(observer) = &mut self.observer {
            out.nest(RoutesMail::Wire, |out| observer.observed(peer, wire, out));
        }
    }

    fn drain(&mut self, peer: PeerId, out: &mut Out<'_>) {
        let (pace, now, random) = (self.pace(), out.now(), out.random());
        let first = self.leaving.next().is_none();
        match self.leaving.place(peer, self.open, pace, now, random) {
            None => self.send_away(peer, out),
            Some(at) if first => out.timer(LEAVING, at),
            Some(_) => {}
        }
    }

    fn closed(&mut self, peer: PeerId, why: &Closed, out: &mut Out<'_>) {
        let Some(route) = self.route(peer) else {
            return;
        };
        self.peers[peer.slot() as usize] = None;
        self.open -= 1;
        self.leave_room(peer, out);
        let code = why.code.map(CloseCode::get);
        route.of_counts(&self.counts().closed).add(1);
        self.counts().ends.of(code).add(1);
        debug!(?route, code, clean = why.clean, "connection closed");
        if route == Route::Hub {
            let hub = &mut self.hub;
            out.nest(RoutesMail::Hub, |out| hub.closed(peer, why, out));
        }
        if let Some(observer) = &mut self.observer {
            out.nest(RoutesMail::Wire, |out| observer.closed(peer, out));
        }
    }
}

/// Where a peer comes from; it is there as long as the peer is.
fn address(peer: PeerId, out: &Out<'_>) -> IpAddr {
    out.remote(peer)
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |remote| remote.ip())
}

/// The next client leaves. The hub's timers have 0 in the top byte, the observer's 1.
const LEAVING: TimerId = TimerId(2 << 56);

fn nothing_here() -> Rejection {
    Rejection::new(404, "no WebSocket here; try /connection/websocket or /echo")
}

/// What a request with a foreign `Host` is told.
pub(crate) const WRONG_HOST: &str =
    "this server does not answer to that Host; start it with --host NAME if it should";

const BAD_SECRET: &str =
    "the observer's key must be 32 to 128 hexadecimal digits, an even number of them";
